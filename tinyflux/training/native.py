"""What `train` needs of the compiler: compiled updates over a data set, or a word on why there are none."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .. import tree
from ..compile.backends.c.build import find_compiler
from ..compile.backends.c.library import contiguous
from ..compile.trace import programs
from ..data import DataLoader
from ..errors import CompilationFailed, CompilerNotFound, NotCompilable
from ..optimise.state import OptimiserState
from .compiled import TrainingStep


class Trainer:
    """`train`'s way to the compiled step: it makes updates until it meets what it can't compile.

    Arguments:
        required: raise where something can't be compiled; otherwise say so once, and leave it to the plain path.

    Attributes:
        given_up: whether the rest is left to the plain path.
        left: the batches of the pass over a DataLoader that are left to it.
    """

    def __init__(self, loss: Callable[..., Any], model: Any, opt: OptimiserState, required: bool) -> None:
        self._step = TrainingStep(loss, model, opt, 1)
        self._required = required
        self.given_up = False
        self._why_not = ""
        self.left: Iterable[Any] = ()

    def losses(self, data: Any, pause: Callable[[], int]) -> Iterator[list[float]]:
        """Make the updates of one pass over a DataLoader, or that for one batch; yields their losses, some at a time.

        Arguments:
            pause: tells how many updates may be made until somebody wants to look.
        """
        self.left = data if isinstance(data, DataLoader) else ()
        if not all(self._prepared(batch, order) for batch, order in _kinds_of_batches(data)):
            return
        say_once(
            f"tinyflux: training runs as native code, by {find_compiler().command[0]}; compile=False is the plain path."
        )
        self.left = ()
        stretches = _stretches(data)
        for i, (batch, order) in enumerate(stretches):
            if order is None:
                yield self._step.iterate(batch, None).tolist()
                continue
            at = 0
            while at < len(order):
                variant = self._prepared(batch, order)
                if variant is None:
                    rows = [*order[at:], *[row for _, more in stretches[i + 1 :] for row in more]]
                    self.left = (tree.map(lambda x: x[row], data.data) for row in rows)  # noqa: B023
                    return
                losses = self._step.iterate(*_readable(batch, order[at : at + pause()]), variant).tolist()
                at += len(losses)
                yield losses

    def _prepared(self, batch: Any, order: Any) -> Any:
        """The program for such batches, or None: then the rest is left to the plain path."""
        try:
            variant = self._step.variant(batch, order)
            made = self._step._programs.made
            if not self._required and made > programs.MAX_PROGRAMS:
                changing = "shapes, settings or constants of the loss change again and again"
                raise NotCompilable(f"{changing}; {made} programs were compiled.")
        except Exception as error:
            if self._required:
                raise
            self.given_up = True
            self._why_not = f"tinyflux: training runs as plain NumPy: {reason(error)}"
            return None
        return variant

    def say_why_not(self) -> None:
        """Say why there is no compiled code: once an update has been made, for a mistake in the loss shows as it is."""
        if self._why_not:
            say_once(self._why_not)
            self._why_not = ""


def reason(error: Exception) -> str:
    """What kept a training from being compiled."""
    expected = isinstance(error, (NotCompilable, CompilerNotFound, CompilationFailed))
    return str(error) if expected else f"{type(error).__name__}: {error}"


def _kinds_of_batches(data: Any) -> list[tuple[Any, Any]]:
    """Like `_stretches`, with an order of no batches: what is to be compiled."""
    if not isinstance(data, DataLoader):
        return [(data, None)]
    sizes = {data.batchsize, data.taken % data.batchsize}
    return [(data.data, np.empty((0, size), np.int64)) for size in sizes if size]


def _stretches(data: Any) -> list[tuple[Any, Any]]:
    """Data with the order in which its samples are taken, batches of one size together."""
    if not isinstance(data, DataLoader):
        return [(data, None)]
    order = data.order()
    whole = len(order) - len(order) % data.batchsize
    parts = [order[:whole].reshape(-1, data.batchsize), order[None, whole:]]
    return [(data.data, np.ascontiguousarray(part, np.int64)) for part in parts if part.size]


def _readable(data: Any, order: Any) -> tuple[Any, Any]:
    """Data and order as C code reads them; of arrays in another layout the rows are copied, as they are now."""
    if all(contiguous(x) is x for x in tree.leaves(data)):
        return data, order
    rows = order.reshape(-1)
    return tree.map(lambda x: np.take(x, rows, axis=0), data), np.arange(rows.size).reshape(order.shape)


@functools.cache
def say_once(message: str) -> None:
    """Say something on stderr, if it can be said there: nothing depends on it."""
    if sys.stderr is not None:  # or print would say it on stdout
        with contextlib.suppress(Exception):
            print(message, file=sys.stderr)
