"""How many channels the images have that a layer is given: what has to be known to bring weights into PyTorch's order.

Layers in chains are followed in their order. Where a class of the user's own calls them, only a call of the model shows
it: the tape then tells how arrays come from each other. Each is one of these:

    ROW       no image: its numbers are in the same order in both libraries
    SERIES    the input (N, T, C) itself, which may be a sequence or a signal
    IMAGE     (N, *space, C) here, (N, C, *space) there
    FIRST     an image whose channels stand first, as there
    UNKNOWN   anything else that was made of images
    an int    a flattened image of so many channels
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from . import tree
from .arrays import is_array
from .autodiff.tape import Tape, Tracked
from .nn.layers import (
    AdaptiveMeanPool,
    BatchNorm,
    Chain,
    Conv,
    ConvTranspose,
    Dense,
    GlobalMaxPool,
    GlobalMeanPool,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    MaxPool,
    MeanPool,
    Parallel,
    PixelShuffle,
    SkipConnection,
    Upsample,
    flatten,
)
from .nn.layers.show import Layer
from .nodes import branches
from .summary import calls_of, samples_for
from .types import Array, Tree

UNTOLD = -1  # an unknown number of channels, or it isn't known whether there are images
ROW, SERIES, IMAGE, FIRST, UNKNOWN = "row", "series", "image", "first", "unknown"
Kind = str | int

OF_IMAGES = (AdaptiveMeanPool, GlobalMaxPool, GlobalMeanPool, InstanceNorm, MaxPool, MeanPool, Upsample)

# Functions, besides ufuncs and those of tinyflux.nn, after which an image is one still if it has as many axes.
_KEEP = ("getitem", "concatenate", "flip", "roll", "tile", "padded", "_mean", "_max", "_sum")


def channels_by_call(model: Tree, input_shape: Sequence[int]) -> dict[int, int | None]:
    """How many channels the images have that each layer is given, or that were flattened for it, as a call shows.

    Returns: a number for each id of an array of a Conv, Dense or norm that was called. None stands for
    no images.
    """
    tape = Tape(copies={})
    x = tape.leaf(samples_for(model, 2, input_shape))
    tape.leaf_count = 1
    calls = [call for call in calls_of(model, x) if type(call.y) is Tracked and type(call.x) is Tracked]
    tape.ended = True
    layers = {call.y.index: call for call in calls if _is_leaf(call.layer) and call.y.index != call.x.index}
    kinds: list[Kind] = [{2: ROW, 3: SERIES}.get(x.ndim, IMAGE)]
    for i, record in enumerate(tape[1:], 1):
        if i in layers:
            kinds.append(_after_layer(layers[i].layer, kinds[layers[i].x.index], layers[i].y))
        else:
            kinds.append(_after(record, [kinds[k] for _, k in record[1]]))
    found: dict[int, int | None] = {}
    for call in calls:
        if isinstance(call.layer, (Dense, BatchNorm, GroupNorm, LayerNorm, Conv)):
            channels = _channels(call.layer, kinds[call.x.index], call.x.value, tape[call.x.index])
            for array in tree.leaves(call.layer):
                found[id(array)] = channels if found.get(id(array), channels) == channels else UNTOLD
    return found


def _is_leaf(layer: Any) -> bool:
    return isinstance(layer, Layer) and not isinstance(layer, (Chain, Parallel, SkipConnection))


def _after_layer(layer: Any, kind: Kind, y: Any) -> Kind:
    """What comes out of a layer of the library."""
    if isinstance(layer, (Conv, PixelShuffle)):
        return IMAGE
    if kind == SERIES and isinstance(layer, (BatchNorm, GroupNorm, *OF_IMAGES)):
        return IMAGE  # for which there a signal's channels stand first
    if isinstance(layer, Dense) and kind not in (IMAGE, SERIES):
        return ROW if y.ndim == 2 or kind == ROW else UNKNOWN
    return kind  # norms, pooling, Dropout


def _after(record: Any, before: list[Kind]) -> Kind:
    """What comes out of an operation on the tape."""
    rule, links, y, values, options = record
    name, x = rule.name.rpartition(".")[2], values[links[0][0]]
    if {*before} <= {ROW, SERIES}:
        return SERIES if {*before} == {SERIES} and _is_elementwise(rule) else ROW
    parts = [(k, values[i]) for k, (i, _) in zip(before, links)]
    images = [(k, part) for k, part in parts if not (k == ROW and _is_by_channel(part, y))]
    (kind, *others) = {k for k, _ in images}
    if others or (kind not in (IMAGE, UNKNOWN) and len(images) < len(parts)):
        return UNKNOWN
    x = images[0][1]
    if rule.name.endswith(("convolution.convolve", "convolution.spread")):
        return IMAGE
    if _is_elementwise(rule) and (y.ndim == x.ndim):
        return kind
    if name == "reshaped":
        return _after_reshape(kind, x.shape, y.shape)
    if kind == IMAGE:
        if name in _KEEP and y.ndim == x.ndim:
            return IMAGE
        if name in ("_mean", "_max", "_sum") and y.shape == (x.shape[0], x.shape[-1]):
            return ROW if _reduced(options["axis"], x.ndim) else UNKNOWN
        if _moves(record) == [0, x.ndim - 1, *range(1, x.ndim - 1)]:
            return FIRST
    if kind == FIRST and _moves(record) == [0, *range(2, x.ndim), 1]:
        return IMAGE
    return UNKNOWN


def _is_by_channel(x: Array, y: Array) -> bool:
    """Whether x, no image, has numbers for whole channels of images y: such as gates, (N, 1, 1, C)."""
    return x.ndim == y.ndim > 2 and {*x.shape[1:-1]} == {1}


def _is_elementwise(rule: Any) -> bool:
    ufunc = isinstance(rule.function, np.ufunc) and rule.function.signature is None
    return (
        ufunc or rule.name.startswith("tinyflux.nn.") or rule.name in ("np.where", "tinyflux.autodiff.operators.cast")
    )


def _after_reshape(kind: Kind, before: tuple[int, ...], after: tuple[int, ...]) -> Kind:
    if before == after:
        return kind
    if len(after) == 2 and after[0] == before[0] and kind in (IMAGE, FIRST):
        return before[-1] if kind == IMAGE else ROW
    return UNKNOWN


def _reduced(axes: Any, ndim: int) -> bool:
    """Whether these axes are all of space."""
    axes = axes if isinstance(axes, tuple) else (axes,)
    return sorted(axis % ndim for axis in axes) == list(range(1, ndim - 1))


def _moves(record: Any) -> list[int] | None:
    """The order of axes that an operation makes, or None for one that does something else."""
    if record is None or record[0].name not in ("np.transpose", "np.moveaxis", "np.swapaxes"):
        return None
    rule, links, _, values, options = record
    ndim = values[links[0][0]].ndim
    numbers = np.empty(range(2, 2 + ndim))  # each axis has a length of its own
    return [n - 2 for n in rule.function(numbers, **options).shape]


def _channels(layer: Any, kind: Kind, x: Array, record: Any) -> int | None:
    if isinstance(layer, Conv):
        moved = record is not None and _moves(record) == [0, *range(2, x.ndim), 1]
        return int(x.shape[-1]) if kind in (IMAGE, SERIES) or x.shape[-1] == 1 or moved else UNTOLD
    if isinstance(kind, int):
        return kind
    if kind == IMAGE or (isinstance(layer, BatchNorm) and x.ndim > 3):
        return int(x.shape[-1])
    return None if kind in (ROW, SERIES) else UNTOLD


IMAGES = -2  # images of an unknown number of channels


def channels_by_order(model: Tree) -> dict[int, int | None]:
    """`channels_by_call` without a call: for layers in chains, and for models without convolutions.

    Images that are flattened in front of the first convolution are taken to have one channel.
    """
    found: dict[int, int | None] = {}
    _follow(model, None, found, {_channels_made(node) for node in _convolutions(model)})
    return found


def _convolutions(model: Tree) -> Iterator[Any]:
    return (node for _, node in branches(model) if isinstance(node, Conv))


def _channels_made(conv: Conv) -> int:
    return conv.weight.shape[-1] * conv.groups if isinstance(conv, ConvTranspose) else len(conv.weight)


def _follow(node: Tree, channels: int | None, found: dict[int, int | None], made: set[int]) -> int | None:
    """Note what the layers of a node are given, where images of so many channels arrive; returns how many leave it."""
    if isinstance(node, Chain):
        for layer in node:
            channels = _follow(layer, channels, found, made)
        return channels
    if isinstance(node, SkipConnection):
        return _joined(node, {channels, _follow(node.layer, channels, found, made)})
    if isinstance(node, Parallel):
        return _joined(node, {_follow(branch, channels, found, made) for branch in node.branches})
    if isinstance(node, Layer):
        given = _given(node, channels, made)
        for array in tree.leaves(node):
            found[id(array)] = given if found.get(id(array), given) == given else UNTOLD
        return _leaving(node, channels)
    if node is flatten:
        return UNTOLD if channels == IMAGES else channels
    if isinstance(node, np.ufunc) or getattr(node, "__module__", "").startswith("tinyflux."):
        return channels
    inside = None if channels is None and not any(_convolutions(node)) else UNTOLD
    for _, child in tree.children(node):  # which may be called in any order
        if not is_array(child):
            _follow(child, inside, found, made)
    return inside


def _joined(node: Parallel | SkipConnection, ends: set[int | None]) -> int | None:
    if len(ends) > 1 or UNTOLD in ends:
        return UNTOLD
    (channels,) = ends
    return channels if channels is None or isinstance(node.connection, np.ufunc) else IMAGES


def _given(layer: Layer, channels: int | None, made: set[int]) -> int | None:
    """The channels of the images in front of a layer, where it shows them itself."""
    if isinstance(layer, Conv):
        return None
    size = layer.channels if isinstance(layer, (BatchNorm, GroupNorm)) else 0
    if isinstance(layer, LayerNorm):
        size = next((x.shape[-1] for x in tree.leaves(layer)), 0)
    if channels == IMAGES or (channels == UNTOLD and size in made):
        return size or UNTOLD
    return channels


def _leaving(layer: Layer, channels: int | None) -> int | None:
    if isinstance(layer, Conv):
        return _channels_made(layer)
    if isinstance(layer, Dense):  # at pixels, or at the whole of an image
        return len(layer.weight) if layer.weight.shape[1] == channels else None
    if isinstance(layer, (GlobalMaxPool, GlobalMeanPool)):
        return None  # a single pixel is left
    if isinstance(layer, PixelShuffle):
        return IMAGES
    if channels is None and isinstance(layer, OF_IMAGES):
        channels = IMAGES
    if channels == IMAGES and isinstance(layer, (BatchNorm, GroupNorm, InstanceNorm)):
        return layer.channels
    return channels
