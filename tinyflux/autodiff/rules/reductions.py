"""Rules of functions that reduce, accumulate or sort along axes."""

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..rule import composed, primitive, rule
from ..tape import apply
from .elementwise import share

Axis = Any  # None, an axis, or a tuple of axes


def _kept(g: Any, axis: Axis, keepdims: bool) -> Any:
    """The result of a reduction, or its cotangent, in a shape that broadcasts against what was reduced."""
    return g if keepdims or axis is None else np.expand_dims(g, axis)


def _count(x: Any, y: Any) -> int:
    """How many elements each result of a reduction came from."""
    return x.size // (y.size or 1)


_add: Any = np.add.reduce


def _sum(x: Any, axis: Axis = None, keepdims: Any = False) -> Any:
    return _add(x, axis=axis, keepdims=keepdims)  # what np.sum does, without its preparations


def _mean(x: Any, axis: Axis = None, keepdims: Any = False) -> Any:
    total = _add(x, axis=axis, keepdims=keepdims)
    return total / _count(x, total)


def _reduced(function: Any, a: Any, axis: Axis, keepdims: bool) -> Any:
    options = {} if axis is None and not keepdims else {"axis": axis, "keepdims": keepdims}
    return apply(function, (a,), options)


primitive(_sum, lambda g, y, x, axis=None, keepdims=False: _kept(g, axis, keepdims) * np.ones_like(x))
primitive(_mean, lambda g, y, x, axis=None, keepdims=False: _kept(g / _count(x, y), axis, keepdims) * np.ones_like(x))
composed(np.sum, lambda a, axis=None, *, keepdims=False: _reduced(_sum, a, axis, keepdims))
composed(np.mean, lambda a, axis=None, *, keepdims=False: _reduced(_mean, a, axis, keepdims))
composed(np.add.reduce, lambda a, axis=0, *, keepdims=False: _reduced(_sum, a, axis, keepdims))


def _extremum(g: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    ties = np.where(x == _kept(y, axis, keepdims), np.ones_like(x), np.zeros_like(x))
    return _kept(g, axis, keepdims) * (ties / np.sum(ties, axis=axis, keepdims=True))


rule(np.max, _extremum)
rule(np.min, _extremum)
composed(np.amax, np.max)
composed(np.amin, np.min)
composed(np.ptp, lambda a, axis=None: np.max(a, axis) - np.min(a, axis))


def _prod(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """The product along axes as one function of a matrix whose rows are multiplied out."""
    if not a.size:
        return np.sum(a, axis=axis, keepdims=keepdims) + 1
    axes = tuple(range(a.ndim)) if axis is None or not a.ndim else normalize_axis_tuple(axis, a.ndim)
    rest = tuple(i for i in range(a.ndim) if i not in axes)
    y = _row_products(np.transpose(a, rest + axes).reshape((*(a.shape[i] for i in rest), -1)))
    return y.reshape(tuple(1 if i in axes else n for i, n in enumerate(a.shape))) if keepdims else y


def _products_of_others(x: Any) -> Any:
    """For each element the product of the others along the last axis; exact where some are zero."""
    one = np.ones_like(x[..., :1])
    before = np.cumprod(np.concatenate([one, x[..., :-1]], axis=-1), axis=-1)
    after = np.cumprod(np.flip(np.concatenate([x[..., 1:], one], axis=-1), -1), axis=-1)
    return before * np.flip(after, -1)


_row_products = rule(
    lambda x: np.prod(x, axis=-1),
    lambda g, y, x: np.expand_dims(g, -1) * _products_of_others(x),
)
composed(np.prod, _prod)


def root(y: Any, degree: float = 2) -> Any:
    """The root of a sum of powers, with slope 0 at 0."""
    inside = np.where(y == 0, 1, y)
    return np.where(y == 0, 0, np.sqrt(inside) if degree == 2 else inside ** (1 / degree))


def _var(a: Any, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    deviation = a - np.mean(a, axis=axis, keepdims=True)
    total = np.sum(deviation * deviation, axis=axis, keepdims=keepdims)
    return total / (_count(a, total) - ddof)


composed(np.var, _var)
composed(np.std, lambda a, axis=None, *, ddof=0, keepdims=False: root(_var(a, axis, ddof=ddof, keepdims=keepdims)))


def _cumsum(g: Any, y: Any, x: Any, axis: int | None = None) -> Any:
    backwards = np.flip(np.cumsum(np.flip(g, axis or 0), axis or 0), axis or 0)
    return backwards.reshape(x.shape) if axis is None else backwards


rule(np.cumsum, _cumsum)


def _cumprod(a: Any, axis: int | None = None) -> Any:
    a = a.reshape(-1) if axis is None else np.moveaxis(a, axis, -1)
    products = [a[..., :1]]
    for i in range(1, a.shape[-1]):
        products.append(products[-1] * a[..., i : i + 1])
    return np.moveaxis(np.concatenate(products, axis=-1), -1, axis or 0)


composed(np.cumprod, _cumprod)


def _diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    a = np.moveaxis(a, axis, -1)
    for _ in range(n):
        a = a[..., 1:] - a[..., :-1]
    return np.moveaxis(a, -1, axis)


composed(np.diff, _diff)


# A ufunc's methods.
primitive(
    np.logaddexp.reduce,
    lambda g, y, x, axis=0, keepdims=False: _kept(g, axis, keepdims) * share(x, _kept(y, axis, keepdims)),
)
composed(np.multiply.reduce, lambda array, axis=0, *, keepdims=False: np.prod(array, axis=axis, keepdims=keepdims))
composed(np.maximum.reduce, lambda array, axis=0, *, keepdims=False: np.max(array, axis=axis, keepdims=keepdims))
composed(np.minimum.reduce, lambda array, axis=0, *, keepdims=False: np.min(array, axis=axis, keepdims=keepdims))
composed(np.add.accumulate, lambda array, axis=0: np.cumsum(array, axis=axis))
