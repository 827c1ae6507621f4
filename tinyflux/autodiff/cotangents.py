"""What pullbacks return, brought into the shape and dtype of the argument that it is the cotangent of."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..types import Array
from .operands import REAL


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
