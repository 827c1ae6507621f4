"""The state of layers in compiled training: arrays that a model changes itself, which are results of its program."""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from .. import tree
from ..autodiff.tape import plain
from ..compile.ir import program
from ..compile.ir.node import Node
from ..compile.schedule.fuse import Result
from ..compile.trace.symbolic import Symbolic, node_of
from ..errors import NotCompilable
from ..optimise.flat import places
from ..types import Array, Tree


def find_changed(after: Sequence[Array], before: Sequence[Symbolic]) -> list[Result]:
    """Results for the arrays of a model that the loss has changed.

    Arguments:
        after, before: the model's arrays, leaf by leaf.
    """
    results: dict[Node, Result] = {}
    for now, old in zip(after, before):
        result = overwriting(old.node, node_of(plain(now)))
        if results.setdefault(old.node, result).node is not result.node:
            raise NotCompilable("an array of the model stands in several places, and would become several arrays.")
    return [r for r in results.values() if r.node is not r.overwrites]


def overwriting(old: Node, new: Node) -> Result:
    """The result that an input's memory is to hold from now on."""
    if new.shape != old.shape:
        raise ValueError(f"compile_training: a state of shape {old.shape} would become one of shape {new.shape}.")
    return Result(program.elementwise("cast", [new], old.dtype), old.params, old)


def unique_leaves(model: Tree) -> list[Array]:
    """The arrays of a model, each once."""
    return list({id(x): x for x in tree.leaves(model)}.values())


def replaceable(model: Tree, wanted: Container[int]) -> list[tuple[Any, Any, Array]]:
    """Where arrays, which are known by their ids, can be replaced in a model: what they stand in, by which key."""
    found = (place for place in places(model, buffers=True) if id(place.array) in wanted)
    return [(place.container, place.key, place.array) for place in found if place.container is not None]


def replace_arrays(model: Tree, new: dict[int, Array]) -> None:
    """Put arrays in the places of others, which are known by their ids, all through a model."""
    for inside, key, old in replaceable(model, new):
        inside[key] = new[id(old)]


def tied_places(leaves: Sequence[Array]) -> tuple[int, ...]:
    """For each array of a model the first place where it stands; nothing if none stands in two."""
    if len(set(map(id, leaves))) == len(leaves):
        return ()
    first: dict[int, int] = {}
    return tuple([first.setdefault(id(x), i) for i, x in enumerate(leaves)])


WORD = 4  # bytes
ALIGNMENT = 16 // WORD  # words; where arrays begin


class DeviceState:
    """The state of layers on the current GPU, in one piece of memory, and what a step makes of it in another one.

    Arguments:
        arrays: the state.

    Attributes:
        memory: what the model's arrays lie in; None before `detach`.
        made, results: what a step makes of it: the memory, and the arrays in it.
    """

    def __init__(self, arrays: Sequence[Array]) -> None:
        import cupy

        self._forms = [(x.shape, x.dtype, x.nbytes) for x in arrays]
        lengths = [-(-x.nbytes // (WORD * ALIGNMENT)) * ALIGNMENT for x in arrays]
        self._starts = list(itertools.accumulate(lengths, initial=0))
        self.memory: Array = None
        self._taken: list[Array] = []
        self.made = cupy.empty((self._starts[-1],), np.uint32)
        self.results = self._views(self.made)

    def attach(self, arrays: Sequence[Array]) -> list[Array]:
        """What steps change in its place, `results`, with the state as it is now."""
        if self._taken and all(x is y for x, y in zip(arrays, self._taken, strict=True)):
            self.made[...] = self.memory
        else:
            for view, x in zip(self.results, arrays, strict=True):
                if x is not view:
                    view[...] = x
        return self.results

    def detach(self) -> list[Array]:
        """Copies of the state as steps have left it in `results`."""
        self.memory = self.made.copy()
        self._taken = self._views(self.memory)
        return self._taken

    def release(self) -> None:
        """Let go of the model's arrays."""
        self.memory, self._taken = None, []

    def _views(self, memory: Array) -> list[Array]:
        pieces = [memory[start:stop] for start, stop in itertools.pairwise(self._starts)]
        return [
            piece.view(np.uint8)[:size].view(dtype).reshape(shape)
            for piece, (shape, dtype, size) in zip(pieces, self._forms)
        ]
