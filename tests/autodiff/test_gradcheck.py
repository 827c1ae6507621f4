"""gradcheck: it accepts what is right, and names what is wrong."""

import numpy as np
import pytest

import tinyflux as flux
from tinyflux import GradientError, gradcheck

X = np.array([[0.3, -1.2], [2.0, 0.7]])


def test_it_accepts_right_gradients():
    assert gradcheck(np.sin, X) is None
    gradcheck(lambda x, y: x @ y, X, X[0], order=3)
    gradcheck(lambda p, x: p["w"] @ x + p["rest"][0].b, {"w": X, "rest": [Node(X[0])]}, X[1])
    gradcheck(lambda x: x**2, 3.0)
    gradcheck(lambda x: np.sum(x), np.zeros((0, 2)))
    gradcheck(np.sign, X)
    gradcheck(lambda x: np.ones(3), X)
    gradcheck(lambda x: x * 1e6, X * 1e6, rng=np.random.default_rng(5))


class Node:
    """A node of a tree."""

    buffers = ("n",)

    def __init__(self, b):
        self.b, self.n, self.k = b, np.ones(3, np.float32), np.arange(2)


def test_buffers_and_integers_are_left_alone():
    gradcheck(lambda m: m.b * m.n[:2] + m.k, Node(X[0]))


WRONG = {
    "a sign": lambda g, y, x: -2 * g * x,
    "a factor": lambda g, y, x: g * x,
    "a small error": lambda g, y, x: g * (2 * x + 1e-4),
    "nothing": lambda g, y, x: 0 * g,
    "NaN": lambda g, y, x: g * np.nan,
    "one element": lambda g, y, x: 2 * g * np.concatenate([x[:1], 1.01 * x[1:]]),
}


@pytest.mark.parametrize("pullback", WRONG.values(), ids=WRONG)
def test_a_wrong_pullback(pullback):
    square = flux.rule(lambda x: x * x, pullback)
    with pytest.raises(GradientError, match=r"order 1\) for argument 1 in direction 1 is .* but the gradient gives"):
        gradcheck(lambda a, x: a + square(x), X, X)
    with pytest.raises(GradientError, match=r"argument 0\['w'\]\[1\]"):
        gradcheck(lambda p: p["w"][0] + square(p["w"][1]), {"w": [X, X]})


def test_a_wrong_second_derivative():
    """2x is right, but its own slope is lost on the way."""
    square = flux.rule(lambda x: x * x, lambda g, y, x: 2 * g * flux.autodiff.tape.plain(x))
    gradcheck(square, X, order=1)
    with pytest.raises(GradientError, match="order 2"):
        gradcheck(square, X)


def test_a_pullback_that_forgets_its_cotangent_at_second_order():
    square = flux.rule(lambda x: x * x, lambda g, y, x: 2 * flux.autodiff.tape.plain(g) * x)
    gradcheck(square, X, order=1)
    with pytest.raises(GradientError, match=r"order 2\) for argument 0 "):
        gradcheck(square, X)


def overwrite(x):
    x[...] = 0


@pytest.mark.parametrize(("k", "name"), [(0, "the cotangent"), (1, "the result"), (2, "argument 0")])
def test_a_pullback_that_changes_its_input(k, name):
    def pullback(*inputs):
        found = 2 * inputs[0] * inputs[2]
        overwrite(inputs[k])
        return found

    square = flux.rule(lambda x: x * x, pullback)
    with pytest.raises(GradientError, match=f"{name} was changed"):
        gradcheck(square, X.copy(), order=1)


def test_a_function_that_changes_its_input():
    def f(x):
        if isinstance(x, np.ndarray):
            overwrite(x)
        return x * 1

    with pytest.raises(GradientError, match=r"argument 0 was changed|outside a gradient"):
        gradcheck(f, X.copy())


def test_a_function_with_another_value_inside_a_gradient():
    with pytest.raises(GradientError, match="outside a gradient"):
        gradcheck(lambda x: x if isinstance(x, np.ndarray) else 2 * x, X)


def test_a_layer_is_checked_in_the_mode_that_is_chosen():
    layer, x = flux.f64(flux.BatchNorm(2)), np.random.default_rng(0).normal(size=(5, 2))
    with pytest.raises(GradientError, match=r"flux\.trainmode or flux\.testmode"):
        gradcheck(lambda layer, x: layer(x), layer, x)
    for mode in (flux.trainmode, flux.testmode):
        gradcheck(lambda layer, x: layer(x), mode(layer), x)


def test_single_precision_is_refused():
    with pytest.raises(TypeError, match=r"expected float64, got argument 0\['a'\] of float32.*flux.f64"):
        gradcheck(lambda p: p["a"], {"a": np.ones(2, np.float32)})
    with pytest.raises(TypeError, match="int64"):
        gradcheck(lambda n: n, np.arange(3))


def test_a_kink_is_seen():
    with pytest.raises(GradientError, match="kink"):
        gradcheck(np.abs, np.array([1e-9]))
