"""The table of rules: how each function is differentiated, and how its calls are read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class GradientRule:
    """How one function is differentiated: an entry of the table."""

    def __init__(
        self,
        function: Callable[..., Any],
        pullbacks: Sequence[Any],
        sequence: bool = False,
        rows: Sequence[int] = (),
        together: Callable[..., Any] | None = None,
    ) -> None:
        self.pullbacks = pullbacks  # by position of the argument; None where no gradient flows
        self.together = together  # or one for any number of arguments, called with the positions that are wanted
        self.sequence = sequence  # the first argument is a sequence of arrays
        self.rows = rows or (isinstance(function, np.ufunc) and function.signature is None)  # see large.py
        self.call: Callable[..., Any] = (
            (lambda *arrays, **options: function(arrays, **options)) if sequence else function
        )
        self.function = self.call  # the same for plain arrays, without looking for boxes
        self.arity: float = 0 if sequence else float("inf") if together else len(pullbacks)
        self.name = name_of(function)
        self.signature = signature_of(function)
        pullback = together or next(filter(None, pullbacks), None)
        parameters = inspect.signature(pullback).parameters.values() if pullback else ()
        self.keywords = tuple(p.name for p in parameters if p.default is not p.empty)  # the options of its pullbacks


rules: dict[Any, GradientRule] = {}
compositions: dict[Any, Callable[..., Any]] = {}  # functions differentiated as they are written in others
constants: set[Any] = set()  # functions through which no gradient flows: comparisons, argmax, shape …


def rule_of(function: Any) -> GradientRule | None:
    """The rule of a function. Those of scipy.special's functions are entered when the first of them is looked for."""
    if function not in rules and is_scipys(function):
        from .rules import special  # noqa: F401
    return rules.get(function)


def is_scipys(function: Any) -> bool:
    """Whether a function is a ufunc of scipy.special's, not NumPy's own."""
    return isinstance(function, np.ufunc) and getattr(np, function.__name__, None) is not function


def by_name(signature: inspect.Signature, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by the names of the parameters."""
    given = dict(signature.bind(*args, **kwargs).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            given.update(given.pop(parameter.name, {}))
    return given


def unknown_option(function: Any, name: str, option: Any, known: Sequence[str]) -> TypeError:
    is_array, owner = bool(getattr(option, "ndim", 0)), name_of(function)
    fix = "Write the option out in other NumPy functions."
    if is_array and not owner.startswith(("np.", "scipy.")):
        fix = "Give flux.rule a pullback for each array argument, or None where no gradient flows."
    return TypeError(
        f"{owner}: its gradient does not know the option {name}={'…' if is_array else repr(option)} "
        f"(it knows: {', '.join(sorted(known)) or 'none'}). {fix}"
    )


def name_of(function: Any) -> str:
    """The name of a function as users write it: `np.linalg.det`, `scipy.special.erf`."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, np.ufunc):
        return f"{name_of(owner)}.{function.__name__}"
    name = getattr(function, "__name__", None) or repr(function)
    if isinstance(function, np.ufunc):
        return f"scipy.special.{name}" if is_scipys(function) else f"np.{name}"
    module = (getattr(function, "__module__", None) or "").replace("numpy", "np", 1)
    return name if module in ("", "builtins", "_operator", "__main__") else f"{module}.{name}"


def signature_of(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None
