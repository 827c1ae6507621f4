"""Products of matrices: sums of products of two arrays, recognised in the program.

`dot_` and `axpy_` of matmul.h do the work: the first wants both operands to be contiguous along the axis that is summed
over, the second one operand and the result to be so along an axis that they share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..ir.indexing import Map, c_strides, composed, identity
from ..ir.program import Node

SMALL = 64  # multiplications; below this, plain loops are as fast


@dataclasses.dataclass(frozen=True)
class Operand:
    """An array in memory, and how it is read along the axes of the whole product.

    Attributes:
        node: the array.
        strides: in elements, along each axis of the product.
        table: where rows are picked by an array of their numbers: that array's node, the axis of the product along
            which they lie (None where it is one row), and how many elements a row has.
    """

    node: Node
    strides: tuple[int, ...]
    table: tuple[Node, int | None, int] | None


@dataclasses.dataclass(frozen=True)
class Product:
    """out[…] = Σ a·b over an axis k of the whole space; i is an axis of a alone, j of b alone, others are looped over.

    Attributes:
        form: dot or axpy.
        shape: the whole space: the axes of the result, and k among them.
    """

    form: str
    shape: tuple[int, ...]
    a: Operand
    b: Operand
    i: int | None
    j: int | None
    k: int


def recognised(node: Node, stored: set[Node]) -> Product | None:
    """The product of matrices that a reduction is, or None."""
    (multiply,) = node.args
    function, axes = node.params
    if function != "sum" or node.dtype.kind != "f" or multiply in stored:
        return None
    if multiply.op != "map" or multiply.params != "multiply" or len(axes) != 1 or multiply.size < SMALL:
        return None
    a, b = (_operand(x, stored, multiply.ndim) for x in multiply.args)
    if a is None or b is None:
        return None
    k = axes[0]
    out = dict(zip([i for i in range(multiply.ndim) if i != k], c_strides(node.shape)))
    return _dot(multiply.shape, a, b, k, out) or _axpy(multiply.shape, a, b, k, out)


def _operand(x: Node, stored: set[Node], ndim: int) -> Operand | None:
    """How an argument of the multiplication lies in memory."""
    at: Map = identity(ndim)
    if x.op == "view" and x not in stored:
        at, x = composed(x.params, at), x.args[0]
    if x.op == "gather" and x not in stored:
        return _gathered(x, at, stored, ndim)
    if x.op == "input" or x in stored or x.op == "reshape":
        return Operand(x, _strides(at, c_strides(x.shape), ndim), None) if not any(o for o, _ in at) else None
    return None


def _strides(at: Map, memory: Sequence[int], ndim: int) -> tuple[int, ...]:
    strides = [0] * ndim
    for (_, terms), stride in zip(at, memory):
        for axis, s in terms:
            strides[axis] += s * stride
    return tuple(strides)


def _gathered(x: Node, at: Map, stored: set[Node], ndim: int) -> Operand | None:
    """Rows that are picked by one array of indices, in the first axis."""
    source, *indices = x.args
    axes, position = x.params
    if len(indices) != 1 or position != 0 or axes != (("index", 0), *(("axis", i) for i in range(1, x.ndim))):
        return None
    if source.op != "input" or indices[0].op != "input" or indices[0].ndim != 1 or any(o for o, _ in at):
        return None
    (_, row), *rest = at
    if row and (len(row) != 1 or row[0][1] != 1):
        return None
    memory = c_strides(source.shape)
    return Operand(
        source, _strides(((0, ()), *rest), memory, ndim), (indices[0], row[0][0] if row else None, memory[0])
    )


def _dot(shape: tuple[int, ...], a: Operand, b: Operand, k: int, out: dict[int, int]) -> Product | None:
    if a.strides[k] != 1 or b.strides[k] != 1:
        return None
    if _rows(b):
        a, b = b, a
    i, j = _own(shape, a, b, out), _own(shape, b, a, out)
    if _rows(b) or (a.table is not None and a.table[1] not in (None, i)):
        return None
    return Product("dot", shape, a, b, i, j, k)


def _axpy(shape: tuple[int, ...], a: Operand, b: Operand, k: int, out: dict[int, int]) -> Product | None:
    for left, right in ((a, b), (b, a)):
        for j, stride in out.items():
            if stride == 1 and right.strides[j] == 1 and not _along(left, j) and shape[j] > 1:
                if _rows(left) or (right.table is not None and right.table[1] not in (None, k)):
                    continue
                return Product("axpy", shape, left, right, _own(shape, left, right, out), j, k)
    return None


def _own(shape: tuple[int, ...], x: Operand, other: Operand, out: dict[int, int]) -> int | None:
    """The longest axis of the result that x has and the other hasn't."""
    axes = [i for i in out if _along(x, i) and not _along(other, i) and shape[i] > 1]
    return max(axes, key=lambda i: shape[i], default=None)


def _rows(x: Operand) -> bool:
    """Whether an operand has several rows that a table picks."""
    return x.table is not None and x.table[1] is not None


def _along(x: Operand, axis: int) -> bool:
    return x.strides[axis] != 0 or (x.table is not None and x.table[1] == axis)
