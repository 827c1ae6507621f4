"""The program: what was asked of NumPy, as one list of operations on arrays of known shapes.

There are few kinds of operations, on purpose; `ops` declares them. A product of matrices is a reduction of a map of two
views; the scheduler knows it when it sees it. Equal operations are made once (common subexpressions), and what no
result needs is left out.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ...errors import NotCompilable
from ...types import Array, DType
from ..guards.contents import Contents
from . import ops
from .functions import FOLDED
from .indexing import Map, broadcast_map, compose, is_identity, own_axis, reshape_map, view_of
from .node import Node

_here = threading.local()


class Recording:
    """The operations recorded so far; the innermost one of a thread is where new ones go.

    Arguments:
        gpu: whether the program is to run on the GPU, and what it reads lies there.
        limit: how many nodes are recorded at most; NotCompilable for one more.
    """

    def __init__(self, gpu: bool = False, limit: float = math.inf) -> None:
        self.gpu = gpu
        self.limit = limit
        self.nodes: dict[Any, Node] = {}
        self.inputs: list[Node] = []
        self.captured: list[tuple[Node, Array]] = []  # arrays that the function took from its surroundings
        self._captured: dict[int, tuple[Node, Contents]] = {}
        self._overwritten = False  # whether a captured array was changed in place while the function ran
        self.demands: dict[Node, tuple[type[Exception], str]] = {}  # what has to be true, and the error if it isn't
        self.trusted: set[Node] = set()  # inputs of indices that are checked before the program runs

    def __enter__(self) -> Recording:
        self._before = getattr(_here, "recording", None)
        _here.recording = self
        return self

    def __exit__(self, *exception: object) -> None:
        _here.recording = self._before

    def input(self, shape: Sequence[int], dtype: DTypeLike, weak: bool = False) -> Node:
        node = make_node(ops.Input, (), len(self.inputs), tuple(shape), np.dtype(dtype), weak)
        self.inputs.append(node)
        return node

    def capture(self, array: Array) -> Node:
        """An input that is always this array."""
        if id(array) not in self._captured:
            node = self.input(array.shape, array.dtype)
            self._captured[id(array)] = node, Contents([array])
            self.captured.append((node, array))
            return node
        node, contents = self._captured[id(array)]
        self._overwritten = self._overwritten or not contents.same([array])
        return node

    def has_overwritten(self) -> bool:
        """Whether what the program was to read has changed since it was captured."""
        return self._overwritten or any(not self._captured[id(x)][1].same([x]) for _, x in self.captured)


def recording() -> Recording:
    """The innermost recording of this thread."""
    found: Recording | None = getattr(_here, "recording", None)
    if found is None:
        raise RuntimeError("an array of flux.compile was used outside the function that is being compiled.")
    return found


def is_recording() -> bool:
    """Whether this thread is recording a program."""
    return getattr(_here, "recording", None) is not None


def make_node(
    kind: type[Node], args: tuple[Node, ...], params: Any, shape: tuple[int, ...], dtype: DType, weak: bool = False
) -> Node:
    """A node of the innermost recording; equal ones are the same."""
    here = recording()
    nodes = here.nodes
    key = (kind, tuple(map(id, args)), params, shape, dtype, weak)
    node = nodes.get(key)
    if node is None:
        if len(nodes) >= here.limit:
            raise NotCompilable(_TOO_LARGE.format(here.limit))
        node = nodes[key] = kind(args, params, shape, dtype, weak, len(nodes))
    return node


_TOO_LARGE = (
    "the program has more than {:,} operations, and would take longer to compile than it saves. A loop over a "
    "sequence, where there is one, stays one loop by flux.scan; compile=True compiles it as it is."
)

# What makes nodes. Each simplifies what it can.


def literal(value: Any, dtype: DTypeLike | None = None, weak: bool = False) -> Node:
    """A number; NaN and −0 are different from other numbers, as their text shows."""
    whole = np.uint64 if value >= 2**63 else np.int64
    dtype = np.dtype(dtype or (np.float64 if isinstance(value, float) else whole))
    value = np.asarray(value).astype(dtype).item()
    return make_node(ops.Literal, (), (repr(value), value if value == value else None), (), dtype, weak)


def literal_value(node: Node) -> Any:
    """The number that all elements of a node are, or None where that isn't known."""
    while node.op == "view":
        node = node.args[0]
    if node.op != "literal":
        return None
    text, value = node.params
    return float(text) if value is None else value


def is_trusted(indices: Node, trusted: Container[Node], length: int) -> bool:
    """Whether indices along an axis need not be looked at: one number, 0, 1, 2 …, or in an input that is trusted."""
    source = indices
    while source.op == "view":
        source = source.args[0]
    counted = source.op == "iota" and source.size <= length
    return counted or source in trusted or literal_value(indices) is not None


def may_fail(node: Node, trusted: Container[Node]) -> bool:
    """Whether calculating a node can be an error, by the values that its arguments have."""
    if isinstance(node, ops.Call):
        return node.params[0] in ops.FAILURES
    if not isinstance(node, (ops.Gather, ops.Scatter)):
        return False
    shape = node.args[0].shape if isinstance(node, ops.Gather) else node.shape
    lengths = {k: n for (kind, k), n in zip(node.params[0], shape) if kind == "index"}
    return any(not is_trusted(x, trusted, lengths[k]) for k, x in enumerate(node.args[1:]) if k in lengths)


def iota(shape: tuple[int, ...], axis: int) -> Node:
    line = make_node(ops.Iota, (), None, (shape[axis],), np.dtype(np.int64))
    return view(line, ((0, ((axis, 1),)),), shape)


def elementwise(function: str, args: Sequence[Node], dtype: DTypeLike, weak: bool = False) -> Node:
    """A map; the arguments are broadcast against each other."""
    shape = np.broadcast_shapes(*[x.shape for x in args])
    dtype = np.dtype(dtype)
    if function == "cast" and args[0].dtype == dtype and args[0].weak == weak:
        return args[0]
    if function in ("multiply", "divide"):
        for one, other in ((args[1], args[0]), (args[0], args[1]))[: 2 if function == "multiply" else 1]:
            if literal_value(one) == 1 and other.dtype == dtype and other.weak == weak:
                return broadcast(other, shape)
    values = [literal_value(x) for x in args]
    if function == "cast" and values[0] is not None:
        return broadcast(literal(values[0], dtype, weak), shape)
    if function in FOLDED and all(v is not None for v in values):
        with np.errstate(all="ignore"):
            value = FOLDED[function](*[x.dtype.type(v) for x, v in zip(args, values)])
        return broadcast(literal(value, dtype, weak), shape)
    for x in args:
        # Axes are joined after a map rather than before: of what is calculated that would be an array in memory.
        if x.op == "reshape" and x.shape == shape and not (x.args[0].in_memory or x.args[0].own_kernel):
            inside = x.args[0].shape
            if reshape_map(shape, inside) is not None:
                split = [reshape(broadcast(a, shape), inside) for a in args]
                return reshape(elementwise(function, split, dtype, weak), shape)
    return make_node(ops.Map, tuple(broadcast(x, shape) for x in args), function, shape, dtype, weak)


def view(x: Node, axes: Map, shape: Sequence[int]) -> Node:
    """The elements of x at the indices that `axes` says for each of its axes."""
    shape = tuple(shape)
    if x.op == "view":
        axes, x = compose(x.params, axes), x.args[0]
    axes = tuple((offset, tuple(term for term in terms if shape[term[0]] != 1)) for offset, terms in axes)
    if is_identity(axes, x.shape, shape):
        return x
    return make_node(ops.View, (x,), axes, shape, x.dtype, x.weak and not shape)


def broadcast(x: Node, shape: tuple[int, ...]) -> Node:
    return x if x.shape == shape else view(x, broadcast_map(x.shape, shape), shape)


def reshape(x: Node, shape: tuple[int, ...]) -> Node:
    if x.shape == shape:
        return x
    if x.op == "reshape":
        return reshape(x.args[0], shape)
    axes = reshape_map(x.shape, shape)
    if axes is not None:
        return view(x, axes, shape)
    if literal_value(x) is not None:
        return broadcast(literal(literal_value(x), x.dtype), shape)
    return make_node(ops.Reshape, (x,), None, shape, x.dtype)


def reduce(function: str, x: Node, axes: Sequence[int], dtype: DTypeLike | None = None) -> Node:
    """The axes are gone from the result; over axes of length 1 there is nothing to do."""
    dtype = np.dtype(dtype or x.dtype)
    shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    if function in ("sum", "product", "maximum", "minimum"):
        short = tuple(i for i in axes if x.shape[i] == 1)
        if short:
            x = view(x, *view_of(x.shape, lambda a: a.squeeze(short)))
            axes = [i - sum(s < i for s in short) for i in axes if i not in short]
        if not axes:
            return elementwise("cast", [x], dtype)
    return make_node(ops.Reduce, (x,), (function, tuple(sorted(axes))), shape, dtype)


def indexed(
    kind: type[ops.Gather | ops.Scatter],
    x: Node,
    indices: Sequence[Node],
    axes: Sequence[tuple[str, int]],
    shape: Sequence[int],
    position: int,
) -> Node:
    """Elements of x, or zeros of `shape` with the elements of x added at the places that they would be taken from.

    Arguments:
        indices: all of one shape; they run along the axes from `position` on of what is taken.
        axes: for each axis of what is indexed an axis of what is taken, or the array that holds the index.
    """
    return make_node(kind, (x, *indices), (tuple(axes), position), tuple(shape), x.dtype)


def pad(x: Node, places: Sequence[tuple[int, int]], shape: Sequence[int]) -> Node:
    """Zeros of a shape, among them x: along each axis from where on, and in which steps.

    Of a view the array behind it is padded, where it has the same axes: so a view stays one.
    """
    shape = tuple(shape)
    if x.shape == shape:
        return x
    if literal_value(x) == 0:
        return broadcast(literal(0, x.dtype), shape)
    if x.op == "pad":
        places = [(low + step * first, step * inner) for (low, step), (first, inner) in zip(places, x.params)]
        return pad(x.args[0], places, shape)
    if x.op == "view":
        (source,) = x.args
        inner, behind, moved = [(0, 1)] * source.ndim, list(source.shape), 0
        for i, place in enumerate(places):
            k = own_axis(x.params, i)
            if x.shape[i] != shape[i] and k is not None and source.shape[k] == x.shape[i]:
                inner[k], behind[k] = place, shape[i]
                moved += 1
        if moved == sum(n != length for n, length in zip(x.shape, shape)):
            return view(pad(source, inner, behind), x.params, shape)
    return make_node(ops.Pad, (x,), tuple(places), shape, x.dtype)


def join(parts: Sequence[Node], axis: int) -> Node:
    """Parts one after another along an axis."""
    parts = [p for p in parts if p.shape[axis]] or list(parts[:1])
    if len(parts) == 1:
        return parts[0]
    shape = list(parts[0].shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    return make_node(ops.Join, tuple(parts), axis, tuple(shape), parts[0].dtype)


def scan(function: str, args: Sequence[Node], axis: int) -> Node:
    return make_node(ops.Scan, tuple(args), (function, axis), args[0].shape, args[0].dtype)


def call(function: str, args: Sequence[Node], shape: Sequence[int], dtype: DTypeLike, *options: Any) -> Node:
    """A function written in C that works on the last axes of its arguments."""
    return make_node(ops.Call, tuple(args), (function, *options), tuple(shape), np.dtype(dtype))


def winograd(part: str, args: Sequence[Node], shape: Sequence[int], *begin: int) -> Node:
    """A part of a convolution (see `ops.Winograd`)."""
    return make_node(ops.Winograd, tuple(args), (part, *begin), tuple(shape), args[0].dtype)


# Looking at programs.


def reachable(results: Iterable[Node], stop: Container[Node] = ()) -> list[Node]:
    """The nodes that the results depend on, arguments first, but for those in `stop` and what these alone depend on."""
    found: dict[int, Node] = {}
    todo = [node for node in results if node not in stop]
    while todo:
        node = todo.pop()
        if node.number not in found:
            found[node.number] = node
            todo += [x for x in node.args if x not in stop] if stop else node.args
    return [found[number] for number in sorted(found)]


def operations(ends: Sequence[Node], contents: Mapping[Node, Any] | None = None) -> list[Any]:
    """All that the ends need, arguments first, in a form that can be compared with that of another recording.

    Loops are looked into: their bodies have parameters of their own.

    Arguments:
        contents: what arrays hold, by their inputs, where each recording has made its own.
    """
    todo = [*reversed(ends)]
    place: dict[Node, int] = {}
    found: list[Any] = []
    while todo:
        node = todo[-1]
        missing = [x for x in node.args if x not in place]
        todo += reversed(missing)
        if missing:
            continue
        todo.pop()
        if node not in place:
            place[node] = len(place)
            params = (contents or {}).get(node, node.params)
            if isinstance(node, ops.Loop):
                ends = params.body(range(len(params.outputs))).ends
                params = params.length, params.reverse, operations(ends, contents)
            found.append((node.op, [place[x] for x in node.args], params, node.shape, node.dtype))
    return found


def format_program(nodes: Sequence[Node], results: Sequence[Node] = ()) -> Iterator[str]:
    """The lines of the program as text, one for each node."""
    names = {node: f"%{i}" for i, node in enumerate(nodes)}
    yield from (format_node(node, names) for node in nodes)
    if results:
        yield "return " + ", ".join(names[node] for node in results)


def format_node(node: Node, names: dict[Node, str]) -> str:
    """A node as text, for example `%5 = add(%3, %4) : float32[16]`."""
    kind = f"{node.dtype}{list(node.shape)}" if node.shape else f"{node.dtype}"
    return f"{names[node]} = {node.formula([names[x] for x in node.args])} : {kind}"
