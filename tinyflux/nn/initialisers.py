"""Initial values of parameters: `init(shape, rng)` is a float32 array.

The fans of a shape (out, in, *kernel) are fan_in = k·in and fan_out = k·out, k being the number of elements of a
kernel, 1 for a matrix. A vector counts as a matrix of one column.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import default_rng
from ..checks import check_generator, check_number, is_integer, shown

__all__ = ["glorot_normal", "glorot_uniform", "kaiming_normal", "kaiming_uniform", "ones", "zeros"]

Shape = tuple[int, ...]
Array = np.ndarray[Any, Any]


def _fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out)"""
    nout, nin, *kernel = (*shape, 1, 1) if len(shape) < 2 else shape
    return math.prod(kernel) * nin, math.prod(kernel) * nout


def _check(name: str, shape: Any, rng: Any, gain: float = 1.0) -> None:
    if is_integer(shape) and is_integer(rng):
        raise TypeError(f"{name}: expected a shape and a generator, got {shape} and {rng}. Write ({shape}, {rng}).")
    if not isinstance(shape, (tuple, list)) or not all(is_integer(n) and n >= 0 for n in shape):
        raise TypeError(f"{name}: expected a shape, a tuple of integers such as (2, 3), got {shown(shape)}.")
    check_generator(name, rng)
    check_number(name, "gain", gain)


def _uniform(shape: Shape, rng: np.random.Generator | None, bound: float) -> Array:
    return (rng or default_rng()).random(shape, dtype=np.float32) * (2 * bound) - bound


def _normal(shape: Shape, rng: np.random.Generator | None, deviation: float) -> Array:
    return (rng or default_rng()).standard_normal(shape, dtype=np.float32) * deviation


def glorot_uniform(shape: Shape, rng: np.random.Generator | None = None, *, gain: float = 1.0) -> Array:
    """Uniform in ±a, a = gain·√(6 / (fan_in + fan_out)) (Glorot and Bengio 2010).

    For a shape (out, in, *kernel), fan_in = k·in and fan_out = k·out, where k is the number of elements of a kernel: 1
    for a matrix. A vector counts as a matrix of one column.

    Arguments:
        shape: the shape wanted.
        rng: a NumPy generator; by default the one that `flux.seed` restarts.
        gain: a factor that suits the activation: √2 for relu, 5/3 for tanh.

    Returns: a float32 array.

    Errors: TypeError for a shape that is no tuple of integers, or another generator.

    >>> import tinyflux as flux
    >>> bool(abs(flux.glorot_uniform((2, 4))).max() <= 1)
    True
    """
    _check("glorot_uniform", shape, rng, gain)
    return _uniform(shape, rng, gain * math.sqrt(6 / max(sum(_fans(shape)), 1)))


def glorot_normal(shape: Shape, rng: np.random.Generator | None = None, *, gain: float = 1.0) -> Array:
    """Normal with mean 0 and standard deviation gain·√(2 / (fan_in + fan_out)) (Glorot and Bengio 2010).

    Arguments and returns: as for `glorot_uniform`.

    >>> import tinyflux as flux
    >>> flux.glorot_normal((2, 4)).dtype
    dtype('float32')
    """
    _check("glorot_normal", shape, rng, gain)
    return _normal(shape, rng, gain * math.sqrt(2 / max(sum(_fans(shape)), 1)))


def kaiming_uniform(shape: Shape, rng: np.random.Generator | None = None, *, gain: float = math.sqrt(2)) -> Array:
    """Uniform in ±a, a = gain·√(3 / fan_in) (He et al. 2015); the gain √2 is for relu.

    Arguments and returns: as for `glorot_uniform`.

    >>> import tinyflux as flux
    >>> bool(abs(flux.kaiming_uniform((2, 6))).max() <= 1)
    True
    """
    _check("kaiming_uniform", shape, rng, gain)
    return _uniform(shape, rng, gain * math.sqrt(3 / max(_fans(shape)[0], 1)))


def kaiming_normal(shape: Shape, rng: np.random.Generator | None = None, *, gain: float = math.sqrt(2)) -> Array:
    """Normal with mean 0 and standard deviation gain / √fan_in (He et al. 2015); the gain √2 is for relu.

    Arguments and returns: as for `glorot_uniform`.

    >>> import tinyflux as flux
    >>> flux.kaiming_normal((2, 4)).shape
    (2, 4)
    """
    _check("kaiming_normal", shape, rng, gain)
    return _normal(shape, rng, gain / math.sqrt(max(_fans(shape)[0], 1)))


def zeros(shape: Shape, rng: np.random.Generator | None = None) -> Array:
    """All 0.

    Arguments:
        shape: the shape wanted.
        rng: not used.

    Returns: a float32 array.

    >>> import tinyflux as flux
    >>> flux.zeros((2,))
    array([0., 0.], dtype=float32)
    """
    _check("zeros", shape, rng)
    return np.zeros(shape, np.float32)


def ones(shape: Shape, rng: np.random.Generator | None = None) -> Array:
    """All 1.

    Arguments:
        shape: the shape wanted.
        rng: not used.

    Returns: a float32 array.

    >>> import tinyflux as flux
    >>> flux.ones((2,))
    array([1., 1.], dtype=float32)
    """
    _check("ones", shape, rng)
    return np.ones(shape, np.float32)
