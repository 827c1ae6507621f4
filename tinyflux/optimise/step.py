"""What a step does: gradients go through the heads of rules, then groups of parameters are stepped.

`apply_heads` and `apply_group` say what becomes of the arrays, for NumPy's, CuPy's and symbolic ones alike: an update
that is compiled is recorded by the same functions. What follows writes it: a step is made whole or not at all, so all
is calculated first, and then written in one go that no interrupt can split.

New values of large groups would not stay in the cache until then. They are stepped block by block in another thread,
which no interrupt reaches (see `BlockwiseStep`), as the library's own rules don't fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import setitem
from typing import Any

import numpy as np

from ..interrupts import commit, uninterrupted
from ..types import Array
from . import subnormal
from .kernels.native import BlockwiseStep
from .plan import Group, Head, Plan
from .rule import applied, doesnt_fit, step_of
from .scheduled import at

Change = tuple[Any, ...]  # a function and its arguments: see `commit`


def apply_heads(heads: Sequence[Head], gradients: Sequence[Any]) -> list[Any]:
    """The gradients of all leaves, as the heads leave them."""
    changed = list(gradients)
    for head in heads:
        rule = head.rule if head.t is None else at(head.rule, head.t)
        x, g = _whole(rule, head.xs), _whole(rule, [gradients[i] for i in head.indices])
        _, g = rule.apply((), x, g)
        for i, old, piece in zip(head.indices, head.xs, pieces(g, head.xs)):
            changed[i] = piece.astype(old.dtype, copy=False)
    return changed


def apply_group(group: Group, gradients: Sequence[Any]) -> tuple[list[tuple[Sequence[Any], Any]], tuple[Any, ...]]:
    """What a step makes of a group of parameters and of their state.

    Arguments:
        gradients: those of all leaves.

    Returns: pairs of arrays and what becomes of them, joined where they are several (see `pieces`); and the numbers
    of the state after the step.
    """
    changes: list[tuple[Sequence[Any], Any]] = []
    numbers = state = group.numbers
    if group.whole:
        xs, states, gathers = zip(*group.blocks)
        arrays: list[Any] = [*zip(*states)]
        rule = group.rule
        x, g = _whole(rule, xs), _whole(rule, [gather(gradients) for gather in gathers])
        state, delta = applied(rule, (*[_whole(rule, a) for a in arrays], *numbers), x, g)
        if delta is not None:
            changes += [((x,), x - step) for x, step in zip(xs, pieces(step_of(delta), xs))]
        changes += [(olds, new if len(olds) > 1 else pieces(new, olds)[0]) for olds, new in zip(arrays, state)]
        return changes, state[len(arrays) :]
    for x, own, gather in group.blocks:
        state, delta = applied(group.rule, (*own, *numbers), x, gather(gradients))
        if delta is not None:
            changes.append(((x,), x - step_of(delta)))
        changes += [((old,), new) for old, new in zip(own, state)]
    return changes, state[len(state) - len(numbers) :]


def _whole(rule: Any, arrays: Sequence[Array]) -> Any:
    """What `apply` is given of the arrays of some parameters: all of them joined, or the only one in its shape."""
    return arrays[0] if rule.whole == "array" else _joined(arrays)


def _joined(arrays: Sequence[Array]) -> Any:
    """Arrays in one line, one after another."""
    flat = [a if a.ndim == 1 else a.reshape(-1) for a in arrays]
    return flat[0] if len(flat) == 1 else np.concatenate(flat)


def pieces(joined: Any, arrays: Sequence[Array]) -> list[Any]:
    """What was joined, cut into pieces of the shapes of these arrays; a number is the same for all."""
    if getattr(joined, "shape", ()) == ():
        return [joined] * len(arrays)
    found = []
    start = 0
    for a in arrays:
        piece = joined if len(arrays) == 1 else joined[start : start + a.size]
        found.append(piece.reshape(a.shape) if piece.shape == (a.size,) != a.shape else piece)
        start += a.size
    return found


def step_all(plan: Plan, gradients: Sequence[Any], native: bool, also: Sequence[Change] = ()) -> None:
    """Step all leaves by their gradients, or none: whatever may fail comes before any change.

    Arguments:
        native: whether large groups may be stepped by native code.
        also: what else is to change with the parameters.
    """
    changes: list[Change] = [(setattr, head, "t", head.t + 1) for head in plan.heads if head.t is not None]
    gradients = apply_heads(plan.heads, gradients) if plan.heads else gradients
    in_place: list[Callable[[], Any]] = []
    for group in plan.groups:
        kernel = group.kernel
        if kernel is None:
            changes += _written(group, gradients)
        elif isinstance(kernel, BlockwiseStep):
            in_place.append(kernel.work(gradients, native))
            changes.append((setattr, kernel, "numbers", kernel.numbers_afterwards()))
        else:
            changes += kernel.calls_for([gradients[i] for i in group.indices])
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


def _written(group: Group, gradients: Sequence[Any]) -> list[Change]:
    """What is to be written for a group: its parameters, and the arrays and numbers of its state."""
    with subnormal.flushed(bool(group.blocks[0][1])):
        found, numbers = apply_group(group, gradients)
        changes: list[Change] = [(setattr, group, "counted", numbers)]
        changing = {id(array) for x, state, _ in group.blocks for array in (x, *state)}
        for olds, new in found:
            shape = olds[0].shape if len(olds) == 1 else (sum(old.size for old in olds),)
            new = _fitting(group.rule, new.copy() if id(new) in changing else new, olds[0], shape)
            changes += [(setitem, old, ..., piece) for old, piece in zip(olds, pieces(new, olds))]
    return changes


def _fitting(rule: Any, new: Any, old: Any, shape: tuple[int, ...]) -> Any:
    """An array that can be written into ones like `old` without fail, and no view of what changes."""
    if type(new) is type(old) and new.dtype == old.dtype and new.shape == shape and new.base is None:
        return new
    try:
        return np.broadcast_to(np.asarray(new, like=old), shape).astype(old.dtype, casting="same_kind")
    except (TypeError, ValueError) as error:
        raise doesnt_fit(rule, error) from error
