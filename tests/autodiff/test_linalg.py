"""Linear algebra at its special points: singular matrices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyflux as flux

SIZES = st.integers(0, 5)


def of_rank(rank, n, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))


def cofactors(a):
    """By their definition: determinants of what is left without a row and a column, with signs."""
    minors = [[np.delete(np.delete(a, i, 0), j, 1) for j in range(len(a))] for i in range(len(a))]
    signs = [[(-1) ** (i + j) for j in range(len(a))] for i in range(len(a))]
    return np.array(signs).reshape(a.shape) * np.linalg.det(np.reshape(minors, (*a.shape, *np.shape(minors)[2:])))


@given(n=st.integers(1, 5), rank=SIZES, seed=SIZES)
def test_the_gradient_of_a_determinant_is_its_cofactors(n, rank, seed):
    """Whatever the rank; and their gradient, by finite differences of the definition."""
    a, e = of_rank(min(rank, n), n, seed), of_rank(n, n, seed + 1)
    np.testing.assert_allclose(flux.gradient(np.linalg.det, a), cofactors(a), atol=1e-12)
    second = flux.gradient(lambda a: np.sum(flux.gradient(np.linalg.det, a) * e), a)
    expected = (cofactors(a + 1e-5 * e) - cofactors(a - 1e-5 * e)) / 2e-5
    np.testing.assert_allclose(second, expected, atol=1e-6)


def test_determinants_by_hand():
    np.testing.assert_allclose(flux.gradient(np.linalg.det, np.array([[1.0, 2.0], [2.0, 4.0]])), [[4, -2], [-2, 1]])
    np.testing.assert_array_equal(flux.gradient(np.linalg.det, np.zeros((1, 1))), [[1]])
    np.testing.assert_array_equal(flux.gradient(np.linalg.det, np.zeros((3, 3))), np.zeros((3, 3)))
    hessian = flux.hessian(np.linalg.det, np.zeros((2, 2))).reshape(4, 4)  # of ad - bc
    np.testing.assert_allclose(hessian, [[0, 0, 0, 1], [0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0]])
    slopes = flux.gradient(lambda a: np.sum(np.linalg.det(a)), np.array([[[1.0, 2.0], [2.0, 4.0]], np.eye(2)]))
    np.testing.assert_allclose(slopes, [[[4, -2], [-2, 1]], np.eye(2)], atol=1e-15)


def test_a_determinant_to_third_order():
    flux.gradcheck(np.linalg.det, of_rank(3, 3, 0), order=3)
    second = lambda a: np.sum(flux.gradient(lambda a: np.sum(np.sin(flux.gradient(np.linalg.det, a))), a))  # noqa: E731
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        flux.gradient(second, np.zeros((3, 3)))
