"""Convolutions: one product of three arrays, taken in three ways, which are each other's derivatives.

Image x, filters w and result y are tied together by ⟨y, x ∗ w⟩ = Σ y[n,p,o] · x[n, s·p + d·k − pad, c] · w[o,k,c]. Each
of three functions takes two of them and gives what the third is multiplied by: `convolve` x ∗ w, `spread` what comes to
an image, `correlate` what comes to the filters. So the derivative of each is the other two, to any order.

On the GPU cuDNN calculates them where it is installed. Otherwise, as with NumPy, each is a product of matrices: windows
are packed into the rows of one, a block of images at a time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..arrays import is_array
from ..autodiff.operators import recorded
from ..autodiff.rule import primitive
from ..checks import is_integer, not_an_array, shown
from ..types import Array
from . import cudnn
from .windows import for_each_axis, margins

__all__ = ["conv", "conv_transpose"]

PACKED = 1 << 20  # elements, or so, of windows that are packed at once: they stay in a core's second cache, or third


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How windows lie on an image, along each axis: their steps, the zeros around it, the steps inside a window."""

    stride: tuple[int, ...]
    pad: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int

    def out(self, space: Sequence[int], window: Sequence[int]) -> tuple[int, ...]:
        """How many windows there are along each axis of an image."""
        return tuple(
            (n + before + after - d * (k - 1) - 1) // s + 1
            for n, k, s, (before, after), d in zip(space, window, self.stride, self.pad, self.dilation)
        )

    def is_pointwise(self, window: Sequence[int]) -> bool:
        """Whether windows are the pixels themselves."""
        return math.prod(window) == math.prod(self.stride) == self.groups == 1 and not any(map(any, self.pad))


def _windows(x: Array, window: Sequence[int], how: Geometry) -> Array:
    """The windows of images: a view (n, *out, *window, channels)."""
    d = len(window)
    x = np.pad(x, ((0, 0), *how.pad, (0, 0))) if any(map(any, how.pad)) else x
    spans = tuple(step * (k - 1) + 1 for step, k in zip(how.dilation, window))
    view: Array = sliding_window_view(x, spans, tuple(range(1, d + 1)))
    steps: list[Any] = [slice(None, None, s) for s in how.stride]
    view = view[(slice(None), *steps)]
    steps = [slice(None, None, s) for s in how.dilation]
    return np.moveaxis(view[(Ellipsis, *steps)], d + 1, -1)


def _blocks(n: int, out: Sequence[int], w: Array) -> Iterator[slice]:
    """Images in blocks whose windows are about `PACKED` elements."""
    size = max(1, PACKED // max(1, math.prod(out) * math.prod(w.shape[1:])))
    return (slice(i, i + size) for i in range(0, n, size))


def _by_groups(x: Array, groups: int) -> Array:
    """(…, channels) as (groups, rows, channels of a group); what stands before the channels of one pixel are rows."""
    rows = x.reshape(-1, groups, x.shape[-1] // groups)
    return rows.transpose(1, 0, 2)


def _packed(x: Array, window: Sequence[int], how: Geometry) -> Array:
    """Windows as the rows of a matrix for each group: (groups, windows, elements)."""
    view = _windows(x, window, how)
    if how.groups > 1:
        view = np.moveaxis(view.reshape(*view.shape[:-1], how.groups, -1), -2, 0)
    else:
        view = view[None]
    return view.reshape(how.groups, -1, math.prod(view.shape[-len(window) - 1 :]))


@recorded
def convolve(x: Array, w: Array, how: Geometry) -> Array:
    window = w.shape[1:-1]
    shape = (len(x), *how.out(x.shape[1:-1], window), len(w))
    found = cudnn.product("convolve", x, w, shape, how)
    if found is not None:
        return found
    if how.is_pointwise(window):
        return (x.reshape(-1, x.shape[-1]) @ w.reshape(len(w), -1).T).reshape(*x.shape[:-1], len(w))
    filters = w.reshape(how.groups, len(w) // how.groups, -1).transpose(0, 2, 1)
    y = np.empty_like(x, shape=shape, dtype=np.result_type(x.dtype, w.dtype))
    for block in _blocks(len(x), shape[1:-1], w):
        part = _packed(x[block], window, how) @ filters
        y[block] = part.transpose(1, 0, 2).reshape(-1, *shape[1:])
    return y


@recorded
def spread(g: Array, w: Array, how: Geometry, space: tuple[int, ...]) -> Array:
    window, out = w.shape[1:-1], g.shape[1:-1]
    channels = w.shape[-1] * how.groups
    found = cudnn.product("spread", g, w, (len(g), *space, channels), how)
    if found is not None:
        return found
    if how.is_pointwise(window):
        return (g.reshape(-1, len(w)) @ w.reshape(len(w), -1)).reshape(*g.shape[:-1], channels)
    filters = w.reshape(how.groups, len(w) // how.groups, -1)
    padded = tuple(n + before + after for n, (before, after) in zip(space, how.pad))
    inside = tuple(slice(before, before + n) for n, (before, _) in zip(space, how.pad))
    x = np.empty_like(g, shape=(len(g), *space, channels), dtype=np.result_type(g.dtype, w.dtype))
    for block in _blocks(len(g), out, w):
        some = g[block]
        parts = (_by_groups(some, how.groups) @ filters).reshape(how.groups, len(some), *out, *window, w.shape[-1])
        parts = np.moveaxis(parts, 0, -2).reshape(len(some), *out, *window, channels)
        sums = np.zeros_like(parts, shape=(len(some), *padded, channels))
        for k in np.ndindex(*window):
            places = (slice(d * i, d * i + s * (n - 1) + 1, s) for i, n, s, d in zip(k, out, how.stride, how.dilation))
            sums[(slice(None), *places)] += parts[(slice(None), *[slice(None)] * len(out), *k)]
        x[block] = sums[(slice(None), *inside)]
    return x


@recorded
def correlate(x: Array, g: Array, how: Geometry, window: tuple[int, ...]) -> Array:
    nout, out = g.shape[-1], g.shape[1:-1]
    shape = (nout, *window, x.shape[-1] // how.groups)
    found = cudnn.product("correlate", x, g, shape, how)
    if found is not None:
        return found
    if how.is_pointwise(window):
        return (g.reshape(-1, nout).T @ x.reshape(-1, x.shape[-1])).reshape(shape)
    w = np.zeros_like(x, shape=(how.groups, nout // how.groups, math.prod(shape[1:])), dtype=np.result_type(x, g))
    for block in _blocks(len(x), out, w.reshape(shape)):
        w += _by_groups(g[block], how.groups).transpose(0, 2, 1) @ _packed(x[block], window, how)
    return w.reshape(shape)


primitive(
    convolve,
    lambda g, y, x, w, how: spread(g, w, how, x.shape[1:-1]),
    lambda g, y, x, w, how: correlate(x, g, how, w.shape[1:-1]),
    None,
)
primitive(
    spread,
    lambda g, y, x, w, how, space: convolve(g, w, how),
    lambda g, y, x, w, how, space: correlate(g, x, how, w.shape[1:-1]),
    None,
    None,
)
primitive(
    correlate,
    lambda g, y, x, d, how, window: spread(d, g, how, x.shape[1:-1]),
    lambda g, y, x, d, how, window: convolve(x, g, how),
    None,
    None,
)


def conv(
    x: Array, w: Array, *, stride: Any = 1, pad: Any = 0, dilation: Any = 1, groups: int = 1, owner: str = "conv"
) -> Array:
    """The convolution of images with filters, as networks have it: filters aren't turned around.

    y[n, p, o] = Σ x[n, s·p + d·k − pad, c] · w[o, k, c], the sum being over k and c; x is 0 outside.

    Arguments:
        x: images (N, *space, C), with one to three axes of space.
        w: filters (O, *window, C / groups).
        stride, dilation: s and d, integers from 1 on; one for all axes of space, or one for each.
        pad: how many zeros are put around the images: a number for all sides, one for each axis, or a pair for each
            axis; or `"same"`, for as many windows as there are pixels (⌈n / s⌉ along an axis of n pixels).
        groups: into how many groups channels and filters are cut, each for itself.

    Returns: an array (N, *out, O), out = ⌊(n + zeros − d·(k − 1) − 1) / s⌋ + 1 along an axis with a window of k.

    Errors: TypeError for other things than arrays and integers; ValueError for shapes that don't fit.

    >>> import numpy as np, tinyflux as flux
    >>> x, w = np.arange(5.0).reshape(1, 5, 1), np.array([1.0, 0, -1]).reshape(1, 3, 1)
    >>> flux.conv(x, w, pad=1).ravel()
    array([-1., -2., -2., -2.,  3.])
    """
    how = geometry(owner, x, w, stride, pad, dilation, groups)
    nout, *window, channels = w.shape
    if channels * groups != x.shape[-1] or nout % groups:
        raise ValueError(
            f"{owner}: expected filters (O, *window, C / groups) for images of shape {x.shape} and groups={groups}, "
            f"O a multiple of groups, got shape {w.shape}."
        )
    _refuse_small(owner, x, window, how)
    return convolve(x, w, how)


def conv_transpose(
    x: Array, w: Array, *, stride: Any = 1, pad: Any = 0, dilation: Any = 1, groups: int = 1, outpad: Any = 0,
    owner: str = "conv_transpose",
) -> Array:  # fmt: skip
    """The transposed convolution: each number of x goes to where a convolution would have read it from.

    y[n, q, c] = Σ x[n, p, o] · w[o, k, c], the sum being over o, and over p and k with s·p + d·k − pad = q: the
    derivative of `conv`.

    Arguments:
        x: images (N, *space, O).
        w: filters (O, *window, C / groups), those of the convolution that it transposes.
        stride, pad, dilation, groups: that convolution's; with `pad="same"` y has s pixels for each of x.
        outpad: how many pixels y has more at its ends, below s: several sizes of y would lead to the size of x.

    Returns: an array (N, *out, C), out = s·(n − 1) + d·(k − 1) + 1 − zeros + outpad.

    Errors: as for `conv`.

    >>> import numpy as np, tinyflux as flux
    >>> flux.conv_transpose(np.ones((1, 3, 1)), np.array([1.0, 2]).reshape(1, 2, 1), stride=2).ravel()
    array([1., 2., 1., 2., 1., 2.])
    """
    d = x.ndim - 2 if is_array(x) else 0
    same = isinstance(pad, str) and pad == "same"
    how = geometry(owner, x, w, stride, 0 if same else pad, dilation, groups)
    if len(w) != x.shape[-1] or x.shape[-1] % groups:
        raise ValueError(
            f"{owner}: expected filters (O, *window, C / groups) for images (N, *space, O) of shape {x.shape}, O a "
            f"multiple of groups={groups}, got shape {w.shape}."
        )
    more = for_each_axis(owner, "outpad", outpad, d, 0)
    if same:
        spans = [s * (k - 1) + 1 - t for s, k, t in zip(how.dilation, w.shape[1:-1], how.stride)]
        how = dataclasses.replace(how, pad=tuple((max(n, 0) // 2, max(n, 0) - max(n, 0) // 2) for n in spans))
        more = tuple(max(-n, 0) for n in spans)
    space = tuple(
        s * (n - 1) + t * (k - 1) + 1 - sum(p) + m
        for n, k, s, t, p, m in zip(x.shape[1:-1], w.shape[1:-1], how.stride, how.dilation, how.pad, more)
    )
    if how.out(space, w.shape[1:-1]) != x.shape[1:-1] or min(space) < 1:
        raise ValueError(
            f"{owner}: expected pad and outpad that leave an image, outpad below the stride, got {pad!r} and "
            f"{outpad!r} for images of shape {x.shape} and windows {w.shape[1:-1]}."
        )
    return spread(x, w, how, space)


def geometry(owner: str, x: Array, w: Array, stride: Any, pad: Any, dilation: Any, groups: Any) -> Geometry:
    """The options of a convolution, checked, for each axis of space."""
    for array in (x, w):
        if not is_array(array):
            raise not_an_array(owner, array)
    d = w.ndim - 2
    if d not in (1, 2, 3) or x.ndim != w.ndim:
        raise ValueError(
            f"{owner}: expected images (N, *space, channels) and filters (O, *window, channels) with one to three axes "
            f"of space, got shapes {x.shape} and {w.shape}."
        )
    strides, dilations = for_each_axis(owner, "stride", stride, d, 1), for_each_axis(owner, "dilation", dilation, d, 1)
    if not is_integer(groups) or groups < 1:
        raise ValueError(f"{owner}: expected groups to be an integer, at least 1, got {shown(groups)}.")
    pads = margins(owner, pad, x.shape[1:-1], w.shape[1:-1], strides, dilations)
    return Geometry(strides, pads, dilations, int(groups))


def _refuse_small(owner: str, x: Array, window: Sequence[int], how: Geometry) -> None:
    if min(how.out(x.shape[1:-1], window)) < 1:
        raise ValueError(
            f"{owner}: expected images at least as large as a window of {tuple(window)} with dilation {how.dilation}, "
            f"got shape {x.shape} with {how.pad} zeros around. Give pad='same', or larger images."
        )
