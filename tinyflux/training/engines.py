"""Engines make the updates of a training, `train` calls the callbacks. This engine is plain NumPy.

An engine has two methods:

    updates(data, budget)   makes the updates of one pass over the data, and yields their losses, some at a time. If the
                            last one is NaN or infinite, its update was not made. `budget()` says how many updates may
                            be made until somebody wants to look. Returns what is left of the data where the engine
                            can't go on, and the other one is to; None in the end.

    close()                 lets go of what only this training needed, as long as the engine isn't used again.

and two attributes: `about` says how it makes updates, and why, for `History.engine`; `compiles` is whether it compiles.

The data is a DataLoader, or an iterator of items that were checked.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from ..arrays import on_gpu
from ..autodiff.gradient import evaluated
from ..checks import check_loss
from ..data.loader import is_plain_loader
from ..interrupts import calls, exhaust
from ..optimise.checks import refuse_nothing
from ..optimise.state import OptimiserState, planned
from ..optimise.step import Change, step_all
from ..types import Array, Loss, Tree
from .report import reason, report_once

if TYPE_CHECKING:
    from .compiled_gradient import CompiledGradient

Updates = Generator[list[float], None, Any]


class Engine(Protocol):
    about: str

    @property
    def compiles(self) -> bool: ...

    def updates(self, data: Iterable[Tree], budget: Callable[[], int]) -> Updates: ...

    def close(self) -> None: ...


TRIES = 4  # single updates in a row, after which nothing is compiled for a rule that changes itself


class PlainEngine:
    """Updates by NumPy, item by item, of gradients by NumPy, or by compiled code where these alone can be compiled.

    Arguments:
        native: whether large updates may be made by native code.

    Attributes:
        gradient: the compiled gradient; None where NumPy makes that, too.
        started: whether an engine before this one has made updates.
        once: whether to make one update, and give back what is left of the data.
        tries: how often it has done so since the other engine made an update.
    """

    made_by, compiled_by, says = "plain NumPy", "native code", "as"

    def __init__(self, loss: Loss, model: Tree, opt: OptimiserState, native: bool) -> None:
        self.loss, self.model, self.opt, self.native = loss, model, opt, native
        self.about = self.made_by
        self.gradient: CompiledGradient | None = None
        self.started = self.once = False
        self.tries = 0
        self._rules: list[Any] = []

    @property
    def compiles(self) -> bool:
        return self.gradient is not None

    def give_up(self, error: Exception) -> None:
        """Compile nothing from now on, because of an error."""
        self.gradient = None
        self.about = f"{self.made_by}: {reason(error)}"

    def make_one(self) -> bool:
        """Be asked for one update; False where the rules made one already, or a callback changes them over and over."""
        before, self._rules = self._rules, [leaf.rule for leaf in self.opt._leaves]
        self.tries += 1
        self.once = self.tries <= TRIES and not (before and all(map(operator.is_, before, self._rules)))
        return self.once

    def updates(self, data: Iterable[Tree], budget: Callable[[], int]) -> Updates:
        items = iter(data)
        for item in items:
            losses = self._update(item, budget)
            if losses:
                yield losses
            if self.once:
                self.once = False
                return items
        return None

    def close(self) -> None:
        if self.gradient is not None:
            self.gradient.close()

    def _update(self, item: Tree, budget: Callable[[], int]) -> list[float]:
        """Make the update for an item: parameters, the state of the optimiser and of layers change, or none of them."""
        undo: list[Change] = []
        putting_back = calls(undo)
        try:
            value, grads = self._gradient(item, undo)
            if not self.started:
                refuse_nothing("train", self.opt, grads)
                self.started = True
            losses = self._step(value, grads, budget, undo)
        finally:
            exhaust(putting_back)
        if self.about != self.made_by:  # only now, for a mistake in the loss has shown itself by then
            report_once(f"tinyflux: training runs {self.says} {self.about}")
        return losses

    def _gradient(self, item: Tree, undo: list[Change]) -> tuple[Array, Tree]:
        """The loss of an item and its gradient; `undo` takes what puts the state of layers back."""
        if self.gradient is not None:
            try:
                calculate = self.gradient.find(item)
            except Exception as error:
                self.give_up(error)
            else:
                return calculate(undo)
        batch = item if type(item) is tuple else (item,)
        return evaluated(lambda m: check_loss(self.loss(m, *batch)), (self.model,), undo)

    def _step(self, value: Array, grads: Tree, budget: Callable[[], int], undo: list[Change]) -> list[float]:
        """Make the update of a gradient, after which `undo` is empty; returns the losses that have become known."""
        loss = float(value)
        if math.isfinite(loss):
            step_all(*planned(self.opt, self.model, grads), self.native, [(undo.clear,)])
        return [loss]


def choose_engines(
    loss: Loss,
    model: Tree,
    data: Iterable[Tree],
    opt: OptimiserState,
    compile: bool | str,  # noqa: A002
    total: int | None,
) -> list[Engine]:
    """The engine for a training, and after it the one that goes on where it can't."""
    if not isinstance(compile, bool) and compile != "auto":
        raise ValueError(f"train: expected compile to be True, False or 'auto', got {compile!r}.")
    steady = isinstance(data, (list, tuple)) or is_plain_loader(data)
    if on_gpu(opt._leaves[0].view):
        from .gpu import GpuEngine

        engine = GpuEngine(loss, model, opt)
        if compile is False:
            return [engine]
        from .cuda_engine import CudaEngine

        return [CudaEngine(loss, model, opt, compile is True, steady, engine), engine]
    plain = PlainEngine(loss, model, opt, native=compile is not False and opt.native)
    if compile is False:
        return [plain]
    from .native import NativeEngine

    return [NativeEngine(loss, model, opt, compile is True, steady, plain, total), plain]
