"""Dense, the fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays import is_array
from ...autodiff.rule import rule
from ...autodiff.rules.products import product
from ...checks import check_flag, check_function, check_generator, check_integer, not_an_array, shown
from ...types import Array
from ..activations import identity
from ..initialisers import glorot_uniform, zeros
from .show import Layer, as_code, attributes


def _affine(x: Array, weight: Array, bias: Array | None) -> Array:
    y = product(x, weight.T)
    return y if bias is None else y + bias


def _to_weight(g: Array, y: Array, x: Array, weight: Array, bias: Array | None) -> Array:
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

    Errors: ValueError where the last axis of x is not of length nin, TypeError for something else than an array; for
    sizes below 1, and for arguments of another kind.

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
        check_integer("Dense", "nin", nin, 1)
        check_integer("Dense", "nout", nout, 1)
        check_options("Dense", activation, init, bias, rng)
        self.weight = initial("Dense", init, (int(nout), int(nin)), rng)
        self.bias = zeros((nout,)) if bias else None
        self.activation = activation

    def __call__(self, x: Array) -> Array:
        weight = self.weight
        if not is_array(x):
            raise not_an_array(as_code(self), x)
        if x.shape[-1:] != weight.shape[1:]:
            raise WrongInput(self, x.shape)
        try:
            y = affine(x, weight, self.bias)
        except (TypeError, ValueError) as error:
            if x.dtype.kind in "OSUV":
                raise TypeError(f"{as_code(self)}: expected an array of numbers, got one of {x.dtype}.") from error
            raise
        return self.activation(y)

    def _parts(self) -> list[Any]:
        whole = is_array(self.weight) and self.weight.ndim == 2 and (self.bias is None or is_array(self.bias))
        if not whole:
            return attributes(self)
        nout, nin = self.weight.shape
        parts = [str(nin), str(nout)]
        if self.activation is not identity:
            parts.append(as_code(self.activation))
        return parts if self.bias is not None else [*parts, "bias=False"]


class WrongInput(ValueError):
    """An input that a layer isn't built for.

    Attributes:
        layer: the layer.
        found: the message without the fix, for a Chain that knows a better one.
    """

    def __init__(self, layer: Dense, shape: tuple[int, ...]) -> None:
        nout, nin = layer.weight.shape
        self.layer = layer
        self.found = f"{as_code(layer)}: expected an input of shape (..., {nin}), got shape {shape}."
        self.built_for = f"Dense({shape[-1] if shape else 1}, {nout})"
        super().__init__(f"{self.found} {self._fix(shape, nin)}")

    def _fix(self, shape: tuple[int, ...], nin: int) -> str:
        if len(shape) > 2 and math.prod(shape[1:]) == nin:
            return "Flatten the samples first: flux.flatten(x), or flux.flatten as the first layer of the Chain."
        if len(shape) > 1 and math.prod(shape) == nin:
            return f"Flatten the sample first: x.reshape(1, {nin})."
        if len(shape) == 2 and shape[0] == nin:
            return f"Samples are rows here: give x.T if yours are columns, or build the layer for it: {self.built_for}."
        return f"Reshape the input, or build the layer for it: {self.built_for}."


def check_options(owner: str, activation: Any, init: Any, bias: Any, rng: Any) -> None:
    """Refuse what these arguments of a layer with a weight can't be."""
    check_function(owner, "activation", activation)
    check_function(owner, "init", init, "a function of a shape and a generator")
    check_flag(owner, "bias", bias)
    check_generator(owner, rng)


def initial(owner: str, init: Callable[..., Any], shape: tuple[int, ...], rng: np.random.Generator | None) -> Any:
    """The weight that `init` makes, if it is one."""
    try:
        weight = init(shape, rng)
    except TypeError as error:
        raise TypeError(f"{owner}: init is called as init({shape}, rng), which failed: {error}.") from error
    if not is_array(weight) or weight.shape != shape or weight.dtype.kind != "f":
        got = f"{shown(weight)}, {weight.dtype}" if is_array(weight) else shown(weight)
        raise ValueError(f"{owner}: expected init to make a floating-point array of shape {shape}, got {got}.")
    return weight
