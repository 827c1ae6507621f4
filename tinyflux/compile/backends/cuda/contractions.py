"""Sums of products: those of two large matrices are left to cuBLAS; others contract.cuh calculates in tiles."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from ...codegen.expressions import SourceContext
from ...ir.functions import c_type
from ...ir.indexing import c_strides
from ...schedule.contraction import Operand, Product
from ...schedule.fuse import Kernel
from .launches import Multiply, Place

TYPES = ("float32", "float64")
SIDES = (16, 32, 64)  # of a tile
NARROW = 4  # rows or columns; with fewer of them most of a tile would be empty
MULTIPLICATIONS = 1 << 12  # below this, a thread for each result is as good
LARGEST = 1 << 30  # rows, columns and terms: contract.cuh counts them, and what is a tile further on, by int
PART = 256  # terms, at least, that a block adds up, where several share the terms of a tile
BLOCKS = 528  # which are enough to keep a large GPU busy
FOR_CUBLAS = 1 << 24  # multiplications, from which on a product is left to cuBLAS; untuned
RESULTS = 1 << 10  # that it has then, at least: the terms of fewer are shared out by blocks as well


@dataclasses.dataclass(frozen=True)
class Tiling:
    """A sum of products in tiles.

    Attributes:
        contraction: what is calculated; its `outer` axes are any number of contractions beside each other.
        tile: how many rows and columns a tile has.
        parts: how many blocks share the terms of a tile.
    """

    contraction: Product
    tile: tuple[int, int]
    parts: int

    @property
    def blocks(self) -> int:
        tiles = [-(-n // side) for n, side in zip(self.contraction.size, self.tile)]
        return math.prod(tiles) * _count(self.contraction, self.contraction.outer) * self.parts

    @property
    def shared(self) -> str:
        """The shared memory of a block, as C writes it."""
        kind = c_type(self.contraction.a.node.dtype)
        return f"sizeof(Tile<{kind}, {self.tile[0]}, {self.tile[1]}, long long>)"


def find_tiling(kernel: Kernel) -> Tiling | None:
    """How a sum of products is calculated in tiles; None where it's better to give each result a thread or a block."""
    (node,), p = kernel.nodes, kernel.product
    if p is None or any(x.table is not None for x in (p.a, p.b)):
        return None
    if {x.dtype for x in (p.a.node, p.b.node, node)} != {node.dtype} or node.dtype.name not in TYPES:
        return None
    c = as_contraction(p)
    m, n, k = c.size
    if min(m, n) < NARROW or max(m, n, k) > LARGEST or math.prod(c.shape) < MULTIPLICATIONS:
        return None
    tile = _side(m), _side(n)
    whole = Tiling(c, tile, 1)
    return dataclasses.replace(whole, parts=max(1, min(k // PART, BLOCKS // whole.blocks)))


def emit_contraction(context: SourceContext, kernel: Kernel, tiling: Tiling, finish: Sequence[str]) -> list[str]:
    """The lines of the section: where everything lies, and a call.

    Arguments:
        finish: what is done with the total `total0` of element `e`, of the part `part`.
    """
    (node,), c = kernel.nodes, tiling.contraction
    m, n, k = c.size
    chunk = -(-k // tiling.parts)
    index = "int" if max(x.size for x in (c.a.node, c.b.node, node)) < 2**30 else "long long"
    numbers = {
        "ROWS": m, "COLUMNS": n, "TERMS": k, "OUTER": _count(c, c.outer), "CHUNK": chunk,
        "A_BY_TERMS": int(_lies_along(c.a, c.terms, c.rows)), "B_BY_TERMS": int(_lies_along(c.b, c.terms, c.columns)),
    }  # fmt: skip
    axes = {"row": c.rows, "column": c.columns, "term": c.terms, "outer": c.outer}
    strides = {"a": c.a.strides, "b": c.b.strides, "out": c.out}
    places = ("a_row", "a_term", "a_outer", "b_column", "b_term", "b_outer", "out_row", "out_column", "out_outer")
    functions = []
    for place in places:
        array, kind = place.split("_")
        functions.append(_place(place, index, c, axes[kind], strides[array]))
    operands = [context.name(x.node) + (f" + {x.offset}" if x.offset else "") for x in (c.a, c.b)]
    kind = c_type(node.dtype)
    sizes = f"{kind}, {tiling.tile[0]}, {tiling.tile[1]}"
    return [
        "struct Places {",
        f"using Index = {index};",
        f"enum : long long {{ {', '.join(f'{name} = {value}' for name, value in numbers.items())} }};",
        *functions,
        "};",
        f"contract<{sizes}, Places>(block, shared, {', '.join(operands)}, [&](int part, {index} e, {kind} total0) {{",
        *finish,
        "});",
    ]


def as_contraction(p: Product) -> Product:
    """A product of any form as a contraction of all axes that can be rows, columns and terms."""
    axes = [i for i, n in enumerate(p.shape) if n != 1]
    terms = sorted((i for i in axes if not p.out[i]), key=lambda i: (-abs(p.a.strides[i]), -abs(p.b.strides[i])))
    kept = sorted((i for i in axes if p.out[i]), key=lambda i: -p.out[i])
    rows = tuple(i for i in kept if p.a.strides[i] and not p.b.strides[i])
    columns = tuple(i for i in kept if p.b.strides[i] and not p.a.strides[i])
    outer = tuple(i for i in kept if i not in rows and i not in columns)
    a, b = p.a, p.b
    if rows and columns and rows[-1] > columns[-1]:  # what lies together in the result is columns
        a, b, rows, columns = b, a, columns, rows
    return Product("contract", p.shape, a, b, p.out, rows, columns, tuple(terms), outer, None)


def _side(count: int) -> int:
    """The side of a tile for so many rows or columns."""
    return next((side for side in SIDES if count <= side), SIDES[-1])


def _count(c: Product, axes: Sequence[int]) -> int:
    return math.prod(c.shape[i] for i in axes)


def _lies_along(x: Operand, terms: Sequence[int], others: Sequence[int]) -> bool:
    """Whether neighbouring terms lie closer together than neighbouring rows, or columns."""

    def step(axes: Sequence[int]) -> float:
        return abs(x.strides[axes[-1]]) if axes else math.inf

    return step(terms) < step(others)


def _place(name: str, index: str, c: Product, axes: Sequence[int], strides: Sequence[int]) -> str:
    """The function that gives where a row, column or term lies, whose axes are counted in C order."""
    terms, divisor = [], _count(c, axes)
    for i in axes:
        whole, divisor = divisor, divisor // c.shape[i]
        position = "i" if whole == _count(c, axes) else f"i % {whole}"
        terms.append(f"({index})({position if divisor == 1 else f'({position}) / {divisor}'}) * {strides[i]}")
    return f"static __device__ {index} {name}(int i) {{ return {' + '.join(terms) or '0'}; }}"


def as_matrix_product(context: SourceContext, kernel: Kernel) -> Multiply | None:
    """The product of two matrices that a kernel is; None where it is one of another kind, a stack of them, say."""
    (node,), p = kernel.nodes, kernel.product
    if p is None or any(x.table is not None or x.offset for x in (p.a, p.b)):
        return None
    c = as_contraction(p)
    if c.outer or max(map(len, (c.rows, c.columns, c.terms))) > 1:
        return None
    row, column, term = ((*axes, None)[0] for axes in (c.rows, c.columns, c.terms))
    m, n, k = c.size
    a, b = _transposed(c.a.strides, (m, k), (row, term)), _transposed(c.b.strides, (k, n), (term, column))
    if a is None or b is None or _transposed(c.out, (m, n), (row, column)) is not False:
        return None
    names = context.name(c.a.node), context.name(c.b.node), context.name(node, write=True)
    return Multiply(tuple(map(Place, names)), (m, n, k), (a, b), node.dtype)


def pays(product: Multiply) -> bool:
    """Whether cuBLAS is worth a launch of its own, and what comes before and behind the product another two."""
    m, n, k = product.size
    return m * n * k >= FOR_CUBLAS and m * n >= RESULTS


def _transposed(x: Sequence[int], shape: tuple[int, int], axes: tuple[int | None, int | None]) -> bool | None:
    """Whether a matrix lies in memory column by column; None where it lies there in neither way.

    Arguments:
        x: the strides of an array along all axes, of which two are the matrix's.
    """
    strides = [x[axis] if axis is not None else 0 for axis in axes]
    for transposed, lies in ((False, c_strides(shape)), (True, c_strides(shape[::-1])[::-1])):
        if all(n == 1 or s == t for n, s, t in zip(shape, strides, lies)):
            return transposed
    return None
