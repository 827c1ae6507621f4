"""Models whose layers have a state, and trainings of them: on the device, and beside them the plain path in NumPy."""

import numpy as np

import tinyflux as flux
from tests.support.program_cases import data


class Running:
    """Subtracts the mean as it was, or as it is now; counts batches, and keeps a mask and a number beside it."""

    buffers = ("mean", "batches", "mask", "largest", "first")

    def __init__(self, before):
        self.mean, self.batches, self.mask = np.zeros(6, np.float32), np.zeros(1, np.int64), np.zeros(3, bool)
        self.largest, self.before, self.first = np.zeros(1, np.float64), before, np.full(6, 0.5, np.float32)

    def __call__(self, x):
        old = self.mean
        self.mean = 0.9 * old + 0.1 * np.mean(x, axis=0)
        self.batches = self.batches + 1
        self.mask = np.max(x[:, :3], axis=0) > 0.5
        self.largest = np.maximum(self.largest, np.max(x).astype(np.float64))
        return x - (old if self.before else self.mean) + self.first


class Counter:
    """Counts its calls by a number of Python's, and multiplies by it."""

    def __init__(self, start, parameters):
        self.n, self.weight = start, np.ones(6, np.float32) if parameters else None

    def __call__(self, x):
        self.n += 1
        return self.scaled(x, 1 if self.weight is None else self.weight, self.n)

    def scaled(self, x, weight, n):
        return x * weight * n


class Hits:
    """Counts the rows whose largest number is the first."""

    buffers = ("hits",)

    def __init__(self):
        self.hits = np.zeros(1)

    def __call__(self, x):
        self.hits = self.hits + np.sum(np.argmax(x, axis=1) == 0)
        return x


class Keeping:
    """Keeps what indices pick, which nobody else reads."""

    buffers = ("table", "last")

    def __init__(self):
        self.table, self.last = np.arange(5.0), np.zeros(3)

    def __call__(self, k):
        self.last = self.table[k]


class Growing:
    """Gives its buffer another value in each call, perhaps of another form."""

    buffers = ("seen",)

    def __init__(self, f):
        self.seen, self.f = np.zeros(6, np.float32), f

    def __call__(self, x):
        self.seen = self.f(self.seen)
        return x


class Swapped:
    """Two arrays that take each other's place."""

    buffers = ("one", "other")

    def __init__(self):
        self.one, self.other = np.zeros(6, np.float32), np.arange(6, dtype=np.float32)

    def __call__(self, x):
        self.one, self.other = self.other, self.one
        return x * self.one


def running():
    return flux.Chain(Running(True), flux.Dense(6, 6, flux.tanh), Running(False), flux.Dense(6, 3))


def counting(start, parameters):
    return flux.Chain(Counter(start, parameters), flux.Dense(6, 3))


def normalised():
    return flux.Chain(flux.Dense(6, 6, bias=False), flux.BatchNorm(6, flux.relu), flux.Dense(6, 3))


def swapped():
    return flux.Chain(Swapped(), flux.Dense(6, 3))


def hits():
    return flux.Chain(flux.Dense(6, 3), Hits())


def in_testmode():
    model = normalised()
    model.layers[1].running_mean = np.arange(6, dtype=np.float32)
    return flux.Chain(flux.testmode(model[:2]), Running(True), model[2])


def images():
    return flux.Chain(
        lambda x: np.reshape(x, (-1, 3, 2, 1)), flux.Conv((2, 2), 1, 4, pad="same", bias=False),
        flux.BatchNorm(4, flux.relu), flux.MaxPool((3, 1)), flux.flatten, flux.Dense(8, 3),
    )  # fmt: skip


MODELS = [running, normalised, swapped, hits, in_testmode, images]


def loss(model, x, y):
    return flux.logitcrossentropy(model(x), y)


def trained(make, move, option, batches, callbacks=(), rule=None, epochs=2):
    flux.seed(0)
    model = move(make())
    opt = flux.setup(rule or flux.Adam(0.01), model)
    called = [callback(move) for callback in callbacks]
    losses = flux.train(loss, model, batches(move), opt, epochs, called, compile=option)
    return losses, model


def check(make, batches=None, option=True, **options):
    """A compiled training beside the plain one in NumPy: losses, parameters, and the state of layers."""
    batches = batches or (lambda move: flux.DataLoader(move(data()), 16))
    here = trained(make, lambda x: x, False, batches, **options)
    there = trained(make, flux.gpu, option, batches, **options)
    np.testing.assert_allclose(there[0], here[0], rtol=1e-5)
    for a, b in zip(flux.leaves(flux.cpu(there[1])), flux.leaves(here[1]), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    return there
