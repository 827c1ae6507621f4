"""A small model trained with `compile` or without, and all that can be seen of it."""

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.compile.backends.c.build import available

needs_compiler = pytest.mark.skipif(not available(), reason="there is no C compiler here")
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(50, 6)), RANDOM.normal(size=(50, 3))
ON, OFF = "training runs as native code", "training runs as plain NumPy"


def mse(m, x, y):
    return flux.mse(m(x), y)


def network():
    flux.seed(0)
    return flux.f64(flux.Chain(flux.Dense(6, 4, flux.tanh), flux.Dropout(0.2, seed=1), flux.Dense(4, 3)))


class Recorder:
    def __init__(self, model):
        self.calls, self.model = [], model

    def __call__(self, p):
        assert p.model is self.model
        self.calls.append((p.epoch, p.iteration, p.loss, p.epoch_ended, *[x.sum() for x in flux.parameters(p.model)]))


def trained(compile, data, loss=mse, make=network, rule=None, callbacks=(), record=True, **options):  # noqa: A002
    """All that can be seen of a training: the means, what callbacks saw, the weights and the numbers of the state."""
    flux.seed(0)
    model = make()
    opt = flux.setup(rule or flux.Adam(0.01), model)
    seen = Recorder(model)
    callbacks = [make(model, opt) for make in callbacks] + [seen] * record
    means = flux.train(loss, model, data(), opt, callbacks=callbacks, compile=compile, **options)
    state = [np.asarray(x) for leaf in opt._leaves for x in leaf.state]
    return means, seen.calls, flux.leaves(model), state


def assert_equal(one, other):
    for a, b in zip(one[:2], other[:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
    for a, b in zip([*one[2], *one[3]], [*other[2], *other[3]], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


LOADER = flux.DataLoader
DATA = {
    "a partial batch": lambda: LOADER((X, Y), batchsize=8),
    "none": lambda: LOADER((X, Y), batchsize=8, partial=False),
    "shuffled": lambda: LOADER((X, Y), batchsize=8, shuffle=True, rng=np.random.default_rng(3)),
    "single samples, shuffled": lambda: LOADER((X, Y), shuffle=True, rng=np.random.default_rng(3)),
    "a list": lambda: [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 50, 8)],
    "lists of arrays that are not contiguous": lambda: [(X[::2], Y[25:]), (X[1::2], Y[:25])],
}
