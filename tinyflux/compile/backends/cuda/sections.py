"""The text of a section: its blocks go through ranges of results, stage by stage.

Threads share out the results of a range. Where these are few, several threads, the lanes of a result, share out what it
is made of, and the first of them finishes it. Lanes lie beside each other in a warp where neighbouring terms do in
memory, and exchange their totals there; otherwise neighbouring threads have neighbouring results, and totals go through
shared memory. Sums are added up in one order, whatever runs first.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from ....types import DType
from ...codegen.expressions import ZERO, Index, SourceContext, c_index, loop_indices
from ...codegen.loops import merge_axes, nest
from ...codegen.reductions import combine, emit_arg_extremum, neutral_element
from ...ir.functions import c_type
from ...ir.node import Node
from ...schedule.fuse import Kernel
from .grid import BLOCKS, THREADS, unravel
from .indices import KernelEmitter
from .lanes import TERMS, WARP, Lanes, find_lanes, term_count
from .rows import emit_rows, is_for_threads
from .stages import Axes, Group, Stage, index_names, kernel_reads

BUSY = 1 << 16  # threads that keep a GPU busy
ROW_BLOCKS = 256  # blocks that do so, where each goes through rows
PART = 64  # that it does before more blocks share the terms of a result
MAX_BLOCKS_PER_SUM = 512  # blocks, at most, that add up parts of the same sums
UNROLLED = 16  # rounds of a loop whose reads are under way at the same time
AHEAD = 4  # elements of a map that one block alone has under way in each thread
SHORT = 8  # statements of a loop that is unrolled
SHARED = "shared"  # the parameter of a section that is shared memory


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
        alone: the number of threads if one block does everything; 0 if it takes as many blocks as it needs.
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
        self._stored = context.schedule.stored
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
            lanes = find_lanes(stage, self._stored, results, self._threads, self._threads, True)
            read = {x for kernel in stage.kernels for x, _ in kernel_reads(kernel, self._stored)}
            if written & read:
                lines.append("__syncthreads();")
                written = set()
            written |= set(stage.nodes)
            lines += ["{", *self._range(stage, lanes, results), "}"]
        self._add(lines, -(-rows // count), self._shared(lines))

    def stage(self, stage: Stage) -> None:
        """Write the section of one stage, whose results blocks share out; two sections where they share sums, too."""
        room = self._threads if self._alone else BUSY
        lanes = find_lanes(stage, self._stored, stage.size, room, self._threads, False)
        side = self._threads // lanes.count
        blocks = 1 if self._alone else max(1, min(-(-stage.size // side), BLOCKS))
        chunk = -(-stage.size // (blocks * side)) * side
        blocks = -(-stage.size // chunk) if chunk else 1
        terms = max(map(term_count, stage.heads), default=1)
        parts = max(1, min(-(-terms // (lanes.count * PART)), MAX_BLOCKS_PER_SUM // blocks))
        if self._alone or lanes.count == 1 or len(stage.heads) > 1 or parts == 1:
            lines = self._range(stage, lanes, chunk)
            self._add(lines, blocks, self._shared(lines))
            return
        (head,) = stage.heads
        name = self.parts(head.nodes[0], parts)
        lines = self._range(stage, dataclasses.replace(lanes, parts=parts), chunk, name)
        self._add(lines, blocks * parts, self._shared(lines))
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
        lines = self._results(stage, [body], lanes, side)
        self._add(lines, max(1, -(-node.size // side)), self._shared(lines))

    def _loop(self) -> str:
        """The head of the loop in which threads go through a range."""
        return f"for (long long e = begin + threadIdx.x; e < end; e += {self._threads}) {{"

    def _shared(self, lines: Sequence[str]) -> str:
        """How many bytes of shared memory lines need: a number for each thread, if they exchange totals there."""
        return f"{8 * self._threads}" if any(SHARED in line for line in lines) else ""

    def _range(self, stage: Stage, lanes: Lanes, chunk: int, target: str = "") -> list[str]:
        """What a block does: its range of so many results of a stage."""
        if not stage.heads:
            return self._map(stage, chunk)
        return self._results(
            stage, [self._body(*head, len(stage.shape)) for head in stage.heads.items()], lanes, chunk, target
        )

    def _map(self, stage: Stage, chunk: int) -> list[str]:
        kernel = stage.kernels[0]
        index: list[Index] = [ZERO] * len(kernel.shape)
        axes = []
        for group in merge_axes(self._context, kernel):
            length = math.prod(kernel.shape[i] for i in group)
            if length != 1:
                index[group[-1]] = (0, ((f"i{group[-1]}", 1),))
            axes.append((f"i{group[-1]}", length))
        emitter = KernelEmitter(self._context, kernel)
        results = emitter.results(tuple(index))
        head = [*bounds(stage.size, chunk), *emitter.outside]
        if self._alone:
            return [*head, *self._ahead(results, unravel("e", axes), emitter.lines)]
        stores = [f"{place} = {value};" for _, place, value in results]
        return [*head, self._loop(), *unravel("e", axes), *emitter.lines, *stores, "}"]

    def _ahead(self, results: list[tuple[Node, str, str]], index: list[str], lines: list[str]) -> list[str]:
        """The loop of a map in one block: what several elements need is read before any of them is stored."""
        loops = [
            *["#pragma unroll", f"for (int k = 0; k < {AHEAD}; ++k) {{"],
            f"const long long e = first + k * {self._threads};",
            *["if (e < end) {", *index],
        ]
        keep = [f"kept{n}[k] = {value};" for n, (_, _, value) in enumerate(results)]
        stores = [f"{place} = kept{n}[k];" for n, (_, place, _) in enumerate(results)]
        return [
            f"for (long long first = begin + threadIdx.x; first < end; first += {AHEAD * self._threads}) {{",
            *(f"{c_type(node.dtype)} kept{n}[{AHEAD}];" for n, (node, _, _) in enumerate(results)),
            *[*loops, *lines, *keep, "}", "}"],
            *[*loops, *stores, "}", "}"],
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
            return [*bounds(size, chunk), self._loop(), *unravel("e", at), *totals, *sweeps, *finish, "}"]
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
            lines.append(f"if (threadIdx.x % {WARP} == 0) (({kind} *){SHARED})[{first}] = {total};")
        else:
            first, step, count = "threadIdx.x", side, lanes.count
            lines.append(f"(({kind} *){SHARED})[threadIdx.x] = {total};")
        return [
            *lines,
            "__syncthreads();",
            "if (lane == 0) {",
            f"for (int other = 1; other < {count}; ++other) {{",
            combine(body.function, total, f"(({kind} *){SHARED})[{first} + other * {step}]", dtype),
            "}",
            "}",
            "__syncthreads();",
        ]


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
        sweep = emit_arg_extremum(node, place, inner, body.lines, body.value, total)
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
    limit = [f"const long long stop = (part + 1) * {chunk}ll < {body.length} ? (part + 1) * {chunk}ll : {body.length};"]
    return [
        *body.outside,
        *(limit if lanes.parts > 1 else []),
        *unroll,
        f"for (long long r = {start}; r < {stop}; r += {lanes.count}) {{",
        *unravel("r", body.axes),
        *step,
        "}",
    ]
