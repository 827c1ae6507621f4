"""Products of matrices for cuBLAS."""

from __future__ import annotations

import dataclasses
from typing import Any

from ...codegen.expressions import SourceContext
from ...ir.indexing import c_strides
from ...schedule.contraction import Operand
from ...schedule.fuse import Kernel


@dataclasses.dataclass(frozen=True)
class Factor:
    """A matrix in memory: the name of the array, its shape, and whether it lies there transposed."""

    array: str
    shape: tuple[int, int]
    transposed: bool


@dataclasses.dataclass(frozen=True)
class Multiply:
    """A product of two matrices of float32 or float64, written to a third one."""

    left: Factor
    right: Factor
    out: Factor
    dtype: Any

    @property
    def arrays(self) -> tuple[str, ...]:
        return self.left.array, self.right.array, self.out.array


def as_matrix_product(context: SourceContext, kernel: Kernel) -> Multiply | None:
    """The product of two matrices that a kernel is; None where it is one of another kind, a stack of them, say."""
    (node,) = kernel.nodes
    p = kernel.product
    assert p is not None
    result = [i for i in range(len(p.shape)) if i not in (p.k, *p.outer) and p.shape[i] != 1]
    if p.outer or not set(result) <= {p.i, p.j} or any(x.table is not None or x.offset for x in (p.a, p.b)):
        return None
    (row, left), (column, right) = (p.i, p.a), (p.j, p.b)
    if row is not None and column is not None and result.index(row) > result.index(column):
        (row, left), (column, right) = (column, right), (row, left)
    m, n = (1 if axis is None else p.shape[axis] for axis in (row, column))
    a = _factor(context, left, (m, p.shape[p.k]), (row, p.k))
    b = _factor(context, right, (p.shape[p.k], n), (p.k, column))
    if a is None or b is None:
        return None
    return Multiply(a, b, Factor(context.name(node, write=True), (m, n), False), node.dtype)


def _factor(
    context: SourceContext, x: Operand, shape: tuple[int, int], axes: tuple[int | None, int | None]
) -> Factor | None:
    """An operand as a whole matrix that lies in memory row by row, or column by column."""
    strides = [x.strides[axis] if axis is not None else 0 for axis in axes]
    for transposed, lies in ((False, c_strides(shape)), (True, c_strides(shape[::-1])[::-1])):
        if all(n == 1 or s == t for n, s, t in zip(shape, strides, lies)):
            return Factor(context.name(x.node), shape, transposed)
    return None
