"""The engine of training that launches whole iterations on the GPU, many of them at once where a graph holds them."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import tree
from ..arrays import on_gpu
from ..compile.guards.guards import Snapshot
from ..compile.trace.programs import Programs
from ..data import DataLoader
from ..data.loader import is_plain_loader
from ..errors import NotCompilable
from ..nn.cudnn import is_tf32_allowed
from ..optimise.checks import check_model
from ..optimise.state import OptimiserState
from ..types import Array, Loss, Tree
from .compiled_gradient import hand_over
from .cuda_iteration import ROOM, CudaIteration, LossRecord
from .engines import Updates
from .gpu import GpuEngine, read_in_the_end
from .launching import STRETCHES
from .passes import kind_of_item, stretches
from .recorded_iteration import iteration_form
from .report import report_once
from .traced_loss import share_memory

SECONDS = 1.0  # after which losses are read in any case: a training that has come to nothing is not to go on for long
STARTED = "tinyflux: training runs as CUDA kernels made for it; compile=False is the plain path, by CuPy."
FIRST = 1 + STRETCHES[0]  # losses that are read together at first: of one iteration kernel by kernel, and of a graph


class CudaEngine:
    """Makes updates whose losses are read later, until something can't be compiled.

    Arguments:
        required: raise where something can't be compiled; otherwise it is left to the plain engine.
        steady: whether nothing of the user's runs when the next item is fetched, which might change the model.
        plain: the engine that goes on then.
    """

    compiles = True

    def __init__(
        self, loss: Loss, model: Tree, opt: OptimiserState, required: bool, steady: bool, plain: GpuEngine
    ) -> None:
        self._loss, self._model, self._opt = loss, model, opt
        self._required, self._steady, self._plain = required, steady, plain
        self._programs: CudaIterations = opt._programs.setdefault("iterations", CudaIterations())
        self._since = None if required else self._programs.made
        self._latest: CudaIteration | None = None  # the program that the model's arrays belong to
        self._most, self._first_at = FIRST, 0.0
        self.about = "CUDA kernels"

    def updates(self, data: Iterable[Tree], budget: Callable[[], int]) -> Updates:
        if not is_plain_loader(data):
            made = self._items(data, budget)
        elif not data.shuffle and all(len(x) == data.batchsize for x in tree.leaves(data.data)):
            made = self._items([data.data_of_a_pass()], budget)
        elif all(on_gpu(x) and x.flags.c_contiguous for x in tree.leaves(data.data)):
            made = self._pass(data, budget)
        else:  # a copy would not see what becomes of the arrays in the course of the pass
            made = self._items(data, budget)
        return read_in_the_end(made, self._read)

    def close(self) -> None:
        """Let go of the data, and of all programs but the last ones."""
        self._programs.release()

    def _pass(self, loader: DataLoader[Any], budget: Callable[[], int]) -> Updates:
        """One pass over a DataLoader, batches of one size together."""
        parts = [part.astype(np.int64, copy=False) for part in stretches(loader)]
        data = loader.data_of_a_pass()
        arrays = tree.leaves(data)
        for i, numbers in enumerate(parts):
            at, program = 0, None
            while at < len(numbers):
                program = program or self._find(data, numbers.shape[1])
                if program is None:
                    rows = [*numbers[at:], *[row for more in parts[i + 1 :] for row in more]]
                    return (tree.map(lambda x: x[row], data) for row in rows)  # noqa: B023
                count = min(len(numbers) - at, self._room(budget))
                program.run(arrays, numbers[at : at + count], count)
                at += count
                if not self._room(budget):
                    yield self._read()
                    program = None  # callbacks were called, which may have changed anything

    def _items(self, data: Iterable[Tree], budget: Callable[[], int]) -> Updates:
        """Updates by one item after another."""
        kind: Any = None
        items = iter(data)
        for item in items:
            before, kind = kind, (kind_of_item(item), self._programs.overlap(tree.leaves(item), self._opt))
            program = self._latest if self._steady and kind == before else None
            program = program or self._find(item, None)
            if program is None:
                return itertools.chain([item], items)
            program.run(tree.leaves(item), None, 1)
            if not self._room(budget):
                yield self._read()
                kind = None
            elif not self._steady:
                self._unbind()
        return None

    def _find(self, data: Tree, size: int | None) -> CudaIteration | None:
        """The program for batches of `size` samples of the data, or all of it; None if the plain engine is to go on."""
        try:
            found = self._programs.iteration(self._loss, self._model, self._opt, data, size, self._since)
        except Exception as error:
            hand_over(error, self._plain, self._required)
            self._programs.clear()
            return None
        report_once(STARTED)
        self._plain.tries = 0
        found.bind(self._model)
        self._latest = found
        return found

    def _room(self, budget: Callable[[], int]) -> int:
        """How many updates may be launched until losses are to be read."""
        unread = self._programs.unread
        if not unread:
            self._first_at = time.monotonic()
        elif time.monotonic() - self._first_at > SECONDS:
            return 0
        return max(0, min(budget(), self._most) - unread)

    def _unbind(self) -> None:
        """Give the model arrays that stay as they are, before somebody looks at it."""
        if self._latest is not None:
            self._latest.unbind(self._model)
            self._latest = None

    def _read(self) -> list[float]:
        """The losses that were not read yet, after which callbacks may be called; this waits for the device."""
        self._unbind()
        unread, losses = self._programs.unread, self._programs.read()
        took = time.monotonic() - self._first_at
        if took > SECONDS:
            self._most = max(1, self._most // 2)
        elif unread == self._most and took < SECONDS / 4:
            self._most = min(2 * self._most, ROOM)
        return losses


class CudaIterations(Programs):
    """A cache of iterations, which belongs to an optimiser's state, and the losses that they enter."""

    def __init__(self) -> None:
        super().__init__()
        self._record: LossRecord | None = None  # on the GPU of the model

    @property
    def unread(self) -> int:
        """How many iterations were launched since the losses were read."""
        return 0 if self._record is None else self._record.unread

    def read(self) -> list[float]:
        """The losses that were not read yet, up to the first that is not finite.

        Errors: the one that a kernel has found, at an index out of bounds, say.
        """
        losses = [] if self._record is None else self._record.read()
        if losses and not math.isfinite(losses[-1]):
            for program in self:
                program.raise_fault()
        return losses

    def iteration(
        self, loss: Loss, model: Tree, opt: OptimiserState, data: Tree, size: int | None, since: int | None
    ) -> CudaIteration:
        """The program for batches of `size` samples of the data, or for all of it, with all else as it is now."""
        check_model("train", opt, model)
        form, others, _ = iteration_form(model, opt, data, size)
        parameters = tuple(map(id, tree.parameters(model)))
        if self.overlap(tree.leaves(data), opt):  # eager code reads a batch before a step
            raise NotCompilable("the data is a parameter of the model, or a view of one, which changes: copy it.")

        def look() -> Snapshot:
            return self.guards(loss, *others)

        def make(before: Any) -> CudaIteration:
            if self._record is None:
                with opt._leaves[0].view.device:
                    self._record = LossRecord()
            return CudaIteration(loss, look, model, opt, data, size, self._record)

        found: CudaIteration = self.find((*form, parameters, is_tf32_allowed()), look(), make, since=since)
        return found

    def overlap(self, arrays: Sequence[Array], opt: OptimiserState) -> bool:
        """Whether some of the arrays lie in memory that training changes."""
        return share_memory(arrays, {id(leaf.buffer.x): leaf.buffer.x for leaf in opt._leaves}.values())
