"""Checks of arguments where they are written: an error names the argument, what was expected, what was got, the fix."""

from __future__ import annotations

import dataclasses
import inspect
import math
import numbers
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .arrays import is_array
from .elsewhere import here

_CONVERSIONS = {  # of what is not an array of ours: by the package that its class comes from
    "torch": ("a torch tensor", "x.detach().cpu().numpy()"),
    "pandas": ("a pandas {}", "x.to_numpy()"),
    "polars": ("a polars {}", "x.to_numpy()"),
    "tensorflow": ("a TensorFlow {}", "x.numpy()"),
    "jaxlib": ("a JAX array", "np.asarray(x)"),
}


def shown(x: Any) -> str:
    """What was given, in a few words."""
    if isinstance(x, type):
        return f"the class {x.__name__}"
    if type(x).__name__ == "Leaf":
        return "a part of an optimiser's state"
    kind, _ = _conversion(x)
    if is_array(x) or kind:
        return f"{kind or 'an array'} of shape {tuple(x.shape)}" if hasattr(x, "shape") else kind
    if isinstance(x, (str, bytes, numbers.Number, np.generic, type(None), tuple)) or dataclasses.is_dataclass(x):
        text = repr(x)
        return text if len(text) <= 60 and "\n" not in text else type_of(x)
    return type_of(x)


def type_of(x: Any) -> str:
    """Its type with an article: "an ndarray"."""
    return a_or_an(type(x).__name__)


def a_or_an(noun: str) -> str:
    return f"an {noun}" if noun[:1].lower() in "aeio" or noun.startswith("nd") else f"a {noun}"


def is_foreign(x: Any) -> bool:
    """Whether `x` is an array of another library, such as a torch tensor, which has to be converted first."""
    return bool(_conversion(x)[0])


def _conversion(x: Any) -> tuple[str, str]:
    """The name of another library's array, and how to convert it; empty for everything else."""
    package = type(x).__module__.partition(".")[0] if hasattr(x, "shape") else ""
    kind, conversion = _CONVERSIONS.get(package, ("", ""))
    return kind.format(type(x).__name__), conversion


def as_array(x: Any) -> str:
    """A sentence on how to make an array of `x`, with a space before it, or ""."""
    _, conversion = _conversion(x)
    if isinstance(x, (list, tuple)) and x and all(is_array(item) for item in x):
        conversion = "np.stack(x)"
    elif isinstance(x, (list, tuple, numbers.Number)):
        conversion = "np.array(x)"
    return (
        f" Give an array of NumPy's, {conversion}." if is_foreign(x) else f" Give {conversion}." if conversion else ""
    )


def not_an_array(owner: str, x: Any) -> TypeError:
    """The error for an argument that should have been an array.

    >>> from tinyflux import checks
    >>> checks.not_an_array("Dense(2, 1)", [[1.0, 2.0]])
    TypeError('Dense(2, 1): expected an array, got a list. Give np.array(x).')
    """
    return TypeError(f"{owner}: expected an array, got {shown(x)}.{as_array(x)}")


def refuse_non_arrays(owner: str, args: tuple[Any, ...]) -> None:
    """Explain an error that is being handled: TypeError for an argument of Python's or of another library."""
    for x in args:
        if is_foreign(x) or isinstance(x, (list, tuple, str)) or (x is args[0] and type(x).__module__ == "builtins"):
            raise not_an_array(owner, x)


def is_value(x: Any) -> bool:
    """Whether `x` is an array or a number."""
    return is_array(x) or isinstance(x, (np.generic, float, int))


def is_number(x: Any) -> bool:
    """Whether `x` is a finite real number, and no boolean: Python's, NumPy's, or an array without axes."""
    x = _scalar(x)
    return isinstance(x, numbers.Real) and not isinstance(x, bool) and math.isfinite(x)


def is_integer(x: Any) -> bool:
    """Whether `x` is an integer, and no boolean: Python's or NumPy's."""
    return isinstance(x, (int, np.integer)) and not isinstance(x, bool)


def _scalar(x: Any) -> Any:
    return x.item() if isinstance(x, np.generic) or (is_array(x) and x.shape == () and hasattr(x, "item")) else x


def check_number(
    owner: str, name: str, x: Any, wanted: str = "a finite number", fits: Callable[[Any], bool] = lambda x: True
) -> None:
    """Refuse anything but a finite number that `fits`: TypeError for what is no number, ValueError for another one.

    >>> from tinyflux import checks
    >>> checks.check_number("Dropout", "p", 2, "a number from 0 to 1", lambda p: 0 <= p <= 1)
    Traceback (most recent call last):
    ...
    ValueError: Dropout: expected p to be a number from 0 to 1, got 2.
    """
    if not is_number(x) or not fits(x):
        error = ValueError if isinstance(_scalar(x), float | int) and not isinstance(x, bool) else TypeError
        raise error(f"{owner}: expected {name} to be {wanted}, got {shown(x)}.")


def check_integer(owner: str, name: str, x: Any, least: int, fix: str = "") -> None:
    """Refuse anything but an integer of at least `least`: TypeError for no integer, ValueError for a smaller one."""
    if not is_integer(x) or x < least:
        error = ValueError if is_integer(x) else TypeError
        raise error(f"{owner}: expected {name} to be an integer, at least {least}, got {shown(x)}.{fix and ' ' + fix}")


def check_flag(owner: str, name: str, x: Any) -> None:
    """TypeError for anything but True and False."""
    if not isinstance(x, (bool, np.bool_)):
        raise TypeError(f"{owner}: expected {name} to be True or False, got {shown(x)}.")


def check_generator(owner: str, rng: Any) -> None:
    """TypeError for anything but a generator of NumPy's, or None."""
    if not isinstance(rng, (np.random.Generator, type(None))):
        raise TypeError(
            f"{owner}: expected rng to be a numpy.random.Generator, got {shown(rng)}. Make one by "
            "np.random.default_rng(0)."
        )


def check_function(owner: str, name: str, x: Any, wanted: str = "a function") -> None:
    """TypeError for what can't be called, and for a class, which would make an instance of every array.

    >>> from tinyflux import checks
    >>> checks.check_function("Dense", "activation", "relu")
    Traceback (most recent call last):
    ...
    TypeError: Dense: expected activation to be a function, got 'relu'. Give the function itself: flux.relu.
    """
    if not callable(x) or isinstance(x, type):
        raise TypeError(f"{owner}: expected {name} to be {wanted}, got {shown(x)}.{_function_for(x)}")


def check_call(owner: str, name: str, f: Any, given: str, fix: str, *args: Any) -> None:
    """TypeError where `f` can't be called with `args`, if its signature is known."""
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args)
    except TypeError as error:
        takes = ", ".join(signature.parameters) or "nothing"
        raise TypeError(f"{owner}: {name} takes {takes}, but is called with {given}: {error}.{fix}") from None


def check_loss(value: Any) -> Any:
    """What the loss of a training returned; TypeError or ValueError for anything but a number."""
    if getattr(value, "shape", ()) == () and not isinstance(value, (tuple, list, dict, str, type(None))):
        return value
    got, fix = shown(value), ""
    if isinstance(value, tuple):
        got = "a tuple"
        fix = " Return the loss alone; in a loop of your own flux.withgradient takes further results, too."
    elif value is None:
        fix = RETURN
    elif is_array(value):
        fix = " Take the mean over all of it, np.mean, or the sum, np.sum."
    error = TypeError if isinstance(value, tuple) else ValueError
    raise error(f"training: expected the loss to return a number, got {got}.{fix}")


RETURN = " Is a return missing?"


def was_setting_an_element(error: ValueError) -> bool:
    """Whether the error says that NumPy could not write an object into an array; its cause tells why."""
    return error.__cause__ is not None and str(error).startswith("setting an array element with a sequence")


def _function_for(x: Any) -> str:
    """What to write for a function or a layer in the place of `x`."""
    if isinstance(x, type):
        return f" Make one: {x.__name__}(…)."
    if isinstance(x, str):
        homes = [("flux", sys.modules["tinyflux"]), ("np", np)]
        known = [f": {name}.{x}" for name, module in homes if callable(getattr(module, x, None))]
        return f" Give the function itself{known[0] if known else here(x)}."
    if x is None:
        return " For no function, take flux.identity."
    if isinstance(x, (list, tuple, Iterator)):
        return " Unpack it: Chain(*layers)."
    if isinstance(x, dict):
        return " Unpack it: Chain(*layers.values())."
    if hasattr(x, "init") and hasattr(x, "apply"):
        return " A rule is for flux.setup(rule, model)."
    return " Give the function itself, without calling it." if is_array(x) else without_call(x)


def without_call(x: Any) -> str:
    """What to write in the class of a layer that can't be called, with a space before it, or ""."""
    if isinstance(x, (list, tuple)) and x and all(map(callable, x)):
        return " Make it a layer: flux.Chain(*layers)."
    named = [name for name in ("forward", "call") if hasattr(x, name)]
    return f" Rename {named[0]} to __call__." if named else ""
