"""What comes to the places that indices name, added up in the order of the indices: each run gives the same bits.

An axis of the result is of one of three kinds. *Free* ones are axes of what is added, too. *Counted* ones have an index
that counts along an axis of the indices, as in `x[np.arange(n), y]`: there is nothing to look for. Along the
others, the *named* ones, what comes to a place has to be found among all positions of the indices.

Where these are few, a thread goes through all of them for its element. Else a block does so for PLACES places at once.
Its threads look at neighbouring positions, so that a warp reads indices together, and mark those that name one of its
places, a bit each. Then a warp goes through the marks of a place in their order, and adds up its elements. So for an
embedding of 10,000 × 64 and 25,000 tokens the indices are read 1,250 times, 250 MB from the second cache, and looked at
in 8 million steps of a warp: some 50 µs on a large GPU. What is named by very many positions takes its warp longer, a
read from memory for every TOGETHER of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from ....types import DType
from ...codegen.expressions import ZERO, Index, SourceContext, c_index, loop_indices
from ...codegen.loops import nest
from ...ir.functions import c_type
from ...ir.indexing import affine_sum, c_strides, own_axis
from ...ir.node import Node
from ...schedule.fuse import Kernel
from .grid import THREADS, block_count, grid_loop, unravel
from .indices import KernelEmitter

FEW = 64  # positions, or parts of them, that a thread goes through
PLACES = 8  # that a block looks for
WARP = 32  # threads, and marks in a word
TOGETHER = 8  # positions whose values are read together
BUSY = 264  # blocks, below which they share out the positions of a place
PART = 1024  # positions, at least, of a share
MARKS = f"{PLACES * (THREADS + THREADS // WARP)} * sizeof(unsigned)"  # a word of each thread, and which are not 0

Axis = tuple[str, int]  # the name of an index, and its length


@dataclasses.dataclass(frozen=True)
class _Axes:
    """The axes of a scatter. The index along axis 2 of what is added is called i2, that of a named one s2."""

    result: list[Axis]
    free: list[Axis]
    counted: list[Axis]
    named: list[Axis]
    positions: list[Axis]  # of the indices, but for those that are counted
    indices: list[Node]  # along the named axes

    @property
    def count(self) -> int:
        """Of the positions that are gone through for each place."""
        return _size(self.positions)


def emit_scatter(
    context: SourceContext, kernel: Kernel, arrays: dict[str, tuple[int, DType]]
) -> Iterator[tuple[list[str], int, str]]:
    """The lines of each section that it takes, how many blocks run it, and the size of their shared memory.

    Arguments:
        arrays: of the program. If positions are shared out, one for the sums of each share is added.
    """
    (node,) = kernel.nodes
    axes = _find_axes(node)
    if axes.count <= FEW or not node.size:
        yield _by_elements(context, kernel, axes), block_count(node.size), ""
        return
    blocks = _size(axes.counted) * -(-_size(axes.named) // PLACES)
    share = -(-axes.count // max(1, min(FEW, axes.count // PART, BUSY // blocks)))
    parts = -(-axes.count // share)
    if parts == 1:
        yield _by_places(context, kernel, axes, context.name(node, write=True), share), blocks, MARKS
        return
    target, kind = context.name(node), c_type(node.dtype)
    parts_of = f"parts_of_{target}"
    arrays[parts_of] = (parts * node.size, node.dtype)
    context.used = {parts_of: (node, True)}
    yield _by_places(context, kernel, axes, parts_of, share), blocks * parts, MARKS
    context.used = {parts_of: (node, False), target: (node, True)}
    added = f"for (int part = 0; part < {parts}; ++part) total += {parts_of}[part * {node.size}ll + e];"
    merge = [grid_loop(node.size), f"{kind} total = 0;", added, f"{target}[e] = total;", "}"]
    yield merge, block_count(node.size), ""


def _find_axes(node: Node) -> _Axes:
    g, *indices = node.args
    kinds, position = node.params
    result: list[Axis] = []
    counted: list[Axis] = []
    named: list[Axis] = []
    for r, ((kind, k), n) in enumerate(zip(kinds, node.shape)):
        axis = (f"i{k}", n)
        if kind == "index":
            along = _counted_axis(indices[k], n)
            axis = (f"s{r}" if along is None else f"i{position + along}", n)
            of_kind = named if along is None or axis in counted else counted
            axis = (f"s{r}", n) if of_kind is named else axis
            of_kind.append(axis)
        result.append(axis)
    names = [name for name, _ in counted]
    positions = [(f"i{k}", g.shape[k]) for k in range(position, position + indices[0].ndim) if f"i{k}" not in names]
    free = [axis for axis in result if axis not in counted and axis not in named]
    looked_for = [indices[k] for (_, k), axis in zip(kinds, result) if axis in named]
    return _Axes(result, free, counted, named, positions, looked_for)


def _counted_axis(indices: Node, length: int) -> int | None:
    """The axis along which indices are 0, 1, 2 … up to the last one that there is; None where they are not."""
    if indices.op != "view" or indices.args[0].op != "iota" or indices.args[0].size != length:
        return None
    return next((i for i, n in enumerate(indices.shape) if n == length and own_axis(indices.params, i) == 0), None)


def _size(axes: Sequence[Axis]) -> int:
    return math.prod(n for _, n in axes)


def _number(axes: Sequence[Axis], index: Sequence[Index]) -> str:
    """The number of an element among those along some axes."""
    return c_index(affine_sum(0, list(zip(index, c_strides([n for _, n in axes])))))


def _own(axes: Sequence[Axis]) -> list[Index]:
    return [ZERO if n == 1 else (0, ((name, 1),)) for name, n in axes]


def _named_place(emitter: KernelEmitter, node: Node, axes: _Axes) -> str:
    """The number of the place that a position names."""
    position = node.params[1]
    at = loop_indices(node.args[0].shape)[position : position + node.args[1].ndim]
    return _number(axes.named, [emitter.checked_index(x, at, n) for x, (_, n) in zip(axes.indices, axes.named)])


def _by_elements(context: SourceContext, kernel: Kernel, axes: _Axes) -> list[str]:
    """A thread goes through all positions for its element of the result."""
    (node,) = kernel.nodes
    g = node.args[0]
    emitter = KernelEmitter(context, kernel)
    place = _named_place(emitter, node, axes)
    looked = len(emitter.lines)
    value = emitter.value(g, loop_indices(g.shape))
    condition = f"if ({place} == {_number(axes.named, _own(axes.named))}) {{"
    step = [*emitter.lines[:looked], condition, *emitter.lines[looked:], f"total += {value};", "}"]
    return [
        *emitter.outside,
        grid_loop(node.size),
        *unravel("e", axes.result),
        f"{c_type(node.dtype)} total = 0;",
        *nest([(name, str(n)) for name, n in axes.positions], step),
        f"{context.name(node, write=True)}[e] = total;",
        "}",
    ]


def _by_places(context: SourceContext, kernel: Kernel, axes: _Axes, target: str, share: int) -> list[str]:
    """The threads of a block go through a share of the positions for PLACES places; see above."""
    (node,) = kernel.nodes
    places = _size(axes.named)
    groups, outer = -(-places // PLACES), _size(axes.counted)
    words = THREADS
    return [
        f"auto &marks = *(unsigned (*)[{PLACES}][{words}])shared;",
        f"auto &marked = *(unsigned (*)[{PLACES}][{words // WARP}])(shared + sizeof marks);",
        f"const int warp = threadIdx.x / {WARP}, lane = threadIdx.x % {WARP};",
        f"const long long first = block % {groups} * {PLACES}, o = block / {groups} % {outer};",
        f"const long long part = block / {groups * outer}, start = part * {share};",
        f"const long long stop = start + {share} < {axes.count} ? start + {share} : {axes.count};",
        *unravel("o", axes.counted),
        f"for (long long begin = start; begin < stop; begin += {words * WARP}) {{",
        f"for (int k = 0; k < {PLACES}; ++k) marks[k][threadIdx.x] = 0;",
        f"if (threadIdx.x < {PLACES * words // WARP}) (&marked[0][0])[threadIdx.x] = 0;",
        "__syncthreads();",
        *_mark(context, kernel, axes),
        "__syncthreads();",
        "const long long s = first + warp;",
        f"if (s < {places}) {{",
        *unravel("s", axes.named),
        *_add_marked(context, kernel, axes, f"{target}[part * {node.size}ll + "),
        "}",
        "__syncthreads();",
        "}",
    ]


def _mark(context: SourceContext, kernel: Kernel, axes: _Axes) -> list[str]:
    """Marks for the positions that name one of the block's places."""
    emitter = KernelEmitter(context, kernel)
    place = _named_place(emitter, kernel.nodes[0], axes)
    return [
        "{",
        *emitter.outside,
        f"for (int turn = 0; turn < {WARP}; ++turn) {{",
        f"const int word = turn * {THREADS // WARP} + warp;",
        f"const long long q = begin + word * {WARP} + lane;",
        "if (q < stop) {",
        *unravel("q", axes.positions),
        *emitter.lines,
        f"const long long own = {place} - first;",
        f"if (own >= 0 && own < {PLACES}) {{",
        "atomicOr(&marks[own][word], 1u << lane);",
        f"atomicOr(&marked[own][word / {WARP}], 1u << word % {WARP});",
        "}",
        "}",
        "}",
        "}",
    ]


def _add_marked(context: SourceContext, kernel: Kernel, axes: _Axes, target: str) -> list[str]:
    """A warp adds up what its marks stand for, each thread some elements of the place."""
    (node,) = kernel.nodes
    g = node.args[0]
    emitter = KernelEmitter(context, kernel)
    value = emitter.value(g, loop_indices(g.shape))
    element = f"{target}{_number(axes.result, _own(axes.result))}]"
    return [
        *emitter.outside,
        f"for (long long f = lane; f < {_size(axes.free)}; f += {WARP}) {{",
        *unravel("f", axes.free),
        f"{c_type(node.dtype)} total = begin == start ? 0 : {element};",
        f"for (int line = 0; line < {THREADS // WARP}; ++line) {{",
        "for (unsigned rest = marked[warp][line]; rest; rest &= rest - 1) {",
        f"const int word = line * {WARP} + __ffs(rest) - 1;",
        "const unsigned bits = marks[warp][word];",
        f"for (int k = 0; k < {WARP}; k += {TOGETHER}) {{",
        f"if (bits >> k & {(1 << TOGETHER) - 1}) {{",
        "#pragma unroll",
        f"for (int j = k; j < k + {TOGETHER}; ++j) {{",
        "const bool there = bits >> j & 1;",
        f"const long long q = begin + word * {WARP} + (there ? j : __ffs(bits) - 1);",
        *unravel("q", axes.positions),
        *emitter.lines,
        f"total += there ? {value} : 0;",
        *["}"] * 5,
        f"{element} = total;",
        "}",
    ]
