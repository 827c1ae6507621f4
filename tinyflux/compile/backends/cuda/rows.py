"""Many short rows: a thread goes through a row by itself, stage by stage, and keeps what it calculates in registers.

All its loops are unrolled, so that the numbers of a row have names. A weight is read by all threads of a warp at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from ...codegen.expressions import ZERO, Index, SourceContext, c_index
from ...codegen.reductions import combine, neutral_element
from ...ir.functions import c_type
from ...ir.node import Node
from ...schedule.fuse import Kernel
from .grid import THREADS
from .indices import KernelEmitter
from .stages import Group, Stage, index_names

MANY = 1 << 13  # rows, from which on each has a thread; fewer don't keep a GPU busy so
BYTES = 768  # of a row, at most, that registers hold
WORK = 1 << 12  # elements of which the results of a row are made, at most, as each is written down


def is_for_threads(group: Group, rows: int, registers: set[Node]) -> bool:
    """Whether each row of a group is a thread's.

    Arguments:
        registers: the nodes that only their own stage reads.
    """
    arrays = [node for stage in group for node in stage.nodes if node not in registers]
    kept = sum(node.size * node.dtype.itemsize for node in arrays)
    work = sum(math.prod(kernel.nodes[0].domain) for stage in group for kernel in stage.kernels)
    return (
        rows >= MANY
        and all(node.size for node in arrays)  # CUDA has no arrays of no elements
        and kept <= BYTES * rows
        and work <= WORK * rows
        and not any(head.nodes[0].params[0].startswith("arg") for stage in group for head in stage.heads)
    )


@dataclasses.dataclass
class _Row:
    """What a thread knows of its row.

    Attributes:
        kept: the names of the registers that hold what was calculated.
        needed: those arrays that others read.
        read: the other arrays that a stage reads, with the types of their elements.
    """

    kept: Mapping[Node, str]
    needed: set[Node]
    read: dict[str, str] = dataclasses.field(default_factory=dict)


class _RowEmitter(KernelEmitter):
    """The statements of a row."""

    def __init__(self, context: SourceContext, kernel: Kernel, row: _Row) -> None:
        super().__init__(context, kernel)
        self._row = row

    def load(self, node: Node, index: Sequence[Index]) -> str:
        if node in self._row.kept:
            return self._register(node, index)
        name = self.context.name(node)
        self._row.read[name] = c_type(node.dtype)
        return f"{name}_[{c_index(self.offset(node, index))}]"

    def store(self, node: Node, index: Sequence[Index], value: str) -> list[str]:
        """The statements that keep an element, and write it to memory for others."""
        if node not in self._row.kept:
            return []
        lines = [f"{self._register(node, index)} = {value};"]
        if node in self._row.needed:
            place = c_index(self.offset(node, index))
            lines.append(f"{self.context.name(node, write=True)}[{place}] = {value};")
        return lines

    def _register(self, node: Node, index: Sequence[Index]) -> str:
        return f"{self._row.kept[node]}[{c_index(self.offset(node, [ZERO, *index[1:]]))}]"


def emit_rows(context: SourceContext, group: Group, rows: int, needed: set[Node]) -> list[str]:
    """The lines of a section whose threads go through a row each.

    Arguments:
        needed: the arrays that are read elsewhere.
    """
    nodes = [node for stage in group for node in stage.nodes if node not in context.schedule.registers]
    kept = {node: f"row{context.names[node]}" for node in nodes}
    return [
        f"const long long i0 = (long long)block * {THREADS} + threadIdx.x;",
        f"if (i0 < {rows}) {{",
        *(f"{c_type(node.dtype)} {name}[{node.size // rows}];" for node, name in kept.items()),
        *(line for stage in group for line in ["{", *_stage(context, stage, _Row(kept, needed)), "}"]),
        "}",
    ]


def _stage(context: SourceContext, stage: Stage, row: _Row) -> list[str]:
    """The results of one row. What other stages have read is read anew: else registers would hold all weights."""
    at = tuple((0, ((f"i{k}", 1),)) if n != 1 or k == 0 else ZERO for k, n in enumerate(stage.shape))
    emitter = _RowEmitter(context, stage.kernels[-1], row)
    lines: list[str] = []
    stores: list[str] = []
    for k, (head, axes) in enumerate(stage.heads.items()):
        (node,) = head.nodes
        names = index_names(node, axes, len(stage.shape))
        lines += _total(_RowEmitter(context, head, row), node, names, f"total{k}")
        here = tuple(at[axis] if n != 1 else ZERO for n, axis in zip(node.shape, axes))
        emitter.emitted[node, here] = f"total{k}"
        stores += emitter.store(node, here, f"total{k}")
    for node in stage.tail.nodes if stage.tail else ():
        value = emitter.value(node, at, calculate=True)
        emitter.emitted[node, at] = value
        stores += emitter.store(node, at, value)
    axes_inside = [(f"i{k}", n) for k, n in enumerate(stage.shape)][1:]
    loops = _unrolled(axes_inside, [*lines, *emitter.outside, *emitter.lines, *stores])
    return [*(f"const {kind} *{name}_ = read_anew({name});" for name, kind in row.read.items()), *loops]


def _total(emitter: _RowEmitter, node: Node, names: Sequence[str], name: str) -> list[str]:
    """A result of a reduction, whose argument has indices of these names."""
    (x,), (function, reduced) = node.args, node.params
    value = emitter.value(x, tuple(ZERO if n == 1 else (0, ((i, 1),)) for i, n in zip(names, x.shape)))
    step = [*emitter.lines, combine(function, name, value, node.dtype)]
    return [
        f"{c_type(node.dtype)} {name} = {neutral_element(function, node.dtype)};",
        *["{", *emitter.outside, *_unrolled([(names[k], x.shape[k]) for k in reduced], step), "}"],
    ]


def _unrolled(axes: Sequence[tuple[str, int]], lines: Sequence[str]) -> list[str]:
    """Loops that the compiler writes down turn by turn."""
    long = [(name, n) for name, n in axes if n != 1]
    heads = [
        line for name, n in long for line in ("#pragma unroll", f"for (int {name} = 0; {name} < {n}; ++{name}) {{")
    ]
    return [*heads, *lines, *["}"] * len(long)]
