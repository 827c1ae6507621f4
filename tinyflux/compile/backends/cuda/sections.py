"""The text of a section: its blocks go through ranges of results, stage by stage.

Threads share out the results of a range. Where these are few, several threads, the lanes of a result, share out what it
is made of, and the first of them finishes it. Lanes lie beside each other in a warp where neighbouring terms do in
memory, and exchange their totals there; otherwise neighbouring threads have neighbouring results, and totals go through
shared memory. Sums are added up in one order, whatever runs first.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

from ....types import DType
from ...codegen.expressions import ZERO, Affine, SourceContext, c_index, loop_indices
from ...codegen.loops import merge_axes, nest
from ...codegen.reductions import combine, emit_arg_extremum, neutral_element
from ...ir.functions import c_type
from ...ir.indexing import Map, c_strides, identity
from ...ir.node import Node
from ...schedule.fuse import Kernel, Stored
from .grid import BLOCKS, THREADS, unravel
from .indices import KernelEmitter
from .rows import emit_rows, is_for_threads
from .stages import Axes, Group, Stage, index_names, kernel_reads

TREE = ("sum", "product", "maximum", "minimum")  # reductions that can be done in any order
WARP = 32
BUSY = 1 << 16  # threads that keep a GPU busy
ROW_BLOCKS = 256  # blocks that do so, where each goes through rows
TERMS = 8  # that a lane adds up, at least
PART = 64  # that it does before more blocks share the terms of a result
MAX_BLOCKS_PER_SUM = 512  # blocks, at most, that add up parts of the same sums
SECTOR = 8  # results beside each other, whose numbers come from memory together
UNROLLED = 16  # rounds of a loop whose reads are under way at the same time
AHEAD = 4  # the same where a round is a whole result
SHORT = 8  # statements of a loop that is unrolled


@dataclasses.dataclass(frozen=True)
class Lanes:
    """How threads share out results and their terms.

    Attributes:
        count: lanes of a result.
        adjacent: whether these are neighbouring threads.
        parts: how many blocks share the terms of a result.
    """

    count: int = 1
    adjacent: bool = True
    parts: int = 1


@dataclasses.dataclass
class Body:
    """What a reduction brings together: statements for one term, whose indices go along `axes`."""

    node: Node
    axes: list[tuple[str, int]]
    outside: list[str]
    lines: list[str]
    value: str

    @property
    def function(self) -> str:
        return str(self.node.params[0])

    @property
    def length(self) -> int:
        return math.prod(n for _, n in self.axes)


class SectionEmitter:
    """Writes sections for blocks of so many threads.

    Arguments:
        add: takes the lines of a section, how many blocks share its work, and how many bytes of shared memory it needs.
        arrays: takes the sizes and dtypes of arrays that the sections need for themselves.
        needed: the nodes that are read in other sections than those that make them.
        alone: how many threads has the one block that does all; 0 for as many blocks as it takes.
    """

    def __init__(
        self,
        context: SourceContext,
        add: Callable[[list[str], int, str], None],
        arrays: dict[str, tuple[int, DType]],
        needed: set[Node],
        alone: int = 0,
    ) -> None:
        self._context = context
        self._add = add
        self._arrays = arrays
        self._needed = needed
        self._alone = alone > 0
        self._threads = alone or THREADS

    def rows(self, group: Group) -> None:
        """Write the section of several stages: a block goes through some rows, one stage after another."""
        rows = group[0].shape[0] if group[0].shape else 1
        if not self._alone and is_for_threads(group, rows, self._context.schedule.registers):
            self._add(emit_rows(self._context, group, rows, self._needed), -(-rows // THREADS), "")
            return
        width = max(stage.size // rows for stage in group)
        count = rows if self._alone else max(1, min(rows // ROW_BLOCKS, -(-self._threads // max(1, width))))
        lines: list[str] = []
        written: set[Node] = set()  # since the last barrier
        for stage in group:
            results = stage.size // rows * count
            lanes = self._lanes(stage, results, self._threads, True)
            read = {x for kernel in stage.kernels for x, _ in kernel_reads(kernel, self._context.schedule.stored)}
            if written & read:
                lines.append("__syncthreads();")
                written = set()
            written |= set(stage.nodes)
            lines += ["{", *self._range(stage, lanes, results), "}"]
        self._add(lines, -(-rows // count), self._shared)

    def stage(self, stage: Stage) -> None:
        """Write the section of one stage, whose results blocks share out; two sections where they share sums, too."""
        lanes = self._lanes(stage, stage.size, self._threads if self._alone else BUSY, False)
        side = self._threads // lanes.count
        blocks = 1 if self._alone else max(1, min(-(-stage.size // side), BLOCKS))
        chunk = -(-stage.size // (blocks * side)) * side
        blocks = -(-stage.size // chunk) if chunk else 1
        length = max(map(_length, stage.heads), default=1)
        parts = max(1, min(-(-length // (lanes.count * PART)), MAX_BLOCKS_PER_SUM // blocks))
        if self._alone or lanes.count == 1 or len(stage.heads) > 1 or parts == 1:
            self._add(self._range(stage, lanes, chunk), blocks, self._shared)
            return
        (head,) = stage.heads
        name = self.parts(head.nodes[0], parts)
        self._add(
            self._range(stage, dataclasses.replace(lanes, parts=parts), chunk, name), blocks * parts, self._shared
        )
        self.merge(stage, parts)

    def parts(self, node: Node, parts: int) -> str:
        """The array for parts of sums, which is then declared."""
        name = "parts_of_" + self._context.name(node)
        self._arrays[name] = (parts * node.size, node.dtype)
        self._context.used = {name: (node, True)}
        return name

    def merge(self, stage: Stage, parts: int) -> None:
        """Write the section that adds up parts of sums, and does what comes then."""
        (head,) = stage.heads
        (node,) = head.nodes
        name = self.parts(node, parts)
        self._context.used[name] = (node, False)
        body = Body(node, [("part", parts)], [], [], f"{name}[part * {node.size}ll + e]")
        lanes = Lanes(min(WARP, 1 << (parts // TERMS).bit_length()), False)
        side = self._threads // lanes.count
        self._add(self._results(stage, [body], lanes, side), max(1, -(-node.size // side)), self._shared)

    def _loop(self) -> list[str]:
        """The head of the loop in which threads go through a range; one block alone reads several elements at once."""
        unroll = [f"#pragma unroll {AHEAD}"] if self._alone else []
        return [*unroll, f"for (long long e = begin + threadIdx.x; e < end; e += {self._threads}) {{"]

    @property
    def _shared(self) -> str:
        return f"{8 * self._threads}"

    def _range(self, stage: Stage, lanes: Lanes, chunk: int, target: str = "") -> list[str]:
        """What a block does: its range of so many results of a stage."""
        if not stage.heads:
            return self._map(stage, chunk)
        return self._results(
            stage, [self._body(*head, len(stage.shape)) for head in stage.heads.items()], lanes, chunk, target
        )

    def _map(self, stage: Stage, chunk: int) -> list[str]:
        kernel = stage.kernels[0]
        index: list[Affine] = [ZERO] * len(kernel.shape)
        axes = []
        for group in merge_axes(self._context, kernel):
            length = math.prod(kernel.shape[i] for i in group)
            if length != 1:
                index[group[-1]] = (0, ((f"i{group[-1]}", 1),))
            axes.append((f"i{group[-1]}", length))
        emitter = KernelEmitter(self._context, kernel)
        stores = emitter.stores(tuple(index))
        return [
            *bounds(stage.size, chunk),
            *emitter.outside,
            *self._loop(),
            *unravel("e", axes),
            *emitter.lines,
            *stores,
            "}",
        ]

    def _results(self, stage: Stage, bodies: Sequence[Body], lanes: Lanes, chunk: int, target: str = "") -> list[str]:
        """The results of reductions, and what is calculated of them."""
        shape, size = stage.shape, stage.size
        side = self._threads // lanes.count
        lane, place = (
            (f"threadIdx.x % {lanes.count}", f"threadIdx.x / {lanes.count}")
            if lanes.adjacent
            else (f"threadIdx.x / {side}", f"threadIdx.x % {side}")
        )
        sweeps = [line for k, body in enumerate(bodies) for line in ["{", *_sweep(body, f"total{k}", lanes), "}"]]
        totals = [
            f"{c_type(b.node.dtype)} total{k} = {neutral_element(b.function, b.node.dtype)};"
            for k, b in enumerate(bodies)
        ]
        at = [(f"i{k}", n) for k, n in enumerate(shape)]
        made = [body.node for body in bodies]
        finish = [f"{target}[part * {size}ll + e] = total0;"] if target else self.finish(stage, made)
        if lanes.count == 1:
            return [*bounds(size, chunk), *self._loop(), *unravel("e", at), *totals, *sweeps, *finish, "}"]
        joined = [line for k, body in enumerate(bodies) for line in self._join(body, f"total{k}", lanes)]
        return [
            *bounds(size, chunk, lanes.parts),
            f"const int lane = {lane};",
            f"for (long long first = begin; first < end; first += {side}) {{",
            f"const long long e = first + {place};",
            *unravel("e", at),
            *totals,
            *["if (e < end) {", *sweeps, "}"],
            *joined,
            *["if (lane == 0 && e < end) {", *finish, "}"],
            "}",
        ]

    def _body(self, head: Kernel, axes: Axes, ndim: int) -> Body:
        """A reduction: its results have the indices that `axes` says, i0, i1 …; its terms have the ones behind."""
        (node,) = head.nodes
        (x,), (_, reduced) = node.args, node.params
        names = index_names(node, axes, ndim)
        emitter = KernelEmitter(self._context, head)
        value = emitter.value(x, tuple(ZERO if n == 1 else (0, ((name, 1),)) for name, n in zip(names, x.shape)))
        return Body(node, [(names[k], x.shape[k]) for k in reduced], emitter.outside, emitter.lines, value)

    def finish(self, stage: Stage, nodes: Sequence[Node]) -> list[str]:
        """What is done with totals, those of some nodes: they are stored if others read them; the map is calculated."""
        at = loop_indices(stage.shape)
        emitter = KernelEmitter(self._context, stage.tail or next(iter(stage.heads)))
        lines = []
        for k, (node, axes) in enumerate(zip(nodes, stage.heads.values())):
            here = tuple(ZERO if n == 1 else at[axis] for n, axis in zip(node.shape, axes))
            emitter.emitted[node, here] = f"total{k}"
            if node not in self._context.schedule.registers:
                place = c_index(emitter.offset(node, here))
                lines.append(f"{self._context.name(node, write=True)}[{place}] = total{k};")
        stores = emitter.stores(at) if stage.tail else []
        return [*emitter.outside, *emitter.lines, *lines, *stores]

    def _join(self, body: Body, total: str, lanes: Lanes) -> list[str]:
        """What brings the totals of lanes together in the first of them."""
        kind, dtype = c_type(body.node.dtype), body.node.dtype
        side = self._threads // lanes.count
        lines = []
        if lanes.adjacent:
            lines = [
                f"for (int other = {min(lanes.count, WARP) // 2}; other > 0; other /= 2) {{",
                f"const {kind} value = __shfl_xor_sync(0xffffffff, {total}, other);",
                combine(body.function, total, "value", dtype),
                "}",
            ]
            if lanes.count <= WARP:
                return lines
            first, step, count = f"threadIdx.x / {WARP}", 1, lanes.count // WARP
            lines.append(f"if (threadIdx.x % {WARP} == 0) (({kind} *)shared)[{first}] = {total};")
        else:
            first, step, count = "threadIdx.x", side, lanes.count
            lines.append(f"(({kind} *)shared)[threadIdx.x] = {total};")
        return [
            *lines,
            "__syncthreads();",
            "if (lane == 0) {",
            f"for (int other = 1; other < {count}; ++other) {{",
            combine(body.function, total, f"(({kind} *)shared)[{first} + other * {step}]", dtype),
            "}",
            "}",
            "__syncthreads();",
        ]

    def _lanes(self, stage: Stage, results: int, room: int, in_warp: bool) -> Lanes:
        """How many lanes each of some results is given, of as many threads as there are to be.

        Arguments:
            in_warp: whether lanes are to lie beside each other, whatever lies so in memory.
        """
        if not stage.heads or any(head.nodes[0].params[0] not in TREE for head in stage.heads):
            return Lanes()
        head = max(stage.heads, key=_length)
        length = _length(head)
        along = _lies_by_terms(head, self._context.schedule.stored)
        adjacent = along or in_warp
        most = WARP if in_warp else self._threads // (1 if adjacent else min(SECTOR, 1 << (results - 1).bit_length()))
        count = 1
        while 2 * count <= most and TERMS * count < length and 2 * count * results <= room:
            count *= 2
        if along and length >= SECTOR * TERMS:
            count = max(count, SECTOR)
        return Lanes(count, adjacent)


def bounds(size: int, chunk: int, parts: int = 1) -> list[str]:
    """The range of results that a block calculates; where blocks share the terms, too, which part it adds up."""
    columns = -(-size // chunk) if chunk else 1
    block = "block"
    lines = []
    if parts > 1:
        lines = [f"const int part = block / {columns};"]
        block = f"(block % {columns})"
    return [
        *lines,
        f"const long long begin = {block} * {chunk}ll;",
        f"const long long end = begin + {chunk} < {size} ? begin + {chunk} : {size};",
    ]


def _sweep(body: Body, total: str, lanes: Lanes) -> list[str]:
    """The loop in which a lane brings its terms together."""
    node = body.node
    if body.function in ("argmax", "argmin"):
        ((name, n),) = body.axes
        place, inner = (name if n != 1 else "0"), [(name, str(n))]
        sweep = emit_arg_extremum(body.function, node, node.args[0], place, inner, body.lines, body.value, total)
        return [*body.outside, *sweep]
    step = [*body.lines, combine(body.function, total, body.value, node.dtype)]
    unroll = [f"#pragma unroll {UNROLLED}"] if len(step) <= SHORT and body.length > 1 else []
    if lanes.count == 1:
        axes = [(name, str(n)) for name, n in body.axes]
        return [*body.outside, *nest(axes, step, *unroll)]
    chunk = -(-body.length // lanes.parts)
    start, stop = "lane", str(body.length)
    if lanes.parts > 1:
        start, stop = f"part * {chunk}ll + lane", "stop"
    bounds = [
        f"const long long stop = (part + 1) * {chunk}ll < {body.length} ? (part + 1) * {chunk}ll : {body.length};"
    ]
    return [
        *body.outside,
        *(bounds if lanes.parts > 1 else []),
        *unroll,
        f"for (long long r = {start}; r < {stop}; r += {lanes.count}) {{",
        *unravel("r", body.axes),
        *step,
        "}",
    ]


def _length(head: Kernel) -> int:
    """How many numbers each result of a reduction is made of."""
    (node,) = head.nodes
    return math.prod(node.args[0].shape[i] for i in node.params[1])


def _lies_by_terms(head: Kernel, stored: Stored) -> bool:
    """Whether neighbouring terms lie closer together in memory than neighbouring results, in the largest array."""
    (node,) = head.nodes
    (x,), reduced = node.args, node.params[1]
    kept = [i for i, n in enumerate(x.shape) if i not in reduced and n != 1]
    terms = [i for i in reduced if x.shape[i] != 1]
    if not kept or not terms:
        return not kept

    def step(strides: Sequence[int], axis: int) -> float:
        return abs(strides[axis]) or math.inf

    found = [(y.size, step(strides, terms[-1]), step(strides, kept[-1])) for y, strides in _accesses(x, stored)]
    _, by_term, by_result = max(found, default=(0, math.inf, math.inf))
    return by_term < by_result


def _accesses(x: Node, stored: Stored) -> Iterator[tuple[Node, list[int]]]:
    """The arrays that are read in the calculation of an element, with their strides along its axes.

    Along those in which a gather picks elements they are taken to be long.
    """
    todo: list[tuple[Node, Map | None]] = [(x, identity(x.ndim))]
    while todo:
        y, at = todo.pop()
        if at is None:
            continue
        if y in stored or y.op == "input":
            strides = [0] * x.ndim
            for (_, terms), stride in zip(at, c_strides(y.shape)):
                for axis, s in terms:
                    strides[axis] += s * stride
            yield y, strides
        elif y.op == "gather":
            axes, position = y.params
            picked = at[position : position + y.args[1].ndim] if len(y.args) > 1 else ()
            far = (0, tuple((axis, y.args[0].size) for _, terms in picked for axis, _ in terms))
            todo.append((y.args[0], tuple(at[k] if kind == "axis" else far for kind, k in axes)))
        else:
            todo += y.reads(at)
