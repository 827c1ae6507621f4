"""Convolutions with filters of 3 × 3 by Winograd's algorithm, on the CPU: four products in the place of nine."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ....nn.convolution import Geometry
from ...ir import program
from ...ir.node import Node
from .shapes import view

CHANNELS = 16  # of images and of results, from which on it takes less time: sums don't outweigh products
MULTIPLICATIONS = 1 << 22  # of the convolution as it is defined; below, all that surrounds the products costs as much


def applies(x: Node, how: Geometry, window: Sequence[int], out: Sequence[int]) -> bool:
    """Whether a convolution of x, with results of shape (n, *space, channels), is calculated so."""
    channels = x.shape[-1]
    n, *space, filters = out
    if program.recording().gpu or x.dtype.kind != "f":
        return False
    if tuple(window) != (3, 3) or how.stride + how.dilation != (1, 1, 1, 1):
        return False
    products = 9 * math.prod(space)
    tiles = math.prod(-(-k // 2) for k in space)
    return (
        how.groups == 1
        and min(channels, filters) >= CHANNELS
        and n * products * channels * filters >= MULTIPLICATIONS
        and 3 * 16 * tiles <= 2 * products
    )


def convolve(images: Node, filters: Node, begin: tuple[int, int], space: Sequence[int]) -> Node:
    """The results, which begin `begin` above and left of the images."""
    top, left = (2 - k for k in begin)
    return spread(images, view(filters, lambda w: w[:, ::-1, ::-1].transpose(3, 1, 2, 0)), (top, left), space)


def spread(results: Node, filters: Node, begin: tuple[int, int], space: Sequence[int]) -> Node:
    """What comes to images of a shape: the convolution of what the results are multiplied by, with filters turned."""
    nout, _, _, channels = filters.shape
    parts = program.winograd("filters", [filters], (16, nout, _whole(channels)))
    top, left = (2 - k for k in begin)
    return program.winograd("convolve", [results, parts], (results.shape[0], *space, channels), top, left)


def correlate(images: Node, results: Node, begin: tuple[int, int]) -> Node:
    """What comes to the filters."""
    channels, nout = images.shape[-1], results.shape[-1]
    parts = program.winograd("correlate", [images, results], (16, nout, _whole(channels)), *begin)
    return program.winograd("gradient", [parts], (nout, 3, 3, channels))


def _whole(n: int) -> int:
    """So many columns, or a few more, that they fill whole vectors on any processor."""
    return -(-n // 16) * 16
