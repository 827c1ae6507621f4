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
        return read_in_the_end(super().updates(data, budget), self._guard.read)

    def _step(self, value: Array, grads: Tree, budget: Callable[[], int], undo: list[Change]) -> list[float]:
        if not on_gpu(value):
            return super()._step(value, grads, budget, undo)
        return self._guard.step(value, grads, budget(), undo)


def read_in_the_end(updates: Updates, read: Callable[[], list[float]]) -> Updates:
    """Updates, and after them the losses that were not read yet; these come before an error that is due to them."""
    try:
        rest = yield from updates
        losses = read()
        if losses:
            yield losses
        return rest
    except Exception:
        losses = read()
        if losses and not math.isfinite(losses[-1]):  # this came first
            yield losses
        raise
    finally:  # whatever went wrong, the state is to know which updates were made
        read()
