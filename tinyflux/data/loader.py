"""Mini-batches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from ..arrays import default_rng, is_array

T = TypeVar("T")


class DataLoader(Generic[T]):
    """Data cut into batches along the first axis; each iteration is one pass over all samples.

    Arguments:
        data: an array, or a tuple or dict of arrays whose first axes, the samples, are equally long: NumPy's or CuPy's.
        batchsize: the number of samples in a batch, at least 1.
        shuffle: whether every pass takes the samples in a new random order.
        partial: whether the last batch may be smaller; if not, the samples left over sit this pass out.
        rng: the `numpy.random.Generator` that shuffles, by default the one that `tinyflux.seed` restarts.

    Iterating gives each batch in the form of `data`: an array, a tuple or a dict. Batches may be views of the data:
    read them, do not write into them. `len` gives the number of batches.

    Raises:
        TypeError: `data` holds something else than arrays, `batchsize` is not an integer, or `rng` not a Generator.
        ValueError: the arrays are empty or of different lengths, or `batchsize` is below 1.

    Warns:
        UserWarning: `batchsize` is above the number of samples, and shrinks to it.

    >>> import numpy as np
    >>> import tinyflux as flux
    >>> x, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    >>> loader = flux.data.DataLoader((x, y), batchsize=2)
    >>> len(loader)
    3
    >>> [labels.tolist() for samples, labels in loader]
    [[0, 1], [2, 3], [4]]
    >>> shuffled = flux.data.DataLoader(y, batchsize=2, shuffle=True, partial=False, rng=np.random.default_rng(0))
    >>> [batch.tolist() for batch in shuffled]
    [[2, 4], [3, 0]]
    """

    def __init__(
        self,
        data: T,
        batchsize: int = 1,
        *,
        shuffle: bool = False,
        partial: bool = True,
        rng: np.random.Generator | None = None,
    ) -> None:
        samples = _samples(data)
        if isinstance(batchsize, bool) or not isinstance(batchsize, (int, np.integer)):
            raise TypeError(f"batchsize: expected an integer, got {batchsize!r}")
        if batchsize < 1:
            raise ValueError(f"batchsize: expected at least 1, got {batchsize}")
        if not isinstance(rng, (np.random.Generator, type(None))):
            raise TypeError(
                f"rng: expected a numpy.random.Generator, got {rng!r}; make one by numpy.random.default_rng(0)"
            )
        if batchsize > samples:
            warnings.warn(f"batchsize {batchsize} is above the number of samples; using {samples}", stacklevel=2)
        self._data = data
        self._size = min(int(batchsize), samples)
        self._stop = samples if partial else samples - samples % self._size
        self._samples = samples
        self._shuffle = shuffle
        self._rng = rng

    def __repr__(self) -> str:
        options = ", shuffle=True" * self._shuffle + ", partial=False" * (self._stop < self._samples)
        return f"DataLoader({self._samples:,} samples, batchsize={self._size}{options})"

    def __len__(self) -> int:
        return -(-self._stop // self._size)

    def __iter__(self) -> Iterator[T]:
        return map(_picker(self._data), self._indices())

    def _indices(self) -> Iterable[slice | np.ndarray]:
        """What to index the arrays with, batch by batch; `map` keeps the cost of a batch well under a microsecond."""
        slices = map(slice, range(0, self._stop, self._size), range(self._size, self._stop + self._size, self._size))
        if not self._shuffle:
            return slices
        order = (self._rng or default_rng()).permutation(self._samples)
        if self._size == 1:  # a slice is a view: six times faster than an index array
            return map(slice, order.tolist(), (order + 1).tolist())
        return map(order.__getitem__, slices)


def _samples(data: Any) -> int:
    """The length of the first axis, having checked that all arrays of `data` agree on it."""
    if isinstance(data, (tuple, dict)):
        items = data.items() if isinstance(data, dict) else enumerate(data)
        arrays = {f"data[{key!r}]": array for key, array in items}
    else:
        arrays = {"data": data}
    if not arrays:
        raise ValueError(f"data: expected at least one array, got {data!r}")
    for name, array in arrays.items():
        if not is_array(array):
            raise TypeError(f"{name}: expected an array, or a tuple or dict of arrays, got {type(array).__name__}")
        if array.ndim == 0 or len(array) == 0:
            raise ValueError(f"{name}: expected samples along the first axis, got an array of shape {array.shape}")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{length} in {name}" for name, length in lengths.items())
        raise ValueError(f"data: expected first axes of one length, got {found}; give every array one entry a sample")
    return lengths.popitem()[1]


def _picker(data: Any) -> Callable[[Any], Any]:
    """A function that indexes every array of `data`, and gives the results in the form of `data`."""
    if isinstance(data, tuple):
        return lambda index: tuple([array[index] for array in data])
    if isinstance(data, dict):
        return lambda index: {key: array[index] for key, array in data.items()}
    return lambda index: data[index]
