"""A scheduled program as CUDA: a kernel for each of its loops and contractions, and products of matrices for cuBLAS.

A thread calculates an element of a map. The elements that a sum brings together are shared out between the threads of a
block, or of several blocks, whose sums a second kernel adds up, always in the same order. What is calculated inside a
loop is written by `KernelEmitter`, as for the CPU.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import DTypeLike

from ....errors import NotCompilable
from ....nn import cudnn
from ....types import DType
from ...codegen.expressions import (
    ZERO,
    Affine,
    SourceContext,
    affine_sum,
    c_index,
    loop_indices,
)
from ...codegen.loops import indent, merge_axes, nest
from ...codegen.reductions import combine, emit_arg_extremum, emit_scan, neutral_element
from ...ir import ops
from ...ir.functions import c_type
from ...ir.indexing import c_strides
from ...ir.node import Node
from ...schedule.fuse import UPDATE, Kernel, Schedule
from .contractions import emit_contraction, find_tiling
from .grid import THREADS, block_count, grid_loop, unravel
from .indices import KernelEmitter
from .launches import FAULT, RECORD, Barrier, Convolution, Place, Section, Step, relocate
from .levels import Launched, find_levels, make_kernels
from .products import as_matrix_product
from .row_fusion import group_rows, row_axis
from .scatter import emit_scatter
from .sequences import unroll

SERIAL = 64  # numbers; so many at most are added up by one thread
ITEMS_PER_THREAD = 32  # numbers that a thread adds up, before more blocks are taken
MAX_BLOCKS_PER_SUM = 512  # blocks, at most, that add up parts of the same sums
TREE = ("sum", "product", "maximum", "minimum")  # reductions that can be done in any order
ROW = "i0"  # the index of a row, where one thread calculates rows by several loops
UNSUPPORTED = ("psi", "zeta")  # not in scalar_math.h


def unsupported(node: Node) -> str:
    """What in a node can't be translated to CUDA, by the name that users know; empty if all can."""
    if isinstance(node, ops.Map) and node.params in UNSUPPORTED:
        return f"scipy.special.{node.params}"
    if isinstance(node, ops.Call) and node.params[0] not in cudnn.FUNCTIONS:
        return str(node.params[0])
    return ""


class Translation:
    """A program as CUDA.

    Arguments:
        schedule: the program, as it is scheduled, without blocks of rows.
        trusted: inputs that hold indices which are known to be right.
        around: the program that this one is the body of a loop in: it has the sections and the checks of both.
        demands: what has to be true beside a loss that is finite, with the errors if it isn't.

    Attributes:
        steps: sections of kernels and products, in an order in which they can run.
        arrays: how many elements, of which dtype, the arrays in between have, by their names.

    **An index out of bounds** is noted in an array `fault` (int32), as fault[0]: the number of an error, see `checks`.

    **An iteration of training** overwrites some of its inputs, after its loss has been looked at. An array `record`
    (float64) is given to it: record[0] is how many losses were entered, record[1] the last one, and record[3],
    record[4] … are the losses; record[2] is 0. Once a loss is not finite, or there is a fault, which then becomes
    fault[1], all losses are NaN, and inputs are not overwritten any more.

    Errors: NotCompilable for what has no form in CUDA.
    """

    def __init__(
        self,
        schedule: Schedule,
        trusted: set[Node],
        around: Translation | None = None,
        demands: Mapping[Node, tuple[type[Exception], str]] = MappingProxyType({}),
    ) -> None:
        self._gated = False  # whether sections do nothing if a loss was not finite
        for node in schedule.nodes:
            what = unsupported(node)
            if what:
                raise NotCompilable(f"{what} can't be compiled for the GPU.")
        self._context = SourceContext(schedule, trusted, None)
        self.steps: list[Step] = []
        self.arrays: dict[str, tuple[int, DType]] = {}
        self._texts: list[str] = [_header()] if around is None else around._texts
        if around is not None:
            self._context.checks = around.checks
        for node in self._context.offsets:
            self.arrays[self._context.name(node)] = (node.size, node.dtype)
        products = {k: as_matrix_product(self._context, k) for k in schedule.kernels if k.kind == "product"}
        self._products = {kernel: multiply for kernel, multiply in products.items() if multiply is not None}
        tilings = {kernel: find_tiling(kernel) for kernel in products if kernel not in self._products}
        self._tilings = {kernel: tiling for kernel, tiling in tilings.items() if tiling is not None}
        self._context.used = {}
        kernels = [
            kernel
            if kernel.kind != "product" or kernel in self._products or kernel in self._tilings
            else dataclasses.replace(kernel, kind="reduce")
            for kernel in schedule.kernels
        ]
        self._write([kernel for kernel in kernels if kernel.phase != UPDATE])
        if schedule.wanted:
            self._look(schedule.wanted, demands)
        self._write([kernel for kernel in kernels if kernel.phase == UPDATE])

    @functools.cached_property
    def _kernels(self) -> tuple[list[list[Launched]], list[str]]:
        return make_kernels(find_levels(self.steps))

    @property
    def levels(self) -> list[list[Launched]]:
        """What is to be launched: level by level, as what is in one level may run at the same time."""
        return self._kernels[0]

    @property
    def launches(self) -> list[Launched]:
        """The same, in an order in which it can run."""
        return [launch for level in self.levels for launch in level]

    @property
    def first_lasting(self) -> int:
        """The number of the first launch that changes what stays: inputs, `record` and `fault`."""
        results = self._context.schedule.results
        lasting = {RECORD, FAULT, *(f"p{r.pointer}" for r in results if r.overwrites is not None)}
        for i, launch in enumerate(self.launches):
            if any(write and place.array in lasting for place, write in zip(launch.arrays, launch.writes)):
                return i
        return len(self.launches)

    @property
    def text(self) -> str:
        """The source of all kernels."""
        return "\n".join([*self._texts, *self._kernels[1]])

    @property
    def checks(self) -> list[tuple[type[Exception], str]]:
        """The errors that kernels note in `fault`, by their numbers there, which count from 1."""
        return self._context.checks

    def _write(self, kernels: Sequence[Kernel]) -> None:
        for group in group_rows(kernels, self._context.schedule.stored, SERIAL):
            if len(group) > 1:
                self._by_rows(group)
            else:
                _WRITERS[group[0].kind](self, group[0])

    def _look(self, wanted: Sequence[Node], demands: Mapping[Node, tuple[type[Exception], str]]) -> None:
        """Enter the loss into `record`: as NaN where one before it was not finite, or something else is wrong."""
        context = self._context
        loss = context.name(wanted[0])
        faults = [
            f"if (good && !{context.name(node)}[0]) fault[1] = {context.error_code(*demands[node])};"
            for node in wanted[1:]
        ]
        context.used |= {RECORD: (_special(np.float64), True), FAULT: (_special(np.int32), True)}
        lines = [
            "const long long at = (long long)record[0];",
            "const bool before = record[2 + at] - record[2 + at] == 0;",
            "if (before && fault[0]) fault[1] = fault[0];",
            "fault[0] = 0;",
            f"const bool good = before && {loss}[0] - {loss}[0] == 0 && !fault[1];",
            *faults,
            f"record[3 + at] = record[1] = before && !fault[1] ? (double){loss}[0] : NAN;",
            "record[0] = at + 1;",
        ]
        self._section(["if (threadIdx.x == 0) {", *lines, "}"], 1)
        self._gated = True

    def _product(self, kernel: Kernel) -> None:
        if kernel in self._products:
            self.steps.append(self._products[kernel])
            return
        (node,), tiling = kernel.nodes, self._tilings[kernel]
        lines = emit_contraction(self._context, kernel, tiling)
        self._section(lines, tiling.blocks, tiling.shared)
        if tiling.parts > 1:
            self._merge_parts(node, tiling.parts)

    def _call(self, kernel: Kernel) -> None:
        """A product of a convolution, by cuDNN."""
        (node,) = kernel.nodes
        function, how = node.params
        places = tuple(Place(self._context.name(x)) for x in (*node.args, node))
        shapes = tuple(x.shape for x in (*node.args, node))
        self._context.used = {}
        self.steps.append(Convolution(places, function, shapes, how, node.dtype))

    def _reduce(self, kernel: Kernel) -> None:
        (node,) = kernel.nodes
        long = node.params[0] in TREE and _length(node) > SERIAL
        (self._block_reduce if long else self._thread_reduce)(kernel)

    def _section(self, lines: Sequence[str], blocks: int, shared: str = "") -> None:
        """Make a section of lines, with the arrays that they name for parameters."""
        if self._gated:
            self._context.used[RECORD] = (_special(np.float64), False)
            lines = ["if (record[1] - record[1] != 0) return;", *lines]
        used, self._context.used = self._context.used, {}
        name = f"section{len(self._texts)}"
        types = tuple(f"{'' if write else 'const '}{c_type(node.dtype)} *" for node, write in used.values())
        parameters = [
            *("unsigned block", "unsigned blocks"),
            *(["char *shared"] if shared else []),
            *(f"{kind}RESTRICT {array}" for kind, array in zip(types, used)),
        ]
        head = f"static __device__ __forceinline__ void {name}({', '.join(parameters)}) {{"
        self._texts.append("\n".join([head, *["    " + line for line in indent(list(lines))], "}\n"]))
        self.steps.append(Section(name, blocks, tuple(map(Place, used)), types, shared))

    def _map(self, kernel: Kernel) -> None:
        groups = merge_axes(self._context, kernel)
        index: list[Affine] = [ZERO] * len(kernel.shape)
        axes = []
        for group in groups:
            length = math.prod(kernel.shape[i] for i in group)
            if length != 1:
                index[group[-1]] = (0, ((f"i{group[-1]}", 1),))
            axes.append((f"i{group[-1]}", length))
        emitter = KernelEmitter(self._context, kernel)
        stores = emitter.stores(tuple(index))
        size = math.prod(kernel.shape)
        lines = [*emitter.outside, *grid_loop("e", size), *unravel("e", axes), *emitter.lines, *stores, "}"]
        self._section(lines, block_count(size))

    def _thread_reduce(self, kernel: Kernel) -> None:
        """A reduction in which a thread goes through all that its result is made of."""
        (node,) = kernel.nodes
        (x,), (function, axes) = node.args, node.params
        emitter = KernelEmitter(self._context, kernel)
        value = emitter.value(x, loop_indices(x.shape))
        target = f"{self._context.name(node, write=True)}[e]"
        inner = [(f"i{i}", str(x.shape[i])) for i in axes]
        if function in ("argmax", "argmin"):
            sweep = emit_arg_extremum(function, node, x, axes[0], inner, emitter.lines, value, target)
        else:
            begin = f"{c_type(node.dtype)} total = {neutral_element(function, node.dtype)};"
            step = combine(function, "total", value, node.dtype)
            sweep = [begin, *nest(inner, [*emitter.lines, step]), f"{target} = total;"]
        outer = [(f"i{i}", n) for i, n in enumerate(x.shape) if i not in axes]
        lines = [*emitter.outside, *grid_loop("e", node.size), *unravel("e", outer), *sweep, "}"]
        self._section(lines, block_count(node.size))

    def _by_rows(self, group: Sequence[Kernel]) -> None:
        """Several loops over the elements of short rows: a thread calculates a row."""
        lines: list[str] = []
        for kernel in group:
            node = kernel.nodes[0]
            emitter = KernelEmitter(self._context, kernel)
            if kernel.kind == "map":
                stores = emitter.stores(loop_indices(kernel.shape))
                inner = [(f"i{i}", str(n)) for i, n in enumerate(kernel.shape) if i]
                sweep = nest(inner, [*emitter.lines, *stores])
            else:
                sweep = self._reduced_row(emitter, node, row_axis(kernel, SERIAL)[1])
            lines += ["{", *emitter.outside, *sweep, "}"]
        rows, _ = row_axis(group[0], SERIAL)
        self._section([*grid_loop("e", rows), *unravel("e", [(ROW, rows)]), *lines, "}"], block_count(rows))

    def _reduced_row(self, emitter: KernelEmitter, node: Node, row: int) -> list[str]:
        (x,), (function, axes) = node.args, node.params
        names = [ROW if i == row else f"i{i + 1}" for i in range(x.ndim)]
        at = tuple(ZERO if n == 1 else (0, ((name, 1),)) for name, n in zip(names, x.shape))
        value = emitter.value(x, at)
        result = [i for i in range(x.ndim) if i not in axes]
        place = c_index(affine_sum(0, [(at[i], stride) for i, stride in zip(result, c_strides(node.shape))]))
        begin = f"{c_type(node.dtype)} total = {neutral_element(function, node.dtype)};"
        step = [*emitter.lines, combine(function, "total", value, node.dtype)]
        sweep = nest([(names[i], str(x.shape[i])) for i in axes], step)
        store = f"{self._context.name(node, write=True)}[{place}] = total;"
        return nest([(names[i], str(x.shape[i])) for i in result if i != row], [begin, *sweep, store])

    def _scan(self, kernel: Kernel) -> None:
        """A running sum or product: a thread goes along a line."""
        (node,) = kernel.nodes
        axis = node.params[1]
        emitter = KernelEmitter(self._context, kernel)
        sweep = emit_scan(emitter, node, str(node.shape[axis]))
        outer = [(f"i{i}", n) for i, n in enumerate(node.shape) if i != axis]
        count = math.prod(n for _, n in outer)
        self._section([*emitter.outside, *grid_loop("e", count), *unravel("e", outer), *sweep, "}"], block_count(count))

    def _scatter(self, kernel: Kernel) -> None:
        for lines, blocks, shared in emit_scatter(self._context, kernel, self.arrays):
            self._section(lines, blocks, shared)

    def _block_reduce(self, kernel: Kernel) -> None:
        """A reduction by the threads of a block: 32 results beside each other, or one, and several numbers of each."""
        (node,) = kernel.nodes
        (x,), (function, axes) = node.args, node.params
        last = max(i for i, n in enumerate(x.shape) if n != 1)
        width = 1 if last in axes else min(32, 1 << (node.size - 1).bit_length())
        lanes, length, columns = THREADS // width, _length(node), -(-node.size // width)
        parts = max(1, min(-(-length // (lanes * ITEMS_PER_THREAD)), MAX_BLOCKS_PER_SUM // columns))
        emitter = KernelEmitter(self._context, kernel)
        value = emitter.value(x, loop_indices(x.shape))
        kind, dtype = c_type(node.dtype), node.dtype
        target = self._context.name(node, write=True)
        chunk = -(-length // parts)
        lines = [
            f"{kind} *totals = ({kind} *)shared;",
            f"const int lane = threadIdx.x / {width};",
            f"const long long part = block / {columns};",
            f"const long long o = block % {columns} * {width} + threadIdx.x % {width};",
            f"{kind} total = {neutral_element(function, dtype)};",
            f"if (o < {node.size}) {{",
            *unravel("o", [(f"i{i}", n) for i, n in enumerate(x.shape) if i not in axes]),
            *emitter.outside,
            f"const long long stop = (part + 1) * {chunk} < {length} ? (part + 1) * {chunk} : {length};",
            f"for (long long r = part * {chunk} + lane; r < stop; r += {lanes}) {{",
            *unravel("r", [(f"i{i}", x.shape[i]) for i in axes]),
            *emitter.lines,
            combine(function, "total", value, dtype),
            "}",
            "}",
            *_add_lanes(node, width),
            f"if (lane == 0 && o < {node.size}) {target}[part * {node.size} + o] = total;",
        ]
        self._section(lines, columns * parts, _totals(kind))
        if parts > 1:
            self._merge_parts(node, parts)

    def _merge_parts(self, node: Node, parts: int) -> None:
        """Have the last kernel write its parts to an array of their own, and a second one bring them together."""
        first, target = self.steps.pop(), self._context.name(node)
        parts_of, kind, function = "parts_of_" + target, c_type(node.dtype), node.params[0]
        self.arrays[parts_of] = (parts * node.size, node.dtype)
        places = {name: Place(name) for name, _ in first.arrays} | {target: Place(parts_of)}
        self.steps.append(relocate(first, places))
        width = (
            8 if parts > SERIAL // 2 else THREADS
        )  # results beside each other; the other threads share out the parts
        lanes, blocks = THREADS // width, -(-node.size // width)
        lines = [
            f"{kind} *totals = ({kind} *)shared;",
            f"const int lane = threadIdx.x / {width};",
            f"const long long e = (long long)block * {width} + threadIdx.x % {width};",
            f"{kind} total = {neutral_element(function, node.dtype)};",
            f"for (int part = lane; e < {node.size} && part < {parts}; part += {lanes}) {{",
            combine(function, "total", f"{parts_of}[part * {node.size}ll + e]", node.dtype),
            "}",
            *_add_lanes(node, width),
            f"if (lane == 0 && e < {node.size}) {target}[e] = total;",
        ]
        self._context.used = {parts_of: (node, False), target: (node, True)}
        self._section(lines, blocks, _totals(kind))

    def _loop(self, kernel: Kernel) -> None:
        """A loop over a sequence, whose body is a program of its own."""
        translate = functools.partial(Translation, around=self)
        for steps, arrays in unroll(self._context, kernel, translate):
            self.steps += [*steps, Barrier()]  # what is calculated too early takes memory
            self.arrays |= arrays
        self._context.used = {}


_WRITERS = {
    "call": Translation._call,
    "loop": Translation._loop,
    "map": Translation._map,
    "part": lambda translation, kernel: None,  # its loop has written it
    "product": Translation._product,
    "reduce": Translation._reduce,
    "scan": Translation._scan,
    "scatter": Translation._scatter,
}


@functools.cache
def _special(dtype: DTypeLike) -> Node:
    """What stands for an array that is no node's."""
    return ops.Input((), -1, (1,), np.dtype(dtype), False, -1)


@functools.cache
def _header() -> str:
    """What every source begins with."""
    here = Path(__file__).parent
    files = (here / "device.cuh", here.parent / "c" / "scalar_math.h", here / "contract.cuh")
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def _add_lanes(node: Node, width: int) -> list[str]:
    """Lines that bring together the totals of a block's threads, `width` results beside each other, in lane 0."""
    return [
        "totals[threadIdx.x] = total;",
        f"for (int half = {THREADS // width // 2}; half > 0; half /= 2) {{",
        "__syncthreads();",
        "if (lane < half) {",
        combine(node.params[0], "total", f"totals[threadIdx.x + half * {width}]", node.dtype),
        "totals[threadIdx.x] = total;",
        "}",
        "}",
    ]


def _totals(kind: str) -> str:
    """The shared memory for a number of each thread of a block."""
    return f"{THREADS} * sizeof({kind})"


def _length(node: Node) -> int:
    """How many numbers each result of a reduction is made of."""
    return math.prod(node.args[0].shape[i] for i in node.params[1])
