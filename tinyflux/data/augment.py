"""Batches of images made ready for training: cropped, flipped and masked at random, and normalised.

Each function takes a whole batch, (N, H, W, channels), and returns a new one; those that draw take a generator, and
draw for each image. Written into a function of a batch and a generator, they are the `transform` of a DataLoader.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from ..arrays import is_array
from ..checks import check_integer, check_number, shown
from ..types import Array


def random_crop(images: Array, rng: np.random.Generator, padding: int = 4) -> Array:
    """Images of the same size, cut out of a frame of zeros at a place that is drawn for each.

    Every shift by at most `padding` pixels, down or up and right or left, is equally likely.

    Arguments:
        images: (N, H, W, channels), of any dtype.
        rng: what draws the shifts.
        padding: how wide the frame is on each side, at least 1.

    Returns: an array like `images`.

    Errors: TypeError and ValueError for arguments of a wrong type or value.

    >>> import numpy as np, tinyflux as flux
    >>> images = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1)
    >>> flux.data.random_crop(images, np.random.default_rng(4), padding=1)[0, :, :, 0]
    array([[5, 6, 0],
           [8, 9, 0],
           [0, 0, 0]], dtype=uint8)
    """
    _check_images("random_crop", images)
    _check_generator("random_crop", rng)
    check_integer("random_crop", "padding", padding, 1)
    n, height, width, channels = images.shape
    inside = slice(padding, padding + height), slice(padding, padding + width)
    framed = np.zeros((n, height + 2 * padding, width + 2 * padding, channels), images.dtype, like=images)
    framed[:, *inside] = images
    top, left = rng.integers(0, 2 * padding + 1, (2, n))
    # Pixels of a row side by side, so that whole rows are copied.
    rows = framed.reshape(n, height + 2 * padding, -1)
    windows = sliding_window_view(rows, (height, width * channels), (1, 2))
    places = [_there(x, images) for x in (np.arange(n), top, left * channels)]
    return windows[tuple(places)].reshape(images.shape)


def random_flip(images: Array, rng: np.random.Generator, p: float = 0.5) -> Array:
    """Images of which some, drawn one by one, are mirrored: left is right.

    Arguments:
        images: (N, H, W, channels), of any dtype.
        rng: what draws them.
        p: the probability of each to be mirrored, from 0 to 1.

    Returns: an array like `images`.

    Errors: TypeError and ValueError for arguments of a wrong type or value.

    >>> import numpy as np, tinyflux as flux
    >>> images = np.arange(6).reshape(1, 2, 3, 1)
    >>> flux.data.random_flip(images, np.random.default_rng(0), p=1)[0, :, :, 0]
    array([[2, 1, 0],
           [5, 4, 3]])
    """
    _check_images("random_flip", images)
    _check_generator("random_flip", rng)
    check_number("random_flip", "p", p, "a number from 0 to 1", lambda p: 0 <= p <= 1)
    n, height, width, channels = images.shape
    chosen = _there(np.flatnonzero(rng.random(n) < p), images)
    # By numbers of columns and not by a slice, which would be twice as slow: it copies pixel by pixel.
    mirrored = np.arange(width * channels).reshape(width, channels)[::-1].ravel()
    rows = images.reshape(n, height, -1).copy()
    rows[chosen] = np.take(rows[chosen], _there(mirrored, images), axis=2)
    return rows.reshape(images.shape)


def cutout(images: Array, rng: np.random.Generator, size: int = 16) -> Array:
    """Images with a square of zeros, whose centre is drawn for each; what lies outside of the image is cut off.

    Of normalised images zero is the mean (DeVries and Taylor, 2017).

    Arguments:
        images: (N, H, W, channels), of any dtype.
        rng: what draws the centres, every pixel with equal probability.
        size: the side of the square in pixels, at least 1.

    Returns: an array like `images`.

    Errors: TypeError and ValueError for arguments of a wrong type or value.

    >>> import numpy as np, tinyflux as flux
    >>> flux.data.cutout(np.ones((1, 3, 4, 1)), np.random.default_rng(1), size=2)[0, :, :, 0]
    array([[1., 0., 0., 1.],
           [1., 0., 0., 1.],
           [1., 1., 1., 1.]])
    """
    _check_images("cutout", images)
    _check_generator("cutout", rng)
    check_integer("cutout", "size", size, 1)
    n, height, width, channels = images.shape
    top, left = (rng.integers(0, length, (n, 1)) - size // 2 for length in (height, width))
    row, column = np.arange(height), np.arange(width * channels) // channels
    rows, columns = (top <= row) & (row < top + size), (left <= column) & (column < left + size)
    result = images.reshape(n, height, -1).copy()
    result[_there(rows[:, :, None] & columns[:, None, :], images)] = 0
    return result.reshape(images.shape)


def normalise(images: Array, mean: ArrayLike, std: ArrayLike) -> Array:
    """(images − mean) / std, channel by channel.

    Arguments:
        images: (N, H, W, channels); bytes, say.
        mean, std: of each channel, (channels,), in the units of the images: from 0 to 255 for bytes.

    Returns: float32, of the same shape.

    Errors: TypeError and ValueError for arguments of a wrong type or value.

    >>> import numpy as np, tinyflux as flux
    >>> images = np.uint8([[[[0, 100, 255]]]])
    >>> flux.data.normalise(images, mean=(50, 100, 155), std=(50, 50, 100))
    array([[[[-1.,  0.,  1.]]]], dtype=float32)
    """
    _check_images("normalise", images)
    n, height, width, channels = images.shape
    # Repeated for every pixel of an image, because NumPy is slow at short last axes.
    shift, scale = (
        _there(np.tile(_per_channel(name, x, channels), height * width), images)
        for name, x in (("mean", mean), ("std", std))
    )
    result = np.subtract(images.reshape(n, -1), shift, dtype=np.float32)
    result /= scale
    return result.reshape(images.shape)


def _there(x: Any, images: Array) -> Array:
    """A NumPy array where the images lie."""
    return np.asarray(x, like=images)


def _per_channel(name: str, x: ArrayLike, channels: int) -> Array:
    values = np.asarray(x, np.float32)
    if values.shape != (channels,):
        raise ValueError(f"normalise: expected {name} to be {channels} numbers, one a channel, got {shown(x)}.")
    if not np.isfinite(values).all() or (name == "std" and not (values > 0).all()):
        above = " above 0" if name == "std" else ""
        raise ValueError(f"normalise: expected {name} to be finite numbers{above}, got {shown(x)}.")
    return values


def _check_images(owner: str, images: Any) -> None:
    if not is_array(images) or images.ndim != 4:
        got = f"an array of shape {images.shape}" if is_array(images) else shown(images)
        fix = " Add the axis of channels: images[..., np.newaxis]." if is_array(images) and images.ndim == 3 else ""
        raise ValueError(f"{owner}: expected images (N, H, W, channels), got {got}.{fix}")


def _check_generator(owner: str, rng: Any) -> None:
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"{owner}: expected rng to be a numpy.random.Generator, got {shown(rng)}. A DataLoader gives one to its "
            "transform, as the second argument."
        )
