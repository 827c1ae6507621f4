"""A layer of one's own with buffers, written from the documentation: it trains as BatchNorm does, and loses nothing."""

import copy

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.compile.backends.c.build import available

from ..support.training_cases import _seeded as _seeded  # a fixture
from ..support.training_cases import mse

compiled = pytest.mark.skipif(not available(), reason="there is no C compiler here")


class Own:
    """A BatchNorm of one's own, as the documentation of `is_training` has it."""

    buffers = ("mean", "var")

    def __init__(self, channels):
        self.scale, self.bias = np.ones(channels), np.zeros(channels)
        self.mean, self.var = np.zeros(channels), np.ones(channels)
        self.active = None

    def __call__(self, x):
        mean, var = self.mean, self.var
        if flux.is_training(self):
            mean, var = np.mean(x, axis=0), np.var(x, axis=0)
            self.mean = 0.9 * self.mean + 0.1 * mean
            self.var = 0.9 * self.var + 0.1 * var * (len(x) / (len(x) - 1))
        return (x - mean) / np.sqrt(var + 1e-5) * self.scale + self.bias


@compiled
@pytest.mark.parametrize("way", [True, False])
def test_a_layer_of_ones_own_does_as_batchnorm(way):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(24, 6)), rng.normal(size=(24, 3))
    model = flux.f64(flux.Chain(flux.Dense(6, 3, bias=False), flux.BatchNorm(3)))
    other = flux.Chain(copy.deepcopy(model[0]), Own(3))
    losses = [
        flux.train(mse, m, flux.DataLoader(data, batchsize=8), flux.setup(flux.Descent(0.1), m), epochs=3, compile=way)
        for m in (model, other)
    ]
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(*losses, rtol=1e-10)
    for ours, theirs in zip(flux.leaves(other), flux.leaves(model), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@compiled
def test_a_layer_of_ones_own_keeps_its_buffers_where_it_is_not_compiled():
    layer, x = flux.trainmode(Own(3)), np.random.default_rng(0).normal(size=(5, 3))
    mean = layer.mean
    for f in (
        lambda x: layer(x),
        lambda x: flux.gradient(lambda x: np.sum(layer(x)), x),
        lambda x: np.unique(layer(x)),
    ):
        with pytest.raises(flux.NotCompilable, match=r"changes layer\.(mean|var).*flux\.testmode|unique"):
            flux.compile(f)(x)
        assert layer.mean is mean
        assert (layer.var == 1).all()
    assert np.isfinite(layer(x)).all()


class Forgotten(Own):
    buffers = ()


@compiled
@pytest.mark.parametrize("way", [True, False])
def test_state_that_is_not_named_in_buffers_is_refused(way):
    model = flux.Chain(flux.Dense(6, 3), Forgotten(3))
    opt, data = flux.setup(flux.Descent(0.1), model), flux.DataLoader((np.eye(6), np.ones((6, 3))), batchsize=3)
    before = [x.copy() for x in flux.leaves(model)]
    with pytest.raises(TypeError, match=r"replaces argument 0\.layers\[1\]\.(mean|var).*buffers = "):
        flux.train(mse, model, data, opt, compile=way)
    for x, y in zip(flux.leaves(model), before, strict=True):
        np.testing.assert_array_equal(x, y)


def test_is_training():
    layer = Own(2)
    seen = []
    flux.gradient(lambda x: seen.append(flux.is_training(layer)) or np.sum(x), np.ones(2))
    assert seen == [True]
    assert not flux.is_training(layer)
    assert flux.is_training(flux.trainmode([layer])[0])
    flux.gradient(lambda x: seen.append(flux.is_training(flux.testmode(layer))) or np.sum(x), np.ones(2))
    assert seen == [True, False]
    for other in (flux.Dense(2, 2), {"active": True}, 3):
        with pytest.raises(TypeError, match=r"expected a layer with an attribute `active`.*self\.active = None"):
            flux.is_training(other)


def test_an_error_in_a_layer_of_ones_own_says_which_it_was():
    class Wide:
        def __init__(self, nin):
            self.weight = np.ones((2, nin))

        def __call__(self, x):
            return x @ self.weight.T

        def __repr__(self):
            return f"Wide({self.weight.shape[1]})"

    model = flux.Chain(flux.Chain(Wide(3), np.tanh, Wide(4)), Wide(2))
    for call in (lambda: model(np.ones((5, 3))), lambda: flux.gradient(lambda m: np.sum(m(np.ones((5, 3)))), model)):
        with pytest.raises(ValueError, match="mismatch") as raised:
            call()
        assert raised.value.__notes__ == ["Chain: its layer Wide(4) was called with an array of shape (5, 2)."]
