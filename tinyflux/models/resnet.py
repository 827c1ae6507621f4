"""Residual networks (He et al. 2016): those for ImageNet, as torchvision has them, and those for CIFAR."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..checks import check_integer
from ..nn import BatchNorm, Chain, Dense, GlobalMeanPool, MaxPool, Parallel, SkipConnection, flatten, relu
from ..types import Array
from .parts import add_relu, check_arguments, conv

Generator = np.random.Generator | None


def resnet18(classes: int = 1000, *, size: int = 224, rng: Generator = None) -> Chain:
    """ResNet-18: eight blocks of two convolutions, with 64 to 512 channels.

    Where a block changes the number of channels, a 1×1 convolution stands beside it (option B).

    Arguments:
        classes: how many numbers come out for an image, scores without softmax.
        size: 224 for a 7×7 convolution and pooling at the entry, which leave a quarter of 224 pixels; 32 for a 3×3
            convolution, which leaves all. Images (N, H, W, 3) of other sizes go through, too.
        rng: a NumPy generator; by default the one that `flux.seed` restarts.

    Returns: a Chain. Kernels are drawn from a normal distribution with deviation √(2 / fan_out) (He et al. 2015, the
    form that keeps the size of gradients), as in torchvision; the last weight is `flux.glorot_uniform`'s.

    Errors: ValueError for another size, or classes below 1.

    >>> import tinyflux as flux
    >>> model = flux.models.resnet18(classes=10, size=32)
    >>> flux.parameter_count(model)
    11173962
    >>> model[2][0]
    SkipConnection(
      Chain(
        Conv((3, 3), 64, 64, pad=1, bias=False),  # 36,864 parameters
        BatchNorm(64, relu),                      # 128 parameters
        Conv((3, 3), 64, 64, pad=1, bias=False),  # 36,864 parameters
        BatchNorm(64),                            # 128 parameters
      ),                                          # 73,984 parameters in all
      add_relu,
    )                                             # 73,984 parameters in all
    """
    return _for_imagenet("resnet18", (2, 2, 2, 2), classes, size, rng)


def resnet34(classes: int = 1000, *, size: int = 224, rng: Generator = None) -> Chain:
    """ResNet-34: sixteen blocks of two convolutions, with 64 to 512 channels.

    Arguments, returns and errors: as for `resnet18`.

    >>> import tinyflux as flux
    >>> [len(stage) for stage in flux.models.resnet34(size=32)[2:6]]
    [3, 4, 6, 3]
    """
    return _for_imagenet("resnet34", (3, 4, 6, 3), classes, size, rng)


def resnet20(classes: int = 10, *, size: int = 32, channels: int = 16, rng: Generator = None) -> Chain:
    """ResNet-20 for CIFAR's images of 32×32 pixels: nine blocks of two convolutions, with 16 to 64 channels.

    Where a block doubles the channels, every second pixel goes past it, with zeros for the new channels (option A, the
    paper's choice for CIFAR): a shortcut without parameters.

    Arguments, returns and errors: as for `resnet18`, and
        size: 224 for the entry of ResNet-18, with as many channels as the first blocks.
        channels: of the first blocks; the others have twice and four times as many. Fewer make it faster.

    >>> import tinyflux as flux
    >>> flux.parameter_count(flux.models.resnet20())
    269722
    """
    return _for_cifar("resnet20", 3, classes, size, channels, rng)


def resnet56(classes: int = 10, *, size: int = 32, channels: int = 16, rng: Generator = None) -> Chain:
    """ResNet-56 for CIFAR's images: 27 blocks of two convolutions, with 16 to 64 channels.

    Arguments, returns and errors: as for `resnet20`.

    >>> import tinyflux as flux
    >>> flux.parameter_count(flux.models.resnet56())
    853018
    """
    return _for_cifar("resnet56", 9, classes, size, channels, rng)


def _for_imagenet(name: str, blocks: Sequence[int], classes: int, size: int, rng: Generator) -> Chain:
    check_arguments(name, classes, rng, size)
    entry = _entry(64, size, rng)
    stages = _stages((64, 128, 256, 512), blocks, _projection, rng)
    return Chain(*entry, *stages, GlobalMeanPool(), flatten, Dense(512, classes, rng=rng))


def _for_cifar(name: str, blocks: int, classes: int, size: int, channels: int, rng: Generator) -> Chain:
    check_arguments(name, classes, rng, size)
    check_integer(name, "channels", channels, 1)
    entry = _entry(channels, size, rng)
    stages = _stages((channels, 2 * channels, 4 * channels), [blocks] * 3, _subsampling, rng)
    return Chain(*entry, *stages, GlobalMeanPool(), flatten, Dense(4 * channels, classes, rng=rng))


def _entry(channels: int, size: int, rng: Generator) -> list[Callable[..., Any]]:
    if size == 224:
        return [conv(7, 3, channels, 2, rng), BatchNorm(channels, relu), MaxPool((3, 3), stride=2, pad=1)]
    return [conv(3, 3, channels, 1, rng), BatchNorm(channels, relu)]


def _stages(
    channels: Sequence[int], blocks: Sequence[int], shortcut: Callable[..., Any], rng: Generator
) -> list[Chain]:
    """A chain of blocks for each number of channels; the first block of all but the first one halves the images."""
    stages, nin = [], channels[0]
    for nout, count in zip(channels, blocks):
        first = _block(nin, nout, shortcut, rng)
        stages.append(Chain(first, *[_block(nout, nout, shortcut, rng) for _ in range(count - 1)]))
        nin = nout
    return stages


def _block(nin: int, nout: int, shortcut: Callable[..., Any], rng: Generator) -> SkipConnection | Parallel:
    stride = 1 if nin == nout else 2
    branch = Chain(conv(3, nin, nout, stride, rng), BatchNorm(nout, relu), conv(3, nout, nout, 1, rng), BatchNorm(nout))
    if nin == nout:
        return SkipConnection(branch, add_relu)
    return Parallel(add_relu, branch, shortcut(nin, nout, rng))


def _projection(nin: int, nout: int, rng: Generator) -> Chain:
    """Option B: a 1×1 convolution."""
    return Chain(conv(1, nin, nout, 2, rng), BatchNorm(nout))


def _subsampling(nin: int, nout: int, rng: Generator) -> Callable[[Array], Array]:
    """Option A: a function without parameters."""
    return functools.partial(subsample, channels=nout)


def subsample(x: Array, channels: int) -> Array:
    """Every second pixel along both axes of images (N, H, W, C), with zeros for the channels that they lack."""
    return np.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])))
