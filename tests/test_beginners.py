"""Mistakes of those who begin, and what the error says to write instead; those with training in test_train_messages."""

import warnings
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from tests.test_messages import X, Y, check, table
from tinyflux import schedules

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
        "Rule.init: expected a tuple of arrays and numbers, got a ndarray. Return (np.zeros_like(x),), say, or () for",
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


@pytest.mark.parametrize("how", [False, "auto"])
@pytest.mark.parametrize(
    ("loss", "warns"),
    [
        (lambda m, x, y: np.mean((m(x) - y) ** 2), True),
        (lambda m, x, y: np.mean(np.abs(y - m(x))), True),
        (lambda m, x, y: np.mean((np.tanh(x @ m.weight.T + m.bias) - y) ** 2), True),
        (lambda m, x, y: np.mean((flux.relu(m(x)) - y) ** 2), True),
        (lambda m, x, y: np.mean((m(x) - y[:, np.newaxis]) ** 2), False),
        (lambda m, x, y: np.mean((m(x)[:, 0] - y) ** 2), False),
        (lambda m, x, y: np.mean((m(x)[:, 0][:, np.newaxis] - y) ** 2), False),  # each with each, as one sees
        (lambda m, x, y: np.mean((m(x[:1]) - y[:1]) ** 2), False),
        (lambda m, x, y: np.mean((m(x[:1]) - np.float64([1.0])) ** 2), False),
        (lambda m, x, y: np.mean((m(x[0]) - np.array(1.0)) ** 2), False),
        (lambda m, x, y: np.mean((m(x) - m(x)[:, 0]) ** 2), False),
        (lambda m, x, y: np.mean((m(x) - 1.0) ** 2) + np.sum(y), False),
    ],
)
def test_differences_of_each_with_each(loss, warns, how):
    model = flux.Dense(2, 1)
    opt = flux.setup(flux.Descent(0.0), model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        flux.train(loss, model, [(X, Y[:, 0])], opt, compile=how)
    said = (
        "a prediction of shape (4, 1) and an array y of shape (4,) were subtracted, each element from each other: 4 × 4"
    )
    assert all(said in str(w.message) and w.category is RuntimeWarning for w in caught)
    assert bool(caught) == warns


class Shared:
    """A layer that belongs to the class, and one of its own; an array of the class is a constant."""

    first = flux.Dense(2, 2)
    scale = np.ones(2)

    def __init__(self):
        self.last = flux.Dense(2, 1)
        self.idle = flux.Dropout(0.5)


def not_trainable(model, *names):
    for name in names:
        getattr(model, name).trainable = False
    return model


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            Shared(),
            ["setup: model.first is an attribute of the class. Make it in __init__, as self.first: what belong"],
        ),
        ([Shared()], ["setup: [0].first is an attribute of the class."]),
        (
            not_trainable(Forward(flux.Dense(2, 1)), "w"),
            ["got .w.trainable = False. It changes nothing: write flux.freeze("],
        ),
        (not_trainable(Forward(flux.Dense(2, 1)), "w"), ["write flux.freeze(opt.w)."]),
        (not_trainable(Forward(Forward(X)), "w"), []),  # a class of one's own may mean something by it
        (Forward(flux.Chain(flux.Dense(2, 1), flux.Dropout(0.5))), []),
    ],
)
def test_what_looks_trained_or_frozen_and_is_not(model, said):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        opt = flux.setup(flux.Descent(0.0), model)
        flux.train(lambda m, x, y: np.sum(flux.parameters(m)[0]), model, [(X, Y)], opt, compile=False)
    assert [w.filename for w in caught] == [__file__] * len(said)
    for warning, words in zip(caught, said, strict=True):
        assert words in str(warning.message)


def test_a_loss_that_prints_its_value():
    def printed(x):
        return f"{np.sum(x):.3f}", np.sum(x)

    with pytest.raises(flux.NotCompilable, match=r"can't be formatted. Print in a callback. \(In printed, "):
        flux.compile(printed)(X)
    assert flux.gradient(lambda x: printed(x)[1], X).shape == X.shape


def half_of_the_time(t):
    return 0.1 * (t % 8 < 4)


@pytest.mark.parametrize("how", [False, "auto"])
@pytest.mark.parametrize(
    ("rule", "warns"),
    [
        (flux.Descent(schedules.Cosine(0.1, over=3)), True),
        (flux.OptimiserChain(flux.ClipNorm(1.0), flux.Adam(schedules.Polynomial(0.1, over=4))), True),
        (flux.Descent(schedules.Cosine(0.1, over=12)), False),
        (flux.Descent(schedules.Cosine(0.1, over=3, stop=0.01)), False),
        (flux.Descent(schedules.CosineRestarts(0.1, 4)), False),
        (flux.Descent(half_of_the_time), False),
        (flux.Descent(0.0), False),
    ],
)
def test_a_schedule_over_epochs(rule, warns, how):
    """It counts updates: here an epoch has 4. The warning has the line that called train."""
    model = flux.Dense(2, 1)
    opt = flux.setup(rule, model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        flux.train(lambda m, x, y: flux.mse(m(x), y), model, [(X, Y)] * 4, opt, epochs=3, compile=how)
    said = (
        "and 2 epochs are still to come, which will change nothing. Schedules count updates, not epochs: one epoch has"
    )
    assert [(said in str(w.message), w.filename) for w in caught] == [(True, __file__)] * warns


def test_a_schedule_that_ends_with_the_training():
    for epochs, over, frozen in ((1, 2, False), (2, 8, False), (2, 2, True)):
        model = flux.Chain(flux.Dense(2, 2), flux.Dense(2, 1))
        decays = {id(model[0].weight), id(model[0].bias)}
        cosine = flux.Descent(schedules.Cosine(0.1, over=over))
        opt = flux.setup(lambda x: cosine if id(x) in decays else flux.Descent(0.1), model)  # noqa: B023
        if frozen:
            flux.freeze(opt[1])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            flux.train(lambda m, x, y: flux.mse(m(x), y), model, [(X, Y)] * 4, opt, epochs=epochs, compile=False)
        assert len(caught) == frozen


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
