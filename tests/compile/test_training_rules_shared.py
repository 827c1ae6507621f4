"""Rules of a user's own with namedtuples in them, and with one thing in two places, in compiled training."""

import collections
import dataclasses
import types
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinyflux as flux
from tests.support.train_option import DATA, assert_equal, trained
from tinyflux.compile.backends.c.build import available

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

SETTING = types.SimpleNamespace(share=0.5)


class Rates(NamedTuple):
    eta: Any = 0.1
    keep: float = 0.9

    @property
    def half(self):
        return SETTING.share * self.eta


Pair = collections.namedtuple("Pair", "eta keep half")


@dataclasses.dataclass
class Named:
    rates: Any = dataclasses.field(default_factory=Rates)

    def init(self, x):
        return (np.zeros_like(x),)

    def apply(self, state, x, g):
        m = self.rates.keep * state[0] + g
        return (m,), self.rates.half * m


class NoRecord:
    init, apply = Named.init, Named.apply

    def __init__(self):
        self.rates = Rates()


CHANGES = {
    "another": lambda rule: setattr(rule, "rates", Rates(0.2, 0.5)),
    "another with an integer": lambda rule: setattr(rule, "rates", Rates(1, 0.5)),
    "one of another class": lambda rule: setattr(rule, "rates", Pair(0.1, 0.9, 0.3)),
    "what a property of it reads": lambda rule: setattr(SETTING, "share", 0.25),
}


def both(make, change=lambda rule: None):
    """A compiled training beside one in plain NumPy; the rule is changed in the middle."""

    def changing(model, opt):
        rules = {id(leaf.rule): leaf.rule for leaf in opt._leaves}.values()
        return lambda p: [change(rule) for rule in rules] if p.iteration == 2 else None

    found = []
    for compiled in (True, False):
        SETTING.share = 0.5
        found.append(trained(compiled, DATA["shuffled"], rule=make(), callbacks=[changing]))
    assert_equal(*found)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("make", [Named, NoRecord])
def test_a_namedtuple(make, change):
    both(make, CHANGES[change])


def test_a_namedtuple_with_a_schedule():
    both(lambda: Named(Rates(flux.schedules.Exponential(0.1, 0.9))))


@dataclasses.dataclass
class Shared:
    """It keeps a number in a dict, where it finds it as another attribute."""

    rates: Any
    same: Any
    factor: float = 0.5

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        if "cached" not in self.rates:
            self.rates["cached"] = self.rates["eta"] / 2
        return (), self.same["cached"] * self.same["eta"] * self.factor * g


def shared():
    rates = {"eta": 0.6}
    return Shared(rates, rates)


@pytest.mark.parametrize(
    "change",
    [
        lambda rule: rule.rates.update(eta=0.3),
        lambda rule: setattr(rule, "same", {"eta": 0.2, "cached": 0.4}),
    ],
)
def test_one_dict_as_two_attributes(change):
    """What is written into the one stands in the other; where they become two, it doesn't, and each has its number."""
    both(shared, change)


class Inside(Shared):
    def apply(self, state, x, g):
        if "cached" not in self.rates[0]:
            self.rates[0]["cached"] = self.rates[0]["eta"] / 2
        return (), self.same.x[0]["cached"] * self.factor * g


def test_one_list_in_an_object_and_as_an_attribute():
    def make():
        rates = [{"eta": 0.6}]
        return Inside(rates, types.SimpleNamespace(x=rates))

    both(make, lambda rule: rule.rates.__setitem__(0, {"eta": 0.2, "cached": 0.7}))


class ByKind(Shared):
    def apply(self, state, x, g):
        return (), (self.rates[0] if isinstance(self.rates, tuple) else self.same) * g


def test_a_list_for_a_tuple():
    both(lambda: ByKind((0.1,), 0.2), lambda rule: setattr(rule, "rates", [0.1]))


class WithAttribute(tuple):
    pass


def test_a_tuple_with_attributes_is_left_to_numpy():
    """Of a tuple its items are looked at."""

    class Rule(Named):
        def __init__(self):
            self.rates = WithAttribute((0.5,))
            self.rates.eta = 0.1

        def apply(self, state, x, g):
            return state, self.rates[0] * self.rates.eta * g

    with pytest.raises(flux.NotCompilable, match=r"Rule\.rates is a WithAttribute, which can't be compiled"):
        trained(True, DATA["shuffled"], rule=Rule())
