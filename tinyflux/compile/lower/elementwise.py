"""Functions that work element by element, and those that make arrays of one number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...autodiff import operators
from .. import program
from ..functions import FUNCTIONS
from ..program import Node
from ..symbolic import NotCompilable, lower, name_of, node_of, supported

_SPECIAL_POWERS: dict[Any, str] = {1: "positive", 2: "square", -1: "reciprocal", 0.5: "sqrt"}


def ufunc(function: Any, args: Sequence[Any], options: dict[str, Any]) -> Node:
    """A ufunc of arrays and numbers, with NumPy's rules of promotion."""
    dtype = options.pop("dtype", None)
    if any(x is not None for x in options.values()) or len(args) != function.nin:
        raise NotCompilable(f"{name_of(function)} with the options {', '.join(options)} can't be compiled.")
    nodes = [node_of(x) for x in args]
    if dtype is not None:
        nodes = [cast(x, dtype) for x in nodes]
    if function is np.power and program.literal_value(nodes[1]) in _SPECIAL_POWERS:
        common = promoted(nodes)
        if common.kind == "f":
            exponent = program.literal_value(nodes[1])
            both = program.broadcast(nodes[0], np.broadcast_shapes(nodes[0].shape, nodes[1].shape))
            return program.elementwise(_SPECIAL_POWERS[exponent], [cast(both, common, both.weak)], common, both.weak)
    *inputs, output = loop(function, nodes)
    weak = all(x.weak for x in nodes) and output.kind != "b"
    name = function.__name__
    if (name, output.kind if name == "power" else None) == ("power", "i") or name not in FUNCTIONS:
        raise NotCompilable(f"{name_of(function)} can't be compiled: there is no way to write it in C.")
    return program.elementwise(name, [cast(x, d, x.weak) for x, d in zip(nodes, inputs)], output, weak)


def loop(function: Any, nodes: Sequence[Node]) -> tuple[Any, ...]:
    """The dtypes that a ufunc converts its arguments to, and that of its result."""
    if all(x.weak for x in nodes):
        kinds: list[Any] = [x.dtype for x in nodes]
    else:
        kinds = [(float if x.dtype.kind == "f" else int) if x.weak else x.dtype for x in nodes]
    found: tuple[Any, ...] = function.resolve_dtypes((*kinds, None))
    if any(d.kind not in "biuf" or d == np.float16 or d.itemsize > 8 for d in found):
        raise NotCompilable(f"{name_of(function)} of {', '.join(str(x.dtype) for x in nodes)} can't be compiled.")
    return found


def promoted(nodes: Sequence[Node]) -> Any:
    """The dtype that NumPy brings arrays and numbers to."""
    return np.result_type(*[x.dtype.type(1).item() if x.weak else x.dtype for x in nodes])


def cast(x: Node, dtype: Any, weak: bool = False) -> Node:
    return program.elementwise("cast", [x], dtype, weak)


@lower(np.where)
def _where(condition: Any, a: Any, b: Any) -> Node:
    nodes = [node_of(a), node_of(b)]
    dtype = promoted(nodes)
    return program.elementwise("where", [cast(node_of(condition), np.bool_), *(cast(x, dtype) for x in nodes)], dtype)


@lower(np.round, np.around)
def _round(a: Any, decimals: int = 0) -> Node:
    if decimals:
        raise NotCompilable(f"np.round to {decimals} decimals can't be compiled.")
    x = node_of(a)
    return x if x.dtype.kind in "iu" else program.elementwise("rint", [x], x.dtype)


@lower(np.fix)
def _fix(x: Any) -> Node:
    return program.elementwise("trunc", [node_of(x)], node_of(x).dtype)


# Arrays of one number.


def full(shape: Any, value: Any, dtype: Any) -> Node:
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    return program.broadcast(cast(node_of(value), dtype), shape)


def _like(value: Any) -> Any:
    def make(a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None) -> Node:
        x = node_of(a)
        return full(x.shape if shape is None else shape, value, dtype or x.dtype)

    return make


lower(np.zeros_like, np.empty_like)(_like(0))
lower(np.ones_like)(_like(1))


@lower(np.full_like)
def _full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None
) -> Node:
    x = node_of(a)
    return full(x.shape if shape is None else shape, fill_value, dtype or x.dtype)


lower(np.zeros, np.empty)(lambda shape, dtype=float, order="C": full(shape, 0, dtype or float))
lower(np.ones)(lambda shape, dtype=float, order="C": full(shape, 1, dtype or float))


@lower(np.full)
def _full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> Node:
    return full(shape, fill_value, dtype or node_of(fill_value).dtype)


@lower(np.asarray, np.array, np.ascontiguousarray)
def _asarray(a: Any, dtype: Any = None, **options: Any) -> Node:
    x = node_of(a)
    return x if dtype is None and not x.weak else cast(x, dtype or x.dtype)


@lower(np.eye)
def _eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float, order: str = "C") -> Node:
    shape = (N, N if M is None else M)
    rows = program.elementwise("add", [program.iota(shape, 0), program.literal(k)], np.int64)
    return cast(program.elementwise("equal", [rows, program.iota(shape, 1)], np.bool_), dtype or float)


lower(np.arange)(lambda *args, dtype=None: node_of(np.arange(*args, dtype=dtype)))

# Questions about arrays.
lower(np.shape)(lambda a: node_of(a).shape)
lower(np.ndim)(lambda a: node_of(a).ndim)
lower(np.size)(lambda a, axis=None: node_of(a).size if axis is None else node_of(a).shape[axis])
lower(np.iscomplexobj)(lambda x: False)
lower(np.isrealobj)(lambda x: True)


@lower(np.result_type)
def _result_type(*args: Any) -> Any:
    return np.result_type(*[x.dtype if hasattr(x, "dtype") else x for x in args])


@lower(operators.cast)
def _cast(x: Any, dtype: Any = None) -> Node:
    return cast(node_of(x), supported(np.dtype(dtype)))
