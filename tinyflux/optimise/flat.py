"""How the parameters of a model are laid out: those of one dtype lie one after another in one flat array.

The model's arrays are views of it, and the rule's state lies in flat arrays beside it, so that a step is a few NumPy
calls, whatever the number of layers. Only a rule that measures each array has a state for each, in shapes of its own.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import tree
from ..arrays import MixedDevices, device_of, on_gpu
from ..types import Array
from .modifiers import measures_arrays
from .plan import Buffer, Leaf
from .rule import initial, is_ours


@dataclasses.dataclass(eq=False)
class Place:
    """Where a parameter stands in a model."""

    path: str
    array: Any
    container: Any  # None where no other array can be put
    key: Any
    rule: Any = None  # what steps it


def places(node: Any, buffers: bool = False, path: str = "", container: Any = None, key: Any = None) -> Iterator[Place]:
    """The places of a tree's parameters, or of all arrays; what is in a tuple, or is the tree, can't be replaced."""
    if tree.is_array(node):
        if buffers or tree.is_parameter(node):
            yield Place(path, node, container, key)
        return
    skip = [] if buffers else [f".{name}" for name in getattr(type(node), "buffers", ())]
    inside, keys = tree.entries(node)
    for (step, child), below in zip(tree.children(node), keys):
        if step not in skip:
            yield from places(child, buffers, path + step, inside, below)


def refuse_overlaps(found: Sequence[Place]) -> None:
    """A tied parameter is one array in several places; arrays that merely share memory would be untied unnoticed."""
    ordered = sorted({id(p.array): p for p in found}.values(), key=lambda p: _start(p.array))
    for before, after in itertools.pairwise(ordered):
        if np.shares_memory(before.array, after.array):
            raise ValueError(
                f"setup: the arrays at {before.path} and {after.path} share memory without being the same array, and "
                "would be stepped apart. Tie parameters by putting one array in both places, or copy one of them."
            )


def _start(x: Array) -> int:
    """The lowest address of an array's memory."""
    interface = x.__cuda_array_interface__ if on_gpu(x) else x.__array_interface__
    below: int = sum((n - 1) * stride for n, stride in zip(x.shape, x.strides) if stride < 0)
    return int(interface["data"][0]) + below


def refuse_two_devices(found: Sequence[Place]) -> None:
    """The parameters of a model are stepped, and calculated with, on one device."""
    other = next((p for p in found if on_gpu(p.array) != on_gpu(found[0].array)), None)
    if other is not None:
        (first, here), (second, there) = ((p.path or "the root", device_of(p.array)) for p in (found[0], other))
        raise MixedDevices(
            f"setup: expected a model on one device, but {first} is {here}, and {second} {there}. Move all of it with "
            "flux.gpu(model) or flux.cpu(model)."
        )


def buckets(found: list[Place], fixed: set[int]) -> Iterator[list[Place]]:
    """Places whose arrays share a rule and a dtype, to be laid in one buffer; an array that can't be moved is its own.

    Arguments:
        found: places, with their rules; equal rules are one object.
        fixed: the ids of the arrays that can't be moved.
    """
    movable: dict[Any, list[Place]] = {}
    for place in found:
        if id(place.array) in fixed:
            if not place.array.flags.c_contiguous or not getattr(place.array.flags, "writeable", True):
                name = place.path or "the root"
                fault = "read-only" if place.array.flags.c_contiguous else "not contiguous"
                raise ValueError(f"setup: the array at {name} is {fault} and can't be moved; put it in a list.")
            yield [place]
        else:
            movable.setdefault((id(place.rule), type(place.array), place.array.dtype), []).append(place)
    yield from movable.values()


def flatten(bucket: list[Place], fixed: bool) -> Iterator[tuple[Place, Any, Leaf]]:
    """Lay the arrays of a bucket into one buffer: for each its place, the view that is to stand there, and its leaf."""
    rule = bucket[0].rule
    x = bucket[0].array.reshape(-1) if fixed else np.concatenate([place.array.reshape(-1) for place in bucket])
    alone = measures_arrays(rule)
    flat, numbers = ((), ()) if alone else _initial_state(rule, x)
    shape = next((s.shape for s in flat if s.shape != x.shape), None)
    if shape is not None:
        raise ValueError(
            f"setup: {type(rule).__name__}.init must give arrays of the shape of x, which is {x.shape} here, as "
            f"np.zeros_like(x) does; got shape {shape}. A rule with arrays of other shapes steps one parameter at a "
            'time: class … : whole = "array".'
        )
    buffer = Buffer(x, flat)
    start = 0
    for place in bucket:
        stop = start + place.array.size
        view = place.array if fixed else x[start:stop].reshape(place.array.shape)
        arrays = tuple([s[start:stop].reshape(view.shape) for s in flat])
        if alone:
            arrays, numbers = _initial_state(rule, view)
        yield place, view, Leaf(place.path, rule, buffer, start, view, arrays, numbers)
        start = stop


def _initial_state(rule: Any, x: Array) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The arrays and the numbers of a rule's state.

    A user's rule may give one array twice, x itself, or arrays in another layout, or in NumPy for x on the GPU: each
    gets memory of its own.
    """
    state = initial(rule, x)
    arrays = tuple([s if is_ours(rule) else np.asarray(s, like=x).copy() for s in state if tree.is_array(s)])
    numbers = state[len(arrays) :]
    if any(tree.is_array(s) for s in numbers):
        raise TypeError(f"setup: {type(rule).__name__}.init must give arrays first, then numbers; got {state!r}.")
    return arrays, numbers
