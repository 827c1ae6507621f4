"""The state of layers: what a function puts into its arguments while its gradient is taken, and the layers keep."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator, MutableMapping
from typing import Any

import numpy as np

from .. import tree
from ..arrays import is_array
from ..interrupts import commit
from ..types import Tree
from .tape import Tape, Tracked

Undo = list[tuple[Any, ...]] | None  # calls for `interrupts.commit` that put things back
_ABSENT = object()


def keep_state(stateful: tree.Stateful, tape: Tape, undo: Undo) -> str:
    """Give layers what f has put into their copies in the model of boxes, except what is differentiated.

    Returns: an error message where several copies of one layer were given something, or a list another length; else "".
    """
    changed: set[tuple[int, Any]] = set()
    refused = ""
    for node, inside, own, before in stateful:
        if isinstance(own, list):
            if len(own) == len(before) and all(map(operator.is_, own, before)):
                continue
            if own is not inside and len(own) != len(before):
                refused = refused or _LENGTH.format(len(own), len(before))
                continue
            own_items, old_items = dict(enumerate(own)), dict(enumerate(before))
        elif own.keys() == before.keys() and all(map(operator.is_, own.values(), before.values())):
            continue
        else:
            own_items, old_items = own, before
        buffers = getattr(type(node), "buffers", ())
        if own is inside and not buffers:
            if _holds_boxes(list(own_items.values()), tape):
                own.clear()
                tree.filler(own)(before)
                refused = refused or _CALCULATED.format(type(node).__name__)
            continue
        for name in {**old_items, **own_items}:
            now, old = own_items.get(name, _ABSENT), old_items.get(name, _ABSENT)
            if now is old or (name not in buffers and (own is inside or _holds_boxes([now, old], tape))):
                continue
            again = (id(node), name) in changed and own is not inside
            counts = isinstance(old, (int, float))  # both copies come to 1 where there should be a 2
            there = inside.get(name, _ABSENT) if own is own_items else inside[name]
            if again and (counts or not tree.same(now, there)):
                refused = refused or _SEVERAL.format(type(node).__name__, name if own is own_items else f"item {name}")
            value = opened(now, tape)
            if isinstance(value, np.generic) and is_array(old):
                value = np.asarray(value)  # of an array without axes NumPy makes a number
            if undo is not None and own is not inside and (id(node), name) not in changed:
                undo.append(_setting(inside, name, there))
            for attributes in (own, inside):
                function, *args = _setting(attributes, name, value)
                function(*args)
            changed.add((id(node), name))
    return refused


_SEVERAL = (
    "a {} stands in several places of the model, and its {} would become several. Make a layer for each place, "
    "with the same parameters if they are to share them (b.weight = a.weight), or one without parameters."
)
_LENGTH = (
    "the function makes {} items of a list of {} that holds parameters. Put layers and arrays into a model outside of "
    "the function, and call setup again."
)
_CALCULATED = (
    "the function puts what it has calculated into a {} of its argument; it was put back. Return it beside the loss: "
    "flux.withgradient takes a function that returns (loss, more). An array that a layer replaces is state: name it in "
    'its class, as in buffers = ("mean",); help(flux.is_training) has an example.'
)


@contextlib.contextmanager
def unchanged(model: Tree) -> Iterator[None]:
    """In the end all objects, dicts and lists of a tree hold what they held before, and its buffers their numbers."""
    _, stateful = tree.map_differentiated(lambda x: x, model)
    named = [inside.get(name) for node, inside, _, _ in stateful for name in getattr(type(node), "buffers", ())]
    copies = [(x, x.copy()) for x in named if is_array(x)]
    try:
        yield
    finally:
        for _, inside, _, before in stateful:
            then = dict(enumerate(before)) if isinstance(before, list) else before
            if len(inside) != len(before) or (then is before and inside.keys() != before.keys()):
                commit([(inside.clear,), (tree.filler(inside), before)])
            for key, value in then.items():
                if inside[key] is not value:
                    inside[key] = value
        for x, values in copies:
            x[...] = values


def opened(y: Any, tape: Tape) -> Any:
    """The result of f without this tape's boxes."""
    if type(y) is Tracked:
        return y.value if y.tape is tape else y
    if isinstance(y, (tuple, list, dict)):
        return tree.map(lambda x: opened(x, tape) if type(x) is Tracked else x, y)
    return y


def _setting(attributes: MutableMapping[Any, Any] | list[Any], name: Any, value: Any) -> tuple[Any, ...]:
    return (attributes.pop, name, None) if value is _ABSENT else (operator.setitem, attributes, name, value)


def _holds_boxes(x: Any, tape: Tape) -> bool:
    return any(type(leaf) is Tracked and leaf.tape is tape for leaf in tree.leaves(x))
