"""Rules of functions of sampled curves and of data: interpolation, integrals, differences, covariances."""

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ...types import Array
from ..rule import composed


def _interp(x: Array, xp: Array, fp: Array, left: Any = None, right: Any = None, period: Any = None) -> Array:
    """On the line between the two points around x; the slope at a point is that of the line after it."""
    x, xp, fp = map(_in_double, (x, xp, fp))
    xp, fp = (p + np.zeros_like(x, shape=p.shape) for p in (xp, fp))  # symbolic if x is: it is looked up in them
    if period is not None:
        x, xp = x % abs(period), xp % abs(period)
        order = np.argsort(xp)
        xp, fp = xp[order], fp[order]
        xp = np.concatenate([xp[-1:] - abs(period), xp, xp[:1] + abs(period)])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
    after = np.clip(np.searchsorted(xp, x, side="right"), 1, max(len(xp) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(xp) - 1)  # of one point alone
    inside = (x >= xp[0]) & (x <= xp[-1])
    start, value = np.take(xp, before), np.take(fp, before)
    step = np.where(inside & (before != after), np.take(xp, after) - start, 1)
    slope = np.where(before != after, np.take(fp, after) - value, 0) / step
    y = np.where(inside, value + slope * (np.where(inside, x, start) - start), 0)
    y = y + np.where(x < xp[0], fp[0] if left is None else left, 0)
    y = y + np.where(x > xp[-1], fp[-1] if right is None else right, 0)
    return np.where(np.isnan(x), x, y)


def _in_double(x: Array) -> Array:
    """NumPy calculates so whatever it is given; complex numbers stay, to be refused where they meet others."""
    x = x if hasattr(x, "dtype") else np.asarray(x)
    return x if x.dtype.kind == "c" else x.astype(np.float64)


def _trapezoid(y: Array, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Array:
    y = np.moveaxis(y, axis, -1)
    if x is not None:
        dx = np.diff(x if np.ndim(x) == 1 else np.moveaxis(x, axis, -1), axis=-1)
    return np.sum(dx * (y[..., 1:] + y[..., :-1]) / 2, axis=-1)


def _gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    axes = tuple(range(f.ndim)) if axis is None else normalize_axis_tuple(axis, f.ndim)
    spacings = varargs * len(axes) if len(varargs) == 1 else varargs or (1.0,) * len(axes)
    if edge_order not in (1, 2):
        raise ValueError(f"np.gradient: expected edge_order to be 1 or 2, got {edge_order}.")
    f = f if f.dtype.kind in "fc" else f.astype(np.float64)
    if len(spacings) != len(axes):
        raise TypeError(f"np.gradient: expected a spacing for each of {len(axes)} axes, got {len(spacings)}.")
    slopes = [np.moveaxis(_slope(np.moveaxis(f, k, -1), h, edge_order), -1, k) for k, h in zip(axes, spacings)]
    return slopes[0] if len(slopes) == 1 else tuple(slopes)


def _slope(f: Any, spacing: Any, edge_order: int) -> Array:
    """Along the last axis: central differences, exact for parabolas, and differences to one side at the ends."""
    if f.shape[-1] < edge_order + 1:
        raise ValueError(f"np.gradient: expected at least {edge_order + 1} elements along the axis, got {f.shape[-1]}.")
    h = np.diff(_in_double(spacing)) if np.ndim(spacing) else spacing * np.ones_like(f, shape=(f.shape[-1] - 1,))
    slopes = (f[..., 1:] - f[..., :-1]) / h
    before, after = slopes[..., :-1], slopes[..., 1:]
    middle = (before * h[1:] + after * h[:-1]) / (h[1:] + h[:-1])
    first, last = slopes[..., :1], slopes[..., -1:]
    if edge_order == 2:
        first = first - (after - before)[..., :1] * h[:1] / (h[:1] + h[1:2])
        last = last + (after - before)[..., -1:] * h[-1:] / (h[-1:] + h[-2:-1])
    return np.concatenate([first, middle, last], axis=-1).astype(f.dtype)


def _ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Array:
    differences = np.diff(np.ravel(ary))
    ends = [x if x is None else np.ravel(x) for x in (to_begin, to_end)]
    parts = [x for x in (ends[0], differences, ends[1]) if x is not None]
    return np.concatenate(parts).astype(differences.dtype) if len(parts) > 1 else differences


def _cov(m: Array, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None) -> Array:
    x = _variables(m, rowvar or np.ndim(m) == 1)
    if y is not None:
        x = np.concatenate([x, _variables(y, rowvar or np.ndim(y) == 1 or np.shape(y)[0] == 1)], axis=0)
    x = x - np.mean(x, axis=1, keepdims=True)
    lost = (not bias) if ddof is None else ddof
    return np.squeeze(x @ x.T / max(x.shape[1] - lost, 0))


def _variables(m: Array, rowvar: bool) -> Array:
    """A row of observations for each variable."""
    if np.ndim(m) > 2:
        raise ValueError(f"np.cov: expected variables in rows or columns, got {np.ndim(m)} axes.")
    m = np.atleast_2d(_in_double(m))
    return m if rowvar else m.T


def _corrcoef(x: Array, y: Any = None, rowvar: bool = True) -> Array:
    c = np.cov(x, y, rowvar)
    if not c.ndim:
        return c / c
    deviations = np.sqrt(np.diagonal(c))
    return c / np.expand_dims(deviations, -1) / deviations


def _polyval(p: Array, x: Array) -> Array:
    p, y = p if hasattr(p, "dtype") else np.asarray(p), np.zeros_like(x)
    for k in range(len(p)):
        y = y * x + p[k]
    return y


composed(np.interp, _interp)
composed(np.trapezoid, _trapezoid)
composed(np.gradient, _gradient)
composed(np.ediff1d, _ediff1d)
composed(np.cov, _cov)
composed(np.corrcoef, _corrcoef)
composed(np.polyval, _polyval)
