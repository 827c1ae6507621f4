"""Rules of a user's own in compiled training: what their code reads is looked at, and what it changes is not lost."""

import collections
import dataclasses
import functools
import itertools
import logging
import math
import random
import types
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from tests.support.train_option import DATA, X, Y, assert_equal, mse, trained
from tinyflux.compile.backends.c.build import available

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

SETTING = types.SimpleNamespace(rate=0.1)


def rate():
    return SETTING.rate


class Reading:
    """A rule that reads what is global, and attributes that are no fields."""

    whole = "array"

    def __init__(self):
        self.factor, self.every, self.rates, self.mask = types.SimpleNamespace(x=1.0), 1, {"x": 1.0}, np.array(1.0)

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        return (), rate() * self.factor.x * self.every * self.rates["x"] * self.mask * g


@dataclasses.dataclass(frozen=True)
class Falling(flux.schedules.Schedule):
    start: float = 1.0

    def __call__(self, t):
        return self.start * rate() / (1 + t)


CHANGES = {
    "what a function reads": lambda rule: setattr(SETTING, "rate", 0.05),
    "a number in an object": lambda rule: setattr(rule.factor, "x", 0.5),
    "an integer": lambda rule: setattr(rule, "every", 2),
    "an item of a dict": lambda rule: rule.rates.update(x=0.5),
    "an array": lambda rule: rule.mask.fill(0.5),
    "the array": lambda rule: setattr(rule, "mask", np.array(0.5)),
}


def both(make, change, data="shuffled", option=True):
    """A training beside one in plain NumPy, with a callback that changes something."""
    found = []
    for compiled in (option, False):
        SETTING.rate, rule = 0.1, make()
        callback = lambda p: change(rule) if p.iteration == 2 else None  # noqa: B023, E731
        found.append(trained(compiled, DATA[data], rule=rule, callbacks=[lambda *_: callback]))  # noqa: B023
    assert_equal(*found)
    return found[0][0]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("data", ["shuffled", "a list"])
def test_what_a_rule_reads(change, data):
    """It is as the rule finds it, from the next update on."""
    both(Reading, CHANGES[change], data)


@pytest.mark.parametrize(
    "make", [lambda: flux.OptimiserChain(flux.WeightDecay(), Reading()), lambda: flux.Adam(Falling())]
)
def test_a_rule_in_a_chain_and_a_schedule_in_a_rule(make):
    both(make, CHANGES["what a function reads"])


@dataclasses.dataclass(frozen=True)
class Derived:
    """A record with a number beside its fields, which follows from them."""

    eta: float = 0.1

    def __post_init__(self):
        object.__setattr__(self, "half", self.eta / 2)

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        return (), self.half * g


@dataclasses.dataclass(frozen=True)
class Remembering(Derived):
    """One that `init` has calculate the number."""

    def __post_init__(self):
        pass

    @functools.cached_property
    def half(self):
        return self.eta / 2

    def init(self, x):
        self.half  # noqa: B018
        return ()


@pytest.mark.parametrize("make", [Derived, Remembering])
def test_a_number_beside_the_fields_of_a_record(make):
    """`adjust` makes a new record, whose number is another one."""

    def adjusting(model, opt):
        return lambda p: flux.adjust(opt, eta=0.05) if p.iteration == 2 else None

    native, plain = (trained(x, DATA["a list"], rule=make(), callbacks=[adjusting]) for x in (True, False))
    assert_equal(native, plain)


class Counting:
    """A rule that keeps what it counts in itself."""

    whole = "model"

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        return (), 0.1 * g / self.counted()

    def counted(self):
        self.count = getattr(self, "count", 0) + 1
        return self.count


class InSlot(Counting):
    __slots__ = ("count",)


class InList(Counting):
    def __init__(self):
        self.counts = [0]

    def counted(self):
        self.counts[0] += 1
        return self.counts[0]


class InDict(Counting):
    def __init__(self):
        self.counts = {"all": 0}

    def counted(self):
        self.counts["all"] += 1
        return self.counts["all"]


class InArray(Counting):
    def __init__(self):
        self.counts = np.zeros(1)

    def counted(self):
        self.counts += 1
        return self.counts[0]


class Counter:
    """What a rule calls, and counts how often."""

    def __init__(self):
        self.counts = {"all": 0}

    def __call__(self):
        self.counts["all"] += 1
        return self.counts["all"]


class InCalled(Counting):
    def __init__(self):
        self.counted = Counter()


COUNTING = {
    InArray: "InArray.counts",
    InCalled: "InCalled.counted.counts['all']",
    Counting: "Counting.count",
    InSlot: "InSlot.count",
    InList: "InList.counts[0]",
    InDict: "InDict.counts['all']",
}


@pytest.mark.parametrize(("make", "name"), COUNTING.items())
def test_a_rule_that_changes_itself(make, name):
    """Recording leaves it as it was."""
    engine = both(make, lambda rule: None, option="auto").engine
    assert engine.startswith(f"native code for the gradient, and plain NumPy for the update: apply changes {name}, a")
    with pytest.raises(flux.NotCompilable, match="Keep in the state what changes from step to step"):
        trained(True, DATA["shuffled"], rule=make())


HIDDEN = {
    "deque": (collections.deque, lambda x: x.append(1) or len(x)),
    "set": (set, lambda x: x.add(len(x)) or len(x)),
    "bytearray": (bytearray, lambda x: x.append(1) or len(x)),
    "OrderedDict": (collections.OrderedDict, lambda x: x.update({len(x): 1}) or len(x)),
    "count": (lambda: itertools.count(1), next),
    "generator": (lambda: (i for i in range(1, 999)), next),
    "Random": (lambda: random.Random(0), lambda x: 1 + x.random()),
    "Generator": (lambda: np.random.default_rng(0), lambda x: 1 + x.random()),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_rule_with_something_that_changes_unseen(name):
    """It is refused before it is recorded, which would count or draw."""
    make, step = HIDDEN[name]

    class Hiding(Counting):
        def __init__(self):
            self.hidden = make()

        def counted(self):
            return step(self.hidden)

    class Called(Hiding):
        def __call__(self):
            return step(self.hidden)

    class Calling(Counting):
        def __init__(self):
            self.counted = Called()

    def in_a_chain():
        return flux.OptimiserChain(flux.WeightDecay(flux.schedules.Constant(0.1)), Hiding())

    assert "can't be compiled" in both(Calling, lambda rule: None, option="auto").engine
    for rule in Hiding, in_a_chain:
        engine = both(rule, lambda rule: None, option="auto").engine
        got = (
            f"Hiding.hidden is {'an' if name == 'OrderedDict' else 'a'} {name}, which can't be compiled: nothing shows"
        )
        assert got in engine


def test_a_rule_with_what_cannot_change():
    def make():
        rule = Reading()
        rule.constants = frozenset("a"), 1j, None, slice(3), Path(), np.float32(1), math, Falling, (1, [2.0])
        return rule

    both(make, CHANGES["an integer"])


@dataclasses.dataclass(frozen=True)
class Caching(Derived):
    """A rule that calculates a number when it first needs it."""

    def __post_init__(self):
        pass

    @functools.cached_property
    def half(self):
        return self.eta / 2


class Starting(Counting):
    """One that keeps its first gradient, and goes on with the sign of it."""

    def apply(self, state, x, g):
        if not hasattr(self, "first"):
            self.first = np.sign(g)
            return (), 0.5 * g
        return (), 0.01 * self.first + 0.1 * g


class Once:
    """A number that is another one when it is called for the first time."""

    rate = None

    def __call__(self):
        rate, self.rate = self.rate or 0.5, 0.1
        return rate


class Calling(Derived):
    whole = "model"  # else the first call is for a piece of the parameters

    def __post_init__(self):
        object.__setattr__(self, "once", Once())

    def apply(self, state, x, g):
        return (), self.once() * g


CACHING = [Caching, Starting, Calling, lambda: flux.OptimiserChain(flux.WeightDecay(), Caching(), flux.EMA(0.9))]


@pytest.mark.parametrize("data", ["shuffled", "a list"])
@pytest.mark.parametrize("make", CACHING)
@pytest.mark.parametrize("option", [True, "auto"])
def test_a_rule_that_changes_itself_in_its_first_step_alone(make, data, option, capsys):
    """NumPy makes that step, the others are compiled."""
    engine = both(make, lambda rule: None, data, option).engine
    assert engine.startswith("native code, by ")
    assert capsys.readouterr().err.count("training runs as") <= 1


@pytest.mark.parametrize("make", CACHING)
@pytest.mark.parametrize("option", [True, "auto"])
def test_the_engine_of_a_training_that_ends_with_such_a_step(make, option):
    model = flux.Dense(6, 3)
    opt = flux.setup(make(), model)
    once, again = (flux.train(mse, model, [(X, Y)], opt, compile=option).engine for _ in range(2))
    assert once == "plain NumPy"
    assert again.startswith("native code, by ")


def test_after_adjust_such_a_rule_is_another_one():
    def adjusting(model, opt):
        return lambda p: flux.adjust(opt, eta=0.1 / p.iteration) if p.iteration in (2, 3) else None

    native, plain = (trained(x, DATA["shuffled"], rule=Caching(), callbacks=[adjusting]) for x in (True, False))
    assert_equal(native, plain)


def test_a_rule_that_holds_itself():
    def make():
        rule = Reading()
        rule.factor.rule = rule
        return rule

    engine = both(make, CHANGES["an integer"], option="auto").engine
    assert "a Reading, a part of the rule, holds itself, which can't be compiled. Keep the reference" in engine


@dataclasses.dataclass
class Numbering(Counting):
    """One that keeps what it counts in itself, and whose number `adjust` may change."""

    eta: float = 0.1

    def __post_init__(self):
        self.count = 0


def test_a_rule_that_counts_and_is_adjusted_after_each_update():
    """Each is a rule that was not there before: but this isn't compiled training."""

    def adjusting(model, opt):
        return lambda p: flux.adjust(opt, eta=0.1 / p.iteration)

    def run(option):
        return trained(option, DATA["a list"], rule=Numbering(), callbacks=[adjusting])

    with pytest.raises(flux.NotCompilable, match=r"apply changes Numbering\.count"):
        run(True)
    assert "plain NumPy for the update: apply changes Numbering.count" in run("auto")[0].engine


class Heading(InDict):
    """One without a state that changes gradients, before any parameter is stepped."""

    def apply(self, state, x, g):
        return (), g / self.counted()


def test_a_rule_with_a_logger():
    """Which leads to all others, and back."""

    def make():
        rule = Reading()
        rule.log = logging.getLogger("tinyflux.test")
        return rule

    both(make, CHANGES["an integer"])


def test_a_head_that_changes_itself():
    engine = both(lambda: flux.OptimiserChain(Heading(), flux.Adam(0.1)), lambda rule: None, option="auto").engine
    assert "apply changes Heading.counts['all'], a part" in engine
