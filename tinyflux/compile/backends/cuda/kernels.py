"""A scheduled program as CUDA: sections of kernels for its loops and contractions, and large products for cuBLAS."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ....errors import NotCompilable
from ....nn import cudnn
from ....types import DType
from ...codegen.expressions import SourceContext
from ...codegen.loops import indent
from ...codegen.reductions import emit_scan
from ...ir import ops
from ...ir.functions import c_type
from ...ir.node import Node
from ...schedule.fuse import Kernel, Schedule
from .calls import emit_call, refused_call
from .contractions import Tiling, as_matrix_product, emit_contraction, find_tiling, pays
from .grid import block_count, grid_loop, unravel
from .indices import KernelEmitter, note_faults
from .launches import FAULT, RECORD, Barrier, Convolution, Multiply, Place, Section, Step
from .levels import Launched, find_levels, make_kernels
from .scatter import emit_scatter
from .sections import SectionEmitter
from .sequences import unroll
from .stages import Group, Stage, find_uses, group_stages, has_short_rows, may_fault

_RECORD = Node((), RECORD, (1,), np.dtype(np.float64), False, -1)
Demands = Mapping[Node, tuple[type[Exception], str]]


class Translation:
    """A program as CUDA.

    Arguments:
        schedule: the program, as it is scheduled, without blocks of rows.
        around: the program that this one is the body of a loop in: it has the sections and the checks of both.
        alone: the number of threads if one block does everything; 0 if it takes as many blocks as it needs.
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
        around: Translation | None = None,
        demands: Demands = MappingProxyType({}),
        alone: int = 0,
    ) -> None:
        for node in schedule.nodes:
            what = refused_call(node) if isinstance(node, ops.Call) else ""
            if what:
                raise NotCompilable(f"{what} can't be compiled for the GPU.")
        schedule = dataclasses.replace(schedule, registers=set())  # those of its loops; stages have others
        self._context = SourceContext(schedule, None)
        self.steps: list[Step] = []
        self.arrays: dict[str, tuple[int, DType]] = {}
        self._texts: list[str] = [_header()] if around is None else around._texts
        if around is not None:
            self._context.checks = around.checks
        self._products: dict[Kernel, Multiply] = {}
        self._tilings: dict[Kernel, Tiling] = {}
        for kernel in schedule.kernels:
            self._choose(kernel)
        groups = group_stages(schedule, schedule.kernels, self._form)
        registers, needed = find_uses(groups, schedule)
        schedule.registers |= registers
        for node in self._context.offsets:
            if node not in schedule.registers:
                self.arrays[self._context.name(node)] = (node.size, node.dtype)
        self._context.used = {}
        add = functools.partial(self._section, by_first=True)
        self._emitter = SectionEmitter(self._context, add, self.arrays, needed, alone)
        self._demands = demands
        self._write(groups)

    @functools.cached_property
    def _kernels(self) -> tuple[list[list[Launched]], list[str]]:
        return make_kernels(find_levels(self.steps), self.arrays)

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
    def sections(self) -> str:
        """The source of the sections, without kernels."""
        return "\n".join(self._texts)

    @property
    def text(self) -> str:
        """The source of all kernels."""
        return "\n".join([self.sections, *self._kernels[1]])

    @property
    def checks(self) -> list[tuple[type[Exception], str]]:
        """The errors that kernels note in `fault`, by their numbers there, which count from 1."""
        return self._context.checks

    def _write(self, groups: Sequence[Group]) -> None:
        """Write all sections. The loss is entered by the one that calculates it, if that comes behind all checks."""
        schedule = self._context.schedule
        overwriting = {r.node for r in schedule.results if r.overwrites is not None}
        checks = {node for kernel in schedule.kernels if may_fault(kernel, schedule.stored) for node in kernel.nodes}
        checks = (checks | set(schedule.wanted[1:])) & schedule.stored - overwriting
        self._unentered = schedule.wanted[:1]  # the loss, until it is entered
        self._is_last = False  # whether nothing is left to be checked
        for group in groups:
            nodes = {node for stage in group for node in stage.nodes}
            checks -= nodes
            self._is_last = not checks
            if nodes & overwriting and self._unentered:
                self._section(self._entry(), 1)
            self._group(group)
        if self._unentered:
            self._section(self._entry(), 1)

    def _choose(self, kernel: Kernel) -> None:
        """Note whether a sum of products is left to cuBLAS, or calculated in tiles."""
        if kernel.kind != "product" or has_short_rows(kernel):
            return
        multiply = as_matrix_product(self._context, kernel)
        if multiply is not None and pays(multiply):
            self._products[kernel] = multiply
        elif multiply is None and (tiling := find_tiling(kernel)) is not None:
            self._tilings[kernel] = tiling
        self._context.used = {}

    def _form(self, kernel: Kernel) -> str:
        """How a kernel is calculated; see `group_stages`."""
        if kernel in self._tilings:
            return "tiles"
        threads = kernel.kind in ("map", "reduce") or (kernel.kind == "product" and kernel not in self._products)
        return "threads" if threads else "alone"

    def _group(self, group: Group) -> None:
        kernel = group[0].kernels[0]
        if len(group) > 1:
            self._emitter.rows(group)
        elif kernel in self._tilings:
            self._tiles(group[0], self._tilings[kernel])
        elif kernel in self._products:
            self.steps.append(self._products[kernel])
        elif self._form(kernel) == "threads":
            self._emitter.stage(group[0])
        else:
            _WRITERS[kernel.kind](self, kernel)

    def _tiles(self, stage: Stage, tiling: Tiling) -> None:
        """A sum of products in tiles, and what is done with it."""
        (head,) = stage.heads
        (node,) = head.nodes
        if tiling.parts > 1:
            name = self._emitter.parts(node, tiling.parts)
            finish = [f"{name}[part * {node.size}ll + e] = total0;"]
        else:
            finish = self._emitter.finish(stage, [node])
        finish = [*unravel("e", [(f"i{k}", n) for k, n in enumerate(node.shape)]), *finish]
        self._section(emit_contraction(self._context, head, tiling, finish), tiling.blocks, tiling.shared)
        if tiling.parts > 1:
            self._emitter.merge(stage, tiling.parts)

    def _entry(self) -> list[str]:
        """What enters the loss into `record`: as NaN where one before was not finite, or something else is wrong."""
        self._unentered = []
        context = self._context
        loss, *others = context.schedule.wanted
        value = context.name(loss)
        faults = [
            f"if (good && !{context.name(node)}[0]) fault[1] = {context.error_code(*self._demands[node])};"
            for node in others
        ]
        note_faults(context)
        context.used[RECORD] = (_RECORD, True)
        return [
            "if (threadIdx.x == 0) {",
            "const long long at = (long long)record[0];",
            "const bool before = record[2 + at] - record[2 + at] == 0;",
            "if (before && fault[0]) fault[1] = fault[0];",
            "fault[0] = 0;",
            f"const bool good = before && {value}[0] - {value}[0] == 0 && !fault[1];",
            *faults,
            f"record[3 + at] = record[1] = before && !fault[1] ? (double){value}[0] : NAN;",
            "record[0] = at + 1;",
            "}",
        ]

    def _call(self, kernel: Kernel) -> None:
        """A product of a convolution, by cuDNN; or a function of whole rows or matrices."""
        (node,) = kernel.nodes
        if node.params[0] not in cudnn.FUNCTIONS:
            self._section(*emit_call(self._context, kernel))
            return
        function, how = node.params
        places = tuple(Place(self._context.name(x)) for x in (*node.args, node))
        shapes = tuple(x.shape for x in (*node.args, node))
        self._context.used = {}
        self.steps.append(Convolution(places, function, shapes, how, node.dtype))

    def _section(self, lines: Sequence[str], blocks: int, shared: str = "", by_first: bool = False) -> None:
        """Make a section of lines, with the arrays that they name for parameters.

        Arguments:
            by_first: whether the first thread of a block makes what has one element: the loss, which it then enters
                without waiting for others, unless these note faults.
        """
        made = [node for node, write in self._context.used.values() if write]
        if self._is_last and blocks == 1 and any(node in made for node in self._unentered):
            wait = [] if by_first and FAULT not in self._context.used else ["__syncthreads();"]
            lines = [*lines, *wait, *self._entry()]
        overwritten = {f"p{r.pointer}" for r in self._context.schedule.results if r.overwrites is not None}
        if any(write and name in overwritten for name, (_, write) in self._context.used.items()):
            self._context.used[RECORD] = (_RECORD, False)
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

    def _scan(self, kernel: Kernel) -> None:
        """A running sum or product: a thread goes along a line."""
        (node,) = kernel.nodes
        axis = node.params[1]
        emitter = KernelEmitter(self._context, kernel)
        sweep = emit_scan(emitter, node, str(node.shape[axis]))
        outer = [(f"i{i}", n) for i, n in enumerate(node.shape) if i != axis]
        count = math.prod(n for _, n in outer)
        self._section([*emitter.outside, grid_loop(count), *unravel("e", outer), *sweep, "}"], block_count(count))

    def _scatter(self, kernel: Kernel) -> None:
        for lines, blocks, shared in emit_scatter(self._context, kernel, self.arrays):
            self._section(lines, blocks, shared)

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
    "part": lambda translation, kernel: None,  # its loop has written it
    "scan": Translation._scan,
    "scatter": Translation._scatter,
}


@functools.cache
def _header() -> str:
    """What every source begins with."""
    here = Path(__file__).parent
    c = here.parent / "c"
    shared = (c / "scalar_math.h", c / "special.h", c / "linalg.h")
    files = (here / "device.cuh", *shared, here / "contract.cuh", here / "calls.cuh")
    return "\n".join(file.read_text(encoding="utf-8") for file in files)
