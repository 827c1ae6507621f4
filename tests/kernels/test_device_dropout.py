"""An active Dropout in programs for the device, run on the CPU by g++: it drops what NumPy's drops, to the bit."""

import numpy as np
import pytest

import tinyflux as flux
from tests.support import cuda_shim, dropout_cases
from tests.support.program_cases import InOrder, data
from tinyflux.training.cuda_engine import STARTED

pytestmark = pytest.mark.usefixtures("compiling")


@pytest.mark.parametrize("order", cuda_shim.ORDERS)
@pytest.mark.parametrize("name", dropout_cases.LAYERS)
def test_masks_are_those_of_the_cpu(name, order, tmp_path):
    cuda_shim.order = order
    model = dropout_cases.check(name, tmp_path / "checkpoint.npz")
    assert len(np.unique(model["p"])) >= 8 or name == "all"


def test_the_position_moves_on():
    model, opt = dropout_cases.build("half", flux.gpu)
    dropout_cases.update(model, opt, flux.gpu, 4, True)
    assert model["layer"].state.tolist() == [2**63 + 5, 4 * np.prod(dropout_cases.SHAPE)]


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_training(shuffle, capsys):
    """Batches of two sizes, Adam, and BatchNorm beside it."""
    ends = []
    for move, option in ((lambda x: x, False), (flux.gpu, "auto")):
        flux.seed(0)
        model = move(
            flux.Chain(
                flux.Dense(6, 8, bias=False), flux.BatchNorm(8, flux.relu), flux.Dropout(0.5, seed=1), flux.Dense(8, 3)
            )
        )
        opt = flux.setup(flux.Adam(0.01), model)
        batches = (InOrder if shuffle else flux.DataLoader)(move(data()), 16)
        losses = flux.train(
            lambda m, x, y: flux.logitcrossentropy(m(x), y), model, batches, opt, epochs=3, compile=option
        )
        ends.append((losses, flux.leaves(flux.cpu(model))))
    assert capsys.readouterr().err == STARTED + "\n"
    np.testing.assert_allclose(ends[1][0], ends[0][0], rtol=1e-5)
    for a, b in zip(ends[1][1], ends[0][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


FAULTS = [(">> 30", ">> 29"), ("13787848793156543929", "13787848793156543931"), (">> 40", ">> 41")]


@pytest.mark.parametrize(("old", "new"), FAULTS)
def test_a_fault_is_found(old, new, monkeypatch, tmp_path):
    changed = cuda_shim.plant(monkeypatch, lambda code: code.replace(old, new))
    with pytest.raises(AssertionError):
        dropout_cases.check("half", tmp_path / "checkpoint.npz")
    assert all(changed)
