"""Expressions: what a loop calculates for one element, as statements that C and CUDA understand."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

from ..ir import functions
from ..ir.functions import c_type
from ..ir.indexing import Affine, affine_sum, c_strides, compose
from ..ir.node import Node
from ..ir.program import is_trusted, literal_value
from ..schedule.buffers import assign_buffers
from ..schedule.fuse import Kernel, Schedule, arena_size

Index = Affine[str]  # in C
ZERO: Index = (0, ())


def c_index(index: Index) -> str:
    offset, terms = index
    parts = [name if factor == 1 else f"{factor} * {name}" for name, factor in terms]
    return " + ".join([*parts, *([str(offset)] if offset or not parts else [])])


class SourceContext:
    """What the functions of one source share: where every array lies, and how it is called."""

    def __init__(self, schedule: Schedule, order: Node | None) -> None:
        self.schedule = schedule
        self.names = {node: i for i, node in enumerate(schedule.nodes)}
        for kernel in schedule.kernels:
            for node in kernel.nodes:
                self.names.setdefault(node, len(self.names))
        self.pointers = {r.node: r.pointer for r in schedule.results}
        own = [n for k in schedule.kernels for n in k.nodes if n not in self.pointers and n not in schedule.registers]
        sizes = {node: arena_size(self.memory(node), node.dtype.itemsize) for node in own}
        self.offsets, self.arena = assign_buffers(schedule, sizes)
        self.pipelined = self.arena  # where the pipelined product lies until its iteration
        if schedule.pipelined is not None:
            (node,) = schedule.pipelined.product.nodes
            self.arena += arena_size(node.shape, node.dtype.itemsize)
        inputs = [n.params for n in [*schedule.nodes, *([order] if order else [])] if n.op == "input"]
        self.next = 1 + max([-1, *self.pointers.values(), *inputs])  # after the given pointers: the next order's
        self.used: dict[str, tuple[Node, bool]] = {}
        self.functions: dict[tuple[str, str], str] = {}
        self.blas = False  # whether BLAS is called
        self.shared: dict[str, None] = {}  # what is called in libraries that programs share
        self.tables: dict[Kernel, dict[str, str]] = {}  # of contractions: where their numbers lie
        self.threads = False  # whether loops are shared out between threads
        self.checks: list[tuple[type[Exception], str]] = []
        # Writes the body of a loop over a sequence as a function; returns its name, and the size of its arena.
        self.inner: Callable[[Schedule], tuple[str, int]]

    def memory(self, node: Node) -> tuple[int, ...]:
        """The shape in which a node lies in memory: of a node with rows, one block of them."""
        rows = self.schedule.rows
        if rows is None or node not in rows.axis:
            return node.shape
        axis = rows.axis[node]
        return (*node.shape[:axis], min(rows.block, rows.length), *node.shape[axis + 1 :])

    def name(self, node: Node, write: bool = False) -> str:
        """The name of the pointer to an array, which is then declared."""
        while node.op == "reshape" and node not in self.schedule.stored:
            node = node.args[0]
        pointer = node.params if node.op == "input" else self.pointers.get(node)
        name = f"p{pointer}" if pointer is not None else f"t{self.names[node]}"
        self.used[name] = (node, write or self.used.get(name, (node, False))[1])
        return name

    def declarations(self) -> list[str]:
        lines = []
        rows = self.schedule.rows
        for name, (node, write) in self.used.items():
            const = "" if write else "const "
            source = f"p[{name[1:]}]" if name[0] == "p" else f"(arena + {self.offsets[node]})"
            line = f"{const}{c_type(node.dtype)} *restrict {name} = ({const}{c_type(node.dtype)} *){source}"
            axis = rows.shifted.get(node) if rows else None
            shift = f" + row0 * {c_strides(node.shape)[axis]}" if axis is not None else ""
            lines.append(f"    {line}{shift};")
        self.used = {}
        return lines

    def scratch(self, size: int) -> int:
        """Where `size` bytes more lie in the arena."""
        place = self.arena
        self.arena += arena_size((size,), 1)
        return place

    def error_code(self, kind: type[Exception], message: str) -> int:
        """The number that a C function returns for an error."""
        if (kind, message) not in self.checks:
            self.checks.append((kind, message))
        return self.checks.index((kind, message)) + 1

    def lengths(self, shape: Sequence[int], row: int | None) -> list[str]:
        """The lengths of loops; along the rows of a block it is a number only where all blocks have as many."""
        rows = self.schedule.rows
        of_rows = "rows" if rows is None or rows.length % rows.block else str(rows.block)
        return [of_rows if i == row else str(n) for i, n in enumerate(shape)]

    def function(self, kind: str, parameters: str, statement: str) -> str:
        """The name of a function of the source's own; one of equal parameters and statement is made once."""
        return self.functions.setdefault((parameters, statement), f"{kind}{len(self.functions)}")


class ExpressionEmitter:
    """The statements inside a loop that calculate values, each once.

    Arguments:
        innermost: the index of the innermost loop, where there are others around it.
    """

    def __init__(self, context: SourceContext, kernel: Kernel, innermost: str = "") -> None:
        self.context = context
        self.kernel = kernel
        self.innermost = innermost
        self.counter = itertools.count()
        self.outside: list[str] = []  # before the loops: what is the same in all of their rounds
        self.middle: list[str] = []  # before the innermost loop, but inside the others
        self.lines: list[str] = []
        self.emitted: dict[tuple[Node, tuple[Index, ...]], str] = {}
        self.may_fail = False  # whether it may leave the loop, for an index that is out of bounds
        self.inside: set[str] = set()  # names that are declared in the loops
        self.latest: set[str] = set()  # those of them that are declared in the innermost one
        self.branches = 0  # how many branches the next line stands in

    def place(self, expression: str) -> list[str]:
        """Where an expression is to be calculated: in the loops, or before them if it is always the same."""
        names = re.findall(r"\b[iv]\d+\b", expression)
        varies = self.branches or any(name[0] == "i" or name in self.inside for name in names)
        return self.lines if varies else self.outside

    def declare(self, lines: list[str]) -> str:
        """A new name, for a declaration in `lines`."""
        name = f"v{next(self.counter)}"
        if lines is not self.outside:
            self.inside.add(name)
        if lines is self.lines:
            self.latest.add(name)
        return name

    def integer(self, expression: str) -> str:
        """The name of a whole number that is calculated from indices, before the innermost loop if it can be."""
        names = re.findall(r"\b[iv]\d+\b", expression)
        early = self.innermost and not any(name == self.innermost or name in self.latest for name in names)
        lines = self.middle if early else self.lines
        name = self.declare(lines)
        lines.append(f"const int64_t {name} = {expression};")
        return name

    def keep(self, node: Node, index: tuple[Index, ...], expression: str) -> str:
        lines = self.place(expression)
        name = self.declare(lines)
        lines.append(f"const {c_type(node.dtype)} {name} = {expression};")
        self.emitted[node, index] = name
        return name

    def value(self, node: Node, index: tuple[Index, ...], calculate: bool = False) -> str:
        """A name or number for one element of a node."""
        number = literal_value(node)
        if number is not None:
            written = functions.c_literal(number, node.dtype)
            return f"({written})" if written.startswith("-") else written
        found = self.emitted.get((node, index))
        if found is not None:
            return found
        node = self.kernel.copies.get(node, node)
        if not calculate and (node.op in ("input", "reshape") or node in self.context.schedule.stored):
            return self.keep(node, index, self.load(node, index))
        text: str = getattr(self, f"_{node.op}")(node, index)
        return text

    def results(self, at: tuple[Index, ...]) -> list[tuple[Node, str, str]]:
        """What the kernel calculates for one element: the nodes that are stored, where, and the values."""
        results = []
        for node in self.kernel.nodes:
            value = self.value(node, at, calculate=True)
            self.emitted[node, at] = value
            if node not in self.context.schedule.registers:
                place = f"{self.context.name(node, write=True)}[{c_index(self.offset(node, at))}]"
                results.append((node, place, value))
        return results

    def stores(self, at: tuple[Index, ...]) -> list[str]:
        """The statements that store what the kernel calculates for one element."""
        return [f"{place} = {value};" for _, place, value in self.results(at)]

    def load(self, node: Node, index: Sequence[Index]) -> str:
        if node in self.context.schedule.registers:
            raise AssertionError(f"{node} is in no register of this loop")
        return f"{self.context.name(node)}[{c_index(self.offset(node, index))}]"

    def offset(self, node: Node, index: Sequence[Index]) -> Index:
        return affine_sum(0, list(zip(index, c_strides(self.context.memory(node)))))

    def _view(self, node: Node, index: tuple[Index, ...]) -> str:
        return self.value(node.args[0], compose(node.params, index))

    def _reshape(self, node: Node, index: tuple[Index, ...]) -> str:
        return self.keep(node, index, f"{self.context.name(node.args[0])}[{c_index(self.offset(node, index))}]")

    def _iota(self, node: Node, index: tuple[Index, ...]) -> str:
        rows = self.context.schedule.rows
        shift = " + row0" if rows and node in rows.shifted else ""
        return self.keep(node, index, f"{c_index(index[0])}{shift}")

    def _map(self, node: Node, index: tuple[Index, ...]) -> str:
        args = [self.value(x, index) for x in node.args]
        branch = node.args[1] if node.params == "where" else node.args[0]
        return self.keep(node, index, functions.call_expression(node.params, args, branch.dtype, node.dtype))

    def _gather(self, node: Node, index: tuple[Index, ...]) -> str:
        return self.value(node.args[0], self.gathered_index(node, node.args[0].shape, index))

    def gathered_index(self, node: Node, shape: Sequence[int], index: tuple[Index, ...]) -> tuple[Index, ...]:
        """The indices of what a gather reads, or a scatter writes."""
        axes, position = node.params[:2]
        indices = node.args[1:]
        at = index[position : position + indices[0].ndim] if indices else ()
        result = []
        for (kind, k), n in zip(axes, shape):
            result.append(index[k] if kind == "axis" else self.checked_index(indices[k], at, n))
        return tuple(result)

    def checked_index(self, indices: Node, at: tuple[Index, ...], length: int) -> Index:
        """An index that is read from an array, after a look at whether it is one."""
        number = literal_value(indices)
        if number is not None:
            if not -length <= number < length:
                raise IndexError(f"index {number} is out of bounds for an axis of length {length}")
            return (int(number) % length, ())
        raw = self.value(indices, at)
        if is_trusted(indices, self.context.schedule.stored.trusted, length):
            return (0, ((raw, 1),))
        return (0, ((self.found_index(indices, raw, length), 1),))

    def found_index(self, indices: Node, raw: str, length: int) -> str:
        """The name of an index from the start, where what was read is one; else the function returns an error."""
        lines = self.place(raw)
        self.may_fail = self.may_fail or lines is self.lines
        code = self.out_of_bounds(length)
        name = self.declare(lines)
        lines.append(f"if ({raw} < -{length}ll || {raw} >= {length}ll) return {code};")
        lines.append(f"const int64_t {name} = {raw} < 0 ? {raw} + {length} : {raw};")
        return name

    def out_of_bounds(self, length: int) -> int:
        """The number of the error for an index along an axis of some length."""
        return self.context.error_code(IndexError, f"an index is out of bounds for an axis of length {length}")

    def branch(self, name: str, node: Node, index: tuple[Index, ...]) -> None:
        """Add the rest of a branch that sets a name to an element; what else it calculates is not known outside."""
        before = dict(self.emitted)
        self.branches += 1
        self.lines += [f"{name} = {self.value(node, index)};", "}"]
        self.branches -= 1
        self.emitted = before

    def _join(self, node: Node, index: tuple[Index, ...]) -> str:
        axis = node.params
        name = self.declare(self.lines)
        self.lines.append(f"{c_type(node.dtype)} {name};")
        start = 0
        for i, piece in enumerate(node.args):
            end = start + piece.shape[axis]
            last = i == len(node.args) - 1
            head = f"if ({c_index(index[axis])} < {end})" if not last else ""
            self.lines.append(f"{'else ' if i else ''}{head} {{".strip().replace("  ", " "))
            moved = tuple(affine_sum(-start, [(a, 1)]) if k == axis else a for k, a in enumerate(index))
            self.branch(name, piece, moved)
            start = end
        self.emitted[node, index] = name
        return name

    def _pad(self, node: Node, index: tuple[Index, ...]) -> str:
        (x,) = node.args
        inside, at = [], []
        for i, (low, step), n, length in zip(index, node.params, x.shape, node.shape):
            moved = affine_sum(-low, [(i, 1)])
            at.append(moved)
            if n != length:
                place = c_index(moved)
                inside += [f"{place} >= 0"] * (low > 0) + [f"{place} < {step * n}"] * (low + step * n < length)
                if step > 1:
                    inside.append(f"({place}) % {step} == 0")
        condition = " && ".join(inside)  # compilers cut a loop in two by a comparison; not so by a remainder
        if any(step > 1 for _, step in node.params):
            condition = self.integer(condition)
        for k, (_, step) in enumerate(node.params):
            if step > 1:
                at[k] = (0, ((self.integer(f"({c_index(at[k])}) / {step}"), 1),))
        name = self.declare(self.lines)
        self.lines += [f"{c_type(node.dtype)} {name} = 0;", f"if ({condition}) {{"]
        self.branch(name, x, tuple(at))
        self.emitted[node, index] = name
        return name


def loop_indices(shape: Sequence[int]) -> tuple[Index, ...]:
    """The indices of an element in loops along all axes: i0, i1 …"""
    return tuple(ZERO if n == 1 else (0, ((f"i{k}", 1),)) for k, n in enumerate(shape))
