"""Data for training: mini-batches, one-hot labels, and handwritten digits to learn from."""

from .digits import digits
from .idx import DataError
from .loader import DataLoader
from .mnist import DataUnavailable, mnist
from .onehot import onecold, onehot, onehotbatch

__all__ = ["DataError", "DataLoader", "DataUnavailable", "digits", "mnist", "onecold", "onehot", "onehotbatch"]
