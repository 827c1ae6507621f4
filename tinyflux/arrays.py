"""Where random numbers come from, and what counts as an array."""

from __future__ import annotations

from typing import Any

import numpy as np

_generator = np.random.default_rng()


def seed(n: int | None) -> None:
    """Restart the generator that initialisers, DataLoader, and Dropout (for its key, when it is built) draw from.

    Arguments:
        n: the seed, a non-negative integer; None draws one from the operating system.

    >>> import tinyflux as flux
    >>> flux.seed(0); a = flux.Dense(3, 2)
    >>> flux.seed(0); b = flux.Dense(3, 2)
    >>> bool((a.weight == b.weight).all())
    True
    """
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
    return type(x) is np.ndarray or is_array_type(type(x))


def is_array_type(cls: type) -> bool:
    """Whether instances of `cls` are arrays: they take part in NumPy's protocols, and have a shape to change."""
    return hasattr(cls, "__array_ufunc__") and hasattr(cls, "reshape") and not issubclass(cls, np.generic)
