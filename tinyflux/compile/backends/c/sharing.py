"""Which kernels are worth several threads, and along which of their loops they are shared out.

Every number, or each of a fixed number of parts of a sum, is calculated by one thread, in the same order: the result
doesn't depend on how many threads there are.
"""

from __future__ import annotations

import math

from ...codegen.expressions import SourceContext, c_index, loop_indices
from ...codegen.loops import merge_axes, nest
from ...ir.functions import c_type
from ...ir.indexing import affine_sum, c_strides
from ...schedule.contraction import LONG, PARTS, Product
from ...schedule.fuse import ROWS, Kernel
from . import winograd

ELEMENTS = 3 << 14  # of a loop, from which on it is shared: it takes some 10 µs, and handing it over some 2
MULTIPLICATIONS = 1 << 20  # the same for products
PIECES = 4  # for each thread: one that is held up leaves the rest to others
LINE = 16  # columns that a thread takes together: they lie in one cache line


def shared_loop(context: SourceContext, kernel: Kernel) -> int:
    """How many rounds of a kernel's outermost loop there are to share; 0 where one thread does it all."""
    moved = context.schedule.pipelined
    if kernel.phase == ROWS or (moved is not None and kernel in (moved.product, moved.update)):
        return 0
    if (p := _contraction(kernel)) is not None:
        return shared_rounds(p) if math.prod(p.shape) >= MULTIPLICATIONS else 0
    if kernel.kind == "winograd":
        return winograd.rounds(kernel.nodes[0])
    if kernel.kind == "map" and math.prod(kernel.shape) * max(kernel.weight, 1) >= 5 * ELEMENTS:
        lengths = [math.prod(kernel.shape[i] for i in group) for group in merge_axes(context, kernel)]
        return next((n for n in lengths if n != 1), 0) if math.prod(kernel.shape) >= ELEMENTS else 0
    if kernel.kind == "reduce" and kernel.nodes[0].args[0].size >= ELEMENTS:
        if parts(kernel) > 1:
            return parts(kernel)
        axis, step = reduced_loop(kernel)
        return -(-kernel.nodes[0].args[0].shape[axis] // step) if axis >= 0 else 0
    return 0


def pieces(kernel: Kernel) -> int:
    """Into how many pieces for each thread a loop is cut: into one where each piece reads all of a large array."""
    p = _contraction(kernel)
    if kernel.kind == "winograd":
        return 1 if kernel.nodes[0].params[0] == "correlate" else PIECES
    whole = p is not None and not p.outer and parts(kernel) == 1 and not shares_rows(p)
    return 1 if whole else PIECES


def parts(kernel: Kernel) -> int:
    """How many parts the sum of a kernel is cut into, which are added up in the end; 1 where it isn't cut.

    A sum of rows of few columns is cut along the first axis: threads that shared out the columns would write to one
    cache line.
    """
    if (p := _contraction(kernel)) is not None:
        return p.parts
    node = kernel.nodes[0]
    if kernel.kind != "reduce" or node.params[0] != "sum" or node.dtype.kind != "f" or reduced_loop(kernel)[0] >= 0:
        return 1
    (x,) = node.args
    return min(PARTS, x.shape[node.params[1][0]]) if node.size > 1 and x.size >= LONG * node.size else 1


def sums(context: SourceContext, kernel: Kernel) -> str:
    """Where the sums of the parts lie, one after another; those of a contraction by rows and columns."""
    (node,) = kernel.nodes
    size = parts(kernel) * node.size * node.dtype.itemsize
    places = context.tables.setdefault(kernel, {})
    if "sums" not in places:
        places["sums"] = f"(({c_type(node.dtype)} *)(arena + {context.scratch(size)}))"
    return places["sums"]


def emit_total(context: SourceContext, kernel: Kernel) -> list[str]:
    """The lines that add up the sums of the parts."""
    (node,) = kernel.nodes
    p, every = _contraction(kernel), sums(context, kernel)
    lengths, own, out = [node.size], [1], [1]
    if p is not None:
        axes = *p.rows, *p.columns
        lengths, out = [p.shape[i] for i in axes], [p.out[i] for i in axes]
        own = c_strides(lengths)
    at = loop_indices(lengths)
    there, here = (c_index(affine_sum(0, list(zip(at, strides)))) for strides in (out, own))
    return [
        *nest(
            [("part", f"1..{parts(kernel)}"), ("i", str(node.size))],
            [f"{every}[i] += {every}[{node.size} * part + i];"],
        ),
        *nest(
            [(f"i{i}", str(n)) for i, n in enumerate(lengths)],
            [f"{context.name(node, write=True)}[{there}] = {every}[{here}];"],
        ),
    ]


def reduced_loop(kernel: Kernel) -> tuple[int, int]:
    """The axis of a reduction along which it is shared, −1 where there is none, and how many elements at a time."""
    (node,) = kernel.nodes
    x, axes = node.args[0], node.params[1]
    kept = [i for i, n in enumerate(x.shape) if n != 1 and i not in axes]
    last = max((i for i, n in enumerate(x.shape) if n != 1), default=-1)
    if not kept:
        return -1, 1
    if last in kept and len(kept) == 1:
        return (last, LINE) if x.shape[last] >= 2 * LINE else (-1, 1)
    return kept[0], 1


def _contraction(kernel: Kernel) -> Product | None:
    p = kernel.product
    return p if p is not None and p.form == "contract" else None


def shared_rounds(p: Product) -> int:
    """Rounds of a contraction: the first axis of a stack, parts of its sums, or rows or columns, LINE at a time."""
    if p.outer:
        return p.shape[p.outer[0]]
    if p.parts > 1:
        return p.parts
    m, n, _ = p.size
    return -(-(m if shares_rows(p) else n) // LINE)


def shares_rows(p: Product) -> bool:
    """Whether threads share rows rather than columns: then each of them packs all columns."""
    m, n, _ = p.size
    return m >= 4 * n
