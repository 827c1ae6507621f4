"""The program: what was asked of NumPy, as one list of operations on arrays of known shapes.

An operation is a `Node`. There are few kinds of them, on purpose:

    input            an array that is given when the program runs
    literal          a number
    iota             0, 1, 2 … along one axis
    map              a function of numbers, element by element, of arguments of one shape
    view             elements of its argument, found by an affine map of indices: transposing, slicing, broadcasting …
    reshape          the same elements in the same order, in another shape
    gather           elements of its first argument, found by the arrays of indices that are the others
    scatter          zeros with the elements of the first argument added at the indices that are the others
    join             its arguments one after another along an axis
    reduce           a sum, product, maximum … over axes
    scan             a running sum, product, maximum … or a recurrence along an axis
    call             a function of whole matrices or rows, written in C: sorting, solving …
    loop             a program of its own, run for each step of a sequence: see loop.py
    part             one of the arrays that a loop makes
    parameter        in the body of a loop, what is another array in every step

A product of matrices is a reduction of a map of two views; the scheduler knows it when it sees it. Equal operations are
made once (common subexpressions), and what no result needs is left out.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..guards.contents import Contents
from .indexing import Map, broadcasting, composed, dropped, is_identity, reshaping

_here = threading.local()


class Node:
    """One operation: its kind, arguments, parameters, and the shape and dtype of its result.

    Attributes:
        weak: whether the result is a number of Python's, which takes on the dtype of arrays it meets.
        number: its place in the order of recording: arguments have smaller ones.
    """

    __slots__ = ("args", "dtype", "number", "op", "params", "shape", "weak")

    def __init__(
        self, op: str, args: tuple[Node, ...], params: Any, shape: tuple[int, ...], dtype: Any, weak: bool, number: int
    ) -> None:
        self.op = op
        self.args = args
        self.params = params
        self.shape = shape
        self.dtype = dtype
        self.weak = weak
        self.number = number

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        return f"%{self.number}"


class Recording:
    """The operations recorded so far; the innermost one of a thread is where new ones go.

    Arguments:
        gpu: whether the program is to run on the GPU, and what it reads lies there.
    """

    def __init__(self, gpu: bool = False) -> None:
        self.gpu = gpu
        self.nodes: dict[Any, Node] = {}
        self.inputs: list[Node] = []
        self.captured: list[tuple[Node, Any]] = []  # arrays that the function took from its surroundings
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

    def input(self, shape: Sequence[int], dtype: Any, weak: bool = False) -> Node:
        node = _node("input", (), len(self.inputs), tuple(shape), np.dtype(dtype), weak)
        self.inputs.append(node)
        return node

    def capture(self, array: Any) -> Node:
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


def _node(op: str, args: tuple[Node, ...], params: Any, shape: tuple[int, ...], dtype: Any, weak: bool = False) -> Node:
    nodes = recording().nodes
    key = (op, tuple(map(id, args)), params, shape, dtype, weak)
    node = nodes.get(key)
    if node is None:
        node = nodes[key] = Node(op, args, params, shape, dtype, weak, len(nodes))
    return node


# What makes nodes. Each simplifies what it can.


def literal(value: Any, dtype: Any = None, weak: bool = False) -> Node:
    """A number; NaN and −0 are different from other numbers, as their text shows."""
    whole = np.uint64 if value >= 2**63 else np.int64
    dtype = np.dtype(dtype or (np.float64 if isinstance(value, float) else whole))
    value = np.asarray(value).astype(dtype).item()
    return _node("literal", (), (repr(value), value if value == value else None), (), dtype, weak)


def literal_value(node: Node) -> Any:
    """The number that all elements of a node are, or None where that isn't known."""
    while node.op == "view":
        node = node.args[0]
    if node.op != "literal":
        return None
    text, value = node.params
    return float(text) if value is None else value


def iota(shape: tuple[int, ...], axis: int) -> Node:
    line = _node("iota", (), None, (shape[axis],), np.dtype(np.int64))
    return view(line, ((0, ((axis, 1),)),), shape)


def elementwise(function: str, args: Sequence[Node], dtype: Any, weak: bool = False) -> Node:
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
    if function in _FOLDED and all(v is not None for v in values):
        with np.errstate(all="ignore"):
            value = _FOLDED[function](*[x.dtype.type(v) for x, v in zip(args, values)])
        return broadcast(literal(value, dtype, weak), shape)
    return _node("map", tuple(broadcast(x, shape) for x in args), function, shape, dtype, weak)


_FOLDED = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "negative": np.negative,
}


def view(x: Node, axes: Map, shape: Sequence[int]) -> Node:
    """The elements of x at the indices that `axes` says for each of its axes."""
    shape = tuple(shape)
    if x.op == "view":
        axes, x = composed(x.params, axes), x.args[0]
    axes = tuple((offset, tuple(term for term in terms if shape[term[0]] != 1)) for offset, terms in axes)
    if is_identity(axes, x.shape, shape):
        return x
    return _node("view", (x,), axes, shape, x.dtype, x.weak and not shape)


def broadcast(x: Node, shape: tuple[int, ...]) -> Node:
    return x if x.shape == shape else view(x, broadcasting(x.shape, shape), shape)


def reshape(x: Node, shape: tuple[int, ...]) -> Node:
    if x.shape == shape:
        return x
    if x.op == "reshape":
        return reshape(x.args[0], shape)
    axes = reshaping(x.shape, shape)
    if axes is not None:
        return view(x, axes, shape)
    if literal_value(x) is not None:
        return broadcast(literal(literal_value(x), x.dtype), shape)
    return _node("reshape", (x,), None, shape, x.dtype)


def reduce(function: str, x: Node, axes: Sequence[int], dtype: Any = None) -> Node:
    """The axes are gone from the result; over axes of length 1 there is nothing to do."""
    dtype = np.dtype(dtype or x.dtype)
    shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    if all(x.shape[i] == 1 for i in axes) and function in ("sum", "product", "maximum", "minimum"):
        return view(elementwise("cast", [x], dtype), dropped(x.ndim, axes), shape)
    long = tuple(sorted(i for i in axes if x.shape[i] != 1 or function not in ("sum", "product", "maximum", "minimum")))
    if len(long) < len(axes):
        x = view(x, dropped(x.ndim, short := [i for i in axes if i not in long]), [
            n for i, n in enumerate(x.shape) if i not in short
        ])  # fmt: skip
        long = tuple(i - sum(s < i for s in short) for i in long)
    return _node("reduce", (x,), (function, long), shape, dtype)


def gather(
    x: Node, indices: Sequence[Node], axes: Sequence[tuple[str, int]], shape: Sequence[int], position: int
) -> Node:
    """Elements of x: for each of its axes, `axes` names an axis of the result or the array that holds the index.

    The indices, all of one shape, run along the result's axes from `position` on.
    """
    return _node("gather", (x, *indices), (tuple(axes), position), tuple(shape), x.dtype)


def scatter(
    g: Node, indices: Sequence[Node], axes: Sequence[tuple[str, int]], shape: Sequence[int], position: int, inner: Map
) -> Node:
    """The opposite of a `gather` from a view of an array of `shape`, whose map is `inner`; repeated indices add up."""
    return _node("scatter", (g, *indices), (tuple(axes), position, inner), tuple(shape), g.dtype)


def join(parts: Sequence[Node], axis: int) -> Node:
    """Parts one after another along an axis."""
    parts = [p for p in parts if p.shape[axis]] or list(parts[:1])
    if len(parts) == 1:
        return parts[0]
    shape = list(parts[0].shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    return _node("join", tuple(parts), axis, tuple(shape), parts[0].dtype)


def scan(function: str, args: Sequence[Node], axis: int) -> Node:
    return _node("scan", tuple(args), (function, axis), args[0].shape, args[0].dtype)


def call(function: str, args: Sequence[Node], shape: Sequence[int], dtype: Any, *options: Any) -> Node:
    """A function written in C that works on the last axes of its arguments."""
    return _node("call", tuple(args), (function, *options), tuple(shape), np.dtype(dtype))


def loop(body: Any, args: Sequence[Node]) -> Node:
    """A body run again and again; what it makes are its parts."""
    return _node("loop", tuple(args), body, (), np.dtype(np.int8))


def part(x: Node, which: tuple[str, int], shape: tuple[int, ...], dtype: Any) -> Node:
    return _node("part", (x,), which, shape, dtype)


def unique(op: str, shape: tuple[int, ...], dtype: Any) -> Node:
    """A node without arguments that is like no other."""
    return _node(op, (), object(), shape, dtype)


def copied(node: Node, args: tuple[Node, ...]) -> Node:
    """The same operation with other arguments of the same shapes and dtypes."""
    return _node(node.op, args, node.params, node.shape, node.dtype, node.weak)


# Looking at programs.


def needed(results: Sequence[Node]) -> list[Node]:
    """The nodes that the results depend on, arguments first."""
    found: dict[int, Node] = {}
    todo = list(results)
    while todo:
        node = todo.pop()
        if node.number not in found:
            found[node.number] = node
            todo += node.args
    return [found[number] for number in sorted(found)]


def written(nodes: Sequence[Node], results: Sequence[Node] = ()) -> Iterator[str]:
    """The program as text, a line for each node."""
    names = {node: f"%{i}" for i, node in enumerate(nodes)}
    yield from (line_of(node, names) for node in nodes)
    if results:
        yield "return " + ", ".join(names[node] for node in results)


def line_of(node: Node, names: dict[Node, str]) -> str:
    """A node as text, for example `%5 = add(%3, %4) : float32[16]`."""
    kind = f"{node.dtype}{list(node.shape)}" if node.shape else f"{node.dtype}"
    return f"{names[node]} = {_formula(node, names)} : {kind}"


def _formula(node: Node, names: dict[Node, str]) -> str:
    args = ", ".join(names[x] for x in node.args)
    if node.op == "literal":
        return str(node.params[0])
    if node.op == "input":
        return f"input {node.params}"
    if node.op == "view":
        return f"{args}[{', '.join(_axis(a) for a in node.params)}]"
    if node.op == "map":
        return f"{node.params}({args})"
    if node.op == "reduce":
        return f"{node.params[0]}({args}, axes={list(node.params[1])})"
    return f"{node.op}({args}{', ' * bool(args)}{node.params})"


def _axis(axis: Any) -> str:
    """An index of a view, in terms of the result's axes i, j, k …"""
    offset, terms = axis
    letters = [("" if stride == 1 else f"{stride}") + "ijklmnopq"[a % 9] for a, stride in terms]
    return " + ".join([*letters, *([str(offset)] if offset or not letters else [])])
