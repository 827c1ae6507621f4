"""Mistakes of those who begin, and what the error says to write instead; those with training in test_train_messages."""

from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from tests.test_messages import X, Y, check, table

MODEL = flux.Dense(2, 1)
OPT = flux.setup(flux.Descent(), MODEL)


class Forward:
    """A layer as another library has them; `w` is what its weight is."""

    def __init__(self, w):
        self.w = w

    def forward(self, x):
        return x @ self.w


class Holder(Forward):
    forward = None

    def __call__(self, x):
        return self.w(x)


class Rule:
    def __init__(self, init, apply):
        self.init, self.apply = init, apply


def loss(model, x, y):
    return flux.mse(model(x), y)


@table(
    (lambda: flux.gradient(lambda m: None, MODEL), ValueError, "a scalar, got None. Is a return missing?"),
    (lambda: flux.gradient(loss(MODEL, X, Y), MODEL), TypeError, "gradient: expected a function, got np.float32("),
    (
        lambda: flux.pullback(X, X),
        TypeError,
        "pullback: expected a function, got an array of shape (4, 2). Write lambda",
    ),
    (lambda: flux.Chain(Forward(X)), TypeError, "got a Forward. Rename forward to __call__."),
    (lambda: flux.gradient(np.sum)(X), TypeError, "its arguments, got f alone. Write lambda x: flux.gradient(f, x)."),
    (
        lambda: flux.gradient(lambda x: np.sum([x, x]), X),
        TypeError,
        "numpy's sum makes plain arrays of what it is given",
    ),
    (lambda: flux.gradient(lambda x: np.sum([x, x]), X), TypeError, "lost. Give it np.stack(list), or take functions"),
    (
        lambda: flux.compile(lambda x: np.array([x, x]))(X),
        flux.NotCompilable,
        "Build arrays of such values with np.stack",
    ),
    (lambda: flux.Dense(4, 3, "ReLU"), TypeError, "got 'ReLU'. Give the function itself (write flux.relu)."),
    (lambda: flux.mse((X, X), X), TypeError, "as prediction and target, got a tuple. Give one of its parts."),
    (lambda: flux.mse(None, X), TypeError, "as prediction and target, got None. Is a return missing?"),
    (lambda: flux.Conv(3, 8, 3), TypeError, "got 3. It comes first: Conv((3, 3), nin, nout)."),
)
def test_gradients(typed, error, said):
    check(typed, error, said)


@pytest.mark.parametrize("model", [Forward(np.ones((2, 1))), Holder(Forward(np.ones((2, 1))))], ids=["whole", "part"])
def test_a_layer_with_forward_for_call(model):
    for run in (
        lambda: flux.gradient(lambda m: loss(m, X, Y), model),
        lambda: flux.train(loss, model, [(X, Y)], flux.setup(flux.Descent(), model)),
    ):
        with pytest.raises(TypeError, match=r"^'Forward' object is not callable") as raised:
            run()
        assert "Rename forward to __call__." in raised.value.__notes__
    with pytest.raises(TypeError, match="not callable") as raised:
        flux.gradient(lambda m: m["w"](1), {"w": X})
    assert not hasattr(raised.value, "__notes__")


@pytest.mark.parametrize("kind", [list, tuple])
def test_layers_in_a_list_called(kind):
    with pytest.raises(TypeError, match="not callable") as raised:
        flux.gradient(lambda m: loss(m, X, Y), kind([flux.Dense(2, 2), flux.Dense(2, 1)]))
    assert raised.value.__notes__ == ["Make it a layer: flux.Chain(*layers)."]
    with pytest.raises(TypeError, match="not callable") as raised:
        flux.gradient(lambda m: loss(m, X, Y), kind([X, Y]))
    assert not hasattr(raised.value, "__notes__")


@table(
    (
        lambda: flux.setup(flux.Adam(), {"w": np.ones(3, int)}),
        ValueError,
        "train. ['w'] is int64: give .astype(np.float32",
    ),
    (lambda: flux.setup(flux.Adam(), Forward(np.ones(3, int))), ValueError, ".w is int64: give .astype(np.float32)."),
    (lambda: flux.setup(flux.Adam(), np.ones(3, np.uint8)), ValueError, "It is uint8: give .astype(np.float32)."),
    (lambda: flux.setup(flux.Adam(), Forward(1.5)), ValueError, ".w is a float: make it np.array(1.5, np.float32)."),
    (
        lambda: flux.update(OPT, flux.Dense(2, 1), MODEL),
        ValueError,
        "called again, take the state that it returned then.",
    ),
    (
        lambda: flux.update(OPT, MODEL, flux.withgradient(lambda m: loss(m, X, Y), MODEL)),
        TypeError,
        "update: expected the model's gradient, got a tuple. flux.withgradient gives (value, gradient)",
    ),
    (
        lambda: flux.update(OPT, MODEL, flux.gradient(lambda m, x: loss(m, x, Y), MODEL, X)),
        TypeError,
        "flux.gradient a tuple for several arguments: give the model's part.",
    ),
    (
        lambda: flux.update(OPT, MODEL, loss(MODEL, X, Y)),
        ValueError,
        "nothing stands at '.weight' in the gradient, np.float32(",
    ),
    (
        lambda: flux.update(OPT, flux.Chain(MODEL), MODEL),
        ValueError,
        "nothing stands at '.weight' in the model, a Chain.",
    ),
    (lambda: flux.update(MODEL, OPT, MODEL), TypeError, "got a Dense. Write flux.update(opt, model, gradient)."),
    (
        lambda: flux.train(loss, MODEL, OPT, [(X, Y)]),
        TypeError,
        "got a list. Write flux.train(loss, model, data, opt).",
    ),
    (
        lambda: flux.setup(Rule(lambda x: x, lambda state, x, g: g), MODEL),
        TypeError,
        "Rule.init: expected a tuple of arrays and numbers, got an ndarray. Return (np.zeros_like(x),), say, or () for",
    ),
    (
        lambda: flux.setup(Rule(lambda x: (), lambda x, g: g), MODEL),
        TypeError,
        "setup: Rule.apply takes x, g, but is called with state, x and g: too many positional arguments.",
    ),
    (
        lambda: flux.setup(Rule(lambda: (), tuple), MODEL),
        TypeError,
        "setup: Rule.init takes nothing, but is called with x",
    ),
)
def test_optimisers(typed, error, said):
    check(typed, error, said)


@table(
    (lambda: flux.mse(Y, Y[:, 0]), ValueError, "got (4, 1) and (4,). Nothing is broadcast: write y[:, np.newaxis] for"),
    (lambda: flux.mse(X[..., None], X), ValueError, "write y[..., np.newaxis] for the target y."),
    (
        lambda: flux.logitcrossentropy(np.ones((4, 3)), np.ones((4, 4))),
        ValueError,
        "The model gives 3 numbers a sample, the target has 4: end the model in Dense(…, 4).",
    ),
    (lambda: flux.logitcrossentropy(X, Y), ValueError, "reshape one of them, or encode labels with flux.onehotbatch."),
    (
        lambda: flux.onehotbatch([0, 3], range(3)),
        ValueError,
        "onehotbatch: expected one of the 3 classes [0, 1, 2], got 3",
    ),
    (lambda: flux.onehotbatch(3, range(3)), TypeError, "onehotbatch: expected many labels, got 3."),
    (lambda: flux.onehot(3, range(3)), ValueError, "onehot: expected one of the 3 classes [0, 1, 2], got 3 at index 0"),
)
def test_data(typed, error, said):
    check(typed, error, said)


def test_a_loss_that_prints_its_value():
    def printed(x):
        return f"{np.sum(x):.3f}", np.sum(x)

    with pytest.raises(flux.NotCompilable, match=r"can't be formatted. Print in a callback. \(In printed, "):
        flux.compile(printed)(X)
    assert flux.gradient(lambda x: printed(x)[1], X).shape == X.shape
    assert np.array_equal(flux.compile(lambda x: (f"{x}", 2 * x)[1])(X), 2 * X)  # as str() goes on to do


A = np.array([[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    ("f", "slope"),  # by hand
    [
        (lambda x: np.sum(x @ [1.0, 2.0]), [[1, 2], [1, 2]]),
        (lambda x: np.sum([1.0, 2.0] @ x), [[1, 1], [2, 2]]),
        (lambda x: np.sum(np.dot(x, (1.0, 2.0))), [[1, 2], [1, 2]]),
        (lambda x: np.sum(np.dot([1.0, 2.0], x)), [[1, 1], [2, 2]]),
        (lambda x: np.sum(x.dot([1, 2])), [[1, 2], [1, 2]]),
        (lambda x: np.sum(np.inner(x, [1.0, 2.0])), [[1, 2], [1, 2]]),
        (lambda x: np.sum(np.tensordot(x, [1.0, 2.0], 1)), [[1, 2], [1, 2]]),
        (lambda x: np.sum(x ** [1, 2]), [[1, 4], [1, 8]]),
        (lambda x: np.sum(x * [1.0, 2.0]), [[1, 2], [1, 2]]),
        (lambda x: np.sum(x[[0, 0]]), [[2, 2], [0, 0]]),
        (lambda x: np.linalg.solve(x, [1.0, 0.0])[0], [[-4, 3], [2, -1.5]]),  # −x⁻ᵀ e₁ (x⁻¹ e₁)ᵀ
    ],
)
def test_lists_beside_arrays(f, slope):
    np.testing.assert_allclose(flux.gradient(f, A), slope, rtol=1e-12)
    np.testing.assert_allclose(flux.compile(f)(A), f(A), rtol=1e-12)


@pytest.mark.parametrize("f", [flux.save, flux.load])
def test_the_path_comes_first(f):
    name = f.__name__
    said = f"{name}: expected a path, got a Dense. The path comes first: flux.{name}('m.npz', model)."
    check(lambda: f(MODEL, "m.npz"), TypeError, said)
    check(lambda: f(MODEL, Path("m.npz")), TypeError, "The path comes first")
    check(lambda: f(None, MODEL), TypeError, f"{name}: expected a path, got None.")
    assert not Path("m.npz").exists()


def test_a_rule_in_the_place_of_a_state():
    with pytest.raises(TypeError) as raised:
        flux.update(flux.Maximize(), MODEL, MODEL)
    assert (
        str(raised.value) == "update: expected the state opt = flux.setup(rule, model), got Maximize()."
    )  # in its place
