"""Dropout, and the switch between training and inference."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from ... import tree
from ...arrays import default_rng
from ...autodiff.large import LARGE, forward, is_plain
from ...autodiff.scan import differs_by_step
from ...autodiff.tape import is_recording, plain
from ...checks import check_integer, check_number, not_an_array, shown
from ...types import Array
from .show import Layer

Model = TypeVar("Model")

_GAMMA, _FACTOR1, _FACTOR2 = map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_27, _30, _40 = map(np.uint64, (27, 30, 40))


class Dropout(Layer):
    """Set each element to 0 with probability p and divide the others by 1 − p, while training (Srivastava et al. 2014).

    The random numbers are counted, not drawn: element i (from 0, in C order) of a call is kept where u ≥ p, with the
    number u = ⌊s / 2⁴⁰⌋ · 2⁻²⁴ in [0, 1) from the output s of SplitMix64 (Steele, Lea, Flood 2014) at position + i:

        z = key + (position + i + 1) · 0x9E3779B97F4A7C15
        z = (z ⊕ ⌊z / 2³⁰⌋) · 0xBF58476D1CE4E5B9
        z = (z ⊕ ⌊z / 2²⁷⌋) · 0x94D049BB133111EB
        s = z ⊕ ⌊z / 2³¹⌋                           all modulo 2⁶⁴

    and the position then moves on by the number of elements. So key and position are the whole state: a checkpoint
    holds them, and training goes on from it with the masks that would have come.

    Arguments:
        p: the probability, 0 ≤ p ≤ 1.
        seed: the key, 0 ≤ seed < 2⁶⁴; by default it is drawn from the generator that `flux.seed` restarts.

    Attributes: `p`; `state`, the key and the position, an array of two integers, which every active call replaces by
    a new one; and `active`: None to be active while a gradient is being taken, or True or False, as `trainmode` and
    `testmode` set it.

    Returns, called with x: an array like x, or x itself where the layer is not active.

    Errors: ValueError for another p or seed, TypeError for a p that is no number, or a seed that is no integer.

    >>> import numpy as np, tinyflux as flux
    >>> layer = flux.Dropout(0.5, seed=1)
    >>> layer(np.ones(4))
    array([1., 1., 1., 1.])
    >>> flux.gradient(lambda x: np.sum(layer(x)), np.ones(4))
    array([2., 2., 2., 0.])
    >>> layer.state
    array([1, 4], dtype=uint64)
    """

    buffers = ("state",)

    def __init__(self, p: float, *, seed: int | None = None) -> None:
        check_number("Dropout", "p", p, "a probability from 0 to 1", lambda p: 0 <= p <= 1)
        if seed is None:
            seed = int(default_rng().integers(2**64, dtype=np.uint64))
        check_integer("Dropout", "seed", seed, 0)
        if seed >= 2**64:
            raise ValueError(f"Dropout: expected a seed below 2**64, got {seed!r}.")
        self.p = float(p)  # no array: that would be a parameter
        self.state = np.array([seed, 0], np.uint64)
        self.active: bool | None = None

    def __call__(self, x: Array) -> Array:
        active = is_recording() if self.active is None else self.active
        if not active or self.p == 0:
            return x
        if not hasattr(x, "dtype"):
            raise not_an_array(repr(self), x)
        differs_by_step()
        state, threshold = self.state, np.uint64(math.ceil(self.p * 2**24))
        scale = np.result_type(x.dtype, 1.0).type(1 / (1 - self.p) if self.p < 1 else 0)

        def factors(counts: Any, start: Any) -> Any:
            return (_splitmix64(counts + start) >> _40 >= threshold) * scale

        counts = (np.arange(1, x.size + 1, dtype=np.uint64) * _GAMMA).reshape(x.shape or 1)
        values = _beside(state, counts), state[:1] + state[1:] * _GAMMA
        mask = forward(factors, True, values) if x.size > LARGE and is_plain(values) else factors(*values)
        self.state = state + _beside(state, np.array([0, x.size], np.uint64))
        return x * _beside(plain(x), mask.reshape(x.shape))

    def _parts(self) -> list[Any]:
        return ["p=None" if self.p is None else str(self.p)]  # None in a gradient


def trainmode(model: Model, mode: bool | str | None = True) -> Model:
    """Switch all layers of a model to training, in place: Dropout is active whether a gradient is being taken or not.

    Arguments:
        model: any tree of layers.
        mode: False switches to inference; None or "auto" lets the layers be active inside a gradient only.

    Returns: the model.

    Errors: ValueError for another mode.

    >>> import tinyflux as flux
    >>> model = flux.trainmode(flux.Chain(flux.Dense(3, 2), flux.Dropout(0.5)))
    >>> model[1].active, flux.trainmode(model, None)[1].active
    (True, None)
    """
    if not (mode is None or isinstance(mode, bool) or (isinstance(mode, str) and mode == "auto")):
        raise ValueError(f"trainmode: expected a mode True, False, None or 'auto', got {shown(mode)}.")
    _switch(model, None if mode == "auto" else mode)
    return model


def testmode(model: Model, mode: bool | str | None = True) -> Model:  # noqa: PT028 (no test)
    """Switch all layers of a model to inference, in place: Dropout lets everything pass.

    Arguments, returns and errors: as for `trainmode`, but False switches to training.

    >>> import tinyflux as flux
    >>> flux.testmode(flux.Chain(flux.Dense(3, 2), flux.Dropout(0.5)))[1].active
    False
    """
    return trainmode(model, not mode if isinstance(mode, bool) else mode)


testmode.__test__ = False  # type: ignore[attr-defined]  # pytest takes the name for a test


def _switch(node: Any, active: Any) -> None:
    inside, _ = tree.entries(node)
    if inside is not None and not isinstance(node, (list, dict)) and "active" in inside:
        inside["active"] = active
    for _, child in tree.children(node):
        _switch(child, active)


def _splitmix64(z: Any) -> Any:
    """The 33 upper bits of SplitMix64's output for the counters z; the last exclusive or concerns the lower ones."""
    z = (z ^ (z >> _30)) * _FACTOR1
    return (z ^ (z >> _27)) * _FACTOR2


def _beside(array: Array, constant: Any) -> Any:
    """NumPy's array `constant` as one of CuPy's where `array` is one."""
    return np.asarray(constant, like=array) if hasattr(array, "__cuda_array_interface__") else constant
