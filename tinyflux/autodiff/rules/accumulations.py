"""Rules of functions that accumulate along an axis: running sums, products, maxima; and differences."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...types import Array
from ..operators import recorded
from ..rule import composed, primitive
from ..table import rules
from .reductions import masked


@recorded
def recurrence(a: Array, b: Array) -> Array:
    """yᵢ = bᵢ + aᵢ yᵢ₋₁ along the last axis, from y₋₁ = 0: steps are joined in pairs, pairs of pairs, and so on."""
    step = 1
    while step < b.shape[-1]:
        b = np.concatenate([b[..., :step], b[..., step:] + a[..., step:] * b[..., :-step]], axis=-1)
        a = np.concatenate([a[..., :step], a[..., step:] * a[..., :-step]], axis=-1)
        step *= 2
    return b


def _before(y: Array) -> Array:
    """The elements before each one along the last axis, 0 before the first."""
    return np.concatenate([np.zeros_like(y[..., :1]), y[..., :-1]], axis=-1)


def _backwards(a: Array, g: Array) -> Array:
    """tᵢ = gᵢ + aᵢ₊₁ tᵢ₊₁: what reaches element i of a recurrence from itself and from all after it."""
    return np.flip(recurrence(_before(np.flip(a, -1)), np.flip(g, -1)), -1)


primitive(
    recurrence,
    lambda g, y, a, b: _backwards(a, g) * _before(y),
    lambda g, y, a, b: _backwards(a, g),
)


def _running(ufunc: np.ufunc) -> Callable[..., Any]:
    """The pullback of yᵢ = ufunc(yᵢ₋₁, xᵢ), from the ufunc's own."""

    def pullback(g: Array, y: Array, x: Array, axis: int = 0) -> Array:
        g, y, x = (np.moveaxis(array, axis, -1) for array in (g, y, x))
        first, before, after, here = x[..., :1], y[..., :-1], y[..., 1:], x[..., 1:]
        one = np.ones_like(here)
        carried, taken = (p(one, after, before, here) for p in rules[ufunc].pullbacks)
        arrived = _backwards(np.concatenate([np.zeros_like(first), carried], axis=-1), g)
        return np.moveaxis(arrived * np.concatenate([np.ones_like(first), taken], axis=-1), -1, axis)

    return pullback


primitive(np.add.accumulate, lambda g, y, x, axis=0: np.flip(np.add.accumulate(np.flip(g, axis), axis), axis))
for _ufunc in (np.multiply, np.maximum, np.minimum, np.logaddexp):
    primitive(_ufunc.accumulate, _running(_ufunc))


def _flattened(accumulate: Any) -> Callable[..., Any]:
    """With the options of np.cumsum."""

    def accumulated(a: Array, axis: int | None = None, dtype: Any = None) -> Array:
        a = masked(a, True, 0, dtype)
        y = accumulate(a.reshape(-1) if axis is None or not a.ndim else a, axis=axis or 0)
        return y if dtype is None or y.dtype == dtype else y.astype(dtype)

    return accumulated


def _cumulative(accumulate: Any, neutral: int) -> Callable[..., Any]:
    """With the options of np.cumulative_sum."""

    def accumulated(x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
        if axis is None and x.ndim > 1:
            raise ValueError("np.cumulative_sum and its kin want an axis for an array of several axes.")
        y = accumulate(np.moveaxis(np.atleast_1d(x), axis or 0, -1), axis=-1, dtype=dtype)
        if include_initial:
            y = np.concatenate([np.full_like(y, neutral, shape=(*y.shape[:-1], 1)), y], axis=-1)
        return np.moveaxis(y, -1, axis or 0)

    return accumulated


composed(np.cumsum, _flattened(np.add.accumulate))
composed(np.cumprod, _flattened(np.multiply.accumulate))
composed(np.cumulative_sum, _cumulative(np.cumsum, 0))
composed(np.cumulative_prod, _cumulative(np.cumprod, 1))
composed(np.nancumsum, lambda a, axis=None, dtype=None: np.cumsum(np.where(np.isnan(a), 0, a), axis, dtype))
composed(np.nancumprod, lambda a, axis=None, dtype=None: np.cumprod(np.where(np.isnan(a), 1, a), axis, dtype))


def _diff(a: Array, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Array:
    if n < 0:
        raise ValueError(f"np.diff: expected n to be at least 0, got {n}.")
    if n == 0:  # nothing is put at the ends either
        return a
    ends = [x if x is None or np.ndim(x) else _slice_of(x, a, axis) for x in (prepend, append)]
    parts = [x for x in (ends[0], a, ends[1]) if x is not None]
    a = np.moveaxis(np.concatenate(parts, axis=axis) if len(parts) > 1 else a, axis, -1)
    for _ in range(n):
        a = np.not_equal(a[..., 1:], a[..., :-1]) if a.dtype == np.bool_ else a[..., 1:] - a[..., :-1]
    return np.moveaxis(a, -1, axis)


def _slice_of(number: Any, a: Array, axis: int) -> Array:
    """A number in the shape of one slice of a."""
    shape = list(a.shape)
    shape[axis] = 1
    dtype = number.dtype if hasattr(number, "dtype") else np.asarray(number).dtype
    return number + np.zeros_like(a, shape=tuple(shape), dtype=dtype)


composed(np.diff, _diff)
