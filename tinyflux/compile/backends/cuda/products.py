"""Products of matrices for cuBLAS."""

from __future__ import annotations

from collections.abc import Sequence

from ...codegen.expressions import SourceContext
from ...ir.indexing import c_strides
from ...schedule.fuse import Kernel
from .contractions import as_contraction
from .launches import Multiply, Place


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


LARGE = 1 << 24  # multiplications, from which on a product is left to cuBLAS; untuned
RESULTS = 1 << 10  # that it has then, at least: the terms of fewer are shared out by blocks as well


def pays(product: Multiply) -> bool:
    """Whether cuBLAS is worth a launch of its own, and what comes before and behind the product another two."""
    m, n, k = product.size
    return m * n * k >= LARGE and m * n >= RESULTS


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
