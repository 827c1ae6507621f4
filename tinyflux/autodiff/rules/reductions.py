"""Rules of functions that reduce along axes.

float16 is reduced as NumPy does it: means are calculated in float32, and nothing else is.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ...types import Array
from ..rule import composed, primitive, rule
from ..table import compositions
from ..tape import apply
from .elementwise import over

Axis = Any  # None, an axis, or a tuple of axes
HALF = np.dtype(np.float16)


def kept(g: Array, axis: Axis, keepdims: bool) -> Array:
    """The result of a reduction, or its cotangent, in a shape that broadcasts against what was reduced."""
    return g if keepdims or axis is None else np.expand_dims(g, axis)


def _count(x: Array, y: Array) -> int:
    """How many elements each result of a reduction came from."""
    return int(x.size // (y.size or 1))


def in_single(definition: Callable[..., Any]) -> Callable[..., Any]:
    """A function of an array, calculated in float32 where that is float16."""

    @functools.wraps(definition)
    def calculated(a: Array, *args: Any, **options: Any) -> Array:
        if a.dtype != HALF or len(args) > 1 or options.get("dtype") is not None:
            return definition(a, *args, **options)
        return definition(a.astype(np.float32), *args, **options).astype(HALF)

    return calculated


def masked(a: Array, where: Any, neutral: Any, dtype: Any = None) -> Array:
    """The elements that a reduction is to look at, and its neutral element in the place of the others."""
    a = a if dtype is None else a.astype(dtype)
    return a if where is True else np.where(where, a, neutral)


def _cast(y: Array, dtype: Any) -> Array:
    """A sum or product in the dtype that was asked for: NumPy makes those of small integers large."""
    return y if dtype is None or y.dtype == dtype else y.astype(dtype)


def _like(initial: Any, y: Array) -> Array:
    """What a reduction begins with, in the dtype of its result."""
    return initial.astype(y.dtype) if hasattr(initial, "dtype") else y.dtype.type(initial)


_add: Any = np.add.reduce


def _sum(x: Array, axis: Axis = None, keepdims: Any = False) -> Array:
    return _add(x, axis=axis, keepdims=keepdims)  # what np.sum does, without its preparations


def _mean(x: Array, axis: Axis = None, keepdims: Any = False) -> Array:
    total = _add(x, axis=axis, keepdims=keepdims)
    return total / _count(x, total)


def _max(x: Array, axis: Axis = None, keepdims: Any = False) -> Array:
    return np.max(x, axis=axis, keepdims=keepdims)


def _min(x: Array, axis: Axis = None, keepdims: Any = False) -> Array:
    return np.min(x, axis=axis, keepdims=keepdims)


def _extremum(g: Array, y: Array, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    ties = x == kept(y, axis, keepdims)
    count = np.sum(ties, axis=axis, keepdims=True, dtype=np.float32 if x.dtype == HALF else x.dtype)
    return kept(g, axis, keepdims) * (ties / count)


def _shares(g: Array, y: Array, x: Array, axis: Axis = 0, keepdims: bool = False) -> Array:
    y = kept(y, axis, keepdims)
    weights = np.exp(np.where(x == y, 0, x - np.where(x == y, 0, y)))  # both may be the same infinity
    return kept(g, axis, keepdims) * (weights / np.sum(weights, axis=axis, keepdims=True))


primitive(_sum, lambda g, y, x, axis=None, keepdims=False: kept(g, axis, keepdims) * np.ones_like(x))
primitive(_mean, lambda g, y, x, axis=None, keepdims=False: kept(g / _count(x, y), axis, keepdims) * np.ones_like(x))
primitive(_max, _extremum)
primitive(_min, _extremum)
primitive(np.logaddexp.reduce, _shares)


def _reduced(function: Any, a: Array, axis: Axis, keepdims: bool) -> Array:
    axis = None if not a.ndim and axis in (0, -1) else axis  # NumPy allows it
    options = {} if axis is None and not keepdims else {"axis": axis, "keepdims": keepdims}
    return apply(function, (a,), options)


def _total(
    a: Array, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Array:
    y = _cast(_reduced(_sum, masked(a, where, 0, dtype), axis, keepdims), dtype)
    return y if initial is None else y + _like(initial, y)


def _average(a: Array, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False, where: Any = True) -> Array:
    if dtype is None and a.dtype.kind != "f":
        dtype = np.float64  # sums of integers could overflow
    if where is True and (dtype is None or np.dtype(dtype).kind == "f"):
        return _reduced(_mean, masked(a, True, 0, dtype), axis, keepdims)
    total = _total(a, axis, dtype, keepdims=keepdims, where=where)
    return _cast(total / (_count(a, total) if where is True else _looked_at(a, axis, keepdims, where)), dtype)


def _looked_at(a: Array, axis: Axis, keepdims: bool, where: Any) -> Array:
    """How many elements each result comes from, where some are masked."""
    kind = np.float64 if a.dtype.kind != "f" or a.dtype == HALF else a.dtype
    return np.sum(np.broadcast_to(where, a.shape), axis=axis, keepdims=keepdims, dtype=kind)


def _nearest(infinity: float, dtype: Any) -> Any:
    """The number of a dtype that is nearest to an infinity."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).max if infinity > 0 else np.iinfo(dtype).min
    return infinity > 0 if dtype.kind == "b" else infinity


def _extreme(function: Any, against: Any, neutral: float) -> Callable[..., Any]:
    def reduction(
        a: Array, axis: Axis = None, *, keepdims: bool = False, initial: Any = None, where: Any = True
    ) -> Array:
        if initial is not None and not a.size:
            return np.sum(a, axis=axis, keepdims=keepdims, dtype=a.dtype) + _like(initial, a)
        y = _reduced(function, masked(a, where, _nearest(neutral, a.dtype)), axis, keepdims)
        return y if initial is None else against(y, _like(initial, y))

    return reduction


def _product(
    a: Array, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Array:
    """The product along axes as one function of a matrix whose rows are multiplied out."""
    a = masked(a, where, 1, dtype)
    if a.size:
        y = _cast(_row_products(rows(a, axis)), dtype)
        y = restored(y, a, axis) if keepdims else y
    else:
        y = np.sum(a, axis=axis, keepdims=keepdims) + 1
    return y if initial is None else y * _like(initial, y)


def rows(a: Array, axis: Axis) -> Array:
    """All axes that are reduced as one, the last."""
    axes = tuple(range(a.ndim)) if axis is None or not a.ndim else normalize_axis_tuple(axis, a.ndim)
    rest = tuple(i for i in range(a.ndim) if i not in axes)
    return np.transpose(a, rest + axes).reshape((*(a.shape[i] for i in rest), -1))


def restored(y: Array, a: Array, axis: Axis) -> Array:
    """A result for each row, with the axes that were reduced kept as axes of length 1."""
    axes = tuple(range(a.ndim)) if axis is None or not a.ndim else normalize_axis_tuple(axis, a.ndim)
    return y.reshape(tuple(1 if i in axes else n for i, n in enumerate(a.shape)))


def products_around(x: Array) -> tuple[Array, Array]:
    """For each element the products of those before it and of those after it along the last axis.

    The product of both is that of all others, exact where some are zero.
    """
    one = np.ones_like(x[..., :1])
    before = np.cumprod(np.concatenate([one, x[..., :-1]], axis=-1), axis=-1)
    after = np.cumprod(np.flip(np.concatenate([x[..., 1:], one], axis=-1), -1), axis=-1)
    return before, np.flip(after, -1)


_row_products = rule(
    lambda x: np.prod(x, axis=-1),
    lambda g, y, x: np.expand_dims(g, -1) * operator.mul(*products_around(x)),
)


def _variance(
    a: Array, axis: Axis = None, dtype: Any = None, *, ddof: float = 0, keepdims: bool = False, where: Any = True,
    mean: Any = None, correction: float | None = None,
) -> Array:  # fmt: skip
    if dtype is not None and np.dtype(dtype).kind != "f":
        raise TypeError(f"np.var, np.std: expected a floating-point dtype, got {np.dtype(dtype)}.")
    a = masked(a, where, 0, dtype)
    sums = {"axis": axis, "dtype": None if a.dtype.kind == "f" else np.float64}
    if mean is None:
        total = np.sum(a, keepdims=True, **sums)
        mean = _divided(total, _count(a, total) if where is True else _looked_at(a, axis, True, where))
    deviation = masked(a - mean, where, 0)
    total = np.sum(deviation * deviation, keepdims=keepdims, **sums)
    count = _count(a, total) if where is True else _looked_at(a, axis, keepdims, where)
    lost = ddof if correction is None else correction
    return _divided(total, max(count - lost, 0) if where is True else np.maximum(count - lost, 0))


def _divided(total: Array, count: Any) -> Array:
    """A sum over how many there are, which may be more than float16 has numbers for."""
    return (total.astype(np.float64) / count).astype(HALF) if total.dtype == HALF else total / count


def root(y: Array, degree: float = 2) -> Array:
    """The root of a sum of powers, with slope 0 at 0."""
    return _root(y) if degree == 2 else _root(y, degree=degree)


_root = rule(
    lambda y, degree=2: np.sqrt(y) if degree == 2 else y ** (1 / degree),
    lambda g, r, y, degree=2: over(0.5 * g, r) if degree == 2 else over(g * r / degree, y),
)


composed(np.sum, _total)
composed(np.mean, in_single(_average))
composed(np.prod, _product)
composed(np.max, _extreme(_max, np.maximum, -np.inf))
composed(np.min, _extreme(_min, np.minimum, np.inf))
composed(np.amax, np.max)
composed(np.amin, np.min)
composed(
    np.ptp,
    lambda a, axis=None, *, keepdims=False: np.max(a, axis, keepdims=keepdims) - np.min(a, axis, keepdims=keepdims),
)
composed(np.var, _variance)
composed(np.std, lambda a, axis=None, dtype=None, **options: root(_variance(a, axis, dtype, **options)))


# `reduce` of ufuncs, which is along the first axis if nothing else is said.
def _reduce(reduction: Any) -> Callable[..., Any]:
    def reduce(array: Array, axis: Axis = 0, dtype: Any = None, **options: Any) -> Array:
        return _cast(reduction(masked(array, True, 0, dtype), axis=axis, **options), dtype)

    return reduce


for _ufunc, _reduction in ((np.add, np.sum), (np.multiply, np.prod), (np.maximum, np.max), (np.minimum, np.min)):
    composed(_ufunc.reduce, _reduce(compositions[_reduction]))  # np.sum itself calls np.add.reduce
