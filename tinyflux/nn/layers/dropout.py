"""Dropout, and its random numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ...arrays import default_rng
from ...autodiff.large import LARGE, forward, is_plain
from ...autodiff.scan import differs_by_step
from ...autodiff.tape import plain
from ...checks import check_integer, check_number, is_integer, not_an_array, shown
from ...types import Array
from .modes import is_training
from .show import Layer

_GAMMA, _FACTOR1, _FACTOR2 = map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_27, _30, _40 = map(np.uint64, (27, 30, 40))


class Dropout(Layer):
    """Set each element to 0 with probability p and divide the others by 1 − p, while training (Srivastava et al. 2014).

    A network can then not rely on any single number, which helps against overfitting. Each call draws anew which
    elements are dropped.

    Arguments:
        p: the probability, 0 ≤ p ≤ 1.
        seed: the key of the random numbers, 0 ≤ seed < 2⁶⁴; by default it is drawn from the generator that `flux.seed`
            restarts.
        dims: an axis or a tuple of axes, as in Flux. Each place along these axes is kept or dropped as a whole. For
            images (N, H, W, C), dims=(0, -1) drops whole channels of each image. By default these are all axes: each
            element is kept or dropped by itself.

    Attributes: `p`; `dims`; `state`, the key and the position, an array of two integers, which every active call
    replaces by a new one; and `active`: None to be active while a gradient is being taken, or True or False, as
    `trainmode` and `testmode` set it.

    Returns, called with x: an array like x, or x itself where the layer is not active.

    Errors: ValueError for another p or seed, and for axes that x doesn't have; TypeError for a p that is no number, or
    a seed or dims that are no integers.

    The random numbers are a function of a key and a position. Element i of a call (counted from 0, in C order) is kept
    if u ≥ p, where u = ⌊s / 2⁴⁰⌋ · 2⁻²⁴ is a number in [0, 1), and s comes from SplitMix64 (Steele, Lea, Flood 2014):

        z = key + (position + i + 1) · 0x9E3779B97F4A7C15
        z = (z ⊕ ⌊z / 2³⁰⌋) · 0xBF58476D1CE4E5B9
        z = (z ⊕ ⌊z / 2²⁷⌋) · 0x94D049BB133111EB
        s = z ⊕ ⌊z / 2³¹⌋                           all modulo 2⁶⁴

    The position then moves on by the number of elements. A checkpoint holds key and position, so a training that goes
    on from it drops what it would have dropped.

    >>> import numpy as np, tinyflux as flux
    >>> layer = flux.Dropout(0.5, seed=1)
    >>> layer(np.ones(4))
    array([1., 1., 1., 1.])
    >>> flux.gradient(lambda x: np.sum(layer(x)), np.ones(4))
    array([2., 2., 2., 0.])
    >>> layer.state
    array([1, 4], dtype=uint64)
    >>> flux.trainmode(flux.Dropout(0.5, seed=1, dims=-1))(np.ones((2, 4)))
    array([[2., 2., 2., 0.],
           [2., 2., 2., 0.]])
    """

    buffers = ("state",)

    def __init__(self, p: float, *, seed: int | None = None, dims: int | tuple[int, ...] | None = None) -> None:
        check_number("Dropout", "p", p, "a probability from 0 to 1", lambda p: 0 <= p <= 1)
        if seed is None:
            seed = int(default_rng().integers(2**64, dtype=np.uint64))
        check_integer("Dropout", "seed", seed, 0)
        if seed >= 2**64:
            raise ValueError(f"Dropout: expected a seed below 2**64, got {seed!r}.")
        if dims is not None and not all(map(is_integer, dims if isinstance(dims, tuple) else (dims,))):
            raise TypeError(f"Dropout: expected dims to be an integer or a tuple of them, got {shown(dims)}.")
        self.dims = dims
        self.p = float(p)  # no array: that would be a parameter
        self.state = np.array([seed, 0], np.uint64)
        self.active: bool | None = None

    def __call__(self, x: Array) -> Array:
        if not is_training(self) or self.p == 0:
            return x
        if not hasattr(x, "dtype"):
            raise not_an_array(repr(self), x)
        differs_by_step()
        state, threshold = self.state, np.uint64(math.ceil(self.p * 2**24))
        scale = np.result_type(x.dtype, 1.0).type(1 / (1 - self.p) if self.p < 1 else 0)

        def factors(counts: Any, start: Any) -> Any:
            return (_splitmix64(counts + start) >> _40 >= threshold) * scale

        shape = self._mask_shape(x.shape)
        size = math.prod(shape)
        counts = (np.arange(1, size + 1, dtype=np.uint64, like=state) * _GAMMA).reshape(shape or 1)
        values = counts, state[:1] + state[1:] * _GAMMA
        mask = forward(factors, True, values) if size > LARGE and is_plain(values) else factors(*values)
        self.state = state + _beside(state, np.array([0, size], np.uint64))
        return x * _beside(plain(x), mask.reshape(shape))

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.dims is None:
            return shape
        try:
            own = normalize_axis_tuple(self.dims, len(shape))
        except ValueError:
            raise ValueError(f"{self!r}: expected an input that has the axes dims, got shape {shape}.") from None
        return tuple(n if i in own else 1 for i, n in enumerate(shape))

    def _parts(self) -> list[Any]:
        p = "p=None" if self.p is None else str(self.p)  # None in a gradient
        return [p] if self.dims is None else [p, f"dims={self.dims}"]


def _splitmix64(z: Any) -> Any:
    """The 33 upper bits of SplitMix64's output for the counters z; the last exclusive or concerns the lower ones."""
    z = (z ^ (z >> _30)) * _FACTOR1
    return (z ^ (z >> _27)) * _FACTOR2


def _beside(array: Array, constant: Any) -> Any:
    """NumPy's array `constant` as one of CuPy's where `array` is one, or a recorded one."""
    there = type(constant) is np.ndarray and not isinstance(array, (np.ndarray, np.generic))
    return np.asarray(constant, like=array) if there else constant
