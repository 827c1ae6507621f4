"""A model's arrays under the names and in the layouts that PyTorch has for them, and files of these: safetensors.

PyTorch has channels first: a kernel is (O, I / groups, *window) there, and (O, *window, I / groups) here. A Dense
behind a flattened image has its columns in the order (C, *space) there, and (*space, C) here. The rest is the same.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from . import tree
from .arrays import is_array, to_numpy
from .checks import shown
from .files import open_file, replacing
from .installed import pip_install
from .nn.layers import (  # fmt: skip
    BatchNorm,
    Chain,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    GlobalMaxPool,
    GlobalMeanPool,
    LayerNorm,
    Parallel,
    PixelShuffle,
    SkipConnection,
    flatten,
)
from .types import Array, Tree

__all__ = ["load_safetensors", "load_state_dict", "save_safetensors", "state_dict", "torchvision_names"]


def __dir__() -> list[str]:
    return sorted(__all__)


IGNORED = "num_batches_tracked"  # PyTorch's counter in a BatchNorm, which no forward pass needs


@dataclasses.dataclass
class Entry:
    """An array of a model, and how PyTorch has it.

    Attributes:
        module: the name of its layer there.
        name: its own name there.
        array: the array here.
        given: makes PyTorch's layout of ours.
        taken: makes ours of PyTorch's.
    """

    module: str
    name: str
    array: Array
    given: Callable[[Array], Array] = lambda x: x
    taken: Callable[[Array], Array] = lambda x: x


def state_dict(model: Tree, names: Sequence[str] | None = None) -> dict[str, Array]:
    """The arrays of a model as PyTorch's `state_dict` has them.

    Arguments:
        model: any tree of layers.
        names: how PyTorch calls the layers that hold arrays, in the model's order. By default a layer is called by its
            path: "0.1" for `model[0][1]` in chains, as in PyTorch's Sequential, and "encoder.conv" for an attribute.

    Returns: a dict of names and NumPy arrays. What Dropout counts isn't in it, nor is BatchNorm's
    `num_batches_tracked`: PyTorch's `load_state_dict` does without.

    Layouts are changed for Conv, ConvTranspose, a LayerNorm of images, and for Dense, BatchNorm and LayerNorm behind
    flattened images (layers stand in a Chain, or in attributes, in the order in which they are called). Arrays of other
    layers are given as they are.

    Errors: ValueError for another number of names, and for a Dense behind images with an unknown number of channels.

    >>> import tinyflux as flux
    >>> model = flux.Chain(flux.Conv((3, 3), 1, 8, flux.relu), flux.flatten, flux.Dense(8 * 26 * 26, 10))
    >>> {name: x.shape for name, x in flux.interop.state_dict(model, ["conv", "fc"]).items()}
    {'conv.weight': (8, 1, 3, 3), 'conv.bias': (8,), 'fc.weight': (10, 5408), 'fc.bias': (10,)}
    """
    entries = _entries("state_dict", model, names)
    return {name: np.ascontiguousarray(to_numpy(e.given(e.array))) for name, e in entries.items()}


def load_state_dict(model: Tree, state: Mapping[str, Any], names: Sequence[str] | None = None) -> None:
    """Fill a model's arrays with those of a PyTorch model.

    Everything is checked first; where something doesn't fit, nothing is changed.

    Arguments:
        model: any tree of layers; its arrays are filled in place, and keep their dtypes.
        state: names and arrays, such as PyTorch's `model.state_dict()` (on the CPU). `num_batches_tracked` is ignored.
        names: as for `state_dict`.

    Errors: ValueError that names what is missing in `state`, what is left over, and which shapes differ.

    >>> import numpy as np, tinyflux as flux
    >>> ours, theirs = flux.Dense(3, 2), {"weight": np.ones((2, 3)), "bias": np.zeros(2)}
    >>> flux.interop.load_state_dict(ours, theirs)
    >>> ours.weight
    array([[1., 1., 1.],
           [1., 1., 1.]], dtype=float32)
    """
    _fill("load_state_dict", model, {name: np.asarray(x) for name, x in state.items()}, names)


def save_safetensors(path: str | os.PathLike[str], model: Tree, names: Sequence[str] | None = None) -> None:
    """Write a model's arrays to a safetensors file, as `state_dict` has them. It needs the extra `interop`.

    Arguments:
        path: the file, by custom `.safetensors`; the old one stands there until the new one is whole.
        model, names: as for `state_dict`.

    Errors: those of `state_dict`; OSError where the file can't be written; ImportError without the extra.

    >>> import tempfile, tinyflux as flux
    >>> model, fresh = flux.Dense(3, 2), flux.Dense(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     flux.interop.save_safetensors(f"{folder}/model.safetensors", model)
    ...     flux.interop.load_safetensors(f"{folder}/model.safetensors", fresh)
    >>> bool((fresh.weight == model.weight).all())
    True
    """
    content = _safetensors().save(state_dict(model, names))
    with replacing(path) as file:
        file.write(content)


def load_safetensors(path: str | os.PathLike[str], model: Tree, names: Sequence[str] | None = None) -> None:
    """Fill a model's arrays with those of a safetensors file, such as one from PyTorch. It needs the extra `interop`.

    Arguments:
        path: the file.
        model, names: as for `load_state_dict`.

    Errors: those of `load_state_dict`; ValueError for a damaged file, OSError where it can't be read; ImportError
    without the extra.

    >>> import tempfile, tinyflux as flux
    >>> model, fresh = flux.Dense(3, 2), flux.Chain(flux.Dense(3, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     flux.interop.save_safetensors(f"{folder}/model.safetensors", model, ["fc"])
    ...     flux.interop.load_safetensors(f"{folder}/model.safetensors", fresh, ["fc"])
    >>> bool((fresh[0].weight == model.weight).all())
    True
    """
    library = _safetensors()
    with open_file(path) as file:
        content = file.read()
    try:
        state = library.load(content)
    except Exception as error:  # what the reader raises for damaged bytes, and for dtypes that NumPy hasn't
        raise ValueError(
            f"load_safetensors: {os.fspath(path)} is damaged, or has numbers that NumPy hasn't ({error}). Save float32."
        ) from error
    _fill(f"load_safetensors: {os.fspath(path)}", model, state, names)


def torchvision_names(model: str) -> list[str]:
    """How torchvision calls the layers of one of its models, for the argument `names` of the functions here.

    Arguments:
        model: "resnet18", "resnet34", "vgg11" or "vgg16", which is the one with BatchNorm, as in `flux.models`.

    Errors: ValueError for another one.

    >>> import tinyflux as flux
    >>> flux.interop.torchvision_names("resnet18")[:4]
    ['conv1', 'bn1', 'layer1.0.conv1', 'layer1.0.bn1']
    """
    if model not in _TORCHVISION:
        raise ValueError(f"torchvision_names: expected one of {', '.join(_TORCHVISION)}, got {shown(model)}.")
    counts = _TORCHVISION[model]
    return _resnet_names(counts) if model.startswith("resnet") else _vgg_names(counts)


_TORCHVISION = {  # blocks of each stage
    "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "vgg11": (1, 1, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3),
}  # fmt: skip


def _resnet_names(counts: Sequence[int]) -> list[str]:
    names = ["conv1", "bn1"]
    for stage, count in enumerate(counts, 1):
        for k in range(count):
            parts = ["conv1", "bn1", "conv2", "bn2"] + ["downsample.0", "downsample.1"] * (stage > 1 and k == 0)
            names += [f"layer{stage}.{k}.{part}" for part in parts]
    return [*names, "fc"]


def _vgg_names(counts: Sequence[int]) -> list[str]:
    names, place = [], 0
    for count in counts:
        for _ in range(count):
            names += [f"features.{place}", f"features.{place + 1}"]
            place += 3  # convolution, BatchNorm, relu
        place += 1  # pooling
    return [*names, "classifier.0", "classifier.3", "classifier.6"]


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(f"interop: safetensors is missing: {pip_install('interop')}.") from error
    return safetensors.numpy


def _fill(owner: str, model: Tree, state: Mapping[str, Array], names: Sequence[str] | None) -> None:
    entries = _entries(owner, model, names)
    theirs = {name: x for name, x in state.items() if name.rpartition(".")[2] != IGNORED}
    missing = [f"{name} is missing" for name in entries if name not in theirs]
    left_over = [f"{name} is left over" for name in sorted(theirs) if name not in entries]
    others = [f"{name} is read-only here" for name, entry in entries.items() if not _is_writable(entry.array)]
    for name in (name for name in entries if name in theirs):
        array, expected = theirs[name], entries[name].given(entries[name].array)
        if array.shape != expected.shape or array.dtype.kind != "f":
            others.append(f"{name} has shape {array.shape} and {array.dtype}, expected {expected.shape}")
    wrong = [*_shortened(missing), *_shortened(left_over), *_shortened(others)]
    if wrong:
        raise ValueError(f"{owner}: the arrays don't fit the model: {'; '.join(wrong)}.")
    for name, entry in entries.items():
        entry.array[...] = np.asarray(entry.taken(theirs[name]).astype(entry.array.dtype), like=entry.array)


def _is_writable(x: Array) -> bool:
    return bool(getattr(x.flags, "writeable", True))  # CuPy's arrays always are


def _shortened(wrong: list[str]) -> list[str]:
    return [*wrong[:3], f"and {len(wrong) - 3} more"] if len(wrong) > 3 else wrong


def _entries(owner: str, model: Tree, names: Sequence[str] | None) -> dict[str, Entry]:
    """The arrays of a model by their whole names in PyTorch."""
    try:
        found = list(_walk(model, "", None))
    except _UnknownOrder as error:
        raise ValueError(f"{owner}: {error}") from None
    if names is not None:
        modules = list(dict.fromkeys(entry.module for entry in found))
        if len(names) != len(modules) or len({*names}) != len(names):
            raise ValueError(
                f"{owner}: expected names for {len(modules)} layers with arrays, got {len({*names})} different ones. "
                f"By their paths they are {', '.join(modules)}."
            )
        called = dict(zip(modules, names))
        found = [dataclasses.replace(entry, module=called[entry.module]) for entry in found]
    return {f"{entry.module}.{entry.name}".lstrip("."): entry for entry in found}


class _UnknownOrder(ValueError):
    """A layer whose numbers stand for the pixels of images with an unknown number of channels."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"can't tell in which order PyTorch has the columns of the layer {name}: the images before it have an "
            "unknown number of channels. Put a Conv, a BatchNorm or a GlobalMeanPool between what joins images and it."
        )


Channels: TypeAlias = int | None  # how many channels images have at some place; None where there are no images
UNKNOWN = -1


def _walk(node: Tree, name: str, channels: Channels) -> Generator[Entry, None, Channels]:
    """The entries of a node called so in PyTorch; returns how many channels come out of it."""
    if isinstance(node, Chain):
        for i, layer in enumerate(node):
            channels = yield from _walk(layer, _inside(name, i), channels)
        return channels
    if isinstance(node, (Parallel, SkipConnection)):
        return (yield from _walk_branches(node, name, channels))
    if isinstance(node, Dense):
        return (yield from _walk_dense(node, name, channels))
    if isinstance(node, Conv):
        yield Entry(name, "weight", node.weight, lambda x: np.moveaxis(x, -1, 1), lambda x: np.moveaxis(x, 1, -1))
        if node.bias is not None:
            yield Entry(name, "bias", node.bias)
        return node.weight.shape[-1] * node.groups if isinstance(node, ConvTranspose) else len(node.weight)
    if isinstance(node, Dropout):
        return channels
    if isinstance(node, (GlobalMaxPool, GlobalMeanPool)):
        return None  # a single pixel is left
    if node is flatten and channels == UNKNOWN:
        raise _UnknownOrder(name)
    if isinstance(node, PixelShuffle):
        return UNKNOWN
    after = channels
    for key, (_, child) in zip(tree.entries(node)[1], tree.children(node)):
        if not is_array(child):
            after = yield from _walk(child, _inside(name, key), after)
        elif isinstance(node, (BatchNorm, LayerNorm)) and channels is not None:
            yield _of_norm(Entry(name, str(key), child), channels)
        else:
            yield Entry(name, str(key), child)
    if isinstance(node, BatchNorm):
        return node.channels if channels == UNKNOWN else channels
    return after if after == channels else UNKNOWN  # an own class may call its layers in any order


def _inside(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


def _walk_branches(node: Parallel | SkipConnection, name: str, channels: Channels) -> Generator[Entry, None, Channels]:
    if isinstance(node, SkipConnection):
        ends = [channels, (yield from _walk(node.layer, _inside(name, "layer"), channels))]
    else:
        ends = []
        for i, branch in enumerate(node.branches):
            ends.append((yield from _walk(branch, _inside(name, f"branches.{i}"), channels)))
    if len({*ends}) == 1 and (ends[0] is None or isinstance(node.connection, np.ufunc)):
        return ends[0]
    return UNKNOWN  # a function may add what comes out of branches, or put it side by side


def _walk_dense(node: Dense, name: str, channels: Channels) -> Generator[Entry, None, Channels]:
    weight = Entry(name, "weight", node.weight)
    yield weight if channels is None else _by_channels(weight, channels)
    if node.bias is not None:
        yield Entry(name, "bias", node.bias)
    return len(node.weight) if node.weight.shape[1] == channels else None  # at pixels, or at the whole of an image


def _of_norm(entry: Entry, channels: int) -> Entry:
    """An array of a layer that normalises images: for each pixel, or of the length of an axis."""
    if entry.array.ndim > 1:
        return dataclasses.replace(entry, given=lambda x: np.moveaxis(x, -1, 0), taken=lambda x: np.moveaxis(x, 0, -1))
    return entry if channels == UNKNOWN else _by_channels(entry, channels)


def _by_channels(entry: Entry, channels: int) -> Entry:
    """An entry whose last axis is that of channels, or of all pixels of flattened images."""
    *leading, size = entry.array.shape
    if channels == UNKNOWN or size % channels:
        raise _UnknownOrder(entry.module)
    if size == channels:
        return entry
    pixels = size // channels
    return dataclasses.replace(
        entry,
        given=lambda x: x.reshape(*leading, pixels, channels).swapaxes(-1, -2).reshape(*leading, size),
        taken=lambda x: x.reshape(*leading, channels, pixels).swapaxes(-1, -2).reshape(*leading, size),
    )
