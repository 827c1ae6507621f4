"""Gradients against differences: the test that every rule, layer and loss has to pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import tree
from ..arrays import is_array
from ..types import Array
from .gradient import pullback, recorded_pullback
from .state import unchanged
from .tape import Tape

# A central difference with step h is off by h²·f‴/6 from the curve and by u·f/h from rounding, u = 2.2e-16. Both are of
# the order u^⅔ = 4e-11 at h = u^⅓; TOLERANCE leaves four digits for functions with large values or third derivatives.
STEP = float(np.finfo(np.float64).eps) ** (1 / 3)
TOLERANCE = 1e-6


class GradientError(AssertionError):
    """A gradient that is not the derivative of its function."""


def gradcheck(
    f: Callable[..., Any],
    *args: Any,
    order: int = 2,
    directions: int = 2,
    tolerance: float = TOLERANCE,
    rng: np.random.Generator | None = None,
) -> None:
    """Compare the gradient of a function with differences of its values.

    ⟨∂⟨g, f(x)⟩/∂x, v⟩ ≈ ⟨g, f(x + hv) − f(x − hv)⟩ / 2h, with a cotangent g and directions v of random normal numbers,
    for each array x of each argument. h is the cube root of the machine epsilon, times the largest element of x where
    that is above 1. The second order is the same comparison for the gradient, as a function of the arguments and of g.
    Where an argument holds layers that f changes, such as the running mean of a BatchNorm, each evaluation of f starts
    from the same state, and afterwards the layers are as they were.

    Arguments:
        f: a function written in NumPy that returns an array, smooth near the arguments (more than h away from kinks).
        args: float64 arrays, Python floats, or trees of them.
        order: how many derivatives are checked.
        directions: how many directions are tried for each array.
        tolerance: the difference allowed, relative to 1 + the size of the derivative; by default 1e-6.
        rng: where random numbers come from; by default the same ones each time.

    Errors: GradientError (an AssertionError) where the two numbers differ, where f has another value while a gradient
    is being taken, where f or a pullback changed its input, and for a gradient of another shape or dtype than its
    array; TypeError for arrays that are not float64.

    >>> import numpy as np, tinyflux as flux
    >>> flux.gradcheck(lambda x, y: np.sin(x) * y, np.array([0.1, 0.2]), np.array([[1.0], [2.0]]))
    >>> wrong = flux.rule(lambda x: x * x, lambda g, y, x: g * x)  # without its factor 2
    >>> flux.gradcheck(wrong, 3.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tinyflux.autodiff.check.GradientError: gradcheck: the derivative (order 1) for argument 0 in direction 1 is ...
    """
    rng = np.random.default_rng(0) if rng is None else rng
    arrays = tuple(tree.map_differentiated(lambda x: x if is_array(x) else np.array(x), x)[0] for x in args)
    _check(_of_one_state(f), arrays, 1, order, directions, tolerance, rng)


def _of_one_state(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, after which the layers among its arguments are as they were."""

    def evaluated(*args: Any) -> Any:
        with unchanged(args):
            return f(*args)

    return evaluated


def _check(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    level: int,
    order: int,
    directions: int,
    tolerance: float,
    rng: np.random.Generator,
) -> None:
    names, arrays = _arrays(args)
    y, back = recorded_pullback(f, args, Tape())
    if not np.allclose(y, f(*args), rtol=1e-9, atol=1e-9, equal_nan=True):
        raise GradientError(
            f"gradcheck: f is {f(*args)} outside a gradient, but {y} while one is being taken. Where layers do another "
            "thing in training, choose it by flux.trainmode or flux.testmode."
        )
    g = _drawn(rng, y)
    inputs = {**dict(zip(names, arrays)), "the result": y}
    copies = {name: np.copy(x) for name, x in inputs.items()}
    gradients = _flat(back(g), args)
    # In f(x) + z the cotangent of z is the very array that the pullbacks of f are given.
    inputs["the cotangent"] = pullback(lambda z, *args: f(*args) + z, g, *args)[1](g)[0]
    copies["the cotangent"] = g
    for name, x in inputs.items():
        if not np.array_equal(x, copies[name], equal_nan=True):
            raise GradientError(
                f"gradcheck: {name} was changed by f or a pullback; they must leave their inputs alone."
            )

    for i, (name, x, d) in enumerate(zip(names, arrays, gradients)):
        if d.shape != x.shape or d.dtype != x.dtype:
            expected, got = (f"shape {a.shape} and dtype {a.dtype}" for a in (x, d))
            raise GradientError(f"gradcheck: expected a gradient for {name} of {expected}, got {got}.")
        step = STEP * max(1.0, float(np.max(np.abs(x))) if x.size else 0.0)
        for k in range(directions):
            v = _drawn(rng, x)
            ahead, behind = (f(*_replaced(args, i, np.asarray(x + h * v, like=x))) for h in (step, -step))
            numerical = float(np.sum(g * (ahead - behind))) / (2 * step)
            analytic = float(np.sum(d * v))
            if not abs(analytic - numerical) <= tolerance * (1 + abs(numerical)):
                raise GradientError(
                    f"gradcheck: the derivative (order {level}) for {name} in direction {k + 1} is {numerical:.10g} "
                    f"by differences, but the gradient gives {analytic:.10g}. Is a pullback wrong, or a kink near?"
                )

    if level < order and sum(d.size for d in gradients):

        def slope(cotangent: Array, *args: Any) -> Any:
            found = _flat(pullback(f, *args)[1](cotangent), args)
            return np.concatenate([d.reshape(-1) for d in found])

        _check(slope, (g, *args), level + 1, order, directions, tolerance, rng)


def _drawn(rng: np.random.Generator, x: Array) -> Any:
    """Random normal numbers in the shape of x, where x lies."""
    drawn = rng.standard_normal(np.shape(x))
    return np.asarray(drawn, like=x) if is_array(x) else drawn


def _arrays(args: tuple[Any, ...]) -> tuple[list[str], list[Any]]:
    """The arrays to differentiate for, each with its name: `argument 0['weight']`."""
    found = [(f"argument {i}{path}", x) for i, arg in enumerate(args) for path, x in tree.walk(arg, buffers=False)]
    for name, x in found:
        if x.dtype != np.float64:
            raise TypeError(f"gradcheck: expected float64, got {name} of {x.dtype}, too coarse. Convert with flux.f64.")
    return [name for name, _ in found], [x for _, x in found]


def _flat(gradients: Any, args: tuple[Any, ...]) -> list[Any]:
    """The gradient for each array in order; zeros where nothing flows."""
    found: list[Any] = []

    def collect(x: Array, d: Array) -> None:
        if tree.is_parameter(x):
            found.append(np.zeros_like(x) if d is None else d)

    for arg, gradient in zip(args, gradients if len(args) > 1 else (gradients,)):
        tree.map(collect, arg, gradient, buffers=False)
    return found


def _replaced(args: tuple[Any, ...], position: int, new: Any) -> tuple[Any, ...]:
    """The arguments with another array at one place, counted in the order of `_arrays`."""
    places = itertools.count()

    def choose(x: Array) -> Any:
        return new if tree.is_parameter(x) and next(places) == position else x

    return tuple(tree.map(choose, arg, buffers=False) for arg in args)
