"""Training and inference: some layers calculate something else while a model is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from ... import tree
from ...autodiff.tape import is_recording
from ...checks import shown
from ...nodes import branches

Model = TypeVar("Model")


def is_training(layer: Any) -> bool:
    """Whether a layer is to do what it does in training: by its `active`, or, where that is None, inside a gradient.

    Arguments:
        layer: an object with an attribute `active`, set in its `__init__`: None for the automatic choice. `trainmode`
            and `testmode` set it, all through a model, to True or False. `train` takes a gradient, so that it needs
            neither.

    Returns: True or False.

    Errors: TypeError for a layer without such an attribute, which `trainmode` and `testmode` would not find.

    A layer of one's own that keeps a running mean: a name in `buffers` is state, which nothing differentiates or steps;
    a call puts a new array in its place. `train` compiles it, and checkpoints hold it.

    >>> import numpy as np, tinyflux as flux
    >>> class Centre:
    ...     buffers = ("mean",)
    ...     def __init__(self, channels):
    ...         self.bias = np.zeros(channels, np.float32)
    ...         self.mean = np.zeros(channels, np.float32)
    ...         self.active = None
    ...     def __call__(self, x):
    ...         mean = self.mean
    ...         if flux.is_training(self):
    ...             mean = np.mean(x, axis=0)
    ...             self.mean = 0.9 * self.mean + 0.1 * mean
    ...         return x - mean + self.bias
    >>> layer, x = Centre(2), np.array([[1.0, 2], [3, 4]], np.float32)
    >>> loss, gradient = flux.withgradient(lambda layer: np.sum(layer(x) ** 2), layer)
    >>> loss, layer.mean  # inside, it takes the mean of the batch, and moves its own
    (np.float32(4.0), array([0.2, 0.3], dtype=float32))
    >>> layer(x)[0]  # outside, it takes its own
    array([0.8, 1.7], dtype=float32)
    >>> flux.is_training(flux.trainmode(layer)), flux.is_training(flux.testmode(layer))
    (True, False)
    """
    inside, _ = tree.entries(layer)
    if inside is None or isinstance(layer, (list, dict)) or "active" not in inside:
        raise TypeError(
            f"is_training: expected a layer with an attribute `active`, got {shown(layer)}. Write self.active = None "
            "in its __init__."
        )
    active = inside["active"]
    return is_recording() if active is None else bool(active)


def trainmode(model: Model, mode: bool | str | None = True) -> Model:
    """Switch all layers of a model to training, in place: they are active whether a gradient is being taken or not.

    Then Dropout drops, and BatchNorm takes the statistics of the batch. See `is_training` for layers of your own.

    Arguments:
        model: any tree of layers.
        mode: False switches to inference; None or "auto" lets the layers be active inside a gradient only.

    Returns: the model.

    Errors: ValueError for another mode, and for a model that stands in itself.

    >>> import tinyflux as flux
    >>> model = flux.trainmode(flux.Chain(flux.Dense(3, 2), flux.Dropout(0.5)))
    >>> model[1].active, flux.trainmode(model, None)[1].active
    (True, None)
    """
    if not (mode is None or isinstance(mode, bool) or (isinstance(mode, str) and mode == "auto")):
        raise ValueError(f"trainmode: expected a mode True, False, None or 'auto', got {shown(mode)}.")
    for attributes in list(switches(model)):
        attributes["active"] = None if mode == "auto" else mode
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


def switches(model: Any) -> Iterator[Any]:
    """The attributes of every layer that has a mode: `attributes["active"]` is that."""
    for _, node in branches(model):
        inside = switch(node)
        if inside is not None:
            yield inside


def switch(node: Any) -> Any:
    """The attributes of a layer that has a mode; None for anything else."""
    inside, _ = tree.entries(node)
    return inside if inside is not None and not isinstance(node, (list, dict)) and "active" in inside else None
