"""VGG's networks (Simonyan and Zisserman 2015), with BatchNorm."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays import default_rng
from ..nn import BatchNorm, Chain, Conv, Dense, Dropout, MaxPool, flatten, kaiming_normal, relu
from ..types import Array
from .parts import check_arguments, fan_out_normal


def vgg11(classes: int = 1000, *, size: int = 224, rng: np.random.Generator | None = None) -> Chain:
    """VGG-11 (the paper's A) with BatchNorm: eight convolutions of 3×3, with 64 to 512 channels, and three Dense.

    Arguments:
        classes: how many numbers come out for an image, scores without softmax.
        size: that of the images, (N, size, size, 3): 224, or 32 for a network with one Dense in the place of three.
        rng: a NumPy generator; by default the one that `flux.seed` restarts.

    Returns: a Chain. As in torchvision, kernels are drawn from a normal distribution with deviation √(2 / fan_out) (He
    et al. 2015), weights of Dense from one with 0.01; biases are 0.

    Errors: ValueError for another size, or classes below 1.

    >>> import tinyflux as flux
    >>> flux.parameter_count(flux.models.vgg11(classes=10, size=32))
    9231114
    """
    return _vgg("vgg11", (1, 1, 2, 2, 2), classes, size, rng)


def vgg16(classes: int = 1000, *, size: int = 224, rng: np.random.Generator | None = None) -> Chain:
    """VGG-16 (the paper's D) with BatchNorm: thirteen convolutions of 3×3, with 64 to 512 channels, and three Dense.

    Arguments, returns and errors: as for `vgg11`.

    >>> import tinyflux as flux
    >>> flux.parameter_count(flux.models.vgg16(classes=10, size=32))
    14728266
    """
    return _vgg("vgg16", (2, 2, 3, 3, 3), classes, size, rng)


def _vgg(name: str, counts: Sequence[int], classes: int, size: int, rng: np.random.Generator | None) -> Chain:
    check_arguments(name, classes, rng, size)
    layers: list[Callable[..., Any]] = []
    nin = 3
    for nout, count in zip((64, 128, 256, 512, 512), counts):
        for _ in range(count):
            layers += [Conv((3, 3), nin, nout, pad=1, init=fan_out_normal, rng=rng), BatchNorm(nout, relu)]
            nin = nout
        layers.append(MaxPool((2, 2)))
    layers.append(flatten)
    left = 512 * (size // 32) ** 2
    if size == 224:
        for nin in (left, 4096):
            layers += [Dense(nin, 4096, relu, init=_small_normal, rng=rng), Dropout(0.5, seed=_key(rng))]
        left = 4096
    return Chain(*layers, Dense(left, classes, init=_small_normal, rng=rng))


def _small_normal(shape: tuple[int, ...], rng: np.random.Generator | None) -> Array:
    return kaiming_normal(shape, rng, gain=0.01 * math.sqrt(shape[1]))


def _key(rng: np.random.Generator | None) -> int:
    return int((rng or default_rng()).integers(2**64, dtype=np.uint64))
