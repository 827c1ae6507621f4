"""Training on the GPU: gradients by kernels made for it or by CuPy, and updates that nobody waits for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from .. import tree
from ..arrays import on_gpu
from ..compile.guards.guards import Snapshot
from ..compile.trace.programs import Programs
from ..compile.traced import signature
from ..data.loader import is_plain_loader
from ..nn.cudnn import is_tf32_allowed
from ..optimise.kernels.loss_guard import FiniteLossGuard
from ..optimise.state import OptimiserState
from ..optimise.step import Change
from ..types import Array, Loss, Tree
from .cuda import Kernels, Rows
from .engines import PlainEngine, Updates
from .layer_state import tied_places
from .recorded_iteration import UpdateNotCompilable
from .report import reason, report_once

STARTED = "tinyflux: training runs as CUDA kernels made for it; compile=False is the plain path, by CuPy."


class GpuEngine(PlainEngine):
    """Updates item by item; their losses become known later, when they are read.

    Arguments:
        compile: as for `train`.
        steady: whether nothing of the user's runs when the next item is fetched, which might change the model.
    """

    def __init__(
        self,
        loss: Loss,
        model: Tree,
        opt: OptimiserState,
        compile: bool | str,  # noqa: A002
        steady: bool,
    ) -> None:
        super().__init__(loss, model, opt, native=False)
        self._required, self._steady = compile is True, steady
        self.about = "CuPy" if compile is False else "CUDA kernels"
        self._guard = FiniteLossGuard(opt, model)
        self._programs: Programs = opt._programs.setdefault("cuda", Programs())
        self._since = None if self._required else self._programs.made
        self._by_cupy = compile is False
        self._kind: Any = None  # of the latest item; None once somebody had a chance to change anything
        self._latest: Kernels | None = None  # the program for it
        self._state: Any = None  # what the latest gradient has made of the state of layers

    def take_over(self, error: Exception) -> None:
        """Go on where whole iterations can't be compiled: by kernels if it is the update alone that can't."""
        if isinstance(error, UpdateNotCompilable):
            self.about = f"CUDA kernels for the gradient, and a separate update: {reason(error)}"
            return
        if self._required:
            raise error
        self._programs.clear()
        self._by_cupy = True
        self.about = f"CuPy: {reason(error)}"
        self.notice = f"tinyflux: training runs by {self.about}"

    def updates(self, data: Iterable[Tree], budget: Callable[[], int]) -> Updates:
        self._kind = None
        try:
            for losses in super().updates(self._items(data), budget):
                yield losses
                self._kind = None  # callbacks were called
            losses = self._guard.read()
            if losses:
                yield losses
        except Exception:
            losses = self._guard.read()
            if losses and not math.isfinite(losses[-1]):  # this came first
                yield losses
            raise
        finally:  # whatever went wrong, the state is to know which updates were made
            self._guard.read()

    def close(self) -> None:
        """Let go of the data, and of all programs but the last ones."""
        self._programs.release()

    def _items(self, data: Iterable[Tree]) -> Iterable[Tree]:
        """One pass over the data. The batches of a shuffled DataLoader on the GPU are left to a kernel to take."""
        if (
            self._by_cupy
            or not is_plain_loader(data)
            or not data.shuffle
            or not all(map(_takeable, tree.leaves(data.data)))
        ):
            return data
        order = data.order()
        return (Rows(data.data, order[i : i + data.batchsize]) for i in range(0, len(order), data.batchsize))

    def _gradient(self, item: Tree, undo: list[Change]) -> tuple[Array, Tree]:
        kernels = None if self._by_cupy else self._find(item)
        self._state = None if kernels is None else kernels.state
        if kernels is None:
            return super()._gradient(item.gather() if isinstance(item, Rows) else item, undo)
        found: tuple[Array, Tree] = kernels(tree.leaves(item))
        return found

    def _find(self, item: Tree) -> Kernels | None:
        """The program for items of this kind, or None: then it is left to CuPy for good."""
        others: list[Any] = []
        kind = signature(item, [], others, True)
        seen = kind, list(map(id, others))
        if self._kind != seen:
            try:
                self._latest = self._look_up(item, kind, others)
            except Exception as error:
                self.take_over(error)
                return None
            report_once(STARTED)
        self._kind = seen if self._steady else None
        return self._latest

    def _look_up(self, item: Tree, kind: Any, others: list[Any]) -> Kernels:
        """The same by a look at all that a program depends on."""
        arrays: list[Array] = []
        parameters = tuple(map(id, tree.parameters(self.model)))
        form = (kind, signature(self.model, arrays, others, True), tied_places(arrays), parameters, is_tf32_allowed())

        def look() -> Snapshot:
            return self._programs.guards(self.loss, *others)

        make = lambda before: Kernels(self.loss, look, self.model, item)  # noqa: E731
        program: Kernels = self._programs.find(form, look(), make, since=self._since)
        program.bind(self.model)
        return program

    def _step(self, value: Array, grads: Tree, budget: Callable[[], int], undo: list[Change]) -> list[float]:
        if not on_gpu(value):
            return super()._step(value, grads, budget, undo)
        return self._guard.step(value, grads, budget(), undo, self._state)


def _takeable(x: Array) -> bool:
    """Whether kernels can take rows of an array where it lies: a copy would not see what becomes of the array."""
    return on_gpu(x) and bool(x.flags.c_contiguous)
