"""Functions that rearrange, join, cut and index arrays."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from ...arrays import on_gpu
from ...autodiff import operators
from ...autodiff.pieces import scattered
from .. import program
from ..indexing import Map, dropped, sliced, transposing
from ..program import Node
from ..symbolic import NotCompilable, Symbolic, lower, node_of
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
def _reshape(a: Any, shape: Any, order: str = "C") -> Node:
    x = node_of(a)
    if order != "C":
        raise NotCompilable(f"np.reshape with order={order!r} can't be compiled.")
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
def _pad(array: Any, pad_width: Any, mode: Any = "constant", constant_values: Any = 0) -> Node:
    x = node_of(array)
    if mode != "constant" or np.ndim(constant_values):
        raise NotCompilable(f"np.pad with mode={mode!r} can't be compiled; mode='constant' with one number can.")
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


# Indexing.


def basic(x: Node, index: Sequence[int | slice | None]) -> Node:
    """Indexing by integers, slices and None, one for each axis."""
    return program.view(x, *sliced(x.shape, index))


def planned(shape: tuple[int, ...], index: Any) -> tuple[Map, tuple[int, ...], list[Node], tuple[Any, ...], int]:
    """How an array of `shape` is indexed: first by slices, then by arrays of integers.

    Returns: the map of the slices and the shape they lead to; the arrays, of one shape; for each axis what its index is
    (see `program.gather`); the axis of the result where those of the arrays stand.
    """
    items = _expanded(shape, index)
    if any(isinstance(item, Node) for item in items):  # integers beside arrays are arrays, too
        axes_before = itertools.accumulate([item is not None for item in items], initial=0)
        items = [_fixed(x, shape[i]) if isinstance(x, int) else x for x, i in zip(items, axes_before)]
    arrays = [k for k, item in enumerate(items) if isinstance(item, Node)]
    together = not arrays or arrays[-1] - arrays[0] + 1 == len(arrays)
    inner, middle = sliced(shape, [slice(None) if k in arrays else item for k, item in enumerate(items)])
    kept = [k for k, item in enumerate(items) if not isinstance(item, int)]
    positions = [kept.index(k) for k in arrays]
    nodes = [items[k] for k in arrays]
    common = np.broadcast_shapes(*[x.shape for x in nodes])
    position = positions[0] if together and positions else 0
    axes: list[tuple[str, int]] = []
    free = [i for i in range(len(middle)) if i not in positions]
    for i in range(len(middle)):
        if i in positions:
            axes.append(("index", positions.index(i)))
        else:
            place = free.index(i)
            axes.append(("axis", place if place < position else place + len(common)))
    return inner, middle, [program.broadcast(x, common) for x in nodes], tuple(axes), position


def _expanded(shape: tuple[int, ...], index: Any) -> list[Any]:
    """The index with an entry for each axis, an integer, a slice or a node, and None for those that are new."""
    given = list(index) if isinstance(index, tuple) else [index]
    widths = [0 if x is None or x is Ellipsis else max(_mask_axes(x), 1) for x in given]
    if sum(widths) > len(shape):
        raise IndexError(f"too many indices: the array has {len(shape)} axes, but {sum(widths)} were indexed")
    rest = [slice(None)] * (len(shape) - sum(widths))
    where = next((i for i, x in enumerate(given) if x is Ellipsis), len(given))
    given[where : where + 1] = rest
    widths[where : where + 1] = [1] * len(rest)
    items: list[Any] = []
    axis = 0
    for item, width in zip(given, widths):
        if item is None or isinstance(item, slice):
            items.append(item)
        elif _mask_axes(item):
            if np.shape(item) != shape[axis : axis + width]:
                raise IndexError(f"a mask of shape {np.shape(item)} doesn't fit axes {shape[axis : axis + width]}")
            program.recording().frozen.append((item, np.array(item)))
            items += [_fixed(places, n) for places, n in zip(np.nonzero(item), np.shape(item))]
        elif isinstance(item, (int, np.integer)):
            items.append(int(item))
        else:
            items.append(_index(item, shape[axis]))
        axis += width
    return items


def _mask_axes(item: Any) -> int:
    """How many axes a mask stands for; 0 where an item of an index is none."""
    if isinstance(item, (bool, np.bool_)) or (isinstance(item, Symbolic) and item.dtype == np.bool_):
        raise NotCompilable(
            "indexing by a mask that is being compiled: the result's shape would depend on its values. Write "
            "np.where(mask, x, 0), or take a mask that is no argument."
        )
    array = np.asarray(item) if isinstance(item, (list, tuple)) else item
    return array.ndim if isinstance(array, np.ndarray) and array.dtype == np.bool_ else 0


def _index(item: Any, length: int) -> Node:
    """An array of indices along an axis of some length, as a node; one of NumPy's is read anew in every call."""
    array = np.asarray(item, None if len(item) else np.intp) if isinstance(item, (list, tuple)) else item
    kind = getattr(array, "dtype", type(item))
    if on_gpu(array) and program.recording().gpu:
        raise NotCompilable(ON_GPU)
    if getattr(kind, "kind", "") not in ("i", "u"):
        raise IndexError(f"expected indices to be integers, got {kind}")
    return _fixed(array, length) if array is not item else cast(node_of(item), np.int64)


ON_GPU = "an index in an array can't be compiled for the GPU."


def _fixed(places: Any, length: int) -> Node:
    """Indices that will not change: they are looked at now."""
    array = np.asarray(places)
    if array.size and not (-length <= array.min() and array.max() < length):
        raise IndexError(f"an index is out of bounds for an axis of length {length}")
    array = np.where(array < 0, array + length, array).astype(np.int64)
    if array.ndim == 0:
        return program.literal(int(array), np.int64)
    if program.recording().gpu:
        raise NotCompilable(ON_GPU)
    node = program.recording().capture(array)
    program.recording().trusted.add(node)
    return node


@lower(operator.getitem)
def getitem(x: Any, index: Any) -> Node:
    node = node_of(x)
    inner, middle, indices, axes, position = planned(node.shape, index)
    y = program.view(node, inner, middle)
    if not indices:
        return y
    common = indices[0].shape
    rest = [n for n, (kind, _) in zip(middle, axes) if kind == "axis"]
    return program.gather(y, indices, axes, (*rest[:position], *common, *rest[position:]), position)


@lower(scattered)
def _scattered(x: Any, indices: Sequence[Any], *pieces: Any) -> Any:
    return functools.reduce(operator.add, [Symbolic(_placed(x.shape, i, node_of(g))) for i, g in zip(indices, pieces)])


def _placed(shape: tuple[int, ...], index: Any, g: Node) -> Node:
    """Zeros of a shape, to which g is added at an index."""
    inner, middle, indices, axes, position = planned(shape, index)
    common = indices[0].shape if indices else ()
    rest = [n for n, (kind, _) in zip(middle, axes) if kind == "axis"]
    values = program.broadcast(g, (*rest[:position], *common, *rest[position:]))
    return program.scatter(values, indices, axes, shape, position, inner)


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
