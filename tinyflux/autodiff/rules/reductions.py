"""Rules of functions that reduce, accumulate or sort along axes."""

from typing import Any

import numpy as np

from ..rule import composed, primitive, rule
from ..tape import apply, plain

Axis = Any  # None, an axis, or a tuple of axes


def _kept(g: Any, axis: Axis, keepdims: bool) -> Any:
    """The result of a reduction, or its cotangent, in a shape that broadcasts against what was reduced."""
    return g if keepdims or axis is None else np.expand_dims(g, axis)


def _count(x: Any, y: Any) -> int:
    """How many elements each result of a reduction came from."""
    return x.size // (y.size or 1)


def _mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    total = np.add.reduce(x, axis=axis, keepdims=keepdims)  # what np.mean does, without its preparations
    return total / _count(x, total)


primitive(np.add.reduce, lambda g, y, x, axis=0, keepdims=False: _kept(g, axis, keepdims) * np.ones_like(x))
primitive(_mean, lambda g, y, x, axis=None, keepdims=False: _kept(g / _count(x, y), axis, keepdims) * np.ones_like(x))
composed(np.sum, lambda x, axis=None, keepdims=False: apply(np.add.reduce, (x,), {"axis": axis, "keepdims": keepdims}))
composed(np.mean, lambda x, axis=None, keepdims=False: apply(_mean, (x,), {"axis": axis, "keepdims": keepdims}))


def _extremum(g: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    ties = np.where(x == _kept(y, axis, keepdims), np.ones_like(x), np.zeros_like(x))
    return _kept(g, axis, keepdims) * (ties / np.sum(ties, axis=axis, keepdims=True))


rule(np.max, _extremum)
rule(np.min, _extremum)


def _prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The product along axes as one function of a matrix whose rows are multiplied out."""
    axes = _axes(x, axis)
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    rows = np.transpose(x, rest + axes).reshape(tuple(x.shape[i] for i in rest) + (-1,)) if x.size else x
    if not x.size:
        return np.sum(x, axis=axis, keepdims=keepdims) + 1
    y = _row_products(rows)
    return y.reshape(tuple(1 if i in axes else n for i, n in enumerate(x.shape))) if keepdims else y


def _axes(x: Any, axis: Axis) -> tuple[int, ...]:
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(a % x.ndim for a in axes))


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


def _var(x: Any, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    deviation = x - np.mean(x, axis=axis, keepdims=True)
    total = np.sum(deviation * deviation, axis=axis, keepdims=keepdims)
    return total / (_count(x, total) - ddof)


composed(np.var, _var)
composed(np.std, lambda x, axis=None, *, ddof=0, keepdims=False: np.sqrt(_var(x, axis, ddof=ddof, keepdims=keepdims)))


def _cumsum(g: Any, y: Any, x: Any, axis: int | None = None) -> Any:
    backwards = np.flip(np.cumsum(np.flip(g, axis or 0), axis or 0), axis or 0)
    return backwards.reshape(x.shape) if axis is None else backwards


rule(np.cumsum, _cumsum)


def _cumprod(x: Any, axis: int | None = None) -> Any:
    x = x.reshape(-1) if axis is None else np.moveaxis(x, axis, -1)
    products = [x[..., :1]]
    for i in range(1, x.shape[-1]):
        products.append(products[-1] * x[..., i : i + 1])
    return np.moveaxis(np.concatenate(products, axis=-1), -1, axis or 0)


composed(np.cumprod, _cumprod)


def _logsumexp(x: Any, axis: Axis = 0, keepdims: bool = False) -> Any:
    top = np.max(plain(x), axis=axis, keepdims=True)  # shifts cancel: no gradient need flow through this one
    top = np.where(np.isfinite(top), top, 0)
    return np.log(np.sum(np.exp(x - top), axis=axis, keepdims=keepdims)) + (top if keepdims else np.squeeze(top, axis))


# A ufunc's methods.
composed(np.logaddexp.reduce, _logsumexp)
composed(np.multiply.reduce, lambda x, axis=0, keepdims=False: np.prod(x, axis=axis, keepdims=keepdims))
composed(np.maximum.reduce, lambda x, axis=0, keepdims=False: np.max(x, axis=axis, keepdims=keepdims))
composed(np.minimum.reduce, lambda x, axis=0, keepdims=False: np.min(x, axis=axis, keepdims=keepdims))
composed(np.add.accumulate, lambda x, axis=0: np.cumsum(x, axis=axis))
