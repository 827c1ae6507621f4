"""Compiled training steps of the benchmarks' models against the plain path, iteration by iteration."""

import numpy as np
import pytest

import tinyflux as flux
from benchmarks.models import BATCHSIZES, MODELS, OPTIMISERS, Cell, synthetic
from benchmarks.peers import _tinyflux
from tests.support.training_cases import _seeded as _seeded  # a fixture
from tests.support.training_cases import eager, orders
from tinyflux.compile.backends.c.build import available

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

# The models of the benchmarks. All 60,000 images are the benchmarks' to check: `python -m benchmarks.step`.

IMAGES, DIGITS = synthetic(3000)
CELLS = [(m, b, o) for m in MODELS for b in (*BATCHSIZES[:2], 3000) for o in OPTIMISERS]  # 3,000: a ragged last block


def of_cell(cell, dtype):
    """The model of a cell, its state, its loss and data."""
    model, _ = _tinyflux(cell)
    model = flux.f64(model) if dtype == np.float64 else model
    loss = getattr(flux, cell.loss)
    data = (IMAGES.reshape(-1, 784).astype(dtype), flux.onehotbatch(DIGITS, range(10)))
    return model, flux.setup(getattr(flux, cell.optimiser)(cell.eta), model), lambda m, x, y: loss(m(x), y), data


def largest_difference(model, other):
    """Of weights, beside the largest weight of each array."""
    pairs = zip(flux.leaves(model), flux.leaves(other), strict=True)
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "batchsize", "optimiser"), CELLS)
def test_the_models_of_the_benchmarks(name, batchsize, optimiser):
    """Measured: losses 2e-15 apart, weights too, with Descent; 2e-12 and 6e-11 with ADAM, which enlarges roundings."""
    cell = Cell(name, batchsize, optimiser)
    model, opt, loss, data = of_cell(cell, np.float64)
    other, other_opt, _, _ = of_cell(cell, np.float64)
    order = orders(data, batchsize, 1000 if batchsize < 1000 else 8)
    losses = flux.compile_training(loss, model, opt, batchsize)(data, order)
    bound = 1e-9 if optimiser == "ADAM" else 1e-13
    np.testing.assert_allclose(losses, eager(loss, other, other_opt, data, order), rtol=bound)
    assert largest_difference(model, other) < 10 * bound


@pytest.mark.parametrize(("name", "batchsize"), [("4LS", 1), ("3LS", 128), ("2LR", 3000)])
def test_the_models_of_the_benchmarks_in_float32(name, batchsize):
    cell = Cell(name, batchsize, "ADAM")
    model, opt, loss, data = of_cell(cell, np.float32)
    other, other_opt, _, _ = of_cell(cell, np.float32)
    order = orders(data, batchsize, 40 if batchsize < 1000 else 4)
    losses = flux.compile_training(loss, model, opt, batchsize)(data, order)
    np.testing.assert_allclose(losses, eager(loss, other, other_opt, data, order), rtol=2e-5)
    assert largest_difference(model, other) < 1e-4
    assert {x.dtype for x in flux.leaves(model)} == {np.dtype(np.float32)}
