"""Affine maps of indices: where an element of a view stands in the array that is viewed.

A `Map` has an entry (offset, ((axis, stride), …)) for each axis of the source: its index is offset + Σ stride · i,
where i is the index along that axis of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.lib.stride_tricks import as_strided

K = TypeVar("K", int, str)
Affine = tuple[int, tuple[tuple[K, int], ...]]  # a number, and indices by number or name, with their factors
Axis = Affine[int]
Map = tuple[Axis, ...]


def identity(ndim: int) -> Map:
    return tuple((0, ((i, 1),)) for i in range(ndim))


def is_identity(axes: Map | None, source: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether each element of a view of some shape stands at the same place in its source; False if unknown."""
    if axes is None or source != shape:
        return False
    return all(axis == (0, ((i, 1),)) or (n == 1 and not axis[0]) for i, (axis, n) in enumerate(zip(axes, source)))


def affine_sum(offset: int, terms: Iterable[tuple[Affine[K], int]]) -> Affine[K]:
    """A number plus multiples of affine sums."""
    factors: dict[K, int] = {}
    for (constant, parts), stride in terms:
        offset += stride * constant
        for key, factor in parts:
            factors[key] = factors.get(key, 0) + stride * factor
    return offset, tuple(sorted((key, factor) for key, factor in factors.items() if factor))


def compose(inner: Map, outer: Sequence[Affine[K]]) -> tuple[Affine[K], ...]:
    """The map of a view of a view: `inner` leads from the middle to the source, `outer` to the middle."""
    return tuple(affine_sum(offset, [(outer[axis], stride) for axis, stride in terms]) for offset, terms in inner)


def own_axis(axes: Map, axis: int) -> int | None:
    """The axis of the source that an axis of the result is, as a whole; None where there is none."""
    found = [k for k, (_, terms) in enumerate(axes) if any(a == axis for a, _ in terms)]
    return found[0] if len(found) == 1 and axes[found[0]] == (0, ((axis, 1),)) else None


def broadcast_map(source: tuple[int, ...], shape: tuple[int, ...]) -> Map:
    extra = len(shape) - len(source)
    return tuple((0, ((i + extra, 1),) if n != 1 else ()) for i, n in enumerate(source))


def reshape_map(source: tuple[int, ...], shape: tuple[int, ...]) -> Map | None:
    """The map of a change of shape that splits axes, or adds and removes ones of length 1; None where axes merge."""
    if 0 in source or 0 in shape:
        return None
    axes: list[Axis] = []
    j = 0
    for n in source:
        if n == 1:
            axes.append((0, ()))
            continue
        group: list[int] = []
        while math.prod(shape[i] for i in group) < n:
            if j == len(shape):
                return None
            group.append(j)
            j += 1
        if math.prod(shape[i] for i in group) != n:
            return None
        stride, terms = n, []
        for i in group:
            stride //= shape[i]
            if shape[i] != 1:
                terms.append((i, stride))
        axes.append((0, tuple(terms)))
    return tuple(axes)


def view_of(shape: Sequence[int], function: Callable[[Any], Any]) -> tuple[Map, tuple[int, ...]]:
    """The map and the shape of the view that a function of NumPy's makes of an array of some shape.

    NumPy itself is asked, with an array whose strides tell its axes apart, and whose elements lie nowhere: the function
    must read none.
    """
    strides = c_strides([2 * max(n, 1) + 1 for n in shape])  # the strides of a view are −n to n times these
    probe = as_strided(_BYTE, shape, strides)
    y = function(probe)
    offsets = _digits(y.__array_interface__["data"][0] - probe.__array_interface__["data"][0], strides)
    terms = [_digits(stride, strides) for stride in y.strides]
    axes = [(offset, tuple((i, t[k]) for i, t in enumerate(terms) if t[k])) for k, offset in enumerate(offsets)]
    return tuple(axes), y.shape


_BYTE = np.zeros(1, np.uint8)


def _digits(number: int, places: Sequence[int]) -> list[int]:
    """The digits of a number for these place values, each rounded to the nearest."""
    digits = []
    for place in places:
        digits.append((2 * number + place) // (2 * place))
        number -= digits[-1] * place
    return digits


def view_strides(axes: Map, source: Sequence[int], ndim: int) -> list[int]:
    """The strides along the axes of a view, from those of its source."""
    _, terms = affine_sum(0, zip(axes, source))
    return [dict(terms).get(axis, 0) for axis in range(ndim)]


def c_strides(shape: Sequence[int]) -> list[int]:
    """The strides, in elements, of an array whose elements lie in C order."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * shape[i + 1]
    return strides


def merge_lines(
    shape: Sequence[int], strides: Sequence[Sequence[int]], alone: Container[int | None]
) -> list[list[int]]:
    """The axes of loops, without those of length 1, in groups along which every array lies in one line.

    Arguments:
        strides: of each array, along all axes.
        alone: axes that stay by themselves.
    """
    groups = [[i] for i, n in enumerate(shape) if n != 1]

    def one_line(x: list[int], y: list[int]) -> bool:
        length = math.prod(shape[i] for i in y)
        apart = any(i in alone for i in (*x, *y))
        return x is not y and not apart and all(s[x[-1]] == s[y[-1]] * length for s in strides)

    while pair := next(((x, y) for x in groups for y in groups if one_line(x, y)), None):
        first, second = pair
        groups.remove(first)
        second[:0] = first
    return groups
