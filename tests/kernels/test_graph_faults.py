"""Faults planted where many iterations are one launch: the tests of what is promised must find them."""

import inspect
import sys
import textwrap

import numpy as np
import pytest

import tinyflux as flux
from tests.kernels import test_graphs as graphs
from tests.support import cuda_shim
from tests.support.graph_cases import check_as_one_by_one, one_by_one
from tests.support.program_cases import data, network
from tests.support.state_cases import running
from tinyflux.compile.backends.cuda import persistent
from tinyflux.training import cuda_engine, launching
from tinyflux.training.cuda_engine import CudaEngine
from tinyflux.training.cuda_iteration import CudaIteration, LossRecord

pytestmark = pytest.mark.usefixtures("compiling")


def a_loss_that_is_not_finite():
    graphs.test_a_loss_in_the_middle_of_a_graph_that_is_not_finite(17, np.nan)


def a_callback_that_changes_eta():
    graphs.test_what_callbacks_change(16)


def a_last_short_batch():
    graphs.test_a_last_short_batch(16)


def a_state_that_callbacks_see():
    graphs.test_what_callbacks_see()


def a_pass():
    check_as_one_by_one(one_by_one(40), make=network)


def a_pass_with_a_state():
    check_as_one_by_one(one_by_one(40, 2), make=running, rule=flux.Descent(0.1))


def items_in_other_arrays():
    x, y = data(60)
    check_as_one_by_one(lambda move: [move((x[i : i + 10], y[i : i + 10])) for i in range(0, 60, 10)])


CHECKS = [
    a_loss_that_is_not_finite, a_callback_that_changes_eta, a_last_short_batch, a_state_that_callbacks_see, a_pass,
    a_pass_with_a_state, items_in_other_arrays,
]  # fmt: skip
FAULTS = [  # where, what, what it becomes, and the check that finds it
    (LossRecord, "read", "if not math.isfinite(value)", "if False", a_loss_that_is_not_finite),
    (LossRecord, "read", "(self.losses.__setitem__, 0, 0.0), ", "", a_pass),
    (CudaIteration, "bind", "self._numbers[...] = cupy.asarray(values)", "pass", a_pass),
    (CudaIteration, "bind", "self._opt._layout._owners is not self._owners", "False", a_callback_that_changes_eta),
    (CudaIteration, "bind", "self._state.attach(old)", "self._state.results", a_pass_with_a_state),
    (CudaIteration, "unbind", "if self._own:", "if False:", a_state_that_callbacks_see),
    (CudaEngine, "_pass", "program = None  # callbacks", "pass  # callbacks", a_callback_that_changes_eta),
    (CudaEngine, "_pass", "at += count", "at += count + 1", a_pass),
    (cuda_engine, "stretches", "order[None, whole:]", "order[None, len(order):]", a_last_short_batch),
    (launching.Graphs, "launch", "order[at : at + some]", "order[:some]", a_pass),
    (launching.Graphs, "launch", "at += some", "at += some - (some == 4)", a_pass),
    (launching.Graphs, "launch", "warm = len(given)", "warm = self._given or len(given)", items_in_other_arrays),
    (launching.Graphs, "_calls", "self._order[i * self._size :]", "self._order", a_pass),
]
TEXTS = {  # in kernels
    "if (record[1] - record[1] != 0) return;": "",
    "record[0] = at + 1;": "record[0] = at;",
    "record[2 + at] - record[2 + at] == 0": "true",
}


def plant(monkeypatch, where, name, old, new):
    """Have a function, or a method of a class, do something else in one place."""
    function = getattr(where, name)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{name} has {source.count(old)} times {old!r}"
    found = {}
    exec(source.replace(old, new), vars(sys.modules[function.__module__]), found)
    monkeypatch.setattr(where, name, found[name])


@pytest.fixture(autouse=True)
def _by_graphs(monkeypatch):
    monkeypatch.setattr(persistent, "WORK", 0)
    monkeypatch.setattr(cuda_engine, "SECONDS", 1e9)


@pytest.mark.parametrize("check", CHECKS)
def test_nothing_is_found_where_there_is_no_fault(check):
    check()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault[1]}: {fault[2]} > {fault[3]}")
def test_a_fault_is_found(fault, monkeypatch):
    *place, check = fault
    plant(monkeypatch, *place)
    with pytest.raises((AssertionError, TypeError, ValueError, flux.NonFiniteLoss, cuda_shim.ShimError)):
        check()


@pytest.mark.parametrize("old", TEXTS)
def test_a_fault_of_kernels_is_found(old, monkeypatch):
    changed = cuda_shim.plant(monkeypatch, lambda code: code.replace(old, TEXTS[old]))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        a_loss_that_is_not_finite()
    assert any(changed)
