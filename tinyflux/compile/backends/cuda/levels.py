"""What can run at the same time: steps that don't depend on each other are of one level, and its sections one kernel.

A launch costs more than what most sections calculate. So a kernel takes all sections of a level, each in blocks of its
own. Levels run one after another.

A section can have more arrays than a kernel can be given: one that goes through a hundred layers, say. Its kernel reads
their addresses from tables, which kernels before it write.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from ....types import DType
from .launches import FAULT, RECORD, Barrier, Convolution, Launch, Multiply, Place, Section, Step

MAX_ARRAYS = 400  # of a kernel: before CUDA 12.1, its parameters are 4 KB at most

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
    levels: Sequence[Sequence[Section | Multiply | Convolution]], arrays: dict[str, tuple[int, DType]]
) -> tuple[list[list[Launched]], list[str]]:
    """Have a kernel call all sections of each level.

    Arguments:
        arrays: takes the sizes and dtypes of tables.

    Returns: what is to be launched, level by level; and the source of the kernels. Equal ones are made once.
    """
    names: dict[str, str] = {}  # of kernels, by what they do
    launched: list[list[Launched]] = []
    for steps in levels:
        level: list[Launched] = [step for step in steps if not isinstance(step, Section)]
        before: list[Launched] = []
        for sections in _groups([step for step in steps if isinstance(step, Section)]):
            name = names.setdefault(_kernel(sections), f"kernel{len(names)}")
            places = [place for section in sections for place in section.arrays]
            types = [kind for section in sections for kind in section.types]
            writes = [write for section in sections for write in section.writes]
            tables: list[Place] = []
            for first in range(0, len(places), MAX_ARRAYS) if len(places) > MAX_ARRAYS else ():
                some = slice(first, first + MAX_ARRAYS)
                table = Place(f"table{len(launched)}_{len(before)}")  # of its own: equal sections have one kernel
                arrays[table.array] = len(places[some]), np.dtype(np.uint64)
                writer = names.setdefault(_table(types[some]), f"kernel{len(names)}")
                before.append(Launch(writer, 1, (*places[some], table), (*[False] * len(places[some]), True)))
                tables.append(table)
            blocks = sum(section.blocks for section in sections)
            unwritten = [False] * len(tables)
            level.append(Launch(name, blocks, (*places, *tables), (*writes, *unwritten), len(tables)))
        launched += [before, level] if before else [level]
    return launched, [f'extern "C" __global__ void {name}{text}' for text, name in names.items()]


def _groups(sections: Sequence[Section]) -> list[list[Section]]:
    """The sections of a level, in groups that have no more arrays than a kernel can be given; one that has is alone."""
    groups: list[list[Section]] = []
    count = MAX_ARRAYS
    for section in sections:
        count += len(section.arrays)
        if count > MAX_ARRAYS:
            groups.append([])
            count = len(section.arrays)
        groups[-1].append(section)
    return groups


def _kernel(sections: Sequence[Section]) -> str:
    """The source of a kernel, without its name, whose blocks are shared out between sections."""
    types: list[str] = []
    lines: list[str] = []
    first = 0
    for i, section in enumerate(sections):
        arguments = [f"a{len(types) + k}" for k in range(len(section.types))]
        types += section.types
        block = f"blockIdx.x - {first}" if first else "blockIdx.x"
        arguments = [block, str(section.blocks), *(["shared"] if section.shared else []), *arguments]
        first += section.blocks
        condition = "" if i == len(sections) - 1 else f"if (blockIdx.x < {first}) "
        lines.append(f"    {'else ' if i else ''}{condition}{section.name}({', '.join(arguments)});")
    sizes = sorted({section.shared for section in sections} - {""})
    if sizes:
        size = functools.reduce(lambda x, y: f"larger({x}, {y})", sizes)
        lines.insert(0, f"    __shared__ __align__(16) char shared[{size}];")
    parameters = [f"{kind} RESTRICT a{i}" for i, kind in enumerate(types)]
    if len(types) > MAX_ARRAYS:
        found = [f"({kind})table{i // MAX_ARRAYS}[{i % MAX_ARRAYS}]" for i, kind in enumerate(types)]
        lines = [*(f"    {array} = {address};" for array, address in zip(parameters, found)), *lines]
        parameters = [f"const uint64_t *RESTRICT table{i}" for i in range(-(-len(types) // MAX_ARRAYS))]
    return "\n".join([f"({', '.join(parameters)}) {{", *lines, "}\n"])


def _table(types: Sequence[str]) -> str:
    """The source of a kernel, without its name, that writes the addresses of its arrays into the last one."""
    parameters = [*(f"{kind} a{i}" for i, kind in enumerate(types)), "uint64_t *table"]
    lines = [f"    table[{i}] = (uint64_t)a{i};" for i in range(len(types))]
    return "\n".join([f"({', '.join(parameters)}) {{", "    if (threadIdx.x) return;", *lines, "}\n"])
