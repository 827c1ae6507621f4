"""The tape: long chains, memory, threads; and rules of one's own."""

import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from scipy import special

import tinyflux as flux
from tinyflux.autodiff.tape import Tracked, is_recording

RNG = np.random.default_rng(0)
A, B, X = RNG.standard_normal((3, 3)), RNG.standard_normal((3, 3)), RNG.standard_normal(3)


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


# The tape.


def test_a_long_chain():
    """No recursion: a chain of 100,000 operations."""

    def f(x):
        for _ in range(100_000):
            x = x + 1e-5
        return x * x

    assert flux.gradient(f, 1.0) == pytest.approx(4.0)


def test_memory_is_freed_as_the_sweep_goes():
    """Back through a chain of n arrays a sweep needs a few more, not n."""
    alive = []
    size, steps = 1 << 17, 20
    peaks = []

    def note(g, y, x):
        peaks.append(sum(r() is not None for r in alive))
        return 2 * g

    def forward(x):
        y = x * 2
        alive.append(weakref.ref(y))
        return y

    double = flux.rule(forward, note)

    def f(x):
        for _ in range(steps):
            x = double(x)
        return np.sum(x)

    x = np.ones(size)
    gc.disable()
    try:
        tracemalloc.start()
        flux.gradient(f, x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.enable()
    assert peaks[0] >= steps - 1
    assert peaks[-1] <= 3
    assert peak < (steps + 4) * x.nbytes
    assert not any(r() is not None for r in alive)


def test_that_recording_is_known():
    seen = []
    flux.gradient(lambda x: seen.append(is_recording()) or np.sum(x), X)
    assert seen == [True]
    with pytest.raises(ZeroDivisionError):
        flux.gradient(lambda x: 1 / 0, X)
    assert not is_recording()


def test_two_threads():
    found = {}

    def work(k):
        for _ in range(200):
            found[k] = flux.gradient(lambda x: np.sum(np.sin(k * x) ** 2), X)

    threads = [threading.Thread(target=work, args=(k,)) for k in (1, 2, 3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k in (1, 2, 3):
        same(found[k], k * np.sin(2 * k * X))


# Rules of one's own.


def test_a_rule_of_ones_own():
    calls = []

    def f(x, y, scale=1.0):
        calls.append(type(x))
        return scale * x * y

    product = flux.rule(f, lambda g, z, x, y, scale=1.0: scale * g * y, lambda g, z, x, y, scale=1.0: scale * g * x)
    assert product.__name__ == "f"
    assert product(2.0, 3.0) == 6
    assert flux.gradient(product, 2.0, 3.0) == (3, 2)
    assert flux.gradient(lambda x: product(x, 3.0, scale=2.0), 2.0) == 6
    assert flux.gradient(lambda x: product(3.0, y=x), 2.0) == 3
    assert Tracked not in calls
    flux.gradcheck(product, X, A)


def test_a_missing_pullback():
    half = flux.rule(lambda x, y: x * y, lambda g, z, x, y: g * y, None)
    same(flux.gradient(lambda x: np.sum(half(x, x)), X), X)


def test_a_rule_for_a_function_of_scipy():
    with pytest.raises(NotImplementedError, match=r"scipy.special.k0 has no gradient rule"):
        flux.gradient(lambda x: np.sum(special.k0(x)), np.ones(2))
    assert flux.rule(special.k0, lambda g, y, x: -g * special.k1(x)) is special.k0
    try:
        same(flux.gradient(lambda x: np.sum(special.k0(x)), np.ones(2)), -0.6019072301972346)  # −K₁(1)
    finally:
        del flux.autodiff.tape.rules[special.k0]


def test_a_rule_as_a_decorator():
    try:

        @flux.rule(np.sinc)
        def slope(g, y, x):
            return g * (np.cos(np.pi * x) - y) / x

        same(flux.gradient(np.sinc, 0.5), -4 / np.pi)
        assert slope(1.0, 0.0, 1.0) == -1
    finally:
        flux.autodiff.tape.rules.pop(np.sinc, None)
