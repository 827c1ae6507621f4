"""The numbers of optimiser rules: what a program takes as inputs, and what makes it another program."""

from __future__ import annotations

import copy
import dataclasses
import logging
import types
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from ..arrays import is_array
from ..errors import NotCompilable
from ..nodes import attributes, node_kind
from .rule import is_ours, is_rule, remembered


def program_key(rule: Any) -> tuple[str, Sequence[Any]]:
    """What a program depends on in a rule: its constants as text; and what is for guards to look at."""
    return _known_key(rule) if is_ours(rule) else _key(rule)  # a user's may change


def _key(rule: Any) -> tuple[str, Sequence[Any]]:
    return repr(constants(rule)), [*code(rule)]


_known_key = remembered(_key)


def code(rule: Any) -> Iterator[Any]:
    """The user's code in a rule (schedules that are no records; classes of records, and how they step), and arrays."""
    for x in parts(rule):
        if is_array(x) or (callable(x) and not _inside(x)):
            yield x
        elif (is_rule(x) or _fields(x)) and not is_ours(x):
            yield type(x)
            yield from [type(x).apply] if hasattr(type(x), "apply") else []


def floats(rule: Any) -> Iterator[float]:
    """The floating-point numbers of a rule, in order."""
    return (x for x in parts(rule) if type(x) is float)


def parts(x: Any) -> Iterator[Any]:
    """A rule, and all that stands in it."""
    yield x
    for item in _inside(x):
        yield from parts(item)


def _inside(x: Any) -> Collection[Any]:
    """What stands in a record, a tuple, a list or a dict."""
    if isinstance(x, (tuple, list)):
        return x
    return () if type(x) is float else (x if type(x) is dict else _fields(x)).values()


_CLOSED = types.ModuleType, np.random.Generator, logging.Logger  # objects that aren't looked into


def _fields(x: Any) -> dict[str, Any]:
    """The attributes of a rule, by name: also those of a record that are no fields of it."""
    record = dataclasses.is_dataclass(x) and not isinstance(x, type)
    return {} if (callable(x) and not record) or isinstance(x, _CLOSED) else _attributes(x)


def _attributes(x: Any) -> dict[str, Any]:
    """What stands in the attributes of an object, in slots or not."""
    node_kind(type(x))  # which notes the slots of its class
    return dict(attributes(x))


def constants(x: Any) -> Any:
    """What is left of a rule without its floating-point numbers."""
    if type(x) is float:
        return float
    if isinstance(x, (tuple, list)):
        return [constants(item) for item in x]
    if type(x) is dict:
        return {key: constants(item) for key, item in x.items()}
    if is_array(x):
        return id(x)
    fields = _fields(x)
    return (type(x), {name: constants(value) for name, value in fields.items()}) if fields else x


def with_numbers(x: Any, numbers: Iterator[Any]) -> Any:
    """A rule with others in the place of its floating-point numbers; unlike `replace`, nothing checks their values."""
    if type(x) is float:
        return next(numbers)
    if isinstance(x, (tuple, list)):
        return type(x)([with_numbers(item, numbers) for item in x])
    if type(x) is dict:
        return {key: with_numbers(item, numbers) for key, item in x.items()}
    fields = _fields(x)
    if not (fields or is_rule(x)):
        return x
    new = copy.copy(x)
    for name, value in fields.items():
        object.__setattr__(new, name, with_numbers(value, numbers))
    return new


def contents(rule: Any) -> list[tuple[Any, dict[Any, Any]]]:
    """The parts of a rule, and what each holds, for `refuse_change`."""
    return [(x, _held(x)) for x in parts(rule)]


class ChangesItself(NotCompilable):
    """A rule has changed itself: one that counts does so in every step, one that fills a cache in the first."""


def refuse_change(before: list[tuple[Any, dict[Any, Any]]]) -> None:
    """ChangesItself where a rule has changed itself since: a program would not."""
    for x, held in before:
        now = _held(x)
        for key in {**held, **now}:
            if now.get(key, held) is not held.get(key, held):
                name = f"{type(x).__name__}[{key!r}]" if isinstance(x, (list, dict)) else f"{type(x).__name__}.{key}"
                raise ChangesItself(
                    f"apply changes {name}, a part of the rule, which can't be compiled. Keep in the state what "
                    "changes from step to step."
                )


def _held(x: Any) -> dict[Any, Any]:
    if isinstance(x, list):
        return dict(enumerate(x))
    return x.copy() if type(x) is dict else _attributes(x)
