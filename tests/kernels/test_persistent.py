"""Iterations that a kernel makes by itself: trainings with them are those of the plain path in NumPy."""

import re

import numpy as np
import pytest

from tests.kernels.test_stages import RULES, check_training
from tests.support import cuda_shim
from tinyflux.compile.backends.cuda import persistent
from tinyflux.compile.backends.cuda.launches import FAULT, RECORD
from tinyflux.training import cuda_iteration

pytestmark = pytest.mark.usefixtures("compiling")


@pytest.fixture
def kernels(monkeypatch):
    """The kernels that trainings have asked for; None for those whose iterations take one block too long."""
    made, translate = [], cuda_iteration.translate_persistent

    def noted(*arguments):
        made.append(translate(*arguments))
        return made[-1]

    monkeypatch.setattr(cuda_iteration, "translate_persistent", noted)
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
    check_training(RULES[0])
    assert kernels == [None]


def test_what_has_more_arrays_than_a_kernel_can_be_given(monkeypatch, kernels):
    monkeypatch.setattr(persistent, "MAX_ARRAYS", 10)
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
    def everything():
        for cuda_shim.order in cuda_shim.ORDERS:  # noqa: B020
            check_training(RULES[0])
            check_training(RULES[0], np.nan)

    everything()
    changed = cuda_shim.plant(monkeypatch, lambda code: FAULTS[name](code) if "iterations(" in code else code)
    with pytest.raises((AssertionError, cuda_shim.ShimError)):
        everything()
    assert any(changed)
