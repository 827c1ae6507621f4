"""What `train` is given, looked at before anything is trained: an error says what to write instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..arrays import is_array
from ..checks import as_array, check_call, check_function, check_integer, is_foreign, shown
from ..data.loader import is_plain_loader
from ..types import Loss, Tree

_BATCHES = " Give [(x, y)] for one batch of all samples, or flux.DataLoader((x, y), batchsize=32)."


def check_training(loss: Loss, model: Tree, data: Any, epochs: Any, callbacks: Any) -> None:
    """Refuse arguments of `train` that can't be meant; TypeError or ValueError."""
    check_function("train", "loss", loss, "a function of the model and an item of the data")
    _check_data(data)
    check_integer("train", "epochs", epochs, 0)
    if not isinstance(callbacks, (list, tuple)):
        fix = " Write callbacks=[f]." if callable(callbacks) else ""
        raise TypeError(f"train: expected callbacks to be a list of functions, got {shown(callbacks)}.{fix}")
    for i, callback in enumerate(callbacks):
        check_function("train", f"callbacks[{i}]", callback, "a function of a Progress")
        check_call("train", f"callbacks[{i}]", callback, "a Progress", "", None)
    if is_plain_loader(data):
        _check_arguments(loss, model, data.data)


def checked_items(loss: Loss, model: Tree, data: Any) -> Iterator[Tree]:
    """The items of the data, each looked at before it is used."""
    for i, item in enumerate(data):
        parts = item if type(item) is tuple else (item,)
        arrays = [x for x in parts if is_array(x)]
        for x in parts:
            if is_foreign(x):
                raise TypeError(f"train: expected arrays in item {i} of the data, got {shown(x)}.{as_array(x)}")
        if arrays and not any(x.size for x in arrays):
            raise ValueError(f"train: item {i} of the data holds no samples: {', '.join(map(shown, arrays))}.")
        if i == 0:
            _check_arguments(loss, model, item)
        yield item


def _check_data(data: Any) -> None:
    """Refuse what isn't to be iterated over."""
    if isinstance(data, tuple) and data and all(is_array(x) or is_foreign(x) for x in data):
        raise TypeError(f"train: data is iterated over, but this tuple holds arrays, not batches.{_BATCHES}")
    iterable = hasattr(type(data), "__iter__") or hasattr(type(data), "__getitem__")
    if not iterable or isinstance(data, (str, bytes, dict)) or is_foreign(data):
        fix = as_array(data) if is_foreign(data) else _BATCHES
        raise TypeError(f"train: expected data to iterate over, got {shown(data)}.{fix}")


def _check_arguments(loss: Loss, model: Tree, item: Tree) -> None:
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
