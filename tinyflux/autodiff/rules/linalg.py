"""Rules of numpy.linalg's systems of equations and norms; what needs singular values is in decompositions.py."""

from typing import Any

import numpy as np

from ..rule import composed, constant, rule
from .products import t
from .reductions import root


def _solve_right(g: Any, y: Any, a: Any, b: Any) -> Any:
    return np.linalg.solve(t(a), np.expand_dims(g, -1))[..., 0] if b.ndim == 1 else np.linalg.solve(t(a), g)


def _solve_left(g: Any, y: Any, a: Any, b: Any) -> Any:
    d = _solve_right(g, y, a, b)
    return -np.expand_dims(d, -1) * np.expand_dims(y, -2) if b.ndim == 1 else -d @ t(y)


def _inverse(g: Any, y: Any, a: Any) -> Any:
    return -t(y) @ g @ t(y)


def _over_matrices(g: Any) -> Any:
    return np.expand_dims(g, (-1, -2))


def _cholesky(g: Any, y: Any, a: Any) -> Any:
    """Symmetric, as the field has it: NumPy reads the lower triangle, and means a symmetric matrix."""
    phi = np.tril(t(y) @ g)
    phi = phi - 0.5 * np.tril(np.triu(phi))
    half = np.linalg.solve(t(y), phi)
    s = t(np.linalg.solve(t(y), t(half)))
    return 0.5 * (s + t(s))


rule(np.linalg.inv, _inverse)
rule(np.linalg.solve, _solve_left, _solve_right)
rule(np.linalg.cholesky, _cholesky)

_logabsdet = rule(
    lambda a: np.linalg.slogdet(a)[1],  # CuPy's result has no names
    lambda g, y, a: _over_matrices(g) * t(np.linalg.inv(a)),
)
_detsign = rule(lambda a: np.linalg.slogdet(a)[0], None)
SlogdetResult = type(np.linalg.slogdet(np.ones((1, 1))))
composed(np.linalg.slogdet, lambda a: SlogdetResult(_detsign(a), _logabsdet(a)))


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
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
        y = (np.max if ord > 0 else np.min)(sums, axis=rows, keepdims=True)
        return y if keepdims else np.squeeze(y, axis=axes)
    raise NotImplementedError(f"np.linalg.norm: no gradient for ord={ord!r} over {len(axes)} axes; write it out.")


def _vector_norm(x: Any, ord: float, axis: int, keepdims: bool) -> Any:  # noqa: A002
    if ord == 0:
        return np.sum((x != 0).astype(x.dtype), axis=axis, keepdims=keepdims)
    if ord == 1:
        return np.sum(np.abs(x), axis=axis, keepdims=keepdims)
    if ord in (np.inf, -np.inf):
        return (np.max if ord > 0 else np.min)(np.abs(x), axis=axis, keepdims=keepdims)
    return root(np.sum(np.abs(x) ** ord, axis=axis, keepdims=keepdims), ord)


composed(np.linalg.norm, _norm)
constant(np.linalg.matrix_rank)
