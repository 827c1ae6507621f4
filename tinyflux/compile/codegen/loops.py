"""Loops, as lines of C: which axes one loop can run through, and how loops nest."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.indexing import c_strides, merge_lines, view_strides
from ..schedule.fuse import Kernel, Stored, expression, memory_reads
from .expressions import SourceContext


def nest(names: Sequence[tuple[str, str]], inner: Sequence[str], pragma: str = "") -> list[str]:
    """Nested loops, the innermost with a pragma; one of length 1 is none.

    Arguments:
        names: the index of each loop, and its length, or a stretch of it, such as from..to.
        inner: the lines inside.
    """
    open_ = [(v, n) for v, n in names if n != "1"]
    lines = []
    for i, (v, n) in enumerate(open_):
        if pragma and i == len(open_) - 1:
            lines.append(pragma)
        start, _, end = n.rpartition("..")
        lines.append(f"for (int64_t {v} = {start or 0}; {v} < {end}; {v}++) {{")
    return [*lines, *inner, *["}"] * len(open_)]


def indent(lines: Sequence[str]) -> list[str]:
    """Lines with the indentation that their braces call for."""
    result = []
    depth = 0
    for line in lines:
        depth -= line.startswith("}")
        result.append("    " * depth + line)
        depth += line.endswith("{")
    return result


def merge_axes(context: SourceContext, kernel: Kernel, row: int | None = None) -> list[list[int]]:
    """The axes of a map, in groups that one loop can run through: each array lies along a group as one line.

    Arguments:
        row: the axis along which a block of rows is calculated, whose loop stays on its own.
    """
    ndim = len(kernel.shape)
    accesses = [c_strides(context.memory(n)) for n in kernel.nodes if n not in context.schedule.registers]
    for node in kernel.nodes:
        for x, at in memory_reads(node, context.schedule.stored):
            if at is None:
                return [[i] for i in range(ndim)]
            if x in context.schedule.registers:
                continue
            accesses.append(view_strides(at, c_strides(context.memory(x)), ndim))
    alone = {row} | _indexed_axes(kernel, context.schedule.stored)
    return merge_lines(context.memory(kernel.nodes[0]), accesses, alone)


def _indexed_axes(kernel: Kernel, stored: Stored) -> set[int]:
    """The axes of a map along which its calculation looks at the index itself."""
    found: set[int] = set()
    for x, at in (read for node in kernel.nodes for read in expression(node, stored)):
        for k in x.indexed_axes:
            found.update(range(len(kernel.shape)) if at is None else [axis for axis, _ in at[k][1]])
    return found
