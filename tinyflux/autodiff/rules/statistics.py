"""Rules of averages, quantiles, and reductions that skip NaN: all composed of others."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ...types import Array
from ..rule import composed, constant
from .reductions import Axis, in_single, restored, rows


def _average(
    a: Array, axis: Axis = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    if weights is None:
        y = np.mean(a, axis=axis, keepdims=keepdims)
        total = np.full_like(y, a.size // (y.size or 1))
    else:
        a, weights = (x if hasattr(x, "dtype") else np.asarray(x) for x in (a, weights))
        if a.dtype.kind not in "fc":
            a = a.astype(np.float64)
        if weights.shape != a.shape:
            weights = _along(weights, a, axis)
        total = np.sum(weights + np.zeros_like(a), axis=axis, keepdims=keepdims)
        y = np.sum(a * weights, axis=axis, keepdims=keepdims) / total
    return (y, total) if returned else y


def _along(weights: Any, a: Array, axis: Axis) -> Array:
    """Weights for some axes of an array, in a shape that broadcasts against it."""
    if axis is None:
        raise TypeError(f"np.average: expected axis with weights of shape {weights.shape} for {a.shape}.")
    axes = normalize_axis_tuple(axis, a.ndim)
    if weights.shape != tuple(a.shape[i] for i in axes):
        raise ValueError(f"np.average: the shape {weights.shape} of weights doesn't fit axis={axis} of {a.shape}.")
    weights = np.transpose(weights, sorted(range(len(axes)), key=axes.__getitem__))
    return np.reshape(weights, [n if i in axes else 1 for i, n in enumerate(a.shape)])


composed(np.average, _average)

# Quantiles: where among n sorted elements one lies is (n − 1) q, rounded in some way; or n q + a + q (1 − a − b) − 1.
_ROUNDED: dict[str, Callable[[Any], Any]] = {
    "linear": lambda place: place,
    "lower": np.floor,
    "higher": np.ceil,
    "nearest": np.rint,
    "midpoint": lambda place: 0.5 * (np.floor(place) + np.ceil(place)),
}
_PICKING = ("lower", "higher", "nearest")  # one of the elements
_SHIFTED = {
    "weibull": (0, 0), "hazen": (0.5, 0.5), "interpolated_inverted_cdf": (0, 1), "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}  # fmt: skip


def _quantile(skip: bool, scale: float = 1) -> Callable[..., Any]:
    def quantile(a: Array, q: Array, axis: Axis = None, *, method: str = "linear", keepdims: bool = False) -> Array:
        if method not in _ROUNDED and method not in _SHIFTED:
            known = ", ".join([*_ROUNDED, *_SHIFTED])
            raise TypeError(f"np.quantile: its gradient does not know method={method!r} (it knows: {known}).")
        kind = a.dtype
        a = a if kind.kind == "f" else a.astype(np.float64)
        fractions = np.asarray(q, a.dtype if type(q) in (int, float) else None) / scale
        if np.any((fractions < 0) | (fractions > 1)):
            raise ValueError(f"np.quantile: expected q to be in the range from 0 to {scale}, got {q}.")
        lines = np.sort(rows(a, axis), axis=-1)  # NaN comes last
        found = [_picked(lines, fraction, method, skip) for fraction in fractions.reshape(-1)]
        found = [restored(y, a, axis) for y in found] if keepdims else found
        y = np.reshape(np.stack(found), fractions.shape + found[0].shape) if fractions.shape else found[0]
        return y.astype(kind) if method in _PICKING and kind.kind != "f" else y

    return quantile


def _picked(lines: Any, fraction: Any, method: str, skip: bool) -> Array:
    """One quantile of each line, between its elements below and above."""
    count = np.sum(~np.isnan(lines), axis=-1, dtype=lines.dtype) if skip else lines.shape[-1]
    if method in _ROUNDED:
        place = _ROUNDED[method]((count - 1) * fraction)
    else:
        start, end = _SHIFTED[method]
        place = count * fraction + (start + fraction * (1 - start - end)) - 1
    place = np.minimum(np.maximum(place, 0), np.maximum(count - 1, 0) if skip else max(count - 1, 0))
    below = np.floor(place)
    left, right = _elements(lines, below, skip), _elements(lines, np.ceil(place), skip)
    y = left if method in _PICKING else left + (place - below) * (right - left)
    return y if skip else np.where(np.isnan(lines[..., -1]), np.nan, y)


def _elements(lines: Any, places: Any, skip: bool) -> Array:
    """The elements at a place, which every line has its own of where NaN is skipped."""
    if not skip:
        return lines[..., int(places)]
    return np.take_along_axis(lines, np.expand_dims(places.astype(np.int64), -1), -1)[..., 0]


def _median(skip: bool) -> Callable[..., Any]:
    """Half the sum of the two in the middle, which may be the same infinity."""

    def median(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
        a = a if a.dtype.kind == "f" else a.astype(np.float64)
        lines = np.sort(rows(a, axis), axis=-1)
        y = (_picked(lines, 0.5, "lower", skip) + _picked(lines, 0.5, "higher", skip)) / 2
        return restored(y, a, axis) if keepdims else y

    return in_single(median)


for _function, _skip, _scale in (
    (np.quantile, False, 1), (np.percentile, False, 100), (np.nanquantile, True, 1), (np.nanpercentile, True, 100),
):  # fmt: skip
    composed(_function, _quantile(_skip, _scale))
composed(np.median, _median(False))
composed(np.nanmedian, _median(True))


# Reductions that skip NaN.
def _skipping(reduction: Any) -> Callable[..., Any]:
    def reduced(a: Array, axis: Axis = None, dtype: Any = None, *, where: Any = True, **options: Any) -> Array:
        if dtype is not None:
            options["dtype"] = dtype
        return reduction(a, axis=axis, where=~np.isnan(a) & where, **options)

    return reduced


def _skipping_extreme(reduction: Any) -> Callable[..., Any]:
    def reduced(
        a: Array, axis: Axis = None, *, keepdims: bool = False, initial: Any = None, where: Any = True
    ) -> Array:
        if a.dtype.kind != "f":
            return reduction(a, axis=axis, keepdims=keepdims, initial=initial, where=where)
        seen = ~np.isnan(a) & where
        y = reduction(a, axis=axis, keepdims=keepdims, initial=initial, where=seen)
        return y if initial is not None else np.where(np.any(seen, axis=axis, keepdims=keepdims), y, np.nan)

    return reduced


composed(np.nansum, _skipping(np.sum))
composed(np.nanprod, _skipping(np.prod))
composed(np.nanmean, _skipping(np.mean))
composed(np.nanvar, _skipping(np.var))
composed(np.nanstd, _skipping(np.std))
composed(np.nanmax, _skipping_extreme(np.max))
composed(np.nanmin, _skipping_extreme(np.min))
constant(np.nanargmax, np.nanargmin)
