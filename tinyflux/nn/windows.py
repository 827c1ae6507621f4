"""Windows that slide over images: their sizes, steps and margins, as users give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..checks import is_integer, shown


def for_each_axis(owner: str, name: str, x: Any, d: int, least: int) -> tuple[int, ...]:
    """An integer for each of d axes of space: x itself for all of them, or a tuple.

    Errors: ValueError for anything else, and for integers below `least`.
    """
    given = tuple(x) if isinstance(x, (tuple, list)) else (x,) * d
    if len(given) != d or not all(is_integer(n) and n >= least for n in given):
        raise ValueError(
            f"{owner}: expected {name} to be an integer, at least {least}, or a tuple of {d} of them, got {shown(x)}."
        )
    return tuple(map(int, given))


def margins(
    owner: str, pad: Any, space: Sequence[int], window: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """How much is put before and after each axis of space.

    Arguments:
        pad: an integer, a tuple with one or a pair for each axis, or "same", for ⌈n / stride⌉ windows along n pixels.

    Errors: ValueError for anything else.
    """
    d = len(window)
    if isinstance(pad, str) and pad == "same":
        whole = [
            max((-(-n // s) - 1) * s + t * (k - 1) + 1 - n, 0) for n, k, s, t in zip(space, window, stride, dilation)
        ]
        return tuple((n // 2, n - n // 2) for n in whole)
    sides = tuple(pad) if isinstance(pad, (tuple, list)) else (pad,) * d
    pairs = [tuple(side) if isinstance(side, (tuple, list)) else (side, side) for side in sides]
    if len(pairs) != d or not all(len(p) == 2 and all(is_integer(n) and n >= 0 for n in p) for p in pairs):
        raise ValueError(
            f"{owner}: expected pad to be an integer, at least 0, a tuple of {d} of them or of {d} pairs of them, or "
            f"'same', got {shown(pad)}."
        )
    return tuple((int(before), int(after)) for before, after in pairs)
