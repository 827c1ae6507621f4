"""The loss of a batch and its gradient, compiled, where the update can't be: it is left to NumPy, or to CuPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from operator import setitem
from typing import Any

import numpy as np

from .. import tree
from ..arrays import on_gpu
from ..compile.signature import array_place, signature
from ..compile.trace.programs import Programs
from ..compile.trace.symbolic import Symbolic
from ..compile.traced import Function
from ..interrupts import commit
from ..optimise.hyperparameters import ChangesItself
from ..optimise.state import OptimiserState
from ..optimise.step import Change
from ..types import Array, Loss, Tree
from .engines import PlainEngine
from .layer_state import find_changed, replaceable, tied_places
from .recorded_iteration import UpdateNotCompilable
from .report import reason
from .traced_loss import refuse_model, trace_loss


class CompiledGradient:
    """Gradients of a loss by native code, or by kernels on the GPU.

    Arguments:
        limit: how many nodes a program may have.
    """

    def __init__(self, loss: Loss, model: Tree, opt: OptimiserState, limit: float) -> None:
        self._loss, self._model, self._opt, self._limit = loss, model, opt, limit
        self._programs: Programs = opt._programs.setdefault("gradients", Programs())
        self._since = self._programs.made

    def find(self, item: Tree) -> Callable[[list[Change]], tuple[Array, Tree]]:
        """What calculates the loss of an item and its gradient, and gives layers their new state.

        It is called with an empty list, for what puts that state back. Errors: any, where it can't be compiled.
        """
        own: list[Array] = []
        batch: list[Array] = []
        others: list[Any] = []
        form = signature(self._model, own, others, True), signature(item, batch, others, True)

        def look() -> Any:
            return self._programs.guards(self._loss, *others)

        def make(before: Function | None) -> Function:
            kind = Function
            if on_gpu(own[0]):
                from ..compile.traced_on_gpu import DeviceFunction as kind
            item_in_list = [item]  # where numbers are constants
            program = kind(self._recorded(own), ((own, item_in_list), {}), [*own, *batch], look, before, self._limit)
            state = [own[i] for i in program.result[1]]
            refuse_model(look(), program.captured, self._model, self._opt, state)
            return program

        program: Function = self._programs.find(
            (*form, tied_places(own), array_place([*own, *batch])), look(), make, since=self._since
        )
        return lambda undo: self._run(program, own, batch, undo)

    def _recorded(self, own: list[Array]) -> Callable[..., Any]:
        """What is recorded: a function of the model's arrays, leaf by leaf, and of an item.

        It returns the loss, what becomes of those arrays that layers change, by their numbers, the arrays of the
        gradient, and a function that makes the gradient of them: its tree may hold what no program can return.
        """

        def gradient(arrays: list[Symbolic], items: list[Tree]) -> tuple[Any, ...]:
            symbols = dict(zip(map(id, own), arrays))
            traced = trace_loss("train", self._loss, self._model, symbols, items[0])
            changed = find_changed(traced.after, [symbols[id(x)] for x in tree.leaves(self._model)])
            numbers = {x.node.params: i for i, x in enumerate(arrays)}
            state = {numbers[r.pointer]: Symbolic(r.node) for r in changed}

            def joined(slopes: Iterator[Array]) -> Tree:
                return tree.map(lambda _: next(slopes), traced.grads)

            return Symbolic(traced.value), state, tree.leaves(traced.grads), joined

        return gradient

    def _run(self, program: Function, own: list[Array], batch: list[Array], undo: list[Change]) -> tuple[Array, Tree]:
        value, changed, slopes, joined = program([*own, *batch])
        if changed:
            new = {id(own[i]): np.asarray(x, like=own[i]) for i, x in changed.items()}
            found = replaceable(self._model, new)
            undo += [(setitem, inside, key, old) for inside, key, old in found]
            commit([(setitem, inside, key, new[id(old)]) for inside, key, old in found])
        return value, joined(iter(slopes))

    def close(self) -> None:
        """Let go of all programs but the last ones."""
        self._programs.release()


def hand_over(error: Exception, plain: PlainEngine, required: bool, limit: float = math.inf) -> None:
    """Have the plain engine go on where iterations can't be compiled; with compiled gradients, if the update is why.

    Where a rule has changed itself it makes one update, before the compiling is tried again: the rule may be one that
    keeps what it calculates in its first step.

    Arguments:
        required: raise the error instead of going on.
        limit: how many nodes a program may have.
    """
    if isinstance(error.__cause__, ChangesItself) and plain.make_one():
        return
    if required:
        raise error
    if isinstance(error, UpdateNotCompilable):
        plain.gradient = CompiledGradient(plain.loss, plain.model, plain.opt, limit)
        plain.about = f"{plain.compiled_by} for the gradient, and {plain.made_by} for the update: {reason(error)}"
    else:
        plain.give_up(error)
