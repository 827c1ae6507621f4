"""What the tests of compiled training steps share: models, data, and the plain path to compare with."""

import copy

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.tree import walk


def take(data, rows):
    batch = flux.tree.map(lambda x: x[rows], data)
    return batch if type(batch) is tuple else (batch,)


def eager(loss, model, opt, data, order):
    """The losses of iterations on the plain path."""
    losses = []
    for rows in order:
        batch = take(data, rows)
        value, grads = flux.withgradient(lambda m: loss(m, *batch), model)  # noqa: B023
        flux.update(opt, model, grads)
        losses.append(float(value))
    return losses


def assert_same(one, other, rtol=1e-12):
    """Models and states (model, opt) are equal up to roundings."""
    for (path, a), (_, b) in zip(walk(one[0]), walk(other[0]), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=path)
        assert a.dtype == b.dtype
    for a, b in zip(one[1]._leaves, other[1]._leaves, strict=True):
        for i, (x, y) in enumerate(zip(a.state, b.state, strict=True)):
            np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol, err_msg=f"state {i} of {a.path}")
            assert type(x) is type(y)


def orders(data, batchsize, iterations, seed=3):
    samples = min(len(x) for x in flux.leaves(data))
    return np.random.default_rng(seed).integers(samples, size=(iterations, batchsize))


def check(loss, model, data, rule=None, batchsize=5, rtol=1e-12, prepare=lambda model, opt: None, programs=1):
    """Compiled and plain iterations in turns give what plain ones alone give, in the very arrays of model and state."""
    order = orders(data, batchsize, 7)
    ours, theirs = [], []
    for pair in (ours, theirs):
        pair.append(copy.deepcopy(model))
        pair.append(flux.setup(rule or flux.Adam(0.01), pair[0]))
        prepare(*pair)
    arrays = [(leaf.view, leaf.buffer.x, *leaf.arrays) for leaf in ours[1]._leaves]
    step = flux.compile_training(loss, *ours, batchsize=batchsize)
    losses = [
        *step(data, order[:2]),
        *eager(loss, *ours, data, order[2:3]),
        *step(data, order[3:4]),
        *step(data, order[4:7]),
    ]
    np.testing.assert_allclose(losses, eager(loss, *theirs, data, order), rtol=rtol)
    assert_same(ours, theirs, rtol)
    assert step.count == programs
    for leaf, before in zip(ours[1]._leaves, arrays, strict=True):
        assert all(a is b for a, b in zip((leaf.view, leaf.buffer.x, *leaf.arrays), before, strict=True))
    assert all(
        a is b for a, b in zip(flux.parameters(ours[0]), [ours[1]._views[i] for i in range(len(ours[1]._views))])
    )
    return step


def dense(nin, nout, activation=flux.tanh):
    return flux.f64(flux.Dense(nin, nout, activation))


@pytest.fixture(autouse=True)
def _seeded():
    flux.seed(0)


# All drawn here, in one order: they are the same whichever of the files are run.
RANDOM = np.random.default_rng(0)
N = 700
X, Y = RANDOM.normal(size=(N, 6)), RANDOM.normal(size=(N, 3))
LABELS = RANDOM.integers(0, 3, N)
W = RANDOM.random(N)
BYTES = RANDOM.integers(0, 256, (N, 6), dtype=np.uint8)
PER_ROW = RANDOM.random(600)
TABLE = RANDOM.random((6, 600))
SQUARE = RANDOM.random((600, 600))
WIDE, OTHER_WIDE = RANDOM.normal(size=(N, 600)), RANDOM.normal(size=(N, 600))
DATA = (X, Y)


def network():
    return flux.Chain(dense(6, 4), dense(4, 3))


def mse(m, x, y):
    return flux.mse(m(x), y)


class Running:
    """A state of the layer's own: `before` subtracts the mean as it was, else as it is now."""

    buffers = ("mean",)

    def __init__(self, before):
        self.mean, self.before = np.zeros(6), before

    def __call__(self, x):
        old = self.mean
        self.mean = 0.9 * old + 0.1 * np.mean(x, axis=0)
        return x - (old if self.before else self.mean)


class BatchNorm:
    """Batch normalisation: a layer with parameters as well as a state."""

    buffers = ("mean", "variance")

    def __init__(self, n):
        self.gain, self.shift, self.mean, self.variance = np.ones(n), np.zeros(n), np.zeros(n), np.ones(n)

    def __call__(self, x):
        mean, variance = np.mean(x, axis=0), np.var(x, axis=0)
        self.mean, self.variance = 0.9 * self.mean + 0.1 * mean, 0.9 * self.variance + 0.1 * variance
        return self.gain * (x - mean) / np.sqrt(variance + 1e-5) + self.shift


class Last:
    """A layer that keeps its last batch."""

    buffers = ("last",)

    def __init__(self, n):
        self.last = np.zeros((n, 6))

    def __call__(self, x):
        y = x + self.last
        self.last = np.tanh(x)
        return y


class Constant:
    buffers = ("array",)

    def __init__(self, array):
        self.array = array

    def __call__(self, x):
        return x * self.array


def normalised(h):
    return (h - np.mean(h, axis=0)) / np.sqrt(np.mean(h**2, axis=0) + 1e-3)


def array(*shape):
    return np.random.default_rng(7).normal(size=shape)


def prepared(rule=None, make=network):
    model = make()
    return model, flux.setup(rule or flux.Adam(0.01), model)


MODEL = flux.Chain(flux.f64(flux.Dense(6, 4, flux.tanh)), flux.f64(flux.Dense(4, 3)))
