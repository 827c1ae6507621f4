"""Rules of matrix decompositions, and of what is calculated by them: singular values, determinants."""

from typing import Any

import numpy as np

from ..operators import ArrayOperators
from ..rule import rule
from .products import identity_like, t

# The singular value decomposition A = U S Vᵀ in one array: U, a row of singular values, V.


def singular(a: Any) -> Any:
    """U, the row of singular values and V, one below the other."""
    if isinstance(a, ArrayOperators):
        return a._apply(singular, (a,))
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return np.concatenate([u, np.expand_dims(s, -2), t(vh)], axis=-2)


def _parts(a: Any) -> tuple[Any, Any, Any]:
    """U, the singular values, V."""
    usv, rows = singular(a), a.shape[-2]
    return usv[..., :rows, :], usv[..., rows, :], usv[..., rows + 1 :, :]


# The slopes of a determinant are the cofactors: in the bases U and V, products of all singular values but one. Their
# own slopes are products of all but two. Unlike det(A) A⁻ᵀ that is right for singular matrices, too.


def _products_of_others(s: Any) -> tuple[Any, Any]:
    """The products of all numbers along the last axis but one; and of all but two, in a matrix with zeros for one."""
    one = np.ones_like(s[..., :1])
    shifted = np.concatenate([one, s[..., :-1]], axis=-1)
    before = np.cumprod(shifted, axis=-1)
    after = np.flip(np.cumprod(np.flip(np.concatenate([s[..., 1:], one], axis=-1), -1), axis=-1), -1)
    ones = np.ones_like(s, shape=(s.shape[-1], s.shape[-1]))
    between = np.cumprod(np.where(np.triu(ones, 2) > 0, np.expand_dims(shifted, -2), 1), axis=-1)
    pairs = np.triu(np.expand_dims(before, -1) * between * np.expand_dims(after, -2), 1)
    return before * after, pairs + t(pairs)


def _turns(u: Any, v: Any) -> Any:
    """The sign of det(U) det(V), as a stack of matrices of one element."""
    return np.expand_dims(np.sign(np.linalg.det(u) * np.linalg.det(v)), (-1, -2))


def _cofactors(a: Any) -> Any:
    u, s, v = _parts(a)
    others, _ = _products_of_others(s)
    return _turns(u, v) * ((u * np.expand_dims(others, -2)) @ t(v))


def _cofactor_slopes(a: Any, g: Any) -> Any:
    """How the cofactors change as the matrix changes by g; their pullback as well, as det is smooth."""
    u, s, v = _parts(a)
    _, others = _products_of_others(s)
    g = t(u) @ g @ v
    diagonal = np.expand_dims(np.diagonal(g, axis1=-2, axis2=-1), -1)
    return _turns(u, v) * (u @ (identity_like(g, g.shape[-1]) * (others @ diagonal) - others * t(g)) @ t(v))


def _third_slopes(e: Any, y: Any, a: Any, g: Any) -> Any:
    """The slopes of ⟨e, _cofactor_slopes(a, g)⟩ in a, by its inverse: singular matrices have none here."""
    b = np.linalg.inv(a)
    x, z = b @ g, b @ e

    def trace(m: Any) -> Any:
        return np.expand_dims(np.trace(m, axis1=-2, axis2=-1), (-1, -2))

    d = b * (trace(x) * trace(z) - trace(x @ z)) - x @ b * trace(z) - z @ b * trace(x) + x @ z @ b + z @ x @ b
    return np.expand_dims(np.linalg.det(a), (-1, -2)) * t(d)


_cofactor_slopes = rule(_cofactor_slopes, _third_slopes, lambda e, y, a, g: _cofactor_slopes(a, e))
cofactors = rule(_cofactors, lambda g, y, a: _cofactor_slopes(a, g))
rule(np.linalg.det, lambda g, y, a: np.expand_dims(g, (-1, -2)) * cofactors(a))
