"""Layers: plain classes whose attributes are arrays and other layers, and whose call is the forward pass."""

from .chain import Chain, Parallel, SkipConnection, flatten
from .conv import Conv, ConvTranspose, DepthwiseConv
from .dense import Dense
from .dropout import Dropout
from .modes import is_training, testmode, trainmode
from .norm import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from .pool import AdaptiveMeanPool, GlobalMaxPool, GlobalMeanPool, MaxPool, MeanPool, PixelShuffle, Upsample

__all__ = [
    "AdaptiveMeanPool", "BatchNorm", "Chain", "Conv", "ConvTranspose", "Dense", "DepthwiseConv", "Dropout",
    "GlobalMaxPool", "GlobalMeanPool", "GroupNorm", "InstanceNorm", "LayerNorm", "MaxPool", "MeanPool", "Parallel",
    "PixelShuffle", "SkipConnection", "Upsample", "flatten", "is_training", "testmode", "trainmode",
]  # fmt: skip
