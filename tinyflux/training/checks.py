"""What `train` is given, looked at before anything is trained: an error says what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import Any

from .. import tree
from ..arrays import is_array
from ..checks import as_array, check_call, check_function, check_integer, is_foreign, is_number, shown
from ..data.loader import is_plain_loader
from ..types import Loss, Tree
from .callbacks import Watching, progress_bar

_BATCHES = " Give [(x, y)] for one batch of all samples, or flux.DataLoader((x, y), batchsize=32)."


def check_training(loss: Loss, model: Tree, data: Any, epochs: Any, callbacks: Any) -> None:
    """Refuse arguments of `train` that can't be meant; TypeError or ValueError."""
    if isinstance(model, FunctionType) and tree.parameters(loss):
        raise TypeError(f"train: expected the loss first, got {shown(loss)}. Write flux.train(loss, model, data, opt).")
    check_function("train", "loss", loss, "a function of the model and an item of the data")
    _check_data(data)
    check_integer("train", "epochs", epochs, 0)
    if not isinstance(callbacks, (list, tuple)):
        fix = " Write callbacks=[f]." if callable(callbacks) else ""
        raise TypeError(f"train: expected callbacks to be a list of functions, got {shown(callbacks)}.{fix}")
    for i, callback in enumerate(callbacks):
        if callback is progress_bar:
            raise TypeError(
                f"train: expected callbacks[{i}] to be a bar, got the function that makes it. Give flux.progress_bar()."
            )
        check_function("train", f"callbacks[{i}]", callback, "a function of a Progress")
        check_call("train", f"callbacks[{i}]", callback, "a Progress", "", None)
    if is_plain_loader(data):
        check_arguments(loss, model, data.data)


def checked_metrics(metrics: Any, validation: Any, callbacks: Sequence[Any]) -> dict[str, Callable[..., Any]]:
    """The metrics by their names; validation data, metrics, and what callbacks want of them are looked at."""
    _check_validation(validation)
    if callable(metrics) or isinstance(metrics, str) or not isinstance(metrics, (list, tuple, dict)):
        fix = " Write metrics=[f]." if callable(metrics) else ""
        raise TypeError(f"train: expected metrics to be a list of functions, or a dict, got {shown(metrics)}.{fix}")
    if metrics and validation is None:
        raise ValueError("train: metrics are taken of validation data, but there is none. Give validation=(x, labels).")
    found: dict[str, Callable[..., Any]] = {}
    for i, metric in enumerate(metrics):
        name = metric if isinstance(metrics, dict) else getattr(metric, "__name__", "")
        f = metrics[metric] if isinstance(metrics, dict) else metric
        check_function("train", f"metrics[{i if metric is f else repr(name)}]", f, "a function of scores and labels")
        if not isinstance(name, str) or not name or name == "<lambda>" or name == "loss" or name in found:
            fix = 'Give a dict: metrics={"top 3": lambda scores, labels: …}.'
            raise ValueError(f"train: expected metrics of different names, and none 'loss', got {name!r}. {fix}")
        check_call("train", f"the metric {name!r}", f, "scores and labels", "", None, None)
        found[name] = f
    _check_watched(callbacks, [] if validation is None else ["loss", *found])
    return found


def _check_validation(validation: Any) -> None:
    if isinstance(validation, Iterator):
        raise TypeError(
            f"train: expected validation data that can be gone through after every epoch, got {shown(validation)}, "
            "which lasts for one pass. Give arrays, (x, y), a DataLoader, or a list of items."
        )
    if is_number(validation):
        raise TypeError(
            f"train: expected validation to be data such as (x, y), got {shown(validation)}. Split the arrays "
            "yourself: validation=(x[-n:], y[-n:])."
        )


def _check_watched(callbacks: Sequence[Any], names: list[str]) -> None:
    """Refuse a callback that looks at a validation value which there won't be."""
    for callback in callbacks:
        name = callback.watches if isinstance(callback, Watching) else None
        if name is not None and name not in names:
            got = f"only {', '.join(map(repr, names))}" if names else "no validation data"
            fix = " Add it to metrics." if names else " Give validation=(x, y)."
            raise ValueError(
                f"train: {callback.owner} looks at the validation value {name!r}, but there is {got}.{fix}"
            )


class CheckedItems:
    """The items of the data, each looked at before it is used.

    Attributes:
        latest: the number of the latest item, and the item.
    """

    def __init__(self, loss: Loss, model: Tree, data: Any) -> None:
        self._loss, self._model, self._data = loss, model, data
        self.latest: tuple[int, Tree] = -1, None

    def __iter__(self) -> Iterator[Tree]:
        for i, item in enumerate(self._data):
            parts = item if type(item) is tuple else (item,)
            arrays = [x for x in parts if is_array(x)]
            for x in parts:
                if is_foreign(x):
                    raise TypeError(f"train: expected arrays in item {i} of the data, got {shown(x)}.{as_array(x)}")
            if arrays and not any(x.size for x in arrays):
                raise ValueError(f"train: item {i} of the data holds no samples: {', '.join(map(shown, arrays))}.")
            if i == 0:
                check_arguments(self._loss, self._model, item)
            self.latest = i, item
            yield item


def _check_data(data: Any) -> None:
    """Refuse what isn't to be iterated over."""
    if isinstance(data, tuple) and data and all(is_array(x) or is_foreign(x) for x in data):
        raise TypeError(f"train: data is iterated over, but this tuple holds arrays, not batches.{_BATCHES}")
    iterable = hasattr(type(data), "__iter__") or hasattr(type(data), "__getitem__")
    if not iterable or isinstance(data, (str, bytes, dict)) or is_foreign(data):
        fix = as_array(data) if is_foreign(data) else _BATCHES
        raise TypeError(f"train: expected data to iterate over, got {shown(data)}.{fix}")


def check_arguments(loss: Loss, model: Tree, item: Tree) -> None:
    """Refuse items that the loss can't take."""
    parts = item if type(item) is tuple else (item,)
    if type(item) is tuple:
        fix = " It is called as loss(model, *item)."
    elif isinstance(item, list):
        fix = " Make the item a tuple, whose parts become the arguments."
    elif isinstance(item, dict):
        fix = " An item that is a dict is one argument: loss(model, batch)."
    else:
        fix = f" Data is iterated over.{_BATCHES}"
    check_call("train", "the loss", loss, f"the model and {', '.join(map(shown, parts))}", fix, model, *parts)
