"""Products of matrices: sums of products of two arrays, recognised in the program.

`dot_` and `axpy_` of matmul.h do the work: the first wants both operands to be contiguous along the axis that is summed
over, the second one operand and the result to be so along an axis that they share. `contract_` of contract.h wants
nothing of the operands, and packs one of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Container, Iterator, Sequence

from ..ir.indexing import Map, c_strides, compose, identity, merge_lines, view_strides
from ..ir.node import Node
from .tiling import RowPlan

SMALL = 64  # multiplications; below this, plain loops are as fast
SHARED = 1 << 22  # multiplications, from which on a contraction is taken where there is one: threads share it
BROAD = 64  # rows and columns, from which on a quarter of them are enough
LONG = 32  # times as many terms as rows or columns: then sums are shared, for each thread would read all of an array
PARTS = 16  # of such sums
FOR_BLAS = int(3e8)  # multiplications, from which on BLAS may be faster, which has threads of its own
BLOCK = 480  # rows that contract.h takes at once
DEPTH = 160  # terms that it takes at once, or more
PACKED = 8  # rows from which on a dot product packs its second operand, as matmul.h does


@dataclasses.dataclass(frozen=True)
class Operand:
    """An array in memory, and how it is read along the axes of the whole product.

    Attributes:
        node: the array.
        offset: the element where it begins; in each row, where rows are picked.
        strides: in elements, along each axis of the product.
        table: where rows are picked by an array of their numbers: that array's node, the axis of the product along
            which they lie (None where it is one row), and how many elements a row has.
    """

    node: Node
    offset: int
    strides: tuple[int, ...]
    table: tuple[Node, int | None, int] | None


@dataclasses.dataclass(frozen=True)
class Product:
    """out[…] = Σ a·b over axes of a space that has those of the result, too; axes that lie in one line are one.

    Attributes:
        form: dot or axpy, whose calls run over at most one axis of rows, one of columns, and the last one of terms; or
            contract, where these are of several axes each, which lie anywhere: a convolution, say.
        shape: the whole space.
        a, b: the operands.
        out: the strides of the result, 0 along the axes that are summed over.
        rows: axes of the result that b hasn't.
        columns: axes of the result that a hasn't.
        terms: the axes that are summed over; for each index of those that it doesn't run over a call adds to the sums.
        outer: the other axes: for each of their indices there is a call.
        row: the axis of the rows of a batch, where a block of them is calculated; it comes first among its like.
    """

    form: str
    shape: tuple[int, ...]
    a: Operand
    b: Operand
    out: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    terms: tuple[int, ...]
    outer: tuple[int, ...]
    row: int | None

    @property
    def size(self) -> tuple[int, int, int]:
        """How many rows and columns a call calculates, and of how many products each element is the sum."""
        terms = self.terms if self.form == "contract" else self.terms[-1:]
        m, n, k = (math.prod(self.shape[i] for i in axes) for axes in (self.rows, self.columns, terms))
        return m, n, k

    @property
    def parts(self) -> int:
        """How many parts the sums are cut into, along the first axis of the terms; they are added up in the end."""
        m, n, k = self.size
        alone = self.row is None and not self.outer and m * n * k >= SHARED
        return min(PARTS, self.shape[self.terms[0]]) if alone and k >= LONG * max(m, n) else 1

    @property
    def has_columns_in_line(self) -> bool:
        """Whether columns of the result lie side by side."""
        return max(1, self.run(self.columns, self.out)) == self.size[1]

    def run(self, axes: Sequence[int], strides: Sequence[int]) -> int:
        """How long the stretches are in which what the axes go through lies together; 0 where it never does."""
        length = 1
        for axis in reversed(axes):
            if strides[axis] != length:
                break
            length *= self.shape[axis]
        return length if length > 1 else 0


def find_product(node: Node, stored: set[Node], rows: RowPlan | None, trusted: Container[Node] = ()) -> Product | None:
    """The product of matrices that a reduction amounts to, or None.

    Arguments:
        trusted: see `make_schedule`.
    """
    (multiply,) = node.args
    function, axes = node.params
    if function != "sum" or node.dtype.kind != "f" or multiply in stored:
        return None
    if multiply.op != "map" or multiply.params != "multiply" or not axes or multiply.size < SMALL:
        return None
    a, b = (_operand(x, stored, multiply.ndim, trusted) for x in multiply.args)
    if a is None or b is None:
        return None
    result = iter(c_strides(node.shape))
    out = tuple(0 if i in axes else next(result) for i in range(multiply.ndim))
    row = rows.axis.get(multiply) if rows is not None else None
    # Where rows come first in all arrays, a block of them lies there with the strides of the whole.
    whole = rows is None or all(rows.axis.get(x, 0) == 0 for x in (node, a.node, b.node))
    if len(axes) == 1 and (whole or not (a.offset or b.offset)):
        plain = next(_forms(multiply.shape, a, b, out, axes, row), None)
        one_call = plain is None or math.prod(plain.size) == multiply.size
        shared = multiply.size >= SHARED if plain is None else _is_shared(plain, multiply.size)
        if one_call and (row is not None or not shared or multiply.size >= FOR_BLAS):
            return plain
    else:
        plain = None
    return (_merged_product(multiply.shape, a, b, out, axes, row) if whole else None) or plain


def _is_shared(p: Product, multiplications: int) -> bool:
    """Whether threads share a product of so many multiplications."""
    return multiplications >= (SHARED if min(p.size[:2]) < BROAD else SHARED // 4)


def _merged_product(
    shape: tuple[int, ...], a: Operand, b: Operand, out: tuple[int, ...], axes: Sequence[int], row: int | None
) -> Product | None:
    """The product whose calls take the least time, of axes in lines; None where plain loops take less."""
    if a.table is not None or b.table is not None:
        return None
    groups = merge_lines(shape, (a.strides, b.strides, out), {row})
    last = [group[-1] for group in groups]
    shape = tuple(math.prod(shape[i] for i in group) for group in groups)
    a, b = (dataclasses.replace(x, strides=tuple(x.strides[i] for i in last)) for x in (a, b))
    out = tuple(out[i] for i in last)
    row = next((i for i, group in enumerate(groups) if row in group), None)
    summed = [i for i, axis in enumerate(last) if axis in axes]
    products = [
        product for k in summed for product in _forms(shape, a, b, out, [*(i for i in summed if i != k), k], row)
    ]
    contractions = [*_contractions(shape, a, b, out, summed, row)]
    shared = [p for p in contractions if row is None and _is_shared(p, math.prod(shape)) and p.size[0] >= PACKED]
    best = min(shared or [*products, *contractions], key=_time, default=None)
    return best if best is not None and _time(best) < math.prod(shape) else None


def _contractions(
    shape: tuple[int, ...], a: Operand, b: Operand, out: tuple[int, ...], terms: Sequence[int], row: int | None
) -> Iterator[Product]:
    """Contractions whose columns are those of the one operand or the other: those that lie in one line, or all."""
    kept = [i for i in range(len(shape)) if i not in terms]
    for left, right in ((a, b), (b, a)):
        rows = [i for i in kept if left.strides[i] and not right.strides[i]]
        own = [i for i in kept if right.strides[i] and not left.strides[i] and i != row]
        in_line: list[int] = []
        for i in sorted(own, key=lambda i: out[i]):
            if out[i] == math.prod(shape[c] for c in in_line):
                in_line.insert(0, i)
        rows.sort(key=lambda i: (i != row, -out[i]))
        ordered = sorted(terms, key=lambda i: (i != row, -abs(left.strides[i]), -abs(right.strides[i])))
        scattered = sorted(own, key=lambda i: -abs(right.strides[i]))
        for columns in (in_line, *([scattered] if len(own) > len(in_line) else [])):
            outer = tuple(i for i in kept if i not in rows and i not in columns)
            if rows and columns:
                yield Product(
                    "contract", shape, left, right, out, tuple(rows), tuple(columns), tuple(ordered), outer, row
                )


def _time(p: Product) -> float:
    """About how long all calls take, in multiplications of vectors; short rows don't fill these."""
    m, n, k = p.size
    lanes = 64 // p.a.node.dtype.itemsize
    if p.form == "contract":
        vectors, blocks = max(-(-2 * n // lanes), 1) / 2 if n <= lanes else -(-n // lanes), -(-m // BLOCK)
        run = p.run(p.terms, p.a.strides)
        whole = -(-run // lanes) * lanes
        if 2 * n <= lanes and k >= 4 * lanes and 4 * run >= 3 * whole > 0:  # few columns: vectors run along the terms
            vectors = n / lanes * whole / run
        in_line = p.run(p.columns, p.b.strides) or (lanes if p.run(p.terms, p.b.strides) >= lanes else 1)
        call = (m + (m < PACKED) * PACKED) * vectors * (k + 2) + blocks * k * max(vectors, n / in_line) + 50
        if not p.has_columns_in_line:
            call += m * n * -(-k // DEPTH)
        return call * math.prod(p.shape[i] for i in p.outer)
    vectors, along = -(-n // lanes), -(-k // lanes)
    if p.form == "dot" and m < PACKED:
        call = m * n * (along + 4)
    else:
        call = m * vectors * (k + 2)
        if p.form == "dot":
            call += 4 * vectors * along * lanes + m * n * any(p.out[j] != 1 for j in p.columns)
    return (call + 20) * math.prod(p.shape) / (m * n * k)


def _forms(
    shape: tuple[int, ...], a: Operand, b: Operand, out: tuple[int, ...], terms: Sequence[int], row: int | None
) -> Iterator[Product]:
    """The products whose calls sum along the last of some axes: dot products first."""
    k = terms[-1]

    def product(form: str, left: Operand, right: Operand, rows: tuple[int, ...], columns: tuple[int, ...]) -> Product:
        outer = tuple(i for i in range(len(shape)) if i not in (*rows, *columns, *terms))
        return Product(form, shape, left, right, out, rows, columns, tuple(terms), outer, row)

    for left, right in ((a, b), (b, a)):
        if left.strides[k] == right.strides[k] == 1 and not _has_row_table(right):
            rows = _own_axis(shape, left, right, out)
            if left.table is None or left.table[1] in (None, *rows):
                yield product("dot", left, right, rows, _own_axis(shape, right, left, out))
    for left, right in ((a, b), (b, a)):
        if _has_row_table(left) or (right.table is not None and right.table[1] not in (None, k)):
            continue
        for j, stride in enumerate(out):
            if stride == right.strides[j] == 1 and not _along(left, j) and shape[j] > 1:
                yield product("axpy", left, right, _own_axis(shape, left, right, out), (j,))


def _operand(x: Node, stored: set[Node], ndim: int, trusted: Container[Node]) -> Operand | None:
    """How an argument of the multiplication lies in memory."""
    at: Map = identity(ndim)
    if x.op == "view" and x not in stored:
        at, x = compose(x.params, at), x.args[0]
    if x.op == "gather" and x not in stored:
        return _gathered(x, at, ndim, trusted)
    if x.op == "input" or x in stored or x.op == "reshape":
        memory = c_strides(x.shape)
        return Operand(x, sum(o * s for (o, _), s in zip(at, memory)), tuple(view_strides(at, memory, ndim)), None)
    return None


def _gathered(x: Node, at: Map, ndim: int, trusted: Container[Node]) -> Operand | None:
    """Rows that are picked by one array of indices, in the first axis; a product takes those as they are."""
    source, *indices = x.args
    axes, position = x.params
    if len(indices) != 1 or position != 0 or axes != (("index", 0), *(("axis", i) for i in range(1, x.ndim))):
        return None
    if source.op != "input" or indices[0] not in trusted or indices[0].op != "input" or indices[0].ndim != 1:
        return None
    (first, row), *rest = at
    if first or (row and (len(row) != 1 or row[0][1] != 1)):
        return None
    memory = c_strides(source.shape)
    offset = sum(o * s for (o, _), s in zip(rest, memory[1:]))
    table = (indices[0], row[0][0] if row else None, memory[0])
    return Operand(source, offset, tuple(view_strides(((0, ()), *rest), memory, ndim)), table)


def _own_axis(shape: tuple[int, ...], x: Operand, other: Operand, out: tuple[int, ...]) -> tuple[int, ...]:
    """The longest axis of the result that x has and the other hasn't, if there is one."""
    axes = [i for i, s in enumerate(out) if s and _along(x, i) and not _along(other, i) and shape[i] > 1]
    return (max(axes, key=lambda i: shape[i]),) if axes else ()


def _has_row_table(x: Operand) -> bool:
    """Whether an operand has several rows that a table picks."""
    return x.table is not None and x.table[1] is not None


def _along(x: Operand, axis: int) -> bool:
    return x.strides[axis] != 0 or (x.table is not None and x.table[1] == axis)
