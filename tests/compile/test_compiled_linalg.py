"""Decompositions written in C: what they have to fulfil, for matrices of every shape and rank."""

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.autodiff.rules.decompositions import singular
from tinyflux.compile.backends.c.build import available

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

SHAPES = [(3, 3, 3), (3, 3, 2), (4, 4, 1), (4, 4, 0), (5, 3, 3), (5, 3, 1), (2, 6, 2), (1, 1, 1), (0, 0, 0), (3, 0, 0),
          (30, 30, 30), (30, 30, 20), (1, 7, 1)]  # fmt: skip
EXACT = {np.float64: 1e-13, np.float32: 5e-6}


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("scale", [1, 1e-30, 1e30])
def test_singular_values(dtype, scale):
    """Rows and columns at right angles, A = U S Vᵀ, and LAPACK's singular values."""
    rng = np.random.default_rng(0)
    products = [rng.standard_normal((m, r)) @ rng.standard_normal((r, n)) for m, n, r in SHAPES]
    matrices = [(a * scale).astype(dtype) for a in products]
    found = flux.compile(lambda matrices: [singular(a) for a in matrices])(matrices)
    for a, usv in zip(matrices, found, strict=True):
        (m, n), k = a.shape, min(a.shape)
        u, s, v = usv[:m], usv[m], usv[m + 1 :]
        exact = EXACT[dtype] * np.linalg.norm(a.astype(float))
        assert (usv.dtype, v.shape) == (dtype, (n, k))
        np.testing.assert_allclose(u.T @ u, np.eye(k), atol=EXACT[dtype])
        np.testing.assert_allclose(v.T @ v, np.eye(k), atol=EXACT[dtype])
        np.testing.assert_allclose((u * s) @ v.T, a, rtol=0, atol=exact)
        np.testing.assert_allclose(s, np.linalg.svd(a, compute_uv=False) if a.size else s, rtol=0, atol=exact)


def test_matrices_that_are_not_finite():
    compiled = flux.compile(singular)
    for number in (np.nan, np.inf):
        with pytest.raises(np.linalg.LinAlgError, match="SVD did not converge"):
            compiled(np.array([[1.0, number], [0.0, 1.0]]))


def test_slopes_of_singular_determinants():
    rng = np.random.default_rng(1)
    matrices = [rng.standard_normal((n, r)) @ rng.standard_normal((r, n)) for n in (1, 2, 4) for r in range(n + 1)]
    slope = lambda a: flux.gradient(np.linalg.det, a)  # noqa: E731
    again = lambda a: flux.gradient(lambda a: np.sum(slope(a) * np.cos(a)), a)  # noqa: E731
    both = lambda matrices: [(slope(a), again(a)) for a in matrices]  # noqa: E731
    for got, expected in zip(flux.compile(both)(matrices), both(matrices), strict=True):
        np.testing.assert_allclose(got[0], expected[0], atol=1e-13)
        np.testing.assert_allclose(got[1], expected[1], atol=1e-13)


@pytest.mark.parametrize("kind", [np.int8, np.bool_, np.int64])
def test_integers_are_calculated_with_in_float64(kind):
    """However short they are, and whatever stands on the right."""
    a, b = np.array([[1, 0], [1, 1]], kind), np.array([1, 0.1], np.float32)
    for f in (lambda a, b: np.linalg.solve(a, b), lambda a, b: np.linalg.inv(a), lambda a, b: np.linalg.det(a)):
        found, expected = flux.compile(f)(a, b), f(a, b)
        assert found.dtype == expected.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=1e-15)
