"""Functions of numbers: how each is written in C, and what it costs.

In a template, `{0}`, `{1}` … are the arguments, and `{t}` is the type of the result. Names of functions end in `{f}`,
which is f for float32, where they are C's own, and in `{s}`, f32 or f64, where they are those of the headers
`elementary.h`, `scalar_math.h` and `special.h`. A template without `{0}` is the name of a function, which is called
with all arguments. Arguments are names or numbers, so they may stand several times.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ...types import DType

C_TYPES = {
    "f4": "float", "f8": "double", "b1": "uint8_t",
    "i1": "int8_t", "i2": "int16_t", "i4": "int32_t", "i8": "int64_t",
    "u1": "uint8_t", "u2": "uint16_t", "u4": "uint32_t", "u8": "uint64_t",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Function:
    """The templates of a function, for the dtypes of its first argument; where none holds, there is no C for it.

    Attributes:
        every: for all dtypes that have none of their own.
        real: for float32 and float64.
        whole: for integers, which wrap around, as unsigned ones do in C; a division by 0 gives 0.
        unsigned: for unsigned integers and booleans, where they differ from other integers.
        boolean: for booleans, where they differ from unsigned integers.
        cost: roughly, in multiplications; what is dear is calculated once and kept.
    """

    every: str = ""
    real: str = ""
    whole: str = ""
    unsigned: str = ""
    boolean: str = ""
    cost: int = 12


FUNCTIONS = {
    "add": Function("{0} + {1}", whole="(uint64_t){0} + (uint64_t){1}", boolean="{0} | {1}", cost=1),
    "subtract": Function("{0} - {1}", whole="(uint64_t){0} - (uint64_t){1}", cost=1),
    "multiply": Function("{0} * {1}", whole="(uint64_t){0} * (uint64_t){1}", boolean="{0} & {1}", cost=1),
    "negative": Function("-{0}", whole="0 - (uint64_t){0}", cost=0),
    "positive": Function("{0}", cost=0),
    "square": Function("{0} * {0}", whole="(uint64_t){0} * (uint64_t){0}", cost=1),
    "logical_and": Function("({0} != 0) & ({1} != 0)", cost=1),
    "logical_or": Function("({0} != 0) | ({1} != 0)", cost=1),
    "logical_xor": Function("({0} != 0) ^ ({1} != 0)", cost=1),
    "logical_not": Function("{0} == 0", cost=1),
    "where": Function("{0} ? {1} : {2}", cost=1),
    "cast": Function("({t}){0}", boolean="{0} != 0", cost=0),
    "divide": Function(real="{0} / {1}", cost=4),
    "reciprocal": Function(real="1 / {0}", cost=4),
    "maximum": Function(
        real="({0} <= {1}) + ({1} != {1}) ? {1} : {0}", whole="{0} > {1} ? {0} : {1}", boolean="{0} | {1}", cost=1
    ),
    "minimum": Function(
        real="({0} >= {1}) + ({1} != {1}) ? {1} : {0}", whole="{0} < {1} ? {0} : {1}", boolean="{0} & {1}", cost=1
    ),
    "isnan": Function(real="{0} != {0}", whole="0 * {0}"),
    "isinf": Function(real="fabs{f}({0}) == INFINITY", whole="0 * {0}"),
    "isfinite": Function(real="fabs{f}({0}) < INFINITY", whole="1 + 0 * {0}"),
    "signbit": Function(real="signbit({0}) != 0"),
    "gammaln": Function(real="{0} == -INFINITY ? {0} : lgamma{f}({0})"),
    "heaviside": Function(real="{0} != {0} ? {0} : {0} == 0 ? {1} : {0} > 0"),
    "deg2rad": Function(real=f"{{0}} * ({{t}}){math.pi / 180!r}"),
    "rad2deg": Function(real=f"{{0}} * ({{t}}){180 / math.pi!r}"),
    "sqrt": Function(real="sqrt{f}", cost=4),
    "fmod": Function(
        real="fmod{f}", whole="{1} == 0 || {1} == -1 ? 0 : {0} % {1}", unsigned="{1} == 0 ? 0 : {0} % {1}"
    ),
    "absolute": Function(real="fabs{f}", whole="{0} < 0 ? 0 - (uint64_t){0} : {0}", unsigned="{0}"),
    "float_power": Function(real="pow{f}"),
    "gamma": Function(real="tgamma{f}"),
    "expit": Function(real="sigmoid_{s}"),
    "remainder": Function(real="remainder_{s}", whole="remainder_i64", unsigned="{1} == 0 ? 0 : {0} % {1}", cost=8),
    "floor_divide": Function(real="floor_divide_{s}", whole="floor_divide_i64", unsigned="{1} == 0 ? 0 : {0} / {1}"),
    "power": Function(real="power_{s}", whole="power_u64"),
    "sign": Function(real="sign_{s}", whole="({0} > 0) - ({0} < 0)", unsigned="{0} > 0"),
    "invert": Function(whole="~{0}", boolean="!{0}"),
    "left_shift": Function(whole="(uint64_t){1} < 8 * sizeof({t}) ? (uint64_t){0} << {1} : 0"),
    "right_shift": Function(
        whole="{0} >> ((uint64_t){1} < 8 * sizeof({t}) ? {1} : 8 * sizeof({t}) - 1)",
        unsigned="(uint64_t){1} < 8 * sizeof({t}) ? {0} >> {1} : 0",
    ),
}
_OPERATORS = {
    "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
    "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^",
}  # fmt: skip
_OF_C = (  # by the same name
    "cbrt", "exp2", "expm1", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh", "hypot", "erf", "erfc",
    "nextafter", "fabs", "copysign",
)  # fmt: skip
_ROUNDING = ("floor", "ceil", "trunc", "rint")
_OF_HEADERS = ("exp", "log", "tanh", "logaddexp", "logit", "xlogy", "log_expit", "psi", "zeta")
FUNCTIONS |= {name: Function(f"{{0}} {operator} {{1}}", cost=1) for name, operator in _OPERATORS.items()}
FUNCTIONS |= {name: Function(real=f"{name}{{f}}") for name in _OF_C}
FUNCTIONS |= {name: Function(real=f"{name}{{f}}", whole="{0}") for name in _ROUNDING}
FUNCTIONS |= {
    f"arc{name}": Function(real=f"a{name}{{f}}") for name in ("sin", "cos", "tan", "tan2", "sinh", "cosh", "tanh")
}
FUNCTIONS |= {name: Function(real=f"{name}_{{s}}") for name in _OF_HEADERS}

WRAPPED = "{0} < 0 ? ({t})(int64_t){0} : ({t}){0}"  # a negative real number as an unsigned one
FOLDED = {name: getattr(np, name) for name in ("add", "subtract", "multiply", "divide", "negative")}  # of constants


def c_type(dtype: DTypeLike) -> str:
    return C_TYPES[np.dtype(dtype).str[1:]]


def suffix(dtype: DType) -> str:
    return "f32" if dtype == np.float32 else "f64" if dtype == np.float64 else f"{dtype.kind}{dtype.itemsize * 8}"


def call_expression(function: str, args: list[str], argument: DType, result: DType) -> str:
    """A call of a function as a C expression.

    Arguments:
        argument, result: the dtypes of its first argument and of its result.
    """
    template = _template(function, argument.kind)
    if function == "cast" and (result.kind == "b" or (result.kind == "u" and argument.kind == "f")):
        template = FUNCTIONS["cast"].boolean if result.kind == "b" else WRAPPED
    if "{0}" not in template:
        template = f"{template}({', '.join(args)})"
    return template.format(*args, s=suffix(argument), t=c_type(result), f="f" if argument == np.float32 else "")


def supports(function: str, argument: DType) -> bool:
    """Whether a function can be written for a first argument of some dtype."""
    return bool(_template(function, argument.kind))


@functools.cache
def _template(function: str, kind: str) -> str:
    """The template for a kind of dtype; nothing where there is none."""
    entry = FUNCTIONS.get(function, Function())
    if kind == "f":
        return entry.real or entry.every
    unsigned = entry.unsigned if kind in "ub" else ""
    boolean = entry.boolean if kind == "b" else ""
    return boolean or unsigned or entry.whole or entry.every


def c_literal(value: Any, dtype: DType) -> str:
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
