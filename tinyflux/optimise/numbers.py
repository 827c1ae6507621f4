"""The numbers of optimiser rules: what a program takes as inputs, and what makes it another program."""

from __future__ import annotations

import copy
import dataclasses
import types
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .flat import Head, Leaf
from .modifiers import split
from .state import OptimiserState


def settings(opt: OptimiserState) -> Any:
    """What a program depends on in an optimiser's state, besides the values of arrays and numbers."""
    return tuple([(leaf.frozen, _kind_of_rule(leaf.rule), len(leaf.numbers)) for leaf in opt._leaves])


def _kind_of_rule(rule: Any) -> Any:
    """A rule's constants as text, and its functions; of the rules seen last, for this is asked in every call."""
    known, kind = _rules_seen.get(id(rule), (None, None))
    if known is not rule:
        kind = repr(constants(rule)), tuple(functions(rule))
        if len(_rules_seen) > 100:
            _rules_seen.clear()
        _rules_seen[id(rule)] = rule, kind
    return kind


_rules_seen: dict[int, tuple[Any, Any]] = {}


def functions(x: Any) -> Iterator[Any]:
    """The functions in a rule: schedules that are no records."""
    if isinstance(x, (tuple, list)) or _fields(x):
        for item in x if isinstance(x, (tuple, list)) else _fields(x).values():
            yield from functions(item)
    elif callable(x):
        yield x


def grouped(leaves: Sequence[Leaf]) -> list[list[Leaf]]:
    """Leaves that share rule and numbers."""
    groups: list[list[Leaf]] = []
    for leaf in leaves:
        alone = getattr(split(leaf.rule)[1], "whole", None) == "array"  # its numbers may depend on the array
        group = None if alone else next((group for group in groups if alike(group[0], leaf)), None)
        if group is None:
            groups.append([leaf])
        else:
            group.append(leaf)
    return groups


def alike(one: Leaf, other: Leaf) -> bool:
    return one is other or (one.rule, one.numbers) == (other.rule, other.numbers)


def numbers_of(leaf: Leaf) -> list[float]:
    """The floating-point numbers of a leaf's rule, but for those of its head, and the numbers of its state."""
    return [*floats(split(leaf.rule)[1]), *map(float, leaf.numbers)]


def numbers_of_head(head: Head) -> list[float]:
    """The same for a head: its numbers, and the steps made where it has schedules."""
    return [*floats(head.rule), *([] if head.t is None else [float(head.t)])]


def _fields(x: Any) -> dict[str, Any]:
    """The attributes of a rule, by name."""
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return {field.name: getattr(x, field.name) for field in dataclasses.fields(x)}
    return {} if callable(x) or isinstance(x, (types.ModuleType, np.random.Generator)) else getattr(x, "__dict__", {})


def floats(x: Any) -> Iterator[float]:
    """The floating-point numbers of a rule, in order."""
    if type(x) is float:
        yield x
    elif isinstance(x, (tuple, list)):
        for item in x:
            yield from floats(item)
    else:
        for value in _fields(x).values():
            yield from floats(value)


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
