"""Training on the GPU where whole iterations can't be compiled: updates that nobody waits for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from ..arrays import on_gpu
from ..optimise.kernels.loss_guard import FiniteLossGuard
from ..optimise.state import OptimiserState
from ..optimise.step import Change
from ..types import Array, Loss, Tree
from .engines import PlainEngine, Updates


class GpuEngine(PlainEngine):
    """Updates item by item; their losses become known later, when they are read."""

    made_by, compiled_by, says = "CuPy", "CUDA kernels", "by"

    def __init__(self, loss: Loss, model: Tree, opt: OptimiserState) -> None:
        super().__init__(loss, model, opt, native=False)
        self._guard = FiniteLossGuard(opt, model)

    def updates(self, data: Iterable[Tree], budget: Callable[[], int]) -> Updates:
        try:
            rest = yield from super().updates(data, budget)
            losses = self._guard.read()
            if losses:
                yield losses
            return rest
        except Exception:
            losses = self._guard.read()
            if losses and not math.isfinite(losses[-1]):  # this came first
                yield losses
            raise
        finally:  # whatever went wrong, the state is to know which updates were made
            self._guard.read()

    def _step(self, value: Array, grads: Tree, budget: Callable[[], int], undo: list[Change]) -> list[float]:
        if not on_gpu(value):
            return super()._step(value, grads, budget, undo)
        return self._guard.step(value, grads, budget(), undo)
