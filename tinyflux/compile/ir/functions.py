"""How functions of numbers are written in C: `{0}`, `{1}` … are the arguments, `{s}` the suffix of the dtype.

A template names C's own operators and functions, or those of the headers `elementary.h`, `numbers.h` and `scalar.h`
(with a suffix _f32 or _f64). Arguments are names or numbers, so they may stand several times.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

C_TYPES = {
    "f4": "float", "f8": "double", "b1": "uint8_t",
    "i1": "int8_t", "i2": "int16_t", "i4": "int32_t", "i8": "int64_t",
    "u1": "uint8_t", "u2": "uint16_t", "u4": "uint32_t", "u8": "uint64_t",
}  # fmt: skip

_LIBM = {
    name: name
    for name in (
        "sqrt", "cbrt", "exp2", "expm1", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh",
        "floor", "ceil", "trunc", "rint", "hypot", "erf", "erfc", "fmod", "nextafter",
    )
} | {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2",
    "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "absolute": "fabs", "fabs": "fabs", "copysign": "copysign", "float_power": "pow",
    "gamma": "tgamma",
}  # fmt: skip

_OWN = (
    "exp", "log", "tanh", "remainder", "floor_divide", "logaddexp", "logit", "xlogy", "log_expit", "psi", "zeta",
    "power", "sign",
)  # fmt: skip
_TWO = (
    "hypot", "arctan2", "fmod", "nextafter", "copysign", "float_power", "remainder", "floor_divide", "logaddexp",
    "xlogy", "zeta", "power",
)  # fmt: skip

ANY = {  # for every dtype
    "add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}", "negative": "-{0}", "positive": "{0}",
    "square": "{0} * {0}",
    "less": "{0} < {1}", "less_equal": "{0} <= {1}", "greater": "{0} > {1}", "greater_equal": "{0} >= {1}",
    "equal": "{0} == {1}", "not_equal": "{0} != {1}",
    "logical_and": "({0} != 0) & ({1} != 0)", "logical_or": "({0} != 0) | ({1} != 0)",
    "logical_xor": "({0} != 0) ^ ({1} != 0)", "logical_not": "{0} == 0",
    "where": "{0} ? {1} : {2}", "cast": "({t}){0}",
    "bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "bitwise_xor": "{0} ^ {1}",
}  # fmt: skip

REAL = {
    "divide": "{0} / {1}", "reciprocal": "1 / {0}", "expit": "sigmoid_{s}({0})",
    "maximum": "{0} > {1} || {0} != {0} ? {0} : {1}", "minimum": "{0} < {1} || {0} != {0} ? {0} : {1}",
    "isnan": "{0} != {0}", "isinf": "fabs{f}({0}) == INFINITY", "isfinite": "fabs{f}({0}) < INFINITY",
    "signbit": "signbit({0}) != 0", "gammaln": "{0} == -INFINITY ? {0} : lgamma{f}({0})",
    "heaviside": "{0} != {0} ? {0} : {0} == 0 ? {1} : {0} > 0",
    "deg2rad": f"{{0}} * ({{t}}){math.pi / 180!r}", "rad2deg": f"{{0}} * ({{t}}){180 / math.pi!r}",
    **{name: f"{c}{{f}}({{0}}, {{1}})" if name in _TWO else f"{c}{{f}}({{0}})" for name, c in _LIBM.items()},
    **{name: f"{name}_{{s}}({{0}}, {{1}})" if name in _TWO else f"{name}_{{s}}({{0}})" for name in _OWN},
}  # fmt: skip

WHOLE = {  # whole numbers wrap around, as unsigned ones do in C; a division by 0 gives 0
    "add": "(uint64_t){0} + (uint64_t){1}", "subtract": "(uint64_t){0} - (uint64_t){1}",
    "multiply": "(uint64_t){0} * (uint64_t){1}", "square": "(uint64_t){0} * (uint64_t){0}",
    "negative": "0 - (uint64_t){0}", "power": "power_u64({0}, {1})",
    "maximum": "{0} > {1} ? {0} : {1}", "minimum": "{0} < {1} ? {0} : {1}",
    "absolute": "{0} < 0 ? 0 - (uint64_t){0} : {0}", "sign": "({0} > 0) - ({0} < 0)", "invert": "~{0}",
    "left_shift": "(uint64_t){1} < 8 * sizeof({t}) ? (uint64_t){0} << {1} : 0",
    "right_shift": "{0} >> ((uint64_t){1} < 8 * sizeof({t}) ? {1} : 8 * sizeof({t}) - 1)",
    "remainder": "remainder_i64({0}, {1})", "floor_divide": "floor_divide_i64({0}, {1})",
    "fmod": "{1} == 0 || {1} == -1 ? 0 : {0} % {1}",
    "floor": "{0}", "ceil": "{0}", "trunc": "{0}", "rint": "{0}",
    "isnan": "0 * {0}", "isinf": "0 * {0}", "isfinite": "1 + 0 * {0}",
}  # fmt: skip

BOOLEAN = {
    "add": "{0} | {1}", "multiply": "{0} & {1}", "maximum": "{0} | {1}", "minimum": "{0} & {1}", "invert": "!{0}",
    "cast": "{0} != 0",
}  # fmt: skip

UNSIGNED = {
    "remainder": "{1} == 0 ? 0 : {0} % {1}", "fmod": "{1} == 0 ? 0 : {0} % {1}",
    "floor_divide": "{1} == 0 ? 0 : {0} / {1}", "absolute": "{0}", "sign": "{0} > 0",
    "right_shift": "(uint64_t){1} < 8 * sizeof({t}) ? {0} >> {1} : 0",
}  # fmt: skip

WRAPPED = "{0} < 0 ? ({t})(int64_t){0} : ({t}){0}"  # a negative real number as an unsigned one

# Rough costs, in multiplications: what is dear is calculated once and kept.
CHEAP = {"positive": 0, "cast": 0, "negative": 0, "divide": 4, "reciprocal": 4, "sqrt": 4, "remainder": 8}


FOLDED = {name: getattr(np, name) for name in ("add", "subtract", "multiply", "divide", "negative")}  # of constants


def cost(function: str) -> int:
    """What a function of one number costs, in multiplications."""
    return CHEAP.get(function, 1 if function in ANY or function in ("maximum", "minimum", "where") else 12)


def c_type(dtype: Any) -> str:
    return C_TYPES[np.dtype(dtype).str[1:]]


def suffix(dtype: Any) -> str:
    return "f32" if dtype == np.float32 else "f64" if dtype == np.float64 else f"{dtype.kind}{dtype.itemsize * 8}"


def written(function: str, args: list[str], argument: Any, result: Any) -> str:
    """A call of a function as a C expression.

    Arguments:
        argument, result: the dtypes of its first argument and of its result.
    """
    template = _templates(argument.kind)[function]
    if function == "cast" and (result.kind == "b" or (result.kind == "u" and argument.kind == "f")):
        template = BOOLEAN["cast"] if result.kind == "b" else WRAPPED
    return template.format(*args, s=suffix(argument), t=c_type(result), f="f" if argument == np.float32 else "")


def known(function: str, argument: Any) -> bool:
    """Whether a function can be written for a first argument of some dtype."""
    return function in _templates(argument.kind)


@functools.cache
def _templates(kind: str) -> dict[str, str]:
    """What there is for a kind of dtype."""
    if kind == "f":
        return ANY | REAL
    return ANY | WHOLE | {"i": {}, "u": UNSIGNED, "b": UNSIGNED | BOOLEAN}[kind]


def number(value: Any, dtype: Any) -> str:
    """A number as C writes it."""
    if dtype.kind == "b":
        return str(int(value))
    if dtype.kind in "iu":
        if value == -(2**63):  # in C a number and its sign are two
            return "(-9223372036854775807ll - 1)"
        return f"{value}" + ("ull" if dtype.kind == "u" else "ll") * (dtype.itemsize == 8)
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return f"{np.float32(value)!s}f" if dtype == np.float32 else repr(float(value))
