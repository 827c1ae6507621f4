"""The update of a compiled iteration: the step of `optimise.step`, recorded with symbolic arrays and numbers."""

from __future__ import annotations

import dataclasses
import itertools
import types
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..arrays import is_array
from ..checks import a_or_an
from ..compile.guards.layouts import AS_WRITTEN, NUMBERS, SIMPLE, in_c
from ..compile.ir import program
from ..compile.ir.program import Recording
from ..compile.schedule.fuse import Result
from ..compile.trace.symbolic import Symbolic, check_dtype, node_of
from ..errors import NotCompilable
from ..nodes import attributes
from ..optimise.checks import gradients_of
from ..optimise.hyperparameters import everything, floats, program_key, refusing_change, with_numbers
from ..optimise.modifiers import split
from ..optimise.plan import Block, Group, Head, Leaf, Member, active_leaves, heads_of, members_of
from ..optimise.rule import kind_of, number_like
from ..optimise.state import OptimiserState
from ..optimise.step import apply_group, apply_heads, pieces
from ..types import Array, Tree
from .layer_state import overwriting

ELEMENTWISE = ("map", "view", "literal", "input", "reshape")  # what a rule may consist of


def settings(opt: OptimiserState) -> tuple[Any, list[Any]]:
    """What a program depends on in an optimiser's state, besides the values of arrays and numbers.

    Returns: a key; and what is for guards to look at.
    """
    rules = {id(leaf.rule): leaf.rule for leaf in opt._leaves}
    keys = {i: program_key(rule) for i, rule in rules.items()}
    key = tuple([(leaf.frozen, keys[id(leaf.rule)][0], len(leaf.numbers)) for leaf in opt._leaves])
    return key, [*{id(x): x for _, others in keys.values() for x in others}.values()]


class ProgramNumbers(NamedTuple):
    """The numbers of the state of some leaves, where a program counts them on: see `Layout.transfer_numbers`."""

    leaves: list[Leaf]
    before: tuple[Any, ...]
    now: Any

    @property
    def numbers(self) -> tuple[Any, ...]:
        return tuple([number_like(old, x) for old, x in zip(self.before, self.now.tolist())])


class RecordedUpdate:
    """The update that belongs to recorded gradients.

    Arguments:
        recording: where it is recorded.
        opt: the optimiser's state.
        grads: the gradient, a tree of symbolic arrays.
        symbols: the symbolic parameters by the ids of the real ones.

    Attributes:
        results: what becomes of the parameters, and of the optimiser's arrays and numbers.
        states: leaves, with the numbers of an array of their state and of the input that it is.
        slots: the numbers of the inputs that hyperparameters and numbers of states are, in the order of `numbers`.
    """

    def __init__(self, recording: Recording, opt: OptimiserState, grads: Tree, symbols: dict[int, Symbolic]) -> None:
        self.results: list[Result] = []
        self.states: list[tuple[Leaf, int, int]] = []
        self.slots: list[int] = []
        self._opt = opt
        self._recording = recording
        self._symbols = symbols
        gradients = [*gradients_of(opt, grads).values()]
        missing = [i for i, g in enumerate(gradients) if g is None]
        self._active = active_leaves(opt._leaves, missing)
        for rule in {id(leaf.rule): leaf.rule for _, leaf in self._active}.values():
            _refuse_hidden(rule)
        heads = heads_of(self._active)
        self._heads = [head.indices for head in heads]
        self._groups = members_of(opt._leaves, self._active, adjacent=False)
        symbolic_heads = [self._symbolic_head(head) for head in heads]
        with refusing_change(head.rule for head in symbolic_heads):
            gradients = apply_heads(symbolic_heads, gradients)
        for members in self._groups:
            self._record(self._symbolic_group(members), gradients)

    def _inputs(self, numbers: Iterable[float]) -> list[Symbolic]:
        """Inputs for hyperparameters and numbers of a state."""
        inputs = [self._recording.input((), np.float64, weak=True) for _ in numbers]
        self.slots += [node.params for node in inputs]
        return [Symbolic(node) for node in inputs]

    def _symbolic_head(self, head: Head) -> Head:
        inputs = self._inputs(_numbers_of_head(head))
        t = None if head.t is None else inputs[-1]
        if t is not None:
            self.results.append(overwriting(t.node, node_of(t + 1)))
        xs = [self._symbols[id(x)] for x in head.xs]
        return dataclasses.replace(head, rule=with_numbers(head.rule, iter(inputs)), xs=xs, t=t)

    def _symbolic_group(self, members: list[Member]) -> Group:
        rule, leaves = members[0].rule, [member.leaf for member in members]
        inputs = self._inputs(_numbers_of_group(members))
        counted = tuple(inputs[len(inputs) - len(leaves[0].numbers) :])
        blocks = [self._symbolic_block(member) for member in members]
        whole = getattr(rule, "whole", None) is not None
        indices = [member.number for member in members]
        return Group(with_numbers(rule, iter(inputs)), counted, leaves, indices, blocks, whole)

    def _symbolic_block(self, member: Member) -> Block:
        number, leaf = member.number, member.leaf
        arrays = [Symbolic(self._recording.input(a.shape, check_dtype(a.dtype))) for a in leaf.arrays]
        self.states += [(leaf, i, a.node.params) for i, a in enumerate(arrays)]
        shape = leaf.view.shape
        return self._symbols[id(leaf.view)], tuple(arrays), lambda gradients: gradients[number].reshape(shape)

    def _record(self, group: Group, gradients: list[Array]) -> None:
        """Record the step of a group of parameters."""
        before = len(self._recording.nodes)
        with refusing_change([group.rule]):
            changes, after = apply_group(group, gradients)
        new_nodes = itertools.islice(self._recording.nodes.values(), before, None)
        if not group.whole and any(node.op not in ELEMENTWISE for node in new_nodes):
            raise NotCompilable(
                f"{kind_of(group.leaves[0].rule)} brings the elements of an array together, which a rule must say: "
                'class … : whole = "array". Otherwise update steps neighbouring parameters together, and large '
                "ones piece by piece."
            )
        for olds, new in changes:
            shape = olds[0].shape if len(olds) == 1 else (sum(old.size for old in olds),)
            new = new if len(olds) == 1 and np.shape(new) else Symbolic(program.broadcast(node_of(new), shape))
            self.results += [overwriting(old.node, node_of(x)) for old, x in zip(olds, pieces(new, olds))]
        for old, now in zip(group.counted, after):
            if node_of(now) is not old.node:
                self.results.append(overwriting(old.node, node_of(now)))

    def fits(self) -> bool:
        """Whether parameters that the program steps alike are still to be stepped alike."""
        if self._heads and [head.indices for head in heads_of(self._active)] != self._heads:
            return False
        return all(_alike(group[0].leaf, member.leaf) for group in self._groups for member in group)

    def numbers(self, there: Array | None = None) -> Array:
        """Hyperparameters and numbers of states, float64, in the order of `slots`; the states' are the program's now.

        The program counts them on in this array, or in `there`, an array on the GPU.
        """
        numbers = [x for head in (heads_of(self._active) if self._heads else ()) for x in _numbers_of_head(head)]
        owned: list[tuple[list[Leaf], int]] = []  # leaves with numbers, and where these end
        for group in self._groups:
            numbers += _numbers_of_group(group)
            if group[0].leaf.numbers:
                owned.append(([member.leaf for member in group], len(numbers)))
        values = np.array(numbers, np.float64)
        owners = []
        for leaves, stop in owned:
            before = leaves[0].numbers
            now = values if there is None else there
            owners.append(ProgramNumbers(leaves, before, now[stop - len(before) : stop]))
        self._opt._layout.transfer_numbers(owners)
        return values


def _refuse_hidden(rule: Any) -> None:
    """NotCompilable where something in a rule may change unseen, in the recording too: a deque, or a generator, say."""
    for place, x in everything(rule):
        cls = type(x)
        if is_array(x) or callable(x) or isinstance(x, _CONSTANT) or cls in (list, dict):
            continue
        layout = next(base for base in cls.__mro__ if in_c(base))
        if layout not in (object, types.SimpleNamespace, tuple) or (layout is tuple and attributes(x)):
            raise NotCompilable(
                f"{place} is {a_or_an(cls.__name__)}, which can't be compiled: nothing shows when it changes. A rule "
                "may hold numbers, strings, arrays, functions, and tuples, lists, dicts and objects of them. Keep in "
                "the state what changes from step to step, and draw no random numbers."
            )


_CONSTANT = (*SIMPLE, *NUMBERS, *AS_WRITTEN, np.generic, frozenset, slice, types.ModuleType)


def _numbers_of_head(head: Head) -> list[float]:
    """The hyperparameters of a head, and the steps made where it has schedules."""
    return [*floats(head.rule), *([] if head.t is None else [float(head.t)])]


def _numbers_of_group(members: list[Member]) -> list[float]:
    """The hyperparameters that a group is stepped with now, and the numbers of its state."""
    leaf = members[0].leaf
    return [*floats(split(leaf.rule)[1]), *map(float, leaf.numbers)]


def _alike(one: Leaf, other: Leaf) -> bool:
    return one is other or (one.rule, one.numbers) == (other.rule, other.numbers)
