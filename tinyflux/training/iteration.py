"""Iterations of training: recorded, scheduled and compiled, each for one kind of data; run many times, and cached."""

from __future__ import annotations

import ctypes
import math
import operator
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import cores, tree
from ..arrays import on_gpu
from ..checks import type_of
from ..compile.backends.c.library import Library, address, contiguous
from ..compile.backends.c.source import Source
from ..compile.guards.guards import Snapshot
from ..compile.ir import program
from ..compile.ir.program import format_program, reachable
from ..compile.schedule.fuse import make_schedule
from ..compile.schedule.pipelining import find_pipelined
from ..compile.schedule.tiling import BLOCK, plan_rows
from ..compile.trace.programs import Program, Programs
from ..compile.trace.record import Trace
from ..errors import NotCompilable
from ..optimise.checks import check_known, check_model
from ..optimise.state import OptimiserState
from ..types import Array, Loss, Tree
from .layer_state import replace_arrays
from .recorded_iteration import RecordedIteration, iteration_form, record_iteration
from .traced_loss import refuse_model, refuse_state

MIN_BLOCKS_TO_SHARE = 8  # blocks of rows; from so many on, several cores share an iteration
STRETCH = 0.05  # seconds that the C code runs without a look at whether Ctrl-C was pressed


class Iteration(Program):
    """The program for one kind of data."""

    def __init__(
        self, loss: Loss, look: Callable[[], Snapshot], model: Tree, opt: OptimiserState, data: Tree, size: int | None,
        limit: float,
    ) -> None:  # fmt: skip
        self._opt = opt
        self.model: list[Array] = []
        check_known("compile_training", opt, model)
        leaves = tree.leaves(model)
        for x in (*leaves, *tree.leaves(data)):
            if on_gpu(x):
                raise NotCompilable(
                    "compile_training makes code for the CPU, and an array lies on the GPU. flux.train compiles for "
                    "the GPU; or bring model and data back by flux.cpu(…)."
                )
            if type(x) is not np.ndarray:
                raise NotCompilable(f"{type_of(x)} can't be compiled; NumPy's arrays can.")
        trace = Trace(lambda: record_iteration(loss, model, opt, data, size), look, limit=limit)
        super().__init__(trace.surroundings, trace.contents)
        self._captured = trace.captured
        self._captured_slots = [node.params for node, _ in trace.recording.captured]
        recorded: RecordedIteration = trace.value
        refuse_model(trace.surroundings, trace.captured, model, opt, recorded.changed(model))
        refuse_state(trace.surroundings, trace.captured, opt)
        total, results, order = recorded.loss, recorded.results, recorded.order
        self._update, self._model_slots = recorded.update, recorded.model_slots
        with trace.recording as recording:
            nodes = reachable(trace.ends)
            plan = plan_rows(nodes, order) if size is not None and size > BLOCK else None
            if plan is not None and any(r.node in plan.axis for r in results):
                plan = None
            shown = [total]
            self._text: Callable[[], str] = lambda: "\n".join(format_program(nodes, shown))
            if total.op == "input" or total.op == "view":
                total = program.elementwise("positive", [total], total.dtype)
            schedule = make_schedule(results, recording.trusted, total, plan, recording.demands)
            schedule.pipelined = find_pipelined(schedule, order)
            self.source = Source(schedule, total, order, recording.demands)
        self._library = Library(self.source)
        self._inputs = len(trace.recording.inputs)
        self._bound: tuple[list[Array], list[int], list[Array]] = ([], [], [])
        self._data: list[Array] = []
        self._order_slot = order.params
        slots = {r.pointer for r in results}
        own = {id(leaf.view) for leaf in opt._leaves}
        self._own_state = [i for i, slot in enumerate(self._model_slots) if slot in slots and id(leaves[i]) not in own]

    @property
    def program(self) -> str:  # type: ignore[override]  # made when it is asked for
        return self._text()

    def fits(self) -> bool:
        """Whether parameters that the program steps alike are still to be stepped alike."""
        return self._update.fits()

    def with_own_state(self, model: Tree, leaves: list[Array]) -> list[Array]:
        """The model's arrays, those that it changes itself (the state of layers) replaced, where they stand, by copies.

        Layers don't write into such arrays but put new ones in their places: the old ones may stand in other models.
        """
        if not self._own_state:
            return leaves
        replace_arrays(model, {id(leaves[i]): leaves[i].copy() for i in self._own_state})
        return tree.leaves(model)

    def release(self) -> None:
        """Let go of the data of the last run."""
        self.model, self._data = [], []

    def run(self, data: Tree, order: Array) -> Array:
        """Make iterations.

        Arguments:
            order: the numbers of samples, int64 of shape (iterations, batchsize); None for one iteration of all data.

        Returns: the losses; the last one is NaN or infinite where that has stopped it.
        """
        order = np.zeros((1, 1), np.int64) if order is None else order
        losses = np.empty(len(order))
        if not losses.size:
            return losses
        addresses, held = self._addresses(tree.leaves(data))
        table = (ctypes.c_void_p * len(addresses))(*addresses)
        numbers = self._update.numbers()
        for i, slot in enumerate(self._update.slots):
            table[slot] = address(numbers) + i * numbers.itemsize
        memory = self._library.arena()
        try:
            return losses[: self._iterate(table, address(memory), order, losses) + 1]
        finally:
            self._library.done(memory)
            del held

    def _addresses(self, data: Sequence[Array]) -> tuple[list[int], list[Any]]:
        """The addresses of all inputs but the scalars, found anew only for other arrays; and what has to stay alive."""
        given = [*self.model, *self._captured]
        bound, addresses, arrays = self._bound
        if len(bound) != len(given) or not all(map(operator.is_, given, bound)):
            arrays = [contiguous(x) for x in given]
            addresses = [0] * self._inputs
            for slot, x in zip([*self._model_slots, *self._captured_slots], arrays):
                addresses[slot] = address(x)
            for leaf, i, slot in self._update.states:
                addresses[slot] = address(leaf.arrays[i])
            copied = any(x is not y for x, y in zip(arrays, given))
            self._bound, self._data = (([] if copied else given), addresses, arrays), []
        if len(data) != len(self._data) or not all(map(operator.is_, data, self._data)):
            batch = [contiguous(x) for x in data]
            first = self._order_slot + 1
            addresses[first : first + len(data)] = map(address, batch)
            self._data = [] if any(x is not y for x, y in zip(batch, data)) else batch
            return addresses, [arrays, batch]
        return addresses, arrays

    def _iterate(self, table: Any, arena: int, order: Array, losses: Array) -> int:
        """Run stretches of iterations, each short enough for Ctrl-C, or one large iteration at a time on all cores."""
        rows = self.source.schedule.rows
        run = self._library.run if rows is None or rows.count < MIN_BLOCKS_TO_SHARE else self._iterate_on_cores
        start = time.perf_counter()
        at, count = 0, 1
        while at < len(order):
            count = min(count, len(order) - at)
            table[self._order_slot] = address(order) + at * order.shape[1] * 8
            made = run(table, arena, count, address(losses) + at * 8)
            if made < -1:
                kind, message = self.source.checks[-made - 2]
                raise kind(message)
            at += made
            if made < count:
                break
            spent = time.perf_counter() - start
            count = 2 * at if spent < STRETCH else max(1, int(at * STRETCH / spent))
            count = 1 if run == self._iterate_on_cores else count
        return at

    def _iterate_on_cores(self, table: Any, arena: int, count: int, losses: int) -> int:
        """One iteration, its blocks of rows shared out between cores."""
        library, rows = self._library, self.source.schedule.rows
        assert rows is not None

        def work(blocks: Sequence[int]) -> tuple[int, Any]:
            own = None if blocks[0] == 0 else library.arena()
            return library.share(table, arena if own is None else address(own), blocks[0], blocks[-1] + 1), own

        (failed, _), *others = cores.share(work, range(rows.count))
        for code, other in others:
            library.merge(arena, address(other))
            library.done(other)
            failed = failed or code
        failed = failed or library.conclude(table, arena, losses)
        return -1 - failed if failed > 0 else 1 + failed


class Iterations(Programs):
    """A cache of iterations, which belongs to an optimiser's state. It holds neither models nor data.

    Attributes:
        planned: how many iterations all trainings so far were to make.
        limit: how many nodes a new program may have.
    """

    def __init__(self) -> None:
        super().__init__()
        self.planned, self.limit = 0.0, math.inf
        self._apart: list[Array] = []  # the arrays of data that were found to lie in memory of their own

    def iteration(
        self,
        loss: Loss,
        model: Tree,
        opt: OptimiserState,
        data: Tree,
        size: int | None,
        since: int | None = None,
    ) -> Iteration:
        """The program for batches of `size` samples of the data, or for all of it, with all else as it is now.

        Arguments:
            since: see `Programs.find`.
        """
        check_model("compile_training", opt, model)
        form, others, leaves = iteration_form(model, opt, data, size)
        self.refuse_parameters(tree.leaves(data), leaves, opt)

        def look() -> Snapshot:
            return self.guards(loss, *others)

        program: Iteration = self.find(
            (*form, id(model)),
            look(),
            lambda before: Iteration(loss, look, model, opt, data, size, self.limit),
            since=since,
        )
        program.model = program.with_own_state(model, leaves)
        return program

    def refuse_parameters(self, arrays: list[Array], leaves: list[Array], opt: OptimiserState) -> None:
        """NotCompilable where the data lies in memory that training changes: eager code reads a batch before a step."""
        if len(arrays) == len(self._apart) and all(map(operator.is_, arrays, self._apart)):
            return
        changing = [*leaves, *[x for leaf in opt._leaves for x in (leaf.buffer.x, *leaf.arrays)]]
        if any(np.may_share_memory(x, y) for x in arrays for y in changing):
            raise NotCompilable(
                "the data is a parameter of the model, or a part of the optimiser's state, or a view of one, which "
                "changes: copy it."
            )
        self._apart = arrays

    def release(self) -> None:
        """Let go of models and data, and of all programs but the last ones."""
        self._apart = []
        super().release()
