"""What the networks have in common: convolutions without a bias, their initial values, and a sum."""

from __future__ import annotations

import math

import numpy as np

from ..checks import check_generator, check_integer, shown
from ..nn import Conv, kaiming_normal, relu
from ..types import Array


def fan_out_normal(shape: tuple[int, ...], rng: np.random.Generator | None) -> Array:
    """Normal with mean 0 and standard deviation √(2 / fan_out), fan_out = window · O, for a shape (O, I, *window)."""
    return kaiming_normal(shape, rng, gain=math.sqrt(2 * shape[1] / shape[0]))


def conv(width: int, nin: int, nout: int, stride: int = 1, rng: np.random.Generator | None = None) -> Conv:
    """A convolution that a BatchNorm follows; at stride 1 images keep their size."""
    return Conv((width, width), nin, nout, stride=stride, pad=width // 2, bias=False, init=fan_out_normal, rng=rng)


def add_relu(y: Array, x: Array) -> Array:
    return relu(y + x)


def check_arguments(name: str, classes: int, rng: np.random.Generator | None, size: int = 32) -> None:
    check_integer(name, "classes", classes, 1)
    check_generator(name, rng)
    if size not in (32, 224):
        raise ValueError(f"{name}: expected size to be 32 or 224, the images it is built for, got {shown(size)}.")
