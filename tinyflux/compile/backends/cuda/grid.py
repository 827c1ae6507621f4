"""How the threads of all blocks share out a loop, as lines of CUDA."""

from __future__ import annotations

import math
from collections.abc import Sequence

THREADS = 256  # of a block
ALONE = 512  # of a block that makes iterations by itself
BLOCKS = 4096  # of a section, at most: a thread calculates several elements of a larger array


def block_count(count: int) -> int:
    """How many blocks share a loop over `count` elements."""
    return max(1, min(-(-count // THREADS), BLOCKS))


def grid_loop(count: int) -> str:
    """The head of a loop over `count` elements e, which all threads of a kernel share."""
    start = f"(long long)block * {THREADS} + threadIdx.x"
    return f"for (long long e = {start}; e < {count}; e += (long long)blocks * {THREADS}) {{"


def unravel(name: str, axes: Sequence[tuple[str, int]]) -> list[str]:
    """The indices along some axes, from the number of an element in C order."""
    long = [(index, n) for index, n in axes if n != 1]
    lines = []
    divisor = math.prod(n for _, n in long)
    if not divisor:  # nothing is calculated, but it has to compile
        return [f"const long long {index} = 0;" for index, _ in long]
    narrow = "int" if divisor < 2**31 else "long long"  # of which division is slow
    if len(long) > 1:
        lines.append(f"const {narrow} {name}_ = {name};")
    for i, (index, n) in enumerate(long):
        divisor //= n
        quotient = f"{name}_ / {divisor}" if divisor != 1 else f"{name}_"
        value = name if len(long) == 1 else quotient if i == 0 else f"{quotient} % {n}"
        lines.append(f"const long long {index} = {value};")
    return lines
