"""Elementwise functions, at arguments of all broadcasting shapes."""

import numpy as np

from tests.support.cases import Case

UNARY = {
    np.negative: (-2, 2), np.positive: (-2, 2), np.copy: (-2, 2), np.reciprocal: (0.5, 2), np.square: (-2, 2),
    np.sqrt: (0.5, 3), np.cbrt: (0.5, 3), np.absolute: (-2, 2), np.fabs: (-2, 2),
    np.exp: (-2, 2), np.exp2: (-2, 2), np.expm1: (-2, 2),
    np.log: (0.5, 3), np.log2: (0.5, 3), np.log10: (0.5, 3), np.log1p: (-0.5, 3),
    np.sin: (-4, 4), np.cos: (-4, 4), np.tan: (-1.2, 1.2),
    np.arcsin: (-0.9, 0.9), np.arccos: (-0.9, 0.9), np.arctan: (-2, 2),
    np.sinh: (-2, 2), np.cosh: (-2, 2), np.tanh: (-2, 2),
    np.arcsinh: (-2, 2), np.arccosh: (1.3, 3), np.arctanh: (-0.9, 0.9),
    np.deg2rad: (-90, 90), np.rad2deg: (-2, 2), np.radians: (-90, 90), np.degrees: (-2, 2),
    np.sinc: (-2, 2), np.i0: (-2, 2), np.nan_to_num: (-2, 2),
}  # fmt: skip

BINARY = {
    np.add: (-2, 2), np.subtract: (-2, 2), np.multiply: (-2, 2), np.divide: (0.5, 2),
    np.remainder: (0.5, 2), np.fmod: (0.5, 2), np.power: (0.5, 2), np.hypot: (0.5, 2), np.arctan2: (0.5, 2),
    np.maximum: (-2, 2), np.minimum: (-2, 2), np.fmax: (-2, 2), np.fmin: (-2, 2),
    np.logaddexp: (-2, 2), np.logaddexp2: (-2, 2), np.float_power: (0.5, 2),
}  # fmt: skip
BROADCASTS = [". .", "ij ij", "ij j", "j ij", "i1 1j", "ij .", ". ij", "kij i1"]

OPERATORS = [
    Case("-x", lambda x: -x, "ij"),
    Case("+x", lambda x: +x, "ij"),
    Case("abs(x)", abs, "ij"),
    Case("x + a, a + x", lambda x, a: (x + 1) * (2 + x) + x + a, "ij j"),
    Case("x - a, a - x", lambda x, a: (x - 1) * (2 - x) - x - a, "ij j"),
    Case("x / a, a / x", lambda x, a: (x / 2) * (2 / x) - x / a, "ij j", 0.5),
    Case("x % a, a % x", lambda x, a: (x % 0.7) * (0.7 % x) - x % a, "ij j", 0.5),
    Case("ndarray op x", lambda x: np.ones(2) * x + np.ones((3, 1)) / x - np.full(2, 2.0) ** x, "2", 0.5),
    Case("list op x", lambda x: [1.0, 2.0] * x + [3.0, 4.0], "2"),
    *[Case(f"x ** {n}", lambda x, n=n: x**n, "ij") for n in (0, 1, 2, 3, np.int64(4))],
    *[Case(f"x ** {n}", lambda x, n=n: x**n, "ij", 0.5) for n in (-1, -2, 0.5, -1.5, 2.0)],
    Case("2 ** x", lambda x: 2**x, "ij"),
    Case("x ** p", lambda x, p: x**p, "ij j", 0.5),
    Case("negative base", lambda x: x ** np.array([2.0, 3.0]), "i2", -2, -0.5),
]

OTHERS = [
    *[Case("where", lambda a, b: np.where(a > b, a * b, b), shapes) for shapes in BROADCASTS],
    Case("where of scalars", lambda a: np.where(a > 0, a, 0) + np.where(a > 0, 1, a), "ij"),
    Case("clip", lambda x: np.clip(x, -1, 1.5), "ij"),
    Case("clip above", lambda x: np.clip(x, None, 1), "ij"),
    Case("clip below", lambda x: np.clip(x, min=-1), "ij"),
    Case("clip method", lambda x: x.clip(-1, 1), "ij"),
    Case("clip between", lambda x, low, d: np.clip(x, low, low + d * d), "ij j i1"),
    Case("real and imaginary parts", lambda x: np.real(x) * np.conj(x) + np.imag(x), "ij"),
    Case("nextafter", lambda x: np.nextafter(x, 9), "ij"),
    Case("near 0 of sinc", np.sinc, "ij", -0.01, 0.01),
    Case("copysign", lambda x: np.copysign(x, np.cos(x)), "ij"),
    Case("heaviside", lambda x: np.heaviside(np.zeros_like(x), x) + x * np.heaviside(x, 0.5), "ij"),
    Case("ldexp", lambda x: np.ldexp(x, 3), "ij"),
    Case("divmod", lambda x, a: np.divmod(x, a)[0] * x + divmod(x, 0.7)[1], "ij j", 0.5),
    Case("modf", lambda x: np.modf(x)[0] * np.modf(x)[1], "ij"),
    Case("select", lambda x, a: np.select([x > 1, x > 0], [x * a, a], x), "ij j"),
    Case("unwrap", lambda x: np.unwrap(x) * np.unwrap(x, axis=0, period=2.0), "ij", -9, 9),
    Case("flat factors", lambda x: x * np.sign(x) + x * np.floor(x) * np.isfinite(x), "ij"),
]

CASES = [
    *[Case(f.__name__, f, s, low, high) for f, (low, high) in UNARY.items() for s in (".", "ij")],
    *[Case(f.__name__, f, s, low, high) for f, (low, high) in BINARY.items() for s in BROADCASTS],
    *OPERATORS,
    *OTHERS,
]
