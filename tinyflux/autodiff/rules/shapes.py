"""Rules of functions that rearrange arrays, repeat their elements, and make arrays of a few numbers."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...types import Array
from ..operators import ArrayOperators, cast, recorded, reshaped, transposed
from ..rule import composed, primitive, rule
from ..tape import apply
from .products import identity_like

# Rearranging.
primitive(transposed, lambda g, y, x: g.T)
primitive(reshaped, lambda g, y, x, shape=-1: g.reshape(x.shape))
primitive(cast, lambda g, y, x, dtype=None: g.astype(x.dtype))
composed(np.reshape, lambda a, shape, order="C", *, copy=None: _reshaped(a, shape, order))
composed(np.ravel, lambda a, order="C": _reshaped(a, -1, order))
rule(np.transpose, lambda g, y, x, axes=None: np.transpose(g, None if axes is None else _inverse(axes)))
rule(np.swapaxes, lambda g, y, x, axis1=0, axis2=1: np.swapaxes(g, axis1, axis2))
rule(np.moveaxis, lambda g, y, x, source=0, destination=0: np.moveaxis(g, destination, source))
rule(np.expand_dims, lambda g, y, x, axis=0: g.reshape(x.shape))
rule(np.squeeze, lambda g, y, x, axis=None: g.reshape(x.shape))
composed(np.full, lambda shape, fill_value, dtype=None, order="C": _as(np.broadcast_to(fill_value, shape), dtype))
composed(np.full_like, lambda a, fill_value, dtype=None, shape=None: _full_like(a, fill_value, dtype, shape))
rule(np.broadcast_to, lambda g, y, x, shape=(): g)
rule(np.flip, lambda g, y, x, axis=None: np.flip(g, axis))
composed(np.fliplr, lambda m: np.flip(m, 1))
composed(np.flipud, lambda m: np.flip(m, 0))
composed(np.matrix_transpose, lambda x: np.swapaxes(x, -1, -2))
composed(np.rot90, lambda m, k=1, axes=(0, 1): _turned(m, k % 4, *axes))
composed(np.rollaxis, inspect.unwrap(np.rollaxis))  # which NumPy writes in other functions itself
composed(np.atleast_1d, lambda *arys: _each(arys, lambda x: x if np.ndim(x) else np.reshape(x, 1)))
composed(np.atleast_2d, lambda *arys: _each(arys, lambda x: x if np.ndim(x) > 1 else np.reshape(x, (1, -1))))
composed(np.atleast_3d, lambda *arys: _each(arys, lambda x: x if np.ndim(x) > 2 else np.atleast_2d(x)[:, :, None]))
composed(np.broadcast_arrays, lambda *args: tuple(_broadcast(args)))
composed(np.resize, inspect.unwrap(np.resize))
rule(np.roll, lambda g, y, x, shift=0, axis=None: np.roll(g, np.negative(shift).tolist(), axis))
rule(np.tril, lambda g, y, x, k=0: np.tril(g, k))
rule(np.triu, lambda g, y, x, k=0: np.triu(g, k))


def _reshaped(x: Array, shape: Any, order: str) -> Array:
    if order == "C":
        return x.reshape(shape)
    if order != "F":
        raise TypeError(
            f"np.reshape: with order={order!r} the result depends on how the array lies in memory. Write 'C' or 'F'."
        )
    return x.T.reshape(shape if isinstance(shape, (int, np.integer)) else tuple(shape)[::-1]).T


def _turned(x: Array, turns: int, first: int, second: int) -> Array:
    if turns == 2:
        return np.flip(x, (first, second))
    y = np.flip(x, second) if turns == 1 else x
    y = np.swapaxes(y, first, second) if turns else y
    return np.flip(y, second) if turns == 3 else y


def _each(arrays: Sequence[Any], function: Callable[[Any], Any]) -> Any:
    return function(arrays[0]) if len(arrays) == 1 else tuple(map(function, arrays))


def _broadcast(arrays: Sequence[Any]) -> list[Array]:
    shape = np.broadcast_shapes(*map(np.shape, arrays))
    return [np.broadcast_to(x, shape) for x in arrays]


def _full_like(a: Array, fill_value: Any, dtype: Any, shape: Any) -> Array:
    """A constant array, unless its value is in a box: then the sum over all places flows back."""
    new = np.empty_like(a, dtype=dtype, shape=shape)
    if isinstance(fill_value, ArrayOperators):
        value: Any = fill_value
        return np.broadcast_to(value, new.shape).astype(new.dtype)
    return np.full_like(new, fill_value)


def _as(x: Array, dtype: Any) -> Array:
    return x if dtype is None else x.astype(dtype)


for _function in (np.array, np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray):  # with like=, of a box
    composed(_function, lambda a, dtype=None, order="K", copy=None: _as(a, dtype))


def _inverse(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argsort([a % len(axes) for a in axes]))


def _tile(x: Array, reps: Any) -> Array:
    reps = tuple(np.ravel(reps).tolist())
    ndim = max(len(reps), x.ndim)
    reps = (1,) * (ndim - len(reps)) + reps
    shape = (1,) * (ndim - x.ndim) + x.shape
    pairs = tuple(n for pair in zip(reps, shape, strict=True) for n in pair)
    columns = tuple(n for size in shape for n in (1, size))
    return np.broadcast_to(x.reshape(columns), pairs).reshape(tuple(r * n for r, n in zip(reps, shape, strict=True)))


def _repeat(a: Array, repeats: Any, axis: int | None = None) -> Array:
    if axis is None:
        a, axis = a.reshape(-1), 0
    return np.take(a, np.repeat(np.arange(a.shape[axis]), repeats), axis=axis)


composed(np.tile, _tile)
composed(np.repeat, _repeat)


def _pad(
    array: Array, pad_width: Any, mode: Any = "constant", *, constant_values: Any = 0, reflect_type: str = "even"
) -> Array:
    if mode == "constant":
        return apply(padded, (array,), {"pad_width": _widths(array, pad_width), "constant_values": constant_values})
    if mode not in ("edge", "reflect", "symmetric", "wrap") or reflect_type != "even":
        raise TypeError(
            "np.pad: its gradient knows the modes constant, edge, reflect, symmetric and wrap, got "
            f"mode={mode!r}{f', reflect_type={reflect_type!r}' if reflect_type != 'even' else ''}. Use np.concatenate."
        )
    for axis, width in enumerate(_widths(array, pad_width)):
        if any(width):
            array = np.take(array, np.pad(np.arange(array.shape[axis]), width, mode), axis=axis)
    return array


def _widths(x: Array, pad_width: Any) -> list[tuple[int, int]]:
    """How much is added before and after, along every axis."""
    if isinstance(pad_width, dict):
        pad_width = [pad_width.get(i, pad_width.get(i - x.ndim, 0)) for i in range(x.ndim)]
        pad_width = [(width, width) if np.ndim(width) == 0 else width for width in pad_width]
    return [tuple(width) for width in np.broadcast_to(pad_width, (x.ndim, 2)).tolist()]


@recorded
def padded(x: Array, pad_width: Any, constant_values: Any) -> Array:
    """An array with numbers before and after it along every axis."""
    return np.pad(x, pad_width, constant_values=constant_values)


primitive(
    padded,
    lambda g, y, x, pad_width=(), constant_values=0: g[
        tuple(slice(before, before + n) for (before, _), n in zip(pad_width, x.shape, strict=True))
    ],
)
composed(np.pad, _pad)


# Arrays made of a few numbers.
def counted(x: Array, n: int) -> Array:
    """0, 1, … n − 1, of x's dtype, where x lies."""
    return np.cumsum(np.ones_like(x, shape=(n,))) - 1


def _linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None, axis: int = 0
) -> Any:
    t = _parts_of_one(start, stop, num, endpoint)
    y = np.moveaxis(start * (1 - t) + stop * t, 0, axis)
    if dtype is not None:
        y = (np.floor(y) if np.issubdtype(dtype, np.integer) else y).astype(dtype)
    return (y, (stop - start) * (t[1] - t[0] if num > 1 else np.nan)) if retstep else y


def _parts_of_one(start: Any, stop: Any, num: int, endpoint: bool) -> Array:
    """From 0 to 1, in steps of one length, along a new first axis."""
    steps = counted(stop - start, num) / max(num - endpoint, 1)
    return steps.reshape((num,) + (1,) * np.ndim(stop - start))


def _geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True) -> Array:
    return start * (stop / start) ** _parts_of_one(start, stop, num, endpoint).astype(np.float64)


def _diagonal_matrix(v: Array, k: int) -> Array:
    below, above = max(-k, 0), max(k, 0)
    return np.pad(np.where(identity_like(v, v.size) > 0, v, 0), ((below, above), (above, below)))


def _meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Any, ...]:
    if indexing not in ("xy", "ij"):
        raise ValueError(f"np.meshgrid: expected indexing to be 'xy' or 'ij', got {indexing!r}.")
    places = list(range(len(xi)))
    if indexing == "xy" and len(xi) > 1:
        places[:2] = [1, 0]
    grid = [np.reshape(x, [-1 if k == place else 1 for k in range(len(xi))]) for x, place in zip(xi, places)]
    return tuple(grid if sparse else _broadcast(grid))


def _vander(x: Array, N: int | None = None, increasing: bool = False) -> Array:
    x = x.astype(np.promote_types(x.dtype, int))
    powers = np.expand_dims(x, -1) ** counted(x, len(x) if N is None else N)
    return powers if increasing else np.flip(powers, -1)


composed(np.linspace, _linspace)
composed(
    np.logspace, lambda start, stop, num=50, endpoint=True, base=10.0: base ** np.linspace(start, stop, num, endpoint)
)
composed(np.geomspace, _geomspace)
composed(np.diag, lambda v, k=0: np.diagonal(v, k) if v.ndim > 1 else _diagonal_matrix(v, k))
composed(np.diagflat, lambda v, k=0: _diagonal_matrix(v.reshape(-1), k))
composed(np.meshgrid, _meshgrid)
composed(np.vander, _vander)
