"""What can be hung into `train`: functions of a Progress."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..checkpoint import check_path, save
from ..checks import check_call, check_function, check_integer, shown
from ..display import careful
from ..installed import pip_install
from ..optimise.state import OptimiserState
from ..types import Tree
from .history import number
from .report import print_line, unseen


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
        validation: what validation gave at the end of an epoch, a dict of numbers by name: "loss", and those of the
            metrics. Where `epoch_ended` is True they are those of this epoch, else those of the epoch before. Empty
            until the first epoch has ended, and without validation data.

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
    validation: dict[str, float] = dataclasses.field(default_factory=dict)

    @careful
    def __repr__(self) -> str:
        of = "" if self.total is None else f" of {self.total:,}"
        where = f"epoch {self.epoch}{' ended' * self.epoch_ended}, iteration {self.iteration:,}{of}"
        validation = "".join(f", validation {name} {value:.4g}" for name, value in self.validation.items())
        return f"Progress({where}, loss {self.loss:.4g}{validation})"


Callback = Callable[[Progress], Any]


class Watching:
    """A callback that looks at a value at the end of every epoch, and knows the best one so far.

    Attributes:
        owner: the name of the function that made it.
        watches: the name of the validation value that it looks at; None where it calls a function.
    """

    def __init__(self, owner: str, metric: str | Callable[[], float], best: Callable[..., float] | None) -> None:
        if not isinstance(metric, str):
            check_function(owner, "metric", metric, "a function without arguments")
            check_call(owner, "the metric", metric, "no argument", "")
        if best is None and isinstance(metric, str) and metric != "loss":
            raise ValueError(f"{owner}: is more or less of {metric!r} better? Give best=max or best=min.")
        if best not in (None, min, max):
            raise ValueError(f"{owner}: expected best to be min or max, got {shown(best)}.")
        self.owner = owner
        self.watches = metric if isinstance(metric, str) else None
        self._metric, self._sign = metric, -1 if best is max else 1
        self._best, self._failures, self._epoch = math.inf, 0, 0

    def due(self, iteration: int) -> float:
        """The end of an epoch is enough."""
        return math.inf

    def failures(self, progress: Progress) -> int:
        """How many epochs in a row have brought no new best, now that one has ended."""
        if progress.epoch <= self._epoch:  # another training
            self._best, self._failures = math.inf, 0
        self._epoch = progress.epoch
        metric = self._metric
        value = self._sign * float(progress.validation[metric] if isinstance(metric, str) else metric())
        self._failures = 0 if value < self._best else self._failures + 1
        self._best = min(self._best, value)
        return self._failures


class EarlyStopping(Watching):
    """What `early_stopping` returns."""

    def __init__(self, metric: str | Callable[[], float], patience: int, best: Callable[..., float] | None) -> None:
        super().__init__("early_stopping", metric, best)
        check_integer(self.owner, "patience", patience, 1)
        self._patience = patience

    def __call__(self, progress: Progress) -> bool:
        return progress.epoch_ended and self.failures(progress) >= self._patience


def early_stopping(
    metric: str | Callable[[], float], patience: int, best: Callable[..., float] | None = None
) -> EarlyStopping:
    """A callback that stops training when a metric has not become better for `patience` epochs in a row.

    A second training with it begins anew. After training the model has the weights of the last epoch, not those of the
    best one, which `keep_best` keeps.

    Arguments:
        metric: the name of a value of `train`'s validation: "loss", or that of one of its metrics. Or a function
            without arguments, which is called at the end of every epoch.
        patience: how many epochs in a row may pass without a new best, at least 1.
        best: min if a smaller value is better, max if a larger one is, as for an accuracy. By default min for "loss"
            and for functions; any other name needs it.

    Errors: TypeError or ValueError for arguments of a wrong type or value; from `train`, before it begins, for a name
    that its validation doesn't have.

    >>> import numpy as np, tinyflux as flux
    >>> flux.seed(0)
    >>> x = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    >>> y = flux.onehotbatch(x[:, 0] > 0, [False, True])
    >>> model = flux.Dense(4, 2); opt = flux.setup(flux.Descent(10.0), model)
    >>> loss = lambda m, x, y: flux.logitcrossentropy(m(x), y)
    >>> stop = flux.early_stopping("accuracy", patience=3, best=max)
    >>> history = flux.train(loss, model, [(x[:80], y[:80])], opt, epochs=500, callbacks=[stop],
    ...     validation=(x[80:], y[80:]), metrics=[flux.accuracy])
    >>> len(history) < 500, history.validation["accuracy"][-4] == max(history.validation["accuracy"])
    (True, True)
    """
    return EarlyStopping(metric, patience, best)


class KeepBest(Watching):
    """What `keep_best` returns."""

    def __init__(
        self, path: str | os.PathLike[str], metric: str | Callable[[], float], best: Callable[..., float] | None
    ) -> None:
        super().__init__("keep_best", metric, best)
        check_path(self.owner, path)
        folder = Path(os.fsdecode(path)).parent
        if not folder.is_dir():
            raise FileNotFoundError(f"{self.owner}: there is no folder {folder}; make it before the training.")
        self._path = path

    def __call__(self, progress: Progress) -> None:
        if progress.epoch_ended and not self.failures(progress):
            save(self._path, progress.model)


def keep_best(
    path: str | os.PathLike[str], metric: str | Callable[[], float] = "loss", best: Callable[..., float] | None = None
) -> KeepBest:
    """A callback that saves the model, by `save`, after every epoch in which a metric has become the best so far.

    After training, `load` puts the best epoch's weights into the model. A second training with it begins anew, and its
    best epoch takes the place of the first one's. An epoch in which the metric is NaN is never the best.

    Arguments:
        path: the file, usually named `.npz`. It is replaced as a whole, each time.
        metric, best: as `early_stopping` takes them.

    Errors: TypeError or ValueError for arguments of a wrong type or value, FileNotFoundError for a folder that isn't
    there; from `train`, before it begins, for a name that its validation doesn't have; and those of `save`.

    >>> import tempfile, numpy as np, tinyflux as flux
    >>> x = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    >>> y = flux.onehotbatch(x[:, 0] > 0, [False, True])
    >>> model = flux.Dense(4, 2); opt = flux.setup(flux.Descent(10.0), model)
    >>> loss = lambda m, x, y: flux.logitcrossentropy(m(x), y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keep = flux.keep_best(f"{folder}/best.npz")
    ...     history = flux.train(loss, model, [(x[:80], y[:80])], opt, epochs=9, callbacks=[keep],
    ...         validation=(x[80:], y[80:]))
    ...     flux.load(f"{folder}/best.npz", model)
    >>> np.allclose(loss(model, x[80:], y[80:]), min(history.validation["loss"]))
    True
    """
    return KeepBest(path, metric, best)


FRAME = 0.05  # seconds


def next_frame(iteration: int, start: float) -> int:
    """So many iterations later as are made between two frames, if `iteration` of them were made since `start`."""
    return iteration + int(iteration * FRAME / (time.perf_counter() - start + FRAME))


class ProgressBar:
    """What `progress_bar` returns."""

    def __init__(self, total: int | None) -> None:
        try:
            from tqdm import tqdm
        except ImportError as error:
            raise ImportError(f"progress_bar: expected tqdm, got none; {pip_install('examples')}") from error
        self._bar = tqdm(total=total, unit="it", disable=sys.stderr is None)
        self._start = time.perf_counter()
        self._progress: Progress | None = None

    def due(self, iteration: int) -> int:
        return next_frame(iteration, self._start)

    @unseen()
    def __call__(self, progress: Progress) -> None:
        self._progress = progress
        if self._bar.total is None:
            self._bar.total = progress.total
        if not self._bar.n:  # the clock starts after the first update, to which compiling belongs
            self._start = time.perf_counter()
            self._bar.unpause()
            self._bar.initial = len(progress.losses)
        drawn = self._bar.update(len(progress.losses))  # True when it is time to draw
        if progress.epoch_ended:
            self._bar.set_postfix(epoch=progress.epoch, loss=f"{progress.loss:.4f}")
        elif drawn:
            self._bar.set_postfix(epoch=progress.epoch, loss=f"{progress.loss:.4f}", refresh=False)

    @unseen()
    def close(self) -> None:
        now, self._progress = self._progress, None
        if now is not None and now.total is not None and self._bar.n < now.total:
            self._bar.total = self._bar.n
            words = f"epoch={now.epoch}, loss={now.loss:.4f}, stopped before {now.total:,}"
            self._bar.set_postfix_str(words, refresh=False)
        self._bar.close()


def progress_bar(total: int | None = None) -> ProgressBar:
    """A callback that shows a bar for the whole training, with the loss, on stderr (needs tqdm: the extra `examples`).

    Its clock starts after the first update, so the time left leaves out what compiling takes. A training that ends
    early closes the bar with the words "stopped before" and the number of updates that were to come.

    `train(…, verbose=True)` shows a line for each epoch, and needs nothing.

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
    return ProgressBar(total)


class EpochLines:
    """What `train(…, verbose=True)` shows on stderr: a line for each epoch, and a bar while the epoch lasts.

    The bar is for those who can watch it, on a terminal or in a notebook, where tqdm is installed.

    Arguments:
        epochs: how many there will be.
        items: how many updates an epoch makes; None where that isn't known.
    """

    def __init__(self, epochs: int, items: int | None) -> None:
        self._epochs, self._items = epochs, items
        self._tqdm: Any = _tqdm() if _is_watched(sys.stderr) else None
        self._bar: Any = None
        self._sum, self._count = 0.0, 0
        self._start = self._begun = time.perf_counter()  # of the training, and of the epoch
        self._drawn = False

    def due(self, iteration: int) -> float:
        return math.inf if self._tqdm is None else next_frame(iteration, self._start)

    @unseen()
    def __call__(self, progress: Progress) -> None:
        self._sum += sum(progress.losses)
        self._count += len(progress.losses)
        title = f"epoch {progress.epoch:>{len(str(self._epochs))}}/{self._epochs}"
        loss = f"loss {number(self._sum / max(self._count, 1))}"
        if progress.epoch_ended:
            self.close()
            seconds = time.perf_counter() - self._begun
            if sys.stderr is not None:
                print_line(f"{title}: {loss}{_validated(progress.validation)}; {seconds:.1f} s")
            self._sum, self._count, self._begun = 0.0, 0, time.perf_counter()
        elif self._tqdm is not None:
            self._draw(title, loss, len(progress.losses))

    def _draw(self, title: str, loss: str, updates: int) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(loss, refresh=False)
            self._bar.update(updates)
            return
        if not self._drawn:  # the clock of frames starts after the first update, to which compiling belongs
            self._start, self._drawn = time.perf_counter(), True
        self._bar = self._tqdm(
            total=self._items, initial=updates, desc=title, unit="it", leave=False, dynamic_ncols=True, postfix=loss
        )

    @unseen()
    def close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()


def _validated(values: Mapping[str, float]) -> str:
    """What validation gave, as a part of a line."""
    return f"; validation: {', '.join([f'{name} {number(x)}' for name, x in values.items()])}" if values else ""


def _is_watched(stream: Any) -> bool:
    """Whether what is written there can be overwritten: a terminal, or a notebook's cell."""
    return stream is not None and (stream.isatty() or type(stream).__module__.startswith("ipykernel."))


def _tqdm() -> Any:
    """The class of bars, None where it isn't installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm
