"""A rule with schedules among its hyperparameters: it counts the steps, and asks for the numbers of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import NotCompilable
from ..nodes import rebuild
from ..types import Array
from .rule import (
    Pending,
    Rule,
    State,
    applied,
    average_of,
    check_number,
    check_state,
    fields,
    initial,
    inner_rules,
    is_rule,
    number,
    with_fields,
)
from .schedules import Schedule


@dataclass(frozen=True)
class Scheduled(Rule):
    """A rule with functions of the step among its hyperparameters; `setup` makes it of such a rule."""

    rule: Any

    def __repr__(self) -> str:
        return repr(self.rule)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "rule":
            raise AttributeError(name)
        return getattr(self.rule, name)

    @property
    def whole(self) -> str | None:  # type: ignore[override]
        return getattr(self.rule, "whole", None)

    def init(self, x: Array) -> State:
        return (*initial(at(self.rule, 0), x), 0)  # the steps made

    def average(self, state: State, x: Array) -> Array | None:
        return average_of(self.rule, state[:-1], x)

    def check_state(self, arrays: State, numbers: State) -> None:
        *own, t = numbers
        check_number(t, count=True)
        check_state(at(self.rule, t), arrays, tuple(own))

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        *own, t = state
        new, delta = applied(at(self.rule, t), tuple(own), x, g)
        if isinstance(delta, Pending):
            return (*new, np.where(delta.due, t + 1, t)), delta
        return (*new, t if delta is None else t + 1), delta  # while gradients are gathered no step is made


def at(x: Any, t: Any, ours: bool = True) -> Any:
    """A rule with numbers in the place of its schedules: those for the step after t steps.

    Arguments:
        ours: whether `x` stands in a rule of the library; in a user's, a function that is no record may be anything.
    """
    if isinstance(x, tuple):
        return rebuild(x, [at(item, t, ours) for item in x])
    if is_rule(x):
        return with_fields(x, {name: at(value, t, isinstance(x, Rule)) for name, value in fields(x).items()})
    if not _is_schedule(x, ours):
        return x
    try:
        value = number(x(t))
    except NotCompilable as error:
        raise NotCompilable(f"a schedule is compiled with its rule, and this one can't be: {error}") from error
    return float(value) if isinstance(value, int) else value


def scheduled(x: Any, ours: bool = True) -> bool:
    """Whether a schedule stands anywhere in a rule."""
    if isinstance(x, tuple):
        return any(scheduled(item, ours) for item in x)
    if is_rule(x):
        return any(scheduled(value, isinstance(x, Rule)) for value in fields(x).values())
    return _is_schedule(x, ours)


def at_rest(leaves: Iterable[Any], steps: int) -> bool:
    """Whether the rates of all leaves that aren't frozen are 0 at 17 of the next `steps` steps.

    They lie closer at first, at all distances: a rate may be 0 but for every fourth step.
    """
    moved = [leaf for leaf in leaves if not leaf.frozen]
    return bool(moved) and all(
        isinstance(leaf.rule, Scheduled) and _is_zero(at(leaf.rule.rule, leaf.numbers[-1] + (steps - 1) * i * i // 256))
        for leaf in moved
        for i in range(17)
    )


def _is_zero(rule: Any) -> bool:
    """Whether the rate of a rule, or of one in its chain, is 0."""
    return bool(fields(rule).get("eta", 1) == 0) or any(map(_is_zero, inner_rules(rule)))


def _is_schedule(x: Any, ours: bool) -> bool:
    return isinstance(x, Schedule) or (ours and callable(x))
