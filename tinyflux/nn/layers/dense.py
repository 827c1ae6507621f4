"""Dense, the fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...autodiff.rule import rule
from ...autodiff.rules.products import product
from ..activations import identity
from ..initialisers import glorot_uniform, zeros
from .show import Layer, written


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    y = product(x, weight.T)
    return y if bias is None else y + bias


def _to_weight(g: Any, y: Any, x: Any, weight: Any, bias: Any) -> Any:
    if x.ndim != 2:
        g, x = g.reshape(-1, weight.shape[0]), x.reshape(-1, weight.shape[1])
    return product(g.T, x)


affine = rule(
    _affine,
    lambda g, y, x, weight, bias: product(g, weight),
    _to_weight,
    lambda g, y, x, weight, bias: g,
    rows=(0,),
)


class Dense(Layer):
    """The fully connected layer, y = σ(x·Wᵀ + b).

    Arguments:
        nin, nout: how many numbers a sample has, going in and coming out.
        activation: σ, a function of an array.
        init: `init(shape, rng)` makes the weight; see `flux.glorot_uniform`.
        bias: False for a layer without b.
        rng: a NumPy generator; by default the one that `flux.seed` restarts.

    Attributes: `weight`, float32 (nout, nin); `bias`, float32 (nout,), zero at first, or None; `activation`.

    Returns, called with x (…, nin): an array (…, nout). All axes but the last are axes of a batch.

    Errors: ValueError where the last axis of x is not of length nin.

    >>> import numpy as np, tinyflux as flux
    >>> layer = flux.Dense(3, 2, flux.relu)
    >>> layer
    Dense(3, 2, relu)                       # 8 parameters
    >>> layer(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self,
        nin: int,
        nout: int,
        activation: Callable[[Any], Any] = identity,
        *,
        init: Callable[..., Any] = glorot_uniform,
        bias: bool = True,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.weight = init((nout, nin), rng)
        self.bias = zeros((nout,)) if bias else None
        self.activation = activation

    def __call__(self, x: Any) -> Any:
        weight = self.weight
        if x.shape[-1:] != weight.shape[1:]:
            raise ValueError(_wrong_input(self, x.shape))
        return self.activation(affine(x, weight, self.bias))

    def _parts(self) -> list[Any]:
        if self.weight is None:  # a gradient that nothing flowed to
            return ["weight=None"]
        nout, nin = self.weight.shape
        parts = [str(nin), str(nout)]
        if self.activation is not identity:
            parts.append(written(self.activation))
        return parts if self.bias is not None else [*parts, "bias=False"]


def _wrong_input(layer: Dense, shape: tuple[int, ...]) -> str:
    nin = layer.weight.shape[1]
    fix = f"Reshape the input, or build the layer for it: Dense({shape[-1] if shape else 1}, {layer.weight.shape[0]})."
    if len(shape) > 2 and math.prod(shape[1:]) == nin:
        fix = "Flatten the samples first: flux.flatten(x), or flux.flatten as the first layer of the Chain."
    elif len(shape) > 1 and math.prod(shape) == nin:
        fix = f"Flatten the sample first: x.reshape(1, {nin})."
    elif len(shape) == 2 and shape[0] == nin:
        fix = "Samples are rows here: give x.T."
    return f"{written(layer)}: expected an input of shape (..., {nin}), got shape {shape}. {fix}"
