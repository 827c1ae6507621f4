"""Cotangents: what pullbacks return, in the shape and dtype of the argument, and pieces that become one array."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays import on_gpu
from ..types import Array
from .operands import REAL
from .operators import recorded


def fitted(name: str, k: int, d: Array, x: Array, y: Array) -> Any:
    """The cotangent `d` of an array `x`, which is argument k of an operation `name` with the result `y`.

    Where x was broadcast, d is summed; between real dtypes it is cast; nothing flows to integers: None.

    Errors: TypeError where d is no array of real numbers; ValueError where its shape doesn't fit.
    """
    kind = x.dtype.kind
    if d.__class__ is np.ndarray and d.dtype is x.dtype and kind == "f":
        return unbroadcast(name, k, d, x.shape, y.shape)
    if kind in "biu":
        return None
    if not hasattr(d, "dtype") or not hasattr(d, "shape"):
        raise TypeError(f"{_pullback(name, k)} an array of shape {x.shape}, got {type(d).__name__}.")
    if kind == "c" or d.dtype.kind == "c":
        raise TypeError(f"{name}: its argument {k} has the dtype {x.dtype} and a cotangent of {d.dtype}, but {REAL}")
    if d.dtype.kind != "f":
        raise TypeError(f"{_pullback(name, k)} floating-point numbers, got {d.dtype}.")
    if d.shape != x.shape:
        d = unbroadcast(name, k, d, x.shape, y.shape)
    return d if d.dtype == x.dtype else d.astype(x.dtype)


_PREDICTS = {"_affine", "matmul", "add", "relu", "leakyrelu", "elu", "gelu", "swish", "softplus", "tanh", "expit"}


def warn_of_pairs(made_by: str, x: Array, other: Any) -> None:
    """Warn where a layer's result, (n, 1), less targets, (n,), was broadcast to n × n differences.

    Arguments:
        made_by: the name of the operation whose result x is.
        x, other: what was subtracted from each other, x being broadcast in that.
    """
    shape = getattr(other, "shape", ())
    if x.shape == (*shape, 1) and len(x) > 1 and made_by.rpartition(".")[2] in _PREDICTS:
        warnings.warn(
            f"gradient: the difference of a prediction of shape {x.shape} and an array y of shape {shape} was "
            f"broadcast to {len(x)} × {len(x)} elements. For one a sample give y[:, np.newaxis].",
            RuntimeWarning,
            stacklevel=3,
        )


def unbroadcast(name: str, k: int, d: Array, shape: tuple[int, ...], result: tuple[int, ...]) -> Any:
    """Sum a cotangent over the axes along which argument k, an array of `shape`, was broadcast to the result's."""
    if d.shape == shape:
        return d
    if d.shape == result and shape == d.shape[1:] and d.ndim == 2 and d.size:  # the sum over rows, by BLAS
        return np.dot(np.ones_like(d[:, 0]), d) if len(d) != 1 else d[0]
    extra = d.ndim - len(shape)
    before, after = ((-1,) * (d.ndim - len(s)) + s[max(len(s) - d.ndim, 0) :] for s in (shape, result))
    summed = tuple(i for i in range(d.ndim) if before[i] != d.shape[i])
    if extra < 0 or any(abs(before[i]) != 1 or after[i] != d.shape[i] for i in summed):
        raise ValueError(f"{_pullback(name, k)} the shape {shape} of that argument, got {d.shape}.")
    return np.sum(d, axis=summed).reshape(shape)


def _pullback(name: str, k: int) -> str:
    return f"{name}: expected its pullback for argument {k} to return"


@recorded
def scattered(x: Array, indices: Sequence[Any], *pieces: Array) -> Any:
    """Zeros like x with each piece added at its index; repeated indices add up."""
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
