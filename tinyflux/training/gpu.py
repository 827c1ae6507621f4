"""Training on the GPU: gradients by kernels made for it or by CuPy, and updates that nobody waits for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from ..arrays import on_gpu
from ..data.loader import is_plain_loader
from ..optimise.kernels.loss_guard import FiniteLossGuard
from ..optimise.state import OptimiserState
from ..optimise.step import Change
from ..types import Loss, Tree
from .engines import PlainEngine, Updates


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
        self._steady = steady
        self._same = False  # whether nobody had a chance to change anything since the last update
        self._guard = FiniteLossGuard(opt, model)
        self._kernels: Any = None
        if compile is not False:
            from .cuda import Gradient

            self._kernels = Gradient(loss, model, compile is True, opt._programs)

    def updates(self, data: Iterable[Any], budget: Callable[[], int]) -> Updates:
        items = self._kernels.items(data) if self._kernels and is_plain_loader(data) else data
        self._same = False
        try:
            for losses in super().updates(items, budget):
                yield losses
                self._same = False  # callbacks were called
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
        if self._kernels is not None:
            self._kernels.release()

    def _gradient(self, item: Any, undo: list[Change]) -> tuple[Any, Any]:
        if self._kernels is None:
            return super()._gradient(item, undo)
        found: tuple[Any, Any] = self._kernels(item, self._same, undo)
        self.notice, self._kernels.why_not = self._kernels.why_not, ""
        self._same = self._steady
        return found

    def _step(self, value: Any, grads: Any, budget: Callable[[], int], made: Change) -> list[float]:
        if not on_gpu(value):
            return super()._step(value, grads, budget, made)
        return self._guard.step(value, grads, budget(), [made])
