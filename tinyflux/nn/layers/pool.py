"""Layers of pooling, and of larger images: each calls a function of the same name."""

from __future__ import annotations

from typing import Any

from ...checks import check_flag, check_integer, is_integer, shown
from ...types import Array
from ..pooling import (
    adaptive_meanpool,
    global_maxpool,
    global_meanpool,
    maxpool,
    meanpool,
    pixel_shuffle,
    upsample,
)
from ..windows import for_each_axis, margins
from .show import Layer, as_code


class _Pool(Layer):
    """A pool of windows."""

    def __init__(self, window: Any, stride: Any = None, pad: Any = 0) -> None:
        name = type(self).__name__
        _check_sizes(name, "window", window)
        if stride is not None:
            _check_sizes(name, "stride", stride)
        if isinstance(window, (tuple, list)):
            steps = for_each_axis(name, "stride", 1 if stride is None else stride, len(window), 1)
            margins(name, pad, window, window, steps, (1,) * len(window))
        self.window, self.stride, self.pad = window, stride, pad


class MaxPool(_Pool):
    """The largest number of every window: a layer that calls `flux.maxpool`.

    Arguments:
        window, stride, pad: as for `flux.maxpool`.

    Attributes: `window`, `stride`, `pad`.

    Returns, called with x (N, *space, C): an array (N, *out, C).

    Errors: ValueError for sizes below 1 and a negative pad; called, those of `flux.maxpool`.

    >>> import numpy as np, tinyflux as flux
    >>> layer = flux.MaxPool((2, 2))
    >>> layer
    MaxPool((2, 2))
    >>> layer(np.ones((5, 28, 28, 8), np.float32)).shape
    (5, 14, 14, 8)
    """

    def __call__(self, x: Array) -> Array:
        return maxpool(x, self.window, self.stride, self.pad, owner=as_code(self))


class MeanPool(_Pool):
    """The mean of every window: a layer that calls `flux.meanpool`.

    Arguments:
        window, stride, pad, count_pad: as for `flux.meanpool`.

    Attributes: `window`, `stride`, `pad`, `count_pad`.

    Returns, called with x (N, *space, C): an array (N, *out, C).

    Errors: ValueError for sizes below 1 and a negative pad; called, those of `flux.meanpool`.

    >>> import numpy as np, tinyflux as flux
    >>> flux.MeanPool(2, stride=1)(np.array([1.0, 3, 5]).reshape(1, 3, 1)).ravel()
    array([2., 4.])
    """

    def __init__(self, window: Any, stride: Any = None, pad: Any = 0, *, count_pad: bool = True) -> None:
        super().__init__(window, stride, pad)
        check_flag("MeanPool", "count_pad", count_pad)
        self.count_pad = count_pad

    def __call__(self, x: Array) -> Array:
        return meanpool(x, self.window, self.stride, self.pad, count_pad=self.count_pad, owner=as_code(self))


class AdaptiveMeanPool(Layer):
    """The means of as many windows as are asked for: a layer that calls `flux.adaptive_meanpool`.

    Arguments:
        size: as for `flux.adaptive_meanpool`.

    Attributes: `size`.

    Returns, called with x (N, *space, C): an array (N, *size, C).

    Errors: ValueError for a size below 1; called, those of `flux.adaptive_meanpool`.

    >>> import numpy as np, tinyflux as flux
    >>> flux.AdaptiveMeanPool((7, 7))(np.ones((5, 14, 21, 8))).shape
    (5, 7, 7, 8)
    """

    def __init__(self, size: Any) -> None:
        _check_sizes("AdaptiveMeanPool", "size", size)
        self.size = size

    def __call__(self, x: Array) -> Array:
        return adaptive_meanpool(x, self.size, owner=as_code(self))


class GlobalMaxPool(Layer):
    """The largest number of every image, for each channel: a layer that calls `flux.global_maxpool`.

    Returns, called with x (N, *space, C): an array (N, 1, …, C).

    Errors: those of `flux.global_maxpool`.

    >>> import numpy as np, tinyflux as flux
    >>> flux.GlobalMaxPool()(np.ones((5, 7, 7, 8))).shape
    (5, 1, 1, 8)
    """

    def __call__(self, x: Array) -> Array:
        return global_maxpool(x, owner=as_code(self))


class GlobalMeanPool(Layer):
    """The mean of every image, for each channel: a layer that calls `flux.global_meanpool`.

    Returns, called with x (N, *space, C): an array (N, 1, …, C).

    Errors: those of `flux.global_meanpool`.

    >>> import numpy as np, tinyflux as flux
    >>> flux.Chain(flux.GlobalMeanPool(), flux.flatten)(np.ones((5, 7, 7, 8))).shape
    (5, 8)
    """

    def __call__(self, x: Array) -> Array:
        return global_meanpool(x, owner=as_code(self))


class Upsample(Layer):
    """Larger images: a layer that calls `flux.upsample`.

    Arguments:
        scale, mode, align_corners: as for `flux.upsample`.

    Attributes: `scale`, `mode`, `align_corners`.

    Returns, called with x (N, *space, C): an array (N, *(scale · space), C).

    Errors: ValueError for another scale or mode; called, those of `flux.upsample`.

    >>> import numpy as np, tinyflux as flux
    >>> layer = flux.Upsample(2, "bilinear")
    >>> layer, layer(np.ones((5, 7, 7, 8))).shape
    (Upsample(2, 'bilinear'), (5, 14, 14, 8))
    """

    def __init__(self, scale: Any, mode: str = "nearest", *, align_corners: bool = True) -> None:
        _check_sizes("Upsample", "scale", scale)
        check_flag("Upsample", "align_corners", align_corners)
        if mode not in ("nearest", "bilinear"):
            raise ValueError(f"Upsample: expected mode to be 'nearest' or 'bilinear', got {shown(mode)}.")
        self.scale, self.mode, self.align_corners = scale, mode, align_corners

    def __call__(self, x: Array) -> Array:
        return upsample(x, self.scale, self.mode, align_corners=self.align_corners, owner=as_code(self))

    def _parts(self) -> list[Any]:
        parts = [str(self.scale)] + ([repr(self.mode)] if self.mode != "nearest" else [])
        return parts if self.align_corners else [*parts, "align_corners=False"]


class PixelShuffle(Layer):
    """Larger images of fewer channels: a layer that calls `flux.pixel_shuffle`.

    Arguments:
        r: as for `flux.pixel_shuffle`.

    Attributes: `r`.

    Returns, called with x (N, *space, C·rᵈ), d axes of space: an array (N, *(r · space), C).

    Errors: ValueError for an r below 1, TypeError for no integer; called, those of `flux.pixel_shuffle`.

    >>> import numpy as np, tinyflux as flux
    >>> flux.PixelShuffle(2)(np.ones((5, 7, 7, 8))).shape
    (5, 14, 14, 2)
    """

    def __init__(self, r: int) -> None:
        check_integer("PixelShuffle", "r", r, 1)
        self.r = r

    def __call__(self, x: Array) -> Array:
        return pixel_shuffle(x, self.r, owner=as_code(self))


def _check_sizes(owner: str, name: str, x: Any) -> None:
    """ValueError for anything but an integer from 1 on, or a tuple of one to three of them."""
    sizes = x if isinstance(x, (tuple, list)) else (x,)
    if not 1 <= len(sizes) <= 3 or not all(is_integer(n) and n >= 1 for n in sizes):
        raise ValueError(
            f"{owner}: expected {name} to be an integer, at least 1, or a tuple of one to three of them, got "
            f"{shown(x)}."
        )
