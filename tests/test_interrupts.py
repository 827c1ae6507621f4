"""An iteration is made whole or not at all, wherever an interrupt comes: in the library's code, at any line of it."""

import contextlib
import dataclasses
import gc
import math
import random
import time

import numpy as np
import pytest

import tinyflux as flux
from tests.support.interruptions import interrupted, shot, state_of
from tinyflux.compile.backends.c.compiler import available
from tinyflux.interrupts import uninterrupted
from tinyflux.optimise import plan, schedules
from tinyflux.optimise.kernels import native as native_kernel
from tinyflux.training.compiled_gradient import CompiledGradient
from tinyflux.training.engines import PlainEngine

needs_compiler = pytest.mark.skipif(not available(), reason="there is no C compiler here")
Chain = flux.OptimiserChain
X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)


class Normalised:
    """A layer with parameters and a state."""

    buffers = ("mean",)

    def __init__(self):
        self.scale, self.mean = np.ones(3, np.float32), np.zeros(3, np.float32)

    def __call__(self, x):
        self.mean = 0.5 * self.mean + 0.5 * np.mean(x, axis=0)
        return (x - self.mean) * self.scale


class Counting:
    """A layer with a state alone."""

    buffers = ("seen",)

    def __init__(self):
        self.seen = np.zeros(1, np.float32)

    def __call__(self, x):
        self.seen = self.seen + 1
        return x


@dataclasses.dataclass(frozen=True)
class Own:
    """A user's rule."""

    def init(self, x):
        return np.zeros_like(x), np.zeros_like(x), 0

    def apply(self, state, x, g):
        before, last, t = state
        return (last, g, t + 1), 0.01 * (g + before)


RULES = [
    flux.Descent(0.1),
    flux.Adam(schedules.Cosine(0.1, over=9)),
    Chain(flux.ClipNorm(0.1, over="model"), flux.Adam(schedules.Warmup(0.1, over=9))),
    Chain(flux.ClipNorm(0.1), flux.Momentum(0.1)),
    Chain(flux.AccumGrad(2), flux.Adam(0.1)),
    flux.YellowFin(),
    flux.Muon(),
    Chain(flux.Adam(0.1), flux.Lookahead(2), flux.EMA(0.9)),
    Own(),
]


def prepared(rule, layers=(Normalised, Counting), dtypes=(np.float32, np.float64)):
    flux.seed(0)
    model = [flux.Dense(3, 3, flux.tanh), *[layer() for layer in layers], np.ones(3, dtypes[-1])]
    return model, flux.setup(rule, model)


def loss(m, x):
    for layer in m[:-1]:
        x = layer(x)
    return np.mean((x * m[-1] - 1) ** 2)


def train(model, opt, epochs=1):
    flux.train(loss, model, [X], opt, epochs, compile=False)


def states(make, go, count):
    """The states before the first iteration, and after each of some."""
    model, opt = make()
    found = [state_of(model, opt)]
    for _ in range(count):
        go(model, opt)
        found.append(state_of(model, opt))
    return found


def check_every_place(make, go, least, stride=1, opcodes=False):
    """Interrupt the second iteration at one place after the other: it is made or not, and training goes on as ever."""
    expected = states(make, go, 4)
    outcomes = []
    at = 1
    while True:
        model, opt = make()
        go(model, opt)
        stopped = interrupted(lambda: go(model, opt), at, opcodes)  # noqa: B023
        found = state_of(model, opt)
        assert found in expected[1:3], f"split at place {at}"
        outcomes.append(expected.index(found))
        if not stopped:
            break
        while outcomes[-1] < 4:
            go(model, opt)
            outcomes[-1] += 1
        assert state_of(model, opt) == expected[4], f"place {at}"
        at += stride
    assert at > least


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_every_line_of_an_update(rule):
    check_every_place(lambda: prepared(rule), train, 70)


def test_some_lines_of_an_update_with_arrays_of_other_shapes():
    check_every_place(lambda: prepared(flux.SOAP(every=1)), train, 300, stride=11)


@pytest.mark.parametrize("native", [False, pytest.param(True, marks=needs_compiler)])
@pytest.mark.parametrize("shared", [4, 1000])
def test_every_line_of_an_update_in_blocks(native, shared, monkeypatch):
    monkeypatch.setattr(plan, "BLOCK_BYTES", 64)
    monkeypatch.setattr(plan, "IN_PLACE", shared)
    monkeypatch.setattr(native_kernel, "NATIVE", 4 if native else 1000)

    def make():
        model = [np.ones(100), np.ones(3)]
        return model, flux.setup(flux.Adam(schedules.Cosine(0.1, over=9)), model)

    def go(model, opt):
        flux.update(opt, model, [np.sin(model[0]), np.sin(model[1])])

    check_every_place(make, go, 30)


@needs_compiler
def test_every_line_of_a_compiled_iteration():
    rule = Chain(flux.ClipNorm(0.1, over="model"), flux.Adam(schedules.Cosine(0.1, over=9)))
    model, opt = prepared(rule)
    compiled = flux.compile_training(loss, model, opt, batchsize=8)
    check_every_place(resetting(model, opt), lambda model, opt: compiled(X, np.arange(8)), 50)


@needs_compiler
def test_every_line_of_an_update_of_a_compiled_gradient():
    model, opt = prepared(Own())
    engine = PlainEngine(loss, model, opt, native=False)
    engine.gradient = CompiledGradient(loss, model, opt, math.inf)
    check_every_place(resetting(model, opt), lambda model, opt: list(engine.updates([X], lambda: 1)), 70)


def resetting(model, opt):
    """What gives the same model its first values again: a program belongs to its arrays."""
    start = [x.copy() for x in flux.leaves(model)]
    leaves = opt._leaves
    numbers = [leaf.numbers for leaf in leaves]

    def again():
        for x, value in zip(flux.leaves(model), start, strict=True):
            x[...] = value
        for leaf, value in zip(leaves, numbers, strict=True):
            leaf.fill(leaf.rule, value, False, [np.zeros_like(a) for a in leaf.state if isinstance(a, np.ndarray)])
        return model, opt

    return again


class Boom(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Failing(Own):
    """A user's rule that fails for a large x, after other pieces of the model have been stepped."""

    def apply(self, state, x, g):
        if np.any(x > 50):
            raise Boom
        return super().apply(state, x, g)


@pytest.mark.parametrize("shared", [1, 1000])
def test_a_rule_that_fails(shared, monkeypatch):
    monkeypatch.setattr(plan, "BLOCK_BYTES", 64)
    monkeypatch.setattr(plan, "IN_PLACE", shared)
    model = [np.ones(30), np.ones(3, np.float32), np.full(30, 100.0)]
    opt = flux.setup(Failing(), model)
    before = state_of(model, opt)
    with pytest.raises(Boom):
        flux.update(opt, model, [np.ones_like(x) for x in model])
    assert state_of(model, opt) == before


@pytest.mark.parametrize("kind", ["raise", "warn"])
def test_an_overflow_that_is_to_be_an_error(kind, monkeypatch):
    """In large groups the step is completed first, in small ones it isn't made."""
    monkeypatch.setattr(plan, "BLOCK_BYTES", 64)
    g = np.ones(40)
    g[20] = 1e200
    for shared, steps in ((2, 1), (1000, 0)):
        monkeypatch.setattr(plan, "IN_PLACE", shared)
        model = [np.ones(40)]
        opt = flux.setup(flux.Adam(0.1), model)
        with np.errstate(over=kind), pytest.raises((FloatingPointError, RuntimeWarning), match="overflow"):
            flux.update(opt, model, [g])
        assert opt[0].numbers == (0.9**steps, 0.999**steps)
        assert np.all(model[0][21:] != 1) == np.all(model[0][:20] != 1) == bool(steps)


def test_a_state_of_arrays_that_change_places():
    """What a rule returns may be its arguments: nothing is overwritten before it has been read."""

    @dataclasses.dataclass(frozen=True)
    class Swapping:
        def init(self, x):
            return np.zeros_like(x), np.ones_like(x), np.zeros_like(x)

        def apply(self, state, x, g):
            return (state[1], state[0], x), g

    model = [np.array([5.0])]
    opt = flux.setup(Swapping(), model)
    flux.update(opt, model, [np.array([2.0])])
    assert [a.item() for a in opt[0].state] == [1.0, 0.0, 5.0]


# By signals


def check_signals(make, go, index_of, seconds, least):
    """Interrupts at random moments while iterations are made; the states found are those of an undisturbed training."""
    random.seed(0)
    undisturbed, undisturbed_opt = make()
    expected = [state_of(undisturbed, undisturbed_opt)]
    model, opt = make()
    end, shots = time.monotonic() + seconds, 0
    while time.monotonic() < end or shots < least:
        shot(lambda: go(model, opt), random.uniform(0, 0.003), shots=1 + shots % 2)
        shots += 1
        made = index_of(model, opt)
        while len(expected) <= made:
            go(undisturbed, undisturbed_opt)
            expected.append(state_of(undisturbed, undisturbed_opt))
        assert state_of(model, opt) == expected[made], f"after {made} iterations"
    assert made > shots / 4


def test_signals_in_training():
    def count(model, opt):
        return round(model[2].seen.item())

    rule = Chain(flux.ClipNorm(0.1), flux.Adam(schedules.Cosine(0.1, over=999)))
    check_signals(lambda: prepared(rule), train, count, 1.0, 100)


def test_signals_in_updates_of_large_parameters(monkeypatch):
    monkeypatch.setattr(native_kernel, "NATIVE", 16)
    sizes = (16 * plan.BLOCK_BYTES // 4 + 5, 7)

    def make():
        model = [np.ones(n, np.float32) for n in sizes]
        return model, flux.setup(flux.Momentum(schedules.Warmup(1e-3, over=9)), model)

    g = [np.linspace(-1, 1, n).astype(np.float32) for n in sizes]
    count = lambda model, opt: opt[0].numbers[-1]  # noqa: E731
    model, opt = make()
    flux.update(opt, model, g)  # which compiles; Python may leave a process running that is interrupted as it starts
    check_signals(make, lambda model, opt: flux.update(opt, model, g), count, 1.0, 20)


@needs_compiler
def test_signals_in_compiled_training():
    compiled = {}

    def make():
        model, opt = prepared(Chain(flux.ClipNorm(0.1), flux.Adam(schedules.Cosine(0.1, over=99))))
        compiled[id(model)] = flux.compile_training(loss, model, opt, batchsize=8)
        compiled[id(model)](X, np.empty(0, int))
        return model, opt

    def go(model, opt):
        compiled[id(model)](X, np.arange(8))

    check_signals(make, go, lambda model, opt: round(model[2].seen.item()), 1.0, 100)


def test_an_uninterrupted_call_gives_what_it_gives():
    assert uninterrupted(lambda: 3) == 3
    with pytest.raises(KeyError, match="inside"):
        uninterrupted(lambda: {}["inside"])
    with np.errstate(over="raise"):
        assert uninterrupted(np.geterr)["over"] == "raise"


def test_no_interrupt_leaves_an_uninterrupted_call_early():
    ended = []

    def work():
        for _ in range(5):
            time.sleep(0.002)
        ended.append(True)

    for i in range(1, 4):
        shot(lambda: uninterrupted(work), 0.004, shots=i)
        assert len(ended) >= 1
        found = len(ended)
        time.sleep(0.02)
        assert len(ended) == found


def test_a_shot_that_python_drops_ends_the_call():
    """As one does that comes in a destructor; and none comes in one that a collection calls."""
    collected = []

    def dropping():
        collected.append(gc.isenabled())
        assert len(collected) < 1000, "it goes on for ever"
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(0.01)

    shot(dropping, 0.003)
    assert not any(collected)
    assert gc.isenabled()
