"""What a function takes from its surroundings: a program holds numbers and words as they were when it was recorded."""

from __future__ import annotations

import contextlib
import dis
import functools
import random
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..arrays import default_rng, is_array

CONSTANTS = (bool, int, float, complex, str, bytes, type(None), np.generic)
KNOWN = {"numpy", "scipy", "tinyflux", *sys.stdlib_module_names} - {"__main__"}  # their constants stay
_MAKING = ("__init__", "__new__", "__post_init__", "__init_subclass__", "__repr__")  # what no loss calls
MANY = 100  # items; of what holds more, changes go unnoticed
DEPTH = 3


class _Same:
    """An array, which equals itself alone; held, so that no other one can come to have its id."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.array is self.array

    def __hash__(self) -> int:
        return id(self.array)


class watched:
    """A function that tells what `f`, and the functions it calls, read from closures, objects and modules now.

    That is: numbers and words, also in lists, dicts and attributes that the functions name; and which arrays and
    functions stand there. What the arrays hold is no part of it, for programs read them anew.

    Arguments:
        f: the function: Python's, a method, a `partial`, or an object that can be called.
        others: more functions, or objects whose methods are called: layers, rules.

    >>> rate = 2
    >>> constants = watched(lambda x: rate * x)
    >>> before = constants(); rate = 3; before == constants()
    False
    """

    def __init__(self, f: Any, *others: Any) -> None:
        self._values: list[Any] = []  # objects whose attributes count
        cells: dict[int, types.CellType] = {}
        spaces: dict[tuple[int, str], tuple[dict[str, Any], str]] = {}
        self._names: set[str] = set()
        for function in self._functions([f, *others]):
            cells |= {id(cell): cell for cell in function.__closure__ or ()}
            for name in _named(function.__code__, _GLOBALS):
                if name in function.__globals__:
                    spaces[id(function.__globals__), name] = (function.__globals__, name)
        self._cells = list(cells.values())
        self._spaces = list(spaces.values())

    def __call__(self) -> tuple[Any, ...]:
        return tuple([self._content(x, DEPTH) for x in self._all()])

    def generators(self) -> Iterator[Any]:
        """Generators of random numbers that stand there."""
        for x in self._all():
            yield from _generators(x, DEPTH)

    def hold(self, wanted: set[int]) -> bool:
        """Whether one of some objects, by their ids, stands there; or an array that is a view of one."""

        def found(x: Any, depth: int) -> bool:
            return (
                id(x) in wanted
                or id(getattr(x, "base", None)) in wanted
                or (depth > 0 and any(found(value, depth - 1) for _, value in self._inside(x)))
            )

        return any(found(x, DEPTH) for x in self._all())

    def _all(self) -> list[Any]:
        return [space.get(name) for space, name in self._spaces] + _contents(self._cells) + self._values

    def _functions(self, roots: Sequence[Any]) -> Iterator[types.FunctionType]:
        """Python's functions that are called, as far as that can be seen, but for those of known packages."""
        todo = list(roots)
        seen: dict[int, Any] = {}
        methods: dict[str, list[Any]] = {}  # by name: they are called if somebody names them
        while todo or (todo := [x for name in methods.keys() & self._names for x in methods.pop(name)]):
            x = todo.pop()
            if id(x) in seen or (x is not roots[0] and _is_known(x)):
                continue
            seen[id(x)] = x
            if isinstance(x, functools.partial):
                self._values += [x.args, x.keywords]
                todo += [x.func, *x.args, *x.keywords.values()]
            elif isinstance(x, types.MethodType):
                self._values.append(x.__self__)
                todo += [x.__func__, x.__self__]
            elif isinstance(x, types.FunctionType):
                names = _named(x.__code__)
                self._names.update(names)
                yield x
                todo += [x.__globals__.get(name) for name in _named(x.__code__, _GLOBALS)]
                todo += [*_contents(x.__closure__ or ()), getattr(x, "__wrapped__", None)]
            elif isinstance(x, (staticmethod, classmethod)):
                todo.append(x.__func__)
            elif isinstance(x, property):
                todo.append(x.fget)
            elif isinstance(x, type):
                for name, value in [item for cls in x.__mro__ if not _is_known(cls) for item in vars(cls).items()]:
                    if name.startswith("__") and name not in _MAKING:
                        todo.append(value)
                    else:
                        methods.setdefault(name, []).append(value)
            elif not isinstance(x, (*CONSTANTS, types.ModuleType)):
                todo.append(type(x))
                if any(x is root for root in roots):
                    self._values.append(x)

    def _content(self, x: Any, depth: int) -> Any:
        """What can be compared later: of an array and a function, which one it is."""
        if isinstance(x, CONSTANTS):
            return type(x), x
        if is_array(x):
            return _Same(x)
        if isinstance(x, (types.FunctionType, types.MethodType, np.ufunc)):
            return x
        inside = self._inside(x) if depth else ()
        return (type(x), *[(name, self._content(value, depth - 1)) for name, value in inside]) if inside else None

    def _inside(self, x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return tuple(enumerate(x)) if len(x) <= MANY else ()
        if isinstance(x, dict):
            return tuple(x.items()) if len(x) <= MANY else ()
        if isinstance(x, types.ModuleType):
            return () if _is_known(x) else tuple([pair for pair in vars(x).items() if pair[0] in self._names])
        found: dict[str, Any] = {}
        for cls in reversed(x.__mro__ if isinstance(x, type) else type(x).__mro__):
            found |= {} if _is_known(cls) else vars(cls)
        found |= getattr(x, "__dict__", {})
        return tuple([(name, found[name]) for name in found.keys() & self._names])


@contextlib.contextmanager
def generators_kept(surroundings: watched, model: Any) -> Iterator[None]:
    """Set generators of random numbers back to where they were: Python's, NumPy's, tinyflux', and those in view."""
    found = {id(g): g for g in (default_rng(), *surroundings.generators(), *_generators(model, 2 * DEPTH))}
    before = [(g, g.bit_generator.state) for g in found.values()]
    numpys, pythons = np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        np.random.set_state(numpys)
        random.setstate(pythons)
        for generator, state in before:
            generator.bit_generator.state = state


def _generators(x: Any, depth: int) -> Iterator[Any]:
    if isinstance(x, np.random.Generator):
        yield x
    elif depth and not isinstance(x, (*CONSTANTS, np.ndarray, type, types.ModuleType, types.FunctionType)):
        inside = x if isinstance(x, (list, tuple)) else x if isinstance(x, dict) else getattr(x, "__dict__", {})
        for value in list(inside.values() if isinstance(inside, dict) else inside)[:MANY]:
            yield from _generators(value, depth - 1)


def _is_known(x: Any) -> bool:
    """Whether a function, class or module, or an object's class, comes from a package that stays as it is."""
    name = x.__name__ if isinstance(x, types.ModuleType) else getattr(x, "__module__", None)
    return isinstance(name, str) and name.split(".")[0] in KNOWN


def _contents(cells: Sequence[types.CellType]) -> list[Any]:
    """What stands in the cells of a closure, None where nothing does yet."""
    values: list[Any] = []
    for cell in cells:
        try:
            values.append(cell.cell_contents)
        except ValueError:
            values.append(None)
    return values


_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME")


def _named(code: types.CodeType, kinds: Sequence[str] = ()) -> list[str]:
    """The names in a function and in those defined in it: of globals and attributes, or those of some instructions."""
    inner = [name for c in code.co_consts if isinstance(c, types.CodeType) for name in _named(c, kinds)]
    return [*([i.argval for i in dis.get_instructions(code) if i.opname in kinds] if kinds else code.co_names), *inner]
