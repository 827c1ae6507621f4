"""The schedule: what is calculated into memory, in which loops, and in which order.

A node that is not `stored` is calculated anew wherever it is read, inside the loop of its reader (it is fused into it).
That costs nothing if every element is read once, and little if it is cheap; everything else is stored. Stored maps of
one shape share a loop (a `Kernel`) where what they read allows it; what only their own loop reads lies in registers.

Results may overwrite inputs (parameters, an optimiser's state): whoever else reads such an input does so before, or
reads a copy.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..ir import ops
from ..ir.indexing import Map, identity, is_identity
from ..ir.node import Node
from ..ir.program import may_fail, reachable
from .contraction import Product, find_product
from .tiling import RowPlan

if TYPE_CHECKING:
    from .pipelining import PipelinedProduct

STORE_COST = 3  # multiplications: what it costs to write an element and read it again
MAX_INLINE_COST = 200  # the cost from which an expression is cut in two
MAX_INLINE_DEPTH = 100  # the same for its depth, as it is written by recursion
MAX_KERNEL_COST = 1000  # the cost up to which nodes share a loop: the compiler's time grows with the square of it

Read = tuple[Node, Map | None]  # a node, and the map from an element's indices to those of what is read of it
BEFORE, ROWS, AFTER, UPDATE = range(4)  # see tiling.py; an update overwrites inputs, after the loss has been looked at


@dataclasses.dataclass(frozen=True)
class Result:
    """A node whose value is wanted, and where: in the memory of the input `overwrites`, or in that of a pointer."""

    node: Node
    pointer: int
    overwrites: Node | None = None


@dataclasses.dataclass(eq=False)
class Kernel:
    """A loop, and the nodes that it stores.

    Attributes:
        kind: map, or the kind of its one node, or `product` for a product of matrices.
        shape: the lengths of its loops.
        weight: what one round of the loop costs.
        copies: for inputs that are overwritten before this kernel reads them, reshaped or not, the copies to read.
    """

    kind: str
    phase: int
    shape: tuple[int, ...]
    nodes: list[Node]
    product: Product | None = None
    weight: int = 0
    copies: dict[Node, Node] = dataclasses.field(default_factory=dict)


class Stored(set[Node]):
    """The nodes that lie in memory, or in the registers of their kernel.

    Attributes:
        expressions: what `expression` has found, by node; used once the set is complete.
        trusted: see `make_schedule`.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        super().__init__(nodes)
        self.expressions: dict[Node, list[Read]] = {}
        self.trusted: Container[Node] = ()


@dataclasses.dataclass
class Schedule:
    """What `make_schedule` returns.

    Attributes:
        nodes: the program.
        kernels: in the order in which they run.
        stored: the nodes that lie in memory, or in the registers of their kernel.
        registers: those of them that lie in registers alone.
        results: where results go.
        wanted: the nodes that are looked at before inputs are overwritten: the loss, and demands.
        rows: how the rows of a large batch are cut into blocks, or None.
        pipelined: the product that is calculated for the next iteration, or None.
    """

    nodes: list[Node]
    kernels: list[Kernel]
    stored: Stored
    registers: set[Node]
    results: list[Result]
    wanted: list[Node]
    rows: RowPlan | None
    pipelined: PipelinedProduct | None = None


def make_schedule(
    results: Sequence[Result], trusted: Container[Node] = (), loss: Node | None = None, rows: RowPlan | None = None,
    demands: Iterable[Node] = (),
) -> Schedule:  # fmt: skip
    """Schedule a program.

    Arguments:
        results: what it is to calculate.
        trusted: inputs that hold indices which are known to be right: loops look at others.
        loss: the node that is looked at before inputs are overwritten.
        rows: which nodes are calculated in blocks of rows.
        demands: nodes that are looked at together with the loss.
    """
    wanted = [*([loss] if loss is not None else []), *demands]
    in_rows = [*rows.axis, *rows.sums] if rows is not None else []
    early = set(reachable([r.node for r in results if r.overwrites is None] + wanted + in_rows))
    failing = [n for n in reachable([r.node for r in results]) if n not in early and may_fail(n, trusted)]
    early |= set(reachable(failing))  # an error is to come before anything is overwritten
    results = _separate_results(results, early)
    roots = [r.node for r in results] + wanted + failing
    nodes = reachable(roots)
    stored = _choose_stored(nodes, roots)
    stored.trusted = trusted
    early |= {r.node for r in results if r.overwrites is None}
    writers = {r.node: r.overwrites for r in results if r.overwrites is not None}

    def phase(node: Node) -> int:
        if rows is not None and rows.phase(node) != AFTER:
            return rows.phase(node)
        return AFTER if node in early and node not in writers else UPDATE

    kernels: list[Kernel] = []
    place: dict[Node, int] = {}
    free: dict[Node | None, int] = defaultdict(int)  # the first kernel that may overwrite an array

    def enter(node: Node, phase: int, first: int = 0) -> None:
        _place(node, phase, kernels, place, stored, rows, first)
        for x, at in memory_reads(node, stored):
            same = is_identity(at, x.shape, node.shape)  # its own kernel may overwrite what it reads there alone
            free[x] = max(free[x], place[node] + (not same))

    late = set(writers)  # and what is calculated of their new values
    for node in nodes:
        if any(x in late for x in node.args):
            late.add(node)
    for node in sorted(stored - late, key=lambda n: (phase(n), n.number)):
        enter(node, phase(node))
    before = sum(k.phase != UPDATE for k in kernels)
    for node in sorted(stored & late, key=lambda n: n.number):
        enter(node, UPDATE, max(free[writers.get(node)], before))
    kernels = _sink(kernels, stored, set(roots))
    _insert_copies(nodes, kernels, results, stored)
    registers = _find_registers(kernels, stored, set(roots))
    return Schedule(nodes, kernels, stored, registers, results, wanted, rows)


def _separate_results(results: Sequence[Result], early: set[Node]) -> list[Result]:
    """Every result a node of its own that a loop can write; what overwrites is a map that nobody needs early."""
    seen: set[Node] = set()
    separated: list[Result] = []
    for r in results:
        node = r.node
        writable = isinstance(node, ops.Map) or (node.own_kernel and r.overwrites is None)
        if node in seen or not writable or (r.overwrites is not None and node in early):
            node = _copy_node(node, 10**9 + len(separated))
        seen.add(node)
        separated.append(dataclasses.replace(r, node=node))
    return separated


def _copy_node(node: Node, number: int) -> Node:
    return ops.Map((node,), "positive", node.shape, node.dtype, node.weak, number)


def _choose_stored(nodes: Sequence[Node], roots: Sequence[Node]) -> Stored:
    """Decide for every node whether it is stored, from how often its elements are read and what they cost."""
    wanted = set(roots)
    stored = Stored(n for n in nodes if n.own_kernel or n in wanted)
    costs: dict[Node, int] = {}
    depths: dict[Node, int] = {}

    def is_too_long(n: Node) -> bool:
        """Add up what an element costs, and how deep its expression is; whether that is too much for one expression."""
        costs[n] = 0 if n.in_memory or _is_spread(n) else n.cost + sum(costs[x] for x in n.args)
        depths[n] = 1 + max((depths[x] for x in n.args), default=0)
        return n.may_store and (costs[n] > MAX_INLINE_COST or depths[n] > MAX_INLINE_DEPTH)

    for n in nodes:
        if is_too_long(n):
            for x in n.args:
                if isinstance(x, ops.View) and x.args[0].may_store and x.size > x.args[0].size:
                    stored.add(x.args[0])  # rather what is broadcast than all of its products
                    costs[x] = depths[x] = 0
            if is_too_long(n):
                stored.add(n)
        if n in stored:
            costs[n] = depths[n] = 0
    reads: dict[Node, float] = defaultdict(float)
    for n in reversed(nodes):
        if n.may_store and n not in stored:
            repeats = reads[n] / max(n.size, 1) - 1
            if costs[n] > 0 if n.size == 1 else repeats * costs[n] > STORE_COST:
                stored.add(n)
        if n in stored:
            reads[n] = math.prod(n.domain)
        for x in n.args:
            reads[x] += reads[n] * n.read_share(x)
        stored.update(x for x in n.whole_args if not x.in_memory)
    return stored


def _is_spread(n: Node) -> bool:
    """Whether a view reads each element of an expression so often that this is stored rather than what is read."""
    return isinstance(n, ops.View) and n.args[0].may_store and n.size > STORE_COST * n.args[0].size


def expression(node: Node, stored: Stored) -> list[Read]:
    """What one element of a node is calculated from: itself, nodes that are fused into its loop, and what these read.

    Each has the map that leads from the element's indices to its own, or None where that isn't affine, or isn't by
    elements.
    """
    found = stored.expressions.get(node)
    if found is None:
        found = stored.expressions[node] = []
        todo: list[Read] = [(node, identity(node.ndim))]
        seen = set()
        while todo:
            read = todo.pop()
            if read not in seen:
                seen.add(read)
                found.append(read)
                if read[0] is node or not lies_in_memory(read[0], stored):
                    todo += read[0].reads(read[1])
    return found


def lies_in_memory(node: Node, stored: Stored) -> bool:
    return node in stored or isinstance(node, ops.Input)


def memory_reads(node: Node, stored: Stored) -> list[Read]:
    """The inputs and stored nodes that are read in the calculation of one element of a node."""
    return [(x, at) for x, at in expression(node, stored)[1:] if lies_in_memory(x, stored)]


def fused(node: Node, stored: Stored) -> set[Node]:
    """The nodes that the loop of a node calculates, itself included, and inputs that it reads."""
    return {node, *[x for x, _ in expression(node, stored) if x not in stored]}


def _place(
    node: Node,
    phase: int,
    kernels: list[Kernel],
    place: dict[Node, int],
    stored: Stored,
    rows: RowPlan | None,
    first: int,
) -> None:
    """Enter a stored node into the first kernel that can take it, or into a new one."""
    product = find_product(node, stored, rows, stored.trusted) if isinstance(node, ops.Reduce) else None
    kind = "product" if product else node.kernel
    weight = _body_cost(node, stored)
    if kind == "map":
        apart: dict[Node, bool] = {}
        for x, at in memory_reads(node, stored):
            if x in place:
                apart[x] = apart.get(x, False) or not is_identity(at, x.shape, node.shape)
        for x, other in apart.items():
            first = max(first, place[x] + other)
        for i in range(first, len(kernels)):
            k = kernels[i]
            # A part of a gradient may share the loop of the forward pass that makes what it reads.
            goes_on = (k.phase, phase) == (AFTER, UPDATE) and any(place[x] == i and not apart[x] for x in apart)
            if k.kind != "map" or k.shape != node.shape or not (k.phase == phase or goes_on):
                continue
            if k.weight + weight <= MAX_KERNEL_COST:
                k.nodes.append(node)
                k.weight += weight
                place[node] = i
                return
    place[node] = len(kernels)
    kernels.append(Kernel(kind, phase, node.shape, [node], product, weight))


def _body_cost(node: Node, stored: Stored) -> int:
    """What the calculation of one element costs."""
    return sum(n.cost if isinstance(n, ops.Map) else 1 for n in fused(node, stored))


def _accesses(kernels: Sequence[Kernel], stored: Stored) -> Iterator[tuple[int, Node, bool]]:
    """What kernels read: the number of the kernel, the array, and whether that is read at the element alone."""
    for i, kernel in enumerate(kernels):
        for node in kernel.nodes:
            for x, at in memory_reads(node, stored):
                yield i, x, is_identity(at, x.shape, kernel.shape)


def _sink(kernels: list[Kernel], stored: Stored, kept: set[Node]) -> list[Kernel]:
    """Move what a single later loop of the same shape reads, element by element, into that loop."""
    readers: dict[Node, set[tuple[int, bool]]] = defaultdict(set)  # by node: the kernel, whether at the same element
    for i, kernel in reversed(list(enumerate(kernels))):
        for node in sorted(kernel.nodes, key=lambda n: -n.number):
            j, same = next(iter(readers[node])) if len(readers[node]) == 1 else (i, False)
            if (
                same
                and node not in kept
                and kernel.kind == kernels[j].kind == "map"
                and kernels[j].phase == kernel.phase
                and kernels[j].weight + _body_cost(node, stored) <= MAX_KERNEL_COST
            ):
                kernels[j].weight += _body_cost(node, stored)
                kernel.nodes.remove(node)
                kernels[j].nodes.append(node)
                kernels[j].nodes.sort(key=lambda n: n.number)
            else:
                j = i
            for x, at in memory_reads(node, stored):
                readers[x].add((j, is_identity(at, x.shape, kernel.shape)))
    return [k for k in kernels if k.nodes]


def _insert_copies(nodes: Sequence[Node], kernels: list[Kernel], results: Sequence[Result], stored: Stored) -> None:
    """Have kernels that would read an input after it was overwritten read a copy."""
    place = _places(kernels)
    overwritten = {r.overwrites: place[r.node] for r in results if r.overwrites is not None}
    copies: dict[Node, Node] = {}
    for i, x, same in _accesses(kernels, stored):
        if x in overwritten and (i > overwritten[x] or (i == overwritten[x] and not same)):
            kernels[i].copies[x] = copies.setdefault(x, _copy_node(x, -1 - len(copies)))
    first = next((i for i, k in enumerate(kernels) if k.phase == UPDATE), len(kernels))
    for node in nodes:
        if isinstance(node, ops.Reshape) and node.args[0] in copies:
            reshaped = ops.Reshape((copies[node.args[0]],), None, node.shape, node.dtype, node.weak, node.number)
            for kernel in kernels:
                if node.args[0] in kernel.copies:
                    kernel.copies[node] = reshaped
    for copy in copies.values():
        stored.add(copy)
        kernels.insert(first, Kernel("map", UPDATE, copy.shape, [copy]))


def _places(kernels: Sequence[Kernel]) -> dict[Node, int]:
    """The number of the kernel of each node."""
    return {node: i for i, kernel in enumerate(kernels) for node in kernel.nodes}


def _find_registers(kernels: list[Kernel], stored: Stored, kept: set[Node]) -> set[Node]:
    """Stored nodes that only their own kernel reads, element by element."""
    place = _places(kernels)
    outside = kept.union(*(kernel.copies.values() for kernel in kernels))
    outside |= {x for i, x, same in _accesses(kernels, stored) if x in place and (place[x] != i or not same)}
    return {n for k in kernels if k.kind == "map" for n in k.nodes if n not in outside}


def arena_size(shape: Sequence[int], itemsize: int) -> int:
    """What an array occupies, in bytes: whole cache lines."""
    return -(-math.prod(shape) * itemsize // 64) * 64
