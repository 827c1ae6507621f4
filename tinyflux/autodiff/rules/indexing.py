"""Rules of indexing and sorting: picking elements out, and adding them back in, are each other's pullbacks."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple
from numpy.lib.stride_tricks import sliding_window_view

from ..operators import ArrayOperators
from ..pieces import Pieces, scattered
from ..rule import composed, primitive, rule, variadic
from ..tape import plain

primitive(operator.getitem, lambda g, y, x, index: Pieces(plain(x), index, g), None)
variadic(scattered, lambda positions, g, y, x, indices, *pieces: [g[indices[k - 2]] for k in positions])


# Windows that slide over an array, and windows added up where they overlap.
def added_windows(g: Any, axes: Sequence[int]) -> Any:
    """The array that sliding windows, g's last axes, are of; elements that several windows have are added up.

    Arguments:
        axes: for each of the windows' axes the one of the result along which they slide.
    """
    if isinstance(g, ArrayOperators):
        return g._apply(added_windows, (g, axes))
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


def _windows(g: Any, y: Any, x: Any, window_shape: Any = (), axis: Any = None) -> Any:
    return added_windows(g, range(x.ndim) if axis is None else normalize_axis_tuple(axis, x.ndim, allow_duplicate=True))


rule(sliding_window_view, _windows)
primitive(added_windows, lambda g, y, x, axes: sliding_window_view(g, x.shape[x.ndim - len(axes) :], axes), None)


def _take(a: Any, indices: Any, axis: int | None = None) -> Any:
    if axis is None:
        return a.reshape(-1)[(indices,)]
    return a[(slice(None),) * normalize_axis_index(axis, a.ndim) + (indices,)]


def _take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    if axis is None:
        return arr.reshape(-1)[indices]
    axis = normalize_axis_index(axis, arr.ndim)
    index: list[Any] = [np.arange(n).reshape((-1,) + (1,) * (arr.ndim - i - 1)) for i, n in enumerate(arr.shape)]
    index[axis] = indices
    return arr[tuple(index)]


def _sort(a: Any, axis: int | None = -1) -> Any:
    if axis is None:
        return np.sort(a.reshape(-1))
    return np.take_along_axis(a, np.argsort(a, axis=axis, kind="stable"), axis=axis)


composed(np.take, _take)
composed(np.take_along_axis, _take_along_axis)
composed(np.sort, _sort)
