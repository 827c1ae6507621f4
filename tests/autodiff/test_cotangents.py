"""What a pullback may return: the shape and kind of its argument, or of what that was broadcast to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyflux as flux
from tinyflux.autodiff.large import LARGE


def rule_that_returns(d, function=lambda x: x * x, **options):
    return flux.rule(function, lambda g, y, x: d, **options)


X = np.ones((2, 3))


@pytest.mark.parametrize("shape", [(3, 2), (6,), (1, 6), (2, 3, 1), (1, 2, 3), (2, 1), (3,), (), (4, 2, 3), (0, 2, 3)])
def test_another_shape_is_an_error(shape):
    wrong = rule_that_returns(np.ones(shape))
    with pytest.raises(
        ValueError, match=r"expected its pullback for argument 0 to return the shape \(2, 3\)"
    ) as caught:
        flux.gradient(lambda x: np.sum(wrong(x)), X)
    assert str(caught.value).endswith(f"got {shape}.")


def test_the_rule_and_the_argument_are_named():
    def product(x, y):
        return x * y

    product = flux.rule(product, lambda g, z, x, y: g * y, lambda g, z, x, y: (g * x).T)
    with pytest.raises(ValueError, match=r"product: expected its pullback for argument 1 .* \(2, 3\) .*, got \(3, 2\)"):
        flux.gradient(lambda x: np.sum(product(x, x)), X)


@pytest.mark.parametrize(
    ("d", "got"),
    [
        (1.0, "an array of shape (2, 3), got float"),
        (None, "an array of shape (2, 3), got NoneType"),
        ([[1.0] * 3] * 2, "got list"),
        ((X, X), "got tuple"),
        (np.ones((2, 3), int), "floating-point numbers, got int64"),
        (X > 0, "floating-point numbers, got bool"),
    ],
)
def test_what_is_no_real_array_is_an_error(d, got):
    with pytest.raises(TypeError) as caught:
        flux.gradient(lambda x: np.sum(rule_that_returns(d)(x)), X)
    assert got in str(caught.value)
    assert "expected its pullback for argument 0 to return" in str(caught.value)


def test_a_complex_cotangent_is_an_error():
    with pytest.raises(
        TypeError, match="its argument 0 has the dtype float64 and a cotangent of complex128, but tinyflux"
    ):
        flux.gradient(lambda x: np.sum(rule_that_returns(X * 1j)(x)), X)


def test_other_precision_is_cast():
    g = flux.gradient(lambda x: np.sum(rule_that_returns(np.full((2, 3), 3.0))(x)), X.astype(np.float32))
    assert g.dtype == np.float32
    assert (g == 3).all()


def test_nothing_flows_to_integers():
    """Neither to a result that is made of whole numbers, nor past it."""
    count = flux.rule(lambda x: np.floor(x).astype(int), lambda g, y, x: g)
    assert flux.gradient(lambda x: np.sum(count(x) * 2.5), X) is None
    assert flux.gradient(lambda x: np.sum(x * count(x)), X).tolist() == X.tolist()
    assert flux.gradient(lambda x: np.sum(count(x)), X) is None


dims = st.integers(0, 3)


@given(st.lists(dims, max_size=3), st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 3))
def test_a_broadcast_argument_gets_the_sum(shape, ones, dropped):
    """Σ over the axes of g: for each element the sum over the places to which it was broadcast."""
    small = tuple(1 if one else n for n, one in zip(shape, ones))[dropped:]
    rng = np.random.default_rng(0)
    weights = rng.integers(-5, 5, shape).astype(float)
    product = flux.rule(lambda x, y: x * y, lambda g, z, x, y: g * y, lambda g, z, x, y: g * x)
    expected = np.zeros(small)
    for index in np.ndindex(*shape):
        kept = tuple(0 if n == 1 else i for i, n in zip(index[len(shape) - len(small) :], small))
        expected[kept] += weights[index]
    g = flux.gradient(lambda x: np.sum(product(x, weights)), np.ones(small))
    assert g.shape == small
    np.testing.assert_array_equal(g, expected)


def test_large_arrays_by_blocks():
    n = LARGE // 64
    wrong = flux.rule(lambda x, w: x * w, None, lambda g, y, x, w: (g * x)[:, :1], rows=[0])
    with pytest.raises(ValueError, match=r"argument 1 to return the shape \(128,\)"):
        flux.gradient(lambda w: np.sum(wrong(np.ones((n, 128)), w)), np.ones(128))
    right = flux.rule(lambda x, w: x * w, None, lambda g, y, x, w: g * x, rows=[0])
    assert (flux.gradient(lambda w: np.sum(right(np.ones((n, 128)), w)), np.ones(128)) == n).all()


def test_an_operand_that_einsum_broadcasts():
    """Along an axis of size 1, Σᵢⱼ aᵢⱼ bᵢⱼ with a of one row: ∂/∂aⱼ = Σᵢ bᵢⱼ."""
    b = np.arange(6.0).reshape(3, 2)
    for subscripts in ("ij,ij->", "ij,ij->j", "...j,...j->..."):
        g = flux.gradient(lambda a: np.sum(np.einsum(subscripts, a, b)), np.ones((1, 2)))  # noqa: B023
        np.testing.assert_array_equal(g, b.sum(axis=0, keepdims=True))
