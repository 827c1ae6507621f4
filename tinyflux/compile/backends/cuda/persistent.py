"""A kernel that makes iterations of training by itself, in one block, for very small networks.

There a launch takes longer than what it calculates. So the levels of a program run one after another in a loop of the
kernel, with a barrier between them. Shared memory holds what they leave to each other and, as far as there is room,
what iterations leave to each other: parameters, and the optimiser's state. These are read when the kernel begins, and
written when it ends. The samples of the next iteration are read at the beginning of each, and needed at its end only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from ....types import DType
from ...codegen.loops import indent
from ...ir.functions import c_type
from ...ir.node import Node
from ...schedule.fuse import Kernel, Schedule
from .grid import ALONE
from .kernels import Demands, Translation
from .launches import Section
from .levels import MAX_ARRAYS, find_levels

WORK = 1 << 16  # elements, of which the results of an iteration are made, that one block is fast enough for; untuned
AHEAD = 8  # elements of the next samples, at most, that each thread has in registers
ALIGNED = 16  # bytes: arrays in shared memory begin at multiples of this


@dataclasses.dataclass(frozen=True)
class PersistentKernel:
    """The kernel `iterations`. It is launched as one block of `threads` threads.

    Attributes:
        text: the source.
        arrays: the names of the arrays that it is given, as those of `Translation` are called. Behind them it is given
            how many iterations to make, int64.
        between: how many elements, of which dtype, those of them have that nobody else knows.
        shared: how many bytes of shared memory are to be given to it.
        checks: the errors that it notes in `fault`, by their numbers there, which count from 1.
    """

    text: str
    arrays: tuple[str, ...]
    between: Mapping[str, tuple[int, DType]]
    shared: int
    checks: Sequence[tuple[type[Exception], str]]
    threads: int = ALONE


def translate_persistent(
    schedule: Schedule, demands: Demands, moving: Mapping[str, int], room: int
) -> PersistentKernel | None:
    """The kernel that makes iterations of a program; None where that takes one block too long, or too many arrays.

    Losses are entered as those of a `Translation` are, and updates left out once one is not finite. Results that
    overwrite nothing are samples of the data, picked by their order; they are forgotten.

    Arguments:
        schedule, demands: as for a `Translation`.
        moving: the names of arrays of which each iteration reads the next elements, and how many: the order of samples.
        room: how many bytes of shared memory a block can have.
    """
    if any(kernel.kind not in ("map", "reduce", "product") for kernel in schedule.kernels):
        return None
    if sum(_work(kernel) for kernel in schedule.kernels) > WORK:
        return None
    samples = _samples(schedule, moving)
    translation = Translation(_without(schedule, {x.node for x in samples}), demands=demands, alone=ALONE)
    levels = [[step for step in level if isinstance(step, Section)] for level in find_levels(translation.steps)]
    sections = [section for level in levels for section in level]
    types = {x.array: kind.removeprefix("const ") for s in sections for x, kind in zip(s.arrays, s.types)}
    samples = [x for x in samples if x.name in types]
    for x in samples:
        types |= x.given
    if len(types) > MAX_ARRAYS:
        return None
    results = {f"p{r.pointer}": r for r in schedule.results}
    arrays = translation.arrays | {name: (r.node.size, r.node.dtype) for name, r in results.items()}
    arrays |= {x.name: (2 * x.node.size, x.node.dtype) for x in samples}
    lasting = {name for name, r in results.items() if r.overwrites is not None}
    exchange = max([int(section.shared) for section in sections if section.shared], default=ALIGNED)
    offsets, size = _offsets({name: arrays[name] for name in arrays if name in types}, lasting, room - exchange)

    given = {name: kind for name, kind in types.items() if name in lasting or name not in offsets}
    written = {x.array for section in sections for x, write in zip(section.arrays, section.writes) if write}
    written |= {x.name for x in samples}
    parameters = [f"{kind}{x}" if x in written else f"const {kind}__restrict__ {x}" for x, kind in given.items()]
    head = f"void __launch_bounds__({ALONE}, 1) iterations({', '.join([*parameters, 'long long count'])})"
    pointers = [f"{types[name]}const {name}_here = ({types[name]})(memory + {at});" for name, at in offsets.items()]
    where = {name: f"{name}_here" if name in offsets else name for name in types}
    moved = [name for name in offsets if name in lasting]
    kernel = [
        f'extern "C" __global__ {head} {{',
        f"__shared__ __align__({ALIGNED}) char shared[{exchange}];",
        f"extern __shared__ __align__({ALIGNED}) char memory[];",
        *pointers,
        *(_copy(where[name], name, arrays[name][0]) for name in moved),
        *_loop(levels, samples, where, moving),
        *(_copy(name, where[name], arrays[name][0]) for name in moved),
        "}\n",
    ]
    between = {name: arrays[name] for name in given if name in arrays and name not in lasting}
    text = "\n".join([translation.sections, *indent(kernel)])
    return PersistentKernel(text, tuple(given), between, size, translation.checks)


def _loop(
    levels: Sequence[Sequence[Section]],
    samples: Sequence[_Samples],
    where: Mapping[str, str],
    moving: Mapping[str, int],
) -> list[str]:
    """The loop over iterations, and the first samples. Even iterations have theirs in the first half of the array."""
    halves = {x.name: f"{where[x.name]} + i % 2 * {x.node.size}" for x in samples}
    others = {x.name: f"({where[x.name]} + (i + 1) % 2 * {x.node.size})" for x in samples}
    pointers = {**where, **{name: f"{name} + i * {step}" for name, step in moving.items()}, **halves}
    *calls, barrier = (line for level in levels for line in _calls(level, pointers))
    return [
        *(line for x in samples for line in [x.registers, *x.read("0"), *x.keep(where[x.name])]),
        "__syncthreads();",
        "for (long long i = 0; i < count; ++i) {",
        *(["if (i + 1 < count) {", *(line for x in samples for line in x.read("(i + 1)")), "}"] if samples else []),
        *calls,
        *(line for x in samples for line in x.keep(others[x.name])),
        barrier,
        "}",
    ]


def _copy(to: str, of: str, n: int) -> str:
    return f"for (int k = threadIdx.x; k < {n}; k += {ALONE}) {to}[k] = {of}[k];"


@dataclasses.dataclass(frozen=True)
class _Samples:
    """Samples of the data, picked by their order. While an iteration reads its own, the next ones are on their way.

    Attributes:
        name: of the array that holds those of two iterations.
        node: what they are: a copy of what a gather picks.
        step: how many numbers the order has for an iteration.
    """

    name: str
    node: Node
    step: int

    @property
    def _sources(self) -> tuple[str, str]:
        data, order = self.node.args[0].args
        return f"p{data.params}", f"p{order.params}"

    @property
    def given(self) -> dict[str, str]:
        """The arrays that are read, and the types of their pointers."""
        data, order = self._sources
        return {data: f"{c_type(self.node.dtype)} *", order: "int64_t *"}

    @property
    def turns(self) -> int:
        """How many elements each thread copies."""
        return -(-self.node.size // ALONE)

    @property
    def registers(self) -> str:
        return f"{c_type(self.node.dtype)} next_{self.name}[{self.turns}];"

    def read(self, iteration: str) -> list[str]:
        """The lines that bring those of an iteration into registers; nothing waits for them."""
        data, order = self._sources
        row = self.node.size // self.step
        number = f"{order}[{iteration} * {self.step} + e / {row}]"
        return self._each(f"next_{self.name}[k] = {data}[{number} * {row} + e % {row}];")

    def keep(self, place: str) -> list[str]:
        """The lines that bring them to a place."""
        return self._each(f"{place}[e] = next_{self.name}[k];")

    def _each(self, line: str) -> list[str]:
        return [
            "#pragma unroll",
            f"for (int k = 0; k < {self.turns}; ++k) {{",
            f"const int e = k * {ALONE} + threadIdx.x;",
            f"if (e < {self.node.size}) {line}",
            "}",
        ]


def _samples(schedule: Schedule, moving: Mapping[str, int]) -> list[_Samples]:
    """The samples that a program copies; none where they are too many for registers."""
    ((_, step),) = moving.items()
    found = [_Samples(f"p{r.pointer}", r.node, step) for r in schedule.results if r.overwrites is None]
    fit = sum(x.turns for x in found) <= AHEAD and all(x.node.size for x in found)
    return found if fit else []


def _without(schedule: Schedule, nodes: set[Node]) -> Schedule:
    """A schedule that leaves the calculation of some nodes to others."""
    kept = [(kernel, [node for node in kernel.nodes if node not in nodes]) for kernel in schedule.kernels]
    kernels = [dataclasses.replace(kernel, nodes=rest) for kernel, rest in kept if rest]
    return dataclasses.replace(schedule, kernels=kernels)


def _calls(level: Sequence[Section], where: Mapping[str, str]) -> list[str]:
    """The calls of the sections of a level, with a barrier behind them and between those that exchange totals."""
    lines = []
    exchanged = False  # whether totals were exchanged since the last barrier
    for section in level:
        if exchanged and section.shared:
            lines.append("__syncthreads();")
        exchanged = exchanged or bool(section.shared)
        arguments = [*(["shared"] if section.shared else []), *(where[place.array] for place in section.arrays)]
        lines.append(f"{section.name}({', '.join(['0', '1', *arguments])});")
    return [*lines, "__syncthreads();"]


def _offsets(arrays: Mapping[str, tuple[int, DType]], lasting: set[str], room: int) -> tuple[dict[str, int], int]:
    """Where arrays lie in shared memory, and its size. Those that last come last, and so do the largest of them."""
    offsets: dict[str, int] = {}
    end = 0
    for name, (n, dtype) in sorted(arrays.items(), key=lambda array: (array[0] in lasting, array[1][0])):
        size = -(-n * dtype.itemsize // ALIGNED) * ALIGNED
        if end + size <= room:
            offsets[name] = end
            end += size
    return offsets, end


def _work(kernel: Kernel) -> int:
    """How many elements a kernel goes through."""
    return math.prod(kernel.nodes[0].domain) * len(kernel.nodes)
