"""stop_gradient: a value as a constant, to every order, in trees, nested and compiled."""

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.compile.backends.c.compiler import available

X = np.array([2.0, 3.0])


def held(x):
    return np.sum(flux.stop_gradient(x) * x**2)


def test_nothing_flows_through_it():
    assert flux.gradient(held, X).tolist() == [8.0, 18.0]  # 2 x · x, and not 3 x²
    assert flux.hessian(held, X).tolist() == [[4.0, 0.0], [0.0, 6.0]]
    assert flux.gradient(lambda x: flux.stop_gradient(x) * x, 2.0) == 2.0
    assert flux.gradient(lambda x: np.sum(flux.stop_gradient(x)), X) is None


def test_it_stops_outer_gradients_too():
    def inner(x):
        return flux.gradient(lambda y: np.sum(flux.stop_gradient(y * x) * y), X)

    assert flux.gradient(lambda x: np.sum(inner(x)), 2.0) is None
    assert inner(2.0).tolist() == [4.0, 6.0]


def test_trees_keep_their_values_and_their_form():
    model = [flux.Dense(2, 3), {"w": X, "n": 3}]
    copy = flux.stop_gradient(model)
    assert type(copy[0]) is flux.Dense
    assert copy[1]["n"] == 3
    for x, y in zip(flux.leaves(model), flux.leaves(copy), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    grads = flux.gradient(lambda m: np.sum(m[1]["w"] * flux.stop_gradient(m)[1]["w"]), model)
    assert grads[0].weight is None
    assert grads[1]["w"].tolist() == X.tolist()


def test_the_value_is_a_copy():
    y = flux.stop_gradient(X)
    assert not np.shares_memory(X, y)


@pytest.mark.skipif(not available(), reason="there is no C compiler here")
def test_compiled():
    assert flux.compile(lambda x: flux.gradient(held, x))(X).tolist() == [8.0, 18.0]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_dtypes_stay(dtype):
    assert flux.stop_gradient(X.astype(dtype)).dtype == dtype
