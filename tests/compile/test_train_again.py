"""train called again: programs belong to the optimiser's state, and are found there."""

import copy
import gc
import types
import weakref

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.compile.backends.c import build
from tinyflux.training.iteration import Iteration

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(16, 6)), RANDOM.normal(size=(16, 3))
DATA = [(X[:8], Y[:8]), (X[8:], Y[8:])]

pytestmark = pytest.mark.skipif(not build.available(), reason="there is no C compiler here")


@pytest.fixture
def built(monkeypatch):
    """The programs made while a test runs."""
    made = []
    make = Iteration.__init__

    def counted(self, *args):
        make(self, *args)
        made.append(self)

    monkeypatch.setattr(Iteration, "__init__", counted)
    return made


def prepared(rule=None):
    flux.seed(0)
    model = flux.f64(flux.Chain(flux.Dense(6, 4, flux.tanh), flux.Dense(4, 3)))
    return model, flux.setup(rule or flux.Adam(0.01), model)


def mse(m, x, y):
    return flux.mse(m(x), y)


def losses_of(factor):
    return lambda m, x, y: factor * flux.mse(m(x), y)


def test_a_second_call_compiles_nothing(built):
    ends = []
    for option in (True, False):
        model, opt = prepared()
        means = [flux.train(mse, model, DATA, opt, compile=option)[0] for _ in range(5)]
        ends.append((means, flux.leaves(model)))
    assert len(built) == 1
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-11)
    for a, b in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_a_loader_and_a_list_have_a_program_each(built):
    model, opt = prepared()
    for _ in range(3):
        flux.train(mse, model, DATA, opt, compile=True)
        flux.train(mse, model, flux.DataLoader((X, Y), batchsize=4), opt, compile=True)
    assert len(built) == 2


def test_a_lambda_made_anew_by_the_same_code_is_the_same_loss(built):
    model, opt = prepared()
    for _ in range(4):
        flux.train(lambda m, x, y: flux.mse(m(x), y), model, DATA, opt, compile=True)
    factor = 2.0
    for _ in range(4):
        flux.train(losses_of(factor), model, DATA, opt, compile=True)
    for text in ("2.0", "2.0"):  # another object of the same value
        flux.train(losses_of(float(text)), model, DATA, opt, compile=True)
    assert len(built) == 2


def test_other_code_is_another_loss(built):
    model, opt = prepared(flux.Descent(0.0))
    one = flux.train(lambda m, x, y: flux.mse(m(x), y), model, DATA, opt, compile=True)
    two = flux.train(lambda m, x, y: 3 * flux.mse(m(x), y), model, DATA, opt, compile=True)
    assert len(built) == 2
    np.testing.assert_allclose(two[0], 3 * one[0], rtol=1e-12)


@pytest.mark.parametrize("how", ["value", "cell", "default", "array", "in place", "attribute"])
def test_what_a_loss_reads_is_looked_at_again(how, built):
    model, opt = prepared(flux.Descent(0.0))
    base = flux.train(mse, model, DATA, opt, compile=False)[0]
    held, space, cell = np.ones(()), types.SimpleNamespace(factor=1.0), 1.0

    def from_cell(m, x, y):
        return cell * flux.mse(m(x), y)

    found = []
    for factor in (1.0, 2.0, 2.0, 3.0):
        if how == "in place":
            held[...] = factor
        space.factor = cell = factor
        array = np.full((), factor)
        loss = {
            "value": losses_of(factor),
            "cell": from_cell,
            "default": lambda m, x, y, by=factor: by * flux.mse(m(x), y),
            "array": losses_of(array),
            "in place": losses_of(held),
            "attribute": lambda m, x, y: space.factor * flux.mse(m(x), y),
        }[how]
        found += flux.train(loss, model, DATA, opt, compile=True)
    np.testing.assert_allclose(found, [base, 2 * base, 2 * base, 3 * base], rtol=1e-12)
    assert len(built) == (4 if how == "array" else 3)


def test_a_loss_that_changes_between_batches_is_seen():
    model, opt = prepared(flux.Descent(0.0))
    base = [float(mse(model, *item)) for item in DATA]
    factor, seen = 1.0, []
    loss = lambda m, x, y: factor * flux.mse(m(x), y)  # noqa: E731

    def change(progress):
        nonlocal factor
        seen.extend(progress.losses)
        factor += 1

    for _ in range(2):
        flux.train(loss, model, DATA, opt, callbacks=[change], compile=True)  # it is called at the end, too
    np.testing.assert_allclose(seen, [base[0], 2 * base[1], 4 * base[0], 5 * base[1]], rtol=1e-12)


def test_an_iterator_that_changes_the_loss_is_seen():
    model, opt = prepared(flux.Descent(0.0))
    base = [float(mse(model, *item)) for item in DATA]
    space, seen = types.SimpleNamespace(factor=1.0), []

    def items():
        for item in DATA:
            yield item
            space.factor += 1

    def note(progress):
        seen.extend(progress.losses)

    note.due = lambda iteration: 10**9
    flux.train(lambda m, x, y: space.factor * flux.mse(m(x), y), model, items(), opt, callbacks=[note], compile=True)
    np.testing.assert_allclose(seen, [base[0], 2 * base[1]], rtol=1e-12)


def test_a_second_item_that_is_a_parameter_is_read_before_the_step():
    ends = []
    for option in ("auto", False):
        model = {"w": np.arange(6.0).reshape(2, 3)}
        opt = flux.setup(flux.Descent(0.1), model)
        data = [np.ones((2, 3)), model["w"]]
        ends.append((flux.train(lambda m, x: np.sum((m["w"] * x) ** 2), model, data, opt, compile=option), model["w"]))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-12)
    np.testing.assert_allclose(ends[0][1], ends[1][1], rtol=1e-12)


def test_rules_models_and_options_that_change_between_calls(built):
    model, opt = prepared(flux.Descent(0.1))
    other, other_opt = prepared(flux.Descent(0.1))
    for eta, frozen in ((0.1, False), (0.2, False), (0.2, True), (0.1, False)):
        for m, o, option in ((model, opt, True), (other, other_opt, False)):
            flux.adjust(o, eta=eta)
            (flux.freeze if frozen else flux.thaw)(o[0])
            flux.train(mse, m, DATA, o, compile=option)
    for a, b in zip(flux.leaves(model), flux.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)
    assert len(built) == 2  # η is read in every call


def test_neither_the_model_nor_the_data_live_longer():
    model, opt = prepared()
    x, y = X.copy(), Y.copy()
    alive = [weakref.ref(x), weakref.ref(y), weakref.ref(model)]
    flux.train(mse, model, [(x, y)], opt, compile=True)
    del x, y, model
    gc.collect()
    assert [ref() for ref in alive] == [None] * 3
    assert opt is not None


def test_the_state_goes_with_its_programs(built):
    model, opt = prepared()
    flux.train(mse, model, DATA, opt, compile=True)
    alive = [weakref.ref(opt), weakref.ref(built.pop())]
    del opt
    gc.collect()
    assert [ref() for ref in alive] == [None] * 2


def test_copies_of_the_model_have_none_of_it(tmp_path):
    model, opt = prepared()
    flux.train(mse, model, DATA, opt, compile=True)
    twin = copy.deepcopy(model)
    with pytest.raises(TypeError, match="can't be copied or pickled"):
        copy.deepcopy(opt)
    assert flux.setup(flux.Adam(0.01), twin)._programs == {}


def test_programs_do_not_pile_up():
    model, opt = prepared(flux.Descent(0.0))
    base = flux.train(mse, model, DATA, opt, compile=False)[0]
    for i in range(12):
        means = flux.train(losses_of(float(i)), model, DATA, opt, compile="auto")
        np.testing.assert_allclose(means, [i * base], rtol=1e-12)
    assert len([*opt._programs["native"]]) <= 8
