"""Arrays that are worked through in blocks of rows give what they give at once."""

import cases_elementwise
import cases_linalg
import cases_reductions
import cases_shapes
import numpy as np
import pytest

import tinyflux as flux
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
