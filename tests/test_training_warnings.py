"""Warnings of trainings that would learn nothing, or not what was meant."""

import warnings

import numpy as np
import pytest

import tinyflux as flux
from tests.test_beginners import MODEL, Forward
from tests.test_messages import X, Y
from tinyflux import schedules
from tinyflux.optimise.scheduled import at_rest

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
            ONE,
            "got what a Dense without activation gives. Take flux.logitbinary",
        ),
        (flux.sigmoid, flux.binarycrossentropy, TWO, ""),
        (flux.softmax, flux.logitcrossentropy, TWO, LEAVE.format("softmax")),
        (flux.sigmoid, flux.logitcrossentropy, TWO, LEAVE.format("sigmoid")),
        (flux.identity, flux.logitcrossentropy, TWO, ""),
        (flux.relu, flux.logitcrossentropy, TWO, ""),
        (flux.sigmoid, flux.logitbinarycrossentropy, TWO, LEAVE.format("sigmoid")),
        (flux.softmax, flux.logitbinarycrossentropy, TWO, LEAVE.format("softmax")),
        (flux.identity, flux.logitbinarycrossentropy, ONE, ""),
        (
            flux.identity,
            flux.logitcrossentropy,
            ONE,
            "got one, for which softmax always gives 1. For one number a sample, ",
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
        (lambda m, x, y: np.mean((x @ m.weight.T - y) ** 2), True),
        (lambda m, x, y: np.mean((x @ m.weight.T + m.bias - y) ** 2), True),
        (lambda m, x, y: np.mean(m(x) * y), False),
        (lambda m, x, y: np.mean((np.tanh(x @ m.weight.T + m.bias) - y) ** 2), True),
        (lambda m, x, y: np.mean((flux.relu(m(x)) - y) ** 2), True),
        (lambda m, x, y: np.mean((m(x) - y[:, np.newaxis]) ** 2), False),
        (lambda m, x, y: np.mean((m(x)[:, 0] - y) ** 2), False),
        (lambda m, x, y: np.mean((m(x) - y[:, np.newaxis, np.newaxis]) ** 2), False),
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
    said = "of a prediction of shape (4, 1) and an array y of shape (4,) was broadcast to 4 × 4"
    assert all(said in str(w.message) and w.category is RuntimeWarning for w in caught)
    assert bool(caught) == warns


@pytest.mark.parametrize("name", ["leakyrelu", "elu", "gelu", "swish", "softplus"])
def test_every_activation_is_known(name):
    model = flux.Dense(2, 1, getattr(flux, name))
    with pytest.warns(RuntimeWarning, match=f"got what {name} gives"):
        flux.gradient(lambda m: flux.binarycrossentropy(m(X), Y), model)
    with pytest.warns(RuntimeWarning, match="broadcast to 4 × 4"):
        flux.gradient(lambda m: np.mean((m(X) - Y[:, 0]) ** 2), model)


def test_differences_of_an_argument_are_meant_so():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flux.gradient(lambda x: np.mean((x - Y[:, 0]) ** 2), Y)


class Shared:
    """A layer that belongs to the class, and one of its own; an array of the class is a constant."""

    first = flux.Dense(2, 2)
    last = flux.Dense(2, 2)  # what an object has when it has none of its own
    rest = flux.Dropout(0.5)
    scale = np.ones(2)

    def __init__(self):
        self.last = flux.Dense(2, 1)
        self.idle = flux.Dropout(0.5)
        self.last.trainable = True


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
        (flux.OptimiserChain(flux.WeightDecay(schedules.Cosine(0.1, over=3)), flux.Descent(0.1)), False),
        (flux.Descent(half_of_the_time), False),
        (flux.Descent([0.1, 0.1, *[0.0] * 10].__getitem__), True),  # a table, which has no step after the last
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


def test_a_rate_of_one_step_in_four_is_not_at_rest():
    opt = flux.setup(flux.Descent(lambda t: 0.1 * (t % 4 == 1)), MODEL)
    assert not at_rest(opt._leaves, 65)
    flux.freeze(opt)
    flux.adjust(opt, eta=0.0)
    assert not at_rest(opt._leaves, 65)  # nothing moves, as it was meant
    assert not at_rest(flux.setup(flux.Descent(lambda t: 0.1 * (t == 64)), MODEL)._leaves, 65)


def test_a_schedule_that_ends_with_the_training():
    for epochs, over, frozen in ((1, 2, False), (2, 8, False), (2, 2, True), (1, 2, True)):
        model = flux.Chain(flux.Dense(2, 2), flux.Dense(2, 1))
        decays = {id(model[0].weight), id(model[0].bias)}
        cosine = flux.Descent(schedules.Cosine(0.1, over=over))
        opt = flux.setup(lambda x: cosine if id(x) in decays else flux.Descent(0.1), model)  # noqa: B023
        if frozen:
            flux.freeze(opt[1])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            flux.train(lambda m, x, y: flux.mse(m(x), y), model, [(X, Y)] * 4, opt, epochs=epochs, compile=False)
        assert len(caught) == (frozen and epochs > 1)
