"""The plan of a step: which parameters are stepped together, in which pieces, and by what.

Neighbours in a flat array that share a rule and its numbers form a group. A group is stepped in blocks that stay in the
cache, or by a kernel. A rule that brings elements together has groups of its own (see `Rule.whole`), or, where it only
changes gradients, is a head, which acts before any group is stepped (see `split`).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from .. import nodes
from ..arrays import on_gpu
from ..display import careful
from ..types import Array
from .kernels import kernel_step
from .kernels.native import BlockwiseStep
from .modifiers import split
from .rule import is_ours
from .scheduled import Scheduled

BLOCK_BYTES = 1 << 18  # of one array stepped at once: what a rule needs of such blocks stays in the cache
IN_PLACE = 16  # blocks; a group of so many is stepped in its place, by several cores


@dataclasses.dataclass
class Buffer:
    """Parameters that lie one after another in one flat array, and the rule's state arrays, flat as well.

    Where each parameter has a state of its own, there are none here.
    """

    x: Array
    state: tuple[Any, ...]

    def piece(self, start: int, stop: int) -> tuple[Any, tuple[Any, ...]]:
        return self.x[start:stop], tuple(a[start:stop] for a in self.state)


@nodes.carried_along
class Leaf:
    """How one parameter is stepped: what stands in its place in the optimiser's state.

    Attributes:
        path: where the parameter stands in the model, as Python writes it.
        rule: the rule that steps it.
        frozen: whether it is left as it is.
        arrays: those of the rule's state for it: of its shape, unless the rule measures each array.
        state: the same arrays, then numbers.
        numbers: the numbers of the state; reading them may wait for the GPU.
    """

    __slots__ = ("_numbers", "arrays", "buffer", "frozen", "layout", "path", "rule", "start", "stop", "view")
    layout: Layout | None

    def __init__(
        self,
        path: str,
        rule: Any,
        buffer: Buffer,
        start: int,
        view: Any,
        arrays: tuple[Any, ...],
        numbers: tuple[Any, ...],
    ) -> None:
        self.path = path
        self.rule = rule
        self.buffer = buffer
        self.start = start
        self.stop = start + view.size
        self.view = view
        self.arrays = arrays
        self.layout = None
        self._numbers = numbers
        self.frozen = False

    @property
    def numbers(self) -> tuple[Any, ...]:
        if self.layout is not None:
            self.layout.fetch_numbers()
        return self._numbers

    @numbers.setter
    def numbers(self, numbers: tuple[Any, ...]) -> None:
        self._numbers = numbers

    @property
    def state(self) -> tuple[Any, ...]:
        return (*self.arrays, *self.numbers)

    def fill(self, rule: Any, numbers: tuple[Any, ...], frozen: bool, arrays: Sequence[Array]) -> None:
        """Take over a rule, its state (arrays, in NumPy or on the parameter's device, and numbers), and the flag."""
        self.invalidate_plan()
        for target, source in zip(self.arrays, arrays):
            target[...] = np.asarray(source, like=target)
        self.rule = rule
        self.numbers = numbers
        self.frozen = frozen

    def invalidate_plan(self) -> None:
        """Call this before the leaf gets another rule or other numbers, or is frozen or thawed."""
        if self.layout is not None:
            self.layout.invalidate_plan()

    @careful
    def __repr__(self) -> str:
        return f"Leaf({self.rule!r}{', frozen' if self.frozen else ''})"


Block = tuple[Any, tuple[Any, ...], Callable[[Sequence[Any]], Any]]  # pieces of x and state; gives the gradient's piece


@dataclasses.dataclass
class Group:
    """Leaves that are stepped alike, and the blocks that are their work.

    Attributes:
        counted: the numbers of the state after the steps made so far, where no kernel keeps them.
        indices: the numbers of the leaves among all.
        whole: whether `apply` has to be called once, with all blocks joined.
        kernel: what steps them all: a `KernelStep` on the GPU, a `BlockwiseStep` for many blocks on the CPU, or None.
    """

    rule: Any
    counted: tuple[Any, ...]
    leaves: list[Leaf]
    indices: list[int]
    blocks: list[Block]
    whole: bool
    kernel: Any = None

    @property
    def numbers(self) -> tuple[Any, ...]:
        """The numbers of the state; reading a kernel's may wait for the GPU."""
        return self.counted if self.kernel is None else self.kernel.numbers


@dataclasses.dataclass
class Head:
    """Parameters whose gradients a rule brings together, before any is stepped: see `split`.

    Attributes:
        xs: the parameters.
        indices: the numbers of their leaves among all.
        t: the steps made, where the rule has schedules: by the leaf that made the most.
    """

    rule: Any
    xs: list[Any]
    indices: list[int]
    t: Any


@dataclasses.dataclass
class Plan:
    """The work of a step in which the leaves of the numbers `missing` have no gradient."""

    missing: tuple[int, ...]
    heads: list[Head]
    groups: list[Group]


class NumberOwner(Protocol):
    """What holds the numbers that the states of some leaves share, and counts them on in every step."""

    @property
    def leaves(self) -> list[Leaf]: ...

    @property
    def numbers(self) -> tuple[Any, ...]: ...


class Layout:
    """The leaves of a state, and the plan of a step: made when first needed and whenever something has changed.

    The numbers of states belong to whatever steps the parameters, and are fetched when somebody asks for them.
    """

    def __init__(self, leaves: list[Leaf]) -> None:
        self.leaves = leaves
        self.current: Plan | None = None
        self._owners: Sequence[NumberOwner] = ()
        self._stale = False  # whether the owners may know of steps that the leaves don't
        for leaf in leaves:
            leaf.layout = self

    def invalidate_plan(self) -> None:
        """Call this before a leaf changes: the next step is planned anew."""
        self.transfer_numbers(())

    def transfer_numbers(self, owners: Sequence[NumberOwner]) -> None:
        """Leave the numbers to these objects from now on, and not to the groups of a plan."""
        self.fetch_numbers()
        self.current = None
        self._owners = owners
        self._stale = True

    def fetch_numbers(self) -> None:
        """Bring the numbers of states from their owners to the leaves."""
        if not self._stale:
            return
        for owner in self._owners:
            numbers = owner.numbers
            for leaf in owner.leaves:
                leaf.numbers = numbers
        self._stale = False

    def plan(self, missing: tuple[int, ...]) -> Plan:
        """The plan of a step that is to be made at once, in which the leaves `missing` have no gradient."""
        plan = self.current
        if plan is None or plan.missing != missing:
            self.invalidate_plan()
            active = active_leaves(self.leaves, missing)
            groups = [_group(run) for run in members_of(self.leaves, active, adjacent=True)]
            plan = Plan(missing, heads_of(active), groups)
            self._owners, self.current = plan.groups, plan
        self._stale = True  # soon
        return plan

    def mark_stale(self) -> None:
        """Call this before a step by the current plan."""
        self._stale = True


class Member(NamedTuple):
    """A leaf, its number among all, and the rule that steps it once its gradient has gone through a head."""

    number: int
    leaf: Leaf
    rule: Any


def active_leaves(leaves: Sequence[Leaf], missing: Sequence[int]) -> list[tuple[int, Leaf]]:
    """The leaves that are stepped, with their numbers."""
    return [(i, leaf) for i, leaf in enumerate(leaves) if not leaf.frozen and i not in missing]


def members_of(leaves: Sequence[Leaf], active: Sequence[tuple[int, Leaf]], adjacent: bool) -> list[list[Member]]:
    """The members of each group: of leaves that are stepped alike, and lie side by side if that is wanted."""
    groups: list[list[Member]] = []
    first = {id(leaf.buffer): i for i, leaf in reversed([*enumerate(leaves)])}
    for i, leaf in sorted(active, key=lambda pair: (first[id(pair[1].buffer)], pair[1].start)):
        member = Member(i, leaf, split(leaf.rule)[1])
        group = next((group for group in reversed(groups) if _together(group[-1], member, adjacent)), None)
        if group is None:
            groups.append([member])
        else:
            group.append(member)
    return groups


def heads_of(active: Sequence[tuple[int, Leaf]]) -> list[Head]:
    """The heads of leaves: one for all that share it where it is for the model, else one for each."""
    heads: list[Head] = []
    for i, leaf in active:
        rule, tail = split(leaf.rule)
        if rule is None:
            continue
        t = leaf.numbers[-1] if isinstance(tail, Scheduled) else None
        head = next((head for head in heads if rule.whole == "model" and head.rule == rule), None)
        if head is None:
            heads.append(Head(rule, [leaf.view], [i], t))
        else:
            head.xs.append(leaf.view)
            head.indices.append(i)
            head.t = None if t is None else max(t, head.t or 0)
    return heads


def _together(before: Member, member: Member, adjacent: bool) -> bool:
    """Whether two leaves are stepped together; where the rule wants all at once, wherever they are."""
    whole = getattr(member.rule, "whole", None)
    one, other = before.leaf, member.leaf
    near = not adjacent or (one.buffer is other.buffer and one.stop == other.start)
    fits = whole == "model" or (whole is None and near)
    return fits and before.rule == member.rule and one.numbers == other.numbers


def _group(run: list[Member]) -> Group:
    leaves, rule, numbers = [member.leaf for member in run], run[0].rule, run[0].leaf.numbers
    whole = getattr(rule, "whole", None) is not None
    blocks = [_whole_block(member) for member in run] if whole else _blocks(run)
    kernel: Any = None
    if not whole and on_gpu(leaves[0].view):
        starts = [*[leaf.start for leaf in leaves], leaves[-1].stop]
        kernel = kernel_step(rule, leaves[0].buffer.x, leaves[0].buffer.state, starts, numbers)
    elif not whole and len(blocks) >= IN_PLACE and is_ours(rule):
        kernel = BlockwiseStep(rule, numbers, blocks)
    return Group(rule, numbers, leaves, [member.number for member in run], blocks, whole, kernel)


def _whole_block(member: Member) -> Block:
    """A leaf as a block, in its shape."""
    number, leaf = member.number, member.leaf
    return leaf.view, leaf.arrays, lambda gradients: gradients[number]


def _blocks(run: list[Member]) -> list[Block]:
    """Small neighbours share a block and have their gradients joined; a large leaf is cut into several."""
    blocks: list[Block] = []
    small: list[Member] = []
    view = run[0].leaf.view
    size = sys.maxsize if on_gpu(view) else BLOCK_BYTES // view.itemsize
    for member in run:
        leaf = member.leaf
        if small and leaf.stop - small[0].leaf.start > size:
            blocks.append(_block(small))
            small = []
        if leaf.view.size > size:
            blocks += [_cut(member, i, min(i + size, leaf.view.size)) for i in range(0, leaf.view.size, size)]
        else:
            small.append(member)
    return [*blocks, _block(small)] if small else blocks


def _block(members: Sequence[Member]) -> Block:
    """Neighbours as one block."""
    numbers = [member.number for member in members]
    first, last = members[0].leaf, members[-1].leaf
    if len(numbers) == 1:
        return (*first.buffer.piece(first.start, first.stop), lambda gradients: gradients[numbers[0]].reshape(-1))
    gather = lambda gradients: np.concatenate([gradients[i].reshape(-1) for i in numbers])  # noqa: E731
    return (*first.buffer.piece(first.start, last.stop), gather)


def _cut(member: Member, start: int, stop: int) -> Block:
    """A part of a leaf as a block."""
    number, leaf = member.number, member.leaf
    gather = lambda gradients: gradients[number].reshape(-1)[start:stop]  # noqa: E731
    return (*leaf.buffer.piece(leaf.start + start, leaf.start + stop), gather)
