"""Rules of functions that work element by element, with broadcasting."""

import math
from typing import Any

import numpy as np

from ... import special
from ...types import Array
from ..rule import composed, constant, rule
from ..table import rules

# Arithmetic.
rule(np.add, lambda g, y, a, b: g, lambda g, y, a, b: g)
rule(np.subtract, lambda g, y, a, b: g, lambda g, y, a, b: -g)
rule(np.multiply, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)
rule(np.divide, lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b)
rule(np.remainder, lambda g, y, a, b: g, lambda g, y, a, b: -g * np.floor_divide(a, b))
rule(np.fmod, lambda g, y, a, b: g, lambda g, y, a, b: -g * np.trunc(a / b))
rule(np.negative, lambda g, y, x: -g)
rule(np.positive, lambda g, y, x: g)
rule(np.nextafter, lambda g, y, a, b: g, None)
composed(np.copy, lambda a: np.positive(a))
composed(np.real, lambda val: val)
composed(np.imag, lambda val: np.zeros_like(val))
composed(np.conjugate, lambda x: x.astype(np.int8) if x.dtype == np.bool_ else np.positive(x))
rule(np.reciprocal, lambda g, y, x: -g * y * y)
rule(np.square, lambda g, y, x: (g + g) * x)  # a sum of arrays is cheaper than a product with a number
rule(np.sqrt, lambda g, y, x: 0.5 * g / y)
rule(np.cbrt, lambda g, y, x: g / (3 * y * y))


def _power_base(g: Array, y: Array, a: Array, b: Array) -> Array:
    if isinstance(b, (int, float)):
        return g * (b * a ** (b - 1)) if b != 0 else np.zeros_like(g)
    return g * b * a ** np.where((a == 0) & (b == 0), 1, b - 1)  # 0 * 0⁻¹ would be NaN


def _power_exponent(g: Array, y: Array, a: Array, b: Array) -> Array:
    return g * y * np.log(np.where(a == 0, 1, a))


rule(np.power, _power_base, _power_exponent)
rule(np.float_power, _power_base, _power_exponent)

# Exponential, logarithmic.
rule(np.exp, lambda g, y, x: g * y)
rule(np.exp2, lambda g, y, x: g * y * math.log(2))
rule(np.expm1, lambda g, y, x: g * (y + 1))
rule(np.log, lambda g, y, x: g / x)
rule(np.log2, lambda g, y, x: g / (x * math.log(2)))
rule(np.log10, lambda g, y, x: g / (x * math.log(10)))
rule(np.log1p, lambda g, y, x: g / (1 + x))
rule(np.logaddexp, lambda g, y, a, b: g * _share(a, b), lambda g, y, a, b: g * _share(b, a))


def _share(a: Array, b: Array) -> Array:
    """exp a / (exp a + exp b); the halves where both are the same infinity."""
    same = (a == b) & np.isinf(a)
    return special.expit(np.where(same, 0, a - np.where(same, 0, b)))


# Trigonometric, hyperbolic.
rule(np.sin, lambda g, y, x: g * np.cos(x))
rule(np.cos, lambda g, y, x: -g * np.sin(x))
rule(np.tan, lambda g, y, x: g * (1 + y * y))
rule(np.arcsin, lambda g, y, x: g / np.sqrt((1 - x) * (1 + x)))
rule(np.arccos, lambda g, y, x: -g / np.sqrt((1 - x) * (1 + x)))
rule(np.arctan, lambda g, y, x: g / (1 + x * x))
rule(np.arctan2, lambda g, y, a, b: g * _turn(b, a), lambda g, y, a, b: -g * _turn(a, b))
rule(np.hypot, lambda g, y, a, b: g * over(a, y), lambda g, y, a, b: g * over(b, y))
rule(np.deg2rad, lambda g, y, x: np.deg2rad(g))
rule(np.rad2deg, lambda g, y, x: np.rad2deg(g))
composed(np.radians, lambda x: np.deg2rad(x))
composed(np.degrees, lambda x: np.rad2deg(x))  # ufuncs have signatures from NumPy 2.4 on


def _turn(a: Array, b: Array) -> Array:
    """a / (a² + b²), without the squares, which may be too large or too small to be numbers."""
    distance = np.hypot(a, b)
    return a / distance / distance


# a / y, and 0 at y = 0. Slopes of norms are such quotients: 0 at the origin, where they jump, so that the next is NaN.
over: Any = rule(
    lambda a, y: a * (y != 0) / np.where(y == 0, 1, y),
    lambda g, q, a, y: g / np.where(y == 0, np.nan, y),
    lambda g, q, a, y: -g * q / np.where(y == 0, np.nan, y),
)


rule(np.sinh, lambda g, y, x: g * np.cosh(x))
rule(np.cosh, lambda g, y, x: g * np.sinh(x))
rule(np.tanh, lambda g, y, x: g * (1 - y * y))
rule(np.arcsinh, lambda g, y, x: g / np.hypot(x, 1))
rule(np.arccosh, lambda g, y, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)))
rule(np.arctanh, lambda g, y, x: g / ((1 - x) * (1 + x)))

# Piecewise.
rule(np.absolute, lambda g, y, x: g * np.sign(x))
rule(np.fabs, lambda g, y, x: g * np.sign(x))
rule(np.where, None, lambda g, y, c, a, b: np.where(c, g, 0), lambda g, y, c, a, b: np.where(c, 0, g))


def _where(condition: Array, *branches: Any) -> Array:
    if not branches:
        raise TypeError("np.where: expected (condition, x, y), got a condition alone; for its indices call np.nonzero.")
    return np.where(condition, *branches)


rules[np.where].call = rules[np.where].function = _where


def _winner(g: Array, mine: Array, other: Array, wins: Array) -> Array:
    """The cotangent of a maximum or minimum for one of its arguments: all, half at a tie, or nothing."""
    return np.where(wins, g, np.where(mine == other, 0.5 * g, 0))


rule(np.maximum, lambda g, y, a, b: _winner(g, a, b, a > b), lambda g, y, a, b: _winner(g, b, a, b > a))
rule(np.minimum, lambda g, y, a, b: _winner(g, a, b, a < b), lambda g, y, a, b: _winner(g, b, a, b < a))
composed(np.fmax, lambda a, b: np.maximum(np.where(np.isnan(a), b, a), np.where(np.isnan(b), a, b)))
composed(np.fmin, lambda a, b: np.minimum(np.where(np.isnan(a), b, a), np.where(np.isnan(b), a, b)))


def _clip(a: Array, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Array:  # noqa: A002
    low = a_min if min is None else min
    high = a_max if max is None else max
    if a.dtype.kind not in "fc":
        return _clip_whole(a, low, high)
    if low is not None:
        a = np.where((a < low) | (low != low), low, a)  # a bound that is NaN makes NaN of everything
    return a if high is None else np.where((a > high) | (high != high), high, a)


def _clip_whole(a: Array, low: Any, high: Any) -> Array:
    """For whole numbers, which have no gradient: bounds of Python's beyond what their dtype holds are none."""
    if a.dtype.kind in "iu":
        low = None if type(low) is int and low < np.iinfo(a.dtype).min else low
        high = None if type(high) is int and high > np.iinfo(a.dtype).max else high
    a = a if low is None else np.maximum(a, low)
    return a if high is None else np.minimum(a, high)


composed(np.clip, _clip)


# Signs, remainders and parts.
rule(np.copysign, lambda g, y, a, b: g * np.sign(a) * np.copysign(np.ones_like(a), b), None)
rule(np.heaviside, None, lambda g, y, x, half: np.where(x == 0, g, 0))
rule(np.ldexp, lambda g, y, x, exponent: np.ldexp(g, exponent), None)
rule(
    np.logaddexp2,
    lambda g, y, a, b: g * _share(a * math.log(2), b * math.log(2)),
    lambda g, y, a, b: g * _share(b * math.log(2), a * math.log(2)),
)
composed(np.divmod, lambda a, b: (np.floor_divide(a, b), np.remainder(a, b)))
composed(
    np.modf, lambda x: (np.where(np.isinf(x), 0 * np.sign(x), x - np.trunc(np.where(np.isinf(x), 0, x))), np.trunc(x))
)


def _sinc(x: Array) -> Array:
    """sin πx / πx, near 0 by its series, which has derivatives of all orders there."""
    t = math.pi * x
    small = np.abs(t) < 1
    square = np.where(small, t * t, 0)
    series: Any = 0.0
    for k in range(9, -1, -1):
        series = series * square + (-1) ** k / math.factorial(2 * k + 1)
    far = np.where(small, 1, t)
    return np.where(small, series, np.sin(far) / far)


def _nan_to_num(x: Array, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Array:
    if x.dtype.kind != "f":
        return np.logical_or(x, False) if x.dtype == np.bool_ else np.positive(x)
    largest = np.finfo(x.dtype).max
    x = np.where(np.isnan(x), nan, x)
    x = np.where(x == np.inf, largest if posinf is None else posinf, x)
    return np.where(x == -np.inf, -largest if neginf is None else neginf, x)


def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Array:
    if len(condlist) != len(choicelist):
        raise ValueError(
            f"np.select: expected as many choices as conditions, got {len(choicelist)} and {len(condlist)}."
        )
    for condition, choice in zip(condlist[::-1], choicelist[::-1], strict=True):
        default = np.where(condition, choice, default)
    return default


def _unwrap(p: Array, discont: Any = None, axis: int = -1, *, period: float = 2 * math.pi) -> Array:
    """p and whole periods, which are constants."""
    p = np.moveaxis(p, axis, -1)
    jump = p[..., 1:] - p[..., :-1]
    turns = np.floor((jump + period / 2) / period)
    turns = np.where((jump > 0) & ((jump + period / 2) % period == 0), turns - 1, turns)
    if discont is not None:
        turns = np.where(np.abs(jump) < discont, 0, turns)
    whole = np.concatenate([np.zeros_like(p[..., :1]), np.cumsum(turns, axis=-1)], axis=-1)
    return np.moveaxis(p - period * whole, -1, axis)


composed(np.sinc, _sinc)
composed(np.i0, lambda x: special.i0(x))
composed(np.nan_to_num, _nan_to_num)
composed(np.select, _select)
composed(np.unwrap, _unwrap)


# Steps, tests and look-ups: flat wherever they have a slope.
constant(
    np.sign, np.floor, np.ceil, np.trunc, np.rint, np.round, np.around, np.fix, np.floor_divide, np.signbit,
    np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal,
    np.logical_and, np.logical_or, np.logical_not, np.logical_xor,
    np.isfinite, np.isnan, np.isinf, np.isclose, np.allclose, np.array_equal, np.spacing,
    np.any, np.all, np.argmax, np.argmin, np.argsort, np.nonzero, np.flatnonzero, np.count_nonzero, np.searchsorted,
    np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like, np.result_type,
    np.can_cast, np.shares_memory, np.may_share_memory, np.iscomplexobj, np.isrealobj,
)  # fmt: skip
