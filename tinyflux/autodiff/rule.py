"""How a gradient rule is declared; the rules themselves are in the folder `rules`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..checks import refuse_non_arrays
from .operands import REAL
from .table import GradientRule, compositions, constants, rule_of, rules
from .tape import Tracked, apply


def rule(function: Callable[..., Any], *pullbacks: Callable[..., Any] | None, rows: Sequence[int] = ()) -> Any:
    """Declare how a function is differentiated.

    Arguments:
        function: a NumPy ufunc or function, a SciPy ufunc, or any function of yours that returns an array or a NumPy
            number.
        pullbacks: one for each of its array arguments, `(g, y, *arguments, **options) -> cotangent`, where g is the
            cotangent of the result y = function(*arguments, **options); None where no gradient flows. Written in NumPy
            functions, a pullback can itself be differentiated. For a function of NumPy's or SciPy's with one argument
            `rule(function)` is a decorator of the pullback.
        rows: the positions of arguments whose rows, along the first axis, each give a row of the result, independently
            of the other rows. Large arrays are then worked through in blocks. Ufuncs don't need it.

    Returns: the function to call: NumPy's own, or for a function of yours one that records itself.

    Errors: TypeError for a function of yours without pullbacks; ValueError for rows that are no positions. When a
    gradient is taken, a cotangent of another shape than its argument's is a ValueError with the function's name, unless
    the argument was broadcast to the result's shape: then it is summed. One that is no array of real floating-point
    numbers is a TypeError.

    >>> import numpy as np, tinyflux as flux
    >>> cube = flux.rule(lambda x: x * x * x, lambda g, y, x: 3 * g * x * x)
    >>> float(flux.gradient(cube, 2.0))
    12.0
    >>> @flux.rule(np.cbrt)
    ... def _(g, y, x):
    ...     return g / (3 * y * y)
    >>> round(float(flux.gradient(np.cbrt, 8.0)), 6)
    0.083333
    """
    by_numpy = isinstance(function, np.ufunc) or hasattr(function, "_implementation")
    if not pullbacks and by_numpy:
        return lambda pullback: rule(function, pullback) and pullback
    if not pullbacks:
        name = getattr(function, "__name__", function)
        raise TypeError(
            f"rule: expected the pullbacks of {name} with it, {name} = flux.rule({name}, lambda g, y, x: …)."
        )
    if any(k not in range(len(pullbacks)) for k in rows):
        raise ValueError(f"rule: expected rows to hold positions from 0 to {len(pullbacks) - 1}, got {tuple(rows)}.")
    if by_numpy:
        rule_of(function)  # the library's own comes first, and is replaced
        rules[function] = GradientRule(function, pullbacks)
        return function

    @functools.wraps(function)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        for x in args:
            if type(x) is Tracked:
                y = apply(recorded, args, kwargs)
                value = y.value if type(y) is Tracked else y
                if type(value) is not np.ndarray or value.dtype.kind == "c":
                    _check_real_array(rules[recorded].name, value)
                return y
        try:
            return function(*args, **kwargs)
        except (AttributeError, TypeError):
            refuse_non_arrays(function.__name__, args)
            raise

    rules[recorded] = GradientRule(recorded, pullbacks, rows=rows)
    rules[recorded].function = function
    return recorded


def _check_real_array(name: str, y: Any) -> None:
    if not hasattr(y, "dtype"):
        raise TypeError(f"{name}: expected the function of a rule to return an array, got {type(y).__name__}.")
    if y.dtype.kind == "c":
        raise TypeError(f"{name}: returned {y.dtype} numbers, but {REAL}")


def primitive(function: Any, *pullbacks: Any) -> None:
    """A table entry for a function that is called through `apply` alone."""
    rules[function] = GradientRule(function, pullbacks)


def variadic(function: Any, pullback: Callable[..., Any], sequence: bool = False) -> None:
    """A table entry for a function of any number of arrays, with one pullback for all of them.

    Arguments:
        pullback: `(positions, g, y, *arrays, **options)` -> the cotangents of the arrays at those positions, in order;
            None where nothing flows.
        sequence: whether the function takes the arrays in a sequence, and not one by one.
    """
    rules[function] = GradientRule(function, (), sequence, together=pullback)


def composed(function: Any, definition: Callable[..., Any]) -> None:
    """A table entry for a function that is differentiated as it is written in others."""
    compositions[function] = definition


def constant(*functions: Any) -> None:
    """Functions through which no gradient flows."""
    constants.update(functions)
