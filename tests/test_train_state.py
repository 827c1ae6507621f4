"""What layers change in themselves while they are trained: it is kept, or refused by its name, however they run."""

import copy

import numpy as np
import pytest

import tinyflux as flux
from tests.support.state_cases import Counter, Growing, counting
from tests.support.train_option import OFF, X, Y, mse, needs_compiler
from tinyflux.training import report

BATCHES = [(X[i : i + 10], Y[i : i + 10]) for i in range(0, 50, 10)]
DATA = {"items": lambda: BATCHES, "loader": lambda: flux.DataLoader((X, Y), batchsize=10)}


def trained(make, option, data=lambda: BATCHES, rule=None, **options):
    report.report_once.cache_clear()
    flux.seed(0)
    model = flux.f64(make())
    return flux.train(
        mse, model, data(), flux.setup(rule or flux.Descent(0.01), model), compile=option, **options
    ), model


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("parameters", [True, False])
@pytest.mark.parametrize("start", [0, 0.0, np.float32(0)], ids=repr)
@pytest.mark.parametrize("option", [False, pytest.param("auto", marks=needs_compiler)])
def test_a_counter_that_is_calculated_with(option, start, parameters, data):
    """The update of iteration n is that of a layer that multiplies by n."""
    losses, model = trained(lambda: counting(start, parameters), option, DATA[data], epochs=2)
    flux.seed(0)
    expected, n, means = flux.f64(counting(0, parameters)), 0, []
    for _ in range(2):
        values = []
        for x, y in BATCHES:
            n += 1
            scaled = lambda m, x: m[0].scaled(x, m[0].weight if parameters else 1, n)  # noqa: B023, E731
            value, grads = flux.withgradient(lambda m: flux.mse(m[1](scaled(m, x)), y), expected)  # noqa: B023
            values.append(float(value))
            for p, g in zip(flux.parameters(expected), flux.parameters(grads), strict=True):
                p -= 0.01 * g
        means.append(np.mean(values))
    np.testing.assert_allclose(losses, means, rtol=1e-11)
    assert model[0].n == 10
    assert type(model[0].n) is type(start + 1)
    for a, b in zip(flux.leaves(model), flux.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


@needs_compiler
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("parameters", [True, False])
def test_a_counter_is_not_compiled(parameters, data, capsys):
    """It is named, and nothing is left of the attempt."""
    said = r"model\.layers\[0\]\.n changes from 0 to 1\. Hold what changes in an array"
    flux.seed(0)
    model = flux.f64(counting(0, parameters))
    before = copy.deepcopy(flux.leaves(model))
    with pytest.raises(flux.NotCompilable, match=said):
        flux.train(mse, model, DATA[data](), flux.setup(flux.Descent(0.1), model), compile=True)
    assert model[0].n == 0
    for a, b in zip(flux.leaves(model), before, strict=True):
        np.testing.assert_array_equal(a, b)
    trained(lambda: counting(0, parameters), "auto", DATA[data])
    err = capsys.readouterr().err
    assert err.count(f"{OFF}: the model changes an attribute of its own that is no array") == 1
    assert "model.layers[0].n changes from 0 to 1" in err


def test_gradients_keep_what_is_no_array():
    layer = Counter(0, True)
    for n in (1, 2):
        value = flux.withgradient(lambda m: np.sum(m(X)), layer)[0]
        np.testing.assert_allclose(value, n * np.sum(X))
        assert layer.n == n
    flux.pullback(lambda m: m(X), layer)[1](X)
    assert layer.n == 3
    flux.gradcheck(lambda m: np.sum(m(X)), flux.f64(layer))
    assert layer.n == 3
    holder = {"w": np.ones(6), "n": 0}

    def in_a_dict(p):
        p["n"] += 1
        return np.sum(p["w"])

    flux.gradient(in_a_dict, holder)
    assert holder["n"] == 1


class Slots:
    __slots__ = ("n", "seen", "weight")
    __init__ = Counter.__init__
    __call__ = Counter.__call__
    scaled = Counter.scaled


class Noting(Counter):
    """Puts other things into itself, and takes some away."""

    def __call__(self, x):
        self.shape, self.steps = x.shape, np.arange(self.n)
        if hasattr(self, "first"):
            del self.first
        return super().__call__(x)


class Described(flux.Dense):
    def __call__(self, x):
        self.came = x.shape
        return super().__call__(x)


def test_attributes_that_come_and_go():
    layer = flux.f64(Described(6, 3))
    flux.gradient(lambda m: np.sum(m(X)), layer)
    assert layer.came == (50, 6)
    layer = Slots(0, True)
    flux.gradient(lambda m: np.sum(m(X)), layer)
    assert layer.n == 1
    layer = Noting(3, True)
    layer.first = True
    grads = flux.gradient(lambda m: np.sum(m(X)), layer)
    assert (layer.n, layer.shape, layer.steps.tolist()) == (4, (50, 6), [0, 1, 2])
    assert not hasattr(layer, "first")
    assert vars(grads).keys() == vars(layer).keys()
    np.testing.assert_array_equal(layer.weight, np.ones(6))


def test_a_counter_in_two_places_is_refused():
    layer = Counter(0, True)
    model = flux.Chain(layer, flux.f64(flux.Dense(6, 6)), layer)
    with pytest.raises(ValueError, match=r"a Counter stands in several places of the model, and its n would become"):
        flux.gradient(lambda m: np.sum(m(X)), model)
    free = Counter(0, False)  # without parameters it is one
    flux.gradient(lambda m: np.sum(m(X)), flux.Chain(free, flux.f64(flux.Dense(6, 6)), free))
    assert free.n == 2


def test_what_is_no_count_in_two_places():
    """Every place puts the same into the layer: it is kept. Two shapes are refused."""
    for first in ({}, {"came": None}, {"came": (3, 6)}):
        layer = flux.f64(Described(6, 6))
        vars(layer).update(first)
        flux.gradient(lambda m: np.sum(m(X)), flux.Chain(layer, layer))
        assert layer.came == (50, 6)
    with pytest.raises(ValueError, match="a Described stands in several places of the model, and its came would"):
        flux.gradient(lambda m: np.sum(m[1](X[:9])) + np.sum(m[0](X)), [layer, layer])


class Logging(flux.Dense):
    """Writes into a list and a dict of its own, without arrays."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.log, self.seen = [], {}

    def __call__(self, x):
        self.log.append(len(x))
        self.seen[len(self.log)] = x.shape
        return super().__call__(x)


@pytest.mark.parametrize("last", ["a loss", "an error"])
def test_lists_and_dicts_after_an_update_that_failed(last):
    """They tell of the updates that were made."""
    model = flux.f64(Logging(6, 3))
    items = [*BATCHES[:2], (np.full_like(X, np.nan), Y) if last == "a loss" else (X, Y[:7])]
    with pytest.raises((flux.NonFiniteLoss, ValueError)):
        flux.train(mse, model, items, flux.setup(flux.Descent(0.01), model), compile=False)
    assert (model.log, model.seen) == ([10, 10], {1: (10, 6), 2: (10, 6)})
    flux.gradcheck(lambda m: np.sum(m(X)), model)
    assert model.log == [10, 10]


@pytest.mark.parametrize("parameters", [True, False])
@pytest.mark.parametrize("option", [False, pytest.param("auto", marks=needs_compiler)])
def test_a_counter_and_a_loss_that_is_not_finite(option, parameters):
    """It counts the updates that were made."""
    flux.seed(0)
    model = flux.f64(counting(0, parameters))
    items = [*BATCHES[:2], (np.full_like(X, np.nan), Y), *BATCHES[2:]]
    with pytest.raises(flux.NonFiniteLoss, match="item 2 of epoch 1"):
        flux.train(mse, model, items, flux.setup(flux.Descent(0.01), model), compile=option)
    assert model[0].n == 2


@needs_compiler
@pytest.mark.parametrize("parameters", [True, False])
def test_a_compiled_function_refuses_to_count(parameters):
    model = flux.f64(counting(0, parameters))
    for f in (lambda m, x: m(x), lambda m, x: flux.gradient(lambda m: np.sum(m(x)), m)[1].bias):
        with pytest.raises(flux.NotCompilable, match=r"would be lost: args\[0\]\.layers\[0\]\.n changes from . to ."):
            flux.compile(f)(model, X)


# Buffers.

CHANGES = {
    "shape": (lambda s: np.concatenate([s, s]), r"float64 of shape \(6,\) to an array of float64 of shape \(12,\)"),
    "dtype": (lambda s: s.astype(np.float32), r"float64 of shape \(6,\) to an array of float32 of shape \(6,\)"),
    "number": (lambda s: 3, r"float64 of shape \(6,\) to 3"),
}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("option", [False, pytest.param("auto", marks=needs_compiler)])
def test_a_buffer_of_another_form(option, change, data, capsys):
    """Plain training takes it, and so does "auto", by it."""
    f, _ = CHANGES[change]
    _, model = trained(lambda: flux.Chain(Growing(f), flux.Dense(6, 3)), option, DATA[data])
    expected = np.zeros(6)
    for _ in range(5):
        expected = f(expected) if change != "number" else 3
    now = model[0].seen
    assert (np.shape(now), type(now)) == (np.shape(expected), type(expected))
    assert getattr(now, "dtype", None) == getattr(expected, "dtype", None)
    assert (OFF in capsys.readouterr().err) == (option == "auto")


@needs_compiler
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("change", CHANGES)
def test_a_buffer_of_another_form_is_not_compiled(change, data):
    f, said = CHANGES[change]
    with pytest.raises(flux.NotCompilable, match=r"model\.layers\[0\]\.seen changes from an array of " + said):
        trained(lambda: flux.Chain(Growing(f), flux.Dense(6, 3)), True, DATA[data])


@pytest.mark.parametrize("option", [False, pytest.param(True, marks=needs_compiler)])
def test_a_buffer_without_axes_stays_an_array(option):
    """NumPy makes a number of it, which no checkpoint would hold."""

    def make():
        model = flux.Chain(Growing(lambda s: s + 1), flux.Dense(6, 3))
        model[0].seen = np.array(0)
        return model

    _, model = trained(make, option)
    assert type(model[0].seen) is np.ndarray
    assert (model[0].seen.shape, model[0].seen.dtype, model[0].seen) == ((), np.int64, 5)
