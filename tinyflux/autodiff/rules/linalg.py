"""Rules of numpy.linalg's systems of equations and norms; what needs singular values is in decompositions.py."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ...types import Array
from ..rule import composed, constant, rule
from .products import identity_like, t
from .reductions import root


def _solve_right(g: Array, y: Array, a: Array, b: Array) -> Array:
    return np.linalg.solve(t(a), np.expand_dims(g, -1))[..., 0] if b.ndim == 1 else np.linalg.solve(t(a), g)


def _solve_left(g: Array, y: Array, a: Array, b: Array) -> Array:
    d = _solve_right(g, y, a, b)
    return -np.expand_dims(d, -1) * np.expand_dims(y, -2) if b.ndim == 1 else -d @ t(y)


def _cholesky(g: Array, y: Array, a: Array) -> Array:
    """Symmetric, as the field has it: NumPy reads the lower triangle, and means a symmetric matrix."""
    phi = np.tril(t(y) @ g)
    phi = phi - 0.5 * np.tril(np.triu(phi))
    half = np.linalg.solve(t(y), phi)
    s = t(np.linalg.solve(t(y), t(half)))
    return 0.5 * (s + t(s))


def _matrix_power(a: Array, n: int) -> Array:
    if n < 0:
        a, n = np.linalg.inv(a), -n
    y = np.zeros_like(a) + identity_like(a, a.shape[-1]) if n == 0 else None
    while n:
        if n % 2:
            y = a if y is None else y @ a
        n //= 2
        a = a @ a if n else a
    return y


def _multi_dot(arrays: Sequence[Any]) -> Array:
    """The product in the order that takes the fewest multiplications."""
    first, last = arrays[0].ndim == 1, arrays[-1].ndim == 1
    inner = [x.shape[0] for x in arrays[1:]]
    lengths = [1 if first else arrays[0].shape[0], *inner, 1 if last else arrays[-1].shape[-1]]

    @functools.cache
    def cheapest(i: int, j: int) -> tuple[int, int]:
        """The cost of arrays i to j, and where they are cut in two."""
        if i == j:
            return 0, i
        costs = ((cheapest(i, k)[0] + cheapest(k + 1, j)[0] + lengths[i] * lengths[k + 1] * lengths[j + 1], k)
                 for k in range(i, j))  # fmt: skip
        return min(costs)

    def product(i: int, j: int) -> Array:
        k = cheapest(i, j)[1]
        return arrays[i] if i == j else product(i, k) @ product(k + 1, j)

    return product(0, len(arrays) - 1)


def _tensorinv(a: Array, ind: int = 2) -> Array:
    shape = a.shape[ind:] + a.shape[:ind]
    return np.linalg.inv(a.reshape(math.prod(a.shape[:ind]), -1)).reshape(shape)


def _tensorsolve(a: Array, b: Array, axes: Any = None) -> Array:
    if axes is not None:
        a = np.moveaxis(a, axes, range(a.ndim - len(axes), a.ndim))
    return np.linalg.solve(a.reshape(b.size, -1), b.reshape(-1)).reshape(a.shape[b.ndim :])


composed(np.linalg.matrix_power, _matrix_power)
composed(np.linalg.multi_dot, _multi_dot)
composed(np.linalg.tensorinv, _tensorinv)
composed(np.linalg.tensorsolve, _tensorsolve)
rule(np.linalg.inv, lambda g, y, a: -t(y) @ g @ t(y))
rule(np.linalg.solve, _solve_left, _solve_right)
_lower_factor = rule(lambda a: np.linalg.cholesky(a), _cholesky)
composed(np.linalg.cholesky, lambda a, *, upper=False: t(_lower_factor(t(a))) if upper else _lower_factor(a))

_logabsdet = rule(
    lambda a: np.linalg.slogdet(a)[1],  # CuPy's result has no names
    lambda g, y, a: np.expand_dims(g, (-1, -2)) * t(np.linalg.inv(a)),
)
_detsign = rule(lambda a: np.linalg.slogdet(a)[0], None)
SlogdetResult = type(np.linalg.slogdet(np.ones((1, 1))))
composed(np.linalg.slogdet, lambda a: SlogdetResult(_detsign(a), _logabsdet(a)))


def _norm(x: Array, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:  # noqa: A002
    if x.dtype.kind not in "fc":
        x = x.astype(np.float64)
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if ord is None and axis is None and not keepdims:
        x = np.reshape(x, -1)
        return root(np.dot(x, x))
    if ord is None or (ord == "fro" and len(axes) == 2) or (ord == 2 and len(axes) == 1):
        return root(np.sum(x * x, axis=axes, keepdims=keepdims))
    if len(axes) == 1 and not isinstance(ord, str):
        return _vector_norm(x, ord, axes[0], keepdims)
    if len(axes) == 2 and ord in (1, -1, np.inf, -np.inf):
        columns, rows = axes if abs(ord) == 1 else axes[::-1]
        sums = np.sum(np.abs(x), axis=columns, keepdims=True)
        y = _extreme(ord, sums, rows, keepdims=True)
        return y if keepdims else np.squeeze(y, axis=axes)
    if len(axes) == 2 and ord in (2, -2, "nuc"):
        values = np.linalg.svd(np.moveaxis(x, axes, (-2, -1)), compute_uv=False)
        y = np.sum(values, axis=-1) if ord == "nuc" else (np.max if ord > 0 else np.min)(values, axis=-1)
        return np.expand_dims(y, axes) if keepdims else y
    raise NotImplementedError(f"np.linalg.norm: no gradient for ord={ord!r} over {len(axes)} axes; write it out.")


def _vector_norm(x: Array, ord: float, axis: int, keepdims: bool) -> Array:  # noqa: A002
    if ord == 0:
        return np.sum((x != 0).astype(x.dtype), axis=axis, keepdims=keepdims)
    if ord == 1:
        return np.sum(np.abs(x), axis=axis, keepdims=keepdims)
    if ord in (np.inf, -np.inf):
        return _extreme(ord, np.abs(x), axis, keepdims)
    return root(np.sum(np.abs(x) ** ord, axis=axis, keepdims=keepdims), ord)


def _extreme(ord: float, x: Array, axis: int, keepdims: bool) -> Array:  # noqa: A002
    """The largest number, or with a negative ord the smallest; the largest of none is 0."""
    options: dict[str, Any] = {} if x.size or ord < 0 else {"initial": 0}
    return (np.max if ord > 0 else np.min)(x, axis=axis, keepdims=keepdims, **options)


def _norm_of_vectors(x: Array, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Array:  # noqa: A002
    """The norm along axes whose elements are one vector."""
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim)
    vectors = np.moveaxis(x, axes, range(x.ndim - len(axes), x.ndim))
    vectors = vectors.reshape((*vectors.shape[: x.ndim - len(axes)], -1))
    y = np.linalg.norm(vectors, ord, axis=-1)
    return np.expand_dims(y, axes) if keepdims else y


composed(np.linalg.norm, _norm)
composed(np.linalg.vector_norm, _norm_of_vectors)
composed(
    np.linalg.matrix_norm,
    lambda x, /, *, keepdims=False, ord="fro": np.linalg.norm(x, ord, axis=(-2, -1), keepdims=keepdims),  # noqa: A006
)
constant(np.linalg.matrix_rank)
