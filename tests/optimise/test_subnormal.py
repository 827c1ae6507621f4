"""Subnormal numbers are zero during a step, in its thread, and nowhere else."""

import ctypes
import dataclasses
import threading

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.optimise import subnormal

TINY = np.full(8, 1e-40, np.float32)
flushes = pytest.mark.skipif(subnormal._libm is None, reason="subnormal numbers stay as they are on this platform")


def flush():
    subnormal.flushed(True).__enter__()


def restore():
    subnormal.flushed(True).__exit__(None, None, None)


def halves():
    """Whether subnormal numbers are calculated with."""
    return bool(np.all(TINY * np.float32(0.5) != 0))


def test_before_and_after():
    assert halves()
    flush()
    inside = halves()
    restore()
    assert halves()
    assert inside == (subnormal._libm is None)


def test_other_behaviour_comes_back():
    """Division by zero still warns and doesn't trap, rounding is to the nearest."""
    flush()
    restore()
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert np.ones(1) / np.zeros(1) == np.inf
    assert np.all(np.array([1.0, -1.0]) + 2**-54 == [1.0, -1.0])


@flushes
def test_each_thread_by_itself():
    """Two threads, one flushing and one not, take turns; then the other way round."""
    barrier = threading.Barrier(2, timeout=10)
    seen = {}

    def work(name, flushing):
        results = []
        for turn in range(4):
            flush_now = flushing == (turn % 2 == 0)
            if flush_now:
                flush()
            barrier.wait()
            results.append(halves() != flush_now)
            barrier.wait()
            if flush_now:
                restore()
            results.append(halves())
        seen[name] = results

    threads = [threading.Thread(target=work, args=args) for args in (("a", True), ("b", False))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == {"a": [True] * 8, "b": [True] * 8}
    assert halves()


@flushes
def test_what_a_thread_had_before_is_its_own():
    """A thread that flushes for good, from before its step, takes nothing over to another."""

    def work():
        flush()
        flush()
        restore()
        assert not halves()

    flush()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    restore()
    assert halves()


@dataclasses.dataclass(frozen=True)
class Probe:
    """A rule that halves its state, and tells at what."""

    fails: bool = False

    def init(self, x):
        return (np.full_like(x, 1e-40),)

    def apply(self, state, x, g):
        if self.fails:
            raise RuntimeError("the rule fails")
        return (state[0] * 0.5,), g


@flushes
def test_faded_averages_become_zero():
    model = [np.ones(3, np.float32)]
    opt = flux.setup(Probe(), model)
    flux.update(opt, model, [np.ones(3, np.float32)])
    assert np.all(opt[0].state[0] == 0)
    assert halves()


@flushes
def test_adam_does_not_linger_in_subnormal_numbers():
    """A gradient that stays zero: the average of the first one is zero after some hundred steps."""
    model = [np.ones(3, np.float32)]
    opt = flux.setup(flux.Adam(), model)
    flux.update(opt, model, [np.full(3, 1e-30, np.float32)])
    for _ in range(400):
        flux.update(opt, model, [np.zeros(3, np.float32)])
        m = opt[0].state[0]
        assert np.all((m == 0) | (m >= np.finfo(np.float32).tiny))
    assert np.all(m == 0)


def test_restored_when_the_rule_fails():
    model = [np.ones(3, np.float32)]
    with pytest.raises(RuntimeError, match="the rule fails"):
        flux.update(flux.setup(Probe(fails=True), model), model, [np.ones(3, np.float32)])
    assert halves()


def test_updates_in_two_threads():
    def work(results):
        model = [np.ones(1000, np.float32)]
        opt = flux.setup(flux.Adam(0.01), model)
        for _ in range(200):
            flux.update(opt, model, [np.cos(model[0])])
        results.append((model[0].copy(), halves()))

    results = []
    threads = [threading.Thread(target=work, args=(results,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    work(results)
    assert [alone for _, alone in results] == [True, True, True]
    np.testing.assert_array_equal(results[0][0], results[2][0])
    np.testing.assert_array_equal(results[1][0], results[2][0])


def set_by_the_user(bits):
    """What `torch.set_flush_denormal` does."""
    environment = subnormal._Environment()
    subnormal._libm.fegetenv(ctypes.byref(environment))
    environment.mxcsr = environment.mxcsr & ~subnormal._BITS | bits
    subnormal._libm.fesetenv(ctypes.byref(environment))


@flushes
def test_what_a_user_sets_between_updates_stays():
    model = [np.ones(3, np.float32)]
    opt = flux.setup(flux.Adam(), model)
    for bits in (0, subnormal._BITS, 0):
        set_by_the_user(bits)
        flux.update(opt, model, [np.ones(3, np.float32)])
        seen = halves()
        set_by_the_user(0)
        assert seen == (bits == 0)


@flushes
def test_a_lost_restore_heals():
    flush()  # an interrupt kept its restore from being called
    flush()
    restore()
    assert halves()
