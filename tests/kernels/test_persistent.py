"""Iterations that a kernel makes by itself: trainings with them are those of the plain path in NumPy."""

import re

import numpy as np
import pytest

import tinyflux as flux
from tests.kernels.test_stages import RULES, check_training
from tests.support import cuda_shim
from tests.support.device_standin import DeviceArray
from tinyflux.compile.backends.cuda import persistent
from tinyflux.compile.backends.cuda.launches import FAULT, RECORD
from tinyflux.training import cuda_iteration

pytestmark = pytest.mark.usefixtures("compiling")


@pytest.fixture
def kernels(monkeypatch):
    """Trainings on the device run by kernels that make iterations by themselves; the list of these."""
    made, translate = [], cuda_iteration.Translation

    class Noted(translate):
        def __init__(self, schedule, trusted, *, demands):
            super().__init__(schedule, trusted, demands=demands)
            self.given = schedule, trusted, demands

    def run(self, data, order, count):
        executable = self._executable
        names = list(executable._inputs)
        found = persistent.translate_iterations(*self.source.given, {names[-1]: order.shape[1]})
        made.append(found)
        arrays = {
            name: DeviceArray(np.full(n, cuda_shim.POISON.get(dtype.kind, 77), dtype))
            for name, (n, dtype) in found.between.items()
        }
        arrays |= executable._arrays | dict(zip(names, [*self._read, *data, order]))
        kernel = cuda_shim.RawModule(found.text).get_function("iterations")
        kernel((1,), (found.threads,), [*[arrays[name] for name in found.arrays], np.int64(count)])
        self._record.unread += count
        self._opt._layout.mark_stale()

    monkeypatch.setattr(cuda_iteration, "Translation", Noted)
    monkeypatch.setattr(cuda_iteration.CudaIteration, "run", run)
    return made


@pytest.mark.parametrize("order", cuda_shim.ORDERS)
@pytest.mark.parametrize("scale", [1.0, np.nan])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_training(rule, scale, order, kernels):
    """Several iterations to a launch; none is made any more behind a loss that is not finite."""
    cuda_shim.order = order
    check_training(rule, scale)
    assert kernels
    assert {RECORD, FAULT} <= set(kernels[0].arrays)
    assert set(kernels[0].between) <= set(kernels[0].arrays)


def test_a_batch_of_one_sample(kernels):
    for cuda_shim.order in cuda_shim.ORDERS:  # noqa: B020
        check_training(RULES[1], batchsize=1)


def test_what_takes_one_block_too_long(monkeypatch, kernels):
    monkeypatch.setattr(persistent, "WORK", 100)
    with pytest.raises(AttributeError):
        check_training(RULES[0])
    assert kernels == [None]


FAULTS = {
    "a barrier between levels": lambda text: (
        text[: text.index("iterations(")] + re.sub(r"__syncthreads\(\);", "", text[text.index("iterations(") :])
    ),
    "a barrier between stages": lambda text: text.replace("__syncthreads();\n    {", "{"),
    "the order moves on": lambda text: re.sub(r" \+ i \* \d+", "", text),
    "the look at the loss": lambda text: text.replace("if (record[1] - record[1] != 0) return;", ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name, kernels, monkeypatch):
    module = cuda_shim.RawModule

    def planted(code, options=()):
        assert "iterations(" not in code or FAULTS[name](code) != code
        return module(FAULTS[name](code) if "iterations(" in code else code, options)

    def everything():
        for cuda_shim.order in cuda_shim.ORDERS:  # noqa: B020
            check_training(RULES[0])
            check_training(RULES[0], np.nan)

    everything()
    monkeypatch.setattr(cuda_shim, "RawModule", planted)
    with pytest.raises((AssertionError, cuda_shim.ShimError)):
        everything()
    assert flux
