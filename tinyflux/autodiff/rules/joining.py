"""Rules of functions that join arrays and cut them into parts."""

import inspect
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...types import Array
from ..rule import composed, variadic


def _concatenate(positions: Sequence[int], g: Array, y: Array, *arrays: Array, axis: int | None = 0) -> Iterator[Any]:
    lengths = [np.size(a) if axis is None else np.shape(a)[axis] for a in arrays]
    ends = list(itertools.accumulate(lengths))
    lead = (slice(None),) * (axis % g.ndim if axis else 0)
    parts = ((k, g[(*lead, slice(ends[k] - lengths[k], ends[k]))]) for k in positions)
    return (part.reshape(arrays[k].shape) if axis is None else part for k, part in parts)


def _stack(positions: Sequence[int], g: Array, y: Array, *arrays: Array, axis: int = 0) -> Iterator[Any]:
    g = np.moveaxis(g, axis, 0)
    return (g[k] for k in positions)


def _appended(arr: Array, values: Any, axis: int | None = None) -> Array:
    return np.concatenate([np.ravel(arr), np.ravel(values)] if axis is None else [arr, values], axis=axis or 0)


def _block(arrays: Any) -> Array:
    """Arrays in lists of lists: the innermost are joined along the last axis, those lists along the one before, …"""
    depth, inner = 0, arrays
    while isinstance(inner, list):
        depth, inner = depth + 1, inner[0]
    return _joined_block(arrays, -depth, max(depth, *_axes_in(arrays)))


def _axes_in(arrays: Any) -> Iterator[int]:
    if isinstance(arrays, list):
        yield from itertools.chain.from_iterable(map(_axes_in, arrays))
    else:
        yield np.ndim(arrays)


def _joined_block(arrays: Any, axis: int, ndim: int) -> Array:
    if isinstance(arrays, list):
        return np.concatenate([_joined_block(x, axis + 1, ndim) for x in arrays], axis=axis)
    return np.reshape(arrays, (1,) * (ndim - np.ndim(arrays)) + np.shape(arrays))


variadic(np.concatenate, _concatenate, sequence=True)
variadic(np.stack, _stack, sequence=True)
composed(np.vstack, lambda tup: np.concatenate([np.atleast_2d(x) for x in tup]))
composed(np.hstack, lambda tup: np.concatenate([np.atleast_1d(x) for x in tup], axis=int(np.ndim(tup[0]) > 1)))
composed(np.dstack, lambda tup: np.concatenate([np.atleast_3d(x) for x in tup], axis=2))
composed(
    np.column_stack, lambda tup: np.concatenate([x if np.ndim(x) > 1 else np.reshape(x, (-1, 1)) for x in tup], axis=1)
)
composed(np.append, _appended)
composed(np.block, _block)


for _function in (np.split, np.array_split, np.hsplit, np.vsplit, np.dsplit):
    composed(_function, inspect.unwrap(_function))  # NumPy writes them in other functions itself
composed(np.unstack, lambda x, /, *, axis=0: tuple(np.moveaxis(x, axis, 0)))
