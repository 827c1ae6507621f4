"""What a step does with the arrays: groups of parameters are stepped block by block, on all cores, or by a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import cores
from . import subnormal
from .flat import Block, Group

SHARED = 16  # blocks; from so many on, several cores share a step


def step_all(groups: Sequence[Group], gradients: Sequence[Any]) -> None:
    """Step all groups, given the gradients of all leaves: whole ones first, which may refuse, and nothing is done."""
    for group, (state, delta) in [(group, _applied(group, gradients)) for group in groups if group.whole]:
        _write(group, state, delta)
    for group in groups:
        if group.kernel is not None:
            group.kernel.step([gradients[i] for i in group.indices])
        elif not group.whole:
            _step(group, gradients)


def _step(group: Group, gradients: Sequence[Any]) -> None:
    """Step the leaves of a group block by block; the numbers of its state move on once, after the last block."""
    if len(group.blocks) < SHARED:
        numbers = _step_blocks(group, group.blocks, gradients)
    else:
        cores.keep_memory()
        numbers = cores.share(lambda blocks: _step_blocks(group, blocks, gradients), group.blocks)[0]
    _move_on(group, numbers)


def _step_blocks(group: Group, blocks: Sequence[Block], gradients: Sequence[Any]) -> tuple[Any, ...]:
    state: tuple[Any, ...] = ()
    with subnormal.flushed(group.averages):
        for x, arrays, gather in blocks:
            state, delta = group.rule.apply((*arrays, *group.numbers), x, gather(gradients))
            if delta is not None:
                np.subtract(x, delta, out=x)
            for old, new in zip(arrays, state):
                old[...] = new
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
