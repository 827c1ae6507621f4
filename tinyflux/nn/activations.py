"""Activation functions: NumPy expressions of an array of any shape, each one record on the tape.

All are stable: for |x| up to 10⁴ (and beyond, in float64) neither the value nor a derivative overflows. `sigmoid` is
`scipy.special.expit`, σ(x) = 1 / (1 + e⁻ˣ), and `tanh` is `np.tanh` (see nn/__init__.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import special
from ..autodiff.rule import rule
from ..types import Array

__all__ = ["elu", "gelu", "identity", "leakyrelu", "logsoftmax", "logsumexp", "relu", "softmax", "softplus", "swish"]


def with_pullback(*pullbacks: Callable[..., Any] | None, rows: Sequence[int] = (0,)) -> Callable[[Any], Any]:
    """`rule` as a decorator; by default the function treats each row by itself."""
    return lambda function: rule(function, *pullbacks, rows=rows)


def widened(x: Array) -> Array:
    """Integers in float64, in which their negatives and differences are; other numbers as they are."""
    return x.astype(np.float64) if hasattr(x, "dtype") and x.dtype.kind in "biu" else x


def identity(x: Array) -> Array:
    """The array itself, x ↦ x.

    >>> import tinyflux as flux
    >>> flux.identity(3.0)
    3.0
    """
    return x


@with_pullback(lambda g, y, x: g * np.sign(y))
def relu(x: Array, /) -> Array:
    """max(x, 0), elementwise; its slope at 0 is 0.

    Arguments:
        x: an array of any shape.

    Returns: an array like x. NaN stays NaN.

    >>> import numpy as np, tinyflux as flux
    >>> flux.relu(np.array([-2.0, 0.0, 3.0]))
    array([0., 0., 3.])
    """
    return np.maximum(x, 0)


@with_pullback(lambda g, y, x, a=0.01: g * np.where(x > 0, 1, a + 0 * x))
def leakyrelu(x: Array, a: float = 0.01) -> Array:
    """x where x > 0, and a·x elsewhere; its slope at 0 is a.

    Arguments and returns: as for `relu`, and
        a: the slope of the negative side.

    >>> import numpy as np, tinyflux as flux
    >>> flux.leakyrelu(np.array([-2.0, 0.0, 3.0]), 0.1)
    array([-0.2,  0. ,  3. ])
    """
    return np.where(x > 0, x, a * x)


@with_pullback(lambda g, y, x, a=1.0: g * np.where(x > 0, 1, y + a))
def elu(x: Array, a: float = 1.0) -> Array:
    """x where x > 0, and a·(eˣ − 1) elsewhere (Clevert et al. 2015); its slope at 0 is a.

    Arguments and returns: as for `relu`, and
        a: minus the value that is approached at −∞.

    >>> import numpy as np, tinyflux as flux
    >>> flux.elu(np.array([-2.0, 0.0, 3.0])).round(4)
    array([-0.8647,  0.    ,  3.    ])
    """
    return np.where(x > 0, x, a * np.expm1(np.minimum(x, 0)))


_GELU = 2 * math.sqrt(2 / math.pi)


def _gelu_slope(g: Array, y: Array, x: Array) -> Array:
    s = special.expit(_GELU * (x + 0.044715 * x * x * x))
    return g * (s + x * s * (1 - s) * (_GELU + 3 * 0.044715 * _GELU * x * x))


@with_pullback(_gelu_slope)
def gelu(x: Array) -> Array:
    """x·σ(2u) = x/2·(1 + tanh u), u = √(2/π)·(x + 0.044715·x³): the Gaussian error linear unit, in its tanh form.

    Arguments and returns: as for `relu`.

    The exact form x·Φ(x) differs by at most 5e-4 (Hendrycks and Gimpel 2016).

    >>> import numpy as np, tinyflux as flux
    >>> flux.gelu(np.array([-2.0, 0.0, 3.0])).round(4)
    array([-0.0454,  0.    ,  2.9964])
    """
    return x * special.expit(_GELU * (x + 0.044715 * x * x * x))


def _swish_slope(g: Array, y: Array, x: Array) -> Array:
    s = special.expit(x)
    return g * (s + y * (1 - s))


@with_pullback(_swish_slope)
def swish(x: Array) -> Array:
    """x·σ(x), elementwise, also known as SiLU (Ramachandran et al. 2017).

    Arguments and returns: as for `relu`.

    >>> import numpy as np, tinyflux as flux
    >>> flux.swish(np.array([-2.0, 0.0, 3.0])).round(4)
    array([-0.2384,  0.    ,  2.8577])
    """
    return x * special.expit(x)


@with_pullback(lambda g, y, x: g * special.expit(x))
def softplus(x: Array) -> Array:
    """log(1 + eˣ), elementwise: a smooth relu.

    Arguments and returns: as for `relu`.

    >>> import numpy as np, tinyflux as flux
    >>> flux.softplus(np.array([-1e4, 0.0, 1e4])).round(4)
    array([0.000e+00, 6.931e-01, 1.000e+04])
    """
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(widened(x))))


def _max(x: Array, axis: Any) -> Array:
    """The maximum along `axis`, kept as an axis of length 1."""
    x = widened(x)
    if x.ndim == 2 and axis in (1, -1) and len(x) > 8:  # NumPy is slow along rows, and quick down a copy's columns
        return x.T.copy().max(axis=0).reshape(-1, 1)
    return x.max(axis=axis, keepdims=True)


@with_pullback(lambda g, y, x, axis=-1: y * (g - (g * y).sum(axis=axis, keepdims=True)))
def softmax(x: Array, axis: int = -1) -> Array:
    """yᵢ = exp xᵢ / Σⱼ exp xⱼ along an axis: positive numbers that add up to 1.

    Arguments:
        x: an array of at least one axis.
        axis: the axis of the classes.

    Returns: an array like x.

    >>> import numpy as np, tinyflux as flux
    >>> flux.softmax(np.array([[0.0, 0.0], [1e4, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    e = np.exp(x - _max(x, axis))
    return e / e.sum(axis=axis, keepdims=True)


@with_pullback(lambda g, y, x, axis=-1: g - np.exp(y) * g.sum(axis=axis, keepdims=True))
def logsoftmax(x: Array, axis: int = -1) -> Array:
    """yᵢ = xᵢ − log Σⱼ exp xⱼ along an axis: the logarithm of `softmax`, exact where that is 0.

    Arguments and returns: as for `softmax`.

    >>> import numpy as np, tinyflux as flux
    >>> flux.logsoftmax(np.array([1e4, 0.0]))
    array([     0., -10000.])
    """
    d = x - _max(x, axis)
    return d - np.log(np.exp(d).sum(axis=axis, keepdims=True))


def _logsumexp_slope(g: Array, y: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    if not (keepdims or axis is None):
        g, y = np.expand_dims(g, axis), np.expand_dims(y, axis)
    return g * np.exp(x - y)


@with_pullback(_logsumexp_slope, rows=())
def logsumexp(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """log Σ exp x, over all elements or along axes.

    Arguments:
        x: an array.
        axis: None for all elements, an axis, or a tuple of axes.
        keepdims: keep the reduced axes with length 1.

    Returns: an array without the reduced axes; −∞ where all x are. The gradient is NaN there, and at x = ∞.

    >>> import numpy as np, tinyflux as flux
    >>> flux.logsumexp(np.array([[0.0, 0.0], [1e4, 0.0]]), axis=1).round(4)
    array([6.931e-01, 1.000e+04])
    """
    top = _max(x, axis)
    top = np.where(np.isfinite(top), top, 0)  # ∞ − ∞ would be NaN
    y = np.log(np.exp(x - top).sum(axis=axis, keepdims=True)) + top
    return y if keepdims else y.reshape(()) if axis is None else np.squeeze(y, axis=axis)
