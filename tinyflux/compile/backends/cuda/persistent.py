"""A kernel that makes iterations of training by itself, in one block, for very small networks.

There a launch takes longer than what it calculates. So the levels of a program run one after another in a loop of the
kernel, with a barrier between them. Shared memory holds what they leave to each other and, as far as there is room,
what iterations leave to each other: parameters, and the optimiser's state. These are read when the kernel begins, and
written when it ends.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from ....types import DType
from ...schedule.fuse import Kernel, Schedule
from .grid import ALONE
from .kernels import Demands, Translation
from .launches import Section
from .levels import MAX_ARRAYS, find_levels

WORK = 1 << 16  # elements, of which the results of an iteration are made, that one block is fast enough for; untuned
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
    overwrite nothing are forgotten.

    Arguments:
        schedule, demands: as for a `Translation`.
        moving: the names of arrays of which each iteration reads the next elements, and how many: the order of samples.
        room: how many bytes of shared memory a block can have.
    """
    if any(kernel.kind not in ("map", "reduce", "product") for kernel in schedule.kernels):
        return None
    if sum(_work(kernel) for kernel in schedule.kernels) > WORK:
        return None
    translation = Translation(schedule, demands=demands, alone=ALONE)
    levels = [[step for step in level if isinstance(step, Section)] for level in find_levels(translation.steps)]
    sections = [section for level in levels for section in level]
    types = {x.array: kind.removeprefix("const ") for s in sections for x, kind in zip(s.arrays, s.types)}
    if len(types) > MAX_ARRAYS:
        return None
    exchange = max([int(section.shared) for section in sections if section.shared], default=ALIGNED)
    results = {f"p{r.pointer}": r for r in schedule.results}
    arrays = translation.arrays | {name: (r.node.size, r.node.dtype) for name, r in results.items()}
    lasting = {name for name, r in results.items() if r.overwrites is not None}
    offsets, size = _offsets({name: arrays[name] for name in arrays if name in types}, lasting, room - exchange)

    pointers = [f"    {types[name]}const {name}_here = ({types[name]})(memory + {at});" for name, at in offsets.items()]
    moved = [(name, arrays[name][0]) for name in offsets if name in lasting]
    loop = "    for (int k = threadIdx.x; k < {n}; k += " + str(ALONE) + ") {to}[k] = {of}[k];"
    given = {name: kind for name, kind in types.items() if name in lasting or name not in offsets}
    written = {x.array for section in sections for x, write in zip(section.arrays, section.writes) if write}
    parameters = [f"{kind}{x}" if x in written else f"const {kind}__restrict__ {x}" for x, kind in given.items()]
    parameters.append("long long count")
    where = {name: f"{name}_here" if name in offsets else name for name in types}
    where |= {name: f"{name} + i * {step}" for name, step in moving.items()}
    kernel = [
        f'extern "C" __global__ void __launch_bounds__({ALONE}, 1) iterations({", ".join(parameters)}) {{',
        f"    __shared__ __align__({ALIGNED}) char shared[{exchange}];",
        f"    extern __shared__ __align__({ALIGNED}) char memory[];",
        *pointers,
        *(loop.format(n=n, to=f"{name}_here", of=name) for name, n in moved),
        "    __syncthreads();",
        "    for (long long i = 0; i < count; ++i) {",
        *(f"        {line}" for level in levels for line in _calls(level, where)),
        "    }",
        *(loop.format(n=n, to=name, of=f"{name}_here") for name, n in moved),
        "}\n",
    ]
    between = {name: arrays[name] for name in given if name in arrays and name not in lasting}
    text = "\n".join([translation.sections, *kernel])
    return PersistentKernel(text, tuple(given), between, size, translation.checks)


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
