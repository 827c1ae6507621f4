"""An index out of bounds in the middle of a training on the device: the updates before it stand, as on the CPU."""

import numpy as np
import pytest

import tinyflux as flux
from tests.support import index_faults
from tests.support.index_faults import faulty, loss
from tests.support.program_cases import InOrder
from tests.support.state_cases import Keeping
from tinyflux.compile.backends.cuda import launches, levels

pytestmark = pytest.mark.usefixtures("compiling")


@pytest.mark.parametrize("rule", [flux.Adam(0.1), flux.YellowFin()], ids=repr)
@pytest.mark.parametrize("due", [None, 1, 3])
@pytest.mark.parametrize("name", index_faults.FAULTS)
def test_the_updates_before_it_stand(name, due, rule):
    index_faults.check(name, rule, due)


def test_afterwards_all_is_as_ever():
    """The fault is not found again, by the same program, for other data."""
    flux.seed(0)
    model = flux.gpu({"embedding": flux.glorot_normal((9, 4))})
    opt = flux.setup(flux.Adam(0.1), model)
    for bad in ({"index": 6}, {}, {"number": 6}, {}):
        data = InOrder(flux.gpu(faulty(**bad)), 2)
        if "index" in bad:
            with pytest.raises(IndexError, match="an index is out of bounds for an axis of length 9"):
                flux.train(loss, model, data, opt, compile=True)
        elif bad:
            with pytest.raises(flux.NonFiniteLoss):
                flux.train(loss, model, data, opt, compile=True)
        else:
            assert np.isfinite(flux.train(loss, model, data, opt, compile=True)).all()


def of_state(m, k, x):
    m["layer"](k)
    return np.sum(m["p"] ** 2 * x)


def test_an_index_that_the_loss_does_not_depend_on():
    ends = []
    for move, option in ((lambda x: x, False), (flux.gpu, True)):
        model = move({"p": np.ones(2), "layer": Keeping()})
        opt = flux.setup(flux.Descent(0.1), model)
        items = [move((np.array(k), np.ones(2))) for k in ([0, 1, 2], [3, -1, 0], [1, 5, 0], [0, 0, 0])]
        with pytest.raises(IndexError):
            flux.train(of_state, model, items, opt, compile=option)
        ends.append([flux.cpu(x) for x in (model["p"], model["layer"].last)])
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert ends[1][1].tolist() == [3, 4, 0]


def test_faults_are_noted_in_any_order_and_looked_at_behind_all():
    def section(name, arrays, types):
        return launches.Section(name, 1, tuple(map(launches.Place, arrays)), types)

    note = ("const float *", "float *", "int32_t *")
    steps = [
        section("first", ("p0", "t0", launches.FAULT), note),
        section("second", ("p1", "t1", launches.FAULT), note),
        section("third", ("t1", "t2", launches.FAULT), note),
        section("entry", ("t0", launches.RECORD, launches.FAULT), note),
        section("fourth", ("p0", "t3", launches.FAULT), note),
    ]
    found = [[step.name for step in level] for level in levels.find_levels(steps)]
    assert found == [["first", "second"], ["third"], ["entry"], ["fourth"]]
