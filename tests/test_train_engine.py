"""A training's history says what made its updates."""

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.compile.backends.c.build import available


class Count:
    def __init__(self):
        self.w, self.n = np.ones(1, np.float32), 0

    def __call__(self, x):
        self.n += 1
        return self.w * x


def engine(model, **options):
    data = flux.DataLoader(np.ones((4, 1), np.float32), 2)
    return flux.train(lambda m, x: np.sum(m(x)), model, data, flux.setup(flux.Descent(0.1), model), **options).engine


def test_plain():
    assert engine(flux.Dense(1, 1), compile=False) == "plain NumPy"


@pytest.mark.skipif(not available(), reason="there is no C compiler here")
def test_native_and_why_not():
    assert engine(flux.Dense(1, 1)).startswith("native code, by ")
    for _ in range(2):  # stderr is told once, each history
        assert engine(Count()).startswith("plain NumPy: the model changes an attribute of its own")


@pytest.mark.skipif(not available(), reason="there is no C compiler here")
def test_data_in_data():
    """Batches ((x, mask), y) train as batches (x, mask, y) do."""
    x, mask, y = np.random.default_rng(0).random((3, 12, 3), np.float32)

    def trained(loss, data, native):
        flux.seed(0)
        model = flux.Dense(3, 3)
        loader = flux.DataLoader(data, 4, shuffle=True)
        flux.train(loss, model, loader, flux.setup(flux.Adam(0.1), model), epochs=2, compile=native)
        return model.weight

    expected = trained(lambda m, x, mask, y: flux.mse(m(x * mask), y), (x, mask, y), False)
    for data in (((x, mask), y), ({0: x, 1: mask}, y)):
        for native in (False, True):
            found = trained(lambda m, given, y: flux.mse(m(given[0] * given[1]), y), data, native)
            np.testing.assert_allclose(found, expected, rtol=1e-5)
