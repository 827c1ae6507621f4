"""find_learning_rate: its rates, losses and suggestion by hand, and that nothing of the caller's is changed."""

import math
import sys

import numpy as np
import pytest

import tinyflux as flux
from tests.support import device_standin as standin
from tests.test_messages import check, table
from tinyflux import device

RNG = np.random.default_rng(3)
X = RNG.normal(size=(48, 5)).astype(np.float32)
Y = flux.onehotbatch(RNG.integers(3, size=48), range(3))


def quadratic(model, target):
    return np.sum((model["x"] - target) ** 2) / 2


def cross(model, x, y):
    return flux.logitcrossentropy(model(x), y)


def network():
    flux.seed(1)
    return flux.Chain(flux.Dense(5, 8), flux.BatchNorm(8), flux.tanh, flux.Dropout(0.2), flux.Dense(8, 3))


def by_hand(x, target, rates):
    """Gradient descent on (x − target)²/2, and the smoothed losses until they exceed four times the least."""
    average, found = 0.0, []
    for t, rate in enumerate(rates):
        average = 0.9 * average + 0.1 * (x - target) ** 2 / 2
        found.append(average / (1 - 0.9 ** (t + 1)))
        x -= rate * (x - target)
        if found[-1] > 4 * min(found):
            break
    return found


@pytest.mark.parametrize("how", [False, "auto", True])
@pytest.mark.parametrize(("steps", "highest"), [(60, 50.0), (7, 0.3)])
def test_the_formula(how, steps, highest):
    model = {"x": np.array([5.0])}
    rates = np.geomspace(1e-3, highest, steps)
    expected = by_hand(5.0, 1.0, rates)
    found = flux.find_learning_rate(
        quadratic, model, [1.0, 1.0], flux.Descent(99.0), lowest=1e-3, highest=highest, steps=steps, compile=how
    )
    assert len(expected) < 60
    assert isinstance(found, flux.LearningRates)
    np.testing.assert_allclose(found.losses, expected, rtol=1e-9)
    np.testing.assert_allclose(found.rates, rates[: len(expected)], rtol=1e-12)
    assert found.suggestion == pytest.approx(rates[np.argmin(expected)] / 10, rel=1e-12)
    assert model["x"].item() == 5.0


def test_losses_that_are_negative():
    """It goes on while the loss falls below 0, and stops where it has risen by three times its size."""
    model = {"x": np.array([1.0])}
    found = flux.find_learning_rate(lambda m, _: np.sum(m["x"]) - 2, model, [0.0], flux.Descent(), steps=20)
    assert len(found.losses) == 20
    assert found.losses[0] == -1


def test_a_lucky_first_batch_is_no_valley():
    """Its loss is the least of all, as no other item has no offset; the rates begin far below any that matters."""
    items = [(1.0, 0.0), *[(0.0, 20.0), (2.0, 20.0)] * 50]
    model = {"x": np.array([5.0])}
    found = flux.find_learning_rate(lambda m, y, c: quadratic(m, y) + c, model, items, flux.Descent())
    assert np.argmin(found.losses) == 0
    at = np.argmin(np.abs(found.rates - 10 * found.suggestion))
    start = len(found.losses) // 10
    assert at == np.argmin(np.where(np.arange(len(found.losses)) < start, np.inf, found.losses)) > start
    assert 0.01 < found.suggestion < 1
    assert "no valley" not in repr(found)
    assert "no valley, as this is the first" in repr(flux.LearningRates(found.rates[:40], np.arange(40.0), 1.0))


def state_of(model):
    return [(x.dtype, x.tobytes()) for x in flux.leaves(model)]


RULES = [
    flux.Adam(),
    flux.Descent(flux.schedules.Cosine(0.1, over=5)),
    flux.OptimiserChain(flux.WeightDecay(1e-3), flux.ClipNorm(1.0), flux.Nesterov()),
    flux.Muon(others=flux.Adam()),
]


@pytest.mark.parametrize("how", [False, "auto"])
@pytest.mark.parametrize("rule", RULES, ids=["Adam", "a schedule", "a chain", "Muon"])
def test_nothing_of_the_callers_changes(rule, how):
    model = network()
    opt = flux.setup(flux.Adam(), model)
    rng = np.random.default_rng(5)
    loader = flux.DataLoader((X, Y), 8, shuffle=True, rng=rng, transform=lambda b, rng: (b[0] + rng.normal(), b[1]))
    flux.trainmode(model[3])
    before = state_of(model), rng.bit_generator.state, flux.default_rng().bit_generator.state
    numbers = [(leaf.rule, leaf.numbers, [x.tobytes() for x in leaf.arrays]) for leaf in opt._leaves]
    found = flux.find_learning_rate(cross, model, loader, rule, steps=20, compile=how)
    assert len(found.rates) == len(found.losses) <= 20
    assert (state_of(model), rng.bit_generator.state, flux.default_rng().bit_generator.state) == before
    assert [(leaf.rule, leaf.numbers, [x.tobytes() for x in leaf.arrays]) for leaf in opt._leaves] == numbers
    assert [layer.active for layer in (model[1], model[3])] == [None, True]


def test_the_first_loss_is_that_of_a_training():
    """With the same generator in the same state the first batch is the same, and so is what Dropout drops."""
    found = flux.find_learning_rate(cross, network(), flux.DataLoader((X, Y), 8, shuffle=True), flux.Adam(), steps=2)
    model, losses = network(), []
    opt = flux.setup(flux.Adam(), model)
    loader = flux.DataLoader((X, Y), 8, shuffle=True)
    flux.train(cross, model, loader, opt, callbacks=[lambda p: losses.extend(p.losses)], compile=False)
    assert found.losses[0] == pytest.approx(losses[0], rel=1e-6)


def test_a_rule_for_each_parameter():
    model = network()
    last = model[-1].weight
    asked = []

    def choose(x):
        asked.append(x is last)
        return flux.Descent() if x is last else flux.Adam()

    flux.find_learning_rate(cross, model, [(X, Y)], choose, steps=5)
    assert sum(asked) == 1
    assert len(asked) == len(flux.parameters(model))


def test_a_loss_that_becomes_nan_ends_it():
    model = {"x": np.array([4.0])}
    found = flux.find_learning_rate(
        lambda m, _: np.sum(np.sqrt(m["x"])), model, [0.0], flux.Descent(), lowest=1.0, highest=100.0, steps=50
    )
    assert 2 < len(found.losses) < 50
    assert np.isfinite(found.losses).all()
    with pytest.raises(flux.NonFiniteLoss):
        flux.find_learning_rate(lambda m, _: np.sum(m["x"]) * np.nan, model, [0.0], flux.Descent())


def test_it_suggests_a_rate_that_trains():
    """By which the loss of a small network falls more than by a hundredth and by thirty times of it."""

    def after(eta):
        model = network()
        opt = flux.setup(flux.Adam(eta), model)
        return flux.train(cross, model, flux.DataLoader((X, Y), 8), opt, 15, compile=False)[-1]

    found = flux.find_learning_rate(cross, network(), flux.DataLoader((X, Y), 8), flux.Adam())
    best = after(found.suggestion)
    assert best < after(found.suggestion / 100)
    assert best < after(found.suggestion * 100)


@pytest.mark.parametrize(
    "rule",
    [flux.Adam, flux.Nesterov, lambda eta: flux.Muon(eta, others=flux.Adam(eta))],
    ids=["Adam", "Nesterov", "Muon"],
)
def test_three_rates_about_the_suggestion_hold_a_good_one(rule):
    """The best of them comes within 20 % of the best of a fine grid: for three kinds of rules."""
    images, labels = flux.data.digits("train")
    rows, targets = images.reshape(len(images), -1), flux.onehotbatch(labels, range(10)).astype(np.float32)

    def fresh():
        flux.seed(0)
        model = flux.Chain(flux.Dense(784, 32, flux.relu), flux.Dense(32, 10))
        return model, flux.DataLoader((rows, targets), 32, shuffle=True)

    def after(eta):
        model, data = fresh()
        return flux.train(cross, model, data, flux.setup(rule(float(eta)), model), 5, compile=False)[-1]

    model, data = fresh()
    suggestion = flux.find_learning_rate(cross, model, data, rule(0.1), compile=False).suggestion
    assert min(after(suggestion * factor) for factor in (3, 1, 1 / 3)) < 1.2 * min(map(after, np.geomspace(1e-3, 1, 9)))


def test_on_the_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())
    device._fault.cache_clear()
    results = []
    for move in (flux.gpu, lambda *trees: trees):
        model, batch = move(network(), (X, Y))
        before = [flux.cpu(x).tobytes() for x in flux.leaves(model)]
        results.append(flux.find_learning_rate(cross, model, [batch], flux.Adam(), steps=15, compile=False))
        assert [flux.cpu(x).tobytes() for x in flux.leaves(model)] == before
    device._fault.cache_clear()
    np.testing.assert_allclose(results[0].losses, results[1].losses, rtol=1e-5)
    assert type(results[0].losses) is np.ndarray


def test_how_it_is_printed():
    assert repr(flux.LearningRates(None, None, None)) == "LearningRates(...)"
    found = flux.LearningRates(np.array([0.001, 0.01, 0.1]), np.array([2.0, 0.51234, math.inf]), 0.001)
    assert repr(found) == "LearningRates(suggestion=0.001; 3 steps from 0.001 to 0.1, least loss 0.5123 at 0.01)"


def find(model=None, data=None, rule=flux.Descent(), **options):  # noqa: B008
    model = flux.Dense(5, 3) if model is None else model
    return flux.find_learning_rate(cross, model, [(X, Y)] if data is None else data, rule, **options)


@table(
    (lambda: find(lowest=0), ValueError, "find_learning_rate: expected lowest to be a number above 0, got 0."),
    (lambda: find(lowest="a"), TypeError, "find_learning_rate: expected lowest to be a number above 0, got 'a'."),
    (lambda: find(highest=1e-7), ValueError, "expected highest to be a number above lowest, 1e-06, got 1e-07."),
    (lambda: find(steps=1), ValueError, "expected steps to be an integer, at least 2, got 1."),
    (
        lambda: find(rule=flux.AdaDelta()),
        TypeError,
        "expected a rule with a learning rate, eta, got AdaDelta(",
    ),
    (lambda: find(rule=0.1), TypeError, "setup: expected a rule"),
    (lambda: find(model=flux.relu), ValueError, "find_learning_rate: a function holds no floating-point array"),
    (
        lambda: find(data=iter([(X, Y)])),
        TypeError,
        "data that can be gone through again, got a list_iterator,",
    ),
    (lambda: find(data=(X, Y)), TypeError, "this tuple holds arrays, not batches."),
)
def test_refused(typed, error, said):
    check(typed, error, said)


@pytest.mark.parametrize(
    ("losses", "said"),
    [([1, 2, 3], "the first step"), ([3, 2, 1], "the last step"), ([2, 1, 2], None), ([1], "step")],
)
def test_a_suggestion_without_a_valley_is_shown_as_one(losses, said):
    rates = np.geomspace(0.1, 10, 3)[: len(losses)]
    text = repr(flux.LearningRates(rates, np.array(losses, float), 0.1))
    assert ("no valley" in text) == (said is not None)
    assert said is None or said in text
