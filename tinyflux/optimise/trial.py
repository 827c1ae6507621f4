"""A user's rule, tried out on a few numbers: whether it needs to see them together, and whether it changes itself."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..arrays import default_rng
from ..checks import shown
from ..types import Array
from .hyperparameters import changes, everything, snapshot
from .modifiers import OptimiserChain, split
from .rule import initial, is_ours, kind_of, stepped
from .scheduled import Scheduled, at, scheduled

X = np.array([1.0, -2.0, 0.5, 3.0])
GRADIENTS = np.array([0.3, -1.0, 2.0, 0.7]), np.array([-1.5, 0.2, 0.4, 5.0])  # of two steps
ALL = slice(0, 4)
PIECES = {None: (slice(0, 1), slice(1, 2)), "array": (ALL, ALL)}  # what one rule may step, one after the other
_GENERATORS = np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random


def try_out(rule: Any) -> None:
    """Refuse a user's rule whose steps would depend on how `update` calls it, and that doesn't say so, or not rightly.

    `update` calls `apply` on parameters side by side, and on pieces of a large one. The norms of a rule that brings
    elements together would be wrong, and a rule that counts in itself would count the pieces.

    Errors: ValueError. A rule that fails here, or whose steps are random, is left for the update to judge.
    """
    if is_ours(rule):
        return
    for part in _own(rule):
        whole = getattr(part, "whole", None)
        if whole not in (None, "array", "model"):
            raise ValueError(
                f'setup: {kind_of(part)}: expected whole to be None, "array" or "model", got {shown(whole)}.'
            )
    generator = default_rng().bit_generator
    before = generator.state
    try:
        for section in split(rule):  # which are stepped apart
            for part in _own(section):
                _try_part(part, getattr(section, "whole", None))
    finally:
        generator.state = before


def _own(rule: Any) -> Iterator[Any]:
    """The user's own rules in a rule."""
    if isinstance(rule, Scheduled):
        yield from _own(rule.rule)
    elif type(rule) is OptimiserChain:
        for part in rule.rules:
            yield from _own(part)
    elif rule is not None and not is_ours(rule):
        yield rule


def _try_part(part: Any, whole: str | None) -> None:
    """Try out a user's rule that `update` calls once, for each array, or for pieces, as `whole` says."""
    if whole == "model" and not scheduled(part):
        return  # it is called once in each step, always the same object
    rule = at(part, 0)
    try:
        with np.errstate(all="ignore"):
            fault = _fault(rule, whole)
    except Exception:
        return
    if fault:
        raise ValueError(f"setup: {kind_of(rule)}{fault}")


def _fault(rule: Any, whole: str | None) -> str:
    """What is to be said against a rule; nothing if it is as it should be."""
    together, before = _after_two_steps(rule, [ALL], watched=1)
    changed = changes(before, added=False)  # a log may grow
    if changed:
        return _changes(changed[0], whole)
    if whole == "model":
        return ""
    pieces = PIECES[whole]
    shared, _ = _after_two_steps(rule, pieces)
    if _same(shared, np.concatenate([together[piece] for piece in pieces])):
        return ""
    again, before = _after_two_steps(rule, [ALL], watched=0)
    if not np.array_equal(again, together):
        return ""  # it is random
    if _same(shared, np.concatenate([_after_two_steps(rule, [piece])[0] for piece in pieces])):
        return (
            " brings the elements of an array together, which a rule must say: "
            'class … : whole = "array". Otherwise update steps neighbouring parameters together, and large '
            "ones piece by piece."
        )
    if any(isinstance(x, _GENERATORS) for _, x in everything(rule)):
        return ""
    return _changes([*changes(before), "what no attribute shows"][0], whole)


def _changes(name: str, whole: str | None) -> str:
    """What is to be said against a rule that changes itself."""
    calls = {
        None: "update calls apply as often as is fastest, on pieces of a large parameter, say",
        "array": "update calls apply once for each parameter",
        "model": "a rule with schedules is made anew for each step",
    }
    return (
        f".apply changes {name}, a part of the rule, but {calls[whole]}. Keep in the state what changes from step to "
        "step: init gives it at the start, and apply returns what it is next."
    )


def _after_two_steps(rule: Any, pieces: Sequence[Any], watched: int | None = None) -> tuple[Array, list[Any]]:
    """The numbers X after two steps of a copy of the rule on these pieces, and a snapshot of it before one of them."""
    rule = copy.deepcopy(rule)  # it may hold a generator, or what it counts
    xs = [X[piece].copy() for piece in pieces]
    states = [initial(rule, x) for x in xs]
    before: list[Any] = []
    for t, g in enumerate(GRADIENTS):
        if t == watched:
            before = snapshot([rule])
        for i, piece in enumerate(pieces):
            states[i], xs[i] = stepped(rule, states[i], xs[i], g[piece].copy())
    return np.concatenate(xs), before


def _same(a: Array, b: Array) -> bool:
    return np.array_equal(a, b) or np.allclose(a, b, rtol=1e-9, atol=0, equal_nan=True)  # the first is quick
