"""Rules of indexing and sorting: picking elements out, and adding them back in, are each other's pullbacks."""

import operator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from ..pieces import Pieces, scattered
from ..rule import composed, primitive, variadic
from ..tape import plain

primitive(operator.getitem, lambda g, y, x, index: Pieces(plain(x), index, g), None)
variadic(scattered, lambda positions, g, y, x, indices, *pieces: [g[indices[k - 2]] for k in positions])


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
