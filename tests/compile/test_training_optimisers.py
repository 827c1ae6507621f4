"""Compiled training steps with optimisers: numbers that change, parts that are frozen, rules of one's own."""

import copy
import dataclasses

import numpy as np
import pytest

import tinyflux as flux
from tests.support.training_cases import DATA, MODEL, assert_same, check, dense, eager, mse, network, orders, prepared
from tests.support.training_cases import _seeded as _seeded  # a fixture
from tinyflux.compile.backends.c.build import available

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")


@pytest.fixture
def builds(monkeypatch):
    """The sources that were built, also those that had been built before."""
    sources = []
    import tinyflux.compile.backends.c.library as library

    monkeypatch.setattr(library, "build", lambda text, original=library.build: sources.append(text) or original(text))
    return sources


def test_numbers_are_read_in_every_call_without_a_new_program(builds):
    ours, theirs = (prepared(flux.Adam(0.01), lambda: copy.deepcopy(MODEL)) for _ in range(2))
    step = flux.compile_training(mse, *ours, batchsize=5)
    order = orders(DATA, 5, 12)
    losses, expected = [], []
    settings = [{}, {"eta": 0.02}, {"beta": (0.8, 0.99)}, {"epsilon": 1e-3, "eta": 0.005}]
    for setting, some in zip(settings, np.split(order, 4)):
        for pair in (ours, theirs):
            flux.adjust(pair[1], **setting)
        losses += [*step(DATA, some)]
        expected += eager(mse, *theirs, DATA, some)
    np.testing.assert_allclose(losses, expected, rtol=1e-11)
    assert_same(ours, theirs, 1e-11)
    assert step.count == len(builds) == 1


def test_the_powers_of_beta_move_on():
    model, opt = prepared(flux.Adam(0.01, beta=(0.5, 0.75)))
    step = flux.compile_training(mse, model, opt, 5)
    step(DATA, orders(DATA, 5, 3))
    for leaf in opt._leaves:
        assert leaf.state[2:] == (0.5**3, 0.75**3)
        assert type(leaf.state[2]) is float
    step(DATA, orders(DATA, 5, 2))
    assert opt[0].bias.state[2:] == (0.5**5, 0.75**5)


def test_parts_are_adjusted_frozen_and_thawed_between_calls():
    ours, theirs = (prepared(flux.Adam(0.01), lambda: copy.deepcopy(MODEL)) for _ in range(2))
    step = flux.compile_training(mse, *ours, batchsize=5)
    changes = [
        (lambda opt: flux.adjust(opt[0], eta=0.1), 2),  # from here on layers are stepped apart
        (lambda opt: flux.adjust(opt[0], eta=0.2), 2),
        (lambda opt: flux.adjust(opt, eta=0.01), 2),
        (lambda opt: flux.freeze(opt[1]), 3),
        (lambda opt: flux.adjust(opt[0].bias, eta=0.02), 4),
        (lambda opt: flux.freeze(opt), 5),
        (lambda opt: flux.thaw(opt[0].weight), 6),
        (lambda opt: flux.thaw(opt), 7),  # with powers of beta of their own by now
        (lambda opt: flux.adjust(opt, eta=0.03), 7),
    ]
    order = orders(DATA, 5, 2)
    step(DATA, order)
    eager(mse, *theirs, DATA, order)
    for change, programs in changes:
        for pair in (ours, theirs):
            change(pair[1])
        losses = step(DATA, order)
        np.testing.assert_allclose(losses, eager(mse, *theirs, DATA, order), rtol=1e-11)
        assert_same(ours, theirs, 1e-11)
        assert step.count == programs


def test_what_is_not_stepped_keeps_its_numbers():
    model, opt = prepared(flux.Adam(0.01, beta=(0.5, 0.75)), lambda: [dense(6, 3), dense(2, 2)])
    flux.freeze(opt[0].bias)
    step = flux.compile_training(lambda m, x, y: flux.mse(m[0](x), y), model, opt, 5)
    for _ in range(3):
        step(DATA, range(5))
    assert opt[0].weight.state[2:] == (0.5**3, 0.75**3)
    assert opt[0].bias.state[2:] == opt[1].weight.state[2:] == (1, 1)
    assert step.count == 1


rule = dataclasses.dataclass(frozen=True)


@rule
class Momentum:
    eta: float = 0.01
    rho: float = 0.9
    nesterov: bool = False

    def init(self, x):
        return (np.zeros_like(x),)

    def apply(self, state, x, g):
        v = self.rho * state[0] + self.eta * g
        return (v,), (self.rho * v + self.eta * g if self.nesterov else v)


@rule
class RMSProp:
    eta: float = 0.01
    rho: float = 0.9

    def init(self, x):
        return (np.zeros_like(x),)

    def apply(self, state, x, g):
        v = self.rho * state[0] + (1 - self.rho) * g**2
        return (v,), self.eta * g / (np.sqrt(v) + 1e-8)


@rule
class Slowing:
    """Its state is a number of steps."""

    eta: float = 0.1
    decay: float = 0.5

    def init(self, x):
        return (0,)

    def apply(self, state, x, g):
        return (state[0] + 1,), self.eta / (1 + self.decay * state[0]) * g


@rule
class Warming:
    eta: float = 0.1

    def init(self, x):
        return np.zeros_like(x), 1

    def apply(self, state, x, g):
        total, t = state
        return (total + g, t + 1), np.where(t < 4, 0.1 * self.eta, self.eta) * g


@rule
class Clipped:
    inner: object = Momentum()
    limits: tuple = (-0.01, 0.02)

    def init(self, x):
        return self.inner.init(x)

    def apply(self, state, x, g):
        return self.inner.apply(state, x, np.clip(g, *self.limits))


@rule
class Averaging:
    """A state that reads the parameter before it is stepped, and one that is another's, moved."""

    eta: float = 0.1

    def init(self, x):
        return x.copy(), np.zeros_like(x), np.ones_like(x)

    def apply(self, state, x, g):
        return (0.9 * state[0] + 0.1 * x, state[2], state[1] + g), self.eta * state[1] * g


@rule
class Twice:
    """Two states that are one, and one that is a number."""

    eta: float = 0.1

    def init(self, x):
        return np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)

    def apply(self, state, x, g):
        v = state[0] + g
        return (v, v, np.float64(2.0)), self.eta * v + 0 * state[2]


class NoDataclass:
    def __init__(self):
        self.eta = 0.1

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        return (), self.eta * g


@dataclasses.dataclass
class NotFrozen:
    eta: float = 0.1

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        return (), self.eta * g


RULES = [
    Momentum(),
    Momentum(nesterov=True),
    RMSProp(),
    Slowing(),
    Warming(),
    Clipped(),
    Averaging(),
    Twice(),
    pytest.param(NoDataclass(), id="NoDataclass()"),
    NotFrozen(),
    flux.Adam(0.01, beta=[0.9, 0.99]),
]


@pytest.mark.parametrize("own", RULES, ids=repr)
def test_rules_of_ones_own(own):
    check(mse, network(), DATA, own, rtol=1e-11)


def test_a_rule_that_changes_is_looked_at_in_every_call():
    for own in (NoDataclass(), NotFrozen()):
        model, opt = prepared(own)
        step = flux.compile_training(mse, model, opt, 5)
        step(DATA, range(5))
        own.eta = 0.0
        before = model[0].weight.copy()
        step(DATA, range(5))
        np.testing.assert_array_equal(model[0].weight, before)
        assert step.count == 1


def test_a_rule_that_branches_on_its_number_is_refused():
    @rule
    class Branching(Momentum):
        eta: float = 0.1

        def apply(self, state, x, g):
            return state, (self.eta * g if self.eta < 1 else g)

    model, opt = prepared(Branching())
    with pytest.raises(flux.NotCompilable, match=r"branch that depends on a number's value .*Write it with np.where"):
        flux.compile_training(mse, model, opt)(DATA, [0])


def test_a_rule_that_adds_elements_up_is_refused():
    """On the plain path neighbouring parameters are one array to it."""

    @rule
    class Normalised(Momentum):
        def apply(self, state, x, g):
            return state, self.eta * g + 0.0 * np.sum(g)  # no difference to setup's trial, but to infinities

    model, opt = prepared(Normalised())
    with pytest.raises(flux.NotCompilable, match=r"Normalised brings the elements of an array together"):
        flux.compile_training(mse, model, opt)(DATA, [0])
