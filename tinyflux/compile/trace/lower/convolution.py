"""Convolutions: sums of products of two views, which the scheduler knows; on the GPU calls of cuDNN where it can.

Axes are named by where they stand among those of the products: images and places, then what a window has, then the
channels. Channels of a group, and groups, have axes of their own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from ....nn import cudnn
from ....nn.convolution import Geometry, convolve, correlate, spread
from ....types import Array
from ...ir import program
from ...ir.indexing import Axis
from ...ir.node import Node
from ..symbolic import lower, node_of
from . import winograd
from .elementwise import cast, result_type


def _operands(a: Array, b: Array) -> tuple[Node, Node]:
    nodes = [node_of(a), node_of(b)]
    dtype = result_type(nodes)
    return cast(nodes[0], dtype), cast(nodes[1], dtype)


def _called(function: str, a: Node, b: Node, shape: tuple[int, ...], how: Geometry) -> Node | None:
    """A call of cuDNN; None where it is not to be had."""
    if not program.recording().gpu or cudnn.find_plan(function, (a.shape, b.shape, shape), how, a.dtype) is None:
        return None
    return program.call(function, [a, b], shape, a.dtype, how)


def _axis(axis: int, stride: int = 1) -> Axis:
    return 0, ((axis, stride),)


def _sum_of_products(
    shape: Sequence[int], a: Node, a_axes: Sequence[Axis], b: Node, b_axes: Sequence[Axis], axes: Sequence[int]
) -> Node:
    """The sum of a · b over some axes. Axes of length 1 are left out, of the result too."""
    place = {axis: i for i, axis in enumerate(axis for axis, n in enumerate(shape) if n != 1)}
    lengths = [shape[axis] for axis in place]
    views = []
    for x, at in ((a, a_axes), (b, b_axes)):
        moved = tuple((low, tuple((place[axis], s) for axis, s in terms if axis in place)) for low, terms in at)
        views.append(program.view(x, moved, lengths))
    multiplied = program.elementwise("multiply", views, a.dtype)
    return program.reduce("sum", multiplied, [place[axis] for axis in axes if axis in place], a.dtype)


def _by_groups(x: Node, groups: int, axis: int) -> Node:
    """The channels along an axis as groups and the channels of one."""
    return program.reshape(x, (*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :]))


def _filters(w: Node, groups: int) -> Node:
    """Filters by groups. Those of one channel are copied with groups along the last axis, as images have them."""
    w = _by_groups(w, groups, 0)
    if groups == 1 or w.shape[-1] > 1:
        return w
    turned = program.view(w, tuple(_axis((k - 1) % w.ndim) for k in range(w.ndim)), (*w.shape[1:], groups))
    copy = program.reshape(turned, (w.size // groups, groups))
    lengths = turned.shape[:-1]
    row: Axis = (0, tuple((1 + k, math.prod(lengths[k + 1 :])) for k in range(len(lengths))))
    return program.view(copy, (row, _axis(0)), w.shape)


def _padded(x: Node, pads: Sequence[tuple[int, int]]) -> Node:
    """Images among zeros, along the axes after the first."""
    if x.op == "gather" and not any(map(any, pads)):
        x = program.elementwise("positive", [x], x.dtype)  # a copy: each window would pick its pixels anew
    places = [(0, 1), *((before, 1) for before, _ in pads)]
    lengths = [x.shape[0], *(n + sum(pad) for n, pad in zip(x.shape[1:], pads))]
    rest = x.shape[len(lengths) :]
    return program.pad(x, [*places, *[(0, 1)] * len(rest)], [*lengths, *rest])


def _begin(how: Geometry) -> tuple[int, int]:
    """How far above and left of the images results begin."""
    (top, _), (left, _) = how.pad
    return top, left


@lower(convolve)
def _convolve(x: Array, w: Array, how: Geometry) -> Node:
    image, filters = _operands(x, w)
    space = how.out(image.shape[1:-1], filters.shape[1:-1])
    result = (image.shape[0], *space, filters.shape[0])
    called = _called("convolve", image, filters, result, how)
    if called is not None:
        return called
    if winograd.applies(image, how, filters.shape[1:-1], result):
        return winograd.convolve(image, filters, _begin(how), space)
    d = image.ndim - 2
    image = _by_groups(_padded(image, how.pad), how.groups, d + 1)
    filters = _filters(filters, how.groups)
    groups, nout, *window, channels = filters.shape
    shape = (image.shape[0], *space, *window, channels, groups, nout)
    n, k, c, g, o = 0, 1 + d, 1 + 2 * d, 2 + 2 * d, 3 + 2 * d
    places = [(0, ((1 + i, s), (k + i, t))) for i, (s, t) in enumerate(zip(how.stride, how.dilation))]
    in_image = [_axis(n), *places, _axis(g), _axis(c)]
    in_filters = [_axis(g), _axis(o), *(_axis(k + i) for i in range(d)), _axis(c)]
    y = _sum_of_products(shape, image, in_image, filters, in_filters, range(k, g))
    return program.reshape(y, result)


@lower(correlate)
def _correlate(x: Array, g: Array, how: Geometry, window: tuple[int, ...]) -> Node:
    image, cotangent = _operands(x, g)
    result = (cotangent.shape[-1], *window, image.shape[-1] // how.groups)
    called = _called("correlate", image, cotangent, result, how)
    if called is not None:
        return called
    if winograd.applies(image, how, window, cotangent.shape):
        return winograd.correlate(image, cotangent, _begin(how))
    d = image.ndim - 2
    image = _by_groups(_padded(image, how.pad), how.groups, d + 1)
    cotangent = _by_groups(cotangent, how.groups, d + 1)
    *places, groups, nout = cotangent.shape
    channels = image.shape[-1]
    shape, group, k = (*places, groups, nout, *window, channels), 1 + d, 3 + d
    if channels == 1:  # groups and filters come last, as they do in the cotangent
        shape, group, k = (*places, *window, groups, nout, channels), 1 + 2 * d, 1 + d
    steps = enumerate(zip(how.stride, how.dilation))
    in_image = [_axis(0), *((0, ((1 + i, s), (k + i, t))) for i, (s, t) in steps), _axis(group), _axis(3 + 2 * d)]
    in_cotangent = [*map(_axis, range(1 + d)), _axis(group), _axis(group + 1)]
    w = _sum_of_products(shape, image, in_image, cotangent, in_cotangent, range(1 + d))
    if channels == 1:
        w = program.reshape(w, (*window, groups, nout))
        w = program.view(w, tuple(_axis((2 + i) % (2 + d)) for i in range(2 + d)), (groups, nout, *window))
    return program.reshape(w, result)


@lower(spread)
def _spread(g: Array, w: Array, how: Geometry, space: tuple[int, ...]) -> Node:
    """Pixels, of which all those that lie alike among the windows' steps are one sum of products.

    Along an axis they are h = s·i + first; to h comes what window p = i + shift − j has at k = s·j + r, for all j.
    Where windows have steps inside as well as between them, the zeros between them are made instead.
    """
    cotangent, filters = _operands(g, w)
    d = cotangent.ndim - 2
    groups, nout, channels = how.groups, cotangent.shape[-1] // how.groups, filters.shape[-1]
    called = _called("spread", cotangent, filters, (cotangent.shape[0], *space, groups * channels), how)
    if called is not None:
        return called
    if winograd.applies(cotangent, how, filters.shape[1:-1], (cotangent.shape[0], *space, channels)):
        return winograd.spread(cotangent, filters, _begin(how), space)
    stride, dilation = list(how.stride), list(how.dilation)
    if max(stride) > 1 and max(dilation) > 1:
        wide = [s * (n - 1) + 1 for s, n in zip(stride, cotangent.shape[1:-1])]
        places = [(0, 1), *((0, s) for s in stride), (0, 1)]
        cotangent = program.pad(cotangent, places, (cotangent.shape[0], *wide, cotangent.shape[-1]))
        stride = [1] * d
    result: Node | None = None
    for rest in itertools.product(*map(range, stride)):
        first = [(r - before) % s for r, s, (before, _) in zip(rest, stride, how.pad)]
        count = [len(range(f, n, s)) for f, n, s in zip(first, space, stride)]
        window = [len(range(r, k, s)) for r, k, s in zip(rest, filters.shape[1:-1], stride)]
        if 0 in count or 0 in window:
            continue
        shift = [(f + before - r) // s for f, r, s, (before, _) in zip(first, rest, stride, how.pad)]
        reach = [t * (k - 1) for t, k in zip(dilation, window)]
        zeros = [
            (max(0, back - m), max(0, m + n - p)) for back, m, n, p in zip(reach, shift, count, cotangent.shape[1:-1])
        ]
        shape = (cotangent.shape[0], *count, *window, nout, groups, channels)
        k, o, group, c = 1 + d, 1 + 2 * d, 2 + 2 * d, 3 + 2 * d
        there = [(shift[i] + zeros[i][0], ((1 + i, 1), (k + i, -dilation[i]))) for i in range(d)]
        x = _sum_of_products(
            shape,
            _by_groups(_padded(cotangent, zeros), groups, d + 1), [_axis(0), *there, _axis(group), _axis(o)],
            _filters(filters, groups),
            [_axis(group), _axis(o), *((rest[i], ((k + i, stride[i]),)) for i in range(d)), _axis(c)],
            range(k, group),
        )  # fmt: skip
        x = program.reshape(x, (shape[0], *count, groups * channels))
        places = [(0, 1), *zip(first, stride), (0, 1)]
        x = program.pad(x, places, (x.shape[0], *space, x.shape[-1]))
        result = x if result is None else program.elementwise("add", [result, x], x.dtype)
    if result is None:
        return program.broadcast(program.literal(0, cotangent.dtype), (cotangent.shape[0], *space, groups * channels))
    return result
