"""How many launches an update takes on the device: as the table of docs/speed.md has it."""

import re
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from benchmarks.models import BATCHSIZES, MODELS, OPTIMISERS, Cell
from benchmarks.peers import _tinyflux
from tests.support import cuda_shim
from tinyflux.compile.backends.cuda.persistent import Iterations
from tinyflux.training.cuda_engine import CudaIterations

pytestmark = pytest.mark.usefixtures("compiling")
PAGE = Path(__file__).parents[2] / "docs" / "speed.md"


def launches(cell):
    """How many an iteration takes, as it is recorded for a loader of these batches, or for all of the data."""
    model, opt = flux.gpu(*_tinyflux(cell))
    loss = getattr(flux, cell.loss)
    samples = max(cell.batchsize, 200)
    data = flux.gpu(np.zeros((samples, 784), np.float32), np.zeros((samples, 10), np.float32))
    size = None if samples == cell.batchsize else cell.batchsize
    iteration = CudaIterations().iteration(lambda m, x, y: loss(m(x), y), model, opt, data, size, None)
    return "one for many" if isinstance(iteration.source, Iterations) else str(len(iteration.source.launches))


def test_the_table(monkeypatch):
    monkeypatch.setattr(cuda_shim.RawModule, "get_function", lambda module, name: None)  # none of them runs
    found = {}
    for batchsize in BATCHSIZES:
        for optimiser in OPTIMISERS:
            counts = [launches(Cell(model, batchsize, optimiser)) for model in MODELS]
            found[f"{batchsize:,}", optimiser] = " / ".join(counts)
    rows = re.findall(r"^\| ([\d,]+) \| (\w+) \| [\d /]+ \| ([\w /]+) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert {(batchsize, optimiser): counts for batchsize, optimiser, counts in rows} == found
