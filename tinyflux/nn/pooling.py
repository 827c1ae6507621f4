"""Pooling and its reverse: a number for every window of an image, or several pixels for every one.

Images are (N, *space, C), with one to three axes of space. Windows are boxes, so they are worked through axis by axis:
k pixels along each, not their product.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import is_array
from ..autodiff.cotangents import scattered
from ..autodiff.operators import ArrayOperators
from ..autodiff.rule import rule
from ..autodiff.rules.shapes import counted
from ..autodiff.tape import apply, plain
from ..checks import check_flag, check_integer, not_an_array, shown
from ..types import Array
from .windows import for_each_axis, margins

__all__ = [
    "adaptive_meanpool", "global_maxpool", "global_meanpool", "maxpool", "meanpool", "pixel_shuffle", "upsample",
]  # fmt: skip


def maxpool(x: Array, window: Any, stride: Any = None, pad: Any = 0, *, owner: str = "maxpool") -> Array:
    """The largest number of every window: y[n, p, c] = maxₖ x[n, s·p + k − pad, c].

    Arguments:
        x: images (N, *space, C), with one to three axes of space.
        window: how many pixels a window has along each axis of space: an integer for all of them, or a tuple.
        stride: s, the steps from one window to the next; by default the window itself.
        pad: how many pixels of −∞ are put around the images, fewer than the window has: a number for all sides, one
            for each axis, or a pair for each; or `"same"`, for ⌈n / s⌉ windows along an axis of n pixels.

    Returns: an array (N, *out, C), out = ⌊(n + pixels around − k) / s⌋ + 1 along an axis of n pixels.

    The gradient flows to the largest pixel, of equal ones to the first in C order, as in PyTorch.

    Errors: TypeError for an x that is no array; ValueError for images that don't fit, and for other options.

    >>> import numpy as np, tinyflux as flux
    >>> x = np.array([3.0, 1, 2, 2, 0, 5]).reshape(1, 6, 1)
    >>> flux.maxpool(x, 2).ravel(), flux.maxpool(x, 3, stride=2, pad=1).ravel()
    (array([3., 2., 5.]), array([3., 2., 5.]))
    >>> flux.gradient(lambda x: np.sum(flux.maxpool(x, 2)), x).ravel()
    array([1., 0., 1., 0., 0., 1.])
    """
    sizes, steps, around = _windows(owner, x, window, stride, pad)
    x = _padded(x, around, _least(x.dtype))
    tiled = sizes == steps and not any(n % k for n, k in zip(x.shape[1:-1], sizes))
    if tiled and max(sizes) > 1 and isinstance(plain(x), ArrayOperators):
        return _largest_tile(x, sizes=sizes)
    for axis in range(len(sizes), 0, -1):  # the last one first: of equal pixels the first in C order is left
        x = _largest(x, axis=axis, k=sizes[axis - 1], stride=steps[axis - 1])
    return x


def meanpool(
    x: Array, window: Any, stride: Any = None, pad: Any = 0, *, count_pad: bool = True, owner: str = "meanpool"
) -> Array:
    """The mean of every window: y[n, p, c] = Σₖ x[n, s·p + k − pad, c] / ∏ window.

    Arguments:
        x, window, stride, pad: as for `maxpool`, but with zeros around the images.
        count_pad: whether those zeros count, as in Flux; False for the mean of the image's own pixels.

    Returns and errors: as for `maxpool`.

    >>> import numpy as np, tinyflux as flux
    >>> x = np.array([2.0, 4, 6, 8]).reshape(1, 4, 1)
    >>> flux.meanpool(x, 2).ravel(), flux.meanpool(x, 2, pad=1).ravel()
    (array([3., 7.]), array([1., 5., 4.]))
    >>> flux.meanpool(x, 2, pad=1, count_pad=False).ravel()
    array([2., 5., 8.])
    """
    check_flag(owner, "count_pad", count_pad)
    sizes, steps, around = _windows(owner, x, window, stride, pad)
    wide = _widened(x)
    count: Any = math.prod(sizes)
    if not count_pad and any(map(any, around)):
        ones = np.ones_like(wide, shape=(1, *x.shape[1:-1], 1))
        count = _sums(_padded(ones, around, 0), sizes, steps)
    return _narrowed(_sums(_padded(wide, around, 0), sizes, steps) / count, x)


def global_maxpool(x: Array, *, owner: str = "global_maxpool") -> Array:
    """The largest number of every image, for each channel; in a gradient equal ones share, as in `np.max`.

    Arguments:
        x: images (N, *space, C), with one to three axes of space.

    Returns: an array (N, 1, …, C), with axes of length 1.

    Errors: TypeError for an x that is no array, ValueError for another number of axes, and images without pixels.

    >>> import numpy as np, tinyflux as flux
    >>> flux.global_maxpool(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[[[6., 7.]]]])
    """
    return np.max(x, axis=_axes_of_space(owner, x), keepdims=True)


def global_meanpool(x: Array, *, owner: str = "global_meanpool") -> Array:
    """The mean of every image, for each channel.

    Arguments, returns and errors: as for `global_maxpool`.

    >>> import numpy as np, tinyflux as flux
    >>> flux.global_meanpool(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[[[3., 4.]]]])
    """
    return np.mean(x, axis=_axes_of_space(owner, x), keepdims=True)


def adaptive_meanpool(x: Array, size: Any, *, owner: str = "adaptive_meanpool") -> Array:
    """The means of as many windows as are asked for.

    Along an axis of n pixels, m windows of k = n − (m − 1)·s pixels lie s = ⌊n / m⌋ apart, as in Flux. PyTorch has
    windows of different sizes where m doesn't divide n; where it does, both are the same.

    Arguments:
        x: images (N, *space, C), with one to three axes of space.
        size: m, an integer for all axes of space, or a tuple.

    Returns: an array (N, *size, C).

    Errors: TypeError for an x that is no array; ValueError for a size below 1 or above the images'.

    >>> import numpy as np, tinyflux as flux
    >>> flux.adaptive_meanpool(np.arange(6.0).reshape(1, 6, 1), 2).ravel()
    array([1., 4.])
    """
    d = _space(owner, x)
    space = x.shape[1:-1]
    counts = for_each_axis(owner, "size", size, d, 1)
    if any(m > n for m, n in zip(counts, space)):
        raise ValueError(f"{owner}: expected images of at least {counts} pixels, got shape {x.shape}. Upsample them.")
    steps = [n // m for n, m in zip(space, counts)]
    sizes = [n - (m - 1) * s for n, m, s in zip(space, counts, steps)]
    return _narrowed(_sums(_widened(x), sizes, steps) / math.prod(sizes), x)


def upsample(
    x: Array, scale: Any, mode: str = "nearest", *, align_corners: bool = True, owner: str = "upsample"
) -> Array:
    """Larger images: `scale` pixels for every one along each axis of space.

    Arguments:
        x: images (N, *space, C), with one to three axes of space.
        scale: an integer for all axes of space, or a tuple.
        mode: "nearest" repeats pixels; "bilinear" draws straight lines between them, along each axis.
        align_corners: for "bilinear": whether the first and last pixels keep their places at the ends, as in Flux.
            False lays the edges of the images onto each other, and not their outermost pixels, as in PyTorch.

    Returns: an array (N, *(scale · space), C).

    Errors: TypeError for an x that is no array; ValueError for another scale or mode.

    >>> import numpy as np, tinyflux as flux
    >>> x = np.array([0.0, 3]).reshape(1, 2, 1)
    >>> flux.upsample(x, 2).ravel(), flux.upsample(x, 2, "bilinear").ravel()
    (array([0., 0., 3., 3.]), array([0., 1., 2., 3.]))
    >>> flux.upsample(x, 2, "bilinear", align_corners=False).ravel()
    array([0.  , 0.75, 2.25, 3.  ])
    """
    d = _space(owner, x)
    scales = for_each_axis(owner, "scale", scale, d, 1)
    check_flag(owner, "align_corners", align_corners)
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"{owner}: expected mode to be 'nearest' or 'bilinear', got {shown(mode)}.")
    if mode == "nearest":
        return _repeated(x, scale=scales)
    for axis, times in enumerate(scales, 1):
        if times == 1:
            continue
        before, n, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
        lines = _between(n, times, align_corners).astype(np.result_type(x.dtype, np.float32))
        x = np.asarray(lines, like=plain(x)) @ x.reshape(math.prod(before), n, math.prod(after))
        x = x.reshape(*before, n * times, *after)
    return x


def _repeat(x: Array, scale: tuple[int, ...] = ()) -> Array:
    n, *space, channels = x.shape
    apart = [size for pixels in space for size in (pixels, 1)]
    repeated = [size for pixels, times in zip(space, scale) for size in (pixels, times)]
    y = np.broadcast_to(x.reshape(n, *apart, channels), (n, *repeated, channels))
    return y.reshape(n, *(pixels * times for pixels, times in zip(space, scale)), channels)


_repeated = rule(_repeat, lambda g, y, x, scale=(): _sums(g, scale, scale))


def _between(n: int, times: int, align_corners: bool) -> Array:
    """The shares that n pixels have in those of the larger image: a matrix (times · n, n)."""
    places = np.arange(n * times)
    at = places * (n - 1) / (n * times - 1) if align_corners else np.clip((places + 0.5) / times - 0.5, 0, n - 1)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(n)), 0)


def pixel_shuffle(x: Array, r: int, *, owner: str = "pixel_shuffle") -> Array:
    """Larger images of fewer channels: in two dimensions y[n, r·h + i, r·w + j, c] = x[n, h, w, c·r² + i·r + j].

    Arguments:
        x: images (N, *space, C·rᵈ), with d from one to three axes of space.
        r: how many pixels along each axis are made of the channels of one (Shi et al. 2016).

    Returns: an array (N, *(r · space), C).

    Errors: TypeError for an x that is no array; ValueError for an r below 1, and for other numbers of channels.

    >>> import numpy as np, tinyflux as flux
    >>> flux.pixel_shuffle(np.arange(4.0).reshape(1, 1, 1, 4), 2)[0, :, :, 0]
    array([[0., 1.],
           [2., 3.]])
    """
    d = _space(owner, x)
    check_integer(owner, "r", r, 1)
    n, *space, channels = x.shape
    if channels % r**d:
        raise ValueError(f"{owner}: expected a multiple of {r**d} channels, got shape {x.shape}.")
    x = x.reshape(n, *space, channels // r**d, *[r] * d)
    axes = [axis for i in range(1, d + 1) for axis in (i, d + 1 + i)]
    return np.transpose(x, (0, *axes, d + 1)).reshape(n, *[r * m for m in space], channels // r**d)


# One axis after the other.


def _places(x: Array, axis: int, k: int, stride: int) -> list[tuple[slice, ...]]:
    """For each place in a window the index of the pixels that have it in one of the windows."""
    count = (x.shape[axis] - k) // stride + 1
    return [(*[slice(None)] * axis, slice(i, i + (count - 1) * stride + 1, stride)) for i in range(k)]


def _largest_of(x: Array, axis: int = 0, k: int = 1, stride: int = 1) -> Array:
    first, *others = _places(x, axis, k, stride)
    y = x[first]
    for at in others:
        y = np.maximum(y, x[at])
    return y


def _to_largest(g: Array, y: Array, x: Array, axis: int = 0, k: int = 1, stride: int = 1) -> Array:
    """The cotangent of x: all to the first pixel of a window that is its largest, to the last one if no other is."""
    *places, last = _places(x, axis, k, stride)
    pieces = []
    left: Any = None  # the windows whose largest pixel has not been met
    for at in places:
        met = x[at] == y
        pieces.append(_where(g, met if left is None else left & met))
        left = ~met if left is None else left & ~met
    pieces.append(g if left is None else _where(g, left))
    return apply(scattered, (np.zeros_like(x), [*places, last], *pieces))


_largest = rule(_largest_of, _to_largest)


def _largest_of_tiles(x: Array, sizes: Sequence[int] = ()) -> Array:
    for axis, k in reversed(list(enumerate(sizes, 1))):
        x = _largest_of(x, axis, k, k)
    return x


def _to_largest_of_tiles(g: Array, y: Array, x: Array, sizes: Sequence[int] = ()) -> Array:
    """The same for windows side by side that cover x, without a look at where a pixel is: that compiles to vectors.

    And to few loops, since all axes are worked through at once. With NumPy the slices above are faster.
    """
    inside = tuple(range(2, 2 * len(sizes) + 1, 2))
    split = [n for pair in zip(y.shape[1:-1], sizes) for n in pair]
    tiles = x.reshape(len(x), *split, x.shape[-1])
    met = tiles == np.expand_dims(y, inside)
    *others, last = enumerate(np.ndindex(*sizes))
    first: Any = x.dtype.type(last[0])  # the place of the first pixel that is the largest
    for i, at in reversed(others):
        pixel = met[(slice(None), *itertools.chain(*((slice(None), j) for j in at)))]
        first = np.where(pixel, x.dtype.type(i), first)
    places = counted(plain(x), math.prod(sizes)).reshape([n for k in sizes for n in (k, 1)])
    return _where(np.expand_dims(g, inside), places == np.expand_dims(first, inside)).reshape(x.shape)


_largest_tile = rule(_largest_of_tiles, _to_largest_of_tiles)


# g where a condition holds, and 0 elsewhere; with NumPy a product is many times faster than np.where.
def _masked(g: Array, condition: Array) -> Array:
    return np.where(condition, g, 0) if isinstance(g, ArrayOperators) else g * condition  # type: ignore[call-overload]


_where: Any = rule(
    _masked,
    lambda d, y, g, condition: _where(d, condition),
    None,
)


def _sums(x: Array, window: Sequence[int], stride: Sequence[int]) -> Array:
    for axis, (k, s) in enumerate(zip(window, stride), 1):
        first, *others = _places(x, axis, k, s)
        y = x[first]
        for at in others:
            y = y + x[at]
        x = y
    return x


# Dtypes.


def _least(dtype: np.dtype[Any]) -> float:
    """The least number of a dtype."""
    if dtype.kind == "b":
        return False
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _widened(x: Array) -> Array:
    """An array in the dtype in which `np.mean` adds up: sums of bytes or of float16 would overflow in their own."""
    if x.dtype.kind in "biu":
        return x.astype(np.float64)
    return x.astype(np.float32) if x.dtype == np.float16 else x


def _narrowed(mean: Array, x: Array) -> Array:
    return mean.astype(np.float16) if x.dtype == np.float16 else mean


# Arguments.


def _space(owner: str, x: Array) -> int:
    """How many axes of space images have."""
    if not is_array(x):
        raise not_an_array(owner, x)
    if not 3 <= x.ndim <= 5:
        raise ValueError(
            f"{owner}: expected images (N, *space, C) with one to three axes of space, got shape {x.shape}. "
            "For one image without N give x[None], for one channel x[..., None]."
        )
    return int(x.ndim - 2)


def _axes_of_space(owner: str, x: Array) -> tuple[int, ...]:
    axes = tuple(range(1, 1 + _space(owner, x)))
    if not all(x.shape[axis] for axis in axes):
        raise ValueError(f"{owner}: expected images of at least one pixel, got shape {x.shape}.")
    return axes


def _windows(
    owner: str, x: Array, window: Any, stride: Any, pad: Any
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Window, stride and margins, checked, for each axis of space."""
    d = _space(owner, x)
    space = x.shape[1:-1]
    sizes = for_each_axis(owner, "window", window, d, 1)
    steps = sizes if stride is None else for_each_axis(owner, "stride", stride, d, 1)
    around = margins(owner, pad, space, sizes, steps, (1,) * d)
    if any(max(side) >= k for side, k in zip(around, sizes)):
        raise ValueError(f"{owner}: expected pad below the window {sizes}, or no pixel would be in some: got {pad!r}.")
    if any(n + sum(side) < k for n, side, k in zip(space, around, sizes)):
        raise ValueError(
            f"{owner}: expected images at least as large as the window {sizes}, got shape {x.shape}. Take a smaller "
            "window, or pad='same'."
        )
    return sizes, steps, around


def _padded(x: Array, around: Sequence[tuple[int, int]], value: float) -> Array:
    return np.pad(x, ((0, 0), *around, (0, 0)), constant_values=value) if any(map(any, around)) else x
