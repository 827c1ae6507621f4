"""The compiled iterations of an optimiser's state: each is found again by the next training."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import tree
from ..compile.trace.programs import Programs
from ..compile.traced import signature
from ..errors import NotCompilable
from ..optimise.checks import check_model
from ..optimise.state import OptimiserState
from ..types import Loss, Tree
from .iteration import Iteration
from .recorded_update import settings


class Iterations:
    """A cache of iterations, which belongs to an optimiser's state. It holds neither models nor data."""

    def __init__(self) -> None:
        self.programs = Programs()
        self._apart: list[Any] = []  # the arrays of data that were found to lie in memory of their own

    def find(
        self,
        loss: Loss,
        model: Tree,
        opt: OptimiserState,
        data: Any,
        size: int | None,
        since: int | None = None,
    ) -> Iteration:
        """The program for batches of `size` samples of the data, or for all of it, with all else as it is now.

        Arguments:
            since: see `Programs.find`.
        """
        check_model("compile_training", opt, model)
        arrays: list[Any] = []

        def sample(x: Any) -> Any:
            arrays.append(x)
            return x if size is None else x[:0]

        samples = tree.map(sample, data)
        leaves: list[Any] = []
        others: list[Any] = [type(leaf.rule) for leaf in opt._leaves]
        rules = settings(opt)
        others += [function for _, (_, schedules), _ in rules for function in schedules]
        form = (size, signature(samples, [], others, True), signature(model, leaves, others, True))
        self.refuse_parameters(arrays, leaves, opt)
        look = lambda: self.programs.guards(loss, *others)  # noqa: E731
        program: Iteration = self.programs.find(
            (*form, _tied(leaves), rules, id(model)),
            look(),
            lambda before: Iteration(loss, look, model, opt, data, size),
            since=since,
        )
        program.model = program.with_own_state(model, leaves)
        return program

    def refuse_parameters(self, arrays: list[Any], leaves: list[Any], opt: OptimiserState) -> None:
        """NotCompilable where the data lies in memory that training changes: eager code reads a batch before a step."""
        if len(arrays) == len(self._apart) and all(map(operator.is_, arrays, self._apart)):
            return
        changing = [*leaves, *[leaf.buffer.x for leaf in opt._leaves]]
        if any(np.may_share_memory(x, y) for x in arrays for y in changing):
            raise NotCompilable("the data is a parameter of the model, or a view of one, which changes: copy it.")
        self._apart = arrays

    def release(self) -> None:
        """Let go of models and data, and of all programs but the last ones."""
        self._apart = []
        self.programs.trim()
        for program in self.programs:
            program.release()


def _tied(leaves: Sequence[Any]) -> tuple[int, ...]:
    """For each array of a model the first place where it stands; nothing if none stands in two."""
    if len(set(map(id, leaves))) == len(leaves):
        return ()
    first: dict[int, int] = {}
    return tuple([first.setdefault(id(x), i) for i, x in enumerate(leaves)])
