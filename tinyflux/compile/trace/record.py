"""Tracing a function, twice: what differs between the two is refused."""

from __future__ import annotations

import contextlib
import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from ...arrays import default_rng
from ...errors import NotCompilable
from ...types import Array
from ..guards.contents import Contents
from ..guards.guards import Snapshot
from ..ir.node import Node
from ..ir.program import Recording, operations
from .where import naming_the_line


class Trace:
    """What a function does, traced twice.

    Arguments:
        trace: called with nothing while a recording is open; returns what the caller wants to know of it, and the nodes
            that it ends in.
        look: takes a snapshot of what the function reads from its surroundings.
        gpu, limit: see `Recording`.

    Attributes:
        recording: the second one, with its inputs and the arrays captured.
        value, ends: what `trace` returned in it.
        surroundings, contents: what the function reads, and copies of the arrays in it.

    Errors: NotCompilable for a function that is not the same in two calls, or changes what it reads.
    """

    def __init__(
        self, trace: Callable[[], tuple[Any, Sequence[Node]]], look: Callable[[], Snapshot], gpu: bool = False,
        limit: float = math.inf,
    ) -> None:  # fmt: skip
        before = look()
        try:
            with naming_the_line(), _no_draws(before.generators):
                with Recording(gpu, limit) as first:
                    first_ends = trace()[1]
                self.surroundings = look()
                if self.surroundings.traced:
                    _refuse_effect(self.surroundings.traced)
                self.contents = Contents(self.surroundings.arrays)
                with Recording(gpu, limit) as self.recording:
                    self.value, self.ends = trace()
            _refuse_change(first, first_ends, self.recording, self.ends)
            _refuse_effects(self.surroundings, self.contents, look())
        except BaseException:
            before.restore()
            raise

    @property
    def captured(self) -> list[Array]:
        """The arrays that the function took from its surroundings."""
        return [array for _, array in self.recording.captured]


def _refuse_effects(before: Snapshot, contents: Contents, after: Snapshot) -> None:
    """NotCompilable where tracing a function has changed what it reads."""
    array = contents.changed(after.arrays) if after.key == before.key else None
    if after.traced or after.key != before.key or array is not None:
        _refuse_effect(after.traced or (before.difference(after) if array is None else after.path(array)))


def _refuse_effect(where: str) -> NoReturn:
    raise NotCompilable(
        f"the function changes {where}, which it reads: "
        "run as native code it would not. Return what is new, and take it as an argument. A layer that changes its "
        "buffers in training belongs into the model that flux.train or flux.compile_training is given; flux.testmode "
        "stops it."
    )


def _refuse_change(one: Recording, ends: Sequence[Node], other: Recording, other_ends: Sequence[Node]) -> None:
    """NotCompilable where a function does not do the same twice: a program would repeat its first run for ever."""
    same = operations(ends) == operations(other_ends) and len(one.captured) == len(other.captured)
    if one.has_overwritten() or other.has_overwritten():
        raise NotCompilable(
            "an array is changed in place after the function has calculated with it, which can't be compiled. Make a "
            "new array."
        )
    for (_, a), (_, b) in zip(one.captured, other.captured):
        same = same and (a is b or (a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")))
    if not same:
        raise NotCompilable(
            f"the function is not the same in two calls: it draws random numbers, or counts, {_DRAW_BEFORE}"
        )


@contextlib.contextmanager
def _no_draws(generators: Sequence[tuple[str, np.random.Generator]]) -> Iterator[None]:
    """NotCompilable where a generator is drawn from, which is then set back to where it was.

    Other threads that draw wait as long.

    Arguments:
        generators: those that a function could draw from, by name, besides tinyflux' own and NumPy's.
    """
    numpys = np.random.get_bit_generator()  # type: ignore[attr-defined]
    found = [("flux.default_rng()", default_rng()), *generators]
    sources = {"np.random": numpys} | {name: x.bit_generator for name, x in found}
    drawn = ""
    with contextlib.ExitStack() as stack:
        for source in sorted(sources.values(), key=id):  # in one order, lest threads wait for each other
            stack.enter_context(source.lock)
        before = [source.state for source in sources.values()]
        spawned = [_spawned(source) for source in sources.values()]
        gauss = np.random.get_state(legacy=False)
        try:
            yield
        finally:
            for (name, source), state in zip(sources.items(), before):
                if pickle.dumps(source.state) != pickle.dumps(state):
                    source.state = state
                    drawn = drawn or name
            if drawn == "np.random":
                np.random.set_state(gauss)
            for (name, source), n in zip(sources.items(), spawned):
                drawn = drawn or (name if _spawned(source) != n else "")
    if drawn:
        raise NotCompilable(f"the function draws random numbers from {drawn}, {_DRAW_BEFORE}")


def _spawned(source: Any) -> int:
    """How many generators were made of one, by `spawn`: it leaves the state as it is."""
    return getattr(source.seed_seq, "n_children_spawned", 0)


_DRAW_BEFORE = (
    "which can't be compiled. Draw them beforehand and give them as arguments or data; an active Dropout belongs into "
    "the model that flux.compile_training is given."
)
