"""The loops of each kind of kernel, as lines of C."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...codegen.expressions import ZERO, ExpressionEmitter, Index, SourceContext, c_index, loop_indices
from ...codegen.loops import merge_axes, nest
from ...codegen.reductions import combine, emit_arg_extremum, emit_scan, neutral_element
from ...ir import functions
from ...ir.functions import c_type
from ...ir.indexing import affine_sum, c_strides
from ...ir.loop import Steps
from ...ir.node import Node
from ...ir.ops import CORES, FAILURES
from ...schedule.fuse import ROWS, Kernel, Result, make_schedule
from . import pipelined, products, winograd
from .sharing import parts, reduced_loop, sums

SIMD = "#pragma omp simd"
NEAR = 4096  # results that stay in the first cache while others are added to
WIDE = 64  # numbers of whole rows that are added to as many sums together
EXACT = 1024  # float32 sums of more numbers than this are added up in double


def emit_kernel(context: SourceContext, kernel: Kernel, stretch: str = "") -> list[str]:
    """The lines of a kernel, without indentation; all of it, or a stretch of the loop that is shared (see sharing)."""
    moved = context.schedule.pipelined
    if moved is not None and kernel is moved.product:
        return pipelined.emit_copy(context, moved)
    if moved is not None and kernel is moved.update:
        return pipelined.emit_update(context, moved)
    return _SHARED[kernel.kind](context, kernel, stretch) if stretch else _KINDS[kernel.kind](context, kernel)


def _row(context: SourceContext, kernel: Kernel, node: Node) -> int | None:
    """The axis of a node along which a loop runs over the rows of a block."""
    rows = context.schedule.rows
    return rows.axis.get(node) if rows is not None and kernel.phase == ROWS else None


def _map(context: SourceContext, kernel: Kernel, stretch: str = "") -> list[str]:
    row = _row(context, kernel, kernel.nodes[0])
    groups = merge_axes(context, kernel, row)
    index: list[Index] = [ZERO] * len(kernel.shape)
    loops = []
    extents = context.lengths(kernel.shape, row)
    for group in groups:
        name = f"i{group[-1]}"
        total = extents[row] if row in group else str(math.prod(kernel.shape[i] for i in group))
        if total != "1":
            index[group[-1]] = (0, ((name, 1),))
            total, stretch = stretch or total, ""
        loops.append((name, total))
    *around, last = [loop for loop in loops if loop[1] != "1"] or [("", "1")]
    emitter = ExpressionEmitter(context, kernel, last[0] if around else "")
    stores = emitter.stores(tuple(index))
    innermost = nest([last], [*emitter.lines, *stores], "" if emitter.may_fail else SIMD)
    return [*emitter.outside, *nest(around, [*emitter.middle, *innermost])]


def _reduce(context: SourceContext, kernel: Kernel, stretch: str = "") -> list[str]:
    (node,) = kernel.nodes
    (x,) = node.args
    function, axes = node.params
    row = _row(context, kernel, x)
    summing = row in axes
    extents = context.lengths(x.shape, row)
    cut = parts(kernel) if stretch else 1
    if cut > 1:
        n = x.shape[axes[0]]
        extents[axes[0]] = f"{n} * part / {cut}..{n} * (part + 1) / {cut}"
    elif stretch:
        axis, step = reduced_loop(kernel)
        extents[axis] = stretch if step == 1 else f"{step} * from..TF_MIN({step} * to, {extents[axis]})"
    at = loop_indices(x.shape)
    emitter = ExpressionEmitter(context, kernel)
    value = emitter.value(x, at)
    result = [i for i in range(x.ndim) if i not in axes]
    place = c_index(affine_sum(0, list(zip([at[i] for i in result], c_strides(context.memory(node))))))
    if cut > 1 and (x.op in ("input", "reshape") or x in context.schedule.stored):
        return _sum_of_rows(context, kernel, stretch)
    target = f"{'sum' if cut > 1 else context.name(node, write=True)}[{place}]"
    outer = [(f"i{i}", extents[i]) for i in result]
    inner = [(f"i{i}", extents[i]) for i in axes]
    if function in ("argmax", "argmin"):
        sweep = emit_arg_extremum(node, c_index(at[axes[0]]), inner, emitter.lines, value, target)
        return emitter.outside + nest(outer, sweep)
    pragma = "" if emitter.may_fail else SIMD
    last = max((i for i in range(x.ndim) if x.shape[i] != 1), default=0)
    if result and last in result:  # columns: whole rows are added up
        start = [] if summing else nest(outer, [f"{target} = {neutral_element(function, node.dtype)};"], SIMD)
        lines = [*emitter.lines, combine(function, target, value, node.dtype)]
        *around, own = outer
        near = math.prod(x.shape[i] for i in result[1:]) <= NEAR  # then what several results are made of is read once
        order = [*around[:1], *inner, *around[1:], own] if near else [*around, *inner, own]
        loops = [*start, *nest(order, lines, pragma)]
        if cut > 1:
            begin = f"{c_type(node.dtype)} sum[{node.size}];"  # in no cache line that another thread writes to
            end = f"memcpy({sums(context, kernel)} + {node.size} * part, sum, sizeof sum);"
            loops = nest([("part", stretch)], [begin, *loops, end])
        return [*emitter.outside, *loops]
    exact = function == "sum" and node.dtype.kind == "f" and math.prod(x.shape[i] for i in axes) > EXACT
    kind = "double" if exact else c_type(node.dtype)
    if function in ("sum", "product") and pragma:
        pragma += f" reduction({'+' if function == 'sum' else '*'}:total)"
    else:
        pragma = ""
    begin = f"{kind} total = {neutral_element(function, node.dtype)};"
    sweep = nest(inner, [*emitter.lines, combine(function, "total", value, node.dtype)], pragma)
    return emitter.outside + nest(outer, [begin, *sweep, f"{target} {'+=' if summing else '='} total;"])


def _sum_of_rows(context: SourceContext, kernel: Kernel, stretch: str) -> list[str]:
    """The columns of an array that lies in memory, added up in parts along its first axis: several rows at a time.

    Of few columns one row alone would not fill a vector, and the next would have to wait for it.
    """
    (node,) = kernel.nodes
    (x,) = node.args
    columns, first = node.size, x.shape[node.params[1][0]]
    rows = x.size // first // columns
    together = next(n for n in range(max(WIDE // columns, 1), 0, -1) if rows % n == 0)
    width, blocks = together * columns, rows // together
    begin, end = (f"{first} * {part} / {parts(kernel)}" for part in ("part", "(part + 1)"))
    steps = [("i", f"{begin}..{end}", blocks * width), ("block", str(blocks), width), ("j", str(width), 1)]
    steps = [step for step in steps if step[1] != "1"]
    place = c_index((0, tuple((name, step) for name, _, step in steps)))
    return nest(
        [("part", stretch)],
        [
            f"{c_type(node.dtype)} sum[{width}] = {{0}};",  # in no cache line that another thread writes to
            *nest([step[:2] for step in steps], [f"sum[j] += {context.name(x)}[{place}];"], SIMD),
            *nest([("row", f"1..{together}"), ("j", str(columns))], [f"sum[j] += sum[{columns} * row + j];"]),
            f"memcpy({sums(context, kernel)} + {columns} * part, sum, {columns} * sizeof *sum);",
        ],
    )


def _scan(context: SourceContext, kernel: Kernel) -> list[str]:
    (node,) = kernel.nodes
    extents = context.lengths(node.shape, _row(context, kernel, node.args[0]))
    emitter = ExpressionEmitter(context, kernel)
    outer = [(f"i{i}", n) for i, n in enumerate(extents) if i != node.params[1]]
    return emitter.outside + nest(outer, emit_scan(emitter, node, extents[node.params[1]]))


def _scatter(context: SourceContext, kernel: Kernel) -> list[str]:
    (node,) = kernel.nodes
    g = node.args[0]
    at = loop_indices(g.shape)
    emitter = ExpressionEmitter(context, kernel)
    value = emitter.value(g, at)
    place = emitter.offset(node, emitter.gathered_index(node, node.shape, at))
    name = context.name(node, write=True)
    line = f"{name}[{c_index(place)}] += {value};"
    lines = nest([(f"i{i}", str(n)) for i, n in enumerate(g.shape)], [*emitter.lines, line])
    return [f"memset({name}, 0, {node.size} * sizeof *{name});", *emitter.outside, *lines]


def _call(context: SourceContext, kernel: Kernel) -> list[str]:
    """A function of whole matrices or rows, called for each of a stack of them; it says whether it failed."""
    (node,) = kernel.nodes
    function, *options = node.params
    core = CORES[function]
    stack = node.args[0].shape[: node.args[0].ndim - core[0]]
    at = loop_indices(stack)
    arguments = []
    for x in (*node.args, node):
        name = context.name(x, write=x is node)
        place = c_index(affine_sum(0, list(zip(at, c_strides(x.shape)))))
        arguments.append(name if place == "0" else f"{name} + {place}")
    line = f"{function}_{functions.suffix(node.args[0].dtype)}({', '.join([*arguments, *map(str, options)])})"
    if function in FAILURES:
        line = f"if ({line}) return {context.error_code(np.linalg.LinAlgError, FAILURES[function])}"
    return nest([(f"i{i}", str(n)) for i, n in enumerate(stack)], [f"{line};"])


def _loop(context: SourceContext, kernel: Kernel) -> list[str]:
    """A loop over a sequence: its body is a function, called with pointers that move on from step to step."""
    (node,) = kernel.nodes
    steps: Steps = node.params
    parts = {x.params: x for x in context.schedule.nodes if x.op == "part" and x.args[0] is node}
    outputs = [k for k in range(len(steps.outputs)) if ("stack", k) in parts]
    body = steps.body(outputs)
    after, stacks = body.ends[: len(steps.carries)], body.ends[len(steps.carries) :]
    states = body.inputs[len(steps.slices) :]
    results = [Result(x, len(body.inputs) + k) for k, x in enumerate(stacks)]
    results += [Result(x, state.params, state) for state, x in zip(states, after) if x is not state]
    function, scratch = context.inner(make_schedule(results, body.recording.trusted))
    setup = [f"char *q[{len(body.inputs) + len(outputs)}];"]
    each = []
    names = [context.name(kernel.copies.get(x, x)) for x in node.args]
    for i, (name, x) in enumerate(zip(names, body.inputs)):
        k = i - len(steps.slices)
        if k < 0:
            each.append(f"q[{i}] = (char *)({name} + t * {x.size});")
        elif k < len(steps.carries):
            last = parts.get(("last", k))
            size = x.size * x.dtype.itemsize
            place = context.name(last, write=True) if last else f"(arena + {context.scratch(size)})"
            setup += [f"memcpy({place}, {name}, {size});", f"q[{i}] = (char *){place};"]
        else:
            setup.append(f"q[{i}] = (char *){name};")
    for i, (k, x) in enumerate(zip(outputs, stacks)):
        name = context.name(parts["stack", k], write=True)
        each.append(f"q[{len(body.inputs) + i}] = (char *)({name} + t * {x.size});")
    arena = context.scratch(scratch)
    return [
        *setup,
        f"for (int64_t s = 0; s < {steps.length}; s++) {{",
        f"const int64_t t = {f'{steps.length - 1} - s' if steps.reverse else 's'};",
        *each,
        f"const int64_t failed = {function}(q, arena + {arena});",
        "if (failed) return failed;",
        "}",
    ]


_Emitters = dict[str, Callable[..., list[str]]]
_SHARED: _Emitters = {"map": _map, "reduce": _reduce, "product": products.emit_product, "winograd": winograd.emit}
_KINDS: _Emitters = {
    **_SHARED,
    "scan": _scan,
    "scatter": _scatter,
    "call": _call,
    "loop": _loop,
    "part": lambda context, kernel: [],  # its loop has written it
}
