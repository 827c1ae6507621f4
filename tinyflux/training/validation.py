"""Validation: loss and metrics of data that isn't trained with, at the end of each epoch; training isn't disturbed."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import tree
from ..arrays import MOVE, MixedDevices, differ, is_array
from ..autodiff.state import unchanged
from ..checks import check_call, is_value, shown
from ..compile import compile as compiled
from ..compile.ir.program import Recording, reachable
from ..compile.trace.symbolic import node_of, symbolic_input
from ..data import DataLoader
from ..data.loader import generators_kept, is_plain_loader
from ..errors import CompilationFailed, CompilerNotFound, NotCompilable
from ..nn.layers.modes import switches
from ..types import Array, Loss, Tree
from .checks import check_arguments
from .not_finite import what_to_do
from .report import reason, report_once

BATCH = 256  # samples at once, where no DataLoader says how many

# So many elements, of all epochs, are worth a program, which takes the C compiler one to three seconds. NumPy takes
# 0.03 to 0.7 ns for one, the least where all are products of matrices. It is no time that decides: with the same
# arguments, the numbers are the same to the last bit.
PAYS_FROM = 5e9

SCORES = " For the metrics it is called as model(*inputs): all parts of an item but the last, which are the labels."

Metrics = Mapping[str, Callable[..., Any]]


class Validation:
    """Evaluates loss and metrics of a model, in inference mode.

    Arguments:
        loss: called as in training.
        model: the model that is trained.
        data: a DataLoader, items to iterate over, or arrays.
        metrics: functions of (scores, labels) by name.
        epochs: how often it will be evaluated.
    """

    def __init__(self, loss: Loss, model: Tree, data: Any, metrics: Metrics, epochs: int) -> None:
        self._loss, self._model, self._metrics, self._epochs = loss, model, metrics, epochs
        self._items = data if isinstance(data, (DataLoader, list)) else in_batches(data)

        def evaluate(model: Tree, *item: Any) -> list[Any]:
            return [loss(model, *item), model(*item[:-1])] if metrics else [loss(model, *item)]

        self._evaluate = evaluate
        self._compiled: Any = compiled(evaluate)
        self._shapes: Any = None  # of the items for which there is a program
        self._warned = False  # of a loss that isn't finite

    def try_out(self) -> None:
        """Evaluate the first batch, so that a mistake shows itself before the training."""
        item: Any = None
        try:
            with self._undisturbed():
                for item in self._items:
                    self._check(item)
                    self._values([item], False)
                    return
            raise ValueError("train: the validation data gave no item.")
        except Exception as error:
            if differ([*tree.leaves(self._model), *tree.leaves(item)]) and not isinstance(error, MixedDevices):
                raise MixedDevices(f"train: validation data and model lie on different devices. {MOVE}") from error
            error.add_note("This happened when train tried the first batch of the validation data, before it began.")
            raise

    def _check(self, item: Any) -> None:
        check_arguments(self._loss, self._model, item)
        if not self._metrics:
            return
        if type(item) is not tuple or len(item) < 2:
            raise TypeError(
                f"train: expected validation items (x, labels) for the metrics, got {shown(item)}. Several inputs come "
                "before the labels: (*inputs, labels)."
            )
        check_call("train", "the model", self._model, ", ".join(map(shown, item[:-1])), SCORES, *item[:-1])

    def __call__(self, native: bool) -> dict[str, float]:
        """The loss, and the metrics, by name.

        Arguments:
            native: whether to evaluate by native code where that can be done.
        """
        with self._undisturbed():
            values = self._values(self._items, native)
        if not (math.isfinite(values["loss"]) or self._warned):
            self._warned = True
            data, known = self._items, True
            if isinstance(data, DataLoader):
                data, known = data.data, is_plain_loader(data)  # a transform may make NaN of finite data
            advice = what_to_do(self._model, "validation data" if known else "", data)
            fault = f"train: the validation loss is {values['loss']}, and no epoch like this counts as the best one."
            warnings.warn(f"{fault} {advice}", RuntimeWarning, stacklevel=3)  # of who called train
        return values

    def _values(self, items: Any, native: bool) -> dict[str, float]:
        total, samples = 0.0, 0
        found: list[tuple[Array, Array]] = []
        for item in items:
            parts = item if type(item) is tuple else (item,)
            value, *scores = self._evaluated(parts, native)
            weight = next((len(x) for x in tree.leaves(parts) if x.ndim), 1)
            total += weight * float(value)
            samples += weight
            if scores:
                found.append((_checked_scores(scores[0]), parts[-1]))
        values = {"loss": total / samples}
        if found:
            whole = [np.concatenate(xs) if len(xs) > 1 else xs[0] for xs in zip(*found)]
            values |= {name: _number(name, metric(*whole)) for name, metric in self._metrics.items()}
        return values

    def _evaluated(self, parts: tuple[Any, ...], native: bool) -> list[Any]:
        """The loss of a batch, and the scores if there are metrics. Batches of one shape share a program."""
        if native and self._compiled is not None:
            shapes = [x.shape for x in tree.leaves(parts)]
            if self._shapes is None:
                self._shapes = shapes
                if self._epochs * len(self._items) * self._work(parts) < PAYS_FROM:
                    self._compiled = None
            if self._compiled is not None and shapes == self._shapes:
                try:
                    return list(self._compiled(self._model, *parts))
                except (NotCompilable, CompilerNotFound, CompilationFailed) as error:
                    self._compiled = None
                    report_once(f"tinyflux: validation runs as plain NumPy: {reason(error)}")
        return self._evaluate(self._model, *parts)

    def _work(self, parts: tuple[Any, ...]) -> float:
        """How many elements are calculated for a batch, each product of a matrix product counted; no end in a loop."""
        try:
            with Recording():
                results = self._evaluate(*(tree.map(symbolic_input, x) for x in (self._model, *parts)))
                nodes = reachable(map(node_of, results))
        except Exception:  # which the compiler will have words for
            return math.inf
        sizes = [node.size for node in nodes if node.op != "view" and not node.in_memory]
        return math.inf if any(node.op == "loop" for node in nodes) else sum(sizes)

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """All layers in inference mode; afterwards these and the generators of random numbers are as they were."""
        with generators_kept(self._items), unchanged(self._model):
            for inside in switches(self._model):
                inside["active"] = False
            yield


def in_batches(data: Any) -> DataLoader[Any]:
    """Arrays in batches of at most BATCH samples, as even as can be: all but the last one share a program."""
    try:
        samples = DataLoader(data).taken
        count = -(-samples // BATCH)
        return DataLoader(data, -(-samples // count))
    except (TypeError, ValueError) as error:
        raise type(error)(f"train: validation: {error}") from None


def _checked_scores(scores: Any) -> Array:
    if not is_array(scores) or not scores.shape:
        raise TypeError(f"train: expected the model to return an array of scores for the metrics, got {shown(scores)}.")
    return scores


def _number(name: str, value: Any) -> float:
    if not is_value(value) or getattr(value, "shape", ()) != ():
        raise TypeError(f"train: expected the metric {name!r} to return a number, got {shown(value)}.")
    return float(value)
