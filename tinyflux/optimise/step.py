"""What a step does with the arrays: groups of parameters are stepped block by block, on all cores, or by a kernel.

A step is made whole or not at all: what it changes is calculated first, and then written in one go that no interrupt
can split. New values of large groups would not stay in the cache until then; these are stepped block by block in
another thread, which no interrupt reaches, as the library's own rules don't fail.

Large groups are stepped by native code, where there is a C compiler: one pass over the memory for all that the rule
does, and no waiting for the interpreter between its operations. The blocks are NumPy's otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from operator import setitem
from typing import Any

import numpy as np

from .. import cores
from ..interrupts import commit, uninterrupted
from . import subnormal
from .flat import Block, Group, Head, Plan
from .rule import applied, is_ours
from .schedules import Scheduled, at

SHARED = 16  # blocks; from so many on they are stepped in their places, and several cores share a step
NATIVE = 64  # blocks, 16 MB; from so many on, compiling the step is soon made up for

Change = tuple[Any, ...]  # a function and its arguments: see `commit`


def step_all(plan: Plan, gradients: Sequence[Any], native: bool, also: Sequence[Change] = ()) -> None:
    """Step all leaves by their gradients, or none: whatever may fail comes before any change.

    Arguments:
        native: whether large groups may be stepped by native code.
        also: what else is to change with the parameters.
    """
    changes: list[Change] = [(setattr, head, "t", head.t + 1) for head in plan.heads if head.t is not None]
    gradients = _through_heads(plan.heads, gradients) if plan.heads else gradients
    in_place: list[Callable[[], Any]] = []
    for group in plan.groups:
        if group.kernel is not None:
            changes += group.kernel.calls_for([gradients[i] for i in group.indices])
        elif len(group.blocks) >= SHARED and not group.whole and is_ours(group.rule):
            in_place.append(_stepping_in_place(group, gradients, native))
            changes.append((setattr, group, "moved", _moved(group)))
        else:
            changes += _calculated(group, gradients)
    changes += also
    if in_place:
        uninterrupted(lambda: _finish(in_place, changes))
    else:
        commit(changes)


def _finish(in_place: Sequence[Callable[[], Any]], changes: Sequence[Change]) -> None:
    try:
        for step in in_place:
            step()
    finally:
        commit(changes)


def _through_heads(heads: Sequence[Head], gradients: Sequence[Any]) -> list[Any]:
    """The gradients as the heads leave them."""
    changed = list(gradients)
    for head in heads:
        rule = head.rule if head.t is None else at(head.rule, head.t)
        xs = [leaf.view.reshape(-1) for leaf in head.leaves]
        _, g = rule.apply((), _joined(xs), _joined([gradients[i].reshape(-1) for i in head.indices]))
        start = 0
        for i, leaf in zip(head.indices, head.leaves):
            stop = start + leaf.view.size
            changed[i] = g[start:stop].reshape(leaf.view.shape).astype(leaf.view.dtype, copy=False)
            start = stop
    return changed


def _calculated(group: Group, gradients: Sequence[Any]) -> list[Change]:
    """What is to be written for a group: its parameters, and the arrays and numbers of its state."""
    changes: list[Change] = []
    state: tuple[Any, ...] = ()
    rule, numbers = group.rule, group.numbers
    for blocks in [group.blocks] if group.whole else [[block] for block in group.blocks]:
        x, arrays, gather = blocks[0] if len(blocks) == 1 else _together(blocks)
        with subnormal.flushed(group.averages):
            state, delta = applied(rule, (*arrays, *numbers), x, gather(gradients))
            new = [_fitting(rule, value, old) for value, old in zip(state, arrays)]
            if delta is not None:
                step = delta if getattr(delta, "shape", ()) in (x.shape, ()) else _fitting(rule, delta, x)
                new.append(_fitting(rule, x - step, x))
        if len(blocks) == 1:
            changes += [(setitem, old, ..., value) for old, value in zip((*arrays, x), new)]
            continue
        start = 0
        for x, arrays, _ in blocks:
            piece = slice(start, start + x.size)
            start += x.size
            changes += [(setitem, old, ..., value[piece]) for old, value in zip((*arrays, x), new)]
    changes.append((setattr, group, "moved", state[len(state) - len(numbers) :]))
    return changes


def _together(blocks: Sequence[Block]) -> Block:
    xs, states, gathers = zip(*blocks)
    return _joined(xs), tuple(map(_joined, zip(*states))), lambda gradients: _joined([f(gradients) for f in gathers])


def _joined(pieces: Sequence[Any]) -> Any:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _fitting(rule: Any, new: Any, old: Any) -> Any:
    """An array that can be written into `old` without fail: of its shape and dtype, and no view of what changes."""
    if type(new) is type(old) and new.dtype == old.dtype and new.shape == old.shape and new.base is None:
        return new
    try:
        return np.broadcast_to(np.asarray(new, like=old), old.shape).astype(old.dtype, casting="same_kind")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{type(rule).__name__}.apply gives what doesn't fit an array like x: {error}") from error


# What is stepped block by block in its place.


def _moved(group: Group) -> tuple[Any, ...]:
    """The numbers of a group's state after a step, by a step of no elements."""
    none = group.blocks[0][0][:0]
    arrays = [none for _ in group.blocks[0][1]]
    state, _ = group.rule.apply((*arrays, *group.numbers), none, none)
    return tuple(state[len(arrays) :])


def _stepping_in_place(group: Group, gradients: Sequence[Any], native: bool) -> Callable[[], Any]:
    """A function that steps the leaves of a group, and hardly fails."""
    rule, numbers = group.rule, group.numbers
    if isinstance(rule, Scheduled):  # a schedule may be any function
        rule, numbers = at(rule.rule, numbers[-1]), numbers[:-1]
    code = _native(group, rule, numbers) if native and len(group.blocks) >= NATIVE else None
    gradients = [g if g is None else g.reshape(-1) for g in gradients]  # once: a transposed gradient is copied here
    work = functools.partial(_step_blocks, group, rule, numbers, gradients, code)
    return functools.partial(cores.share, work, group.blocks)


Native = Callable[[Any, Sequence[Any], Any], bool]


def _native(group: Group, rule: Any, own: tuple[Any, ...]) -> Native | None:
    """What steps a block of this step by native code, if it is one that the code is for: it says whether it has."""
    from ..training.native_update import native_step
    from .numbers import floats

    x, arrays, _ = max(group.blocks, key=lambda block: block[0].size)
    code = native_step(rule, (*arrays, *own), x)
    if code is None:
        return None
    numbers = np.array([*floats(rule), *own], np.float64)

    def step(x: Any, arrays: Sequence[Any], g: Any) -> bool:
        fits = x.size == code.size and g.dtype == x.dtype and g.flags.carray
        if fits:
            code(x, arrays, g, numbers)
        return fits

    return step


def _step_blocks(
    group: Group,
    rule: Any,
    numbers: tuple[Any, ...],
    gradients: Sequence[Any],
    native: Native | None,
    blocks: Sequence[Block],
) -> None:
    """Step some blocks of a group; where overflows are to be errors, they are raised when all is done."""
    late: Exception | None = None
    with subnormal.flushed(group.averages):
        for x, arrays, gather in blocks:
            g = gather(gradients)
            if native is not None and native(x, arrays, g):
                continue
            try:
                state, new = _stepped(rule, (*arrays, *numbers), x, g)
            except (FloatingPointError, Warning) as error:
                late = error
                with np.errstate(all="ignore"):
                    state, new = _stepped(rule, (*arrays, *numbers), x, g)
            for old, value in zip((*arrays, x), (*state[: len(arrays)], new)):
                old[...] = value
    if late is not None:
        raise late


def _stepped(rule: Any, state: tuple[Any, ...], x: Any, g: Any) -> tuple[tuple[Any, ...], Any]:
    new, delta = rule.apply(state, x, g)
    return new, x if delta is None else x - delta
