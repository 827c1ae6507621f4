"""Numbers and words that a function takes from its surroundings: a program holds them as they were when recorded."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

CONSTANTS = (bool, int, float, complex, str, bytes, type(None))


def watched(f: Any) -> Callable[[], tuple[Any, ...]]:
    """A function that tells the constants that `f`, and the functions it calls, read from closures and modules now.

    >>> rate = 2
    >>> constants = watched(lambda x: rate * x)
    >>> before = constants(); rate = 3; before == constants()
    False
    """
    cells: list[types.CellType] = []
    names: list[tuple[dict[str, Any], str]] = []
    for function in _functions(f):
        cells += function.__closure__ or ()
        names += [(function.__globals__, name) for name in _global_names(function.__code__)]

    def constants() -> tuple[Any, ...]:
        values = [space.get(name) for space, name in names] + _contents(cells)
        return tuple([(type(x), x) for x in values if isinstance(x, CONSTANTS)])

    return constants


def _functions(f: Any) -> Iterator[types.FunctionType]:
    """The function, and those of Python's that it names, as far as they aren't NumPy's or tinyflux' own."""
    todo: list[Any] = [f]
    seen: set[types.FunctionType] = set()
    while todo:
        function = todo.pop()
        function = getattr(function, "__wrapped__", getattr(function, "__func__", function))
        if not isinstance(function, types.FunctionType) or function in seen:
            continue
        if seen and function.__module__.split(".")[0] in ("numpy", "scipy", "tinyflux"):
            continue
        seen.add(function)
        yield function
        todo += [function.__globals__.get(name) for name in _global_names(function.__code__)]
        todo += _contents(function.__closure__ or ())


def _contents(cells: Sequence[types.CellType]) -> list[Any]:
    """What stands in the cells of a closure, None where nothing does yet."""
    values: list[Any] = []
    for cell in cells:
        try:
            values.append(cell.cell_contents)
        except ValueError:
            values.append(None)
    return values


def _global_names(code: types.CodeType) -> list[str]:
    inner = [name for c in code.co_consts if isinstance(c, types.CodeType) for name in _global_names(c)]
    return [*code.co_names, *inner]
