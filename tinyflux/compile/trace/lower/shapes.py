"""Functions that rearrange, join, cut and index arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from ....autodiff import operators
from ....autodiff.table import compositions
from ....errors import NotCompilable
from ...ir import program
from ...ir.indexing import dropped, sliced, transposing
from ...ir.program import Node
from ..symbolic import Symbolic, lower, node_of, wrapped
from .elementwise import cast, promoted

# Rearranging.


def transpose(x: Node, order: Sequence[int]) -> Node:
    return program.view(x, transposing(order), [x.shape[i] for i in order])


@lower(np.transpose, operators.transposed)
def _transpose(a: Any, axes: Any = None) -> Node:
    x = node_of(a)
    return transpose(x, range(x.ndim)[::-1] if axes is None else [i % x.ndim for i in axes])


@lower(np.swapaxes)
def _swapaxes(a: Any, axis1: int, axis2: int) -> Node:
    order = list(range(node_of(a).ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return transpose(node_of(a), order)


@lower(np.moveaxis)
def _moveaxis(a: Any, source: Any, destination: Any) -> Node:
    x = node_of(a)
    sources, destinations = normalize_axis_tuple(source, x.ndim), normalize_axis_tuple(destination, x.ndim)
    order = [i for i in range(x.ndim) if i not in sources]
    for to, axis in sorted(zip(destinations, sources)):
        order.insert(to, axis)
    return transpose(x, order)


@lower(np.reshape, operators.reshaped)
def _reshape(a: Any, shape: Any, order: str = "C", copy: Any = None) -> Any:
    x = node_of(a)
    if order != "C":
        return compositions[np.reshape](Symbolic(x), shape, order)
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    known = math.prod(n for n in shape if n != -1)
    wanted = tuple(int(x.size // known if known else 0) if n == -1 else int(n) for n in shape)
    if math.prod(wanted) != x.size:
        raise ValueError(f"cannot reshape an array of shape {x.shape} into shape {shape}")
    return program.reshape(x, wanted)


lower(np.ravel)(lambda a, order="C": _reshape(a, -1, order))


@lower(np.expand_dims)
def _expand_dims(a: Any, axis: Any) -> Node:
    x = node_of(a)
    axes = normalize_axis_tuple(axis, x.ndim + (len(axis) if isinstance(axis, (tuple, list)) else 1))
    rest = iter(x.shape)
    return program.reshape(x, tuple(1 if i in axes else next(rest) for i in range(x.ndim + len(axes))))


@lower(np.squeeze)
def _squeeze(a: Any, axis: Any = None) -> Node:
    x = node_of(a)
    axes = [i for i, n in enumerate(x.shape) if n == 1] if axis is None else normalize_axis_tuple(axis, x.ndim)
    if any(x.shape[i] != 1 for i in axes):
        raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    return program.view(x, dropped(x.ndim, axes), [n for i, n in enumerate(x.shape) if i not in axes])


@lower(np.broadcast_to)
def _broadcast_to(array: Any, shape: Any) -> Node:
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    x = node_of(array)
    if np.broadcast_shapes(x.shape, shape) != shape:
        raise ValueError(f"cannot broadcast an array of shape {x.shape} to shape {shape}")
    return program.broadcast(x, shape)


@lower(np.flip)
def _flip(m: Any, axis: Any = None) -> Node:
    x = node_of(m)
    axes = range(x.ndim) if axis is None else normalize_axis_tuple(axis, x.ndim)
    return basic(x, [slice(None, None, -1 if i in axes else 1) for i in range(x.ndim)])


@lower(np.roll)
def _roll(a: Any, shift: Any, axis: Any = None) -> Node:
    x = node_of(a)
    if axis is None:
        return program.reshape(_roll(program.reshape(x, (x.size,)), shift, 0), x.shape)
    pairs = np.broadcast(shift, axis)
    for step, k in pairs:
        k = normalize_axis_index(int(k), x.ndim)
        cut = -int(step) % max(x.shape[k], 1)
        x = program.join([part(x, k, cut, x.shape[k]), part(x, k, 0, cut)], k)
    return x


def basic(x: Node, index: Sequence[int | slice | None]) -> Node:
    """Indexing by integers, slices and None, one for each axis."""
    return program.view(x, *sliced(x.shape, index))


def part(x: Node, axis: int, start: int, stop: int) -> Node:
    """The slice start:stop along one axis."""
    return basic(x, [slice(start, stop) if i == axis else slice(None) for i in range(x.ndim)])


def _triangle(m: Any, k: int, comparison: str) -> Node:
    x = node_of(m)
    if x.ndim == 1:
        x = program.broadcast(x, (x.size, x.size))
    rows, columns = (program.iota(x.shape, x.ndim - 2), program.iota(x.shape, x.ndim - 1))
    limit = program.elementwise("add", [rows, program.literal(int(k))], np.int64)
    inside = program.elementwise(comparison, [columns, limit], np.bool_)
    return program.elementwise("where", [inside, x, program.literal(0, x.dtype)], x.dtype)


lower(np.tril)(lambda m, k=0: _triangle(m, k, "less_equal"))
lower(np.triu)(lambda m, k=0: _triangle(m, k, "greater_equal"))


@lower(np.pad)
def _pad(array: Any, pad_width: Any, mode: Any = "constant", *, constant_values: Any = 0, **options: Any) -> Any:
    x = node_of(array)
    if mode != "constant":
        return compositions[np.pad](Symbolic(x), pad_width, mode, **options)
    if np.ndim(constant_values):
        raise NotCompilable("np.pad with several constant_values can't be compiled; with one number it can.")
    if isinstance(pad_width, dict):
        named = {i % x.ndim: np.broadcast_to(width, 2) for i, width in pad_width.items()}
        pad_width = [named.get(i, (0, 0)) for i in range(x.ndim)]
    widths = np.broadcast_to(pad_width, (x.ndim, 2)).tolist()
    value = cast(node_of(constant_values), x.dtype)
    for i, (before, after) in enumerate(widths):
        edges = [program.broadcast(value, (*x.shape[:i], n, *x.shape[i + 1 :])) for n in (before, after)]
        x = program.join([edges[0], x, edges[1]], i)
    return x


@lower(np.concatenate)
def _concatenate(arrays: Any, axis: int | None = 0, dtype: Any = None) -> Node:
    parts = [node_of(x) for x in (arrays if isinstance(arrays, (tuple, list)) else list(arrays))]
    if axis is None:
        parts, axis = [program.reshape(p, (p.size,)) for p in parts], 0
    axis = normalize_axis_index(axis, parts[0].ndim)
    if len({tuple(n for i, n in enumerate(p.shape) if i != axis) for p in parts}) > 1:
        raise ValueError(f"np.concatenate: the shapes {[p.shape for p in parts]} differ in more than axis {axis}")
    common = dtype or promoted(parts)
    return program.join([cast(p, common) for p in parts], axis)


@lower(np.stack)
def _stack(arrays: Any, axis: int = 0) -> Node:
    return _concatenate([Symbolic(_expand_dims(x, axis)) for x in arrays], axis)


@lower(np.argsort)
def _argsort(a: Any, axis: int | None = -1, kind: Any = None, stable: Any = None) -> Node:
    x = node_of(a)
    if axis is None:
        x, axis = program.reshape(x, (x.size,)), 0
    axis = normalize_axis_index(axis, x.ndim)
    order = [*(i for i in range(x.ndim) if i != axis), axis]
    rows = transpose(x, order)
    if x.dtype.kind != "f":
        rows = cast(rows, np.uint64 if x.dtype.kind == "u" else np.int64)
    n = rows.shape[-1]
    both = program.call("argsort", [rows], (*rows.shape[:-1], 2, n), np.int64, n)  # the second half is for calculating
    found = basic(both, [*[slice(None)] * (x.ndim - 1), 0, slice(None)])
    return transpose(found, np.argsort(order).tolist())


@lower(np.searchsorted)
def _searchsorted(a: Any, v: Any, side: str = "left", sorter: None = None) -> Any:
    """How many elements come before each value; NaN comes after all others."""
    if sorter is not None:
        raise NotCompilable("np.searchsorted with a sorter can't be compiled; sort the array before.")
    elements, values = wrapped(node_of(a)), np.expand_dims(wrapped(node_of(v)), -1)
    last = values != values
    before = elements < values if side == "left" else elements <= values
    return np.sum(before | last & (elements == elements if side == "left" else last), axis=-1)
