"""Guards: what a function reads from its surroundings, and whether that is still the same.

A program is a function as it was when it was recorded. So all that the function can read is looked at, from itself
onwards: globals, closures, defaults, attributes by the names that occur in its code or in that of anything it can call,
the items of containers, arrays. This gives

*   a key, which is equal only if all is the same but for the arrays; numbers are compared by their bits;
*   the arrays, of which `Contents` keeps copies;
*   a list of places with the object found at each. While each holds the very same object nothing has changed, for
    whatever can change inside an object has places of its own. Checking that is all that a call costs.

What can change but can't be looked at (a generator, a file, a clock) is NotCompilable, by its name.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from functools import partial
from operator import call, is_
from typing import Any

from ...autodiff.operators import ArrayOperators
from ...nodes import arrays_in, kinds
from ...types import Array
from . import layouts
from .layouts import MISSING, format_path
from .walk import Walk


class Guards:
    """Looks at what functions read from their surroundings: called with them, it returns a `Snapshot`.

    >>> space = {"rate": 2}  # another module's names: those of tinyflux itself aren't looked at
    >>> f = eval("lambda x: rate * x", space)
    >>> guards = Guards()
    >>> before = guards(f).key; space["rate"] = 3; guards(f).key == before
    False

    Attributes:
        keys: those of all forms of surroundings that were seen, by what was found.
    """

    def __init__(self) -> None:
        self._names: frozenset[str] = frozenset()
        self._whole = self._trees = False
        self._last: Snapshot | None = None
        self.keys: dict[Any, int] = {}

    def __call__(self, *roots: Any) -> Snapshot:
        """The surroundings of functions, of objects that are called, and of classes whose methods are."""
        last = self._last
        if last is not None and last.is_of(roots) and last.holds():
            return last
        while True:
            walk = Walk(self._names, self._whole, self._trees)
            walk.run(roots)
            if (frozenset(walk.names), walk.whole, walk.trees) == (self._names, self._whole, self._trees):
                break
            self._names, self._whole, self._trees = frozenset(walk.names), walk.whole, walk.trees
        self._last = found = Snapshot(roots, walk, self.keys.setdefault(tuple(walk.tokens), len(self.keys)))
        return found


def _alike(x: Any, y: Any) -> bool:
    """Whether two roots are the same object, or functions of the same code that hold the same objects."""
    if x is y or type(x) is not types.FunctionType or type(y) is not types.FunctionType:
        return x is y
    if x.__code__ is not y.__code__ or x.__globals__ is not y.__globals__ or x.__dict__ or y.__dict__:
        return False
    if x.__kwdefaults__ or y.__kwdefaults__:
        return False
    try:
        held = [[*(f.__defaults__ or ()), *[cell.cell_contents for cell in f.__closure__ or ()]] for f in (x, y)]
    except ValueError:  # a cell that is empty
        return False
    return len(held[0]) == len(held[1]) and all(map(is_, *held))


def _put_back(read: Any, value: Any) -> None:
    """Let an attribute, a global name or the variable of a closure hold the value again that was read there."""
    now = layouts.content_of(read)
    if now is value or not isinstance(read, partial) or (value is MISSING and not _is_traced(now)):
        return
    owner, place = getattr(read.func, "__self__", None), read.args[0]
    if type(owner) is dict and isinstance(place, str):
        if value is MISSING:
            del owner[place]
        else:
            owner[place] = value
    elif isinstance(place, types.CellType):
        place.cell_contents = value
    elif isinstance(slot := getattr(place, "__self__", None), types.MemberDescriptorType):
        if value is MISSING:
            slot.__delete__(read.args[1])
        else:
            slot.__set__(read.args[1], value)


def _is_traced(value: Any) -> bool:
    return any(isinstance(x, ArrayOperators) for _, x in arrays_in(value))


def _refill(container: Any, held: Any) -> None:
    """Let a list, a set, a dict or a class hold again what it held.

    One that does stays untouched: somebody may iterate over it.
    """
    if isinstance(container, type):
        for name, value in held.items():
            if vars(container).get(name) is not value:
                setattr(container, name, value)
        return
    now, then = [[*x.keys(), *x.values()] if isinstance(x, dict) else list(x) for x in (container, held)]
    if len(now) == len(then) and all(map(is_, now, then)):
        return
    container.clear()
    fill = container.update if isinstance(container, (dict, set)) else container.extend
    fill(held)


class Snapshot:
    """Surroundings as they were at one time.

    Attributes:
        key: equal to that of another snapshot of the same `Guards` only if all is the same but the arrays.
        arrays: those that were found.
        generators: those of random numbers that were found, with their places.
        traced: where there is an array that a gradient or a recording goes through, or nothing.
    """

    def __init__(self, roots: Sequence[Any], walk: Walk, key: int) -> None:
        self.roots = roots
        self.key = key
        self.arrays = [x for x, _ in walk.arrays]
        self.generators = [(format_path(path), x) for x, path in walk.generators]
        self.traced = walk.traced
        self._walk = walk
        self._known = len(kinds)

    def is_of(self, roots: Sequence[Any]) -> bool:
        """Whether it was taken of these roots, or of roots that read the same."""
        same = len(roots) == len(self.roots)
        return same and (all(map(is_, roots, self.roots)) or all(map(_alike, roots, self.roots)))

    def holds(self) -> bool:
        """Whether the same objects are still at all places."""
        walk = self._walk
        if walk.trees and self._known != len(kinds):
            return False  # objects of another class have been nodes of a tree
        try:
            return all(map(is_, map(call, walk.reads), walk.values)) and all(
                [len(x) == len(items) and all(map(is_, x, items)) for x, items in walk.items]  # noqa: C419 (faster)
            )
        except (ValueError, RuntimeError):  # a cell that became empty, a dict that another thread changes
            return False

    def restore(self) -> None:
        """Put back what a recording has changed: a layer's buffer, or what a function keeps from call to call."""
        walk = self._walk
        for read, value in zip(walk.reads, walk.values):
            _put_back(read, value)
        for x, items in walk.items:
            if type(x) is dict:  # attributes
                for name in [name for name in x if name not in items and _is_traced(x[name])]:
                    del x[name]
        for container, held in walk.held:
            _refill(container, held)

    def has(self, wanted: set[int]) -> bool:
        """Whether one of some objects, by their ids, was found; or an array that is a view of one."""
        return not wanted.isdisjoint(self._walk.found) or any(
            id(getattr(x, "base", None)) in wanted for x in self.arrays
        )

    def difference(self, other: Snapshot) -> str:
        """Where another snapshot differs, as Python writes it."""
        one, two = self._walk, other._walk
        places = zip(one.tokens, two.tokens, one.paths)
        return format_path(next((path for a, b, path in places if a != b), (one.paths or [None])[-1]))

    def path(self, array: Array) -> str:
        return format_path(next((path for x, path in self._walk.arrays if x is array), None))
