"""stop_gradient: a value as a constant."""

from __future__ import annotations

from .. import tree
from ..types import Array, T
from .rule import rule


def stop_gradient(x: T) -> T:
    """x itself, as a constant: no gradient flows back through it.

    Arguments:
        x: an array, or a tree of arrays, such as a model.

    Returns: an array or tree like x.

    Also called `detach` (PyTorch) and `ignore_derivatives` (Zygote).

    >>> import numpy as np, tinyflux as flux
    >>> flux.gradient(lambda x: np.sum(flux.stop_gradient(x) * x), np.array([2.0, 3.0]))
    array([2., 3.])
    >>> flux.gradient(lambda m: np.sum(flux.stop_gradient(m)["w"] * m["b"]), {"w": np.ones(2), "b": np.ones(2)})
    {'w': None, 'b': array([1., 1.])}
    """
    return tree.copying(_constant)(x)


def _copied(x: Array) -> Array:
    return x.copy()


_copied.__name__ = "stop_gradient"
_constant = rule(_copied, None)
