"""How models print: as the code that builds them, with the number of parameters beside each layer.

A gradient of a model has the model's classes, and prints alike, but with the norm of what is in each layer.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterator
from inspect import Parameter, signature
from typing import Any, NamedTuple

import numpy as np

from ... import tree
from ...arrays import is_array, on_gpu
from ...autodiff.gradient import is_gradient
from ...autodiff.tape import plain
from ...display import Line, careful, careful_html, html_table, shares
from ...elsewhere import ABSENT, Absent, NamedArguments

_COLUMN = 40  # where the notes begin, if the code leaves room
_LONG = 300  # characters; what is longer is shown by its class
_MANY, _HEAD, _TAIL = 100, 40, 10  # parts of a layer: where there are more, so many are shown of its start and its end


class Layer(NamedArguments):
    """Gives a layer its repr. `_parts` is what its constructor is called with: layers as they are, the rest as text."""

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in ABSENT or hasattr(self, name)]

    def _parts(self) -> list[Any]:
        """The attributes that are called as the constructor's arguments, but for those that are its defaults."""
        parts: list[Any] = []
        for name, default, kind in _arguments(type(self)):  # type: ignore[arg-type]  # a type has a hash
            value = getattr(self, name)
            if default is Parameter.empty:
                parts += map(str, value if kind is Parameter.VAR_POSITIONAL else [value])
            elif value not in (None, default):  # in a gradient stands None
                named = kind is Parameter.KEYWORD_ONLY or name != "activation"
                parts.append(f"{name}=" * named + (as_code(value) if callable(value) else repr(value)))
        return parts

    @careful
    def __repr__(self) -> str:
        gradient = is_gradient(self)
        noted = _norm_note if gradient else _count_note
        rows = [(row, noted(row)) for row in _all_rows(self, gradient)]
        width = max(_COLUMN, *(len(row.code) + 2 for row, _ in rows))
        return "\n".join(f"{row.code:{width}}{note}".rstrip() for row, note in rows)

    @careful_html
    def _repr_html_(self) -> str:
        gradient = is_gradient(self)
        titles, form = (["gradient", "norm"], ".4g") if gradient else (["layer", "parameters"], ",")
        rows = _all_rows(self, gradient)
        lines = [
            Line([row.code, "" if row.amount is None else f"{row.amount:{form}}"], share, row.whole)
            for row, share in zip(rows, shares([None if row.whole else row.amount for row in rows]))
        ]
        return html_table(titles, "<>", lines)


for _name in ABSENT:
    setattr(Layer, _name, Absent(Layer, _name))


@functools.cache  # layers are named in every call
def _arguments(cls: type[Layer]) -> list[tuple[str, Any, Any]]:
    """The arguments of a layer's constructor, each with its default and its kind; of a user's subclass, its base's."""
    package = __name__.partition(".")[0]
    ours = next(base for base in cls.__mro__ if base.__module__.partition(".")[0] == package)
    return [(x.name, x.default, x.kind) for x in signature(ours).parameters.values()]


class _Row(NamedTuple):
    """A line of code, and the amount of what it builds; `whole` where that is the sum of the lines before."""

    code: str
    amount: Any
    whole: bool = False


def parts(layer: Layer) -> list[Any]:
    """What a layer's constructor is called with; of one that is half built, or holds odd things, its attributes."""
    try:
        return layer._parts()
    except Exception:
        return attributes(layer)


def attributes(layer: Layer) -> list[str]:
    """The attributes of a layer that no constructor could have made, such as a gradient with None in it."""
    return [f"{name}={_value(x)}" for name, x in vars(layer).items()]


def _value(x: Any) -> str:
    try:
        return f"{x.dtype}{list(x.shape)}" if is_array(x) else repr(x) if isinstance(x, str) else as_code(x)
    except Exception:
        return "..."


def _count(x: Any) -> int | None:
    """How many parameters there are, None for none."""
    try:
        return tree.parameter_count(x) or None
    except Exception:  # of arrays in a set, say, or of a node below itself
        return None


def _count_note(row: _Row) -> str:
    plural = "s" * (row.amount != 1)
    return f"# {row.amount:,} parameter{plural}{' in all' * row.whole}" if row.amount else ""


def norm(x: Any) -> float | None:
    """The Euclidean norm of all arrays of a gradient together; None where there is none, or values aren't known yet."""
    try:
        arrays = [plain(a) for a in tree.parameters(x)]
        if not arrays or not all(type(a) is np.ndarray or on_gpu(a) for a in arrays):
            return None
        return math.sqrt(sum(float(np.sum(np.square(a, dtype=np.float64))) for a in arrays))
    except Exception:
        return None


def _norm_note(row: _Row) -> str:
    return "" if row.amount is None else f"# gradient of norm {row.amount:.4g}{' in all' * row.whole}"


def _all_rows(layer: Layer, gradient: bool) -> list[_Row]:
    """Lines of code, each with the amount of what it builds."""
    return list(_rows(layer, "", "", norm if gradient else _count))


class _Open(threading.local):
    """What is being written at the moment, by id: dots stand in its place inside of itself."""

    def __init__(self) -> None:
        self.ids: set[int] = set()


_open = _Open()


def _rows(x: Any, indent: str, comma: str, measured: Callable[[Any], Any]) -> Iterator[_Row]:
    """Lines of code, each with an amount."""
    inside = parts(x) if isinstance(x, Layer) and id(x) not in _open.ids else []
    if all(isinstance(part, str) for part in inside):
        yield _Row(f"{indent}{as_code(x)}{comma}", None if id(x) in _open.ids else measured(x))
        return
    yield _Row(f"{indent}{type(x).__name__}(", None)
    _open.ids.add(id(x))
    try:
        many = len(inside) > _MANY
        for part in inside[:_HEAD] if many else inside:
            yield from _rows(part, indent + "  ", ",", measured)
        if many:
            yield _Row(f"{indent}  ...  # {len(inside) - _HEAD - _TAIL:,} more", None)
            for part in inside[-_TAIL:]:
                yield from _rows(part, indent + "  ", ",", measured)
    finally:
        _open.ids.discard(id(x))
    yield _Row(f"{indent}){comma}", measured(x), True)


def as_code(x: Any) -> str:
    """A function or a layer in one line, as code writes it."""
    if isinstance(x, str):
        return x
    if id(x) in _open.ids:
        return "..."
    _open.ids.add(id(x))
    try:
        return _as_code(x)
    except Exception:  # half-built layers, and what users' classes raise
        return f"{type(x).__name__}(...)"
    finally:
        _open.ids.discard(id(x))


def _as_code(x: Any) -> str:
    inside = parts(x) if isinstance(x, Layer) else x if isinstance(x, (list, tuple, dict)) else []
    if len(inside) > _MANY:
        return f"{type(x).__name__}(...)"
    if isinstance(x, Layer):
        return f"{type(x).__name__}({', '.join(map(as_code, inside))})"
    if isinstance(x, functools.partial):
        options = [*map(repr, x.args), *(f"{name}={value!r}" for name, value in x.keywords.items())]
        return f"partial({', '.join([as_code(x.func), *options])})"
    if isinstance(x, np.ufunc) and x.__name__ == "expit":
        return "sigmoid"
    name = getattr(x, "__name__", None)
    if isinstance(name, str):
        return name
    text = repr(x)
    own = getattr(type(x), "__repr__", None) is not object.__repr__
    return text if own and "\n" not in text and len(text) <= _LONG else f"{type(x).__name__}(...)"
