"""Dropout, and the switch between training and inference."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from ... import tree
from ...arrays import default_rng
from ...autodiff.tape import is_recording, plain
from .show import Layer

Model = TypeVar("Model")


class Dropout(Layer):
    """Set each element to 0 with probability p and divide the others by 1 − p, while training (Srivastava et al. 2014).

    Arguments:
        p: the probability, 0 ≤ p ≤ 1.
        rng: a NumPy generator; by default the one that `flux.seed` restarts.

    Attributes: `p`, `rng`, and `active`: None to be active while a gradient is being taken, or True or False, as
    `trainmode` and `testmode` set it.

    Returns, called with x: an array like x, or x itself where the layer is not active.

    Errors: ValueError for another p.

    >>> import numpy as np, tinyflux as flux
    >>> flux.Dropout(0.5)(np.ones(4))
    array([1., 1., 1., 1.])
    >>> flux.seed(1)
    >>> flux.gradient(lambda x: np.sum(flux.Dropout(0.5)(x)), np.ones(4))
    array([0., 2., 2., 2.])
    """

    def __init__(self, p: float, *, rng: np.random.Generator | None = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: expected a probability 0 <= p <= 1, got {p!r}.")
        self.p = p
        self.rng = rng
        self.active: bool | None = None

    def __call__(self, x: Any) -> Any:
        active = is_recording() if self.active is None else self.active
        if not active or self.p == 0:
            return x
        kept = (self.rng or default_rng()).random(x.shape, dtype=np.float32) >= self.p
        scale = 1 / (1 - self.p) if self.p < 1 else 0.0
        return x * (np.asarray(kept, dtype=x.dtype, like=plain(x)) * scale)

    def _parts(self) -> list[Any]:
        return [str(self.p)]


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
    if mode not in (True, False, None, "auto"):
        raise ValueError(f"expected a mode True, False, None or 'auto', got {mode!r}.")
    _switch(model, None if mode == "auto" else mode)
    return model


def testmode(model: Model, mode: bool | str | None = True) -> Model:  # noqa: PT028 (no test)
    """Switch all layers of a model to inference, in place: Dropout lets everything pass.

    Arguments:
        model: any tree of layers.
        mode: False switches to training; None or "auto" lets the layers be active inside a gradient only.

    Returns: the model.

    Errors: ValueError for another mode.

    >>> import tinyflux as flux
    >>> flux.testmode(flux.Chain(flux.Dense(3, 2), flux.Dropout(0.5)))[1].active
    False
    """
    return trainmode(model, not mode if isinstance(mode, bool) else mode)


testmode.__test__ = False  # type: ignore[attr-defined]  # pytest takes the name for a test


def _switch(node: Any, active: Any) -> None:
    if "active" in getattr(node, "__dict__", ()):
        node.active = active
    for _, child in tree.children(node):
        _switch(child, active)
