"""What a step does with the arrays: groups of parameters are stepped block by block, on all cores, or by a kernel.

Large groups are stepped by native code, where there is a C compiler: one pass over the memory for all that the rule
does, and no waiting for the interpreter between its operations. The blocks are NumPy's otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import cores
from . import subnormal
from .flat import Block, Group, Head, Plan
from .schedules import Scheduled, at

SHARED = 16  # blocks; from so many on, several cores share a step
NATIVE = 64  # blocks, 16 MB; from so many on, compiling the step is soon made up for


def step_all(plan: Plan, gradients: Sequence[Any], native: bool) -> None:
    """Step all leaves by their gradients. What brings elements together comes first: it may refuse, before any change.

    Arguments:
        native: whether large groups may be stepped by native code.
    """
    gradients = _through_heads(plan.heads, gradients) if plan.heads else gradients
    for group, (state, delta) in [(group, _applied(group, gradients)) for group in plan.groups if group.whole]:
        _write(group, state, delta)
    for group in plan.groups:
        if group.kernel is not None:
            group.kernel.step([gradients[i] for i in group.indices])
        elif not group.whole:
            _step(group, gradients, native)


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
    for head in heads:
        head.t = None if head.t is None else head.t + 1
    return changed


def _step(group: Group, gradients: Sequence[Any], native: bool) -> None:
    """Step the leaves of a group block by block; the numbers of its state move on once, after the last block."""
    if len(group.blocks) > 1:  # in one piece, once: a transposed gradient would be copied for every block
        gradients = [g if g is None else g.reshape(-1) for g in gradients]
    if len(group.blocks) < SHARED:
        numbers = _step_blocks(group, group.blocks, gradients)
    else:
        code = _native(group) if native and len(group.blocks) >= NATIVE else None
        work = functools.partial(_step_blocks, group, gradients=gradients, native=code)
        numbers = cores.share(work, group.blocks)[0]
    _move_on(group, numbers)


Native = Callable[[Any, Sequence[Any], Any], bool]


def _native(group: Group) -> Native | None:
    """What steps a block of this step by native code, if it is one that the code is for: it says whether it has."""
    from ..compile.rule_numbers import floats
    from ..compile.stepping import native_step

    rule, own = group.rule, group.numbers
    if isinstance(rule, Scheduled):
        rule, own = at(rule.rule, own[-1]), own[:-1]
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
    group: Group, blocks: Sequence[Block], gradients: Sequence[Any], native: Native | None = None
) -> tuple[Any, ...]:
    """Step some blocks of a group; returns the numbers of the state as they are after the step."""
    state: tuple[Any, ...] = ()
    with subnormal.flushed(group.averages):
        for x, arrays, gather in blocks:
            g = gather(gradients)
            if native is not None and native(x, arrays, g):
                continue
            state, delta = group.rule.apply((*arrays, *group.numbers), x, g)
            if delta is not None:
                np.subtract(x, delta, out=x)
            for old, new in zip(arrays, state):
                old[...] = new
    if native is not None and not state:  # all by native code: the numbers alone
        none = blocks[0][0][:0]
        state, _ = group.rule.apply((*[none for _ in blocks[0][1]], *group.numbers), none, none)
    return state[len(state) - len(group.numbers) :]


def _applied(group: Group, gradients: Sequence[Any]) -> tuple[tuple[Any, ...], Any]:
    """What a rule that brings elements together makes of all blocks of a group."""
    xs, states, gathers = zip(*group.blocks)
    state = (*map(_joined, zip(*states)), *group.numbers)
    with subnormal.flushed(group.averages):
        return group.rule.apply(state, _joined(xs), _joined([gather(gradients) for gather in gathers]))


def _joined(pieces: Sequence[Any]) -> Any:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _write(group: Group, state: tuple[Any, ...], delta: Any) -> None:
    """Write what `_applied` gave back into the blocks."""
    start = 0
    for x, arrays, _ in group.blocks:
        stop = start + x.size
        if delta is not None:
            np.subtract(x, delta[start:stop], out=x)
        for old, new in zip(arrays, state):
            old[...] = new[start:stop]
        start = stop
    _move_on(group, state[len(state) - len(group.numbers) :])


def _move_on(group: Group, numbers: tuple[Any, ...]) -> None:
    group.numbers = numbers
    for leaf in group.leaves if numbers else ():
        leaf._numbers = numbers
