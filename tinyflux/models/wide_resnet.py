"""Wide residual networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..checks import check_integer
from ..nn import BatchNorm, Chain, Dense, GlobalMeanPool, MaxPool, Parallel, SkipConnection, flatten, relu
from .parts import check_arguments, conv


def wide_resnet(
    depth: int, width: int, classes: int = 10, *, size: int = 32, rng: np.random.Generator | None = None
) -> Chain:
    """WRN-depth-width for CIFAR's images of 32×32 pixels (Zagoruyko and Komodakis 2016): ResNets with more channels.

    Its (depth − 4) / 2 blocks of two convolutions have 16, 32 and 64 channels, times the width. BatchNorm and relu
    stand before each convolution. Where a block changes the number of channels, a 1×1 convolution stands beside it.

    Arguments:
        depth: the number of convolutions with those of the shortcuts, 6n + 4.
        width: the factor k.
        classes, rng: as for `flux.models.resnet18`.
        size: 32 for a 3×3 convolution at the entry; 224 for a 7×7 convolution and pooling, which leave a quarter of 224
            pixels. Images (N, H, W, 3) of other sizes go through, too.

    Returns: a Chain, with initial values as in `flux.models.resnet18`.

    Errors: ValueError for another depth or size, and a width or classes below 1.

    >>> import tinyflux as flux
    >>> flux.parameter_count(flux.models.wide_resnet(16, 4))
    2748890
    """
    check_arguments("wide_resnet", classes, rng, size)
    check_integer("wide_resnet", "depth", depth, 10)
    check_integer("wide_resnet", "width", width, 1)
    if depth % 6 != 4:
        raise ValueError(f"wide_resnet: expected a depth of 6n + 4, such as 16, 22, 28 or 40, got {depth}.")
    stages, nin = [], 16
    entry: list[Callable[..., Any]] = [conv(3, 3, 16, 1, rng)]
    if size == 224:
        entry = [conv(7, 3, 16, 2, rng), MaxPool((3, 3), stride=2, pad=1)]
    for stride, nout in ((1, 16 * width), (2, 32 * width), (2, 64 * width)):
        first = _block(nin, nout, stride, rng)
        stages.append(Chain(first, *[_block(nout, nout, 1, rng) for _ in range((depth - 4) // 6 - 1)]))
        nin = nout
    return Chain(*entry, *stages, BatchNorm(nin, relu), GlobalMeanPool(), flatten, Dense(nin, classes, rng=rng))


def _block(nin: int, nout: int, stride: int, rng: np.random.Generator | None) -> Chain | SkipConnection:
    convolutions = Chain(conv(3, nin, nout, stride, rng), BatchNorm(nout, relu), conv(3, nout, nout, 1, rng))
    if nin == nout:
        return SkipConnection(Chain(BatchNorm(nin, relu), *convolutions), np.add)
    return Chain(BatchNorm(nin, relu), Parallel(np.add, convolutions, conv(1, nin, nout, stride, rng)))
