"""Indexing: by slices it is a view, by arrays a gather; backwards a scatter."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....arrays import on_gpu
from ....autodiff.pieces import scattered
from ....autodiff.rules.indexing import added_windows
from ....autodiff.table import compositions, name_of
from ....errors import NotCompilable
from ...ir import program
from ...ir.indexing import Axis, Map, identity, own_axis, view_of
from ...ir.program import Node
from ..symbolic import Symbolic, lower, node_of
from .elementwise import cast
from .shapes import view


def parse_index(shape: tuple[int, ...], index: Any) -> tuple[Map, tuple[int, ...], list[Node], tuple[Any, ...], int]:
    """How an array of `shape` is indexed: first by slices, then by arrays of integers.

    Returns: the map of the slices and the shape they lead to; the arrays, of one shape; for each axis what its index is
    (see `program.gather`); the axis of the result where those of the arrays stand.
    """
    items = _expand_index(shape, index)
    if any(isinstance(item, Node) for item in items):  # integers beside arrays are arrays, too
        axes_before = itertools.accumulate([item is not None for item in items], initial=0)
        items = [_constant_indices(x, shape[i]) if isinstance(x, int) else x for x, i in zip(items, axes_before)]
    arrays = [k for k, item in enumerate(items) if isinstance(item, Node)]
    together = not arrays or arrays[-1] - arrays[0] + 1 == len(arrays)
    slices = [slice(None) if k in arrays else item for k, item in enumerate(items)]
    inner, middle = view_of(shape, lambda a: a[(*slices, ...)])  # with the dots it is never a number
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


def _expand_index(shape: tuple[int, ...], index: Any) -> list[Any]:
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
            items += [_constant_indices(places, n) for places, n in zip(np.nonzero(item), np.shape(item))]
        elif isinstance(item, (int, np.integer)):
            items.append(int(item))
        else:
            items.append(_index_array(item, shape[axis]))
        axis += width
    return items


def _mask_axes(item: Any) -> int:
    """How many axes a mask stands for; 0 where an item of an index is none."""
    if isinstance(item, Symbolic) and item.dtype == np.bool_:
        raise NotCompilable(
            "indexing by a mask that is being compiled: the result's shape would depend on its values. Write "
            "np.where(mask, x, 0), or take a mask that is no argument."
        )
    array = np.asarray(item) if isinstance(item, (list, tuple)) else item
    return array.ndim if isinstance(array, np.ndarray) and array.dtype == np.bool_ else 0


def _index_array(item: Any, length: int) -> Node:
    """An array of indices along an axis of some length, as a node; one of NumPy's is read anew in every call."""
    array = np.asarray(item, None if len(item) else np.intp) if isinstance(item, (list, tuple)) else item
    kind = getattr(array, "dtype", type(item))
    if on_gpu(array) and program.recording().gpu:
        raise NotCompilable(ON_GPU)
    if getattr(kind, "kind", "") not in ("i", "u"):
        raise IndexError(f"expected indices to be integers, got {kind}")
    return _constant_indices(array, length) if array is not item else cast(node_of(item), np.int64)


ON_GPU = "an index in an array can't be compiled for the GPU."


def _constant_indices(places: Any, length: int) -> Node:
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


def _axes_of_masks(index: Any) -> tuple[Any, Any] | None:
    """A mask without axes stands for a new axis, of length 1 or 0.

    Returns: an index that makes the axes, and one that then takes what is wanted; None where there are no such masks.
    """
    items = list(index) if isinstance(index, tuple) else [index]
    masks = [type(x) in (bool, np.bool_, np.ndarray) and not np.ndim(x) and np.asarray(x).dtype == bool for x in items]
    if not any(masks):
        return None
    made: list[Any] = []
    for item, mask in zip(items, masks):
        if mask:
            made.append(None)
        elif item is not None:
            made += [Ellipsis] if item is Ellipsis else [slice(None)] * max(_mask_axes(item), 1)
    return tuple(made), tuple(np.zeros(int(item), int) if mask else item for item, mask in zip(items, masks))


@lower(operator.getitem)
def getitem(x: Any, index: Any) -> Node:
    node = node_of(x)
    two = _axes_of_masks(index)
    if two is not None:
        return getitem(Symbolic(getitem(x, two[0])), two[1])
    inner, middle, indices, axes, position = parse_index(node.shape, index)
    y = program.view(node, inner, middle)
    if not indices:
        return y
    common = indices[0].shape
    rest = [n for n, (kind, _) in zip(middle, axes) if kind == "axis"]
    return program.gather(y, indices, axes, (*rest[:position], *common, *rest[position:]), position)


def _at_fixed_places(function: Any) -> Any:
    def lowering(arr: Any, obj: Any, *args: Any, **options: Any) -> Any:
        if isinstance(obj, Symbolic):
            raise NotCompilable(f"{name_of(function)} at places that are being compiled: give it fixed ones.")
        return compositions[function](arr, obj, *args, **options)

    return lowering


lower(np.insert)(_at_fixed_places(np.insert))
lower(np.delete)(_at_fixed_places(np.delete))


@lower(scattered)
def _scattered(x: Any, indices: Sequence[Any], *pieces: Any) -> Any:
    return functools.reduce(operator.add, [Symbolic(_place(x.shape, i, node_of(g))) for i, g in zip(indices, pieces)])


def _place(shape: tuple[int, ...], index: Any, g: Node) -> Node:
    """Zeros of a shape, to which g is added at an index."""
    two = _axes_of_masks(index)
    if two is not None:
        with_axes = np.broadcast_to(0, shape)[two[0]].shape
        return program.reshape(_place(with_axes, two[1], g), shape)
    inner, middle, indices, axes, position = parse_index(shape, index)
    common = indices[0].shape if indices else ()
    rest = [n for n, (kind, _) in zip(middle, axes) if kind == "axis"]
    values = program.broadcast(g, (*rest[:position], *common, *rest[position:]))
    return _among_zeros(program.scatter(values, indices, axes, middle, position) if indices else values, inner, shape)


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
def _added_windows(g: Any, axes: Sequence[int]) -> Node:
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
    (multiply,), (_, gone) = total.args, total.params
    if multiply.op != "map" or multiply.params != "multiply":
        return None
    kept = [i for i in range(multiply.ndim) if i not in gone]
    turned = [*(kept[k] for k in order if k is not None), *gone]
    one, other = (view(y, lambda a: a.transpose(turned)) for y in multiply.args)
    for varying, constant in ((one, other), (other, one)):
        if constant.op == "view" and not any(axis in axes for _, terms in constant.params for axis, _ in terms):
            return [varying, constant]
    return None
