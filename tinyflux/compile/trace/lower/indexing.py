"""Indexing: by slices it is a view, by arrays a gather; backwards a scatter."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....arrays import on_gpu, to_numpy
from ....autodiff.cotangents import scattered
from ....autodiff.rules.indexing import added_windows
from ....autodiff.table import compositions, name_of
from ....errors import NotCompilable
from ....types import Array
from ...ir import ops, program
from ...ir.indexing import Axis, Map, identity, own_axis, view_of
from ...ir.node import Node
from ..symbolic import Symbolic, lower, node_of
from .elementwise import cast
from .shapes import view


def parse_index(
    shape: tuple[int, ...], index: Any
) -> tuple[Map, tuple[int, ...], list[Node], list[tuple[str, int]], int, tuple[int, ...]]:
    """How an array of `shape` is indexed: first by slices, then by arrays of integers.

    Returns: the map of the slices and the shape they lead to; the arrays, of one shape; for each axis what its index is
    (see `program.indexed`); the axis of the result where those of the arrays stand; the shape of the result.
    """
    items = _expand_index(shape, index)
    if any(node is not None for _, node in items):  # integers beside arrays are arrays, too
        axes = itertools.accumulate([cut is not None for cut, _ in items], initial=0)
        for k, ((cut, _), axis) in enumerate(zip(items, axes)):
            if isinstance(cut, int):
                items[k] = slice(None), _constant_indices(cut, shape[axis])
    inner, middle = view_of(shape, lambda a: a[(*[cut for cut, _ in items], ...)])  # with the dots it is never a number
    arrays = [node for cut, node in items if not isinstance(cut, int)]
    positions = [k for k, node in enumerate(arrays) if node is not None]
    together = bool(positions) and positions[-1] - positions[0] + 1 == len(positions)
    indices = [node for node in arrays if node is not None]
    common = np.broadcast_shapes(*[x.shape for x in indices])
    position = positions[0] if together else 0
    free = [i for i in range(len(middle)) if i not in positions]
    places = {i: k if k < position else k + len(common) for k, i in enumerate(free)}
    kinds = [("axis", places[i]) if i in places else ("index", positions.index(i)) for i in range(len(middle))]
    rest = [middle[i] for i in free]
    result = (*rest[:position], *common, *rest[position:])
    return inner, middle, [program.broadcast(x, common) for x in indices], kinds, position, result


def _expand_index(shape: tuple[int, ...], index: Any) -> list[tuple[Any, Node | None]]:
    """What is done along each axis, and new ones: an integer, a slice or None; then an array of indices, or None."""
    given = [_item(x) for x in (index if isinstance(index, tuple) else (index,))]
    widths = [0 if x is None or x is Ellipsis else x.ndim if _is_mask(x) else 1 for x in given]
    if sum(widths) > len(shape):
        raise IndexError(f"too many indices: the array has {len(shape)} axes, but {sum(widths)} were indexed")
    rest = [slice(None)] * (len(shape) - sum(widths))
    where = next((i for i, x in enumerate(given) if x is Ellipsis), len(given))
    given[where : where + 1] = rest
    widths[where : where + 1] = [1] * len(rest)
    items: list[tuple[Any, Node | None]] = []
    axis = 0
    for item, width in zip(given, widths):
        if item is None or isinstance(item, slice):
            items.append((item, None))
        elif _is_mask(item):
            if item.shape != shape[axis : axis + width]:
                raise IndexError(f"a mask of shape {item.shape} doesn't fit axes {shape[axis : axis + width]}")
            places = np.nonzero(np.atleast_1d(item))
            items += [(slice(None), _constant_indices(x, n)) for x, n in zip(places, item.shape)]
            if not item.ndim:  # it stands for a new axis, of length 1 or 0
                items.append((None, _constant_indices(np.zeros(int(item), int), 1)))
        elif isinstance(item, (int, np.integer)):
            items.append((int(item), None))
        else:
            items.append((slice(None), _index_array(item, shape[axis])))
        axis += width
    return items


def _item(x: Array) -> Array:
    """A part of an index, a mask as an array of its own."""
    if isinstance(x, Symbolic) and x.dtype == np.bool_:
        raise NotCompilable(
            "indexing by a mask that is being compiled: the result's shape would depend on its values. Write "
            "np.where(mask, x, 0), or take a mask that is no argument."
        )
    array = np.asarray(x) if isinstance(x, (list, tuple, bool, np.bool_)) else x
    if on_gpu(x) and x.dtype == np.bool_:
        array = to_numpy(x)
    return array if _is_mask(array) else x


def _is_mask(x: Array) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.bool_


def _index_array(item: Any, length: int) -> Node:
    """An array of indices along an axis of some length, as a node; one of NumPy's is read anew in every call.

    On the GPU it can't be: what NumPy's array holds now is copied there. Guards look whether it has changed.
    """
    array = np.asarray(item, None if len(item) else np.intp) if isinstance(item, (list, tuple)) else item
    kind = getattr(array, "dtype", type(item))
    if getattr(kind, "kind", "") not in ("i", "u"):
        raise IndexError(f"expected indices to be integers, got {kind}")
    constant = array is not item or (program.recording().gpu and type(array) is np.ndarray)
    return _constant_indices(array, length) if constant else cast(node_of(item), np.int64)


def _constant_indices(places: Array, length: int) -> Node:
    """Indices that will not change: they are looked at now."""
    array = np.asarray(places)
    if array.size and not (-length <= array.min() and array.max() < length):
        raise IndexError(f"an index is out of bounds for an axis of length {length}")
    array = np.where(array < 0, array + length, array).astype(np.int64)
    if array.size == 1:
        return program.broadcast(program.literal(int(array.item()), np.int64), array.shape)
    if program.recording().gpu and _counts(array):
        return program.iota(array.shape, int(np.argmax(array.shape)))
    node = program.recording().capture(array)
    program.recording().trusted.add(node)
    return node


def _counts(array: Array) -> bool:
    """Whether an array is 0, 1, 2 … along its only long axis: kernels need not read it, nor look for places in it."""
    return max(array.shape, default=0) == array.size and bool((array.ravel() == np.arange(array.size)).all())


@lower(operator.getitem)
def getitem(x: Array, index: Any) -> Node:
    node = node_of(x)
    inner, middle, indices, axes, position, shape = parse_index(node.shape, index)
    y = program.view(node, inner, middle)
    return program.indexed(ops.Gather, y, indices, axes, shape, position) if indices else y


def _at_fixed_places(function: Callable[..., Any], arr: Array, obj: Array, *args: Any, **options: Any) -> Array:
    if isinstance(obj, Symbolic):
        raise NotCompilable(f"{name_of(function)} at places that are being compiled: give it fixed ones.")
    return compositions[function](arr, obj, *args, **options)


for _function in (np.insert, np.delete):
    lower(_function)(functools.partial(_at_fixed_places, _function))


@lower(scattered)
def _scattered(x: Array, indices: Sequence[Any], *pieces: Array) -> Array:
    return functools.reduce(operator.add, [Symbolic(_place(x.shape, i, node_of(g))) for i, g in zip(indices, pieces)])


def _place(shape: tuple[int, ...], index: Any, g: Node) -> Node:
    """Zeros of a shape, to which g is added at an index."""
    inner, middle, indices, axes, position, taken = parse_index(shape, index)
    values = program.broadcast(g, taken)
    if indices:
        values = program.indexed(ops.Scatter, values, indices, axes, middle, position)
    return _among_zeros(values, inner, shape)


def _among_zeros(x: Node, inner: Map, shape: tuple[int, ...]) -> Node:
    """Zeros of a shape with x in a slice of it, whose map is `inner`."""
    turned: list[tuple[int, tuple[tuple[int, int], ...]]] = [(0, ())] * x.ndim
    places, lengths = [], []
    for k, (offset, terms) in enumerate(inner):
        axis, step = terms[0] if terms else (None, 1)
        n = x.shape[axis] if axis is not None else 1
        if axis is not None:
            turned[axis] = (n - 1, ((k, -1),)) if step < 0 else (0, ((k, 1),))
        places.append((offset + min(step, 0) * (n - 1), abs(step)))
        lengths.append(n)
    return program.pad(program.view(x, tuple(turned), lengths), places, shape)


@lower(added_windows)
def _added_windows(g: Array, axes: Sequence[int]) -> Node:
    """Σ over all windows of what each has for a place: the windows, turned around, slide over themselves among zeros.

    Where the windows are sums of products, one factor of which is the same for all windows, the other alone is padded:
    the result is one sum of products, too.
    """
    x = node_of(g)
    first = x.ndim - len(axes)
    factors = _factors(x, axes) or [x]
    shape = list(factors[0].shape)
    places, longer = [(0, 1)] * len(shape), list(shape)
    at: list[Axis] = list(identity(len(shape)))
    for window, axis in enumerate(axes, first):
        more = x.shape[window] - 1
        shape[axis] += more
        longer[axis] += 2 * more
        places[axis] = (places[axis][0] + more, 1)
        at[axis] = (at[axis][0] + more, (*at[axis][1], (window, -1)))
    y = program.view(program.pad(factors[0], places, longer), tuple(at), shape)
    for factor in factors[1:]:
        same = tuple((0, ()) if i in axes else entry for i, entry in enumerate(identity(len(shape))))
        y = program.elementwise("multiply", [y, program.view(factor, same, shape)], x.dtype)
    return program.reduce("sum", y, range(first, len(shape)), x.dtype)


def _factors(x: Node, axes: Sequence[int]) -> list[Node] | None:
    """The factors of a sum of products, the second of them constant along some axes; None where x is something else.

    Their axes are those of x, then those that are summed over.
    """
    total = x.args[0] if x.op == "view" else x
    order = [own_axis(x.params, i) for i in range(x.ndim)] if x.op == "view" else list(range(x.ndim))
    if total.op != "reduce" or total.params[0] != "sum" or sorted(order, key=str) != list(range(total.ndim)):
        return None
    (multiply,), (_, reduced) = total.args, total.params
    if multiply.op != "map" or multiply.params != "multiply":
        return None
    kept = [i for i in range(multiply.ndim) if i not in reduced]
    turned = [*(kept[k] for k in order if k is not None), *reduced]
    one, other = (view(y, lambda a: a.transpose(turned)) for y in multiply.args)
    for varying, constant in ((one, other), (other, one)):
        if constant.op == "view" and not any(axis in axes for _, terms in constant.params for axis, _ in terms):
            return [varying, constant]
    return None
