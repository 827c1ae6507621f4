"""Reductions and running sums, as lines of C: from where a total starts, and how a value joins it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...types import DType
from ..ir import functions
from ..ir.functions import c_type
from ..ir.node import Node
from .expressions import ExpressionEmitter, c_index, loop_indices
from .loops import nest


def neutral_element(function: str, dtype: DType) -> str:
    """The number from which a total starts."""
    if function in ("sum", "product"):
        return "0" if function == "sum" else "1"
    sign = -1 if function in ("maximum", "argmax", "logaddexp") else 1
    if dtype.kind == "f":
        return functions.c_literal(sign * np.inf, dtype)
    bounds = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return functions.c_literal(bounds[sign > 0], dtype)


def combine(function: str, total: str, value: str, dtype: DType) -> str:
    """The statement by which a value joins a total."""
    if function in ("sum", "product"):
        return f"{total} {'+' if function == 'sum' else '*'}= {value};"
    if function in ("maximum", "minimum") and dtype.kind == "f":  # faster here than `maximum` of two arrays
        sign = ">" if function == "maximum" else "<"
        return f"{total} = {value} {sign} {total} || {value} != {value} ? {value} : {total};"
    return f"{total} = {functions.call_expression(function, [value, total], dtype, dtype)};"


def emit_arg_extremum(
    node: Node, place: str, inner: Sequence[tuple[str, str]], lines: list[str], value: str, target: str
) -> list[str]:
    """The place of the first maximum or minimum; NaN is both. Its index is called `place`."""
    (x,), (function, _) = node.args, node.params
    sign = ">" if function == "argmax" else "<"
    better = f"{value} {sign} best" + (f" || ({value} != {value} && best == best)" if x.dtype.kind == "f" else "")
    start = [f"{c_type(x.dtype)} best = {neutral_element(function, x.dtype)};", f"{c_type(node.dtype)} found = 0;"]
    return [
        *start, *nest(inner, [*lines, f"if ({better}) {{ best = {value}; found = {place}; }}"]), f"{target} = found;",
    ]  # fmt: skip


def emit_scan(emitter: ExpressionEmitter, node: Node, length: str) -> list[str]:
    """The loop that accumulates along one line of an array."""
    function, axis = node.params
    at = loop_indices(node.shape)
    *factor, value = [emitter.value(x, at) for x in node.args]
    target = f"{emitter.context.name(node, write=True)}[{c_index(emitter.offset(node, at))}]"
    step = f"total = {value} + {factor[0]} * total;" if factor else combine(function, "total", value, node.dtype)
    start = "0" if factor else neutral_element(function, node.dtype)
    sweep = nest([(f"i{axis}", length)], [*emitter.lines, step, f"{target} = total;"])
    return [f"{c_type(node.dtype)} total = {start};", *sweep]
