"""Layers of layers: Chain, SkipConnection, Parallel; and flatten."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...arrays import is_array
from ...checks import check_function, not_an_array, shown
from ...types import Array
from .dense import WrongInput
from .show import Layer, as_code

Function = Callable[..., Any]


def _check_parts(owner: str, *parts: Any) -> None:
    for i, part in enumerate(parts):
        check_function(owner, f"argument {i}", part, "a layer or a function")


class Chain(Layer):
    """One layer after another: Chain(f, g, h)(x) = h(g(f(x))).

    Arguments:
        layers: layers, or any functions of an array.

    Attributes: `layers`, a tuple. A chain can be indexed, iterated over and counted with `len`; a slice is a chain of
    the same layers.

    Returns, called with x: what the last layer returns.

    Errors: TypeError for a layer that cannot be called, or is a class.

    >>> import numpy as np, tinyflux as flux
    >>> model = flux.Chain(flux.Dense(784, 32, flux.relu), flux.Dense(32, 10), flux.softmax)
    >>> model
    Chain(
      Dense(784, 32, relu),                 # 25,120 parameters
      Dense(32, 10),                        # 330 parameters
      softmax,
    )                                       # 25,450 parameters in all
    >>> model(np.zeros((5, 784), np.float32)).shape, model[:-1](np.zeros(784, np.float32)).shape
    ((5, 10), (10,))
    """

    def __init__(self, *layers: Function) -> None:
        _check_parts("Chain", *layers)
        self.layers = layers

    def __call__(self, x: Array) -> Array:
        before = None
        try:
            for layer in self.layers:
                x = layer(x)
                before = layer
            return x
        except WrongInput as error:
            if before is None or error.layer is not layer:
                raise
            fix = f"The layer before it, {as_code(before)}, gives that; build one for the other: {error.built_for}."
            raise ValueError(f"{error.found} {fix}") from None
        except (TypeError, ValueError) as error:
            if not isinstance(layer, Layer):  # a layer of the library names itself
                error.add_note(f"Chain: its layer {as_code(layer)} was called with {shown(x)}.")
            raise

    def __getitem__(self, index: Any) -> Any:
        return Chain(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def __setitem__(self, index: Any, layer: Any) -> None:
        raise TypeError(
            "Chain: its layers can't be replaced in place. Before setup, make a new chain, such as "
            "flux.Chain(*model[:-1], layer) for another last layer."
        )

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Function]:
        return iter(self.layers)

    def _parts(self) -> list[Any]:
        return list(self.layers)


def _connected(layer: SkipConnection | Parallel, connect: Function, *arrays: Array) -> Any:
    """What a layer's connection makes of arrays; an error says which they were."""
    try:
        return connect(*arrays)
    except (TypeError, ValueError) as error:
        joins = isinstance(layer.connection, np.ufunc) and all(map(is_array, arrays))
        if joins and len({x.shape for x in arrays}) > 1:
            raise _wrong_shapes(layer, *arrays) from None
        name, given = as_code(layer.connection), ", ".join(map(shown, arrays))
        error.add_note(f"{type(layer).__name__}: its connection, {name}, was called with {given}.")
        raise


def _wrong_shapes(layer: SkipConnection | Parallel, *arrays: Array) -> ValueError:
    """An error for arrays whose shapes a NumPy function can't join."""
    shapes = [str(x.shape) for x in arrays]
    owner, name = type(layer).__name__, as_code(layer.connection)
    if isinstance(layer, Parallel):
        found = f"the results of its branches, {', '.join(shapes)}"
    else:
        found = f"what its layer {as_code(layer.layer)} gives, {shapes[0]}, and its input, {shapes[1]}"
    return ValueError(f"{owner}: np.{name} can't join {found}. {_fix(arrays)}")


def _fix(arrays: tuple[Array, ...]) -> str:
    """What makes shapes the same."""
    if min(x.ndim for x in arrays) < 3:
        return "Build the layers for the same number of features."
    fixes = []
    if len({x.shape[1:-1] for x in arrays}) > 1:
        fixes.append("pad='same' in convolutions keeps the size of images.")
    if len({x.shape[-1] for x in arrays}) > 1:
        fixes.append("For another number of channels, take Parallel(np.add, layer, flux.Conv((1, 1), nin, nout)).")
    return " ".join(fixes)


class SkipConnection(Layer):
    """A layer and a way past it: connection(layer(x), x).

    Arguments:
        layer: a layer, or any function of an array.
        connection: a function of two arrays: what came out of the layer, and what went in.

    Attributes: `layer` and `connection`.

    Returns, called with x: what `connection` returns.

    Errors: TypeError for an argument that cannot be called; ValueError for shapes that `connection` can't join. With
    np.add the numbers of channels or features must be the same; NumPy alone would add a single one to all others.

    >>> import numpy as np, tinyflux as flux
    >>> flux.SkipConnection(lambda x: 2 * x, np.add)(np.array([1.0, 2.0]))
    array([3., 6.])
    """

    def __init__(self, layer: Function, connection: Function) -> None:
        check_function("SkipConnection", "layer", layer, "a layer or a function")
        check_function("SkipConnection", "connection", connection, "a function of two arrays")
        self.layer = layer
        self.connection = connection

    def __call__(self, x: Array) -> Array:
        y = self.layer(x)
        if self.connection is np.add and is_array(x) and is_array(y) and y.shape[-1:] != x.shape[-1:]:
            raise _wrong_shapes(self, y, x)  # NumPy would repeat a single channel
        return _connected(self, self.connection, y, x)

    def _parts(self) -> list[Any]:
        return [self.layer, self.connection]


class Parallel(Layer):
    """Branches side by side, brought together: connection(f(x), g(x), …).

    Arguments:
        connection: a function of as many arrays as there are branches; a NumPy function of two arrays, such as np.add,
            is applied from left to right: (f(x) + g(x)) + h(x).
        branches: layers, or any functions of an array.

    Attributes: `connection`, and `branches`, a tuple.

    Returns, called with one x for all branches, or with one for each (as arguments or as a tuple): what `connection`
    returns.

    Errors: TypeError for an argument that cannot be called; ValueError for another number of inputs, and for shapes
    that `connection` can't join.

    >>> import numpy as np, tinyflux as flux
    >>> layer = flux.Parallel(np.add, np.square, np.negative, flux.identity)
    >>> layer(np.array([3.0])), layer(np.array([3.0]), np.array([1.0]), np.array([0.0]))
    (array([9.]), array([8.]))
    """

    def __init__(self, connection: Function, *branches: Function) -> None:
        _check_parts("Parallel", connection, *branches)
        if not branches:
            raise ValueError("Parallel: expected a connection and at least one branch: Parallel(np.add, f, g).")
        self.connection = connection
        self.branches = branches

    def __call__(self, *inputs: Any) -> Any:
        if len(inputs) == 1:
            inputs = inputs[0] if isinstance(inputs[0], tuple) else inputs * len(self.branches)
        if len(inputs) != len(self.branches):
            raise ValueError(f"Parallel: expected 1 or {len(self.branches)} inputs, got {len(inputs)}.")
        outputs = [branch(x) for branch, x in zip(self.branches, inputs, strict=True)]
        if isinstance(self.connection, np.ufunc):  # whose third argument would be where to write
            return _connected(self, lambda *arrays: functools.reduce(self.connection, arrays), *outputs)
        return _connected(self, self.connection, *outputs)

    def _parts(self) -> list[Any]:
        return [self.connection, *self.branches]


def flatten(x: Array) -> Array:
    """Every sample as a row: (N, …) becomes (N, product of the rest).

    Arguments:
        x: an array of at least one axis.

    Returns: an array of two axes.

    Errors: TypeError for something else than an array, ValueError for one without axes.

    >>> import numpy as np, tinyflux as flux
    >>> flux.flatten(np.zeros((5, 28, 28))).shape
    (5, 784)
    """
    if not is_array(x):
        raise not_an_array("flatten", x)
    if not x.shape:
        raise ValueError("flatten: expected samples along the first axis, got an array of shape ().")
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))
