"""Large batches in blocks of rows.

Where a program treats every row of its batch by itself, and brings rows together in sums alone, it can be run on one
block of rows after another: what is calculated for a block stays in the cache, and the data is read from memory once.
Such a program has three parts: what no row is needed for (before), what is done for every row, sums included, and what
is done with the sums (after).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.indexing import Map
from ..ir.program import Node

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
        self._before: set[Node] = set()

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return -(-self.length // self.block)

    def phase(self, node: Node) -> int:
        if node in self.axis or node in self.sums:
            return _ROWS
        return _BEFORE if node in self._before else _AFTER


def analysed(nodes: Sequence[Node], order: Node) -> RowPlan | None:
    """The plan for a program whose rows are picked by the array `order`; None where rows depend on each other."""
    plan = RowPlan(order.shape[0])
    plan.shifted[order] = 0
    after: set[Node] = set()  # what depends on sums over rows
    for node in nodes:
        if any(x in after or x in plan.sums for x in node.args):
            after.add(node)
            if any(x in plan.axis for x in node.args):
                return None
        elif any(x in plan.axis or x is order for x in node.args) and not _followed(plan, node, order):
            return None
    return plan if plan.axis and _settled(plan, nodes) else None


def _followed(plan: RowPlan, node: Node, order: Node) -> bool:
    """Find where the rows of a node's arguments lie in its result; False where that is nowhere."""
    axes = {plan.axis[x] for x in node.args if x in plan.axis}
    if node.op == "map" and len(axes) == 1:
        plan.axis[node] = axes.pop()
    elif node.op == "view" and axes:
        at: Map = node.params
        offset, terms = at[axes.pop()]
        if offset or len(terms) != 1 or terms[0][1] != 1 or node.shape[terms[0][0]] != plan.length:
            return False
        plan.axis[node] = terms[0][0]
        return not any(a == terms[0][0] for _, other in at for a, _ in other if other is not terms)
    elif node.op == "reduce" and axes:
        function, gone = node.params
        axis = axes.pop()
        if axis in gone:
            plan.sums.add(node)
            return bool(function == "sum")
        plan.axis[node] = axis - sum(i < axis for i in gone)
    elif node.op == "gather":
        source, *indices = node.args
        if indices != [order] or source in plan.axis or node.params[1] != 0 or node.params[0][0] != ("index", 0):
            return False
        plan.axis[node] = 0
    elif node.op == "reshape" and axes == {0} and node.shape[:1] == (plan.length,):
        plan.axis[node] = 0
    else:
        return False
    return True


def _settled(plan: RowPlan, nodes: Sequence[Node]) -> bool:
    """Find what is needed before the rows, and what of it is read along them; False if something is read both ways."""
    todo: list[tuple[Node, int | None]] = []  # what has no rows, with the axis along which it is read for each row
    for node, axis in plan.axis.items():
        if node.op == "map":
            todo += [(x, axis) for x in node.args if x not in plan.axis]
        elif node.op == "gather":
            todo.append((node.args[0], None))
    other: set[Node] = set()  # what is read as a whole
    seen = set()
    while todo:
        node, row = todo.pop()
        if (node, row) in seen or node in plan.axis:
            continue
        seen.add((node, row))
        plan._before.add(node)
        if node.op == "view" and row is not None:
            found = [(k, at) for k, at in enumerate(node.params) if any(a == row for a, _ in at[1])]
            if len(found) > 1 or (found and found[0][1] != (0, ((row, 1),))):
                return False
            todo.append((node.args[0], found[0][0] if found else None))
        elif node.op == "map":
            todo += [(x, row) for x in node.args]
            if row is not None:
                return False  # it could be calculated for each row, but nothing does so yet
        elif row is not None:
            if node.op not in ("input", "iota"):
                return False
            if plan.shifted.setdefault(node, row) != row:
                return False
        else:
            other.add(node)
            todo += [(x, None) for x in node.args]
    after = [x for node in nodes if plan.phase(node) == _AFTER for x in node.args]
    while after:
        node = after.pop()
        if node not in other and node not in plan.axis and node not in plan.sums:
            other.add(node)
            after += node.args
    return not other & set(plan.shifted)
