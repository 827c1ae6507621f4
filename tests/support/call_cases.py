"""Functions that work on whole rows and matrices, and special ones: of a parameter and an array, and their shape."""

import numpy as np
from scipy import special

import tinyflux as flux


def identity(x):
    return np.tril(np.triu(np.ones_like(x)))


def well(x):
    """Matrices that are far from singular, whose rows have to be exchanged."""
    return np.flip(x, -2) + 4 * np.flip(identity(x), -2)


def definite(x):
    return x @ np.swapaxes(x, -1, -2) + 2 * identity(x)


def quantised(x):
    """Many equal numbers, which stay in their order."""
    return np.round(x * 3)


CASES = {
    "sort": (lambda p, x: np.sum(np.sort(p) * x), (7, 90)),
    "sort, columns": (lambda p, x: np.sum(np.sort(p * x, axis=0) * np.cumsum(x, axis=0)), (90, 7)),
    "sort, the middle": (lambda p, x: np.sum(np.sort(p, axis=1) ** 2 * x), (3, 20, 4)),
    "sort, all": (lambda p, x: np.sum(np.sort(p, axis=None) * x.reshape(-1)), (9, 40)),
    "argsort": (lambda p, x: np.sum(np.argsort(quantised(x), axis=1, kind="stable") * p), (7, 90)),
    "argsort, whole numbers": (
        lambda p, x: np.sum(np.argsort(quantised(x).astype(np.int32), kind="stable") * p),
        (7, 9),
    ),
    "argsort, NaN": (lambda p, x: np.sum(np.argsort(np.where(x > 0.5, np.nan, x), kind="stable") * p), (7, 90)),
    "median": (lambda p, x: np.sum(np.median(p, axis=1) ** 2), (7, 9)),
    "largest three": (lambda p, x: np.sum(np.sort(p, axis=1)[:, -3:] * x[:, :3]), (7, 9)),
    "searchsorted": (lambda p, x: np.sum(np.searchsorted(np.sort(x[0]), x) * p), (7, 90)),
    "inv": (lambda p, x: np.sum(np.linalg.inv(well(p)) * x), (6, 6)),
    "inv, a stack": (lambda p, x: np.sum(np.linalg.inv(well(p)) * x), (3, 2, 5, 5)),
    "solve": (lambda p, x: np.sum(np.linalg.solve(well(p), x[:, :2]) ** 2), (40, 40)),
    "solve, vectors": (lambda p, x: np.sum(np.linalg.solve(well(p), x[0]) * x[1]), (9, 9)),
    "det of data": (lambda p, x: np.sum(np.linalg.det(well(x)) * p[:, 0, 0]), (3, 4, 4)),
    "slogdet": (lambda p, x: sum(np.sum(part) for part in np.linalg.slogdet(well(p))[1:]), (3, 4, 4)),
    "singular values": (lambda p, x: np.sum(np.linalg.svd(p, compute_uv=False) ** 3 * x[:, 0]), (3, 6, 4)),
    "pinv": (lambda p, x: np.sum(np.linalg.pinv(p) * np.swapaxes(x, -1, -2)), (2, 6, 4)),
    "det": (lambda p, x: np.sum(np.sin(np.linalg.det(well(p)) / 99)), (3, 4, 4)),
    "cholesky": (lambda p, x: np.sum(np.linalg.cholesky(definite(p)) * x), (3, 7, 7)),
    "cholesky, a large one": (lambda p, x: np.sum(np.linalg.cholesky(definite(p)) * x), (20, 20)),
    "running products": (lambda p, x: np.sum(np.cumprod(1 + p / 9, axis=1) * x), (7, 9)),
    "running maxima": (lambda p, x: np.sum(np.maximum.accumulate(p, axis=1) * x), (7, 9)),
    "logsumexp": (lambda p, x: np.sum(flux.logsumexp(p * x, axis=1) ** 2), (7, 90)),
    "running logsumexp": (lambda p, x: np.sum(np.logaddexp.accumulate(p, axis=1) * x), (7, 9)),
    "digamma": (lambda p, x: np.sum(special.psi(1.5 + p) * x), (7, 9)),
    "digamma of negative numbers": (lambda p, x: np.sum(special.psi(-3.5 + p / 3) * x), (7, 9)),
    "log gamma": (lambda p, x: np.sum(special.gammaln(1.5 + p) * x), (7, 9)),
    "zeta": (lambda p, x: np.sum(special.zeta(2.5, 1.5 + x) * p), (7, 9)),
    "gamma": (lambda p, x: np.sum(special.gamma(1.5 + p) * x), (7, 9)),
}

FAILING = {
    "inv": (lambda x: np.linalg.inv(x), np.array([np.eye(3), np.ones((3, 3))]), "Singular matrix"),
    "solve": (lambda x: np.linalg.solve(x, x[:, :1]), np.zeros((3, 3)), "Singular matrix"),
    "svd": (lambda x: np.linalg.svd(x, compute_uv=False), np.full((3, 3), np.nan), "SVD did not converge"),
    "cholesky": (lambda x: np.linalg.cholesky(x), -np.eye(3), "Matrix is not positive definite"),
}
