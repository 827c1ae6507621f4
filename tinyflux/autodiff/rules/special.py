"""Rules of scipy.special's functions; entered when the first of them is met."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from ...types import Array
from ..rule import rule
from ..table import rules


# Logistic functions.
def _expit(x: Array) -> Array:
    """scipy.special.expit; many numbers go by NumPy's exp, which is vectorised where SciPy's is not."""
    if type(x) is not np.ndarray or x.size < 1024:
        return special.expit(x)
    with np.errstate(over="ignore"):  # where e⁻ˣ is infinite the result is 0
        return np.reciprocal(1 + np.exp(-x))


rule(special.expit, lambda g, y, x: g * (y * (1 - y)))
rules[special.expit].function = _expit
rule(special.logit, lambda g, y, x: g / (x * (1 - x)))
rule(special.log_expit, lambda g, y, x: g * special.expit(-x))

# The error function, and the normal distribution's.
_SLOPE = 2 / math.sqrt(math.pi)
_DENSITY = 1 / math.sqrt(2 * math.pi)
rule(special.erf, lambda g, y, x: g * _SLOPE * np.exp(-x * x))
rule(special.erfc, lambda g, y, x: g * -_SLOPE * np.exp(-x * x))
rule(special.erfcx, lambda g, y, x: g * _SLOPE * np.where(x < _FAR, 2 * x * y / _SLOPE - 1, _far(-1, x)))
rule(special.erfinv, lambda g, y, x: g / _SLOPE * np.exp(y * y))
rule(special.erfcinv, lambda g, y, x: -g / _SLOPE * np.exp(y * y))
rule(special.dawsn, lambda g, y, x: g * np.where(np.abs(x) < _FAR, 1 - 2 * x * y, -_far(1, x)))
rule(special.ndtr, lambda g, y, x: g * _DENSITY * np.exp(-0.5 * x * x))


def _ratio(x: Array) -> Any:
    """The density over ndtr, both of which are 0 far below 0."""
    return 2 * _DENSITY / special.erfcx(-math.sqrt(0.5) * x)


_inverse_mills: Any = rule(_ratio, lambda g, y, x: -g * y * _above(x, y), rows=(0,))
rule(special.log_ndtr, lambda g, y, x: g * _inverse_mills(x))
rule(special.ndtri, lambda g, y, x: g / _DENSITY * np.exp(0.5 * y * y))


_FAR = 7.0  # from here on the slopes of erfcx and dawsn would be differences of nearly equal numbers


def _far(sign: int, x: Array) -> Array:
    """Their asymptotic series Σ 1·3·…·(2n − 1)·uⁿ from n = 1 on, u = ±1 / (2x²), to 20 terms."""
    half = sign * 0.5 / np.square(np.where(np.abs(x) < _FAR, _FAR, x))
    total: Any = 0.0
    for k in range(39, 0, -2):
        total = k * half * (1 + total)
    return total


def _above(x: Array, y: Array) -> Array:
    """x + y for the ratio y of the density to ndtr, which is little more than −x far below 0: −x / (1 + the series)."""
    series = _far(-1, math.sqrt(0.5) * x)
    return np.where(x < -math.sqrt(2) * _FAR, x * series / (1 + series), x + y)


def _unknown(name: str, parameter: str) -> Callable[..., Any]:
    """The pullback of a parameter that there is a slope in, but no rule for."""

    def unknown(*_: Any) -> Array:
        raise NotImplementedError(
            f"scipy.special.{name}: its gradient with respect to {parameter} isn't known. "
            "Give it as a plain number, or write the function out in others."
        )

    return unknown


# Logarithms and powers.
rule(
    special.xlogy,
    lambda g, y, a, b: g * special.xlogy(np.where((a == 0) & (b == 0), 0, np.ones_like(a)), b),
    lambda g, y, a, b: g * (a / np.where((a == 0) & (b == 0), 1, b)),
)
rule(
    special.xlog1py,
    lambda g, y, a, b: g * special.xlog1py(np.where((a == 0) & (b == -1), 0, np.ones_like(a)), b),
    lambda g, y, a, b: g * (a / np.where((a == 0) & (b == -1), 1, 1 + b)),
)
rule(special.exp10, lambda g, y, x: g * y * math.log(10))
rule(special.boxcox, lambda g, y, x, p: g * x ** (p - 1), _unknown("boxcox", "lmbda"))
rule(special.boxcox1p, lambda g, y, x, p: g * (1 + x) ** (p - 1), _unknown("boxcox1p", "lmbda"))
rule(special.exprel, lambda g, y, x: g * _exprel_slope(x))
rule(special.cosm1, lambda g, y, x: -g * np.sin(x))


def _exprel_slope(x: Array) -> Array:
    """((x − 1) eˣ + 1) / x², near 0 by its series Σ k xᵏ⁻¹ / (k + 1)!."""
    small = np.abs(x) < 0.5
    series: Any = 0.0
    for k in range(17, 0, -1):
        series = np.where(small, x, 0) * series + k / math.factorial(k + 1)
    far = np.where(small, 1, x)
    return np.where(small, series, (special.exprel(far) * (far - 1) + 1) / far)


# Information, and robust losses.
rule(special.entr, lambda g, y, x: -g * (1 + np.log(x)))
rule(special.rel_entr, lambda g, y, a, b: g * (1 + np.log(a / b)), lambda g, y, a, b: -g * a / b)
rule(special.kl_div, lambda g, y, a, b: g * np.log(a / b), lambda g, y, a, b: g * (1 - a / b))
rule(
    special.huber,
    lambda g, y, delta, r: g * np.where(np.abs(r) <= delta, 0, np.abs(r) - delta),
    lambda g, y, delta, r: g * np.minimum(np.maximum(r, -delta), delta),
)
rule(
    special.pseudo_huber,
    lambda g, y, delta, r: g * _pseudo_huber_width(delta, r),
    lambda g, y, delta, r: g * r / np.hypot(1, r / delta),
)


def _pseudo_huber_width(delta: Any, r: Array) -> Array:
    """∂/∂δ of δ² (√(1 + (r/δ)²) − 1)."""
    root = np.hypot(1, r / delta)
    return delta * (root - 1) * (root - 1) / root


# Gamma, beta and zeta functions.
rule(special.gamma, lambda g, y, x: g * y * special.psi(x))
rule(special.gammaln, lambda g, y, x: g * special.psi(x))
rule(special.loggamma, lambda g, y, x: g * special.psi(x))
rule(special.rgamma, lambda g, y, x: -g * y * special.psi(x))
_zeta: Any = rule(special.zeta, None, lambda g, y, s, x: -g * s * _zeta(s + 1.0, x))
rule(special.psi, lambda g, y, x: g * _zeta(2.0, x))  # ψ⁽ⁿ⁾(x) = (−1)ⁿ⁺¹ n! ζ(n + 1, x)
rule(
    special.beta,
    lambda g, y, a, b: g * y * (special.psi(a) - special.psi(a + b)),
    lambda g, y, a, b: g * y * (special.psi(b) - special.psi(a + b)),
)
rule(
    special.betaln,
    lambda g, y, a, b: g * (special.psi(a) - special.psi(a + b)),
    lambda g, y, a, b: g * (special.psi(b) - special.psi(a + b)),
)
rule(special.gammainc, _unknown("gammainc", "a"), lambda g, y, a, x: g * _gamma_density(a, x))
rule(special.gammaincc, _unknown("gammaincc", "a"), lambda g, y, a, x: -g * _gamma_density(a, x))
rule(
    special.betainc,
    _unknown("betainc", "a"),
    _unknown("betainc", "b"),
    lambda g, y, a, b, x: g * _beta_density(a, b, x),
)
rule(special.expi, lambda g, y, x: g * np.exp(x) / x)
rule(special.exp1, lambda g, y, x: -g * np.exp(-x) / x)


def _gamma_density(a: Array, x: Array) -> Array:
    return np.exp(special.xlogy(a - 1, x) - x - special.gammaln(a))


def _beta_density(a: Array, b: Array, x: Array) -> Array:
    return np.exp(special.xlogy(a - 1, x) + special.xlog1py(b - 1, -x) - special.betaln(a, b))


# Bessel functions.
rule(special.i0, lambda g, y, x: g * special.i1(x))
rule(special.i1, lambda g, y, x: g * (special.i0(x) - _over_x(special.i1(x), x, 1)))
rule(special.i0e, lambda g, y, x: g * (special.i1e(x) - np.sign(x) * y))
rule(special.i1e, lambda g, y, x: g * (special.i0e(x) - _over_x(y, x, 0) - np.sign(x) * y))
rule(special.j0, lambda g, y, x: -g * special.j1(x))
rule(special.j1, lambda g, y, x: g * (special.j0(x) - _over_x(y, x, -1)))


def _over_x(y: Array, x: Array, sign: int) -> Array:
    """y / x of a function that is x/2 ± x³/16 + x⁵/384 near 0, from which its derivatives at 0 come."""
    square = x * x
    return np.where(x == 0, 0.5 + square * (sign / 16 + square / 384), y / np.where(x == 0, 1, x))
