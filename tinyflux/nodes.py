"""The nodes of a tree: what has children, where they stand, and a node like another with other children."""

from __future__ import annotations

import copy
import enum
import logging
import operator
import pathlib
import types
from collections import deque
from collections.abc import Iterator, MutableMapping
from functools import partial
from typing import Any

import numpy as np

from .arrays import is_array, is_array_type
from .types import Array, Tree

_HEAP_TYPE = 1 << 9  # CPython's flag of classes that a Python `class` statement made
LEAF, OPAQUE, SEQUENCE, MAPPING, OBJECT, CLOSED = range(6)
kinds: dict[type, int] = {np.ndarray: LEAF, types.FunctionType: OPAQUE, types.MethodType: OPAQUE}
slots_of: dict[type, tuple[str, ...]] = {}  # of the classes that have some
FLOATS = (float, np.floating)
NUMBERS = (int, float, complex, np.generic)
ONCE = (types.GeneratorType, map, filter, zip, enumerate, reversed)  # what they give can be had once
WHOLE = (types.ModuleType, logging.Logger, enum.Enum, pathlib.PurePath)  # objects that are never looked into
_VIEWS: tuple[type, ...] = (types.MappingProxyType, type({}.keys()), type({}.values()), type({}.items()))


def node_kind(cls: type) -> int:
    """What instances of `cls` are in a tree: leaves, a kind of node, or carried along unopened."""
    if cls in kinds:
        return kinds[cls]
    if is_array_type(cls):
        kind = LEAF
    elif issubclass(cls, (tuple, list, dict)):
        kind = MAPPING if issubclass(cls, dict) else SEQUENCE
        _note_slots(cls)
    elif issubclass(cls, (*WHOLE, partial, type, np.generic, np.ufunc)):
        kind = OPAQUE
    elif issubclass(cls, (set, frozenset, deque, *ONCE, *_VIEWS)):
        kind = CLOSED
    else:
        _check_buffers(cls)
        _note_slots(cls)
        written = cls.__flags__ & _HEAP_TYPE and (cls.__dictoffset__ or cls in slots_of)
        kind = OBJECT if written or cls is types.SimpleNamespace else OPAQUE
    return kinds.setdefault(cls, kind)


def _check_buffers(cls: type) -> None:
    """Refuse the string ("mean") where the tuple ("mean",) was meant: "a" and "me" are in it, too."""
    names = getattr(cls, "buffers", ())
    if isinstance(names, str):
        raise TypeError(
            f"{cls.__name__}: expected buffers to be a tuple of names, got the string {names!r}. Write buffers = "
            f"({names!r},), with a comma."
        )


def _note_slots(cls: type) -> None:
    slots = tuple(dict.fromkeys(_slot_names(cls)))
    if slots:
        slots_of[cls] = slots


def _slot_names(cls: type) -> Iterator[str]:
    for base in reversed(cls.__mro__):
        slots = vars(base).get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                private = name.startswith("__") and not name.endswith("__")
                yield f"_{base.__name__.lstrip('_')}{name}" if private else name


def carried_along(cls: type) -> type:
    """A decorator of a class whose objects are no nodes, whatever they hold."""
    kinds[cls] = OPAQUE
    return cls


def attributes(node: Tree) -> MutableMapping[str, Any]:
    """The attributes of an object, in slots or not, as a mapping that can be written to.

    Those of a list, a tuple or a dict of a class of one's own are settings, which copies keep; no array stands there.
    """
    return _Attributes(node) if type(node) in slots_of else getattr(node, "__dict__", {})


def is_subclassed(node: Tree) -> bool:
    """Whether a node is a list, a tuple or a dict of a class of one's own, which may have attributes."""
    return isinstance(node, (list, tuple, dict)) and type(node) not in (list, tuple, dict)


class _Attributes(MutableMapping[str, Any]):
    """The attributes of an object that has slots."""

    def __init__(self, node: Tree) -> None:
        self._node = node

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in slots_of[type(self._node)] if name in self)
        yield from getattr(self._node, "__dict__", ())

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self._node, name)
        except AttributeError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: Any) -> None:
        object.__setattr__(self._node, name, value)  # also of a frozen dataclass

    def __delitem__(self, name: str) -> None:
        object.__delattr__(self._node, name)


def children(node: Tree) -> list[tuple[str, Any]]:
    """The children of a node with the way to each as Python writes it: `.weight`, `[0]`, `['key']`."""
    kind = node_kind(type(node))
    if kind == SEQUENCE:
        return [(f"[{i}]", child) for i, child in enumerate(node)]
    if kind == MAPPING:
        return [(f"[{key!r}]", child) for key, child in node.items()]
    return [(f".{name}", child) for name, child in attributes(node).items()] if kind == OBJECT else []


def is_parameter(x: Array) -> bool:
    """Whether the array `x` can be differentiated: its dtype is real floating point."""
    kind: str = x.dtype.kind
    return kind == "f"


def arrays_in(tree: Tree, buffers: bool = True) -> Iterator[tuple[str, Array]]:
    """The arrays of a tree, each with its path; without buffers only its parameters."""
    if is_array(tree):
        if buffers or is_parameter(tree):
            yield "", tree
        return
    look_into(tree)
    skip = () if buffers else [f".{name}" for name in getattr(type(tree), "buffers", ())]
    for step, child in children(tree):
        if step not in skip:
            for path, array in arrays_in(child, buffers):
                yield step + path, array


class Closed(TypeError):
    """Something that can't be walked holds an array."""


def look_into(node: Tree) -> None:
    """Raise Closed for a node with arrays that can't be replaced: a set, a generator, a list with attributes."""
    kind = node_kind(type(node))
    if kind == CLOSED:
        inside = node.values() if isinstance(node, types.MappingProxyType) else node
        if isinstance(node, ONCE) or any(True for x in inside for _ in arrays_in(x)):
            raise Closed
    elif is_subclassed(node) and any(True for _ in arrays_in(dict(attributes(node)))):
        raise Closed


def refuse(tree: Tree) -> None:
    """Raise the error, with the place, for a tree with a node below itself or with arrays that can't be replaced.

    A walk that is too deep, or that meets such arrays, calls this in the end: looking for cycles on the way would cost.
    """
    todo: list[tuple[str, Any, tuple[int, ...]]] = [("", tree, ())]
    while todo:
        path, node, above = todo.pop()
        try:
            look_into(node)
        except (Closed, RecursionError):
            where = f"the attributes of the {type(node).__name__}" if children(node) else f"the {type(node).__name__}"
            raise TypeError(
                f"arrays in {where} at {path or 'the root'} would be neither trained nor saved: what stands there "
                "can't be walked. Keep them in a list, a tuple, a dict, or in attributes of an object."
            ) from None
        if id(node) in above:
            raise ValueError(
                f"a model must be a tree, but the {type(node).__name__} at {path} is a node that it stands in itself. "
                "Keep the reference out of the model's attributes, or hold it as weakref.ref(node)."
            )
        todo += [(path + step, child, (*above, id(node))) for step, child in children(node)]


def branches(node: Tree, path: str = "") -> Iterator[tuple[str, Any]]:
    """A node and all that stands below it, each with its path."""
    try:
        yield from _branches(node, path)
    except RecursionError:
        refuse(node)
        raise


def _branches(node: Tree, path: str) -> Iterator[tuple[str, Any]]:
    yield path, node
    for step, child in children(node):
        yield from _branches(child, path + step)


def misplaced_buffer(model: Tree, path: str = "") -> str:
    """What is wrong with the first buffer that holds a number, which is neither saved nor compiled; "" if none is."""
    for place, node in branches(model, path):
        for name in getattr(type(node), "buffers", ()) if node_kind(type(node)) == OBJECT else ():
            number = attributes(node).get(name)
            if isinstance(number, NUMBERS):
                return (
                    f"{place}.{name} is named in {type(node).__name__}.buffers, but holds the number {number!r} in the "
                    f"place of an array. Write into the array, layer.{name}[...] = {number!r}, or assign "
                    f"np.asarray({number!r})."
                )
    return ""


class Slopes(dict[str, Any]):
    """The attributes of an object in a gradient: it has a layer's class, but prints as the gradient that it is."""


def entries(node: Tree) -> tuple[Any, list[Any]]:
    """The container in which a node's children can be replaced (None for a tuple), and their keys, in order."""
    kind = node_kind(type(node))
    inside = attributes(node) if kind == OBJECT else node if isinstance(node, (list, dict)) else None
    return inside, list(range(len(node)) if kind == SEQUENCE else inside or ())


def rebuild(node: Tree, items: Any) -> Any:
    """A node like `node` with other children: a sequence's items, or a dict of keys or attributes."""
    cls: Any = type(node)
    if cls is tuple or cls is list:
        return cls(items)
    kind = kinds[cls] if cls in kinds else node_kind(cls)
    if kind == OBJECT:
        try:  # not its own __new__, which may ask for arguments, and may give what there is already
            new = object.__new__(cls)
        except TypeError:  # of a class on top of one in C
            new = cls.__new__(cls)
        if type(items) is not Slopes:
            attributes(new).update(items)
            return new
        if cls in slots_of:
            attributes(new).update(items)
            items = Slopes(getattr(new, "__dict__", {}))
        try:
            object.__setattr__(new, "__dict__", items)  # also of a frozen dataclass
        except AttributeError:  # there is none, or it can't be replaced, as that of a SimpleNamespace
            attributes(new).update(items)
        return new
    if cls is dict:
        return items
    if issubclass(cls, tuple):
        new = tuple.__new__(cls, items)
    else:
        new = copy.copy(node)  # a defaultdict's function, too
        new.update(items) if kind == MAPPING else operator.setitem(new, slice(None), items)
    attributes(new).update(attributes(node))
    return new
