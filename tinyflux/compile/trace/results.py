"""What a compiled function returns: as the function returned it while it was recorded, with new arrays in it."""

from __future__ import annotations

import collections
import copy
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import nodes, tree
from ...autodiff.operators import ArrayOperators
from ...errors import NotCompilable

_KEPT = (
    bool, int, float, complex, str, bytes, type(None), type(...), np.generic, np.dtype, np.ufunc, range, slice, type,
    types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type(np.sum),
)  # fmt: skip
_COPIED = (set, frozenset, collections.deque, bytearray)


def with_results(x: Any, calculated: Iterator[Any]) -> Any:
    """A result with the arrays that were calculated in their places, and all else that could be changed copied."""
    if isinstance(x, ArrayOperators):
        return next(calculated)
    if isinstance(x, np.ndarray):
        return x.copy()
    if isinstance(x, _KEPT):
        return x
    kind = nodes.node_kind(type(x))
    if kind in (nodes.OPAQUE, nodes.CLOSED):
        return copy.copy(x)
    items = [with_results(child, calculated) for _, child in tree.children(x)]
    names = x if kind == nodes.MAPPING else nodes.attributes(x) if kind == nodes.OBJECT else ()
    return nodes.rebuild(x, items if kind == nodes.SEQUENCE else dict(zip(names, items)))


def check_result(x: Any) -> None:
    """NotCompilable for what can't be given anew in every call: an iterator, say."""
    if isinstance(x, (ArrayOperators, np.ndarray, *_KEPT)):
        return
    if nodes.node_kind(type(x)) in (nodes.OPAQUE, nodes.CLOSED) and not isinstance(x, _COPIED):
        raise NotCompilable(f"a {type(x).__name__} in what a function returns can't be compiled. Return arrays.")
    if isinstance(x, _COPIED):
        for child in x:
            if not isinstance(child, _KEPT):
                kind = type(x).__name__
                raise NotCompilable(f"a {type(child).__name__} in a {kind} can't be compiled. Return it in a list.")
    for _, child in tree.children(x):
        check_result(child)
