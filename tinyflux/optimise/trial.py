"""A user's rule, tried out on a few numbers.

Whether it needs to see them together, or in the shape of their array, and whether it changes itself.
"""

from __future__ import annotations

import contextlib
import copy
import pickle
import random
import warnings
from collections.abc import Collection, Iterator, Sequence
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


def try_out(rule: Any, ndims: Collection[int]) -> None:
    """Refuse a user's rule whose steps would depend on how `update` calls it, and that doesn't say so, or not rightly.

    `update` calls `apply` on parameters side by side, and on pieces of a large one, all of them flat. The norms of a
    rule that brings elements together would be wrong, one that looks at x.ndim would always find 1, and one that counts
    in itself would count the pieces.

    Arguments:
        rule: the rule.
        ndims: how many axes the parameters have that it is to step, where they have several.

    Errors: ValueError; a RuntimeWarning for a rule that changes itself, though its first steps don't depend on that. A
    rule that fails here, or whose steps are random, is left for the update to judge.
    """
    if is_ours(rule):
        return
    for part in _own(rule):
        whole = getattr(part, "whole", None)
        if whole not in (None, "array", "model"):
            raise ValueError(
                f'setup: {kind_of(part)}: expected whole to be None, "array" or "model", got {shown(whole)}.'
            )
    for section in split(rule):  # which are stepped apart
        for part in _own(section):
            _try_part(part, getattr(section, "whole", None), ndims)


def _own(rule: Any) -> Iterator[Any]:
    """The user's own rules in a rule."""
    if isinstance(rule, Scheduled):
        yield from _own(rule.rule)
    elif type(rule) is OptimiserChain:
        for part in rule.rules:
            yield from _own(part)
    elif rule is not None and not is_ours(rule):
        yield rule


def _try_part(part: Any, whole: str | None, ndims: Collection[int]) -> None:
    """Try out a user's rule that `update` calls once, for each array, or for pieces, as `whole` says."""
    if getattr(part, "whole", None) == "model" and not scheduled(part):
        return  # it asks for flat arrays, and is called once in each step, always the same object
    kind, text, before = None, "", _draws()
    try:
        with contextlib.suppress(Exception), np.errstate(all="ignore"):
            kind, text = next(_faults(part, whole, ndims), (None, ""))
        is_random = kind is not None and pickle.dumps(_draws()) != pickle.dumps(before)
    finally:
        for generator, state in zip(_generators(), before):
            generator.state = state
        random.setstate(before[-1])
    if kind is None or is_random:
        return
    fault = kind(f"setup: {kind_of(part)}{text}")
    if not isinstance(fault, Warning):
        raise fault
    warnings.warn(fault, stacklevel=5)  # of who called setup


def _generators() -> list[Any]:
    """Those of tinyflux and NumPy that draw for everybody."""
    return [default_rng().bit_generator, np.random.get_bit_generator()]  # type: ignore[attr-defined]  # not in its stub


def _draws() -> list[Any]:
    """How far the generators are that draw for everybody, Python's last."""
    return [*(generator.state for generator in _generators()), random.getstate()]


def _faults(part: Any, whole: str | None, ndims: Collection[int]) -> Iterator[tuple[type[Exception], str]]:
    """What is to be said against a rule: by an error, or a warning where what it holds changes, and its steps don't."""
    rule, ndim = at(part, 0), max(ndims, default=1) if whole == "array" else 1
    together, before = _after_two_steps(rule, [ALL], ndim, watched=1)
    changed = changes(before, added=False)  # a log may grow
    if changed and whole == "model" and scheduled(part):
        yield ValueError, _changes(changed[0], whole)
    if whole in PIECES:
        for fault in _faults_of_pieces(rule, whole, ndim, together):
            yield ValueError, fault
    for n in ndims if whole != "array" and getattr(part, "whole", None) is None else ():
        shaped, _ = _after_two_steps(rule, [ALL], n)
        if not _same(shaped, together) and np.array_equal(_after_two_steps(rule, [ALL])[0], together):
            yield ValueError, _AXES.format(n)
    if changed and whole != "model":
        yield RuntimeWarning, _changes(changed[0], whole)
    for fault in _faults_of_the_step(rule, ndim):
        yield RuntimeWarning, fault


def _faults_of_the_step(rule: Any, ndim: int) -> Iterator[str]:
    """Faults of a first step: it is the new parameter, or the same for every gradient."""
    rule, x = copy.deepcopy(rule), _shaped(X, ndim)  # one copy, which goes on drawing if it is random
    gradients = [_shaped(g, ndim) for g in (0 * X, *GRADIENTS)]
    still, step, other = (x - stepped(rule, initial(rule, x), x.copy(), g)[1] for g in gradients)
    if np.array_equal(still, x) and np.vdot(step - x, gradients[1]) < 0:
        yield ".apply seems to return the new parameter. Return the step that is subtracted: 0.1 * g, not x - 0.1 * g."
    if np.ptp(step) and np.array_equal(step, other):
        yield ".apply makes the same step for every gradient. Its arguments in their order: apply(self, state, x, g)."


_AXES = (
    " makes other steps for an array of {} axes than for the same numbers in a line. A rule must say so: class … : "
    'whole = "array". Otherwise update gives it flat arrays, and x.ndim is always 1.'
)


def _faults_of_pieces(rule: Any, whole: str | None, ndim: int, together: Array) -> Iterator[str]:
    """What is to be said against a rule that steps pieces otherwise, as one rule after the other, than alone."""
    tried = copy.deepcopy(rule)
    before = snapshot([tried])
    initial(tried, _shaped(X, ndim))
    if changes(before):
        return  # it tells parameters apart by their order: init is called once for each
    pieces = PIECES[whole]
    shared, _ = _after_two_steps(rule, pieces, ndim)
    if _same(shared, np.concatenate([together[piece] for piece in pieces])):
        return
    again, before = _after_two_steps(rule, [ALL], ndim, watched=0)
    if not np.array_equal(again, together):
        return  # it is random
    if _same(shared, np.concatenate([_after_two_steps(rule, [piece], ndim)[0] for piece in pieces])):
        yield (
            " brings the elements of an array together, which a rule must say: "
            'class … : whole = "array". Otherwise update steps neighbouring parameters together, and large '
            "ones piece by piece."
        )
    elif not any(isinstance(x, _GENERATORS) for _, x in everything(rule)):
        yield _changes([*changes(before), "what no attribute shows"][0], whole)


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


def _after_two_steps(
    rule: Any, pieces: Sequence[Any], ndim: int = 1, watched: int | None = None
) -> tuple[Array, list[Any]]:
    """What two steps of a copy of a rule make of pieces of X with so many axes, and a snapshot of it before one."""
    rule = copy.deepcopy(rule)  # it may hold a generator, or what it counts
    xs = [_shaped(X[piece], ndim) for piece in pieces]
    states = [initial(rule, x) for x in xs]
    before: list[Any] = []
    for t, g in enumerate(GRADIENTS):
        if t == watched:
            before = snapshot([rule])
        for i, piece in enumerate(pieces):
            states[i], xs[i] = stepped(rule, states[i], xs[i], _shaped(g[piece], ndim))
    return np.concatenate([x.reshape(-1) for x in xs]), before


def _shaped(x: Array, ndim: int) -> Array:
    """A copy of x with so many axes, where there can be several: a matrix of 2 × 2, and axes of length 1 between."""
    return x.reshape(2, *[1] * (ndim - 2), 2).copy() if ndim > 1 else x.copy()


def _same(a: Array, b: Array) -> bool:
    return np.array_equal(a, b) or np.allclose(a, b, rtol=1e-9, atol=0, equal_nan=True)  # the first is quick
