"""Arrays that are worked through in blocks of rows give what they give at once."""

import subprocess
import sys

import numpy as np
import pytest

import tinyflux as flux
from tests.support import cases_elementwise, cases_linalg, cases_reductions, cases_shapes
from tinyflux import cores
from tinyflux.autodiff import large, tape

CASES = [*cases_elementwise.CASES, *cases_reductions.CASES, *cases_shapes.CASES, *cases_linalg.CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} [{case.shapes}]")
def test_small_blocks(case, monkeypatch):
    """Every rule, with so low a limit that blocks are made of a few elements."""
    monkeypatch.setattr(tape, "LARGE", 4)
    monkeypatch.setattr(large, "BLOCK", 3)
    case.check({"i": 5, "j": 4, "k": 3, "m": 2, "n": 3}, seed=0)


@pytest.mark.parametrize("case", cases_elementwise.CASES, ids=lambda case: f"{case.name} [{case.shapes}]")
def test_small_blocks_of_squares(case, monkeypatch):
    """Where rows and columns are as many, a vector still belongs to the columns."""
    monkeypatch.setattr(tape, "LARGE", 4)
    monkeypatch.setattr(large, "BLOCK", 3)
    case.check(dict.fromkeys("ijkmn", 4), seed=1)


def test_blocks_of_rows(monkeypatch):
    """A function of rows and a weight that they share: the weight's gradient is the sum over the blocks."""
    calls = []

    def layer(x, w):
        calls.append(len(x))
        return x @ w

    dense = flux.rule(layer, lambda g, y, x, w: g @ w.T, lambda g, y, x, w: x.T @ g, rows=[0])
    rng = np.random.default_rng(0)
    x, w, t = rng.standard_normal((10, 3)), rng.standard_normal((3, 2)), rng.standard_normal((10, 2))
    monkeypatch.setattr(tape, "LARGE", 8)
    monkeypatch.setattr(large, "BLOCK", 9)
    dx, dw = flux.gradient(lambda x, w: np.sum(dense(x, w) * t), x, w)
    assert sorted(calls) == [1, 3, 3, 3]
    np.testing.assert_allclose(dx, t @ w.T)
    np.testing.assert_allclose(dw, x.T @ t)
    flux.gradcheck(dense, x, w)


def test_a_large_array():
    x = np.linspace(-3, 3, 2 * large.LARGE).reshape(-1, 8)
    bias = np.arange(8.0)
    dx, db = flux.gradient(lambda x, b: np.sum(np.sin(x + b) * x), x, bias)
    np.testing.assert_allclose(dx, np.cos(x + bias) * x + np.sin(x + bias))
    np.testing.assert_allclose(db, np.sum(np.cos(x + bias) * x, axis=0))


def test_an_error_in_a_block_arrives():
    x = np.ones((large.LARGE, 2))
    x[-1] = -1
    with pytest.raises(RuntimeWarning, match="invalid value"), np.errstate(invalid="warn"):
        flux.gradient(lambda x: np.sum(np.sqrt(x)), x)


def test_large_gradients_within_blocks_do_not_wait_for_each_other():
    """A function of rows that itself takes a large gradient, on every thread there is."""
    inner = np.ones((2 * large.LARGE // 8, 8))

    def slope(x):
        return x * flux.gradient(lambda z: np.sum(np.sin(z) ** 2), inner)[0, 0]

    outer = flux.rule(slope, lambda g, y, x: g * np.sin(2.0), rows=[0])
    x = np.ones((2 * large.LARGE // 8, 8))
    np.testing.assert_allclose(flux.gradient(lambda x: np.sum(outer(x)), x), np.full_like(x, np.sin(2.0)))


def test_blas_is_set_back_after_an_interrupt_in_the_wrong_moment(monkeypatch):
    if cores._blas() is None:
        pytest.skip("NumPy's BLAS is not OpenBLAS from a wheel")
    get, set_to = cores._blas()
    threads = get()
    monkeypatch.setattr(cores, "_blas_threads", threads)  # what an interrupt during the way out leaves behind
    set_to(1)
    seen = cores.exclusively(get)
    assert (seen, get(), cores._blas_threads) == (1, threads, None)
    set_to(threads + 1)
    seen = cores.exclusively(get)
    assert (seen, get()) == (1, threads + 1)
    set_to(threads)


def test_a_fork_during_large_work():
    """The child's BLAS has its threads again, and its large gradients find workers of their own."""
    code = """
import os, threading, time
import numpy as np, tinyflux as flux
from tinyflux import cores
X = np.ones((20000, 64))
f = lambda: flux.gradient(lambda x: np.sum(np.exp(np.sin(x))), X)
before = cores._blas() and cores._blas()[0]()
threading.Thread(target=lambda: [f() for _ in range(200)], daemon=True).start()
time.sleep(0.2)
child = os.fork()
if child == 0:
    f()
    os._exit(0 if (cores._blas() and cores._blas()[0]()) == before else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_training_goes_on_after_the_main_thread():
    code = """
import threading, time
import numpy as np, tinyflux as flux
def train():
    threading.main_thread().join()
    print(flux.gradient(lambda x: np.sum(np.exp(x)), np.zeros((20000, 64))).sum())
threading.Thread(target=train).start()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "1280000.0\n"


def test_rows_that_are_no_positions():
    with pytest.raises(ValueError, match=r"positions from 0 to 0, got \(1,\)"):
        flux.rule(lambda x: x, lambda g, y, x: g, rows=(1,))


def test_numbers_and_outer_gradients_in_a_function_of_rows():
    x = np.ones((2 * large.LARGE // 100, 100))
    scaled = flux.rule(lambda x, t: x * t, lambda g, y, x, t: g * t, None, rows=(0, 1))
    np.testing.assert_array_equal(flux.gradient(lambda x: np.sum(scaled(x, 2.0)), x), np.full_like(x, 2.0))

    flipped = flux.rule(lambda x, t: x * t, lambda g, y, x, t: g * t, None, rows=(1, 0))
    np.testing.assert_array_equal(flux.gradient(lambda x: np.sum(flipped(x, 2.0)), x), np.full_like(x, 2.0))

    def outer(c):
        square = flux.rule(lambda x: x * c, lambda g, y, x: g * c, rows=(0,))
        return np.sum(flux.gradient(lambda x: np.sum(np.square(square(x))), x)) / x.size

    assert flux.gradient(outer, 1.5) == pytest.approx(6.0)  # d(2c²)/dc
