"""Large batches in blocks of rows.

Where a program treats every row of its batch by itself, and brings rows together in sums alone, it can be run on one
block of rows after another: what is calculated for a block stays in the cache, and the data is read from memory once.
Such a program has three parts: what no row is needed for (before), what is done for every row, sums included, and what
is done with the sums (after).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.indexing import identity
from ..ir.node import SUMMED, Node

BLOCK = 256  # rows, or so: of MNIST's images in float32 they are 800 kB, and stay in a core's second cache
_BEFORE, _ROWS, _AFTER = range(3)


class RowPlan:
    """Which nodes are calculated for each row.

    Attributes:
        length: how many rows there are; block: how many are calculated at once.
        axis: for every node with rows the axis along which they lie.
        sums: nodes that are sums over rows.
        shifted: inputs, and nodes without rows, that are read along the rows nevertheless, with their axis.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        divisors = [n for n in range(BLOCK // 2, BLOCK + 1) if length % n == 0]  # blocks of one size compile to less
        self.block = max(divisors, default=BLOCK)
        self.axis: dict[Node, int] = {}
        self.sums: set[Node] = set()
        self.shifted: dict[Node, int | None] = {}
        self.before: set[Node] = set()

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return -(-self.length // self.block)

    def phase(self, node: Node) -> int:
        if node in self.axis or node in self.sums:
            return _ROWS
        return _BEFORE if node in self.before else _AFTER


def plan_rows(nodes: Sequence[Node], order: Node) -> RowPlan | None:
    """The plan for a program whose rows are picked by the array `order`; None where rows depend on each other."""
    plan = RowPlan(order.shape[0])
    plan.shifted[order] = 0
    after: set[Node] = set()  # what depends on sums over rows
    for node in nodes:
        if any(x in after or x in plan.sums for x in node.args):
            after.add(node)
            if any(x in plan.axis for x in node.args):
                return None
        elif any(x in plan.axis or x is order for x in node.args) and not _follow(plan, node, order):
            return None
    return plan if plan.axis and _settle(plan, nodes, order) else None


def _follow(plan: RowPlan, node: Node, order: Node) -> bool:
    """Find where the rows of a node's arguments lie in its result; False where that is nowhere."""
    axis = node.rows_of([0 if x is order else plan.axis.get(x) for x in node.args], plan.length)
    if axis == SUMMED:
        plan.sums.add(node)
    elif axis is not None:
        plan.axis[node] = axis
    return axis is not None


def _settle(plan: RowPlan, nodes: Sequence[Node], order: Node) -> bool:
    """Find what is needed before the rows, and what of it is read along them; False if something is read both ways."""
    todo: list[tuple[Node, int | None]] = []  # what has no rows, with the axis along which it is read for each row
    for node, axis in plan.axis.items():
        for x, at in node.reads(identity(node.ndim)):
            if x not in plan.axis and x is not order:
                todo.append((x, None if at is None else axis))
    whole: set[Node] = set()  # what is read as a whole
    seen = set()
    while todo:
        node, row = todo.pop()
        if (node, row) in seen:
            continue
        seen.add((node, row))
        plan.before.add(node)
        if row is None:
            whole.add(node)
            todo += [(x, None) for x in node.args]
            continue
        reads = node.rows_from(row)
        if reads is None or (not reads and plan.shifted.setdefault(node, row) != row):
            return False
        todo += reads
    after = [x for node in nodes if plan.phase(node) == _AFTER for x in node.args]
    while after:
        node = after.pop()
        if node not in whole and node not in plan.axis and node not in plan.sums:
            whole.add(node)
            after += node.args
    return not whole & set(plan.shifted)
