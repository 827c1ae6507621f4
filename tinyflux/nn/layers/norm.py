"""Layers that normalise: to mean 0 and variance 1, for each channel, each sample, or each group of channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays import is_array
from ...autodiff.operators import ArrayOperators
from ...autodiff.scan import differs_by_step
from ...autodiff.tape import plain
from ...checks import check_flag, check_function, check_integer, check_number, not_an_array
from ...errors import NotCompilable
from ...types import Array
from ..activations import identity
from ..initialisers import ones, zeros
from ..normalisation import moments, normalised
from .modes import is_training
from .show import Layer, as_code

Function = Callable[[Any], Any]


class _Norm(Layer):
    """What layers that normalise have in common: weight and bias, or neither, and a function at the end."""

    def __init__(self, shape: tuple[int, ...], activation: Function, epsilon: float, affine: bool) -> None:
        name = type(self).__name__
        check_function(name, "activation", activation)
        check_number(name, "epsilon", epsilon, "a number above 0", lambda x: x > 0)
        check_flag(name, "affine", affine)
        self.weight = ones(shape) if affine else None
        self.bias = zeros(shape) if affine else None
        self.activation = activation
        self.epsilon = float(epsilon)
        self.affine = bool(affine)

    def _check(self, x: Array, shape: tuple[int, ...], space: tuple[int, int] | None) -> None:
        """Refuse what is no array, has other last axes than `shape`, or other numbers of axes of space than these."""
        if not is_array(x):
            raise not_an_array(as_code(self), x)
        fits = space is None or space[0] <= x.ndim - 2 <= space[1]
        if fits and x.ndim >= len(shape) and x.shape[x.ndim - len(shape) :] == shape:
            return
        leading = "..." if space is None else "N, *space"
        fix = "Reshape the input, or build the layer for it."
        if len(shape) == 1 and x.ndim > 2 and x.shape[1:2] == shape:
            fix = "Channels come last here: give np.moveaxis(x, 1, -1)."
        elif space is not None and not fits:
            fix = f"It takes a batch, with {space[0]} to {space[1]} axes of space."
        raise ValueError(
            f"{as_code(self)}: expected an input of shape ({leading}, {', '.join(map(str, shape))}), got shape "
            f"{x.shape}. {fix}"
        )

    def _affine(self, x: Array) -> Array:
        return x if self.weight is None or self.bias is None else x * self.weight + self.bias


class BatchNorm(_Norm):
    """Normalise each channel over a batch: y = σ((x − μ) / √(v + ε) · w + b) (Ioffe and Szegedy 2015).

    In training μ and v are the mean and the variance of the batch, Σ (x − μ)² / m over the m numbers of a channel, and
    the layer moves its own towards them, where the variance is the unbiased one, as in Flux and PyTorch:

        running_mean ← (1 − momentum) · running_mean + momentum · μ
        running_var  ← (1 − momentum) · running_var  + momentum · v · m / (m − 1)

    In inference μ and v are the running numbers. `flux.is_training` says when a layer is in training. Give a Conv or
    Dense right before this layer bias=False: subtracting μ removes the bias again, and its gradient would be nothing
    but rounding errors. A layer without w and b may stand in several places of a model that is trained; otherwise give
    each place a layer of its own, where w and b may be another's.

    Arguments:
        channels: the length of the last axis.
        activation: σ, a function of an array.
        momentum: how much of a batch goes into the running numbers, from 0 to 1.
        epsilon: ε, above 0.
        affine: False for a layer without w and b.
        track: False for a layer without running numbers, which takes those of the batch in inference, too.

    Attributes: `weight` w and `bias` b, float32 (channels,), ones and zeros at first, or None; the buffers
    `running_mean` and `running_var`, float32 (channels,), zeros and ones at first, or None; `active`; `activation`,
    `momentum`, `epsilon`, `affine`, `track`.

    Returns, called with x (N, …, channels): an array like x.

    Errors: TypeError for something else than an array; ValueError for another number of channels, and in training for a
    batch with one number for each channel, whose variance says nothing.

    >>> import numpy as np, tinyflux as flux
    >>> layer = flux.BatchNorm(2, flux.relu)
    >>> layer
    BatchNorm(2, relu)                      # 4 parameters
    >>> x = np.array([[1.0, 5], [3, 5]], np.float32)
    >>> flux.withgradient(lambda m: (np.sum(m(x)), m(x)), layer)[0][1].round(3)
    array([[0., 0.],
           [1., 0.]], dtype=float32)
    >>> layer.running_mean.round(2)  # it was called twice
    array([0.38, 0.95], dtype=float32)
    """

    buffers = ("running_mean", "running_var")

    def __init__(
        self, channels: int, activation: Function = identity, *, momentum: float = 0.1, epsilon: float = 1e-5,
        track: bool = True, affine: bool = True,
    ) -> None:  # fmt: skip
        check_integer("BatchNorm", "channels", channels, 1)
        check_number("BatchNorm", "momentum", momentum, "a number from 0 to 1", lambda x: 0 <= x <= 1)
        check_flag("BatchNorm", "track", track)
        super().__init__((int(channels),), activation, epsilon, affine)
        self.channels, self.momentum, self.track = int(channels), float(momentum), bool(track)
        self.running_mean = zeros((self.channels,)) if track else None
        self.running_var = ones((self.channels,)) if track else None
        self.active: bool | None = None

    def __call__(self, x: Array) -> Array:
        self._check(x, (self.channels,), (0, 3))
        training = is_training(self)
        if not training and self.running_mean is not None and self.running_var is not None:
            gain = 1 / np.sqrt(self.running_var + self.epsilon)
            gain = gain if self.weight is None else gain * self.weight
            shift = -self.running_mean * gain
            return self.activation(x * gain + (shift if self.bias is None else shift + self.bias))
        count = x.size // self.channels
        if training and count < 2:
            raise ValueError(
                f"{as_code(self)}: expected at least two numbers for each channel in training, got shape {x.shape}. "
                "Give larger batches, or switch the layer to its running numbers by flux.testmode. "
                "DataLoader(…, partial=False) leaves out a smaller last batch."
            )
        axis = tuple(range(x.ndim - 1))
        mean, variance = moments(x, axis)
        if training and self.running_mean is not None and self.running_var is not None:
            differs_by_step()
            self.running_mean = self._moved(self.running_mean, mean)
            self.running_var = self._moved(self.running_var, variance * (count / (count - 1)))
        return self.activation(normalised(x, mean, variance, self.weight, self.bias, axis, self.epsilon))

    def _moved(self, running: Array, now: Array) -> Array:
        new = plain(now).reshape(running.shape)
        if isinstance(new, ArrayOperators) and not isinstance(running, ArrayOperators):
            raise NotCompilable(
                f"{as_code(self)} is no argument of the function that is being compiled, which would lose its running "
                "numbers. Take it from the model that flux.train or flux.compile_training is given, or keep to its "
                "running numbers by flux.testmode."
            )
        return ((1 - self.momentum) * running + self.momentum * new).astype(running.dtype)


class LayerNorm(_Norm):
    """Normalise each sample: y = σ((x − μ) / √(v + ε) · w + b), with the mean and variance of its last axes.

    v is the mean of (x − μ)². ε is added to it as in the article (Ba et al. 2016) and in PyTorch.

    Arguments:
        size: the lengths of the last axes, over which numbers are normalised.
        activation: σ, a function of an array.
        epsilon: ε, above 0.
        affine: False for a layer without w and b.

    Attributes: `weight` w and `bias` b, float32 of shape `size`, ones and zeros at first, or None; `size`, a tuple;
    `activation`, `epsilon`, `affine`.

    Returns, called with x (…, *size): an array like x.

    Errors: TypeError for something else than an array; ValueError for other last axes.

    >>> import numpy as np, tinyflux as flux
    >>> layer = flux.LayerNorm(2)
    >>> layer
    LayerNorm(2)                            # 4 parameters
    >>> layer(np.array([[1.0, 3], [5, -5]])).round(3)
    array([[-1.,  1.],
           [ 1., -1.]])
    """

    def __init__(self, *size: int, activation: Function = identity, epsilon: float = 1e-5, affine: bool = True) -> None:
        if not size:
            raise TypeError("LayerNorm: expected at least one size, as in LayerNorm(64).")
        for n in size:
            check_integer("LayerNorm", "size", n, 1)
        super().__init__(tuple(map(int, size)), activation, epsilon, affine)
        self.size = tuple(map(int, size))

    def __call__(self, x: Array) -> Array:
        self._check(x, self.size, None)
        axis = tuple(range(x.ndim - len(self.size), x.ndim))
        return self.activation(self._affine(normalised(x, *moments(x, axis), None, None, axis, self.epsilon)))


class GroupNorm(_Norm):
    """Normalise groups of channels for each sample: y = σ((x − μ) / √(v + ε) · w + b) (Wu and He 2018).

    μ and v are the mean and the biased variance of a sample's numbers in one of `groups` groups of channels, which
    stand beside each other.

    Arguments:
        channels: the length of the last axis.
        groups: how many groups they are cut into.
        activation: σ, a function of an array.
        epsilon: ε, above 0.
        affine: False for a layer without w and b.

    Attributes: `weight` w and `bias` b, float32 (channels,), ones and zeros at first, or None; `channels`, `groups`,
    `activation`, `epsilon`, `affine`.

    Returns, called with x (N, …, channels): an array like x.

    Errors: TypeError for something else than an array; ValueError for groups that don't divide the channels, and for
    another number of channels.

    >>> import numpy as np, tinyflux as flux
    >>> flux.GroupNorm(4, 2)(np.array([[1.0, 3, 5, -5]])).round(3)
    array([[-1.,  1.,  1., -1.]])
    """

    def __init__(
        self, channels: int, groups: int, activation: Function = identity, *, epsilon: float = 1e-5, affine: bool = True
    ) -> None:
        check_integer("GroupNorm", "channels", channels, 1)
        check_integer("GroupNorm", "groups", groups, 1)
        if channels % groups:
            raise ValueError(f"GroupNorm: expected groups to divide channels={channels}, got {groups}.")
        super().__init__((int(channels),), activation, epsilon, affine)
        self.channels, self.groups = int(channels), int(groups)

    def __call__(self, x: Array) -> Array:
        self._check(x, (self.channels,), (0, 3))
        pixels = math.prod(x.shape[1:-1])
        grouped = x.reshape(x.shape[0], pixels, self.groups, self.channels // self.groups)
        y = normalised(grouped, *moments(grouped, (1, 3)), None, None, (1, 3), self.epsilon)
        return self.activation(self._affine(y.reshape(x.shape)))


class InstanceNorm(_Norm):
    """Normalise each channel of each image: y = σ((x − μ) / √(v + ε) · w + b) (Ulyanov et al. 2016).

    μ and v are the mean and the biased variance of a channel's pixels in one image.

    Arguments:
        channels: the length of the last axis.
        activation: σ, a function of an array.
        epsilon: ε, above 0.
        affine: True for a layer with w and b.

    Attributes: `weight` w and `bias` b, float32 (channels,), ones and zeros at first, or None; `channels`,
    `activation`, `epsilon`, `affine`.

    Returns, called with x (N, *space, channels): an array like x.

    Errors: TypeError for something else than an array; ValueError for another number of axes or channels, and for
    images of one pixel, whose variance says nothing.

    >>> import numpy as np, tinyflux as flux
    >>> flux.InstanceNorm(1)(np.array([1.0, 3]).reshape(1, 2, 1)).ravel().round(3)
    array([-1.,  1.])
    """

    def __init__(
        self, channels: int, activation: Function = identity, *, epsilon: float = 1e-5, affine: bool = False
    ) -> None:
        check_integer("InstanceNorm", "channels", channels, 1)
        super().__init__((int(channels),), activation, epsilon, affine)
        self.channels = int(channels)

    def __call__(self, x: Array) -> Array:
        self._check(x, (self.channels,), (1, 3))
        axis = tuple(range(1, x.ndim - 1))
        if math.prod(x.shape[1:-1]) < 2:
            raise ValueError(f"{as_code(self)}: expected images of at least two pixels, got shape {x.shape}.")
        return self.activation(normalised(x, *moments(x, axis), self.weight, self.bias, axis, self.epsilon))
