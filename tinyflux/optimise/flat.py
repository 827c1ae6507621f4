"""The flat arrays behind a model's parameters: how they are laid out, and how a step is cut into blocks.

Parameters of one dtype lie one after another in one flat array, the model's arrays being views of it; the rule's state
lies in flat arrays beside it. Neighbours that are stepped alike form a group; a group is stepped in blocks that stay in
the cache. A rule that brings elements together has groups of its own: see `Rule.whole`.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from .. import nodes, tree
from ..arrays import MixedDevices, device_of, on_gpu
from .modifiers import split
from .rule import initial
from .schedules import Scheduled

BLOCK_BYTES = 1 << 18  # of one array stepped at once: what a rule needs of such blocks stays in the cache


@dataclasses.dataclass
class Buffer:
    """Parameters that lie one after another in one flat array, and the rule's state arrays, flat as well."""

    x: Any
    state: tuple[Any, ...]


@nodes.carried_along
class Leaf:
    """How one parameter is stepped: what stands in its place in the optimiser's state.

    Attributes:
        path: where the parameter stands in the model, as Python writes it.
        rule: the rule that steps it.
        frozen: whether it is left as it is.
        state: the rule's state for it: arrays of the parameter's shape, then numbers.
        numbers: the numbers of the state; reading them may wait for the GPU.
    """

    __slots__ = ("_numbers", "buffer", "frozen", "layout", "path", "rule", "start", "stop", "view")
    layout: Layout | None

    def __init__(self, path: str, rule: Any, buffer: Buffer, start: int, view: Any, numbers: tuple[Any, ...]) -> None:
        self.path = path
        self.rule = rule
        self.buffer = buffer
        self.start = start
        self.stop = start + view.size
        self.view = view
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
        arrays = [a[self.start : self.stop].reshape(self.view.shape) for a in self.buffer.state]
        return (*arrays, *self.numbers)

    def fill(self, rule: Any, numbers: tuple[Any, ...], frozen: bool, arrays: Sequence[Any]) -> None:
        """Take over a rule, its state (arrays, in NumPy or on the parameter's device, and numbers), and the flag."""
        self.changing()
        for target, source in zip(self.state, arrays):
            target[...] = np.asarray(source, like=target)
        self.rule = rule
        self.numbers = numbers
        self.frozen = frozen

    def changing(self) -> None:
        """To be called before the leaf gets another rule or other numbers, or is frozen or thawed."""
        if self.layout is not None:
            self.layout.replan()

    def __repr__(self) -> str:
        return f"Leaf({self.rule!r}{', frozen' if self.frozen else ''})"


Block = tuple[Any, tuple[Any, ...], Callable[[Sequence[Any]], Any]]  # slices of x and state; the gradient's piece


@dataclasses.dataclass
class Group:
    """Leaves that are stepped alike, and the blocks that are their work.

    Attributes:
        moved: the numbers of the state, as they are after the steps made so far; of a kernel it is known better.
        indices: the numbers of the leaves among all.
        whole: whether `apply` has to be called once, with all blocks joined.
        kernel: what steps them in one launch on the GPU; None elsewhere, and for rules without one.
    """

    rule: Any
    moved: tuple[Any, ...]
    leaves: list[Leaf]
    indices: list[int]
    blocks: list[Block]
    whole: bool
    kernel: Any

    @property
    def numbers(self) -> tuple[Any, ...]:
        """The numbers of the state; reading a kernel's may wait for the GPU."""
        return self.moved if self.kernel is None else self.kernel.numbers

    @property
    def averages(self) -> bool:
        """Whether the rule's state has arrays, in which numbers can fade away."""
        return bool(self.blocks[0][1])


@dataclasses.dataclass
class Head:
    """Leaves whose gradients a rule brings together, before any leaf is stepped: see `split`.

    Attributes:
        indices: the numbers of the leaves among all.
        t: the steps made, where the rule has schedules: by the leaf that made the most.
    """

    rule: Any
    leaves: list[Leaf]
    indices: list[int]
    t: int | None


@dataclasses.dataclass
class Plan:
    """The work of a step in which the leaves of the numbers `missing` have no gradient."""

    missing: tuple[int, ...]
    heads: list[Head]
    groups: list[Group]


class Keeper(Protocol):
    """What holds the numbers that the states of some leaves have in common, and moves them on with every step."""

    @property
    def leaves(self) -> list[Leaf]: ...

    @property
    def numbers(self) -> tuple[Any, ...]: ...


class Layout:
    """The leaves of a state, and the plan of a step: made when first needed and whenever something has changed.

    The leaves' numbers move on where parameters are stepped, and are fetched when somebody asks.
    """

    def __init__(self, leaves: list[Leaf]) -> None:
        self.leaves = leaves
        self._plan: Plan | None = None
        self._keepers: Sequence[Keeper] = ()
        self._behind = False  # whether the keepers may know of steps that the leaves don't
        for leaf in leaves:
            leaf.layout = self

    def replan(self) -> None:
        """To be called before a leaf changes: the next step is planned anew."""
        self.hand_over(())

    def hand_over(self, keepers: Sequence[Keeper]) -> None:
        """Keep the numbers in these objects from now on, and not in the groups of a plan."""
        self.fetch_numbers()
        self._plan = None
        self._keepers = keepers
        self._behind = True

    def fetch_numbers(self) -> None:
        """Bring the numbers of states from where they move on to the leaves."""
        if not self._behind:
            return
        for keeper in self._keepers:
            numbers = keeper.numbers
            for leaf in keeper.leaves:
                leaf._numbers = numbers
        self._behind = False

    def plan(self, missing: tuple[int, ...]) -> Plan:
        """The plan of a step that is to be made at once, in which the leaves `missing` have no gradient."""
        plan = self._plan
        if plan is None or plan.missing != missing:
            self.replan()
            plan = _planned(self.leaves, missing)
            self._keepers, self._plan = plan.groups, plan
        self.moving()
        return plan

    def moving(self) -> None:
        self._behind = True  # soon


@dataclasses.dataclass(eq=False)
class Place:
    """Where a parameter stands in a model."""

    path: str
    array: Any
    container: Any
    key: Any

    @property
    def movable(self) -> bool:
        """Whether another array can be put here."""
        return self.container is not None


def places(node: Any, path: str = "", container: Any = None, key: Any = None) -> Iterator[Place]:
    """The places of all parameters of a tree; what stands in a tuple, or is the tree itself, can't be replaced."""
    if tree.is_array(node):
        if tree.is_parameter(node):
            yield Place(path, node, container, key)
        return
    skip = [f".{name}" for name in getattr(type(node), "buffers", ())]
    inside, keys = tree.entries(node)
    for (step, child), below in zip(tree.children(node), keys):
        if step not in skip:
            yield from places(child, path + step, inside, below)


def refuse_overlaps(found: Sequence[Place]) -> None:
    """A tied parameter is one array in several places; arrays that merely share memory would be untied unnoticed."""
    ordered = sorted({id(p.array): p for p in found}.values(), key=lambda p: _start(p.array))
    for before, after in itertools.pairwise(ordered):
        if np.shares_memory(before.array, after.array):
            raise ValueError(
                f"setup: the arrays at {before.path} and {after.path} share memory without being the same array, and "
                "would be stepped apart. Tie parameters by putting one array in both places, or copy one of them."
            )


def _start(x: Any) -> int:
    """The lowest address of an array's memory."""
    interface = x.__cuda_array_interface__ if on_gpu(x) else x.__array_interface__
    return int(interface["data"][0]) + sum((n - 1) * stride for n, stride in zip(x.shape, x.strides) if stride < 0)


def refuse_two_devices(found: Sequence[Place]) -> None:
    """The parameters of a model are stepped, and calculated with, on one device."""
    other = next((p for p in found if on_gpu(p.array) != on_gpu(found[0].array)), None)
    if other is not None:
        (first, here), (second, there) = ((p.path or "the root", device_of(p.array)) for p in (found[0], other))
        raise MixedDevices(
            f"setup: expected a model on one device, but {first} is {here}, and {second} {there}. Move all of it with "
            "flux.gpu(model) or flux.cpu(model)."
        )


def buckets(found: list[Place], fixed: set[int]) -> Iterator[list[Place]]:
    """Places whose arrays share a dtype, to be laid in one buffer; an array that can't be moved is its own."""
    movable: dict[Any, list[Place]] = {}
    for place in found:
        if id(place.array) in fixed:
            if not place.array.flags.c_contiguous or not getattr(place.array.flags, "writeable", True):
                name = place.path or "the root"
                fault = "read-only" if place.array.flags.c_contiguous else "not contiguous"
                raise ValueError(f"setup: the array at {name} is {fault} and can't be moved; put it in a list.")
            yield [place]
        else:
            movable.setdefault((type(place.array), place.array.dtype), []).append(place)
    yield from movable.values()


def flatten(rule: Any, bucket: list[Place], fixed: bool) -> Iterator[tuple[Place, Any, Leaf]]:
    """Lay the arrays of a bucket into one buffer: for each its place, the view that is to stand there, and its leaf."""
    x = bucket[0].array.reshape(-1) if fixed else np.concatenate([place.array.reshape(-1) for place in bucket])
    state = initial(rule, x)
    arrays = tuple(s for s in state if tree.is_array(s))
    numbers = state[len(arrays) :]
    if any(tree.is_array(s) for s in numbers):
        raise TypeError(f"setup: {type(rule).__name__}.init must give arrays first, then numbers; got {state!r}.")
    buffer = Buffer(x, arrays)
    start = 0
    for place in bucket:
        stop = start + place.array.size
        view = place.array if fixed else x[start:stop].reshape(place.array.shape)
        yield place, view, Leaf(place.path, rule, buffer, start, view, numbers)
        start = stop


def _planned(leaves: list[Leaf], missing: tuple[int, ...]) -> Plan:
    """Gather leaves that share rule and numbers, and cut them into blocks."""
    runs: list[list[Member]] = []
    active = [(i, leaf) for i, leaf in enumerate(leaves) if not leaf.frozen and i not in missing]
    first = {id(leaf.buffer): i for i, leaf in reversed([*enumerate(leaves)])}
    for i, leaf in sorted(active, key=lambda pair: (first[id(pair[1].buffer)], pair[1].start)):
        member = Member(i, leaf, split(leaf.rule)[1])
        run = next((run for run in reversed(runs) if _together(run[-1], member)), None)
        if run is None:
            runs.append([member])
        else:
            run.append(member)
    return Plan(missing, heads_of(active), [_group(run) for run in runs])


class Member(NamedTuple):
    """A leaf among all, and the rule that steps it once its gradient has gone through a head."""

    number: int
    leaf: Leaf
    rule: Any


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
            heads.append(Head(rule, [leaf], [i], t))
        else:
            head.leaves.append(leaf)
            head.indices.append(i)
            head.t = None if t is None else max(t, head.t or 0)
    return heads


def _together(before: Member, member: Member) -> bool:
    """Whether two leaves are stepped together: side by side, or wherever they are where the rule wants all at once."""
    whole = getattr(member.rule, "whole", None)
    adjacent = before.leaf.buffer is member.leaf.buffer and before.leaf.stop == member.leaf.start
    fits = whole == "model" or (whole is None and adjacent)
    return fits and before.rule == member.rule and before.leaf.numbers == member.leaf.numbers


def _group(run: list[Member]) -> Group:
    leaves, rule = [member.leaf for member in run], run[0].rule
    whole = getattr(rule, "whole", None) is not None
    pairs = [(member.number, member.leaf) for member in run]
    blocks = [_joined([pair]) for pair in pairs] if whole else _blocks(pairs)
    kernel = None if whole else _kernel(rule, leaves)
    return Group(rule, leaves[0].numbers, leaves, [member.number for member in run], blocks, whole, kernel)


def _kernel(rule: Any, leaves: list[Leaf]) -> Any:
    """What steps neighbouring leaves in one launch, if they lie on the GPU and their rule has a kernel."""
    buffer = leaves[0].buffer
    if not on_gpu(buffer.x):
        return None
    from .kernels import kernel_step

    starts = [*[leaf.start for leaf in leaves], leaves[-1].stop]
    return kernel_step(rule, buffer.x, buffer.state, starts, leaves[0].numbers)


def _blocks(members: list[tuple[int, Leaf]]) -> list[Block]:
    """Small neighbours share a block and have their gradients joined; a large leaf is cut into several."""
    blocks: list[Block] = []
    small: list[tuple[int, Leaf]] = []
    size = sys.maxsize if on_gpu(members[0][1].view) else BLOCK_BYTES // members[0][1].view.itemsize
    for i, leaf in members:
        if small and leaf.stop - small[0][1].start > size:
            blocks.append(_joined(small))
            small = []
        if leaf.view.size > size:
            cuts = range(0, leaf.view.size, size)
            blocks += [_cut(i, leaf, start, min(start + size, leaf.view.size)) for start in cuts]
        else:
            small.append((i, leaf))
    return [*blocks, _joined(small)] if small else blocks


def _joined(members: list[tuple[int, Leaf]]) -> Block:
    numbers = [i for i, _ in members]
    buffer, start, stop = members[0][1].buffer, members[0][1].start, members[-1][1].stop
    if len(members) == 1:
        return _block(buffer, start, stop, lambda gradients: gradients[numbers[0]].reshape(-1))
    return _block(buffer, start, stop, lambda gradients: np.concatenate([gradients[i].reshape(-1) for i in numbers]))


def _cut(number: int, leaf: Leaf, start: int, stop: int) -> Block:
    gather = lambda gradients: gradients[number].reshape(-1)[start:stop]  # noqa: E731
    return _block(leaf.buffer, leaf.start + start, leaf.start + stop, gather)


def _block(buffer: Buffer, start: int, stop: int, gather: Callable[[Sequence[Any]], Any]) -> Block:
    return buffer.x[start:stop], tuple(a[start:stop] for a in buffer.state), gather
