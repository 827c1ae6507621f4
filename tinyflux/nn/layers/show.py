"""How models print: as the code that builds them, with the number of parameters beside each layer.

A gradient of a model has the model's classes, and prints alike, but with the norm of what is in each layer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import tree
from ...arrays import is_array
from ...autodiff.gradient import is_gradient
from ...autodiff.tape import plain

_COLUMN = 40  # where the notes begin, if the code leaves room


class Layer:
    """Gives a layer its repr. `_parts` is what its constructor is called with: layers as they are, the rest as text."""

    def _parts(self) -> list[Any]:
        raise NotImplementedError

    def __repr__(self) -> str:
        rows = list(_rows(self, "", "", _norm if is_gradient(self) else _count))
        width = max(_COLUMN, *(len(code) + 2 for code, _ in rows))
        return "\n".join(f"{code:{width}}{note}".rstrip() for code, note in rows)


def attributes(layer: Layer) -> list[str]:
    """The attributes of a layer that no constructor could have made, such as a gradient with None in it."""
    return [f"{name}={f'{x.dtype}{list(x.shape)}' if is_array(x) else as_code(x)}" for name, x in vars(layer).items()]


def _count(x: Any) -> str:
    count = tree.parameter_count(x)
    return f"# {count:,} parameter{'s' * (count != 1)}" if count else ""


def _norm(x: Any) -> str:
    """The Euclidean norm of all arrays of a gradient together."""
    arrays = [plain(a) for a in tree.parameters(x)]
    squares = [float(np.sum(np.square(a, dtype=np.float64))) for a in arrays]
    return f"# gradient of norm {math.sqrt(sum(squares)):.4g}" if arrays else ""


def _rows(x: Any, indent: str, comma: str, noted: Callable[[Any], str]) -> Iterator[tuple[str, str]]:
    """Lines of code, each with a note."""
    note = noted(x)
    parts = x._parts() if isinstance(x, Layer) else []
    if all(isinstance(part, str) for part in parts):
        yield f"{indent}{as_code(x)}{comma}", note
        return
    yield f"{indent}{type(x).__name__}(", ""
    for part in parts:
        yield from _rows(part, indent + "  ", ",", noted)
    yield f"{indent}){comma}", note and f"{note} in all"


def as_code(x: Any) -> str:
    """A function or a layer in one line, as code writes it."""
    if isinstance(x, str):
        return x
    if isinstance(x, Layer):
        return f"{type(x).__name__}({', '.join(as_code(part) for part in x._parts())})"
    if isinstance(x, functools.partial):
        options = [*map(repr, x.args), *(f"{name}={value!r}" for name, value in x.keywords.items())]
        return f"partial({', '.join([as_code(x.func), *options])})"
    if isinstance(x, np.ufunc) and x.__name__ == "expit":
        return "sigmoid"
    name = getattr(x, "__name__", None)
    if name is None:
        text = repr(x)
        name = f"{type(x).__name__}(...)" if type(x).__repr__ is object.__repr__ or "\n" in text else text
    return name
