"""The bricks of models: activations, losses, initialisers and layers."""

# ruff: noqa: F403  (the names of each part stand there)
from typing import Any

from numpy import tanh

from .. import special
from ..elsewhere import refused_by
from . import activations, convolution, cudnn, initialisers, layers, losses, pooling
from .activations import *
from .convolution import *
from .cudnn import *
from .initialisers import *
from .layers import *
from .losses import *
from .pooling import *

__all__ = ["tanh"]
__all__ += activations.__all__
__all__ += convolution.__all__
__all__ += cudnn.__all__
__all__ += initialisers.__all__
__all__ += layers.__all__
__all__ += losses.__all__
__all__ += pooling.__all__


def __getattr__(name: str) -> Any:
    """`sigmoid` is SciPy's, which is imported when it is first used."""
    if name == "sigmoid":
        return special.expit
    return refused_by(__name__, name)


def __dir__() -> list[str]:
    return sorted([*__all__, "sigmoid"])
