"""What can run at the same time: steps that don't depend on each other are of one level, and its sections one kernel.

A launch costs more than what most sections calculate. So a kernel takes all sections of a level, each in blocks of its
own. Levels run one after another.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from .launches import FAULT, RECORD, Barrier, Convolution, Launch, Multiply, Section, Step

MAX_ARRAYS = 400  # of a kernel: its parameters are 4 KB at most

Launched = Launch | Multiply | Convolution


def find_levels(steps: Sequence[Step]) -> list[list[Section | Multiply | Convolution]]:
    """The steps, level by level.

    A step comes after those that write what it reads, and after those that use what it writes. Faults are noted in any
    order; the step that enters the loss looks at them.
    """
    levels: list[list[Section | Multiply | Convolution]] = []
    first = 0  # the first level behind the last barrier
    written: dict[str, int] = {}  # for each array, the last level that writes it
    used: dict[str, int] = {}  # and the last one that reads or writes it
    for step in steps:
        if isinstance(step, Barrier):
            first = len(levels)
            continue
        enters = any(write and place.array == RECORD for place, write in zip(step.arrays, step.writes))
        arrays = [(x.array, write and (enters or x.array != FAULT)) for x, write in zip(step.arrays, step.writes)]
        level = max([first, *[1 + (used if write else written).get(name, -1) for name, write in arrays]])
        for name, write in arrays:
            used[name] = max(level, used.get(name, level))
            if write:
                written[name] = level
        levels += [[] for _ in range(len(levels), level + 1)]
        levels[level].append(step)
    return levels


def make_kernels(
    levels: Sequence[Sequence[Section | Multiply | Convolution]],
) -> tuple[list[list[Launched]], list[str]]:
    """Have a kernel call all sections of each level.

    Returns: what is to be launched, level by level; and the source of the kernels. Equal ones are made once.
    """
    texts: dict[tuple[tuple[str, int], ...], str] = {}
    launched: list[list[Launched]] = []
    for steps in levels:
        level: list[Launched] = [step for step in steps if not isinstance(step, Section)]
        for sections in _groups([step for step in steps if isinstance(step, Section)]):
            key = tuple((section.name, section.blocks) for section in sections)
            name = f"kernel{list(texts).index(key) if key in texts else len(texts)}"
            texts.setdefault(key, _kernel(name, sections))
            places = [place for section in sections for place in section.arrays]
            writes = [write for section in sections for write in section.writes]
            blocks = sum(section.blocks for section in sections)
            level.append(Launch(name, blocks, tuple(places), tuple(writes)))
        launched.append(level)
    return launched, list(texts.values())


def _groups(sections: Sequence[Section]) -> list[list[Section]]:
    """The sections of a level, in groups that have no more arrays than a kernel can be given."""
    groups: list[list[Section]] = []
    count = MAX_ARRAYS
    for section in sections:
        count += len(section.arrays)
        if count > MAX_ARRAYS:
            groups.append([])
            count = len(section.arrays)
        groups[-1].append(section)
    return groups


def _kernel(name: str, sections: Sequence[Section]) -> str:
    """The source of a kernel whose blocks are shared out between sections."""
    parameters: list[str] = []
    calls: list[str] = []
    first = 0
    for i, section in enumerate(sections):
        arguments = [f"a{len(parameters) + k}" for k in range(len(section.types))]
        parameters += [f"{kind} RESTRICT {x}" for kind, x in zip(section.types, arguments)]
        block = f"blockIdx.x - {first}" if first else "blockIdx.x"
        arguments = [block, str(section.blocks), *(["shared"] if section.shared else []), *arguments]
        first += section.blocks
        condition = "" if i == len(sections) - 1 else f"if (blockIdx.x < {first}) "
        calls.append(f"    {'else ' if i else ''}{condition}{section.name}({', '.join(arguments)});")
    sizes = sorted({section.shared for section in sections} - {""})
    if sizes:
        size = functools.reduce(lambda x, y: f"larger({x}, {y})", sizes)
        calls.insert(0, f"    __shared__ __align__(16) char shared[{size}];")
    return "\n".join([f'extern "C" __global__ void {name}({", ".join(parameters)}) {{', *calls, "}\n"])
