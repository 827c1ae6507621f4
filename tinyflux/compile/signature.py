"""What a compiled program depends on besides the values of arrays, in the arguments of a function or in a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import nodes, tree
from ..arrays import MOVE, MixedDevices, on_gpu
from ..checks import shown, type_of
from ..errors import NotCompilable
from ..nn.cudnn import is_tf32_allowed
from ..types import Array, Tree


def signature(x: Tree, leaves: list[Array], others: list[Any], inside: bool = False) -> Any:
    """What a compiled program depends on besides the values of arrays; these are gathered in `leaves`.

    A number of Python's or NumPy's is a leaf as an argument of its own, and a constant inside a tree. `others` gathers
    what is for guards to look at: functions, classes of nodes, and constants other than numbers and words.
    """
    try:
        return _signature(x, leaves, others, inside)
    except RecursionError:
        nodes.refuse(x)
        raise


def _signature(x: Tree, leaves: list[Array], others: list[Any], inside: bool) -> Any:
    """`signature`; every batch of a training has one, so it avoids calls."""
    cls = type(x)
    kind = nodes.kinds.get(cls)
    if kind is None:
        kind = nodes.node_kind(cls)
    if kind == nodes.LEAF:
        leaves.append(x)
        return x.shape, x.dtype.str
    if not inside and isinstance(x, (float, np.generic)):
        leaves.append(x)
        return (x.shape, x.dtype.str) if isinstance(x, np.generic) else float
    if cls in _WORDS:
        return cls, x
    if cls is float:
        return x.hex()  # 0 is not −0, and NaN is NaN
    names: tuple[str, ...] = ()
    below: Any = ()
    if kind == nodes.OBJECT:
        space = x.__dict__ if cls not in nodes.slots_of else nodes.attributes(x)
        names, below = tuple(space), space.values()
    elif kind == nodes.SEQUENCE:
        below = tuple(x)
    elif kind == nodes.MAPPING:
        names, below = tuple(map(repr, x)), x.values()
    if not below:
        others.append(x)
        return len(others)
    if cls not in (tuple, list, dict):
        others.append(cls)
        if kind != nodes.OBJECT:
            settings = _settings(x)
            names, below = (*names, *[step for step, _ in settings]), [*below, *[value for _, value in settings]]
    return (cls, names, *[_signature(child, leaves, others, True) for child in below])


_WORDS = (bool, int, str, bytes, type(None))


def _settings(x: Tree) -> list[tuple[str, Any]]:
    """The attributes of a list, a tuple or a dict of a class of one's own."""
    return [(f".{name}", value) for name, value in nodes.attributes(x).items()] if nodes.is_subclassed(x) else []


def constants(x: Tree, path: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """What stands in a tree, place by place: (path, (what a compiled program depends on there, the node or leaf))."""
    below = tree.children(x) + _settings(x)
    others: list[Any] = []
    form = type(x) if below else signature(x, [], others, True)
    yield path, ((form, *map(id, others)), x)
    for step, child in below:
        yield from constants(child, path + step)


def first_change(before: dict[str, tuple[Any, Any]], after: dict[str, tuple[Any, Any]]) -> str:
    """What the first change between two of `constants` is, "" if there is none besides the values of arrays."""
    for path in {**before, **after}:
        (old, was), (new, now) = (found.get(path, (None, _NOTHING)) for found in (before, after))
        if old != new:
            return f"{path} changes from {_shown(was)} to {_shown(now)}"
    return ""


_NOTHING = object()


def _shown(x: Any) -> str:
    if tree.is_array(x):
        return f"an array of {x.dtype} of shape {x.shape}"
    return "nothing" if x is _NOTHING else shown(x)


def array_place(leaves: Sequence[Array]) -> tuple[Any, ...]:
    """What a program depends on where arrays among the arguments lie on the GPU; nothing if they are in NumPy.

    Errors: MixedDevices for some here and some there; NotCompilable for what is no array of these, and no number.
    """
    arrays = [x for x in leaves if not isinstance(x, (np.generic, float))]
    there = [x for x in arrays if on_gpu(x)]
    for x in arrays:
        if type(x) is not np.ndarray and not on_gpu(x):
            raise NotCompilable(f"{type_of(x)} can't be compiled; NumPy's own arrays can: np.array(x).")
    if there and len(there) < len(arrays):
        raise MixedDevices(f"a compiled function was called with arrays in NumPy and on the GPU. {MOVE}", arrays)
    return (there[0].device.id, is_tf32_allowed()) if there else ()
