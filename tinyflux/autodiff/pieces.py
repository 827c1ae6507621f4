"""Cotangents of parts of an array, which become one array when the sweep reaches it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays import on_gpu
from ..types import Array
from .operators import ArrayOperators


def scattered(x: Array, indices: Sequence[Any], *pieces: Array) -> Any:
    """Zeros like x with each piece added at its index; repeated indices add up."""
    for array in (x, *pieces):
        if isinstance(array, ArrayOperators):
            return array._apply(scattered, (x, indices, *pieces))
    result = np.zeros_like(x, dtype=pieces[0].dtype)
    for k, (index, piece) in enumerate(zip(indices, pieces)):
        if not _is_basic(index):
            _add_at(result)(result, index, piece)
        elif k:
            result[index] += piece
        else:
            result[index] = piece
    return result


def _add_at(x: Array) -> Callable[..., None]:
    """np.add.at, or CuPy's own on the GPU: no index in a tuple or list gets there through NumPy's."""
    if not on_gpu(x):
        return np.add.at
    import cupy

    at: Callable[..., None] = cupy.add.at
    return at


def _is_basic(index: Any) -> bool:
    items = index if isinstance(index, tuple) else (index,)
    return all(i is None or i is Ellipsis or isinstance(i, (int, slice, np.integer)) for i in items)


class Pieces:
    """The cotangent of an array as a list of pieces, while the sweep adds them up.

    So the gradient of a loop over n rows is n rows, not n arrays of n rows. Pieces with as many elements as the array
    become an array at once: they never take much more memory than it.

    Arguments:
        x: the array, not a box. Only its shape, dtype and device matter.
        index: the part of x that `piece` is the cotangent of.
    """

    __slots__ = ("dtype", "held", "indices", "pieces", "rest", "shape", "x")

    def __init__(self, x: Array, index: Any, piece: Array) -> None:
        self.x, self.shape, self.dtype = x, x.shape, piece.dtype
        self.indices, self.pieces = [index], [piece]
        self.held = piece.size
        self.rest: Any = None  # an array to which they are added

    def __add__(self, array: Array) -> Pieces:
        self.rest = array if self.rest is None else self.rest + array
        return self

    def added_to(self, before: Any) -> Any:
        """The sum with an earlier cotangent, an array or pieces; earlier pieces are extended."""
        if type(before) is not Pieces:
            return self + before
        before.indices += self.indices
        before.pieces += self.pieces
        before.held += self.held
        return before if before.held < before.x.size else before.whole()

    def astype(self, dtype: Any) -> Any:
        return self.whole().astype(dtype)

    def whole(self) -> Any:
        """The cotangent as an array."""
        d = scattered(self.x, self.indices, *self.pieces)
        return d if self.rest is None else self.rest + d
