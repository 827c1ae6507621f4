"""Cotangents of parts of an array, put together in one array when the sweep reaches it."""

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
    """The cotangents of some parts of an array, which stand for its own while the sweep adds them up.

    A loop over n rows then makes n rows, not n arrays of n rows. Once the pieces have as many elements as the array,
    they are put together, and so never need much more memory than it.

    Arguments:
        x: the array, in no box: of it the shape, the dtype and the device are looked at.
        index: where the part is that `piece` is the cotangent of.
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
        """The sum with what came before, pieces or an array; that grows to be it."""
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
