"""Metrics, validation and the learning-rate finder on a GPU: the numbers of the CPU."""

import numpy as np
import pytest

import tinyflux as flux

if "can't" in flux.gpu_status():
    pytest.skip(flux.gpu_status(), allow_module_level=True)
pytestmark = pytest.mark.gpu

RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(300, 6)).astype(np.float32), RNG.integers(4, size=300)
Y = flux.onehotbatch(LABELS, range(4))
MOVES = [flux.gpu, flux.cpu]


def loss(model, x, y):
    return flux.logitcrossentropy(model(x), y)


def network():
    flux.seed(1)
    return flux.Chain(flux.Dense(6, 8), flux.BatchNorm(8), flux.relu, flux.Dense(8, 4))


@pytest.mark.parametrize("name", flux.metrics.__all__)
def test_metrics(name):
    scores = RNG.normal(size=(300, 4)).astype(np.float32)
    options = {"k": 2} if name == "topk_accuracy" else {}
    for labels in (LABELS, Y):
        got, expected = (getattr(flux.metrics, name)(*move(scores, labels), **options) for move in MOVES)
        np.testing.assert_allclose(flux.cpu(got) if name == "confusion_matrix" else got, expected, rtol=1e-12)


@pytest.mark.parametrize("how", [False, "auto"])
def test_validation(how):
    histories = []
    for move in MOVES:
        model, data, held = move(network(), [(X[:200], Y[:200])], (X[200:], Y[200:]))
        opt = flux.setup(flux.Descent(0.1), model)
        held = flux.DataLoader(held, 40)
        histories.append(flux.train(loss, model, data, opt, 4, compile=how, validation=held, metrics=[flux.accuracy]))
    got, expected = histories
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    np.testing.assert_allclose(got.validation["loss"], expected.validation["loss"], rtol=1e-4)
    np.testing.assert_allclose(got.validation["accuracy"], expected.validation["accuracy"], atol=0.011)  # one sample


def test_the_learning_rate():
    options = {"highest": 0.1, "steps": 30}
    moved = (move(network(), [(X, Y)]) for move in MOVES)
    got, expected = (flux.find_learning_rate(loss, *given, flux.Descent(), **options) for given in moved)
    np.testing.assert_allclose(got.losses, expected.losses, rtol=1e-3)
    np.testing.assert_array_equal(got.rates, expected.rates)
