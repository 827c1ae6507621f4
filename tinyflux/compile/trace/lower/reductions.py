"""Functions that reduce and accumulate along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple
from numpy.typing import DTypeLike

from ....autodiff.rules.accumulations import recurrence
from ....errors import NotCompilable
from ....types import Array, DType
from ...ir import program
from ...ir.node import Node
from ..symbolic import lower, node_of
from .elementwise import cast, loop, result_type


def axes_of(x: Node, axis: Any) -> tuple[int, ...]:
    """The axes that are reduced; a number has the axes 0 and -1, as NumPy has it."""
    if axis is None or (x.ndim == 0 and axis in (0, -1)):
        return tuple(range(x.ndim))
    return tuple(normalize_axis_tuple(axis, x.ndim))


def reduce_axes(function: str, x: Node, axis: Any, keepdims: Any, dtype: Any = None) -> Node:
    axes = axes_of(x, axis)
    y = program.reduce(function, x, axes, dtype)
    if keepdims is True:
        y = program.reshape(y, tuple(1 if i in axes else n for i, n in enumerate(x.shape)))
    return y


def _accumulated_dtype(x: Node, dtype: DTypeLike | None) -> DType:
    """Sums and products of small integers are large ones."""
    if dtype is not None:
        return np.dtype(dtype)
    return x.dtype if x.dtype.kind == "f" or x.dtype.itemsize == 8 else np.dtype("u8" if x.dtype.kind == "u" else "i8")


def _refuse(out: Any) -> None:
    if out is not None:
        raise NotCompilable("nothing can be written into an array given as `out`; take what the function returns.")


def _total(function: str, axis: Any) -> Callable[..., Any]:
    def lowering(a: Array, axis: Any = axis, dtype: Any = None, out: Any = None, keepdims: Any = False) -> Node:
        _refuse(out)
        x = node_of(a)
        return reduce_axes(function, cast(x, _accumulated_dtype(x, dtype)), axis, keepdims)

    return lowering


lower(np.sum)(_total("sum", None))
lower(np.prod)(_total("product", None))
lower(np.add.reduce)(_total("sum", 0))
lower(np.multiply.reduce)(_total("product", 0))


def _some(function: str, a: Array, axis: Any) -> Node:
    """What has an extremum: an array with elements along the axes."""
    x = node_of(a)
    if any(x.shape[i] == 0 for i in axes_of(x, axis)):
        raise ValueError(f"{function} of no elements has no value")
    return x


def _extremum(function: str) -> Callable[..., Any]:
    return lambda a, axis=None, *, keepdims=False: reduce_axes(function, _some(function, a, axis), axis, keepdims)


lower(np.max)(_extremum("maximum"))
lower(np.min)(_extremum("minimum"))


def _logical(function: str) -> Callable[..., Any]:
    def lowering(a: Array, axis: Any = None, out: Any = None, keepdims: Any = False) -> Node:
        _refuse(out)
        return reduce_axes(function, cast(node_of(a), np.bool_), axis, keepdims)

    return lowering


lower(np.all)(_logical("minimum"))
lower(np.any)(_logical("maximum"))
lower(np.count_nonzero)(
    lambda a, axis=None, *, keepdims=False: reduce_axes(
        "sum", cast(cast(node_of(a), np.bool_), np.int64), axis, keepdims
    )
)


def _position(function: str) -> Callable[..., Any]:
    def lowering(a: Array, axis: Any = None, out: Any = None, keepdims: Any = False) -> Node:
        _refuse(out)
        x = _some(function, a, axis)
        if axis is None:
            y = program.reduce(function, program.reshape(x, (x.size,)), (0,), np.int64)
            return program.reshape(y, (1,) * x.ndim) if keepdims is True else y
        return reduce_axes(function, x, normalize_axis_index(axis, x.ndim), keepdims, np.int64)

    return lowering


lower(np.argmax)(_position("argmax"))
lower(np.argmin)(_position("argmin"))


@lower(np.logaddexp.reduce)
def _logsumexp(array: Array, axis: Any = 0, dtype: Any = None, out: None = None, keepdims: Any = False) -> Node:
    x = node_of(array)
    return reduce_axes("logaddexp", cast(x, dtype or loop(np.logaddexp, [x, x])[-1]), axis, keepdims)


def _scan(function: str, dtype_of: Callable[..., DType]) -> Callable[..., Any]:
    def lowering(array: Array, axis: int = 0, dtype: Any = None) -> Node:
        x = node_of(array)
        return program.scan(function, [cast(x, dtype_of(x, dtype))], normalize_axis_index(axis, x.ndim))

    return lowering


lower(np.add.accumulate)(_scan("sum", _accumulated_dtype))
lower(np.multiply.accumulate)(_scan("product", _accumulated_dtype))
lower(np.maximum.accumulate)(_scan("maximum", lambda x, dtype: dtype or x.dtype))
lower(np.minimum.accumulate)(_scan("minimum", lambda x, dtype: dtype or x.dtype))
lower(np.logaddexp.accumulate)(_scan("logaddexp", lambda x, dtype: dtype or loop(np.logaddexp, [x, x])[-1]))


@lower(recurrence)
def _recurrence(a: Array, b: Array) -> Node:
    x, y = node_of(a), node_of(b)
    dtype = result_type([x, y])
    shape = np.broadcast_shapes(x.shape, y.shape)
    return program.scan("recurrence", [program.broadcast(cast(n, dtype), shape) for n in (x, y)], len(shape) - 1)
