"""A model's arrays under the names and in the layouts that PyTorch has for them, and files of these: safetensors.

PyTorch has channels first: a kernel is (O, I / groups, *window) there, and (O, *window, I / groups) here. A Dense
behind a flattened image has its columns in the order (C, *space) there, and (*space, C) here. The rest is the same.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from . import tree
from .arrays import is_array, to_numpy
from .files import open_file, replacing
from .installed import pip_install
from .nn.layers import Chain, Conv, ConvTranspose, Dense, Dropout, Parallel, SkipConnection
from .types import Array, Tree

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

    Layouts are changed for Conv, ConvTranspose, and a Dense behind images (the layers stand in a Chain, or in
    attributes, in the order in which they are called). Arrays of other layers are given as they are.

    Errors: ValueError for another number of names, and for a Dense behind images of unknown channels.

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

    >>> import tinyflux as flux
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
        raise ValueError(f"load_safetensors: {os.fspath(path)} is damaged, or not for NumPy ({error}).") from error
    _fill(f"load_safetensors: {os.fspath(path)}", model, state, names)


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
    others = []
    for name in (name for name in entries if name in theirs):
        array, expected = theirs[name], entries[name].given(entries[name].array)
        if array.shape != expected.shape or array.dtype.kind != "f":
            others.append(f"{name} has shape {array.shape} and {array.dtype}, expected {expected.shape}")
    wrong = [*_shortened(missing), *_shortened(left_over), *_shortened(others)]
    if wrong:
        raise ValueError(f"{owner}: the arrays don't fit the model: {'; '.join(wrong)}.")
    for name, entry in entries.items():
        entry.array[...] = np.asarray(entry.taken(theirs[name]).astype(entry.array.dtype), like=entry.array)


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
    """A Dense whose columns stand for the pixels of images with an unknown number of channels."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"can't tell in which order PyTorch has the columns of the Dense {name}: the images before it have an "
            "unknown number of channels. Put one that has some (Conv, BatchNorm) before the flatten, in a Chain."
        )


Channels: TypeAlias = frozenset[int] | None  # those that images may have at some place; None where there are no images


def _walk(node: Tree, name: str, channels: Channels) -> Generator[Entry, None, Channels]:
    """The entries of a node, and what channels come out of it."""
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
        transposed = isinstance(node, ConvTranspose)
        return frozenset([node.weight.shape[-1] * node.groups if transposed else len(node.weight)])
    if isinstance(node, Dropout):
        return channels
    after = channels
    for key, (_, child) in zip(tree.entries(node)[1], tree.children(node)):
        if is_array(child):
            yield Entry(name, str(key), child)
        else:
            after = yield from _walk(child, _inside(name, key), after)
    return after if after == channels else frozenset()  # in what order an own class calls its layers isn't known


def _inside(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


def _walk_branches(node: Parallel | SkipConnection, name: str, channels: Channels) -> Generator[Entry, None, Channels]:
    """Branches are brought together by one function: their channels are added, or stand side by side."""
    ends: list[Channels] = []
    parts = node.branches if isinstance(node, Parallel) else [node.layer]
    for i, branch in enumerate(parts):
        place = _inside(name, f"branches.{i}" if isinstance(node, Parallel) else "layer")
        ends.append((yield from _walk(branch, place, channels)))
    if isinstance(node, SkipConnection):
        ends.append(channels)
    known = [end for end in ends if end is not None]
    if len(known) < len(ends):
        return frozenset() if known else None
    joins = (max,) if isinstance(node.connection, np.ufunc) else (max, sum)
    return frozenset(join(counts) for counts in itertools.product(*known) for join in joins)


def _walk_dense(node: Dense, name: str, channels: Channels) -> Generator[Entry, None, Channels]:
    nout, nin = node.weight.shape
    entry, after = Entry(name, "weight", node.weight), None
    if channels is not None:
        if nin in channels:
            after = frozenset([nout])
        elif len(channels) == 1 and nin % min(channels) == 0:
            n = min(channels)
            entry.given = lambda x: x.reshape(nout, nin // n, n).swapaxes(1, 2).reshape(nout, nin)
            entry.taken = lambda x: x.reshape(nout, n, nin // n).swapaxes(1, 2).reshape(nout, nin)
        else:
            raise _UnknownOrder(name)
    yield entry
    if node.bias is not None:
        yield Entry(name, "bias", node.bias)
    return after
