"""Rules of indexing and sorting: picking elements out, and adding them back in, are each other's pullbacks."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple
from numpy.lib.stride_tricks import sliding_window_view

from ...types import Array
from ..cotangents import Pieces, scattered
from ..operators import recorded
from ..rule import composed, constant, primitive, rule, variadic
from ..tape import apply, plain

primitive(operator.getitem, lambda g, y, x, index: Pieces(plain(x), index, g), None)
variadic(scattered, lambda positions, g, y, x, indices, *pieces: [g[indices[k - 2]] for k in positions])


# Windows that slide over an array, and windows added up where they overlap.
@recorded
def added_windows(g: Array, axes: Sequence[int]) -> Array:
    """Add up windows, the last axes of g, into the array that they slide over.

    Arguments:
        axes: for each of the windows' axes the one of the result along which they slide.
    """
    for axis in reversed(axes):
        places, size = np.moveaxis(g, axis, 0), g.shape[-1]
        count = len(places)
        g = np.zeros_like(g, shape=(count + size - 1, *places.shape[1:-1]))
        if size < count:
            for k in range(size):
                g[k : k + count] += places[..., k]
        else:
            for k in range(count):
                g[k : k + size] += np.moveaxis(places[k], -1, 0)
        g = np.moveaxis(g, 0, axis)
    return g


def _windows(g: Array, y: Array, x: Array, window_shape: Any = (), axis: Any = None) -> Array:
    return added_windows(g, range(x.ndim) if axis is None else normalize_axis_tuple(axis, x.ndim, allow_duplicate=True))


rule(sliding_window_view, _windows)
primitive(added_windows, lambda g, y, x, axes: sliding_window_view(g, x.shape[x.ndim - len(axes) :], axes), None)


# Picking elements out along an axis.
def _take(a: Array, indices: Any, axis: int | None = None, *, mode: str = "raise") -> Array:
    a, axis = _flat(a, axis)
    if mode != "raise":
        indices = np.clip(indices, 0, a.shape[axis] - 1) if mode == "clip" else np.remainder(indices, a.shape[axis])
    return a[(slice(None),) * axis + (indices,)]


def _flat(a: Array, axis: int | None) -> tuple[Any, int]:
    """The array and its axis; without one all elements are in a row."""
    return (a.reshape(-1), 0) if axis is None else (a, normalize_axis_index(axis, a.ndim))


def _take_along_axis(arr: Array, indices: Any, axis: int | None = -1) -> Array:
    if axis is None:
        return arr.reshape(-1)[indices]
    axis = normalize_axis_index(axis, arr.ndim)
    index: list[Any] = [np.arange(n).reshape((-1,) + (1,) * (arr.ndim - i - 1)) for i, n in enumerate(arr.shape)]
    index[axis] = indices
    return arr[tuple(index)]


def _sort(a: Array, axis: int | None = -1, kind: Any = None, *, stable: Any = None) -> Array:
    a, axis = _flat(a, axis)
    return np.take_along_axis(a, np.argsort(a, axis=axis, kind="stable"), axis=axis)


def _partition(a: Array, kth: Any, axis: int | None = -1) -> Array:
    a, axis = _flat(a, axis)
    return np.take_along_axis(a, np.argpartition(a, kth, axis), axis=axis)


def _choose(a: Array, choices: Any, *, mode: str = "raise") -> Array:
    n = len(choices)
    if mode == "raise":
        a = np.where(np.less(a, 0), n, a)  # no index counts from the end
    else:
        a = np.clip(a, 0, n - 1) if mode == "clip" else np.remainder(a, n)
    a, *choices = np.broadcast_arrays(a, *choices)
    return np.take_along_axis(np.stack(choices), np.expand_dims(a, 0), axis=0)[0]


def _delete(arr: Array, obj: Any, axis: int | None = None) -> Array:
    arr, axis = _flat(arr, axis)
    return np.take(arr, np.delete(np.arange(arr.shape[axis]), plain(obj)), axis=axis)


def _insert(arr: Array, obj: Any, values: Any, axis: int | None = None) -> Array:
    arr, axis = _flat(arr, axis)
    n, obj = arr.shape[axis], plain(obj)
    values = np.reshape(values, (1,) * (arr.ndim - np.ndim(values)) + np.shape(values))
    if not isinstance(obj, slice) and np.ndim(obj) == 0:
        values = np.moveaxis(values, 0, axis)
    places = len(np.insert(np.arange(n), obj, 0)) - n
    count = values.shape[axis] if places == 1 else places
    order = np.insert(np.arange(n), obj, n + np.arange(count))
    shape = [count if i == axis else m for i, m in enumerate(arr.shape)]
    return np.take(np.concatenate([arr, np.broadcast_to(values, shape).astype(arr.dtype)], axis=axis), order, axis=axis)


def _apply_along_axis(func1d: Any, axis: int, arr: Array, *args: Any, **kwargs: Any) -> Array:
    axis = normalize_axis_index(axis, arr.ndim)
    lines = np.moveaxis(arr, axis, -1)
    found = np.stack([func1d(line, *args, **kwargs) for line in lines.reshape(-1, lines.shape[-1])])
    found = found.reshape(lines.shape[:-1] + found.shape[1:])
    new = found.ndim - arr.ndim + 1  # axes, the last ones, which belong in the place of the old one
    return np.moveaxis(found, range(-new, 0), range(axis, axis + new))


def _bincount(x: Array, /, weights: Any = None, minlength: int = 0) -> Array:
    """Weights added up by their numbers."""
    count = len(np.bincount(plain(x), minlength=minlength))
    zeros = np.zeros_like(plain(weights), np.float64, shape=(count,))
    return apply(scattered, (zeros, [x], weights.astype(np.float64)))


composed(np.take, _take)
composed(np.take_along_axis, _take_along_axis)
composed(np.sort, _sort)
composed(np.partition, _partition)
composed(np.compress, lambda condition, a, axis=None: np.take(a, np.nonzero(condition)[0], axis=axis))
composed(np.extract, lambda condition, arr: np.compress(np.ravel(condition), np.ravel(arr)))
composed(np.choose, _choose)
composed(np.delete, _delete)
composed(np.insert, _insert)
composed(np.apply_along_axis, _apply_along_axis)
composed(np.bincount, _bincount)
constant(
    np.argpartition, np.argwhere, np.lexsort, np.digitize, np.isin, np.ix_, np.ravel_multi_index, np.unravel_index,
    np.diag_indices_from, np.tril_indices_from, np.triu_indices_from, np.histogram_bin_edges,
)  # fmt: skip
