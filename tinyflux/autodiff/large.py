"""Large arrays are worked through in blocks of rows, on all cores.

Most functions treat every row (along the first axis) by itself: all elementwise ones, softmax, a Dense layer. What
such a function gives for many rows can be put together from blocks of rows: temporaries then stay in the cache, and
the blocks can be shared between threads, for NumPy lets go of the interpreter while it calculates. The same is true
of their pullbacks, except that the cotangent of an argument that all rows share (a weight, a bias) is the sum over
the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import cores
from ..types import Array
from .cotangents import unbroadcast

LARGE = 1 << 17  # elements; below this, blocks cost more than they save
BLOCK = 1 << 15  # elements of a block: with a few temporaries it stays in a core's cache


def is_plain(values: Sequence[Any]) -> bool:
    """Whether all arrays among `values` are NumPy's own, and so can be worked through here."""
    return all(type(x) is np.ndarray or isinstance(x, (int, float, np.generic)) for x in values)


def aligned(rows: Any, values: Sequence[Any], shape: tuple[int, ...]) -> list[int]:
    """The arguments with a row for each row of the result: those declared, or all where `rows` is True."""
    candidates = range(len(values)) if rows is True else rows
    whole = len(shape) if rows is True else 1  # elementwise functions broadcast: there only a full shape has all rows
    return [k for k in candidates if np.ndim(values[k]) >= whole and np.shape(values[k])[0] == shape[0]]


def forward(function: Callable[..., Any], rows: Any, values: Sequence[Any]) -> Any:
    """`function(*values)` in blocks of rows."""
    if rows is True:
        shape = np.broadcast_shapes(*[np.shape(x) for x in values])
        blocks = _blocks(shape)
    else:
        shape = np.shape(values[rows[0]])
        blocks = _blocks(shape, at_least=BLOCK // 64)  # what may be a matrix product wants more rows
    cut = aligned(rows, values, shape) if len(blocks) > 1 else []
    if not cut:
        return function(*values)
    cores.keep_memory()
    return cores.exclusively(lambda: _forward(function, values, cut, blocks))


def _forward(function: Callable[..., Any], values: Sequence[Any], cut: list[int], blocks: list[slice]) -> Any:
    first = function(*_pieces(values, cut, blocks[0]))
    if type(first) is not np.ndarray:  # it holds on to a box of an outer gradient, which has to see all of it
        return function(*values)
    y = np.empty((blocks[-1].stop, *first.shape[1:]), first.dtype)
    y[blocks[0]] = first
    is_ufunc = isinstance(function, np.ufunc)

    def work(some: Sequence[slice]) -> None:
        for block in some:
            pieces = _pieces(values, cut, block)
            if is_ufunc:
                function(*pieces, out=y[block])
            else:
                y[block] = function(*pieces)

    cores.share(work, blocks[1:])
    return y


def backward(rule: Any, k: int, g: Array, y: Array, values: Sequence[Any]) -> Any:
    """The cotangent of argument k by its pullback, in blocks of rows."""
    pullback = rule.pullbacks[k]
    blocks = _blocks(y.shape)
    cut = aligned(rule.rows, values, y.shape) if len(blocks) > 1 else []
    if not cut:
        return pullback(g, y, *values)
    if k in cut:
        return forward(pullback, [0, 1, *(i + 2 for i in cut)], (g, y, *values))
    shape = np.shape(values[k])

    def work(some: Sequence[slice]) -> Any:
        total: Any = 0
        for block in some:
            part = y[block]
            d = pullback(g[block], part, *_pieces(values, cut, block))
            total = total + unbroadcast(rule.name, k, d, shape, part.shape)
        return total

    return cores.exclusively(lambda: sum(cores.share(work, blocks)))


def _pieces(values: Sequence[Any], cut: list[int], block: slice) -> list[Any]:
    return [x[block] if k in cut else x for k, x in enumerate(values)]


def _blocks(shape: tuple[int, ...], at_least: int = 0) -> list[slice]:
    """The rows of an array of `shape` in blocks; none where there are no rows of several elements to speak of."""
    if len(shape) < 2:
        return []
    size = max(1, at_least, BLOCK // max(1, int(np.prod(shape[1:]))))
    return [slice(i, min(i + size, shape[0])) for i in range(0, shape[0], size)]
