"""A model's arrays under the names and in the layouts that PyTorch has for them, and files of these: safetensors.

PyTorch has channels first: a kernel is (O, I / groups, *window) there, and (O, *window, I / groups) here. A Dense
behind a flattened image has its columns in the order (C, *space) there, and (*space, C) here. The rest is the same.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import tree
from .arrays import is_array, to_numpy
from .channels import UNTOLD, channels_by_call, channels_by_order
from .checks import shown
from .files import open_file, replacing
from .installed import pip_install
from .nn.layers import BatchNorm, Chain, Conv, Dense, Dropout, GroupNorm, LayerNorm
from .summary import check_input_shape
from .types import Array, Tree

__all__ = ["load_safetensors", "load_state_dict", "save_safetensors", "state_dict", "torchvision_names"]


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


def state_dict(
    model: Tree, names: Sequence[str] | None = None, input_shape: Sequence[int] | None = None
) -> dict[str, Array]:
    """The arrays of a model as PyTorch's `state_dict` has them.

    Arguments:
        model: any tree of layers.
        names: how PyTorch calls the layers that hold arrays, in the model's order, which is that of attributes in a
            class. By default a layer is called by its path: "0.1" for `model[0][1]` in chains, as in PyTorch's
            Sequential, and "encoder.conv" for an attribute.
        input_shape: the shape of a sample, such as (28, 28, 1). A copy of the model is called once with zeros, to see
            which layers are given images. Models that are chains need it only where images of several channels are
            flattened, or pooled, before the first convolution; a class of your own with convolutions needs it where it
            has a Dense.

    Returns: a dict of names and NumPy arrays. What Dropout counts isn't in it, nor is BatchNorm's
    `num_batches_tracked`: PyTorch's `load_state_dict` does without.

    These arrays get PyTorch's layout: kernels of convolutions, a LayerNorm of whole images, and Dense and norms behind
    flattened images. All others are given as they are, those of your own layers too.

    Errors: ValueError for another number of names, and for a layer that may stand behind flattened images, where it
    can't be told in which order PyTorch has their numbers; TypeError for another input_shape.

    >>> import tinyflux as flux
    >>> model = flux.Chain(flux.Conv((3, 3), 1, 8, flux.relu), flux.flatten, flux.Dense(8 * 26 * 26, 10))
    >>> {name: x.shape for name, x in flux.interop.state_dict(model, ["conv", "fc"]).items()}
    {'conv.weight': (8, 1, 3, 3), 'conv.bias': (8,), 'fc.weight': (10, 5408), 'fc.bias': (10,)}
    """
    entries = _entries("state_dict", model, names, input_shape)
    return {name: np.ascontiguousarray(to_numpy(e.given(e.array))) for name, e in entries.items()}


def load_state_dict(
    model: Tree, state: Mapping[str, Any], names: Sequence[str] | None = None, input_shape: Sequence[int] | None = None
) -> None:
    """Fill a model's arrays with those of a PyTorch model.

    Everything is checked first; where something doesn't fit, nothing is changed.

    Arguments:
        model: any tree of layers; its arrays are filled in place, and keep their dtypes.
        state: names and arrays, such as PyTorch's `model.state_dict()` (on the CPU). `num_batches_tracked` is ignored.
        names, input_shape: as for `state_dict`.

    Errors: those of `state_dict`; ValueError that names what is missing in `state`, what is left over, and which shapes
    differ.

    >>> import numpy as np, tinyflux as flux
    >>> ours, theirs = flux.Dense(3, 2), {"weight": np.ones((2, 3)), "bias": np.zeros(2)}
    >>> flux.interop.load_state_dict(ours, theirs)
    >>> ours.weight
    array([[1., 1., 1.],
           [1., 1., 1.]], dtype=float32)
    """
    _fill("load_state_dict", model, {name: np.asarray(x) for name, x in state.items()}, names, input_shape)


def save_safetensors(
    path: str | os.PathLike[str],
    model: Tree,
    names: Sequence[str] | None = None,
    input_shape: Sequence[int] | None = None,
) -> None:
    """Write a model's arrays to a safetensors file, as `state_dict` has them. It needs the extra `interop`.

    Arguments:
        path: the file, by custom `.safetensors`; the old one stands there until the new one is whole.
        model, names, input_shape: as for `state_dict`.

    Errors: those of `state_dict`; OSError where the file can't be written; ImportError without the extra.

    >>> import tempfile, tinyflux as flux
    >>> model, fresh = flux.Dense(3, 2), flux.Dense(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     flux.interop.save_safetensors(f"{folder}/model.safetensors", model)
    ...     flux.interop.load_safetensors(f"{folder}/model.safetensors", fresh)
    >>> bool((fresh.weight == model.weight).all())
    True
    """
    content = _safetensors().save(state_dict(model, names, input_shape))
    with replacing(path) as file:
        file.write(content)


def load_safetensors(
    path: str | os.PathLike[str],
    model: Tree,
    names: Sequence[str] | None = None,
    input_shape: Sequence[int] | None = None,
) -> None:
    """Fill a model's arrays with those of a safetensors file, such as one from PyTorch. It needs the extra `interop`.

    Arguments:
        path: the file.
        model, names, input_shape: as for `state_dict`.

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
    _fill(f"load_safetensors: {os.fspath(path)}", model, state, names, input_shape)


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


def _fill(
    owner: str,
    model: Tree,
    state: Mapping[str, Array],
    names: Sequence[str] | None,
    input_shape: Sequence[int] | None,
) -> None:
    entries = _entries(owner, model, names, input_shape)
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
        hint = "" if names or entries.keys() & theirs.keys() else _names_hint(entries, theirs)
        raise ValueError(f"{owner}: the arrays don't fit the model: {'; '.join(wrong)}.{hint}")
    for name, entry in entries.items():
        entry.array[...] = np.asarray(entry.taken(theirs[name]).astype(entry.array.dtype), like=entry.array)


def _names_hint(entries: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """What to do where no name is that of the model."""
    ours, others = (list(dict.fromkeys(name.rpartition(".")[0] for name in state)) for state in (entries, theirs))
    if len(ours) != len(others):
        return ""
    first, second = (", ".join([*modules[:8], *["…"] * (len(modules) > 8)]) for modules in (ours, others))
    return f" The model's layers are {first}; those given are {second}. Give names=[…], these in the model's order."


def _is_writable(x: Array) -> bool:
    return bool(getattr(x.flags, "writeable", True))  # CuPy's arrays always are


def _shortened(wrong: list[str]) -> list[str]:
    return [*wrong[:3], f"and {len(wrong) - 3} more"] if len(wrong) > 3 else wrong


def _entries(
    owner: str, model: Tree, names: Sequence[str] | None, input_shape: Sequence[int] | None
) -> dict[str, Entry]:
    """The arrays of a model by their whole names in PyTorch."""
    called = input_shape is not None
    if input_shape is None:
        given = channels_by_order(model)
    else:
        check_input_shape(owner, model, input_shape)
        given = channels_by_call(model, input_shape)
    try:
        found = list(_walk(model, "", given, called))
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from None
    if names is not None:
        modules = list(dict.fromkeys(entry.module for entry in found))
        if len(names) != len(modules) or len({*names}) != len(names):
            raise ValueError(
                f"{owner}: expected names for {len(modules)} layers with arrays, got {len({*names})} different ones. "
                f"By their paths they are {', '.join(modules)}."
            )
        theirs = dict(zip(modules, names))
        found = [dataclasses.replace(entry, module=theirs[entry.module]) for entry in found]
    return {f"{entry.module}.{entry.name}".lstrip("."): entry for entry in found}


def _unknown(name: str, called: bool, layer: Any) -> ValueError:
    start = f"can't tell in which order PyTorch has the numbers of the layer {name or type(layer).__name__}: "
    if not called:
        return ValueError(
            f"{start}it may stand behind flattened images. Give input_shape, the shape of a sample such as "
            "(28, 28, 1); the model is then called once, to see what the layer is given."
        )
    if isinstance(layer, Conv):
        return ValueError(
            f"{start}its images are made of numbers in a row, which PyTorch takes as (N, C, H, W). Write "
            "np.moveaxis(x.reshape(n, C, H, W), 1, -1)."
        )
    return ValueError(
        f"{start}it wasn't called, or functions that move numbers stand between it and the images. Write these as "
        "layers of the library, such as flux.MaxPool, flux.GlobalMeanPool and flux.flatten."
    )


def _walk(node: Tree, name: str, given: dict[int, int | None], called: bool) -> Iterator[Entry]:
    """The entries of a node called so in PyTorch.

    Arguments:
        given: how many channels the images have that layers are given, by the ids of their arrays.
        called: whether a call has told so.
    """
    if isinstance(node, Dropout):
        return
    if isinstance(node, Chain):
        children: list[tuple[Any, Any]] = list(enumerate(node))
    else:
        children = [(key, child) for key, (_, child) in zip(tree.entries(node)[1], tree.children(node))]
    for key, child in children:
        if is_array(child):
            yield _entry(node, Entry(name, str(key), child), given, called)
        else:
            yield from _walk(child, _inside(name, key), given, called)


def _entry(layer: Any, entry: Entry, given: dict[int, int | None], called: bool) -> Entry:
    """An entry with its layouts there and here."""
    if not isinstance(layer, (Conv, Dense, BatchNorm, GroupNorm, LayerNorm)):
        return entry
    if isinstance(layer, (Conv, Dense)) and entry.array is layer.bias:
        return entry
    channels, ndim = given.get(id(entry.array), UNTOLD), entry.array.ndim
    if channels == UNTOLD or (channels and ndim < 3 and entry.array.shape[-1] % channels):
        raise _unknown(entry.module, called, layer)
    if isinstance(layer, GroupNorm) and layer.groups > 1 and channels and channels != layer.channels:
        raise ValueError(
            f"the layer {entry.module or 'GroupNorm'} stands behind flattened images, where PyTorch has other numbers "
            "in a group: whole channels. Put it before flux.flatten."
        )
    if isinstance(layer, Conv):
        return _moved(entry, 1)
    if isinstance(layer, (BatchNorm, LayerNorm)) and ndim > 1:
        return _moved(entry, 0) if channels else entry
    return _by_channels(entry, channels) if channels else entry


def _moved(entry: Entry, axis: int) -> Entry:
    """An entry whose last axis is this one in PyTorch."""
    return dataclasses.replace(
        entry, given=lambda x: np.moveaxis(x, -1, axis), taken=lambda x: np.moveaxis(x, axis, -1)
    )


def _inside(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


def _by_channels(entry: Entry, channels: int) -> Entry:
    """An entry whose last axis is that of channels, or of all pixels of flattened images."""
    *leading, size = entry.array.shape
    if size == channels:
        return entry
    pixels = size // channels
    return dataclasses.replace(
        entry,
        given=lambda x: x.reshape(*leading, pixels, channels).swapaxes(-1, -2).reshape(*leading, size),
        taken=lambda x: x.reshape(*leading, channels, pixels).swapaxes(-1, -2).reshape(*leading, size),
    )
