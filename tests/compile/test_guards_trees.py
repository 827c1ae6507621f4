"""Functions that walk trees read all attributes of the objects in them, and of no others."""

import threading

import numpy as np
import pytest

import tinyflux as flux
from tests.support.compiling import same
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.guards.contents import Contents

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

X = np.array([1.0, 2.0])


class Training:
    """What people write: it holds the model, the optimiser's state, and things that can't be looked at."""

    def __init__(self, walk):
        rng = np.random.default_rng(0)
        self.model = flux.f64(flux.Chain(flux.Dense(3, 4, np.tanh, rng=rng), flux.Dense(4, 1, rng=rng)))
        self.opt = flux.setup(flux.Adam(0.01), self.model)
        self.lock = threading.Lock()
        self.decay = 0.01
        self.walk = walk

    def loss(self, model, x, y):
        return flux.mse(model(x), y) + self.decay * sum(np.sum(p * p) for p in self.walk(model))


WALKS = {
    "parameters": flux.parameters,
    "leaves": flux.leaves,
    "map": lambda model: flux.leaves(flux.tree.map(lambda p: 2 * p, model)),
    "destructure": lambda model: [flux.destructure(model)[0]],
    "gradient": lambda model: flux.leaves(flux.gradient(lambda m: np.sum(m[0].weight ** 4), model)[0]),
}


@pytest.mark.parametrize("name", WALKS)
def test_an_object_that_holds_the_model_may_have_the_loss(name):
    rng = np.random.default_rng(1)
    data = flux.DataLoader((rng.normal(size=(8, 3)), rng.normal(size=(8, 1))), 4)
    one, other = Training(WALKS[name]), Training(WALKS[name])
    got = flux.train(one.loss, one.model, data, one.opt, epochs=3, compile=True)
    np.testing.assert_allclose(
        got, flux.train(other.loss, other.model, data, other.opt, epochs=3, compile=False), 1e-12
    )
    one.decay = other.decay = 0.5
    got = flux.train(one.loss, one.model, data, one.opt, compile=True)
    np.testing.assert_allclose(got, flux.train(other.loss, other.model, data, other.opt, compile=False), 1e-12)


def net():
    """An object of a class that nobody has met."""

    class Net:
        buffers = ()

        def __init__(self):
            self.unnamed = np.ones(2)
            self.within = [flux.f64(flux.Dense(1, 1))]

    return Net()


def squares(tree):
    return sum(np.sum(p**2) for p in flux.parameters(tree))


READS = {
    "parameters": lambda box, x: x * sum(np.sum(p) for p in flux.parameters(box)),
    "leaves": lambda box, x: x * sum(np.sum(p) for p in flux.leaves(box)),
    "map": lambda box, x: x * sum(np.sum(p) for p in flux.leaves(flux.tree.map(np.sin, box))),
    "count": lambda box, x: x * flux.parameter_count(box),
    "gradient": lambda box, x: x * squares(flux.gradient(squares, box)),
}


@pytest.mark.parametrize("name", READS)
def test_what_is_walked_is_watched(name):
    box, read = [net()], READS[name]
    compiled = flux.compile(lambda x: read(box, x))

    def check():
        for _ in range(2):
            same(compiled(X), read(box, X), 1e-15)

    check()
    box[0].unnamed = np.full(2, 3.0)
    check()
    box[0].unnamed[0] = 5
    check()
    box[0].another = np.ones(3)
    check()
    box[0].within.append(net())  # of another class
    check()
    box[0].within[-1].unnamed = np.full(4, 7.0)
    check()
    type(box[0]).buffers = ("unnamed",)
    check()
    box[0] = net()
    check()
    box[0].unnamed *= 2
    check()


@pytest.mark.parametrize("size", [3, 5000])
def test_the_sign_of_a_zero_in_an_array_is_seen(size):
    x = np.zeros(size)
    x[1] = np.nan
    contents = Contents([x])
    assert contents.same([x])
    x[2] = -0.0
    assert not contents.same([x])
