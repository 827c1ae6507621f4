"""What is calculated together: stages, whose results threads finish one by one, and rows that a block goes through.

A map that reads the result of a sum at the same element is calculated by the thread that has added it up: a bias, an
activation, a slope, the update of a weight behind its gradient. Stages that treat each row of a batch by itself follow
each other in the blocks of one section.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from ...ir.indexing import Map, identity, is_identity
from ...ir.node import Node
from ...ir.program import may_fail
from ...schedule.fuse import Kernel, Read, Schedule, Stored, fused, lies_in_memory, memory_reads

MAX_ROW_RESULTS = 1 << 10  # of a stage, for each row, where a block goes through rows
MAX_ROW_WORK = 1 << 16  # elements of which the results of a row are made


Axes = tuple[int, ...]
MANY_ROWS, SHORT_ROW = 1 << 10, 1 << 10  # where rows are better gone through than multiplied in tiles


@dataclasses.dataclass(eq=False)
class Stage:
    """Reductions with as many results each, if any, and a map that a thread calculates of its totals.

    Attributes:
        heads: the reductions, by the axis of the stage that each axis of their results is; or one kernel of any other
            kind, which stands alone.
        tail: the map.
    """

    heads: dict[Kernel, Axes]
    tail: Kernel | None = None

    @property
    def kernels(self) -> list[Kernel]:
        return [*self.heads, *([self.tail] if self.tail else [])]

    @property
    def nodes(self) -> list[Node]:
        return [node for kernel in self.kernels for node in kernel.nodes]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.kernels[-1].nodes[0].shape

    @property
    def keeps_rows(self) -> bool:
        """Whether the first axis of all results is that of the stage."""
        return all(axes[:1] in ((), (0,)) for axes in self.heads.values())

    def at_element(self, x: Node, at: Map | None) -> bool:
        """Whether the tail, or a map of its shape, reads an array at the element that is calculated."""
        axes = next((axes for head, axes in self.heads.items() if x in head.nodes), None)
        if axes is None:
            return is_identity(at, x.shape, self.shape)
        return _permutation(x, at, self.shape) == axes

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def work(self) -> int:
        """How many elements its results are made of."""
        return max(math.prod(kernel.nodes[0].domain) for kernel in self.kernels)


Group = list[Stage]  # of several stages, a block goes through some rows, stage by stage


def group_stages(schedule: Schedule, kernels: Sequence[Kernel], form: Callable[[Kernel], str]) -> list[Group]:
    """The groups of stages that calculate what kernels do, in an order in which they can run.

    Arguments:
        kernels: those of the schedule.
        form: how a kernel is calculated: by "threads", in "tiles", which take a map but have blocks of their own, or
            "alone".
    """
    copies = {x for kernel in kernels for x in kernel.copies.values()}  # of inputs, from before they are overwritten
    parts = [part for kernel in kernels for part in _components(kernel, schedule)]
    graph = _Graph(schedule, parts)

    def form_of(group: Group) -> str:
        return form(group[0].kernels[0])

    def fit(group: Group, i: int) -> Stage | None:
        """The stage that calculates a map, too; None where its threads can't."""
        (stage,), part = group, parts[i]
        nodes, overwrites = set(stage.nodes), graph.overwrites[i]
        if copies & {*nodes, *part.nodes}:  # who makes a copy reads the input, and who shares its stage reads the copy
            return None
        if form_of(group) == "alone" or (
            overwrites and (nodes & set(schedule.wanted) or any(may_fault(k, schedule.stored) for k in stage.kernels))
        ):
            return None
        if overwrites and stage.size == 1 and not stage.heads:
            return None  # others wait for this number, but not for the loss
        if overwrites & {x for head in stage.heads for x, _ in kernel_reads(head, schedule.stored)}:
            return None
        read = [(x, at) for x, at in graph.reads[i] if x in nodes]
        if stage.tail is None and form_of(group) == "threads":
            axes = {_permutation(x, at, part.nodes[0].shape) for x, at in read}
            fitted = Stage(dict.fromkeys(stage.heads, axes.pop() or ()), part)
            return fitted if not axes and all(fitted.at_element(x, at) for x, at in read) else None
        if stage.shape != part.nodes[0].shape:
            return None
        if stage.tail is None:
            return Stage(stage.heads, part) if all(stage.at_element(x, at) for x, at in read) else None
        read += [(x, at) for x, at in kernel_reads(stage.tail, schedule.stored) if x in overwrites]
        return stage if all(stage.at_element(x, at) for x, at in read) else None

    for i in graph.order:
        part = parts[i]
        graph.enter(i, Stage({}, part) if part.kind == "map" else Stage({part: tuple(range(part.nodes[0].ndim))}))
        if part.kind == "map":
            fits = {j: stage for j in graph.groups_before(i) if (stage := fit(graph.groups[j], i)) is not None}
            tiled = [j for j in fits if form_of(graph.groups[j]) == "tiles"]
            graph.join(i, tiled[:1] or list(fits), lambda j, group: _merge_stages(fits[j], group))  # noqa: B023

    def rows(i: int) -> int:
        group = graph.groups[i]
        return _rows(group) if form_of(group) == "threads" and not graph.overwritten(i) else 0

    for i in sorted(graph.groups, key=lambda i: graph.before[i].bit_count()):
        found = [j for j in graph.groups_before(i) if rows(j) == rows(i) > 0]
        if rows(i) > 1:
            found = [j for j in found if _reads_by_rows(graph.groups[i], graph.groups[j], schedule.stored)]
        graph.join(i, found, lambda j, group: graph.groups[j] + group)
    return [graph.groups[i] for i in sorted(graph.groups, key=lambda i: (graph.before[i].bit_count(), i))]


def may_fault(kernel: Kernel, stored: Stored) -> bool:
    """Whether a kernel looks for errors: indices that are out of bounds, say."""
    return any(may_fail(x, stored.trusted) for node in kernel.nodes for x in fused(node, stored))


def index_names(node: Node, axes: Sequence[int], ndim: int) -> list[str]:
    """What the indices of the argument of a reduction are called, i0, i1 …: first those of its results, then others.

    Arguments:
        axes: what the axes of its results are in the order of the names.
        ndim: the first of the others.
    """
    kept, summed = iter(axes), itertools.count(ndim)
    return [f"i{next(summed) if k in node.params[1] else next(kept)}" for k in range(node.args[0].ndim)]


def find_uses(groups: Sequence[Group], schedule: Schedule) -> tuple[set[Node], set[Node]]:
    """What only its own stage reads, at the element that it calculates; and what is a result, or other groups read."""
    results = {r.node for r in schedule.results} | set(schedule.wanted)
    outside, needed = set(results), set(results)
    for group in groups:
        made = {node: stage for stage in group for node in stage.nodes}
        for stage in group:
            reads = [(x, at, kernel) for kernel in stage.kernels for x, at in kernel_reads(kernel, schedule.stored)]
            needed.update(x for x, _, _ in reads if x not in made)
            for x, at, kernel in reads:
                if made.get(x) is not stage or kernel is not stage.tail or not stage.at_element(x, at):
                    outside.add(x)
    tails = [stage for group in groups for stage in group if stage.tail is not None]
    return {node for stage in tails for node in stage.nodes if node not in outside}, needed


def kernel_reads(kernel: Kernel, stored: Stored) -> Iterator[Read]:
    """What a kernel reads: for each element of a map, or of what a reduction brings together."""
    for node in kernel.nodes:
        (x,) = node.args if node.op == "reduce" else (node,)
        whole = x is not node and lies_in_memory(x, stored)
        for y, at in [(x, identity(x.ndim))] if whole else memory_reads(x, stored):
            yield kernel.copies.get(y, y), at


class _Graph:
    """What comes before what, while groups become one.

    Attributes:
        reads, overwrites: of each kernel.
        order: one in which the kernels can run.
        groups: by number, which is that of one of their kernels.
        before: for each group a number whose bits are the kernels that come before it.
    """

    def __init__(self, schedule: Schedule, kernels: Sequence[Kernel]) -> None:
        self.reads = [list(kernel_reads(kernel, schedule.stored)) for kernel in kernels]
        target = {r.node: r.overwrites for r in schedule.results if r.overwrites is not None}
        self.overwrites = [{target[node] for node in kernel.nodes if node in target} for kernel in kernels]
        place = {node: i for i, kernel in enumerate(kernels) for node in kernel.nodes}
        readers: dict[Node, set[int]] = {}
        for i, reads in enumerate(self.reads):
            for x, _ in reads:
                readers.setdefault(x, set()).add(i)
        self._direct: list[set[int]] = []
        checks = {i for i, kernel in enumerate(kernels) if may_fault(kernel, schedule.stored)} - {
            i for i, overwritten in enumerate(self.overwrites) if overwritten
        }
        checks |= {place[x] for x in schedule.wanted if x in place}
        for i, reads in enumerate(self.reads):
            direct = {place[x] for x, _ in reads if x in place}
            for x in self.overwrites[i]:  # behind what reads the old values, and all that has to be right
                direct |= readers.get(x, set()) | checks
            self._direct.append(direct - {i})
        self.order = _topological(self._direct)
        self.groups: dict[int, Group] = {}
        self.before: dict[int, int] = {}
        self._group = list(range(len(kernels)))  # the number of each kernel's group
        self._members: dict[int, list[int]] = {}

    def enter(self, i: int, stage: Stage) -> None:
        """A group of its own for a kernel; those that come before it have been entered."""
        self.groups[i] = [stage]
        self._members[i] = [i]
        self.before[i] = 0
        for j in self.groups_before(i):
            self.before[i] |= self.before[j] | self._bits(j)

    def groups_before(self, i: int) -> list[int]:
        """The groups on which one depends directly."""
        return sorted({self._group[k] for member in self._members[i] for k in self._direct[member]} - {i})

    def join(self, i: int, others: Sequence[int], merge: Callable[[int, Group], Group]) -> None:
        """Make one group of one and some that come before it, as far as none of all has to run in between."""
        joined: list[tuple[int, int]] = []
        for j in others:
            own, bits = self._bits(i) | self._bits(j), self._bits(j)
            before = (self.before[i] | self.before[j]) & ~own
            between = any(before >> k & 1 and self.before[k] & own for k in self.groups)
            if between or any(self.before[j] & other or earlier & bits for other, earlier in joined):
                continue
            joined.append((bits, self.before[j]))
            self.groups[i] = merge(j, self.groups[i])
            del self.groups[j]
            self._members[i] += self._members.pop(j)
            del self.before[j]
            self.before[i] = before
            for k in self._members[i]:
                self._group[k] = i
            for k in self.groups:
                if k != i and self.before[k] & own:
                    self.before[k] |= before | own

    def overwritten(self, i: int) -> set[Node]:
        """The inputs that a group overwrites."""
        return set().union(*(self.overwrites[k] for k in self._members[i]))

    def _bits(self, i: int) -> int:
        return sum(1 << k for k in self._members[i])


def _topological(direct: Sequence[set[int]]) -> list[int]:
    """An order in which each comes behind those that it depends on; otherwise as they are."""
    waiting = [len(before) for before in direct]
    after: list[list[int]] = [[] for _ in direct]
    for i, before in enumerate(direct):
        for j in before:
            after[j].append(i)
    ready = [i for i, count in enumerate(waiting) if not count]
    order = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for j in after[i]:
            waiting[j] -= 1
            if not waiting[j]:
                heapq.heappush(ready, j)
    if len(order) < len(direct):
        raise AssertionError("kernels that wait for each other")
    return order


def _components(kernel: Kernel, schedule: Schedule) -> list[Kernel]:
    """The kernels that a map falls apart into.

    Those nodes stay together that read the same results, or each other; and those that overwrite what another such
    one reads. Numbers are calculated one by one, as others wait for some of them only.
    """
    if kernel.kind != "map":
        return [kernel]
    target = {r.node: r.overwrites for r in schedule.results if r.overwrites is not None and r.node in kernel.nodes}
    made: list[tuple[set[Node], list[Node]]] = []
    for node in kernel.nodes:
        reads = memory_reads(node, schedule.stored) if node.size > 1 else []
        linked = {x for x, at in reads if x in schedule.stored and _permutation(x, at, kernel.shape) is not None}
        made.append((linked | {node}, [node]))
    overwriting: list[tuple[set[Node], list[Node]]] = []
    for nodes in _joined(made):
        linked = {target[node] for node in nodes if node in target}
        if linked:
            linked |= {x for node in nodes for x, _ in memory_reads(node, schedule.stored)} & set(target.values())
        overwriting.append((linked, nodes))
    parts = _joined(overwriting)
    return [dataclasses.replace(kernel, nodes=sorted(nodes, key=lambda n: n.number)) for nodes in parts]


def _joined(parts: Iterable[tuple[set[Node], list[Node]]]) -> list[list[Node]]:
    """Lists of nodes, of which those are one that are linked to the same nodes."""
    joined: list[tuple[set[Node], list[Node]]] = []
    for linked, nodes in parts:
        for other in [other for other in joined if other[0] & linked]:
            joined.remove(other)
            linked, nodes = linked | other[0], nodes + other[1]
        joined.append((linked, nodes))
    return [nodes for _, nodes in joined]


def _permutation(x: Node, at: Map | None, shape: Sequence[int]) -> Axes | None:
    """The axes of a shape that those of an array are, which is read element by element in some order; None otherwise.

    An axis of length 1 may be any.
    """
    if at is None or x.size != math.prod(shape):
        return None
    axes: list[int] = []
    for k, ((offset, terms), n) in enumerate(zip(at, x.shape)):
        if n == 1:
            axes.append(k)
        elif offset or len(terms) != 1 or terms[0][1] != 1 or shape[terms[0][0]] != n:
            return None
        else:
            axes.append(terms[0][0])
    long = [axis for axis, n in zip(axes, x.shape) if n != 1]
    return tuple(axes) if len(set(long)) == len(long) else None


def _merge_stages(fitted: Stage, group: Group) -> Group:
    """The stage of a map, with what else of it was merged before, and of a stage that it fits."""
    (stage,) = group
    assert fitted.tail is not None
    assert stage.tail is not None
    nodes = sorted({*fitted.tail.nodes, *stage.tail.nodes}, key=lambda n: n.number)
    tail = dataclasses.replace(fitted.tail, nodes=nodes, copies=fitted.tail.copies | stage.tail.copies)
    return [Stage(fitted.heads | stage.heads, tail)]


def has_short_rows(kernel: Kernel) -> bool:
    """Whether a kernel has many rows of so few elements each that a block goes through several."""
    rows = kernel.shape[0] if kernel.shape else 1
    return rows >= MANY_ROWS and math.prod(kernel.nodes[0].domain) <= rows * SHORT_ROW


def _rows(group: Group) -> int:
    """How many rows the stages of a group have that a block can go through; 0 where they have none."""
    first = group[0].shape
    rows = first[0] if first else 1
    fits = all(stage.size <= rows * MAX_ROW_RESULTS and stage.work <= rows * MAX_ROW_WORK for stage in group)
    return rows if fits and all(stage.keeps_rows for stage in group) else 0


def _reads_by_rows(group: Group, earlier: Group, stored: Stored) -> bool:
    """Whether a group reads of an earlier one only the row that it calculates."""
    nodes = {node for stage in earlier for node in stage.nodes}
    for kernel in (kernel for stage in group for kernel in stage.kernels):
        node = kernel.nodes[0]
        axis = min(set(range(node.args[0].ndim)) - set(node.params[1]), default=0) if node.op == "reduce" else 0
        for x, at in kernel_reads(kernel, stored):
            if x in nodes and (at is None or at[0] != (0, ((axis, 1),))):
                return False
    return True
