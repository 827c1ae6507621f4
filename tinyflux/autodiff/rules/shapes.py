"""Rules of functions that rearrange, join, cut and index arrays."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..operators import cast, reshaped, transposed
from ..rule import composed, primitive, rule, variadic

# Rearranging.
primitive(transposed, lambda g, y, x: g.T)
primitive(reshaped, lambda g, y, x, shape=-1: g.reshape(x.shape))
primitive(cast, lambda g, y, x, dtype=None: g.astype(x.dtype))
composed(np.reshape, lambda a, shape, order="C": reshaped_in_c_order(a, shape, order))
composed(np.ravel, lambda a, order="C": reshaped_in_c_order(a, -1, order))
rule(np.transpose, lambda g, y, x, axes=None: np.transpose(g, None if axes is None else _inverse(axes)))
rule(np.swapaxes, lambda g, y, x, axis1=0, axis2=1: np.swapaxes(g, axis1, axis2))
rule(np.moveaxis, lambda g, y, x, source=0, destination=0: np.moveaxis(g, destination, source))
rule(np.expand_dims, lambda g, y, x, axis=0: g.reshape(x.shape))
rule(np.squeeze, lambda g, y, x, axis=None: g.reshape(x.shape))
rule(np.broadcast_to, lambda g, y, x, shape=(): g)
rule(np.flip, lambda g, y, x, axis=None: np.flip(g, axis))
composed(np.fliplr, lambda m: np.flip(m, 1))
composed(np.flipud, lambda m: np.flip(m, 0))
composed(np.matrix_transpose, lambda x: np.swapaxes(x, -1, -2))
composed(np.atleast_1d, lambda x: x if np.ndim(x) else np.reshape(x, 1))
composed(np.atleast_2d, lambda x: x if np.ndim(x) > 1 else np.reshape(x, (1, -1)))
rule(np.roll, lambda g, y, x, shift=0, axis=None: np.roll(g, _negated(shift), axis))
rule(np.tril, lambda g, y, x, k=0: np.tril(g, k))
rule(np.triu, lambda g, y, x, k=0: np.triu(g, k))


def reshaped_in_c_order(x: Any, shape: Any, order: str) -> Any:
    if order != "C":
        raise TypeError(f"np.reshape: its gradient knows order='C', got order={order!r}. Transpose first instead.")
    return x.reshape(shape)


def _inverse(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argsort([a % len(axes) for a in axes]))


def _negated(shift: Any) -> Any:
    return -shift if isinstance(shift, (int, np.integer)) else tuple(-s for s in shift)


def _tile(x: Any, reps: Any) -> Any:
    reps = tuple(np.ravel(reps).tolist())
    ndim = max(len(reps), x.ndim)
    reps = (1,) * (ndim - len(reps)) + reps
    shape = (1,) * (ndim - x.ndim) + x.shape
    pairs = tuple(n for pair in zip(reps, shape, strict=True) for n in pair)
    columns = tuple(n for size in shape for n in (1, size))
    return np.broadcast_to(x.reshape(columns), pairs).reshape(tuple(r * n for r, n in zip(reps, shape, strict=True)))


def _repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    if axis is None:
        a, axis = a.reshape(-1), 0
    return np.take(a, np.repeat(np.arange(a.shape[axis]), repeats), axis=axis)


composed(np.tile, _tile)
composed(np.repeat, _repeat)


def _pad(g: Any, y: Any, x: Any, pad_width: Any = 0, mode: Any = "constant", constant_values: Any = 0) -> Any:
    if mode != "constant":
        raise TypeError(f"np.pad: its gradient knows mode='constant', got mode={mode!r}. Use np.concatenate of slices.")
    if isinstance(pad_width, dict):
        widths: Any = [pad_width.get(i, pad_width.get(i - x.ndim, 0)) for i in range(x.ndim)]
        before = [w if isinstance(w, int) else w[0] for w in widths]
    else:
        before = np.broadcast_to(pad_width, (x.ndim, 2))[:, 0].tolist()
    return g[tuple(slice(b, b + n) for b, n in zip(before, x.shape, strict=True))]


rule(np.pad, _pad)


# Joining and cutting.
def _concatenate(positions: Sequence[int], g: Any, y: Any, *arrays: Any, axis: int | None = 0) -> Iterator[Any]:
    lengths = [np.size(a) if axis is None else np.shape(a)[axis] for a in arrays]
    ends = list(itertools.accumulate(lengths))
    lead = (slice(None),) * (axis % g.ndim if axis else 0)
    return (g[(*lead, slice(ends[k] - lengths[k], ends[k]))] for k in positions)


def _stack(positions: Sequence[int], g: Any, y: Any, *arrays: Any, axis: int = 0) -> Iterator[Any]:
    g = np.moveaxis(g, axis, 0)
    return (g[k] for k in positions)


variadic(np.concatenate, _concatenate, sequence=True)
variadic(np.stack, _stack, sequence=True)
composed(np.vstack, lambda tup: np.concatenate([np.atleast_2d(x) for x in tup]))
composed(np.hstack, lambda tup: np.concatenate([np.atleast_1d(x) for x in tup], axis=int(np.ndim(tup[0]) > 1)))


def _split(cut: Callable[..., Any]) -> Callable[..., list[Any]]:
    def parts(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
        ends = np.cumsum([len(part) for part in cut(np.arange(ary.shape[axis]), indices_or_sections)]).tolist()
        x = np.moveaxis(ary, axis, 0)
        return [np.moveaxis(x[start:end], 0, axis) for start, end in zip([0, *ends], ends)]

    return parts


composed(np.split, _split(np.split))
composed(np.array_split, _split(np.array_split))
