"""The numbers of optimiser rules: what a program takes as inputs, and what makes it another program."""

from __future__ import annotations

import copy
import dataclasses
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from .rule import remembered


@remembered
def program_key(rule: Any) -> Any:
    """What a program depends on in a rule: its constants as text, and its functions."""
    return repr(constants(rule)), tuple(functions(rule))


def functions(rule: Any) -> Iterator[Any]:
    """The functions in a rule: schedules that are no records."""
    return filter(callable, _leaves(rule))


def floats(rule: Any) -> Iterator[float]:
    """The floating-point numbers of a rule, in order."""
    return (x for x in _leaves(rule) if type(x) is float)


def _leaves(x: Any) -> Iterator[Any]:
    """What is no record, tuple or list in a rule."""
    inside = x if isinstance(x, (tuple, list)) else () if type(x) is float else _fields(x).values()
    if not inside:
        yield x
    for item in inside:
        yield from _leaves(item)


def _fields(x: Any) -> dict[str, Any]:
    """The attributes of a rule, by name."""
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return {field.name: getattr(x, field.name) for field in dataclasses.fields(x)}
    return {} if callable(x) or isinstance(x, (types.ModuleType, np.random.Generator)) else getattr(x, "__dict__", {})


def constants(x: Any) -> Any:
    """What is left of a rule without its floating-point numbers."""
    if type(x) is float:
        return float
    if isinstance(x, (tuple, list)):
        return [constants(item) for item in x]
    if isinstance(x, np.ndarray):
        return id(x)
    fields = _fields(x)
    return (type(x), {name: constants(value) for name, value in fields.items()}) if fields else x


def with_numbers(x: Any, numbers: Iterator[Any]) -> Any:
    """A rule with others in the place of its floating-point numbers; unlike `replace`, nothing checks their values."""
    if type(x) is float:
        return next(numbers)
    if isinstance(x, (tuple, list)):
        return type(x)([with_numbers(item, numbers) for item in x])
    fields = _fields(x)
    if not fields:
        return x
    new = copy.copy(x)
    for name, value in fields.items():
        object.__setattr__(new, name, with_numbers(value, numbers))
    return new
