"""Convolutional networks that are known by name. Each is a Chain, with new values in its arrays."""

from .lenet import lenet5
from .resnet import resnet18, resnet20, resnet34, resnet56
from .vgg import vgg11, vgg16
from .wide_resnet import wide_resnet

__all__ = ["lenet5", "resnet18", "resnet20", "resnet34", "resnet56", "vgg11", "vgg16", "wide_resnet"]
