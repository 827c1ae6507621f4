"""Data for training: mini-batches and their augmentation, one-hot labels, and images to learn from."""

from .augment import cutout, normalise, random_crop, random_flip
from .cifar10 import CIFAR10_CLASSES, cifar10
from .digits import digits
from .loader import DataLoader
from .mnist import FASHION_MNIST_CLASSES, fashion_mnist, mnist
from .onehot import onecold, onehot, onehotbatch
from .packed import DataError
from .source import DataUnavailable

__all__ = [
    "CIFAR10_CLASSES",
    "FASHION_MNIST_CLASSES",
    "DataError",
    "DataLoader",
    "DataUnavailable",
    "cifar10",
    "cutout",
    "digits",
    "fashion_mnist",
    "mnist",
    "normalise",
    "onecold",
    "onehot",
    "onehotbatch",
    "random_crop",
    "random_flip",
]
