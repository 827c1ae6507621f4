"""An iteration of training, recorded: loss, gradient and update as one program, for C and for CUDA."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import tree
from ..compile.ir import program
from ..compile.ir.node import Node
from ..compile.schedule.fuse import Result
from ..compile.signature import signature
from ..compile.trace.symbolic import Symbolic, check_dtype, symbolic_input
from ..errors import NotCompilable
from ..optimise.checks import refuse_nothing
from ..optimise.state import OptimiserState
from ..types import Array, Loss, Tree
from .layer_state import find_changed, tied_places, unique_leaves
from .recorded_update import RecordedUpdate, settings
from .report import reason
from .traced_loss import trace_loss


class UpdateNotCompilable(NotCompilable):
    """The loss and its gradient can be compiled, and the optimiser's update can't."""


@dataclasses.dataclass
class RecordedIteration:
    """What `record_iteration` has recorded.

    Attributes:
        loss: the loss before the update.
        results: what becomes of the parameters, of the state of layers, and of the optimiser's state.
        order: the input that holds the numbers of the batch's samples; those of the data come after it.
        update: the update, with the inputs of the optimiser's state.
        model_slots: for each of the model's arrays the number of its input.
    """

    loss: Node
    results: list[Result]
    order: Node
    update: RecordedUpdate
    model_slots: list[int]

    def changed(self, model: Tree) -> list[Array]:
        """The arrays of a model that an iteration changes."""
        written = {r.pointer for r in self.results}
        return [x for x, slot in zip(tree.leaves(model), self.model_slots) if slot in written]


def record_iteration(
    loss: Loss,
    model: Tree,
    opt: OptimiserState,
    data: Tree,
    size: int | None,
    take: Callable[[Symbolic], Symbolic] = lambda batch: batch,
) -> tuple[RecordedIteration, list[Node]]:
    """Record an iteration in the recording that is open.

    Arguments:
        size: how many samples of the data a batch takes; None if the data is the batch.
        take: what is done to the samples that were picked, before the loss is called with them.

    Returns: what was recorded, and the nodes that it ends in.
    """
    recording = program.recording()
    symbols = {id(x): symbolic_input(x) for x in unique_leaves(model)}
    order = recording.input((size or 1,), np.int64)
    recording.trusted.add(order)

    def rows(x: Array) -> Symbolic:
        if size is None:
            return symbolic_input(x)
        samples = Symbolic(recording.input((size, *x.shape[1:]), check_dtype(x.dtype)))
        return take(samples[Symbolic(order)])

    traced = trace_loss("compile_training", loss, model, symbols, tree.map(rows, data))
    before = [symbols[id(a)] for a in tree.leaves(model)]
    results = find_changed(traced.after, before)
    refuse_nothing("compile_training", opt, traced.grads)
    try:
        update = RecordedUpdate(recording, opt, traced.grads, symbols)
    except Exception as error:
        raise UpdateNotCompilable(reason(error)) from error
    results += update.results
    recorded = RecordedIteration(traced.value, results, order, update, [symbol.node.params for symbol in before])
    return recorded, [traced.value, *[r.node for r in results], *recording.demands]


def iteration_form(
    model: Tree, opt: OptimiserState, data: Tree, size: int | None
) -> tuple[tuple[Any, ...], list[Any], list[Array]]:
    """What a recorded iteration depends on.

    Arguments:
        size: as for `record_iteration`.

    Returns: a key; what is for guards to look at; and the model's arrays.
    """
    leaves: list[Array] = []
    others: list[Any]
    rules, others = settings(opt)
    samples = data if size is None else tree.map(lambda x: x[:0], data)
    key = size, signature(samples, [], others, True), signature(model, leaves, others, True), tied_places(leaves), rules
    return key, others, leaves
