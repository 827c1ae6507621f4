"""Functions that rearrange, join, cut and index arrays."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.lib.stride_tricks import sliding_window_view

from ....autodiff import operators
from ....autodiff.rules.shapes import padded
from ....errors import NotCompilable
from ....types import Array
from ...ir import program
from ...ir.indexing import view_of
from ...ir.node import Node
from ..symbolic import Symbolic, lower, node_of, to_symbolic
from .elementwise import cast, result_type

# Views.


def view(x: Node, function: Callable[[Any], Any]) -> Node:
    """The view that a function of NumPy's makes of an array."""
    return program.view(x, *view_of(x.shape, function))


def _as_view(function: Callable[..., Any]) -> Callable[..., Any]:
    name = next(iter(inspect.signature(function).parameters))

    def lowering(*args: Any, **options: Any) -> Node:
        x, *rest = args or [options.pop(name)]
        return view(node_of(x), lambda a: function(a, *rest, **options))

    return lowering


for _function in (
    np.transpose, np.swapaxes, np.moveaxis, np.expand_dims, np.squeeze, np.broadcast_to, np.flip, np.diagonal,
    sliding_window_view,
):  # fmt: skip
    lower(_function)(_as_view(_function))
lower(operators.transposed)(_as_view(np.transpose))


def part(x: Node, axis: int, start: int, stop: int) -> Node:
    """The slice start:stop along one axis."""
    return view(x, lambda a: a[(*[slice(None)] * axis, slice(start, stop))])


# Rearranging.


@lower(operators.reshaped)
def _reshape(a: Array, shape: Any = -1) -> Array:
    x = node_of(a)
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    fixed = math.prod(n for n in shape if n != -1)
    full = tuple(int(x.size // fixed if fixed else 0) if n == -1 else int(n) for n in shape)
    if math.prod(full) != x.size:
        raise ValueError(f"cannot reshape an array of shape {x.shape} into shape {shape}")
    return program.reshape(x, full)


@lower(np.roll)
def _roll(a: Array, shift: Any, axis: Any = None) -> Node:
    x = node_of(a)
    if axis is None:
        return program.reshape(_roll(program.reshape(x, (x.size,)), shift, 0), x.shape)
    pairs = np.broadcast(shift, axis)
    for step, k in pairs:
        k = normalize_axis_index(int(k), x.ndim)
        cut = -int(step) % max(x.shape[k], 1)
        x = program.join([part(x, k, cut, x.shape[k]), part(x, k, 0, cut)], k)
    return x


def _triangle(m: Array, k: int, comparison: Any) -> Array:
    x = to_symbolic(node_of(m))
    x = np.broadcast_to(x, (x.size, x.size)) if x.ndim == 1 else x
    rows, columns = (Symbolic(program.iota(x.shape, x.ndim - i)) for i in (2, 1))
    return np.where(comparison(columns, rows + int(k)), x, x.dtype.type(0))


lower(np.tril)(lambda m, k=0: _triangle(m, k, np.less_equal))
lower(np.triu)(lambda m, k=0: _triangle(m, k, np.greater_equal))


@lower(padded)
def _padded(array: Array, pad_width: Any, constant_values: Any) -> Node:
    if np.ndim(constant_values):
        raise NotCompilable("np.pad with several constant_values can't be compiled; with one number it can.")
    x = node_of(array)
    places = [(before, 1) for before, _ in pad_width]
    shape = [before + n + after for n, (before, after) in zip(x.shape, pad_width)]
    value, around = cast(node_of(constant_values), x.dtype), program.pad(x, places, shape)
    if program.literal_value(value) == 0:
        return around
    inside = program.pad(program.broadcast(program.literal(True, np.bool_), x.shape), places, shape)
    return program.elementwise("where", [inside, around, value], x.dtype)


@lower(np.concatenate)
def _concatenate(arrays: Any, axis: int | None = 0, dtype: Any = None) -> Node:
    parts = [node_of(x) for x in (arrays if isinstance(arrays, (tuple, list)) else list(arrays))]
    if axis is None:
        parts, axis = [program.reshape(p, (p.size,)) for p in parts], 0
    axis = normalize_axis_index(axis, parts[0].ndim)
    if len({tuple(n for i, n in enumerate(p.shape) if i != axis) for p in parts}) > 1:
        raise ValueError(f"np.concatenate: the shapes {[p.shape for p in parts]} differ in more than axis {axis}")
    common = dtype or result_type(parts)
    return program.join([cast(p, common) for p in parts], axis)


@lower(np.stack)
def _stack(arrays: Any, axis: int = 0) -> Node:
    parts = [Symbolic(view(node_of(x), lambda a: np.expand_dims(a, axis))) for x in arrays]
    node: Node = _concatenate(parts, axis)
    return node


@lower(np.argsort)
def _argsort(a: Array, axis: int | None = -1, kind: Any = None, stable: Any = None) -> Node:
    x = node_of(a)
    if axis is None:
        x, axis = program.reshape(x, (x.size,)), 0
    axis = normalize_axis_index(axis, x.ndim)
    rows = view(x, lambda a: np.moveaxis(a, axis, -1))
    if x.dtype.kind != "f":
        rows = cast(rows, np.uint64 if x.dtype.kind == "u" else np.int64)
    n = rows.shape[-1]
    both = program.call("argsort", [rows], (*rows.shape[:-1], 2, n), np.int64, n)  # the second half is for calculating
    return view(both, lambda a: np.moveaxis(a[..., 0, :], -1, axis))


@lower(np.searchsorted)
def _searchsorted(a: Array, v: Array, side: str = "left", sorter: None = None) -> Array:
    """How many elements come before each value; NaN comes after all others."""
    if sorter is not None:
        raise NotCompilable("np.searchsorted with a sorter can't be compiled; sort the array before.")
    elements, values = to_symbolic(node_of(a)), np.expand_dims(to_symbolic(node_of(v)), -1)
    last = values != values
    before = elements < values if side == "left" else elements <= values
    return np.sum(before | last & (elements == elements if side == "left" else last), axis=-1)
