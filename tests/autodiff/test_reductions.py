"""Reductions under a gradient give what NumPy gives: in every precision, and with every option."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyflux as flux

REDUCTIONS = [np.sum, np.mean, np.max, np.min, np.prod, np.var, np.std, np.ptp]
RUNNING = [np.cumsum, np.cumprod, np.nancumsum, np.nancumprod]


def under_a_gradient(f, x):
    value, _ = flux.pullback(f, x)
    return value


def check_same(f, x, tolerance=0.0):
    """The same dtype and shape, and the same numbers, to the last bit where there is no tolerance."""
    with np.errstate(all="ignore"):
        expected, got = np.asarray(f(x)), np.asarray(under_a_gradient(f, x))
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("f", [*REDUCTIONS, np.linalg.norm], ids=lambda f: f.__name__)
@pytest.mark.parametrize("size", [30, 0.0002, 1e-7], ids=["large", "small", "tiny"])
@given(shape=st.sampled_from([(3000,), (3000, 2), (2, 3000), (70, 40), (1,)]), axis=st.sampled_from([None, 0, -1]))
def test_float16(f, size, shape, axis):
    """Sums that pass 65504, squares that vanish: the number that NumPy has, or its infinity."""
    x = np.random.default_rng(0).uniform(0.9 * size, 1.1 * size, shape).astype(np.float16)
    check_same(lambda x: f(x, axis=axis), x, 2e-3 if f is np.prod else 0)


def test_losses_in_float16():
    x = np.full((3000, 2), 30, np.float16)
    zeros = np.zeros_like(x)
    assert under_a_gradient(lambda x: flux.mse(x, zeros), x) == 900
    assert under_a_gradient(lambda x: flux.mae(x, zeros), x) == 30


def test_gradients_of_more_elements_than_float16_has_numbers_for():
    x = np.ones(70_000, np.float16)
    for f in (np.mean, np.max, np.min):
        np.testing.assert_allclose(flux.gradient(lambda x, f=f: 1000 * f(x), x), 1 / 70, rtol=1e-3)
    columns = np.ones((4100, 2), np.float16)  # along the first axis NumPy adds up in float16, which stops at 2048
    np.testing.assert_allclose(flux.gradient(lambda x: np.sum(np.max(x, axis=0)), columns), 1 / 4100, rtol=2e-2)
    halves = np.tile([0.5, -0.5], 35_000).astype(np.float16)
    np.testing.assert_allclose(flux.gradient(lambda x: 1000 * np.var(x), halves), halves / 35, rtol=1e-2)


MASK = np.array([[True, False, True, True], [False, False, True, True], [True, True, True, False]])
OPTIONS = {
    np.sum: [{"where": MASK}, {"initial": 2.5}, {"dtype": np.float32}, {"where": MASK, "initial": 1, "axis": 0}],
    np.prod: [{"where": MASK}, {"initial": 2.5}, {"dtype": np.float32}, {"where": MASK, "axis": (0, 1)}],
    np.mean: [{"where": MASK}, {"dtype": np.float32}, {"where": MASK, "axis": 0, "keepdims": True}],
    np.max: [{"initial": 0.5}, {"where": MASK, "initial": -9}, {"where": MASK, "initial": 0.3, "axis": 1}],
    np.min: [{"initial": 0.5}, {"where": MASK, "initial": 9}, {"where": MASK, "initial": 0.3, "axis": 1}],
    np.var: [
        {"where": MASK}, {"correction": 1}, {"where": MASK, "axis": 0, "ddof": 0.5}, {"dtype": np.float32},
        {"mean": np.full((3, 1), 0.25), "axis": 1, "keepdims": True}, {"ddof": 11},
    ],
    np.std: [{"where": MASK}, {"correction": 1, "axis": 0}, {"mean": np.full((3, 1), 0.25), "axis": 1, "where": MASK}],
    np.ptp: [{"keepdims": True}, {"axis": 0, "keepdims": True}],
    np.cumsum: [{"dtype": np.float32}],
    np.cumprod: [{"dtype": np.float32, "axis": 0}],
    np.add.reduce: [{"dtype": np.float32, "where": MASK}, {"initial": 3, "axis": None}],
    np.multiply.reduce: [{"dtype": np.float32, "where": MASK}, {"initial": 3, "axis": 1}],
    np.maximum.reduce: [{"initial": 0.1}, {"where": MASK, "initial": -5, "axis": 1}],
    np.diff: [{"n": 0, "append": 1.0}, {"prepend": 1.0},
              {"append": np.ones((3, 2)), "n": 2}, {"prepend": 0, "append": 2, "axis": 0}],
    np.cumulative_sum: [{"axis": 1, "dtype": np.float32}, {"axis": 0, "include_initial": True}],
    np.cumulative_prod: [{"axis": 1, "include_initial": True}],
}  # fmt: skip


@pytest.mark.parametrize("f", OPTIONS, ids=[f"{getattr(f, '__self__', f).__name__}.{f.__name__}" for f in OPTIONS])
def test_options(f):
    x = np.random.default_rng(1).normal(size=(3, 4))
    for options in OPTIONS[f]:
        check_same(lambda x, o=options: f(x, **o), x, 1e-6 if "dtype" in options else 1e-14)
        if "dtype" not in options:
            flux.gradcheck(lambda x, o=options: f(x, **o), x)


def test_degrees_of_freedom_that_are_used_up_leave_no_number():
    x = np.ones(2)
    with np.errstate(all="ignore"):
        assert np.isnan(under_a_gradient(lambda x: np.var(x, ddof=3), x))
        assert under_a_gradient(lambda x: np.var(x * np.array([1, 2]), ddof=3), x) == np.inf


@pytest.mark.parametrize("f", [np.max, np.min])
def test_extremes_of_nothing_are_the_initial_value(f):
    x = np.zeros((2, 0), np.float32)
    check_same(lambda x: f(x, axis=1, initial=0.5), x)
    assert flux.gradient(lambda x: np.sum(f(x, axis=1, initial=0.5)), x).shape == (2, 0)


@pytest.mark.parametrize(("ord", "shape"), [(np.inf, (0,)), (np.inf, (0, 3)), (1, (3, 0))])
def test_norms_of_nothing_are_0(ord, shape):  # noqa: A002
    assert under_a_gradient(lambda x: np.linalg.norm(x, ord), np.zeros(shape)) == 0
