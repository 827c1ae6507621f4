"""Data for training: mini-batches and their augmentation, one-hot labels, and images to learn from."""

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
    "digits",
    "fashion_mnist",
    "mnist",
    "onecold",
    "onehot",
    "onehotbatch",
]
