"""Functions that work element by element, and those that make arrays of one number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ....autodiff import operators
from ....autodiff.table import compositions, name_of
from ....errors import NotCompilable
from ....types import Array, DType
from ...ir import program
from ...ir.functions import supports
from ...ir.node import Node
from ..symbolic import check_dtype, lower, node_of, to_symbolic

_SPECIAL_POWERS: dict[float, str] = {1: "positive", 2: "square", -1: "reciprocal", 0.5: "sqrt"}


def ufunc(function: np.ufunc, args: Sequence[Any], options: dict[str, Any]) -> Node:
    """A ufunc of arrays and numbers, with NumPy's rules of promotion."""
    dtype = options.pop("dtype", None)
    if any(x is not None for x in options.values()) or len(args) != function.nin:
        raise NotCompilable(f"{name_of(function)} with the options {', '.join(options)} can't be compiled.")
    truth = _beyond(function, args)
    if truth is not None:
        return truth
    nodes = [node_of(x) for x in args]
    if dtype is not None:
        nodes = [cast(x, dtype) for x in nodes]
    *inputs, output = loop(function, nodes)
    weak = all(x.weak for x in nodes) and output.kind != "b"
    name = function.__name__.lstrip("_")
    if not supports(name, inputs[0]):
        raise NotCompilable(f"{name_of(function)} of {inputs[0]} can't be compiled: there is no way to write it in C.")
    nodes = [cast(x, d, x.weak) for x, d in zip(nodes, inputs)]
    if name == "power":
        return _power(nodes[0], nodes[1], weak)
    if inputs[0].kind != inputs[-1].kind:
        raise NotCompilable(
            f"{name_of(function)} of {inputs[0]} and {inputs[-1]} can't be compiled: bring both to one dtype."
        )
    return program.elementwise(name, nodes, output, weak)


_COMPARISONS = (np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal)


def _beyond(function: Callable[..., Any], args: Sequence[Any]) -> Node | None:
    """The result of a comparison of whole numbers with one of Python's that is beyond what their dtype holds."""
    if function not in _COMPARISONS:
        return None
    for k, number in enumerate(args):
        if type(number) is int and not isinstance(args[1 - k], (int, float)):
            x = node_of(args[1 - k])
            if x.dtype.kind in "iu" and not holds(x.dtype, number):
                return full(x.shape, bool(function(*((number, 0) if k == 0 else (0, number)))), np.bool_)
    return None


def holds(dtype: DTypeLike, number: int) -> bool:
    """Whether a number of Python's is one of an integer dtype."""
    return bool(np.iinfo(dtype).min <= number <= np.iinfo(dtype).max)


def _power(base: Node, exponent: Node, weak: bool) -> Node:
    """A power, by less than `pow` where that will do."""
    number = program.literal_value(exponent)
    if base.dtype.kind == "f" and number in _SPECIAL_POWERS:
        both = program.broadcast(base, np.broadcast_shapes(base.shape, exponent.shape))
        return program.elementwise(_SPECIAL_POWERS[number], [both], base.dtype, weak)
    if base.dtype.kind == "i" and (number is None or number < 0):
        raise NotCompilable(
            "np.power of integers can't be compiled where the exponent could be negative, which would be an error; use "
            "unsigned integers, or floating-point numbers."
        )
    return program.elementwise("power", [base, exponent], base.dtype, weak)


def loop(function: np.ufunc, nodes: Sequence[Node]) -> tuple[DType, ...]:
    """The dtypes that a ufunc converts its arguments to, and that of its result."""
    if all(x.weak for x in nodes):
        kinds: list[Any] = [x.dtype for x in nodes]
    else:
        kinds = [(float if x.dtype.kind == "f" else int) if x.weak else x.dtype for x in nodes]
    found: tuple[DType, ...] = function.resolve_dtypes((*kinds, None))
    if any(d.kind not in "biuf" or d == np.float16 or d.itemsize > 8 for d in found):
        raise NotCompilable(f"{name_of(function)} of {', '.join(str(x.dtype) for x in nodes)} can't be compiled.")
    return found


def result_type(nodes: Sequence[Node]) -> DType:
    """The dtype that NumPy brings arrays and numbers to."""
    return np.result_type(*[x.dtype.type(1).item() if x.weak else x.dtype for x in nodes])


def cast(x: Node, dtype: DTypeLike, weak: bool = False) -> Node:
    number = program.literal_value(x) if x.weak and np.dtype(dtype).kind in "iu" else None
    if isinstance(number, int) and not holds(dtype, number):
        raise OverflowError(f"Python integer {number} out of bounds for {np.dtype(dtype)}")
    return program.elementwise("cast", [x], check_dtype(np.dtype(dtype)), weak)


def real(function: np.ufunc, *args: Array) -> list[Array]:
    """The arguments of a ufunc in the dtypes in which it calculates."""
    nodes = [node_of(x) for x in args]
    return [to_symbolic(cast(x, dtype)) for x, dtype in zip(nodes, loop(function, nodes))]


def define(function: np.ufunc, definition: Callable[..., Array]) -> None:
    """Enter a ufunc that is written in other functions."""
    lower(function)(lambda *args: definition(*real(function, *args)))


define(np.logaddexp2, lambda a, b: np.logaddexp(a * math.log(2), b * math.log(2)) / math.log(2))


_NOTHING = np.empty(0)


@lower(np.where)
def _where(condition: Array, a: Array, b: Array) -> Node:
    nodes = [node_of(a), node_of(b)]
    dtype = result_type(nodes)
    for number in (a, b):
        if type(number) is int and dtype.kind in "iu":
            np.where(_NOTHING > 0, number, _NOTHING.astype(dtype))  # which refuses one out of bounds, from NumPy 2.5 on
    branches = [program.elementwise("cast", [x], check_dtype(dtype)) for x in nodes]
    return program.elementwise("where", [cast(node_of(condition), np.bool_), *branches], dtype)


@lower(np.round, np.around)
def _round(a: Array, decimals: int = 0) -> Array:
    x = to_symbolic(node_of(a))
    if x.dtype.kind == "b" and decimals:
        raise TypeError("np.round of truth values knows decimals=0 alone.")
    if decimals == 0 or (x.dtype.kind in "iu" and decimals > 0):
        return x if x.dtype.kind in "iu" else np.rint(x)
    scale = 10.0 ** abs(decimals)
    if x.dtype.kind in "iu":
        return to_symbolic(cast(cast((np.rint(x / scale) * scale).node, np.int64), x.dtype))
    return np.rint(x * scale) / scale if decimals > 0 else np.rint(x / scale) * scale


@lower(np.modf)
def _modf(x: Array) -> Array:
    if node_of(x).dtype.kind != "f":
        raise NotCompilable("np.modf of whole numbers can't be compiled: x.astype(float) can.")
    return compositions[np.modf](to_symbolic(node_of(x)))


lower(np.fix)(lambda x: np.trunc(to_symbolic(node_of(x))))
lower(np.copy)(lambda a, order="K", subok=False: node_of(a))


@lower(np.isclose)
def _isclose(a: Array, b: Array, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Array:
    x, y = to_symbolic(node_of(a)), node_of(b)
    y = to_symbolic(cast(y, np.result_type(y.dtype, 1.0)))
    close = (np.abs(x - y) <= atol + rtol * np.abs(y)) & np.isfinite(y) | (x == y)
    return close | np.isnan(x) & np.isnan(y) if equal_nan else close


lower(np.allclose)(lambda *args, **options: np.all(_isclose(*args, **options)))


@lower(np.array_equal)
def _array_equal(a1: Array, a2: Array, equal_nan: bool = False) -> Array:
    x, y = to_symbolic(node_of(a1)), to_symbolic(node_of(a2))
    return x.shape == y.shape and np.all((x == y) | np.isnan(x) & np.isnan(y) if equal_nan else x == y)


# Arrays of one number.


def full(shape: Any, value: Array, dtype: DTypeLike) -> Node:
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    return program.broadcast(cast(node_of(value), dtype), shape)


@lower(np.full_like)
def _full_like(
    a: Array, fill_value: Array, dtype: DTypeLike | None = None, order: str = "K", subok: bool = True, shape: Any = None
) -> Node:
    x = node_of(a)
    return full(x.shape if shape is None else shape, fill_value, dtype or x.dtype)


lower(np.zeros_like, np.empty_like)(lambda a, *args, **options: _full_like(a, 0, *args, **options))
lower(np.ones_like)(lambda a, *args, **options: _full_like(a, 1, *args, **options))
lower(np.zeros, np.empty)(lambda shape, dtype=float, order="C", device=None: full(shape, 0, dtype or float))
lower(np.ones)(lambda shape, dtype=float, order="C", device=None: full(shape, 1, dtype or float))


@lower(np.full)
def _full(shape: Any, fill_value: Array, dtype: DTypeLike | None = None, order: str = "C", device: Any = None) -> Node:
    return full(shape, fill_value, dtype or node_of(fill_value).dtype)


@lower(np.asarray, np.array, np.asanyarray, np.ascontiguousarray, np.asfortranarray)
def _asarray(a: Array, dtype: Any = None, order: str = "K", device: Any = None, copy: Any = None) -> Node:
    x = _constant(np.asarray(a)) if program.recording().gpu and isinstance(a, (np.ndarray, list, tuple)) else node_of(a)
    return x if dtype is None and not x.weak else cast(x, dtype or x.dtype)


def _constant(array: Array) -> Node:
    """An array in NumPy that is moved to the GPU, as np.asarray(…, like=x) asks for."""
    check_dtype(array.dtype)
    return program.recording().capture(array)


@lower(np.eye)
def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float, order: str = "C", device: Any = None) -> Node:
    return _places("equal", N, M, k, dtype)


lower(np.identity)(lambda n, dtype=None: eye(n, dtype=dtype))
lower(np.tri)(lambda N, M=None, k=0, dtype=float: _places("greater_equal", N, M, k, dtype))


def _places(operation: str, rows: int, columns: int | None, k: int, dtype: Any) -> Node:
    """1 where row + k and column compare so, else 0."""
    shape = (rows, rows if columns is None else columns)
    row = program.elementwise("add", [program.iota(shape, 0), program.literal(k)], np.int64)
    return cast(program.elementwise(operation, [row, program.iota(shape, 1)], np.bool_), dtype or float)


@lower(np.arange)
def _arange(*args: float, dtype: DTypeLike | None = None, device: Any = None) -> Node:
    """Whole numbers are counted; others are those that NumPy makes, to the bit."""
    array: Array = np.arange(*args, dtype=dtype)
    if array.dtype.kind not in "iu" or len(array) < 2:
        constant: Node = _asarray(array)
        return constant
    first, step = int(array[0]), int(array[1]) - int(array[0])
    counted = program.elementwise("multiply", [program.iota(array.shape, 0), program.literal(step, np.int64)], np.int64)
    return cast(program.elementwise("add", [counted, program.literal(first, np.int64)], np.int64), array.dtype)


# Questions about arrays.
lower(np.shape)(lambda a: node_of(a).shape)
lower(np.ndim)(lambda a: node_of(a).ndim)
lower(np.size)(lambda a, axis=None: node_of(a).size if axis is None else node_of(a).shape[axis])
lower(np.iscomplexobj)(lambda x: False)
lower(np.isrealobj)(lambda x: True)


@lower(np.result_type)
def _result_type(*args: Any) -> DType:
    return np.result_type(*[x.dtype if hasattr(x, "dtype") else x for x in args])


@lower(operators.cast)
def _cast(x: Array, dtype: DTypeLike) -> Node:
    return cast(node_of(x), dtype)
