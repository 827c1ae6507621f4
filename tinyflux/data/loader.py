"""Mini-batches."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeGuard, TypeVar

import numpy as np

from .. import tree
from ..arrays import default_rng, is_array, on_gpu, to_numpy
from ..checks import as_array, check_call, check_flag, check_function, check_generator, check_integer, shown
from ..display import careful
from ..elsewhere import NamedArguments
from ..nodes import refuse

T = TypeVar("T")


class DataLoader(NamedArguments, Generic[T]):
    """Data cut into batches along the first axis; each iteration is one pass over all samples.

    Arguments:
        data: an array, or a tuple or dict of arrays whose first axes, the samples, are equally long: NumPy's or CuPy's.
            Tuples and dicts may hold further ones: ((x, mask), y) gives batches of this form.
        batchsize: the number of samples in a batch, at least 1.
        shuffle: whether every pass takes the samples in a new random order.
        partial: whether the last batch may be smaller; if not, the samples left over are skipped in this pass.
        transform: called as `transform(batch, rng)` for every batch; what it returns takes the batch's place. See
            `flux.data.random_crop`, `random_flip`, `cutout`, `normalise`. It must not write into the batch.
        rng: the `numpy.random.Generator` that shuffles, by default the one that `flux.seed` restarts.

    Every pass draws its order from `rng` when it begins. With a `transform` it also draws a seed, from which each batch
    gets a generator of its own. So the state of `rng` before a pass determines the whole pass: to resume a training
    exactly, keep `rng.bit_generator.state` beside its checkpoint.

    Data on the GPU stays there (`flux.gpu(loader)` moves a loader's data): order and batches are made there, by CuPy's
    generator with a seed from `rng`. The order differs from the CPU's.

    Attributes: `data`, `batchsize`, `shuffle`, `transform`, `rng`, and `taken`, how many samples a pass takes. Arrays
    that are put in the place of those in `data` are taken from the next pass on; they must have as many samples.

    Iterating gives each batch in the form of `data`: an array, or a tuple or dict. Batches may be views of the data:
    don't write into them. `len` gives the number of batches.

    Errors:
        TypeError: `data` holds something else than arrays, `batchsize` is not an integer, `shuffle` or `partial` is
            neither True nor False, `transform` not a function of a batch and a generator, or `rng` not a Generator.
        ValueError: the arrays are empty or of different lengths, or `batchsize` is below 1.

    Warnings: UserWarning where `batchsize` is above the number of samples; it shrinks to that.

    >>> import numpy as np
    >>> import tinyflux as flux
    >>> x, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    >>> loader = flux.DataLoader((x, y), batchsize=2)
    >>> len(loader)
    3
    >>> [labels.tolist() for samples, labels in loader]
    [[0, 1], [2, 3], [4]]
    >>> shuffled = flux.DataLoader(y, batchsize=2, shuffle=True, partial=False, rng=np.random.default_rng(0))
    >>> [batch.tolist() for batch in shuffled]
    [[2, 4], [3, 0]]

    Images as bytes in memory, every batch drawn anew and in floating point:

    >>> def augment(batch, rng):
    ...     images, labels = batch
    ...     images = flux.data.random_flip(flux.data.random_crop(images, rng, padding=4), rng)
    ...     return flux.data.normalise(images, mean=(125, 123, 114), std=(63, 62, 67)), labels
    >>> images = np.zeros((10, 32, 32, 3), np.uint8)
    >>> augmented = flux.DataLoader((images, np.arange(10)), batchsize=5, shuffle=True, transform=augment)
    >>> [(x.shape, x.dtype.name) for x, labels in augmented]
    [((5, 32, 32, 3), 'float32'), ((5, 32, 32, 3), 'float32')]
    """

    def __init__(
        self,
        data: T,
        batchsize: int = 1,
        *,
        shuffle: bool = False,
        partial: bool = True,
        transform: Callable[[T, np.random.Generator], Any] | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        samples = _samples(data)
        fix = "Give all arrays as one tuple: DataLoader((x, y))." if is_array(batchsize) else ""
        check_integer("DataLoader", "batchsize", batchsize, 1, fix)
        check_flag("DataLoader", "shuffle", shuffle)
        check_flag("DataLoader", "partial", partial)
        check_generator("DataLoader", rng)
        if transform is not None:
            check_function("DataLoader", "transform", transform, "a function of a batch and a generator")
            check_call("DataLoader", "transform", transform, "a batch and a generator", "", data, rng)
        if batchsize > samples:
            warnings.warn(f"batchsize {batchsize} is above the number of samples; using {samples}", stacklevel=2)
        self.data: T = tuple(data) if isinstance(data, tuple) else data  # type: ignore[assignment]  # no named one
        self.batchsize = min(int(batchsize), samples)
        self.taken = samples if partial else samples - samples % self.batchsize
        self._samples = samples
        self.shuffle = shuffle
        self.transform = transform
        self.rng = rng

    @careful
    def __repr__(self) -> str:
        options = ", shuffle=True" * self.shuffle + ", partial=False" * (self.taken < self._samples)
        if self.transform is not None:
            options += f", transform={getattr(self.transform, '__name__', type(self.transform).__name__)}"
        return f"DataLoader({self._samples:,} samples, batchsize={self.batchsize}{options})"

    def __len__(self) -> int:
        return -(-self.taken // self.batchsize)

    def __iter__(self) -> Iterator[T]:
        batches = map(_picker(self.data_of_a_pass()), self._indices())
        if self.transform is None:
            return batches
        seed = int(self._generator().integers(2**63))
        return map(self.transform, batches, (np.random.default_rng((seed, i)) for i in range(len(self))))

    def data_of_a_pass(self) -> T:
        """The arrays in `data`, in a tree of their own: a pass goes on with them when others are put there."""
        data: T = _copied(self.data)
        samples = _samples(data)
        if samples != self._samples:
            raise ValueError(
                f"DataLoader: expected its data to have {self._samples} samples, as when it was made, got {samples}. "
                "Make a new DataLoader of the new data."
            )
        return data

    def order(self) -> Any:
        """The numbers of the samples of one pass, in the order in which its batches take them; shuffled if that is set.

        An array in NumPy; on the GPU where all of the data lies there.

        >>> import tinyflux as flux
        >>> flux.DataLoader(np.zeros(5), batchsize=2, partial=False).order()
        array([0, 1, 2, 3])
        """
        arrays = tree.leaves(self.data)
        there = all(map(on_gpu, arrays))
        if not self.shuffle:
            return np.arange(self.taken, like=arrays[0] if there else None)
        rng = self._generator()
        return (_on_gpu(rng) if there else rng).permutation(self._samples)[: self.taken]

    def _generator(self) -> np.random.Generator:
        return self.rng or default_rng()

    def _indices(self) -> Iterable[slice | Any]:
        """What to index the arrays with, batch by batch; `map` keeps the cost of a batch well under a microsecond."""
        size = self.batchsize
        slices = map(slice, range(0, self.taken, size), range(size, self.taken + size, size))
        if not self.shuffle:
            return slices
        order = self.order()
        if size == 1:  # a slice is a view: six times faster than an index array, and no launch on the GPU
            order = to_numpy(order)
            return map(slice, order.tolist(), (order + 1).tolist())
        return map(order.__getitem__, slices)


def is_plain_loader(data: Any) -> TypeGuard[DataLoader[Any]]:
    """Whether `order` alone determines the batches: no transform, and no class that redefines iteration."""
    return isinstance(data, DataLoader) and type(data).__iter__ is DataLoader.__iter__ and data.transform is None


@contextlib.contextmanager
def generators_kept(data: Any) -> Iterator[None]:
    """In the end, the generators that passes over the data may draw from are in the states that they had before."""
    own = data.rng if isinstance(data, DataLoader) else None
    generators = [rng.bit_generator for rng in (default_rng(), own) if rng is not None]
    states = [generator.state for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, states):
            generator.state = state


def _on_gpu(rng: np.random.Generator) -> Any:
    """A generator of CuPy's, with a seed that is drawn from `rng`."""
    import cupy

    return cupy.random.RandomState(int(rng.integers(2**63)))


def _samples(data: Any) -> int:
    """The length of the first axis, having checked that all arrays of `data` agree on it."""
    try:
        arrays = dict(_named("data", data))
    except RecursionError:
        refuse(data)
        raise
    if not arrays:
        raise ValueError(f"DataLoader: expected at least one array as data, got {data!r}.")
    for name, array in arrays.items():
        if not is_array(array):
            raise TypeError(
                f"DataLoader: expected {name} to be an array, or a tuple or dict of them, got {shown(array)}."
                f"{_arrays_of(array)}"
            )
        if array.ndim == 0 or len(array) == 0:
            raise ValueError(
                f"DataLoader: expected samples along the first axis of {name}, got an array of shape {array.shape}."
            )
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{length} in {name}" for name, length in lengths.items())
        raise ValueError(
            f"DataLoader: expected first axes of one length, got {found}. Give every array one entry a sample."
        )
    return lengths.popitem()[1]


def _named(name: str, data: Any) -> Iterator[tuple[str, Any]]:
    """The arrays of `data`, or what should be ones, by names such as data[0]['x']."""
    if isinstance(data, (tuple, dict)):
        for key, part in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _named(f"{name}[{key!r}]", part)
    else:
        yield name, data


def _arrays_of(x: Any) -> str:
    """A sentence on what to give instead of `x`, with a space before it, or ""."""
    if isinstance(x, list) and x and all(map(is_array, x)):
        return " Give a tuple: DataLoader((x, y))."
    if isinstance(x, Iterator):
        return " Give np.stack(list(x)), or the batches themselves to train."
    return as_array(x)


def _copied(data: Any) -> Any:
    """Tuples and dicts of their own around the same arrays."""
    if isinstance(data, dict):
        return {key: _copied(part) for key, part in data.items()}
    return tuple([_copied(part) for part in data]) if isinstance(data, tuple) else data


def _picker(data: Any) -> Callable[[Any], Any]:
    """A function that indexes every array of `data`, and gives the results in the form of `data`."""
    if is_array(data):
        return lambda index: data[index]
    parts = data.values() if isinstance(data, dict) else data
    if not all(map(is_array, parts)):
        return lambda index: _picked(data, index)
    if isinstance(data, dict):
        return lambda index: {key: array[index] for key, array in data.items()}
    return lambda index: tuple([array[index] for array in data])


def _picked(data: Any, index: Any) -> Any:
    if isinstance(data, dict):
        return {key: _picked(part, index) for key, part in data.items()}
    return tuple([_picked(part, index) for part in data]) if isinstance(data, tuple) else data[index]
