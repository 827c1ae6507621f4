"""Mistakes of those who begin, and what the error says to write instead; those with training in test_train_messages."""

import warnings
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


ONE, TWO = Y, np.float32([[1, 0]] * 4)
SUM = "expected probabilities that sum to 1 over the classes, got what {} gives. Take flux.logitcrossentropy, and let"
LEAVE = "expected scores, any real numbers, got what {0} gives. Leave {0} out of the model."


@pytest.mark.parametrize("how", [False, "auto"])
@pytest.mark.parametrize(
    ("last", "loss", "target", "said"),
    [
        (flux.identity, flux.crossentropy, TWO, SUM.format("a Dense without activation")),
        (flux.relu, flux.crossentropy, TWO, SUM.format("relu")),
        (flux.tanh, flux.crossentropy, TWO, SUM.format("tanh")),
        (flux.sigmoid, flux.crossentropy, TWO, SUM.format("sigmoid")),
        (flux.softmax, flux.crossentropy, TWO, ""),
        (lambda x: 0.9 * flux.softmax(x) + 0.05, flux.crossentropy, TWO, ""),
        (
            flux.identity,
            flux.binarycrossentropy,
            TWO,
            "got what a Dense without activation gives. Take flux.logitbinary",
        ),
        (flux.sigmoid, flux.binarycrossentropy, TWO, ""),
        (flux.softmax, flux.logitcrossentropy, TWO, LEAVE.format("softmax")),
        (flux.sigmoid, flux.logitcrossentropy, TWO, LEAVE.format("sigmoid")),
        (flux.identity, flux.logitcrossentropy, TWO, ""),
        (flux.relu, flux.logitcrossentropy, TWO, ""),
        (flux.sigmoid, flux.logitbinarycrossentropy, TWO, LEAVE.format("sigmoid")),
        (flux.identity, flux.logitbinarycrossentropy, ONE, ""),
        (
            flux.identity,
            flux.logitcrossentropy,
            ONE,
            "got one, of which softmax always gives 1. For one number a sample, ",
        ),
        (flux.softmax, flux.crossentropy, ONE, "For one number a sample, take flux.binarycrossentropy."),
    ],
)
def test_the_last_layer_fits_the_loss(last, loss, target, said, how):
    """A warning, for the loss may be meant so; with its line. Outside of a gradient nobody asks what made an array."""
    model = flux.Chain(flux.Dense(2, target.shape[1], init=lambda shape, rng: np.full(shape, 0.25)), last)
    opt = flux.setup(flux.Descent(0.0), model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        flux.train(lambda m, x, y: loss(m(x), y), model, [(X, target)], opt, compile=how)
        trained = {(str(w.message), w.filename) for w in caught if "expected" in str(w.message)}
        caught.clear()
        loss(np.abs(model(X)), target)
    assert not caught
    assert [filename for _, filename in trained] == [__file__] * bool(said)
    for message, _ in trained:
        assert message.startswith(f"{loss.__name__}: expected ")
        assert said in message


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
