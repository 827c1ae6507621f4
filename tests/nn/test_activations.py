"""Activations: values and derivatives against recorded ones, stability, shapes and dtypes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import special

import tinyflux as flux
from tests.support.reference import REFERENCE, agrees, derivatives

TABLE = REFERENCE["activations"]["elu"]["inputs"][0]
ELEMENTWISE = ["identity", "sigmoid", "tanh", "relu", "leakyrelu", "elu", "gelu", "swish", "softplus"]
CLASSWISE = ["softmax", "logsoftmax"]


@pytest.mark.parametrize("name", REFERENCE["activations"])
def test_values_and_derivatives_are_those_of_torch(name):
    record = REFERENCE["activations"][name]
    f = getattr(flux, name)
    rows = (lambda x: f(x, axis=-1)) if name == "logsumexp" else f
    value, (first,), (second,) = derivatives(rows, *record["inputs"])
    agrees(value, record["value"])
    agrees(first, record["first"][0])
    if name == "elu":  # no second derivative at 0: torch takes the right side's, we the left side's as for the first
        kink = TABLE.index(0)
        assert second[kink] != 0
        second[kink] = record["second"][0][kink]
    agrees(second, record["second"][0])


@pytest.mark.parametrize("name", ELEMENTWISE + CLASSWISE)
@given(data=st.data())
def test_shape_and_dtype_stay(name, data):
    f = getattr(flux, name)
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    shape = data.draw(array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5))
    x = data.draw(arrays(dtype, shape, elements=st.floats(-1e4, 1e4, width=32)))
    before = x.copy()
    y = f(x)
    g = flux.gradient(lambda x: np.sum(f(x)), x)
    assert y.shape == g.shape == shape
    assert y.dtype == g.dtype == dtype
    assert np.isfinite(y).all()
    assert np.isfinite(g).all()
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_empty_and_zero_dimensional(name, shape):
    x = np.ones(shape, np.float32)
    y = getattr(flux, name)(x)
    assert np.shape(y) == shape
    assert y.dtype == np.float32
    assert flux.gradient(lambda x: np.sum(getattr(flux, name)(x)), x).shape == shape


def test_softmax_of_no_samples():
    x = np.zeros((0, 10), np.float32)
    assert flux.softmax(x).shape == flux.logsoftmax(x).shape == (0, 10)
    assert flux.logsumexp(x, axis=-1).shape == (0,)


@pytest.mark.parametrize("name", [*ELEMENTWISE, *CLASSWISE, "logsumexp"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_overflows(name, dtype):
    """Value, first and second derivative, with warnings being errors."""
    f = getattr(flux, name)
    x = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4], [88.8, -104.0, 710.0]], dtype)

    def slope(x):
        return flux.gradient(lambda x: np.sum(f(x) * f(x)) / 1e4, x)

    with np.errstate(over="raise", divide="raise", invalid="raise"):
        for y in (f(x), slope(x), flux.gradient(lambda x: np.sum(slope(x) * np.cos(x)), x)):
            assert np.isfinite(y).all()
            assert y.dtype == dtype


@pytest.mark.parametrize("name", [*ELEMENTWISE, *CLASSWISE, "logsumexp"])
@given(x=arrays(np.float64, array_shapes(min_dims=1, max_dims=3, max_side=4), elements=st.floats(-4, 4)))
def test_gradients_to_second_order(name, x):
    x = np.where(np.abs(x) < 1e-3, 0.5, x)  # away from the kinks
    flux.gradcheck(getattr(flux, name), x)


@pytest.mark.parametrize("name", [*CLASSWISE, "logsumexp"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_axis(name, axis):
    x = np.random.default_rng(0).standard_normal((20, 3, 4))
    reference = {"softmax": special.softmax, "logsoftmax": special.log_softmax, "logsumexp": special.logsumexp}[name]
    f = getattr(flux, name)
    np.testing.assert_allclose(f(x, axis=axis), reference(x, axis=axis), rtol=1e-13)
    np.testing.assert_allclose(f(x[0], axis=axis % 2), reference(x[0], axis=axis % 2), rtol=1e-13)
    np.testing.assert_allclose(f(x[:, 0], axis=axis % 2), reference(x[:, 0], axis=axis % 2), rtol=1e-13)
    flux.gradcheck(lambda x: f(x, axis=axis), x[:2])


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_logsumexp_of_infinite_numbers():
    """As np.logaddexp has them; −∞ is the logarithm of a way that isn't there."""
    x = np.array([[-np.inf, -np.inf], [-np.inf, 2.0], [np.inf, 0], [np.inf, np.inf], [-np.inf, np.inf], [np.nan, 0]])
    np.testing.assert_array_equal(flux.logsumexp(x, axis=1), [-np.inf, 2, np.inf, np.inf, np.inf, np.nan])
    assert flux.logsumexp(x[:2]) == 2
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = flux.gradient(lambda x: np.sum(flux.logsumexp(x, axis=1)), x[:3])
    np.testing.assert_array_equal(slope, [[np.nan, np.nan], [0, 1], [np.nan, 0]])


@pytest.mark.parametrize("name", [*CLASSWISE, "logsumexp", "softplus"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, bool])
def test_integers_as_logits_do_not_overflow(name, dtype):
    x = np.array([[2, 127, -128, 0]]).astype(dtype)
    np.testing.assert_allclose(getattr(flux, name)(x), getattr(flux, name)(x.astype(float)), rtol=1e-15)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (1,)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp_over_axes(axis, keepdims):
    x = np.random.default_rng(0).standard_normal((2, 3, 4)) * 100
    expected = special.logsumexp(x, axis=axis, keepdims=keepdims)
    actual = flux.logsumexp(x, axis=axis, keepdims=keepdims)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-14)
    flux.gradcheck(lambda x: flux.logsumexp(x, axis=axis, keepdims=keepdims), x / 100)


@given(arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 12)), elements=st.floats(-1e4, 1e4, width=32)))
def test_softmax_adds_up_and_ignores_a_shift(x):
    y = flux.softmax(x)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(y, flux.softmax(np.ascontiguousarray(x.T), axis=0).T)
    np.testing.assert_allclose(np.exp(flux.logsoftmax(x)), y, rtol=2e-3, atol=1e-6)  # e^-40 of a number exact to 1e-3
    assert (y >= 0).all()


def test_batched_rows_equal_single_ones():
    x = np.random.default_rng(0).standard_normal((30, 10)).astype(np.float32)
    np.testing.assert_array_equal(flux.softmax(x), np.stack([flux.softmax(row) for row in x]))


@pytest.mark.parametrize("name", ["relu", "leakyrelu", "elu", "gelu", "swish", "softplus", "sigmoid", "tanh"])
def test_nan_stays_nan(name):
    assert np.isnan(getattr(flux, name)(np.array([np.nan, 1.0]))).tolist() == [True, False]


def test_slopes_at_the_kinks():
    def slope(f):
        return flux.gradient(lambda x: np.sum(f(x)), np.zeros(1)).item()

    assert slope(flux.relu) == 0
    assert slope(lambda x: flux.leakyrelu(x, 0.25)) == 0.25
    assert slope(lambda x: flux.elu(x, 0.5)) == 0.5


def test_parameters_of_activations():
    x = np.array([-2.0, 3.0])
    np.testing.assert_allclose(flux.leakyrelu(x, a=0.2), [-0.4, 3.0])
    np.testing.assert_allclose(flux.elu(x, a=2.0), [2 * np.expm1(-2.0), 3.0])
    flux.gradcheck(lambda x: flux.leakyrelu(x, a=0.2), x)
    flux.gradcheck(lambda x: flux.elu(x, 2.0), x)
