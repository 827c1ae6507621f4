"""Rules of matrix decompositions, and of what is calculated by them: determinants, pseudo-inverses, least squares."""

from typing import Any

import numpy as np

from ...types import Array
from ..operators import recorded
from ..rule import composed, primitive, rule
from ..tape import plain
from .products import identity_like, t
from .reductions import products_around

# The singular value decomposition A = U S Vᵀ in one array: U, a row of singular values, V.


@recorded
def singular(a: Array) -> Array:
    """U, the row of singular values and V, one below the other."""
    return _packed_svd(a)


def _packed_svd(a: Array) -> Array:
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return np.concatenate([u, np.expand_dims(s, -2), t(vh)], axis=-2)


def _cut(usv: Any, rows: int) -> tuple[Any, Any, Any]:
    return usv[..., :rows, :], usv[..., rows, :], usv[..., rows + 1 :, :]


def _parts(a: Array) -> tuple[Any, Any, Any]:
    """U, the singular values, V."""
    return _cut(singular(a), a.shape[-2])


# The slopes of a determinant are the cofactors: in the bases U and V, products of all singular values but one. Their
# own slopes are products of all but two. Unlike det(A) A⁻ᵀ that is right for singular matrices, too.


def _products_of_others(s: Array) -> tuple[Array, Array]:
    """The products of all numbers along the last axis but one; and of all but two, in a matrix with zeros for one."""
    before, after = products_around(s)
    shifted = np.concatenate([np.ones_like(s[..., :1]), s[..., :-1]], axis=-1)
    ones = np.ones_like(s, shape=(s.shape[-1], s.shape[-1]))
    between = np.cumprod(np.where(np.triu(ones, 2) > 0, np.expand_dims(shifted, -2), 1), axis=-1)
    pairs = np.triu(np.expand_dims(before, -1) * between * np.expand_dims(after, -2), 1)
    return before * after, pairs + t(pairs)


def _turns(u: Array, v: Array) -> Array:
    """The sign of det(U) det(V), as a stack of matrices of one element."""
    return np.expand_dims(np.sign(np.linalg.det(u) * np.linalg.det(v)), (-1, -2))


def _cofactors(a: Array) -> Array:
    u, s, v = _parts(a)
    others, _ = _products_of_others(s)
    return _turns(u, v) * ((u * np.expand_dims(others, -2)) @ t(v))


def _cofactor_slopes(a: Array, g: Array) -> Array:
    """How the cofactors change as the matrix changes by g; their pullback as well, as det is smooth."""
    u, s, v = _parts(a)
    _, others = _products_of_others(s)
    g = t(u) @ g @ v
    diagonal = np.expand_dims(np.diagonal(g, axis1=-2, axis2=-1), -1)
    return _turns(u, v) * (u @ (identity_like(g, g.shape[-1]) * (others @ diagonal) - others * t(g)) @ t(v))


def _third_slopes(e: Any, y: Array, a: Array, g: Array) -> Array:
    """The slopes of ⟨e, _cofactor_slopes(a, g)⟩ in a, by its inverse: singular matrices have none here."""
    b = np.linalg.inv(a)
    x, z = b @ g, b @ e

    def trace(m: Array) -> Array:
        return np.expand_dims(np.trace(m, axis1=-2, axis2=-1), (-1, -2))

    d = b * (trace(x) * trace(z) - trace(x @ z)) - x @ b * trace(z) - z @ b * trace(x) + x @ z @ b + z @ x @ b
    return np.expand_dims(np.linalg.det(a), (-1, -2)) * t(d)


_cofactor_slopes = rule(_cofactor_slopes, _third_slopes, lambda e, y, a, g: _cofactor_slopes(a, e))
cofactors = rule(_cofactors, lambda g, y, a: _cofactor_slopes(a, g))
rule(np.linalg.det, lambda g, y, a: np.expand_dims(g, (-1, -2)) * cofactors(a))


# Singular values and vectors.


def _between(x: Array) -> Array:
    """1 / (xⱼ − xᵢ), and 0 on the diagonal: vectors turn into each other the faster the closer their values are."""
    one = identity_like(x, x.shape[-1])
    return (1 - one) / (np.expand_dims(x, -2) - np.expand_dims(x, -1) + one)


def _svd_slopes(g: Array, y: Array, a: Array) -> Array:
    (u, s, v), (gu, gs, gv) = _cut(y, a.shape[-2]), _cut(g, a.shape[-2])
    turns, rows, columns = _between(s * s), np.expand_dims(s, -2), np.expand_dims(s, -1)
    left, right = t(u) @ gu, t(v) @ gv
    inner = turns * (left - t(left)) * rows + columns * turns * (right - t(right)) + _diagonal_matrix(gs)
    d = u @ inner @ t(v)
    if u.shape[-2] > u.shape[-1]:
        d = d + ((gu - u @ left) / rows) @ t(v)
    if v.shape[-2] > v.shape[-1]:
        d = d + u @ t((gv - v @ right) / rows)
    return d


def _diagonal_matrix(d: Array) -> Array:
    return identity_like(d, d.shape[-1]) * np.expand_dims(d, -2)


def _singular_value_slopes(g: Array, y: Array, a: Array) -> Array:
    u, _, v = _parts(a)
    return (u * np.expand_dims(g, -2)) @ t(v)


def _svd(a: Array, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    if not compute_uv:
        return _singular_values(a)
    if full_matrices and a.shape[-2] != a.shape[-1]:
        raise NotImplementedError(
            "np.linalg.svd: no gradient for the vectors beyond those of singular values, which are not determined. "
            "Call it with full_matrices=False."
        )
    u, s, v = _cut(_singular_vectors(a), a.shape[-2])
    return SVDResult(u, s, t(v))


SVDResult = type(np.linalg.svd(np.ones((1, 1))))
_singular_vectors = rule(_packed_svd, _svd_slopes)
_singular_values = rule(lambda a: np.linalg.svd(a, compute_uv=False), _singular_value_slopes)
primitive(singular, _svd_slopes)
composed(np.linalg.svd, _svd)
composed(np.linalg.svdvals, lambda x, /: np.linalg.svd(x, compute_uv=False))


# Eigenvalues and vectors of symmetric matrices, whose gradients are symmetric; a row of eigenvalues above the vectors.


def _eigh_slopes(g: Array, y: Array, a: Array, UPLO: str = "L") -> Array:
    w, v = y[..., 0, :], y[..., 1:, :]
    d = v @ (_diagonal_matrix(g[..., 0, :]) + _between(w) * (t(v) @ g[..., 1:, :])) @ t(v)
    return 0.5 * (d + t(d))


def _eigenvalue_slopes(g: Array, y: Array, a: Array, UPLO: str = "L") -> Array:
    v = _eigenvectors(a, UPLO=UPLO)[..., 1:, :]
    return (v * np.expand_dims(g, -2)) @ t(v)


def _packed_eigh(a: Array, UPLO: Any = "L") -> Array:
    w, v = np.linalg.eigh(a, UPLO=UPLO)
    return np.concatenate([np.expand_dims(w, -2), v], axis=-2)


def _eigh(a: Array, UPLO: str = "L") -> Any:
    wv = _eigenvectors(a, UPLO=UPLO)
    return EighResult(wv[..., 0, :], wv[..., 1:, :])


EighResult = type(np.linalg.eigh(np.ones((1, 1))))
_eigenvectors = rule(_packed_eigh, _eigh_slopes)
composed(np.linalg.eigh, _eigh)
rule(np.linalg.eigvalsh, _eigenvalue_slopes)


# Q and R, one below the other.


def _packed_qr(a: Array) -> Array:
    return np.concatenate(list(np.linalg.qr(a)), axis=-2)


def _qr_slopes(g: Array, y: Array, a: Array) -> Array:
    rows = a.shape[-2]
    q, r, gq, gr = y[..., :rows, :], y[..., rows:, :], g[..., :rows, :], g[..., rows:, :]
    m = r @ t(gr) - t(gq) @ q
    symmetric = np.tril(m) + t(np.tril(m, -1))
    return t(np.linalg.solve(r, t(gq + q @ symmetric)))


def _qr(a: Array, mode: str = "reduced") -> Any:
    if mode not in ("reduced", "r"):
        raise NotImplementedError(f"np.linalg.qr: its gradient knows the modes 'reduced' and 'r', got {mode!r}.")
    rows = a.shape[-2]
    qr = _orthogonal(a[..., :rows])
    q, r = qr[..., :rows, :], qr[..., rows:, :]
    if a.shape[-1] > rows:
        r = np.concatenate([r, t(q) @ a[..., rows:]], axis=-1)
    return r if mode == "r" else QRResult(q, r)


QRResult = type(np.linalg.qr(np.ones((1, 1))))
_orthogonal = rule(_packed_qr, _qr_slopes)
composed(np.linalg.qr, _qr)


# Pseudo-inverses and least squares, for matrices whose rank stays what it is.


def _pinv_slopes(g: Array, p: Array, a: Array, rcond: Any = None, rtol: Any = None) -> Array:
    gt, pt = t(g), t(p)
    return (gt - a @ (p @ gt)) @ p @ pt + pt @ p @ (gt - gt @ p @ a) - pt @ g @ pt


def _lstsq(a: Array, b: Array, rcond: Any = None) -> tuple[Any, ...]:
    m, n = a.shape
    rcond = np.finfo(a.dtype).eps * max(m, n) if rcond is None else max(rcond, np.finfo(a.dtype).eps)
    x = np.linalg.pinv(a, rcond=rcond) @ b
    s = np.linalg.svd(a, compute_uv=False)
    rank = np.sum(plain(s) > rcond * plain(s)[0]) if min(m, n) else 0
    residuals = np.sum(np.reshape(b - a @ x, (m, -1)) ** 2, axis=0)
    return x, residuals if rank == n and m > n else residuals[:0], rank, s


def _cond(x: Array, p: Any = None) -> Array:
    if p in (None, 2, -2):
        s = np.linalg.svd(x, compute_uv=False)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return np.linalg.norm(x, p, axis=(-2, -1)) * np.linalg.norm(np.linalg.inv(x), p, axis=(-2, -1))


rule(np.linalg.pinv, _pinv_slopes)
composed(np.linalg.lstsq, _lstsq)
composed(np.linalg.cond, _cond)
