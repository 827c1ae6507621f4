"""Loops over the steps of a sequence: a node whose body is a program of its own.

A body is recorded once, among the nodes of the program around it, with `parameter` nodes for what differs from step to
step. A node that depends on no parameter is calculated before the loop. `Steps.body` cuts the rest out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from ...types import DType
from . import ops
from .node import Node
from .program import Recording, format_program, make_node, reachable, recording

FREE = ("view", "literal", "iota")  # kinds of nodes that cost nothing: bodies make their own


@dataclasses.dataclass(eq=False)
class Steps:
    """What a node of the kind `loop` does; its arguments are those of `slices`, of `carries`, then `shared`.

    Attributes:
        length: the number of steps.
        reverse: whether the last step comes first.
        slices: parameters, or other nodes of a body, that are read from a stack, an element for each step.
        carries: the parameters of the state, each with the node that is its next value.
        outputs: nodes whose values are stacked; a loop that reads this one backwards adds what it needs.
        shared: nodes of the program around that the body reads.
        trusted: inputs that hold indices which are known to be right.
    """

    length: int
    reverse: bool
    slices: list[Node]
    carries: list[tuple[Node, Node]]
    outputs: list[Node]
    shared: list[Node]
    trusted: set[Node]

    def body(self, outputs: Sequence[int]) -> Body:
        """The body as a program of its own that makes some of the outputs; its inputs are the loop's arguments."""
        with Recording() as inner:
            inputs = [*self.slices, *[parameter for parameter, _ in self.carries], *self.shared]
            copies = {node: inner.input(node.shape, node.dtype, node.weak) for node in inputs}
            inner.trusted.update(copies[node] for node in self.trusted & copies.keys())
            ends = [*[after for _, after in self.carries], *[self.outputs[k] for k in outputs]]
            for node in reachable(ends, copies):
                args = tuple([copies[x] for x in node.args])
                copies[node] = make_node(type(node), args, node.params, node.shape, node.dtype, node.weak)
            return Body(inner, [copies[x] for x in inputs], [copies[x] for x in ends])

    def __repr__(self) -> str:
        body = self.body(range(len(self.outputs)))
        lines = "; ".join(format_program(reachable(body.ends), body.ends))
        return f"{self.length} steps{' back' if self.reverse else ''}: {lines}"


@dataclasses.dataclass
class Body:
    """The program of a loop's body: its recording, inputs, and what the steps calculate: next states, then outputs."""

    recording: Recording
    inputs: list[Node]
    ends: list[Node]


def parameter(shape: tuple[int, ...], dtype: DType) -> Node:
    """A node that stands for a different array in every step; no other node equals it."""
    return make_node(ops.Parameter, (), object(), shape, dtype)


def loop(
    length: int,
    slices: Sequence[tuple[Node, Node]],
    carries: Sequence[tuple[Node, Node, Node]],
    outputs: Sequence[Node] = (),
    reverse: bool = False,
) -> Node:
    """A loop.

    Arguments:
        slices: parameters, or nodes of another loop's body, each with the stack that it is read from.
        carries: parameters of the state, each with its first value and the node that is its next one.
        outputs: the nodes whose values are stacked.
    """
    own = [key for key, _ in slices] + [key for key, _, _ in carries]
    ends = [*[after for _, _, after in carries], *outputs]
    shared = _read_outside(ends, own)
    steps = Steps(
        length, reverse, [key for key, _ in slices], [(key, after) for key, _, after in carries], list(outputs), shared,
        recording().trusted,
    )  # fmt: skip
    args = [*[stack for _, stack in slices], *[first for _, first, _ in carries], *shared]
    return make_node(ops.Loop, tuple(args), steps, (), np.dtype(np.int8))


def last(node: Node, k: int) -> Node:
    """The k-th state after a loop."""
    state, after = node.params.carries[k]
    if after is state:
        return node.args[len(node.params.slices) + k]
    return make_node(ops.Part, (node,), ("last", k), state.shape, state.dtype)


def stacked(node: Node, output: Node) -> Node:
    """The values of a node of the body in all steps."""
    loop = node.params
    if output not in loop.outputs:
        loop.outputs.append(output)
    which = ("stack", loop.outputs.index(output))
    return make_node(ops.Part, (node,), which, (loop.length, *output.shape), output.dtype)


def dependent(ends: Iterable[Node], own: Iterable[Node]) -> set[Node]:
    """The nodes on the way from `own` to the ends, `own` included."""
    found = set(own)
    for node in reachable(ends):
        if any(x in found for x in node.args):
            found.add(node)
    return found


def _read_outside(ends: Sequence[Node], own: Sequence[Node]) -> list[Node]:
    """The nodes outside a body that it reads; what costs nothing to make, the body makes itself."""
    inside = dependent(ends, own)
    stop = set(own)
    found: dict[Node, None] = {}
    seen = set()
    todo = [*ends]
    while todo:
        node = todo.pop()
        if node in seen or node in stop:
            continue
        seen.add(node)
        if node in inside or node.op in FREE:
            todo += node.args
        else:
            found[node] = None
    return sorted(found, key=lambda n: n.number)
