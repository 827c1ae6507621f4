"""The loss of a batch and its gradient on the GPU, by kernels made for them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .. import tree
from ..arrays import on_gpu
from ..compile.backends.cuda.executable import Executable
from ..compile.backends.cuda.kernels import Translation
from ..compile.guards.guards import Snapshot
from ..compile.ir import program
from ..compile.ir.program import Node, format_program, reachable
from ..compile.schedule.fuse import Result, make_schedule
from ..compile.trace.programs import Program
from ..compile.trace.record import Trace
from ..compile.trace.symbolic import Symbolic, node_of, symbolic_input
from ..errors import NotCompilable
from ..types import Array, Loss, Tree
from .traced_loss import refuse_model, trace_loss


class Rows(NamedTuple):
    """A batch that was not taken yet: the data, and the numbers of the batch's samples, on the GPU."""

    data: Tree
    numbers: Array

    def gather(self) -> Tree:
        """The batch itself."""
        return tree.map(lambda x: x[self.numbers], self.data)


class Kernels(Program):
    """The loss and its gradient for one kind of item, and for the arrays that a model holds."""

    def __init__(self, loss: Loss, look: Callable[[], Snapshot], model: Tree, item: Tree) -> None:
        own = list({id(x): x for x in tree.leaves(model)}.values())
        given = tree.leaves(item)
        if not all(map(on_gpu, [*own, *given])):
            raise NotCompilable("a batch in NumPy, or a part of the model: move all of it by flux.gpu.")
        trace = Trace(lambda: _record(loss, model, item), look, gpu=True)
        super().__init__(trace.surroundings, trace.contents)
        refuse_model(trace, model)
        grads, found, recording = trace.value, trace.ends, trace.recording
        self.program = "\n".join(format_program(reachable(found), found[: 1 + len(tree.leaves(grads))]))
        results = [Result(node, len(recording.inputs) + i) for i, node in enumerate(found)]
        self.source = Translation(make_schedule(results), recording.trusted)
        inputs = [f"p{i}" for i in range(len(own) + len(given))]
        fixed = dict(zip(inputs, own)) | {f"p{node.params}": x for node, x in recording.captured}
        self._device = own[0].device
        with self._device:
            self._executable = Executable(self.source, results, fixed, inputs[len(own) :])
        self._loss, *gradients = self._executable.results
        rest = iter(gradients)
        self._grads = tree.map(lambda _: next(rest), grads)

    def __call__(self, given: Sequence[Array]) -> tuple[Array, Tree]:
        """The loss for the arrays of an item, and the gradient; the next ones overwrite both. Nothing is waited for."""
        with self._device:
            self._executable(given)
        return self._loss, self._grads

    def release(self) -> None:
        """Let go of the arrays of the last item."""
        self._executable.release()


def _record(loss: Loss, model: Tree, item: Tree) -> tuple[Any, list[Node]]:
    """Record the loss of an item and its gradient.

    Returns: the tree of the gradient; and the nodes of the loss, of the gradient, and of a batch taken from data.
    """
    taken: list[Node] = []

    def make_batch() -> Tree:
        if not isinstance(item, Rows):
            return tree.map(symbolic_input, item)
        data = tree.map(symbolic_input, item.data)
        order = symbolic_input(item.numbers)
        program.recording().trusted.add(order.node)
        return tree.map(lambda x: _copy_rows(x[order].node, taken), data)

    traced = trace_loss("train", loss, model, make_batch)
    before = [traced.symbols[id(a)] for a in tree.leaves(model)]
    if traced.after is None or not all(map(operator.is_, traced.after, before)):
        raise NotCompilable("the model changes itself, as layers with a state do, which can't be compiled for the GPU.")
    return traced.grads, [traced.value, *[node_of(g) for g in tree.leaves(traced.grads)], *taken]


def _copy_rows(rows: Node, taken: list[Node]) -> Symbolic:
    """Rows of the data, which are copied once, wherever they are read."""
    taken.append(program.elementwise("positive", [rows], rows.dtype))
    return Symbolic(taken[-1])
