"""A kernel that makes iterations of training by itself, in one block, for very small networks.

There a launch takes longer than what it calculates. So the levels of a program run one after another in a loop of the
kernel, with a barrier between them. All arrays stay in memory, those of a small network in the first cache of the
block's processor.
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


@dataclasses.dataclass(frozen=True)
class PersistentKernel:
    """The kernel `iterations`. It is launched as one block of `threads` threads.

    Attributes:
        text: the source.
        arrays: the names of the arrays that it is given, as those of `Translation` are called. Behind them it is given
            how many iterations to make, int64.
        between: how many elements, of which dtype, those of them have that nobody else knows.
        checks: the errors that it notes in `fault`, by their numbers there, which count from 1.
    """

    text: str
    arrays: tuple[str, ...]
    between: Mapping[str, tuple[int, DType]]
    checks: Sequence[tuple[type[Exception], str]]
    threads: int = ALONE


def translate_persistent(schedule: Schedule, demands: Demands, moving: Mapping[str, int]) -> PersistentKernel | None:
    """The kernel that makes iterations of a program; None where that takes one block too long, or too many arrays.

    Losses are entered as those of a `Translation` are, and updates left out once one is not finite.

    Arguments:
        schedule, demands: as for a `Translation`.
        moving: the names of arrays of which each iteration reads the next elements, and how many: the order of samples.
    """
    if any(kernel.kind not in ("map", "reduce", "product") for kernel in schedule.kernels):
        return None
    if sum(_work(kernel) for kernel in schedule.kernels) > WORK:
        return None
    translation = Translation(schedule, demands=demands, alone=ALONE)
    levels = [[step for step in level if isinstance(step, Section)] for level in find_levels(translation.steps)]
    types: dict[str, str] = {}
    lines: list[str] = []
    for level in levels:
        shared = False  # whether shared memory was used since the last barrier
        for section in level:
            names = [place.array for place in section.arrays]
            types |= {name: kind.removeprefix("const ") for name, kind in zip(names, section.types)}
            arguments = [f"{name} + i * {moving[name]}" if name in moving else name for name in names]
            if shared and section.shared:
                lines.append("        __syncthreads();")
            shared = shared or bool(section.shared)
            own = ["shared"] if section.shared else []
            lines.append(f"        {section.name}({', '.join(['0', '1', *own, *arguments])});")
        lines.append("        __syncthreads();")
    if len(types) > MAX_ARRAYS:
        return None
    size = max([int(section.shared) for level in levels for section in level if section.shared], default=1)
    parameters = ", ".join([*(f"{kind}{name}" for name, kind in types.items()), "long long count"])
    kernel = [
        f'extern "C" __global__ void __launch_bounds__({ALONE}, 1) iterations({parameters}) {{',
        f"    __shared__ __align__(16) char shared[{size}];",
        "    for (long long i = 0; i < count; ++i) {",
        *lines,
        *["    }", "}\n"],
    ]
    between = {name: array for name, array in translation.arrays.items() if name in types}
    return PersistentKernel("\n".join([translation.sections, *kernel]), tuple(types), between, translation.checks)


def _work(kernel: Kernel) -> int:
    """How many elements a kernel goes through."""
    return math.prod(kernel.nodes[0].domain) * len(kernel.nodes)
