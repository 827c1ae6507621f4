"""How many launches an update takes on the device: as the table of docs/speed.md has it."""

import re
from pathlib import Path

import pytest

from benchmarks.models import BATCHSIZES, MODELS, OPTIMISERS, Cell
from tests.support import cuda_shim
from tests.support.training_programs import training_program
from tinyflux.compile.backends.cuda.persistent import PersistentKernel

pytestmark = pytest.mark.usefixtures("compiling")
PAGE = Path(__file__).parents[2] / "docs" / "speed.md"


def launches(cell):
    source = training_program(cell).source
    return "one for many" if isinstance(source, PersistentKernel) else str(len(source.launches))


def test_the_table(monkeypatch):
    monkeypatch.setattr(cuda_shim.RawModule, "get_function", lambda module, name: lambda *arguments: None)
    found = {}
    for batchsize in BATCHSIZES:
        for optimiser in OPTIMISERS:
            counts = [launches(Cell(model, batchsize, optimiser)) for model in MODELS]
            found[f"{batchsize:,}", optimiser] = " / ".join(counts)
    rows = re.findall(r"^\| ([\d,]+) \| (\w+) \| [\d /]+ \| ([\w /]+) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert {(batchsize, optimiser): counts for batchsize, optimiser, counts in rows} == found
