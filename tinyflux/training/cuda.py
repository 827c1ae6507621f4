"""The loss of a batch and its gradient on the GPU, by kernels made for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .. import tree
from ..arrays import on_gpu
from ..compile.backends.cuda.executable import Executable
from ..compile.backends.cuda.kernels import Translation
from ..compile.guards.guards import Snapshot
from ..compile.ir import program
from ..compile.ir.node import Node
from ..compile.ir.program import format_program, reachable
from ..compile.schedule.fuse import Result, make_schedule
from ..compile.trace.programs import Program
from ..compile.trace.record import Trace
from ..compile.trace.symbolic import Symbolic, node_of, symbolic_input
from ..errors import NotCompilable
from ..types import Array, Loss, Tree
from .layer_state import DeviceState, find_changed, replace_arrays
from .traced_loss import refuse_model, trace_loss


class Rows(NamedTuple):
    """A batch that was not taken yet: the data, and the numbers of the batch's samples, on the GPU."""

    data: Tree
    numbers: Array

    def gather(self) -> Tree:
        """The batch itself."""
        return tree.map(lambda x: x[self.numbers], self.data)


class Kernels(Program):
    """The loss and its gradient for one kind of item, and for the parameters that a model holds."""

    def __init__(self, loss: Loss, look: Callable[[], Snapshot], model: Tree, item: Tree) -> None:
        own, given = unique_leaves(model), tree.leaves(item)
        if not all(map(on_gpu, [*own, *given])):
            raise NotCompilable("a batch in NumPy, or a part of the model: move all of it by flux.gpu.")
        trace = Trace(lambda: _record(loss, model, item), look, gpu=True)
        super().__init__(trace.surroundings, trace.contents)
        refuse_model(trace, model)
        (grads, changed), found, recording = trace.value, trace.ends, trace.recording
        self.program = "\n".join(format_program(reachable(found), found[: 1 + len(tree.leaves(grads))]))
        results = [Result(node, len(recording.inputs) + i) for i, node in enumerate(found)]
        self.source = Translation(make_schedule(results, recording.trusted))
        inputs = [f"p{i}" for i in range(len(own) + len(given))]
        parameters = set(map(id, tree.parameters(model)))
        self._others = [i for i, x in enumerate(own) if id(x) not in parameters]
        self._changed = changed
        fixed = {name: x for name, x in zip(inputs, own) if id(x) in parameters}
        fixed |= {f"p{node.params}": x for node, x in recording.captured}
        self._device = own[0].device
        with self._device:
            self._state = DeviceState([own[i] for i in changed])
            made = {f"p{r.pointer}": x for r, x in zip(results[len(found) - len(changed) :], self._state.results)}
            names = [inputs[i] for i in self._others] + inputs[len(own) :]
            self._executable = Executable(self.source, results, fixed | made, names)
        self._loss, *gradients = self._executable.results
        rest = iter(gradients)
        self._grads = tree.map(lambda _: next(rest), grads)
        self._read: list[Array] = []

    @property
    def state(self) -> tuple[Array, Array] | None:
        """The memory of the layers' state, and of what the last call has made of it; None if layers change nothing."""
        return None if self._state.memory is None else (self._state.memory, self._state.made)

    def bind(self, model: Tree) -> None:
        """Take the model's arrays that are no parameters as they are now.

        Those that it changes are replaced, where they stand, by copies: the old ones may stand in other models.
        """
        if self._changed:
            own = unique_leaves(model)
            old = [own[i] for i in self._changed]
            with self._device:
                new = self._state.take(old)
            replace_arrays(model, dict(zip(map(id, old), new)))
        own = unique_leaves(model)
        self._read = [own[i] for i in self._others]

    def __call__(self, given: Sequence[Array]) -> tuple[Array, Tree]:
        """The loss for the arrays of an item, and the gradient; the next ones overwrite both.

        Nothing is waited for, unless there are indices that may be out of bounds.

        What becomes of the state of layers is for the caller to copy: see `state`.
        """
        with self._device:
            self._executable([*self._read, *given])
            self._executable.raise_fault()
        return self._loss, self._grads

    def release(self) -> None:
        """Let go of the arrays of the last item, and of the state of layers."""
        self._read = []
        self._state.release()
        self._executable.release()


def unique_leaves(model: Tree) -> list[Array]:
    """The arrays of a model, each once."""
    return list({id(x): x for x in tree.leaves(model)}.values())


def _record(loss: Loss, model: Tree, item: Tree) -> tuple[tuple[Tree, list[int]], list[Node]]:
    """Record the loss of an item, its gradient, and what becomes of the state of layers.

    Returns: the tree of the gradient, and which of the model's arrays change; and the nodes of the loss, of the
    gradient, of a batch taken from data, and of the new state.
    """
    taken: list[Node] = []

    def make_batch() -> Tree:
        if not isinstance(item, Rows):
            return tree.map(symbolic_input, item)
        data = tree.map(symbolic_input, item.data)
        order = symbolic_input(item.numbers)
        program.recording().trusted.add(order.node)
        return tree.map(lambda x: copy_rows(x[order].node, taken), data)

    traced = trace_loss("train", loss, model, make_batch)
    changed = find_changed(traced.after, [traced.symbols[id(a)] for a in tree.leaves(model)])
    ends = [traced.value, *[node_of(g) for g in tree.leaves(traced.grads)], *taken, *[r.node for r in changed]]
    return (traced.grads, [r.pointer for r in changed]), ends


def copy_rows(rows: Node, taken: list[Node]) -> Symbolic:
    """Rows of the data, which are copied once, wherever they are read."""
    taken.append(program.elementwise("positive", [rows], rows.dtype))
    return Symbolic(taken[-1])
