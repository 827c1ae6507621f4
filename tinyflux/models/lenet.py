"""LeNet-5."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..checks import check_integer, is_integer, shown
from ..nn import Chain, Conv, Dense, MaxPool, flatten, relu
from .parts import check_arguments


def lenet5(classes: int = 10, *, shape: Sequence[int] = (28, 28, 1), rng: np.random.Generator | None = None) -> Chain:
    """LeNet-5 (LeCun et al. 1998) as it is written today: relu for tanh, largest numbers for means, all maps connected.

    Arguments:
        classes: how many numbers come out for an image, scores without softmax.
        shape: that of an image, (H, W, C).
        rng: a NumPy generator; by default the one that `flux.seed` restarts.

    Returns: a Chain. Weights are `flux.glorot_uniform`'s, biases 0.

    Errors: TypeError for a shape of something else than three integers; ValueError for images below 16 pixels.

    >>> import tinyflux as flux
    >>> flux.models.lenet5()
    Chain(
      Conv((5, 5), 1, 6, relu),             # 156 parameters
      MaxPool((2, 2)),
      Conv((5, 5), 6, 16, relu),            # 2,416 parameters
      MaxPool((2, 2)),
      flatten,
      Dense(256, 120, relu),                # 30,840 parameters
      Dense(120, 84, relu),                 # 10,164 parameters
      Dense(84, 10),                        # 850 parameters
    )                                       # 44,426 parameters in all
    """
    check_arguments("lenet5", classes, rng)
    if not isinstance(shape, (tuple, list)) or len(shape) != 3 or not all(map(is_integer, shape)):
        raise TypeError(f"lenet5: expected shape to be three integers, (H, W, C), got {shown(shape)}.")
    height, width, channels = shape
    check_integer("lenet5", "the height and width of shape", min(height, width), 16)
    left = [((n - 4) // 2 - 4) // 2 for n in (height, width)]
    return Chain(
        Conv((5, 5), channels, 6, relu, rng=rng),
        MaxPool((2, 2)),
        Conv((5, 5), 6, 16, relu, rng=rng),
        MaxPool((2, 2)),
        flatten,
        Dense(16 * left[0] * left[1], 120, relu, rng=rng),
        Dense(120, 84, relu, rng=rng),
        Dense(84, classes, rng=rng),
    )
