"""The engine of training that runs whole iterations as native code."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import tree
from ..compile.backends.c.build import find_compiler
from ..compile.backends.c.library import contiguous
from ..data import DataLoader
from ..optimise.state import OptimiserState
from ..types import Array, Loss, Tree
from .compiled_gradient import hand_over
from .engines import PlainEngine, Updates
from .iteration import Iteration, Iterations
from .passes import kind_of_item, stretches
from .report import report_once

# How large a program is compiled without being asked for. A build takes 1.1 to 2 ms for each node on one core: 16,000
# nodes take 17 s (an RNN of 500 steps in a Python loop) to 32 s (an LSTM of 160 takes 28). An iteration of such a
# program then takes 2 to 6 µs less for each node than in NumPy. So it pays after 200 to 500, whatever its size.
MAX_NODES = 16_000
PAYS_FROM = 300  # iterations; in shorter trainings an eighth of the nodes is compiled, which takes up to 4 s


def max_nodes(iterations: float) -> int:
    """How many nodes a program for so many iterations may have."""
    return MAX_NODES if iterations >= PAYS_FROM else MAX_NODES // 8


class NativeEngine:
    """Compiled updates, until something can't be compiled.

    Arguments:
        required: compile programs of any size, and raise where something can't be compiled; otherwise leave both to the
            plain engine.
        steady: whether nothing of the user's runs when the next item is fetched, which might change the model.
        plain: the engine that goes on then.
        total: how many updates the training is to make; None where that isn't known.
    """

    compiles = True

    def __init__(
        self,
        loss: Loss,
        model: Tree,
        opt: OptimiserState,
        required: bool,
        steady: bool,
        plain: PlainEngine,
        total: int | None,
    ) -> None:
        self._loss, self._model, self._opt = loss, model, opt
        self._required, self._steady, self._plain = required, steady, plain
        self._iterations = opt._programs.setdefault("native", Iterations())
        self._since = None if required else self._iterations.made
        self._iterations.planned += math.inf if total is None else total
        self._iterations.limit = math.inf if required else max_nodes(self._iterations.planned)
        self.about, self._running = "native code", False

    def updates(self, data: Iterable[Tree], budget: Callable[[], int]) -> Updates:
        if isinstance(data, DataLoader):
            return (yield from self._pass(data, budget))
        latest: Iteration | None = None
        kind: Any = None
        items = iter(data)
        for item in items:
            before, kind = kind, kind_of_item(item)
            program = self._program(item, None, latest if kind == before else None)
            if program is None:
                return itertools.chain([item], items)
            latest = program if self._steady and budget() > 1 else None  # or something may change meanwhile
            yield self._run(program, item, None)

    def close(self) -> None:
        """Keep the programs for the next training, and let go of model and data."""
        self._iterations.release()

    def _pass(self, loader: DataLoader[Any], budget: Callable[[], int]) -> Updates:
        """One pass over a DataLoader, batches of one size together."""
        data, size = loader.data_of_a_pass(), min(loader.taken, loader.batchsize)
        program = self._program(data, size) if size else None
        if size and program is None:  # before an order is drawn, which may lie on the GPU with the data
            return loader
        parts = [np.ascontiguousarray(part, np.int64) for part in stretches(loader)]
        for i, order in enumerate(parts):
            at = 0
            while at < len(order):
                program = program or self._program(data, order.shape[1])
                if program is None:
                    rows = [*order[at:], *[row for more in parts[i + 1 :] for row in more]]
                    return (tree.map(lambda x: x[row], data) for row in rows)  # noqa: B023
                losses = self._run(program, *_readable(data, order[at : at + budget()]))
                at += len(losses)
                yield losses
                program = None  # callbacks were called, which may have changed anything

    def _program(self, data: Tree, size: int | None, latest: Iteration | None = None) -> Iteration | None:
        """The program for batches of `size` samples of the data, or all of it; None if the plain engine is to go on.

        Arguments:
            latest: the program for data of the same kind, if nothing can have changed since.
        """
        try:
            if latest is not None:
                self._iterations.refuse_parameters(tree.leaves(data), latest.model, self._opt)
                return latest
            found: Iteration = self._iterations.iteration(self._loss, self._model, self._opt, data, size, self._since)
            return found
        except Exception as error:
            hand_over(error, self._plain, self._required, self._iterations.limit)
            return None

    def _run(self, program: Iteration, data: Tree, order: Array) -> list[float]:
        if not self._running:
            self.about = f"native code, by {find_compiler().command[0]}"
            report_once(f"tinyflux: training runs as {self.about}; compile=False is the plain path.")
            self._running = self._plain.started = True
        self._plain.tries = 0
        losses: list[float] = program.run(data, order).tolist()
        return losses


def _readable(data: Tree, order: Array) -> tuple[Tree, Array]:
    """Data and order as C code reads them; of arrays in another layout the rows are copied, as they are now."""
    if all(contiguous(x) is x for x in tree.leaves(data)):
        return data, order
    rows = order.reshape(-1)
    return tree.map(lambda x: np.take(x, rows, axis=0), data), np.arange(rows.size).reshape(order.shape)
