"""Iterations of which many are one launch, on a GPU: what is promised holds as if they came one by one."""

import numpy as np
import pytest

import tinyflux as flux
from tests.support.graph_cases import (
    RULES,
    Stop,
    batchnormed,
    check_4ls,
    check_as_one_by_one,
    one_by_one,
    stopping,
    trained,
)
from tests.support.program_cases import InOrder, data, network
from tests.support.state_cases import running
from tinyflux.compile.backends.cuda import levels, persistent

if "can't" in flux.gpu_status():
    pytest.skip(flux.gpu_status(), allow_module_level=True)
pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True, params=["graphs", "one kernel"])
def _way(monkeypatch, request):
    """How iterations are launched; a kernel makes all of a launch where they are small."""
    if request.param == "graphs":
        monkeypatch.setattr(persistent, "WORK", 0)


@pytest.mark.parametrize("make", [network, running, batchnormed])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_pass(rule, make, capsys):
    check_as_one_by_one(one_by_one(150, 1 if make is network else 5), rule=rule, make=make)
    assert "one by one" not in capsys.readouterr().err


@pytest.mark.parametrize("at", [0, 5, 16, 17, 30, 49])
@pytest.mark.parametrize("make", [network, running])
def test_a_loss_in_the_middle_of_a_graph_that_is_not_finite(make, at):
    def batches(move):
        x, y = data(50)
        x[at] = np.nan
        return InOrder(move((x, y)), 1)

    found = trained(flux.gpu, batches, make=make, epochs=1, error=flux.NonFiniteLoss)
    assert f"at item {at} of epoch 1" in found[0][-1]
    if at:
        before = [lambda: stopping(at)]
        expected = trained(flux.gpu, one_by_one(), make=make, epochs=1, error=Stop, callbacks=before)
        for a, b in zip(found[1], expected[1], strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_network_whose_state_fills_shared_memory():
    check_4ls()


def test_kernels_that_are_given_tables(monkeypatch, capsys):
    monkeypatch.setattr(levels, "MAX_ARRAYS", 3)
    check_as_one_by_one(one_by_one(60, 2), rule=RULES[2])
    assert "one by one" not in capsys.readouterr().err


def test_what_callbacks_change():
    def changing():
        def change(progress):
            if progress.iteration == 20:
                flux.adjust(progress.opt, eta=0.2)
            if progress.iteration == 40:
                flux.freeze(progress.opt.layers[1])

        change.due = lambda iteration: iteration + 20
        return change

    check_as_one_by_one(one_by_one(), make=running, callbacks=[changing], epochs=1)


@pytest.mark.parametrize("size", [3, 16, 49, 50])
def test_a_last_short_batch(size):
    check_as_one_by_one(one_by_one(50, size), epochs=4)
