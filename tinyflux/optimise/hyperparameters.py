"""The numbers of optimiser rules: what a program takes as inputs, and what makes it another program."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..arrays import is_array, on_gpu, to_numpy
from ..checks import type_of
from ..errors import NotCompilable
from ..nodes import OBJECT, WHOLE, attributes, is_subclassed, node_kind, rebuild
from .rule import is_ours, is_rule, remembered


def program_key(rule: Any) -> tuple[str, Sequence[Any]]:
    """What a program depends on in a rule: its constants as text; and what is for guards to look at."""
    return _known_key(rule) if is_ours(rule) else _key(rule)  # a user's may change


def _key(rule: Any) -> tuple[str, Sequence[Any]]:
    others = [*code(rule)]
    return repr(constants(rule)), others


_known_key = remembered(_key)


def code(rule: Any) -> Iterator[Any]:
    """The user's code in a rule (schedules that are no records; classes of records, and how they step), and arrays."""
    for x in _parts(rule):
        if is_array(x) or (callable(x) and not _inside(x)):
            yield x
        elif (is_rule(x) or _fields(x) or is_subclassed(x)) and not is_ours(x):
            yield type(x)
            yield from [type(x).apply] if hasattr(type(x), "apply") else []


def floats(rule: Any) -> Iterator[float]:
    """The floating-point numbers of a rule, in order."""
    return (x for x in _parts(rule) if type(x) is float)


def _parts(x: Any, around: tuple[Any, ...] = (), seen: dict[int, Any] | None = None) -> Iterator[Any]:
    """A rule, and all that stands in it, what stands in two places once; NotCompilable where that is the rule itself.

    Only numbers and tuples are told apart by their places: they can't change, so one may as well be two.
    """
    seen = {} if seen is None else seen
    if any(x is outer for outer in around):
        raise NotCompilable(
            f"{type_of(x)}, a part of the rule, holds itself, which can't be compiled. Keep the reference out "
            "of its attributes."
        )
    if id(x) in seen:
        return
    if not isinstance(x, (float, tuple)):
        seen[id(x)] = x
    yield x
    inside = _inside(x)
    for item in inside.values() if isinstance(inside, dict) else inside:
        yield from _parts(item, (*around, x), seen)


def _inside(x: Any) -> Any:
    """What stands in a tuple or a list: itself; what stands in a dict or a record: by name."""
    if isinstance(x, (tuple, list)) or type(x) is dict:
        return x
    return () if type(x) is float else _fields(x)


_CLOSED = (*WHOLE, np.random.Generator, np.random.RandomState, random.Random)  # objects that aren't looked into


def _fields(x: Any) -> dict[str, Any]:
    """The attributes of a rule, by name: also those of a record that are no fields of it."""
    record = dataclasses.is_dataclass(x) and not isinstance(x, type)
    return {} if (callable(x) and not record) or isinstance(x, _CLOSED) else _attributes(x)


def _attributes(x: Any) -> dict[str, Any]:
    """What stands in the attributes of an object, in slots or not."""
    node_kind(type(x))  # which notes the slots of its class
    return dict(attributes(x))


def constants(x: Any, seen: dict[int, int] | None = None) -> Any:
    """What is left of a rule without its floating-point numbers, and which of its parts stand in two places."""
    seen = {} if seen is None else seen
    if type(x) is float:
        return float
    if isinstance(x, tuple):
        return type(x), [constants(item, seen) for item in x]
    if is_array(x):
        return id(x)
    if id(x) in seen:
        return ..., seen[id(x)]
    fields = {} if isinstance(x, (list, dict)) else _fields(x)
    if fields or isinstance(x, (list, dict)):
        seen[id(x)] = len(seen)
    if isinstance(x, list):
        return [constants(item, seen) for item in x]
    if type(x) is dict:
        return {key: constants(item, seen) for key, item in x.items()}
    return (type(x), {name: constants(value, seen) for name, value in fields.items()}) if fields else x


def with_numbers(x: Any, numbers: Iterator[Any], made: dict[int, Any] | None = None) -> Any:
    """A rule with others in the place of its floating-point numbers; unlike `replace`, nothing checks their values.

    What stands in two places of it still does.
    """
    made = {} if made is None else made
    if type(x) is float:
        return next(numbers)
    if id(x) in made:
        return made[id(x)]
    if isinstance(x, (tuple, list)):
        new = rebuild(x, [with_numbers(item, numbers, made) for item in x])
    elif type(x) is dict:
        new = {key: with_numbers(item, numbers, made) for key, item in x.items()}
    else:
        fields = _fields(x)
        if not (fields or is_rule(x)):
            return x
        new = copy.copy(x)
        for name, value in fields.items():
            object.__setattr__(new, name, with_numbers(value, numbers, made))
    if not isinstance(x, tuple):
        made[id(x)] = new
    return new


class ChangesItself(NotCompilable):
    """A rule has changed itself: one that counts does so in every step, one that fills a cache in the first."""


@contextlib.contextmanager
def refusing_change(rules: Iterable[Any]) -> Iterator[None]:
    """ChangesItself where a rule changes itself meanwhile, as a program would not; what it held is put back."""
    before = snapshot(rules)
    changed: list[str] = []
    try:
        yield
    finally:
        changed = changes(before)
        for _, x, held in before:
            _put_back(x, held)
    if changed:
        raise ChangesItself(
            f"apply changes {changed[0]}, a part of the rule, which can't be compiled. Keep in the state what changes "
            "from step to step."
        )


def snapshot(rules: Iterable[Any]) -> list[tuple[str, Any, Any]]:
    """All that stands in rules: for each part its place, and what it holds."""
    return [(place, x, _held(x)) for rule in rules for place, x in everything(rule)]


def changes(before: Iterable[tuple[str, Any, Any]], added: bool = True) -> list[str]:
    """The ways to what is another than it was when this snapshot was taken, and to what was added since, if wanted."""
    return [place + _step(x, key) for place, x, held in before for key in _changed(x, held, added)]


def everything(rule: Any) -> Iterator[tuple[str, Any]]:
    """A rule, and all that stands in it, also in what it calls: each with its place, from the rule's name on."""
    found: dict[int, Any] = {}

    def walk(x: Any, place: str) -> Iterator[tuple[str, Any]]:
        if id(x) not in found:
            found[id(x)] = x
            place = type(x).__name__ if is_rule(x) else place
            yield place, x
            called = callable(x) and node_kind(type(x)) == OBJECT and not is_ours(x)
            inside = _attributes(x) if called else _inside(x)
            for key, item in inside.items() if isinstance(inside, dict) else enumerate(inside):
                yield from walk(item, place + _step(x, key))

    return walk(rule, "")


def _step(x: Any, key: Any) -> str:
    """The way to what stands in a part of a rule, as Python writes it; there is none to the numbers of an array."""
    if _in_memory(x):
        return ""
    return f"[{key!r}]" if isinstance(x, (tuple, list, dict)) else f".{key}"


def _held(x: Any) -> Any:
    """What stands in a part of a rule, by name; of an array, a copy."""
    if _in_memory(x):
        return x.copy()
    if isinstance(x, _CLOSED):
        return {}
    if isinstance(x, list):
        return dict(enumerate(x))
    return x.copy() if type(x) is dict else _attributes(x)


def _in_memory(x: Any) -> bool:
    """Whether `x` is an array with contents, not one that stands for a number of the rule while it is recorded."""
    return isinstance(x, np.ndarray) or (is_array(x) and on_gpu(x))


def _changed(x: Any, held: Any, added: bool = True) -> list[Any]:
    """The names of what stands in a part of a rule and is another than it held before; None for an array's numbers."""
    now = _held(x)
    if _in_memory(x):
        return [] if to_numpy(now).tobytes() == to_numpy(held).tobytes() else [None]
    return [key for key in {**held, **(now if added else {})} if not _equal(now.get(key, held), held.get(key, held))]


def _equal(a: Any, b: Any) -> bool:
    """Whether an object is the same, or a number that was worked out again and came out equal."""
    return a is b or (type(a) is type(b) and type(a) in (int, float) and a == b)


def _put_back(x: Any, held: Any) -> None:
    """Have a part of a rule hold again what it held before."""
    keys = _changed(x, held)
    if _in_memory(x):
        if keys:
            x[...] = held
    elif isinstance(x, list) and keys:
        x[:] = held.values()
    elif not isinstance(x, (type, *_CLOSED)):
        space = x if type(x) is dict else attributes(x)
        for key in keys:
            space.pop(key, None)
        space.update({key: held[key] for key in keys if key in held})
