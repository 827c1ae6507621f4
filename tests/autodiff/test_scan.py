"""flux.scan as a loop in Python: its values, its gradients, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyflux as flux

RNG = np.random.default_rng(0)
W, U, B = RNG.normal(size=(4, 3)) / 2, RNG.normal(size=(4, 4)) / 2, RNG.normal(size=4)
H, XS = RNG.normal(size=(2, 4)), RNG.normal(size=(5, 2, 3))


def rnn(p, h, xs, **options):
    w, u, b = p

    def step(h, x):
        h = np.tanh(x @ w.T + h @ u.T + b)
        return h, np.sin(h)

    return flux.scan(step, h, xs, **options)


def unrolled(p, h, xs):
    w, u, b = p
    ys = []
    for i in range(len(xs)):
        h = np.tanh(xs[i] @ w.T + h @ u.T + b)
        ys.append(np.sin(h))
    return h, np.stack(ys)


def loss(function):
    def total(p, h, xs):
        h, ys = function(p, h, xs)
        return np.sum(h * h) + np.sum(ys * np.arange(1.0, 41.0).reshape(5, 2, 4))

    return total


def test_values_are_those_of_a_loop():
    for mine, other in zip(rnn((W, U, B), H, XS), unrolled((W, U, B), H, XS)):
        np.testing.assert_array_equal(mine, other)


def test_gradients_reach_parameters_state_and_inputs():
    args = [W, U, B], H, XS
    mine, other = flux.gradient(loss(rnn), *args), flux.gradient(loss(unrolled), *args)
    for a, b in zip(flux.leaves(mine), flux.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    flux.gradcheck(loss(rnn), *args)


def test_in_reverse():
    h, ys = rnn((W, U, B), H, XS, reverse=True)
    other, backwards = unrolled((W, U, B), H, XS[::-1])
    np.testing.assert_array_equal(h, other)
    np.testing.assert_array_equal(ys, backwards[::-1])
    flux.gradcheck(lambda h, xs: np.sum(rnn((W, U, B), h, xs, reverse=True)[1][0]), H, XS)


@given(st.integers(1, 6), st.lists(st.integers(0, 3), max_size=3))
def test_shapes(steps, shape):
    xs = RNG.normal(size=(steps, *shape))
    last, ys = flux.scan(lambda s, x: (s + x, s * x), np.zeros(shape), xs)
    np.testing.assert_allclose(last, xs.sum(axis=0), atol=1e-12)
    before = np.cumsum(xs, axis=0) - xs
    np.testing.assert_allclose(ys, before * xs, atol=1e-12)
    slope = flux.gradient(lambda xs: np.sum(flux.scan(lambda s, x: (s + x, None), np.zeros(shape), xs)[0] ** 2), xs)
    np.testing.assert_allclose(slope, np.broadcast_to(2 * xs.sum(axis=0), xs.shape), atol=1e-12)


def test_trees_of_states_inputs_and_outputs():
    xs = {"a": XS, "n": np.arange(5)}

    def step(state, x):
        h, (count,) = state
        return [h + x["a"] * x["n"], (count + 1,)], {"sum": h, "none": None}

    (h, (count,)), ys = flux.scan(step, [np.zeros((2, 3)), (np.int64(0),)], xs)
    weighted = XS * np.arange(5)[:, None, None]
    np.testing.assert_allclose(h, weighted.sum(axis=0))
    assert count == 5
    assert ys["none"] is None
    np.testing.assert_allclose(ys["sum"], np.cumsum(weighted, axis=0) - weighted)


@pytest.mark.parametrize("how", [lambda f: f, flux.compile], ids=["plain", "compiled"])
@pytest.mark.parametrize("start", [0, np.int64(0), np.array(0), 0.0, False], ids=repr)
def test_a_number_that_counts(start, how):
    """In a state beside others, and as an output."""
    one = start.dtype.type(1) if hasattr(start, "dtype") else type(start)(1)

    def run(xs):
        return flux.scan(
            lambda s, x: ((s[0] | one if one is True else s[0] + one, s[1] + s[0] * x), s[0]), (start, 0.0), xs
        )

    (count, total), counts = how(run)(np.arange(1.0, 4.0))
    expected = [0, 1, 1, 1] if one is True else [0, 1, 2, 3]
    assert counts.tolist() == expected[:3]
    assert count == expected[3]
    assert total == np.dot(expected[:3], [1, 2, 3])
    slope = how(lambda xs: flux.gradient(lambda xs: run(xs)[0][1], xs))(np.arange(1.0, 4.0))
    assert slope.tolist() == expected[:3]


def test_without_inputs_and_outputs():
    assert flux.scan(lambda s, x: (2 * s, x), 1.0, None, length=10) == (1024.0, None)
    assert flux.gradient(lambda s: flux.scan(lambda s, x: (s * s, x), s, None, length=3)[0], 2.0) == 8 * 2.0**7


def test_scans_nest():
    def outer(s, row):
        s, _ = flux.scan(lambda s, x: (np.sin(s) * x, None), s, row)
        return s, s

    xs = RNG.normal(size=(3, 4))
    expected, s = [], 0.5
    for row in xs:
        for x in row:
            s = np.sin(s) * x
        expected.append(s)
    np.testing.assert_allclose(flux.scan(outer, 0.5, xs)[1], expected)
    flux.gradcheck(lambda s, xs: np.sum(flux.scan(outer, s, xs)[1]), 0.5, xs)


def test_the_gradient_is_linear_in_the_number_of_steps():
    """A gradient that makes an array of all steps for each of them holds, for 2,000, 2,000 times as much as xs."""
    import tracemalloc

    xs = np.ones((2000, 100))
    tracemalloc.start()
    flux.gradient(lambda xs: np.sum(flux.scan(lambda s, x: (np.sin(s) + x, s), np.zeros(100), xs)[1]), xs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * xs.nbytes


@pytest.mark.parametrize(
    ("step", "state", "xs", "options", "error", "words"),
    [
        (lambda s, x: s, 0.0, XS, {}, TypeError, r"pair \(state, y\), got a float64"),
        (lambda s, x: (s, x, x), 0.0, XS, {}, TypeError, r"pair .* got a tuple of 3"),
        (lambda s, x: (x, None), 0.0, XS, {}, ValueError, r"float64\[\], got float64\[2, 3\]"),
        (lambda s, x: (s.astype(float), None), np.float32(0), XS, {}, ValueError, r"float32\[\], got float64\[\]"),
        (lambda s, x: ([s], None), 0.0, XS, {}, ValueError, r"got float64\[\] at \[0\]"),
        (lambda s, x: (s, None), 0.0, [], {}, TypeError, "array or a tree of arrays as xs"),
        (lambda s, x: (s, None), 0.0, None, {}, TypeError, "length="),
        (lambda s, x: (s, None), 0.0, (XS, XS[1:]), {}, ValueError, r"5 in xs\[0\] and 4 in xs\[1\]"),
        (lambda s, x: (s, None), 0.0, XS, {"length": 4}, ValueError, "5 in xs and 4 in length"),
        (lambda s, x: (s, None), 0.0, XS[:0], {}, ValueError, "at least one step, got 0"),
        (lambda s, x: (s, None), 0.0, np.array(1.0), {}, ValueError, "first axis"),
    ],
)
def test_what_is_refused(step, state, xs, options, error, words):
    with pytest.raises(error, match=words):
        flux.scan(step, state, xs, **options)


def test_an_output_that_changes_is_refused():
    sizes = iter([1, 2])
    with pytest.raises(ValueError, match=r"float64\[1\], then of float64\[2\]"):
        flux.scan(lambda s, x: (s, np.zeros(next(sizes))), 0.0, XS)
