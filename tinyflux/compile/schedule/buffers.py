"""Buffer assignment: where the arrays in between lie. One that is done with leaves its place to others.

An array is alive from the step that writes it to the last one that reads it; two that are alive at the same time lie
apart. The largest is placed first, each in the smallest gap that those alive with it leave.
"""

from __future__ import annotations

import bisect
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from ..ir import ops
from ..ir.node import Node
from .fuse import ROWS, Schedule, memory_reads

T = TypeVar("T", bound=Hashable)
LARGE = 1 << 14  # bytes, from which on an array shares its place: smaller ones take little memory, whatever one does
CACHED = 1 << 25  # bytes of all arrays together, up to which a cache may hold them, and none shares its place


def live_ranges(used: Iterable[Iterable[T]]) -> dict[T, tuple[int, int]]:
    """The first and the last of some steps that uses each array; the steps run one after another.

    >>> live_ranges([["a", "b"], ["b", "c"], ["a"]])
    {'a': (0, 2), 'b': (0, 1), 'c': (1, 1)}
    """
    ranges: dict[T, tuple[int, int]] = {}
    for i, names in enumerate(used):
        for name in names:
            ranges[name] = (ranges.get(name, (i, i))[0], i)
    return ranges


def assign_offsets(ranges: Mapping[T, tuple[int, int]], sizes: Mapping[T, int]) -> tuple[dict[T, int], int]:
    """Where in one piece of memory each array lies.

    Arguments:
        ranges: the first and the last step at which an array is alive.
        sizes: of the arrays that need a place.

    Returns: for each array its offset, a sum of sizes; and the size of the whole.

    >>> assign_offsets({"a": (0, 1), "b": (1, 2), "c": (2, 3)}, {"a": 4, "b": 1, "c": 3})
    ({'a': 0, 'c': 0, 'b': 4}, 5)
    """
    offsets: dict[T, int] = {}
    placed: list[tuple[int, int, int, int]] = []  # where each begins and ends, its first step and its last
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        size, (first, last) = sizes[name], ranges[name]
        gaps = []
        end = 0
        for begin, stop, since, until in placed:
            if since <= last and first <= until:
                if begin - end >= size:
                    gaps.append((begin - end, end))
                end = max(end, stop)
        offsets[name] = min(gaps)[1] if gaps else end
        bisect.insort(placed, (offsets[name], offsets[name] + size, first, last))
    return offsets, max((stop for _, stop, _, _ in placed), default=0)


def assign_buffers(schedule: Schedule, sizes: Mapping[Node, int]) -> tuple[dict[Node, int], int]:
    """Where in an arena the arrays of a program lie, and how large it is; small ones have places of their own.

    So has each array of a program whose arrays fit a cache together. Threads go through the same stretch of every loop:
    if an array took the place of another one, they would write to what is in each other's caches. Where rows are cut
    into blocks a thread has an arena of its own, which is to be small.

    Arguments:
        sizes: of the arrays that lie there, in bytes.
    """
    offsets: dict[Node, int] = {}
    start = 0
    apart = schedule.rows is None and sum(sizes.values()) <= CACHED
    for node, size in sizes.items():
        if apart or size < LARGE:
            offsets[node] = start
            start += size
    large = {node: size for node, size in sizes.items() if node not in offsets}
    places, total = assign_offsets(_lifetimes(schedule), large)
    return offsets | {node: start + place for node, place in places.items()}, start + total


def _lifetimes(schedule: Schedule) -> dict[Node, tuple[int, int]]:
    """The numbers of the first and the last kernel between which an array must stay as it is."""
    kernels = schedule.kernels
    read = [[x for node in kernel.nodes for x, _ in memory_reads(node, schedule.stored)] for kernel in kernels]
    ranges = live_ranges([*kernel.nodes, *own, *kernel.copies.values()] for kernel, own in zip(kernels, read))
    for node in schedule.wanted:
        ranges[node] = (ranges[node][0], len(kernels))
    blocks = [i for i, kernel in enumerate(kernels) if kernel.phase == ROWS]  # run again and again
    for node, (first, last) in ranges.items():
        if isinstance(node, ops.Part):
            ranges[node] = (ranges[node.args[0]][0], last)  # its loop writes it
        elif schedule.rows is not None and node in schedule.rows.sums:
            ranges[node] = (0, last)  # zeros at first
        elif blocks and first < blocks[0] <= last:
            ranges[node] = (first, max(last, blocks[-1]))
    return ranges
