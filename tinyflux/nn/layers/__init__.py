"""Layers: plain classes whose attributes are arrays and other layers, and whose call is the forward pass."""

from .chain import Chain, Parallel, SkipConnection, flatten
from .conv import Conv, ConvTranspose, DepthwiseConv
from .dense import Dense
from .dropout import Dropout, testmode, trainmode

__all__ = [
    "Chain", "Conv", "ConvTranspose", "Dense", "DepthwiseConv", "Dropout", "Parallel", "SkipConnection", "flatten",
    "testmode", "trainmode",
]  # fmt: skip
