"""The loops of each kind of kernel, as lines of C."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...codegen.expressions import ZERO, Affine, Body, Unit, added, affine, indices, loops, text, zeroed
from ...ir import functions
from ...ir.functions import c_type
from ...ir.indexing import c_strides
from ...ir.program import Node
from ...schedule import pipelining as ahead
from ...schedule.fuse import ROWS, Kernel, bases
from . import products

SIMD = "#pragma omp simd"
EXACT = 1024  # float32 sums of more numbers than this are added up in double


def written(unit: Unit, kernel: Kernel) -> list[str]:
    """The lines of a kernel, without indentation."""
    found = unit.schedule.ahead
    if found is not None and kernel is found.product:
        return ahead.taken(unit, found)
    if found is not None and kernel is found.update:
        return ahead.updated(unit, found)
    return _KINDS[kernel.kind](unit, kernel)


def _row(unit: Unit, kernel: Kernel, node: Node) -> int | None:
    """The axis of a node along which a loop runs over the rows of a block."""
    rows = unit.schedule.rows
    return rows.axis.get(node) if rows is not None and kernel.phase == ROWS else None


# Maps.


def _map(unit: Unit, kernel: Kernel) -> list[str]:
    row = _row(unit, kernel, kernel.nodes[0])
    groups = _collapsed(unit, kernel, row)
    index: list[Affine] = [ZERO] * len(kernel.shape)
    nest = []
    extents = unit.lengths(kernel.shape, row)
    for group in groups:
        lengths = [extents[i] for i in group if extents[i] != "1"]
        name = f"i{group[-1]}"
        plain = [int(n) for n in lengths if n != "rows"]
        product = math.prod(plain)
        total = "rows" + (f" * {product}" if product != 1 else "") if "rows" in lengths else str(product)
        if total != "1":
            index[group[-1]] = (0, ((name, 1),))
        nest.append((name, total))
    body = Body(unit, kernel)
    stores = body.stores(tuple(index))
    return [*body.outside, *loops(nest, [*body.lines, *stores], "" if body.checked else SIMD)]


def _collapsed(unit: Unit, kernel: Kernel, row: int | None) -> list[list[int]]:
    """The axes of a loop, in groups that one loop can run through: each array lies along a group as one line."""
    ndim = len(kernel.shape)
    accesses = [c_strides(unit.memory(n)) for n in kernel.nodes if n not in unit.schedule.registers]
    for node in kernel.nodes:
        for x, at in bases(node, unit.schedule.stored):
            if at is None:
                return [[i] for i in range(ndim)]
            if x in unit.schedule.registers:
                continue
            strides = [0] * ndim
            for (_, terms), stride in zip(at, c_strides(unit.memory(x))):
                for axis, s in terms:
                    strides[axis] += s * stride
            accesses.append(strides)
    if any(_counts(node, unit) for node in kernel.nodes):
        return [[i] for i in range(ndim)]
    groups: list[list[int]] = []
    lengths = unit.memory(kernel.nodes[0])
    for i in range(ndim):
        long = [a for a in groups[-1] if lengths[a] != 1] if groups else []
        if groups and i != row and all(not long or s[long[-1]] == s[i] * lengths[i] for s in accesses):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _counts(node: Node, unit: Unit) -> bool:
    """Whether the calculation of a node looks at indices themselves."""
    todo = list(node.args)
    while todo:
        x = todo.pop()
        if x.op in ("iota", "gather", "join"):
            return True
        if x not in unit.schedule.stored:
            todo += x.args
    return node.op in ("iota", "gather", "join")


# Reductions.

_START: dict[str, Callable[[Any], str]] = {
    "sum": lambda dtype: "0",
    "product": lambda dtype: "1",
    "maximum": lambda dtype: _lowest(dtype),
    "argmax": lambda dtype: _lowest(dtype),
    "minimum": lambda dtype: _highest(dtype),
    "argmin": lambda dtype: _highest(dtype),
    "logaddexp": lambda dtype: "-INFINITY",
}


def _lowest(dtype: Any) -> str:
    return "-INFINITY" if dtype.kind == "f" else "0" if dtype.kind in "bu" else f"(-{np.iinfo(dtype).max}ll - 1)"


def _highest(dtype: Any) -> str:
    if dtype.kind == "f":
        return "INFINITY"
    return "1" if dtype.kind == "b" else f"{np.iinfo(dtype).max}" + ("ull" if dtype.kind == "u" else "ll")


def _step(function: str, total: str, value: str, dtype: Any) -> str:
    if function in ("sum", "product"):
        return f"{total} {'+' if function == 'sum' else '*'}= {value};"
    return f"{total} = {functions.written(function, [value, total], dtype, dtype)};"


def _reduce(unit: Unit, kernel: Kernel) -> list[str]:
    (node,) = kernel.nodes
    (x,) = node.args
    function, axes = node.params
    row = _row(unit, kernel, x)
    summing = row in axes
    extents = unit.lengths(x.shape, row)
    at = indices(x.shape)
    body = Body(unit, kernel)
    value = body.value(x, at)
    result = [i for i in range(x.ndim) if i not in axes]
    place = text(added(0, list(zip([at[i] for i in result], c_strides(unit.memory(node))))))
    target = f"{unit.name(node, write=True)}[{place}]"
    outer = [(f"i{i}", extents[i]) for i in result]
    inner = [(f"i{i}", extents[i]) for i in axes]
    if function in ("argmax", "argmin"):
        return body.outside + loops(outer, _best(function, node, x, axes[0], inner, body.lines, value, target))
    pragma = "" if body.checked else SIMD
    last = max((i for i in range(x.ndim) if x.shape[i] != 1), default=0)
    if result and last in result:  # columns: whole rows are added up
        start = [] if summing else loops(outer, [f"{target} = {_START[function](node.dtype)};"], SIMD)
        lines = [*body.lines, _step(function, target, value, node.dtype)]
        order = [pair for pair in outer if pair[0] != f"i{last}"] + inner + [(f"i{last}", extents[last])]
        return [*body.outside, *start, *loops(order, lines, pragma)]
    kind = "double" if function == "sum" and math.prod(x.shape[i] for i in axes) > EXACT else c_type(node.dtype)
    kind = kind if node.dtype.kind == "f" else c_type(node.dtype)
    if function in ("sum", "product") and pragma:
        pragma += f" reduction({'+' if function == 'sum' else '*'}:total)"
    else:
        pragma = ""
    begin = f"{kind} total = {_START[function](node.dtype)};"
    sweep = loops(inner, [*body.lines, _step(function, "total", value, node.dtype)], pragma)
    return body.outside + loops(outer, [begin, *sweep, f"{target} {'+=' if summing else '='} total;"])


def _best(
    function: str,
    node: Node,
    x: Node,
    axis: int,
    inner: Sequence[tuple[str, str]],
    lines: list[str],
    value: str,
    target: str,
) -> list[str]:
    """The place of the first maximum or minimum; NaN is both."""
    sign = ">" if function == "argmax" else "<"
    better = f"{value} {sign} best" + (f" || ({value} != {value} && best == best)" if x.dtype.kind == "f" else "")
    start = [f"{c_type(x.dtype)} best = {_START[function](x.dtype)};", f"{c_type(node.dtype)} found = 0;"]
    place = f"i{axis}" if x.shape[axis] != 1 else "0"
    return [
        *start, *loops(inner, [*lines, f"if ({better}) {{ best = {value}; found = {place}; }}"]), f"{target} = found;",
    ]  # fmt: skip


# Scans, scatters, calls.


def _scan(unit: Unit, kernel: Kernel) -> list[str]:
    (node,) = kernel.nodes
    extents = unit.lengths(node.shape, _row(unit, kernel, node.args[0]))
    body = Body(unit, kernel)
    outer = [(f"i{i}", n) for i, n in enumerate(extents) if i != node.params[1]]
    return body.outside + loops(outer, scanned(body, node, extents[node.params[1]]))


def scanned(body: Body, node: Node, length: str) -> list[str]:
    """The lines that go along one line of what is accumulated."""
    function, axis = node.params
    at = indices(node.shape)
    *factor, value = [body.value(x, at) for x in node.args]
    target = f"{body.unit.name(node, write=True)}[{text(body.offset(node, at))}]"
    step = f"total = {value} + {factor[0]} * total;" if factor else _step(function, "total", value, node.dtype)
    start = "0" if factor else _START[function](node.dtype)
    sweep = loops([(f"i{axis}", length)], [*body.lines, step, f"{target} = total;"])
    return [f"{c_type(node.dtype)} total = {start};", *sweep]


def _scatter(unit: Unit, kernel: Kernel) -> list[str]:
    (node,) = kernel.nodes
    g = node.args[0]
    axes, _, inner = node.params
    at = indices(g.shape)
    body = Body(unit, kernel)
    value = body.value(g, at)
    lengths = [1] * len(axes)  # an axis of length 1 need not be in the map
    for (_, terms), n in zip(inner, node.shape):
        for a, _ in terms:
            lengths[a] = n
    middle = body.picked(node, lengths, at)
    place = added(0, list(zip([affine(middle, axis) for axis in inner], c_strides(node.shape))))
    name = unit.name(node, write=True)
    lines = loops(
        [(f"i{i}", str(n)) for i, n in enumerate(g.shape)], [*body.lines, f"{name}[{text(place)}] += {value};"]
    )
    return [zeroed(name, node.shape), *body.outside, *lines]


def _call(unit: Unit, kernel: Kernel) -> list[str]:
    """A function of whole matrices or rows, called for each of a stack of them; it says whether it failed."""
    (node,) = kernel.nodes
    function, *options = node.params
    core = CORES[function]
    stack = node.args[0].shape[: node.args[0].ndim - core[0]]
    at = indices(stack)
    arguments = []
    for x in (*node.args, node):
        name = unit.name(x, write=x is node)
        place = text(added(0, list(zip(at, c_strides(x.shape)))))
        arguments.append(name if place == "0" else f"{name} + {place}")
    line = f"{function}_{functions.suffix(node.args[0].dtype)}({', '.join([*arguments, *map(str, options)])})"
    if function in FAILURES:
        line = f"if ({line}) return {unit.failure(np.linalg.LinAlgError, FAILURES[function])}"
    return loops([(f"i{i}", str(n)) for i, n in enumerate(stack)], [f"{line};"])


# How many axes of each argument belong to one call; those before them are a stack, the same for all arguments.
CORES = {"argsort": (1,), "factors": (2,), "solve": (2, 2), "cholesky": (2,), "singular": (2,)}
FAILURES = {
    "solve": "Singular matrix",
    "cholesky": "Matrix is not positive definite",
    "singular": "SVD did not converge",
}

_KINDS = {
    "map": _map,
    "reduce": _reduce,
    "product": products.written,
    "scan": _scan,
    "scatter": _scatter,
    "call": _call,
    "part": lambda unit, kernel: [],  # its loop has written it
}
