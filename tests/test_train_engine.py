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
