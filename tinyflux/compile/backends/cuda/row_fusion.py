"""Which kernels become one, because they treat rows of few elements each by itself: softmax and its loss, say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...ir.indexing import Map, identity
from ...ir.node import Node
from ...schedule.fuse import Kernel, Stored, memory_reads


def group_rows(kernels: Sequence[Kernel], stored: Stored, most: int) -> list[list[Kernel]]:
    """Kernels in the order in which they can run, those together of which one thread can do a row.

    Arguments:
        kernels: of a schedule.
        stored: the nodes that lie in memory.
        most: how many elements a row may have.
    """
    groups: list[list[Kernel]] = []
    place: dict[Node, int] = {}  # of what is calculated, the number of its group
    for kernel in kernels:
        reads = [read for node in kernel.nodes for read in _reads(node, stored)]
        after = max([place[x] for x, _ in reads if x in place], default=-1)
        rows, axis = row_axis(kernel, most)
        for i in range(len(groups) - 1, max(after, 0) - 1, -1):
            own = [(x, at) for x, at in reads if place.get(x) == i]
            if rows and rows == row_axis(groups[i][0], most)[0] and all(_by_rows(at, rows, axis) for _, at in own):
                groups[i].append(kernel)
                break
        else:
            i = len(groups)
            groups.append([kernel])
        place.update(dict.fromkeys(kernel.nodes, i))
    return groups


def row_axis(kernel: Kernel, most: int) -> tuple[int, int]:
    """How many rows a kernel has, if it treats each by itself and they are short, else 0; and along which axis."""
    node = kernel.nodes[0]
    axis = 0
    if kernel.kind == "reduce" and node.ndim and not node.params[0].startswith("arg"):
        (node,), (_, reduced) = node.args, node.params
        axis = min(set(range(node.ndim)) - set(reduced))
    elif kernel.kind != "map" or not node.ndim:
        return 0, 0
    rows = node.shape[axis]
    return (rows, axis) if node.size <= rows * most else (0, 0)


def _reads(node: Node, stored: Stored) -> Iterator[tuple[Node, Map | None]]:
    """What a kernel reads for a node: for each element of a map, or of what a reduction brings together."""
    if node.op != "reduce":
        yield from memory_reads(node, stored)
        return
    (x,) = node.args
    if x in stored or x.op == "input":
        yield x, identity(x.ndim)
    else:
        yield from memory_reads(x, stored)


def _by_rows(at: Map | None, rows: int, axis: int) -> bool:
    """Whether an array is read in the row alone that is being calculated."""
    return at is not None and (at[0] == (0, ((axis, 1),)) or rows == 1)
