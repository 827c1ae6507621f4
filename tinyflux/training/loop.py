"""train: the loop over a data set, and what can be hung into it."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np

from ..checks import check_call, check_function, check_integer
from ..data.loader import is_plain_loader
from ..errors import NonFiniteLoss
from ..installed import pip_install
from ..nn import trainmode
from ..optimise.checks import check_known, check_state
from ..optimise.state import OptimiserState, check_trainable
from ..types import Loss, Tree
from .checks import check_training, checked_items
from .engines import Engine, choose_engines


@dataclasses.dataclass
class Progress:
    """What a callback is told.

    Attributes:
        epoch: the number of the pass over the data, from 1.
        iteration: the number of updates so far, over all passes.
        loss: the loss before the last update.
        losses: the losses of all updates since the last call.
        epoch_ended: True in the call after the last item of a pass, False in the calls before.
        model, opt: what is being trained.
        total: how many updates are to come over all passes, where the data has a length; else None.

    >>> import tinyflux as flux
    >>> def report(progress):
    ...     if progress.epoch_ended:
    ...         print(f"epoch {progress.epoch}: {progress.loss}")
    >>> report(flux.Progress(None, None, epoch=2, loss=0.5, epoch_ended=True))
    epoch 2: 0.5
    """

    model: Tree
    opt: OptimiserState
    epoch: int = 1
    iteration: int = 0
    loss: float = math.nan
    epoch_ended: bool = False
    losses: list[float] = dataclasses.field(default_factory=list)
    total: int | None = None


Callback = Callable[[Progress], Any]


def train(
    loss: Loss,
    model: Tree,
    data: Iterable[Any],
    opt: OptimiserState,
    epochs: int = 1,
    callbacks: Sequence[Callback] = (),
    compile: bool | str = "auto",  # noqa: A002
) -> list[float]:
    """Train a model: for every item of the data a gradient of the loss and an update.

    The model's layers are set to the automatic mode: in training mode while a gradient is taken, and in inference
    when a callback looks at the model.

    Arguments:
        loss: called as `loss(model, *item)` for an item that is a tuple (as of DataLoader((x, y))), else as
            `loss(model, item)`; returns a scalar. It is evaluated before the update.
        model: the model; its arrays are changed in place.
        data: iterated over once an epoch.
        opt: what `setup(rule, model)` returned. Compiled programs are kept with it: the next training finds them.
        epochs: how many passes to make.
        callbacks: functions of a Progress, called after every update and at the end of every epoch; training stops
            when one returns True. They may have a method `due(iteration)` that returns the iteration before which they
            need not be called again: all are called when the first is due, and compiled updates are made many at a time
            until then. One that has a method `close` is closed in the end, whatever happens. See `early_stopping`,
            `progress_bar`.
        compile: "auto" to run gradient and update as native code where there is a C compiler and all of it can be
            compiled, and to report once on stderr which path is used; True to raise an error otherwise (see
            `compile_training`); False for plain NumPy. The results are the same up to roundings. The loss is then
            called to be recorded, not for every item: what it does besides calculating happens no more than that.
            What layers change in themselves is kept on either path. A program changes arrays that keep shape and dtype,
            as those in a class's `buffers` (see `is_training`); a layer that counts by a number of Python's, or whose
            buffer grows, can't be compiled.
            "auto" leaves a program to NumPy that would take longer to compile than it saves, as a Python loop over
            hundreds of steps does: one of more than 16,000 operations, or of 2,000 in trainings of less than 300
            updates. `flux.scan` keeps such a loop one loop.
            For a model on the GPU the same holds, of CUDA kernels in the place of C, and CuPy in that of NumPy.

    On the GPU nothing waits for a loss until a callback is due, or a second has passed: the kernels that make the
    updates look at it, so that the promise of NonFiniteLoss holds there as well, although the loss of some more items
    may have been calculated in vain. Where they don't make all of an update (ClipNorm), each loss is read before it.

    Returns: the mean loss of each epoch.

    After any error, of the loss, the data or a callback, the updates before it stand, and nothing is left of one that
    was not finished: parameters, the optimiser's state and that of layers are as after the last whole update.

    Errors: NonFiniteLoss, with the number of the item, for a loss that is NaN or infinite: the updates before it
    stand, its own is not applied. ValueError for data without items, or an item without samples. TypeError for
    arguments that can't be meant, and for a loss that returns further results. Under compile=True, NotCompilable with
    the name of what can't be compiled, CompilerNotFound without a compiler.

    >>> import numpy as np, tinyflux as flux
    >>> flux.seed(0)
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(-1, 1); y = 3 * x + 1
    >>> model = flux.Dense(1, 1); opt = flux.setup(flux.Descent(0.1), model)
    >>> data = flux.DataLoader((x, y), batchsize=16, shuffle=True)
    >>> losses = flux.train(lambda m, x, y: flux.mse(m(x), y), model, data, opt, epochs=50)
    >>> model.weight.round(2).item(), model.bias.round(2).item()
    (3.0, 1.0)
    """
    check_state("train", opt)
    check_trainable("train", model)
    check_training(loss, model, data, epochs, callbacks)
    check_known("train", opt, model)
    progress = Progress(model, opt, total=epochs * len(data) if isinstance(data, Sized) else None)
    means: list[float] = []
    trainmode(model, "auto")
    engines = choose_engines(loss, model, data, opt, compile, progress.total)
    due = _due(callbacks, 0)
    budget = lambda: due - progress.iteration  # noqa: E731
    try:
        for progress.epoch in range(1, epochs + 1):
            total, count, stop = 0.0, 0, False
            items = data if is_plain_loader(data) else checked_items(loss, model, data)
            for losses in _updates(engines, items, budget):
                failed = losses.pop() if not math.isfinite(losses[-1]) else None
                count += len(losses)
                total += sum(losses)
                _advance(progress, losses)
                if progress.iteration >= due or (failed is not None and progress.losses):
                    stop = _call(callbacks, progress)
                    due = _due(callbacks, progress.iteration)
                if failed is not None:
                    raise NonFiniteLoss(
                        f"train: the loss is {failed} at item {count} of epoch {progress.epoch}. That update was not "
                        "applied. Look for NaN in the data, or take a smaller learning rate."
                    )
                if stop:
                    break
            if not count:
                fix = "An iterator lasts for one pass: give a list, or a DataLoader." if progress.epoch > 1 else ""
                raise ValueError(f"train: the data gave no item in epoch {progress.epoch}. {fix}".rstrip())
            means.append(total / count)
            progress.epoch_ended = True
            stop = _call(callbacks, progress) or stop
            progress.epoch_ended = False
            if stop:
                break
    finally:
        engines[0].close()
        for callback in callbacks:
            if hasattr(callback, "close"):
                callback.close()
    return means


def _updates(engines: list[Engine], data: Any, budget: Callable[[], int]) -> Iterator[list[float]]:
    """One pass over the data: an engine makes the updates until it can't go on, then the next one does."""
    while data is not None:
        data = yield from engines[0].updates(data, budget)
        if data is not None:
            engines.pop(0).close()


def _advance(progress: Progress, losses: list[float]) -> None:
    if losses:
        progress.loss = losses[-1]
        progress.losses += losses
        progress.iteration += len(losses)


_FAR = 1 << 40  # iterations


def _due(callbacks: Sequence[Callback], iteration: int) -> int:
    """The iteration after which callbacks are to be called."""
    dues = [callback.due(iteration) if hasattr(callback, "due") else iteration + 1 for callback in callbacks]
    return int(max(iteration + 1, min([*dues, iteration + _FAR])))


def _call(callbacks: Sequence[Callback], progress: Progress) -> bool:
    """Call all of them; whether one asks to stop."""
    answers = [callback(progress) for callback in callbacks]
    progress.losses = []
    return any(isinstance(answer, (bool, np.bool_)) and bool(answer) for answer in answers)


def early_stopping(metric: Callable[[], float], patience: int) -> Callback:
    """A callback that stops training when a metric has not become smaller for `patience` epochs in a row.

    Arguments:
        metric: called at the end of every epoch; less is better: a loss on data held back, or 1 − accuracy.
        patience: how many epochs in a row may pass without a new best, at least 1.

    >>> import tinyflux as flux
    >>> values = iter([0.5, 0.4, 0.4, 0.45, 0.1])
    >>> stop = flux.early_stopping(lambda: next(values), patience=2)
    >>> [stop(flux.Progress(None, None, epoch_ended=True)) for _ in range(4)]
    [False, False, False, True]
    """
    check_function("early_stopping", "metric", metric, "a function without arguments")
    check_call("early_stopping", "the metric", metric, "no argument", "")
    check_integer("early_stopping", "patience", patience, 1)
    best, failures = math.inf, 0

    def callback(progress: Progress) -> bool:
        nonlocal best, failures
        if not progress.epoch_ended:
            return False
        value = float(metric())
        failures = 0 if value < best else failures + 1
        best = min(best, value)
        return failures >= patience

    callback.due = lambda iteration: math.inf  # type: ignore[attr-defined]  # the end of an epoch is enough
    return callback


_FRAME = 0.05  # seconds


class _ProgressBar:
    def __init__(self, total: int | None) -> None:
        try:
            from tqdm import tqdm
        except ImportError as error:
            raise ImportError(f"progress_bar: expected tqdm, got none; {pip_install('examples')}") from error
        self._bar = tqdm(total=total, unit="it", disable=sys.stderr is None)
        self._start = time.perf_counter()

    def due(self, iteration: int) -> int:
        """So many iterations later as are made between two frames."""
        return iteration + int(iteration * _FRAME / (time.perf_counter() - self._start + _FRAME))

    def __call__(self, progress: Progress) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody can see it: no reason not to train
            self._draw(progress)

    def _draw(self, progress: Progress) -> None:
        if self._bar.total is None:
            self._bar.total = progress.total
        drawn = self._bar.update(len(progress.losses))  # True when it is time to draw
        if progress.epoch_ended:
            self._bar.set_postfix(epoch=progress.epoch, loss=f"{progress.loss:.4f}")
        elif drawn:
            self._bar.set_postfix(epoch=progress.epoch, loss=f"{progress.loss:.4f}", refresh=False)

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._bar.close()


def progress_bar(total: int | None = None) -> Callback:
    """A callback that shows a bar with the loss, on stderr (needs tqdm: the extra `examples`).

    Arguments:
        total: the number of updates that are to come, for the time left; by default what `train` tells, which is
            epochs * len(data) for data that has a length.

    Errors: TypeError for a total that is no integer, ValueError for a negative one; ImportError without tqdm.

    >>> import numpy as np, tinyflux as flux
    >>> model = flux.Dense(2, 1); opt = flux.setup(flux.Descent(), model); x = np.ones((8, 2), np.float32)
    >>> loss = lambda m, x: np.mean(m(x) ** 2)
    >>> losses = flux.train(loss, model, [x], opt, epochs=3, callbacks=[flux.progress_bar()])
    """
    if total is not None:
        check_integer("progress_bar", "total", total, 0)
    return _ProgressBar(total)
