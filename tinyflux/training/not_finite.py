"""What to say of a loss that is NaN or infinite: where it may come from."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import tree
from ..data.loader import is_plain_loader
from ..types import Array, Tree
from .checks import CheckedItems

AT_ONCE = 1 << 20  # numbers of the data that are looked at together, which may be larger than what memory is left


def item_at(data: Any, number: int) -> tuple[str, Tree]:
    """An item of a pass and its name, for `what_to_do`; all of the data where it is shuffled; nothing if it is gone."""
    if is_plain_loader(data):
        if data.shuffle:
            return "data", data.data
        first = number * data.batchsize
        return "item", tree.map(lambda x: x[first : first + data.batchsize], data.data)
    if isinstance(data, CheckedItems) and data.latest[0] == number:
        return "item", data.latest[1]
    return "", None


def what_to_do(model: Tree, name: str, data: Tree) -> str:
    """The advice for a loss that is NaN or infinite: parameters are, numbers of the data are, or neither.

    Arguments:
        name: what `data` is, such as "item"; "" where it isn't known any more.
    """
    places = [path or "its root" for path, x in tree.walk(model, buffers=False) if not bool(np.isfinite(x).all())]
    if places:
        rest = f" and {len(places) - 3} more places" if len(places) > 3 else ""
        return (
            f"Parameters are NaN or infinite already, at {', '.join(places[:3])}{rest}: an earlier update had a finite "
            "loss and a gradient that was not finite, or its step was too large. Look at the gradients before it, "
            "batch by batch, or take a smaller learning rate."
        )
    made = (
        "the model or the loss made it: 0/0, the logarithm of 0, or an overflow, as after steps that were too large. "
        "Take a smaller learning rate, or look for that operation."
    )
    try:
        place = _place_in(data)
    except TypeError:  # in something that holds arrays in a way of its own
        name = place = ""
    if not name:
        return f"The parameters are finite. Look for NaN in the data; if there is none, {made}"
    if place:
        return f"The parameters are finite. NaN or infinity is in the data: {name}{place}."
    return f"The parameters and the {name} are finite: {made}"


def _place_in(data: Tree) -> str:
    """Where the first number stands that is NaN or infinite, as what follows the name of the data; "" without one."""
    for i, part in enumerate(data if type(data) is tuple else (data,)):
        where = f"[{i}]" if type(data) is tuple else ""
        if isinstance(part, (float, np.floating)) and not np.isfinite(part):
            return where or f" {part}"
        for path, x in tree.walk(part):
            row = _bad_row(x) if x.dtype.kind in "fc" else None
            if row is not None:
                return f"{where}{path}{f', row {row}' if x.ndim else ''}" or " itself"
    return ""


def _bad_row(x: Array) -> int | None:
    """The first index of the first axis at which an array is not finite."""
    x = x if x.ndim else x.reshape(1)
    rows = max(1, AT_ONCE * len(x) // max(x.size, 1))
    for i in range(0, len(x), rows):
        finite = np.isfinite(x[i : i + rows])
        bad = ~finite.reshape(len(finite), -1).all(axis=1)
        if bool(bad.any()):
            return i + int(bad.argmax())
    return None
