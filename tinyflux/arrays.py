"""Where random numbers come from, what counts as an array, and where an array lies."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .types import Array

_generator = np.random.default_rng()


def seed(n: int | None) -> None:
    """Restart the generator that initialisers, DataLoader, and Dropout (for its key, when it is built) draw from.

    Arguments:
        n: the seed, a non-negative integer; None draws one from the operating system.

    Errors: TypeError for another seed.

    >>> import tinyflux as flux
    >>> flux.seed(0); a = flux.Dense(3, 2)
    >>> flux.seed(0); b = flux.Dense(3, 2)
    >>> bool((a.weight == b.weight).all())
    True
    """
    from .checks import is_integer, shown

    if n is not None and not (is_integer(n) and n >= 0):
        raise TypeError(f"seed: expected a non-negative integer or None, got {shown(n)}.")
    global _generator
    _generator = np.random.default_rng(n)


def default_rng() -> np.random.Generator:
    """The generator that is used wherever no `rng=` is given; `seed` restarts it.

    >>> import tinyflux as flux
    >>> flux.seed(0)
    >>> flux.default_rng().integers(10, size=3)
    array([8, 6, 5])
    """
    return _generator


def is_array(x: Any) -> bool:
    """Whether `x` is an array: `numpy.ndarray`, `cupy.ndarray`, or one that records what is done to it."""
    return type(x) is np.ndarray or is_array_type(type(x))  # type: ignore[arg-type]  # a type has a hash


@functools.cache
def is_array_type(cls: type) -> bool:
    """Whether instances of `cls` are arrays: they take part in NumPy's protocols, and have a shape to change."""
    return hasattr(cls, "__array_ufunc__") and hasattr(cls, "reshape") and not issubclass(cls, np.generic)


def on_gpu(x: Array) -> bool:
    """Whether the array `x` lies in the memory of a GPU."""
    return hasattr(x, "__cuda_array_interface__")


def to_numpy(x: Array) -> Array:
    """The array `x` in NumPy: itself where it is NumPy's, otherwise a copy."""
    return x.get() if on_gpu(x) else x


class MixedDevices(TypeError):
    """An array in NumPy and one on the GPU met, in an operation or in a model.

    Attributes:
        arrays: those that met.
    """

    def __init__(self, message: str, arrays: Sequence[Array] = ()) -> None:
        super().__init__(message)
        self.arrays = arrays


def device_of(x: Array) -> str:
    """Where the array `x` lies, as error messages have it."""
    return "on the GPU" if on_gpu(x) else "in NumPy, on the CPU"


def differ(arrays: Sequence[Array]) -> bool:
    """Whether some of `arrays` lie on the GPU and others do not."""
    return len({on_gpu(x) for x in arrays}) > 1


MOVE = "Move one of them: flux.gpu(…) and flux.cpu(…) take models and data."
