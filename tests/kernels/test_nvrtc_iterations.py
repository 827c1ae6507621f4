"""Whole iterations go through NVIDIA's compiler: loss, gradient and update of the networks that are measured."""

import itertools

import numpy as np
import pytest

import tinyflux as flux
from benchmarks.models import BATCHSIZES, MODELS, OPTIMISERS, Cell
from benchmarks.peers import _tinyflux
from tests.kernels.test_nvrtc import check_program, nvrtc  # noqa: F401
from tests.support import cuda_shim
from tests.support.program_cases import arrays, compiled
from tinyflux.compile.backends.cuda import persistent, rows
from tinyflux.training import cuda_iteration
from tinyflux.training.cuda_engine import CudaIterations

pytestmark = pytest.mark.usefixtures("compiling")


SMALL = [("4LS", 1, "Descent"), ("4LS", 1, "ADAM"), ("2LR", 1, "Descent")]  # for one block


@pytest.fixture
def translation(monkeypatch):
    """A function that gives the translation of an iteration, and what it was made of."""
    monkeypatch.setattr(cuda_shim.RawModule, "get_function", lambda module, name: None)  # none of them runs
    given, translate = [], cuda_iteration.Translation

    def noted(schedule, trusted, *, demands):
        given[:] = schedule, trusted, demands
        return translate(schedule, trusted, demands=demands)

    monkeypatch.setattr(cuda_iteration, "Translation", noted)

    def translated(cell):
        model, opt = flux.gpu(*_tinyflux(cell))
        loss = getattr(flux, cell.loss)
        data = flux.gpu(np.zeros((60_000, 784), np.float32), np.zeros((60_000, 10), np.float32))
        loss = CudaIterations().iteration(lambda m, x, y: loss(m(x), y), model, opt, data, cell.batchsize, None)
        return loss.source, given

    return translated


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("batchsize", BATCHSIZES)
@pytest.mark.parametrize("name", MODELS)
def test_an_iteration(nvrtc, translation, name, batchsize, optimiser):  # noqa: F811
    source, given = translation(Cell(name, batchsize, optimiser))
    check_program(nvrtc, source.text)
    made = persistent.translate_iterations(*given, {})
    assert (made is not None) == ((name, batchsize, optimiser) in SMALL)
    if made:
        check_program(nvrtc, made.text)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("sizes", [(16, 16, 16), (8, 32, 10), (30, 5, 7)], ids=str)
def test_rows_of_threads(nvrtc, sizes, dtype, monkeypatch):  # noqa: F811
    """As many as registers hold, and more."""
    monkeypatch.setattr(rows, "MANY", 1)
    x, y = arrays((9, sizes[0]), (9, sizes[2]), dtype=dtype)
    flux.seed(0)
    model = flux.Chain(*[flux.Dense(n, m, flux.sigmoid) for n, m in itertools.pairwise(sizes)])
    model = flux.tree.map(lambda x: x.astype(dtype), model)
    source = compiled(lambda m, x, y: flux.logitcrossentropy(m(x), y), *flux.gpu(model, (x, y))).source
    check_program(nvrtc, source.text)
