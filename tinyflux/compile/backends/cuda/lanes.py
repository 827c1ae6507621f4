"""How threads share out results, and what each is made of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from ...ir.indexing import Map, c_strides, identity, view_strides
from ...ir.node import Node
from ...schedule.fuse import Kernel, Stored
from .stages import Stage

TREE = ("sum", "product", "maximum", "minimum")  # reductions that can be done in any order
WARP = 32
TERMS = 8  # that a lane adds up, at least
SECTOR = 8  # results beside each other, whose numbers come from memory together


@dataclasses.dataclass(frozen=True)
class Lanes:
    """How threads share out results and their terms.

    Attributes:
        count: lanes of a result.
        adjacent: whether these are neighbouring threads.
        parts: how many blocks share the terms of a result.
    """

    count: int = 1
    adjacent: bool = True
    parts: int = 1


def find_lanes(stage: Stage, stored: Stored, results: int, room: int, threads: int, in_warp: bool) -> Lanes:
    """How many lanes each of some results is given, of as many threads as there are to be.

    Arguments:
        stored: the nodes that lie in memory.
        results: how many there are.
        room: how many threads there are to be for all of them.
        threads: of a block.
        in_warp: whether lanes are to lie beside each other, whatever lies so in memory.
    """
    if not stage.heads or any(head.nodes[0].params[0] not in TREE for head in stage.heads):
        return Lanes()
    head = max(stage.heads, key=term_count)
    terms = term_count(head)
    along = _lies_by_terms(head, stored)
    adjacent = along or in_warp
    most = WARP if in_warp else threads // (1 if adjacent else min(SECTOR, 1 << (results - 1).bit_length()))
    count = 1
    while 2 * count <= most and TERMS * count < terms and 2 * count * results <= room:
        count *= 2
    if along and terms >= SECTOR * TERMS:
        count = max(count, SECTOR)
    return Lanes(count, adjacent)


def term_count(head: Kernel) -> int:
    """How many numbers each result of a reduction is made of."""
    (node,) = head.nodes
    return math.prod(node.args[0].shape[i] for i in node.params[1])


def _lies_by_terms(head: Kernel, stored: Stored) -> bool:
    """Whether neighbouring terms lie closer together in memory than neighbouring results, in the largest array."""
    (node,) = head.nodes
    (x,), reduced = node.args, node.params[1]
    kept = [i for i, n in enumerate(x.shape) if i not in reduced and n != 1]
    terms = [i for i in reduced if x.shape[i] != 1]
    if not kept or not terms:
        return not kept

    def step(strides: Sequence[int], axis: int) -> float:
        return abs(strides[axis]) or math.inf

    found = [(y.size, step(strides, terms[-1]), step(strides, kept[-1])) for y, strides in _accesses(x, stored)]
    _, by_term, by_result = max(found, default=(0, math.inf, math.inf))
    return by_term < by_result


def _accesses(x: Node, stored: Stored) -> Iterator[tuple[Node, list[int]]]:
    """The arrays that are read in the calculation of an element, with their strides along its axes.

    Along those in which a gather picks elements they are taken to be long.
    """
    todo: list[tuple[Node, Map | None]] = [(x, identity(x.ndim))]
    while todo:
        y, at = todo.pop()
        if at is None:
            continue
        if y in stored or y.op == "input":
            yield y, view_strides(at, c_strides(y.shape), x.ndim)
        elif y.op == "gather":
            axes, position = y.params
            picked = at[position : position + y.args[1].ndim] if len(y.args) > 1 else ()
            far = (0, tuple((axis, y.args[0].size) for _, terms in picked for axis, _ in terms))
            todo.append((y.args[0], tuple(at[k] if kind == "axis" else far for kind, k in axes)))
        else:
            todo += y.reads(at)
