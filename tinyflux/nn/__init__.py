"""The bricks of models: activations, losses, initialisers and layers."""

from typing import Any

from .. import special
from .activations import (
    elu,
    gelu,
    identity,
    leakyrelu,
    logsoftmax,
    logsumexp,
    relu,
    softmax,
    softplus,
    swish,
    tanh,
)
from .initialisers import glorot_normal, glorot_uniform, kaiming_normal, kaiming_uniform, ones, zeros
from .layers import Chain, Dense, Dropout, Parallel, SkipConnection, flatten, testmode, trainmode
from .losses import binarycrossentropy, crossentropy, huber, logitbinarycrossentropy, logitcrossentropy, mae, mse

__all__ = [
    "Chain",
    "Dense",
    "Dropout",
    "Parallel",
    "SkipConnection",
    "binarycrossentropy",
    "crossentropy",
    "elu",
    "flatten",
    "gelu",
    "glorot_normal",
    "glorot_uniform",
    "huber",
    "identity",
    "kaiming_normal",
    "kaiming_uniform",
    "leakyrelu",
    "logitbinarycrossentropy",
    "logitcrossentropy",
    "logsoftmax",
    "logsumexp",
    "mae",
    "mse",
    "ones",
    "relu",
    "softmax",
    "softplus",
    "swish",
    "tanh",
    "testmode",
    "trainmode",
    "zeros",
]


def __getattr__(name: str) -> Any:
    """`sigmoid` is SciPy's, which is imported when it is first used."""
    if name == "sigmoid":
        return special.expit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
