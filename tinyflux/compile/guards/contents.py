"""What arrays hold, to see later whether they hold the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays import on_gpu
from ...types import Array

_SMALL = 4096  # bytes


class Contents:
    """Arrays with copies of what they hold, to see whether they are the same arrays, and hold the same.

    >>> import numpy as np
    >>> x = np.array([0.0, np.nan])
    >>> contents = Contents([x])
    >>> contents.same([x]); x[0] = -0.0; contents.same([x])
    True
    False
    """

    def __init__(self, arrays: Sequence[Array]) -> None:
        small = [x.nbytes <= _SMALL and not on_gpu(x) for x in arrays]
        self._kept = [(x, x.shape, x.dtype, x.tobytes() if s else x.copy()) for x, s in zip(arrays, small)]

    def same(self, arrays: Sequence[Array]) -> bool:
        return len(arrays) == len(self._kept) and self.changed(arrays) is None

    def changed(self, arrays: Sequence[Array]) -> Array:
        """The first of as many arrays that is another one or holds something else, or None."""
        for (x, shape, dtype, copy), y in zip(self._kept, arrays):
            if x is not y or x.shape != shape or x.dtype != dtype or not _equal(x, copy):
                return y
        return None


def _equal(x: Array, copy: Any) -> bool:
    """Whether an array has the bits of a copy: NaN is NaN, and 0 is not −0."""
    if isinstance(copy, bytes):
        return bool(x.tobytes() == copy)
    if x.itemsize not in (1, 2, 4, 8):  # complex128 and the like
        return bool(x.tobytes() == copy.tobytes())
    kind = f"u{x.itemsize}"
    return bool((x.view(kind) == copy.view(kind)).all())
