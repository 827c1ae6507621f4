"""Functions of scipy.special that are written in others; entered when the first of them is met."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from ....types import Array
from ..symbolic import lower
from .elementwise import define, real

define(special.ndtr, lambda x: 0.5 * special.erfc(-x * math.sqrt(0.5)))
define(special.exp10, lambda x: np.power(10.0, x))
define(special.cosm1, lambda x: -2 * np.square(np.sin(0.5 * x)))
define(special.exprel, lambda x: np.where((x == 0) | (x == np.inf), 1 + x, np.expm1(x) / np.where(x == 0, 1, x)))
define(special.loggamma, lambda x: np.where(x < 0, np.nan, special.gammaln(x)))
define(special.xlog1py, lambda a, b: np.where((a == 0) & ~np.isnan(b), 0, a * np.log1p(b)))
define(special.entr, lambda x: np.where(x < 0, -np.inf, -special.xlogy(x, x)))
define(special.huber, lambda delta, r: _huber(delta, np.abs(r)))


def _huber(delta: Array, size: Array) -> Array:
    y = np.where(size <= delta, 0.5 * size * size, delta * (size - 0.5 * delta))
    return np.where(delta < 0, np.inf, y)


@lower(special.rel_entr)
def _relative_entropy(a: Array, b: Array) -> Array:
    """a log(a / b); 0 where a = 0, and infinite where an argument is negative."""
    x, y = real(special.rel_entr, a, b)
    wide, other = x.astype(np.float64), y.astype(np.float64)  # their quotient may have no place in float32
    inside = (wide > 0) & (other > 0) | np.isnan(wide) | np.isnan(other)
    at_0 = np.where((wide == 0) & (other >= 0), 0, np.inf)
    excess = (wide - other) / other
    logarithm = np.where(np.abs(excess) < 0.5, np.log1p(excess), np.log(wide / other))
    return np.where(inside, wide * logarithm, at_0).astype(x.dtype)
