"""train: the loop over a data set, and what can be hung into it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np

from ..arrays import on_gpu
from ..checks import check_flag
from ..data.loader import is_plain_loader
from ..errors import NonFiniteLoss
from ..optimise.checks import check_known, check_state, check_trainable
from ..optimise.scheduled import at_rest
from ..optimise.state import OptimiserState
from ..types import Loss, Tree
from .callbacks import Callback, EpochLines, Progress
from .checks import CheckedItems, check_training, checked_metrics
from .engines import Engine, choose_engines
from .history import History
from .modes import set_modes
from .not_finite import item_at, what_to_do


def train(
    loss: Loss,
    model: Tree,
    data: Iterable[Any],
    opt: OptimiserState,
    epochs: int = 1,
    callbacks: Sequence[Callback] = (),
    compile: bool | str = "auto",  # noqa: A002
    *,
    verbose: bool = False,
    validation: Any = None,
    metrics: Sequence[Callable[..., Any]] | Mapping[str, Callable[..., Any]] = (),
) -> History:
    """Train a model: for every item of the data a gradient of the loss and an update.

    The model's layers are set to the automatic mode: in training mode while a gradient is taken, and in inference
    when a callback looks at the model. Layers that are frozen, and were put into inference by `testmode`, stay in it;
    one without parameters, such as Dropout, counts as frozen if the layer before it is.

    Arguments:
        loss: called as `loss(model, *item)` for an item that is a tuple (as of DataLoader((x, y))), else as
            `loss(model, item)`; returns a scalar. It is evaluated before the update.
        model: the model; its arrays are changed in place.
        data: iterated over once an epoch.
        opt: what `setup(rule, model)` returned. Compiled programs are kept with it: the next training finds them.
        epochs: how many passes to make.
        callbacks: functions of a Progress, called after every update and at the end of every epoch; training stops
            when one returns True. A callback with a method `close` is closed in the end, whatever happens. See
            `early_stopping`, `progress_bar`, and below for a callback that need not be called after every update.
        compile: "auto" runs gradient and update as native code where that is possible, or the gradient alone, and
            reports once on stderr which path it takes; True raises an error unless both can be compiled; False keeps
            to plain NumPy. See **Compiling** below.
        verbose: whether to print a line for each epoch on stderr, with its mean loss and the validation's values. On a
            terminal and in a notebook there is a bar while the epoch lasts, if tqdm is installed.
        validation: data that is not trained with, of which loss and metrics are taken at the end of every epoch: arrays
            as for a DataLoader, such as (x, y), or a DataLoader or a list of items.
        metrics: functions of (scores, labels), such as `flux.accuracy`, or a dict of them, with the names they are to
            have. They are for validation items (x, labels), where the scores are model(x), or (*inputs, labels), such
            as (x, mask, labels), where they are model(*inputs).

    **Compiling** needs a C compiler, and a loss whose operations can all be compiled (see `compile_training`). The
    results are those of plain NumPy, up to roundings. For each kind of batch the loss is called twice, to be recorded
    (three times if the update can't be), and then no more: what it does besides calculating, such as printing, happens
    only then. (A smaller last batch is another kind.) Layers may change their own arrays if these keep shape and dtype,
    as those in a class's `buffers` do (see `is_training`). A layer that counts in a Python number, or whose buffer
    grows, can't be compiled; in plain NumPy it works as written. "auto" also keeps to NumPy where compiling would take
    longer than it saves, as for a Python loop over hundreds of steps: for more than 16,000 operations, or 2,000 in
    trainings of fewer than 300 updates. Write such a loop as `flux.scan`. Where only the update can't be compiled, as
    with a rule of your own that branches on a number, NumPy makes it from compiled gradients. For a model on the GPU
    the same holds, with CUDA kernels for C, and CuPy for NumPy.

    **Validation** doesn't disturb training: the updates are the same, bit for bit, with it and without. Layers are in
    inference mode; what they change nevertheless, and random generators, are put back. Arrays are taken in batches of
    up to 256 samples. The loss is the mean of the batches' losses, weighted by their numbers of samples. Metrics are
    computed once, from the scores of all batches together. It runs as native code where training does, unless there is
    too little to compute for that to pay. A warning tells of the first loss there that isn't finite.

    **Callbacks** cost time, as compiled training stops for each call of one. A callback may have a method
    `due(iteration)`, which is told how many updates were made, and returns the number after which the callback wants to
    be called next; `math.inf` stands for the end of the epoch. Until the least of these numbers training doesn't stop.
    Then all callbacks are called, those that are not yet due as well.

    On the GPU training doesn't wait for each loss. The kernels of an update look at the loss themselves, so that a loss
    that isn't finite stops the updates there as well; the host learns of it when a callback is due, or after a second.
    Where CuPy's operations make the update, as with a rule of your own, the host reads each loss first.

    Returns: a History: a list of the mean loss of each epoch. Its `validation` holds a list for each validation value.

    After an error, in the loss, the data or a callback, everything is as after the last whole update: parameters, the
    optimiser's state, and the state of layers.

    Errors: NonFiniteLoss, with the number of the item, for a loss that is NaN or infinite: its own update is not
    applied, those before it are; its `history` has the epochs before. ValueError for data without items, or an item
    without samples. TypeError for other arguments than these, and for a loss that returns further results. Under
    compile=True, NotCompilable with the name of what can't be compiled, CompilerNotFound without a compiler. A
    RuntimeWarning where schedules have come to 0 in the first of several epochs.

    >>> import numpy as np, tinyflux as flux
    >>> flux.seed(0)
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(-1, 1); y = 3 * x + 1
    >>> model = flux.Dense(1, 1); opt = flux.setup(flux.Descent(0.1), model)
    >>> data = flux.DataLoader((x, y), batchsize=16, shuffle=True)
    >>> history = flux.train(lambda m, x, y: flux.mse(m(x), y), model, data, opt, epochs=50)
    >>> model.weight.round(2).item(), model.bias.round(2).item()
    (3.0, 1.0)

    With validation:

    >>> held_back = x + 0.01, y + 0.03
    >>> more = flux.train(lambda m, x, y: flux.mse(m(x), y), model, data, opt, epochs=2, validation=held_back)
    >>> len(more), len(more.validation["loss"])
    (2, 2)
    """
    check_state("train", opt)
    check_training(loss, model, data, epochs, callbacks)
    check_trainable("train", model)
    check_known("train", opt, model)
    check_flag("train", "verbose", verbose)
    measure = _validation(loss, model, validation, checked_metrics(metrics, validation, callbacks), epochs)
    length = len(data) if isinstance(data, Sized) else None
    if verbose:
        callbacks = [*callbacks, EpochLines(epochs, length)]
    progress = Progress(model, opt, total=None if length is None else epochs * length)
    history = History()
    set_modes(model, opt)
    engines = choose_engines(loss, model, data, opt, compile, progress.total)
    made_by = engines[0]
    due = _due(callbacks, 0)
    budget = lambda: due - progress.iteration  # noqa: E731
    try:
        for progress.epoch in range(1, epochs + 1):
            total, count, stop = 0.0, 0, False
            items = data if is_plain_loader(data) else CheckedItems(loss, model, data)
            for losses in make_updates(engines, items, budget):
                made_by = engines[0]  # not in the end: it may have handed over to one that had nothing left to do
                failed = losses.pop() if not math.isfinite(losses[-1]) else None
                count += len(losses)
                total += sum(losses)
                _advance(progress, losses)
                if progress.iteration >= due or (failed is not None and progress.losses):
                    stop = _call(callbacks, progress)
                    due = _due(callbacks, progress.iteration)
                if failed is not None:
                    error = NonFiniteLoss(
                        f"train: the loss is {failed} at item {count} of epoch {progress.epoch}. That update was not "
                        f"applied. (Items count from 0, epochs from 1.) {what_to_do(model, *item_at(items, count))}"
                    )
                    error.history = history
                    raise error
                if stop:
                    break
            if not count:
                fix = "An iterator lasts for one pass: give a list, or a DataLoader." if progress.epoch > 1 else ""
                raise ValueError(f"train: the data gave no item in epoch {progress.epoch}. {fix}".rstrip())
            if measure is not None:
                there = on_gpu(opt._leaves[0].view)
                progress.validation = measure(native=not there and engines[0].compiles)
            history.add(total / count, progress.validation)
            progress.epoch_ended = True
            stop = _call(callbacks, progress) or stop
            progress.epoch_ended = False
            if stop:
                break
            if progress.epoch == 1 < epochs and at_rest(opt._leaves, count * (epochs - 1)):
                warnings.warn(_AT_REST.format(epochs - 1, count), RuntimeWarning, stacklevel=2)
    finally:
        engines[0].close()
        for callback in callbacks:
            if hasattr(callback, "close"):
                callback.close()
    history.engine = made_by.about
    return history


_AT_REST = (
    "train: the schedules of the learning rates have come to 0, and {} epochs are still to come, which will change "
    "nothing. Schedules count updates, not epochs: one epoch has {}. For all epochs write over=epochs * len(data)."
)


def _validation(loss: Loss, model: Tree, data: Any, metrics: Mapping[str, Callable[..., Any]], epochs: int) -> Any:
    """What evaluates the model on validation data, after a first try; None without any."""
    if data is None:
        return None
    from .validation import Validation  # and the compiler

    measure = Validation(loss, model, data, metrics, epochs)
    measure.try_out()
    return measure


def make_updates(engines: list[Engine], data: Any, budget: Callable[[], int]) -> Iterator[list[float]]:
    """One pass over the data: the first engine makes the updates until it can't go on, then the next is the first."""
    while data is not None:
        data = yield from engines[0].updates(data, budget)
        if data is not None:
            engines[0].close()
            engines.append(engines.pop(0))


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
