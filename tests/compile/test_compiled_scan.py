"""flux.scan compiled: one loop in C, whatever the number of steps, and a second one for its gradient."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyflux as flux
from tinyflux.compile.backends.c.build import available

pytestmark = pytest.mark.skipif(not available(), reason="needs a C compiler")
RNG = np.random.default_rng(0)
TOLERANCES = {np.float64: 1e-12, np.float32: 2e-5}


def arrays(*shapes, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def same(got, expected, dtype=np.float64):
    got, expected = flux.leaves(got), flux.leaves(expected)
    assert len(got) == len(expected)
    for x, y in zip(got, expected):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        scale = max(1, np.max(np.abs(y), initial=0))
        np.testing.assert_allclose(x, y, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype] * scale)


def unrolled(step, state, xs, reverse=False):
    """`scan` as the formula has it, by a loop over arrays."""
    steps = len(xs)
    ys = [None] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        state, ys[t] = step(state, xs[t])
    return state, np.stack(ys)


def rnn(scan, w, u, h, xs, reverse=False):
    def cell(h, x):
        h = np.tanh(x @ w + h @ u)
        return h, 2 * h

    return scan(cell, h, xs, reverse=reverse)


LOSSES = {
    "state": lambda h, ys: np.sum(np.sin(h)),
    "stack": lambda h, ys: np.sum(np.sin(ys)),
    "both": lambda h, ys: np.sum(np.sin(ys)) + np.sum(h**2),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reverse", [False, True])
@given(st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.sampled_from([np.float64, np.float32]))
@settings(max_examples=4)
def test_values_and_gradients_of_a_recurrent_net(loss, reverse, length, batch, hidden, dtype):
    given = arrays((2, hidden), (hidden, hidden), (batch, hidden), (length, batch, 2), dtype=dtype)

    def both(scan):
        return lambda *args: flux.withgradient(lambda *a: LOSSES[loss](*rnn(scan, *a, reverse=reverse)), *args)

    same(flux.compile(both(flux.scan))(*given), both(unrolled)(*given), dtype)


@pytest.mark.parametrize("loss", LOSSES)
def test_second_derivatives(loss):
    given = arrays((2, 3), (3, 3), (4, 3), (5, 4, 2))

    def second(scan):
        def squared(*args):
            return sum(np.sum(g**2) for g in flux.gradient(lambda *a: LOSSES[loss](*rnn(scan, *a)), *args))

        return lambda *args: flux.gradient(squared, *args)

    same(flux.compile(second(flux.scan))(*given), second(unrolled)(*given))


def test_the_program_does_not_grow_with_the_number_of_steps():
    w, u, h = arrays((2, 3), (3, 3), (4, 3))
    slope = flux.compile(lambda xs: flux.gradient(lambda w, u: np.sum(rnn(flux.scan, w, u, h, xs)[0]), w, u))
    sizes = set()
    for length in (2, 200):
        same(slope(arrays((length, 4, 2))[0]), flux.gradient(
            lambda w, u: np.sum(rnn(unrolled, w, u, h, arrays((length, 4, 2))[0])[0]), w, u  # noqa: B023
        ))  # fmt: skip
        sizes.add((slope.program.count("\n"), slope.source.count("\n")))
    assert len(sizes) == 1


def lstm(state, x, p):
    h, c = state["h"], state["c"]
    i, f, o, g = np.split(x @ p["w"] + h @ p["u"] + p["b"], 4, axis=-1)
    c = flux.sigmoid(f) * c + flux.sigmoid(i) * np.tanh(g)
    return {"h": flux.sigmoid(o) * np.tanh(c), "c": c}


def test_states_and_sequences_that_are_trees():
    w, u, b, h, c, xs, m = arrays((3, 8), (2, 8), (8,), (5, 2), (5, 2), (6, 5, 3), (6, 5, 1))

    def run(scan):
        def loss(p, state, xs):
            def step(state, item):
                new = lstm(state, item["x"] if isinstance(item, dict) else item, p)
                return new, (new["h"], new["c"] * 3)

            state, (hs, cs) = scan(step, state, xs)
            return np.sum(hs**2) + np.sum(np.sin(cs)) + np.sum(state["c"])

        return lambda p, state, xs: flux.withgradient(loss, p, state, xs)

    def by_hand(step, state, xs):
        ys = []
        for t in range(len(xs["x"])):
            state, y = step(state, {"x": xs["x"][t]})
            ys.append(y)
        return state, tuple(np.stack(column) for column in zip(*ys))

    given = {"w": w, "u": u, "b": b}, {"h": h, "c": c}, {"x": xs, "unused": m}
    same(flux.compile(run(flux.scan))(*given), run(by_hand)(*given))


def test_no_outputs_and_a_state_that_counts():
    xs, w = arrays((7, 3), (3,))

    def last(scan):
        def step(state, x):
            n, total = state
            return (n + 1, total * np.cos(w * n) + x), None

        return lambda xs: scan(step, (np.array(0), np.zeros(3)), xs)[0]

    n, total = flux.compile(last(flux.scan))(xs)
    expected = np.zeros(3)
    for t in range(7):
        expected = expected * np.cos(w * t) + xs[t]
    assert n == 7
    same(total, expected)
    slope = flux.compile(lambda xs: flux.gradient(lambda xs: np.sum(last(flux.scan)(xs)[1]), xs))
    factors = np.cumprod([np.ones(3), *[np.cos(w * t) for t in range(6, 0, -1)]], axis=0)[::-1]
    same(slope(xs), factors)


def test_integers_along_the_sequence_index_what_is_closed_over():
    (table,) = arrays((4, 3))
    labels = np.array([2, 0, 2, 3])

    def total(table, labels):
        return np.sum(flux.scan(lambda s, k: (s * 0.5 + table[k], s), np.zeros(3), labels)[0] ** 2)

    expected = flux.gradient(lambda t: np.sum((((t[2] * 0.5 + t[0]) * 0.5 + t[2]) * 0.5 + t[3]) ** 2), table)
    same(flux.compile(lambda t, k: flux.gradient(lambda t: total(t, k), t))(table, labels), expected)
    with pytest.raises(IndexError, match="out of bounds"):
        flux.compile(total)(table, labels + 2)


def test_a_loop_in_a_loop():
    xs, w = arrays((3, 4, 2), (2, 2))

    def nested(scan):
        def inner(s, x):
            s = np.sin(s @ w + x)
            return s, s

        def outer(s, x):
            s, ys = scan(inner, s, x)
            return s, np.sum(ys)

        return lambda w_, xs: flux.withgradient(
            lambda w_, xs: np.sum(scan(outer, w_[0], xs)[1]) + np.sum(scan(outer, w_[1], xs)[0]), w_, xs
        )

    same(flux.compile(nested(flux.scan))(w, xs), nested(unrolled)(w, xs))


def test_a_closure_that_changes_is_seen():
    scale = 2.0
    total = flux.compile(lambda xs: flux.scan(lambda s, x: (s + scale * x, None), np.zeros(()), xs)[0])
    assert total(np.arange(4.0)) == 12
    scale = 3.0
    assert total(np.arange(4.0)) == 18


@pytest.mark.parametrize("which", ["parameter", "state", "constant"])
def test_outputs_that_no_step_calculates(which):
    xs, w = arrays((3, 2), (2,))
    picks = {"parameter": lambda s, w: w, "state": lambda s, w: s, "constant": lambda s, w: np.ones(2)}

    def loss(scan):
        step = lambda w: lambda s, x: (s, picks[which](s, w) * 1.0)  # noqa: E731
        return lambda w, xs: flux.withgradient(
            lambda w, xs: np.sum(scan(step(w), w, xs)[0] ** 2) + np.sum(scan(step(w), w, xs)[1] ** 3) + 0 * xs.sum(),
            w, xs,
        )  # fmt: skip

    same(flux.compile(loss(flux.scan))(w, xs), loss(unrolled)(w, xs))


@pytest.mark.parametrize("how", [True, False])
def test_train(how):
    """A net that is to tell the sum of a sequence; compiled step by step as plain."""
    xs = RNG.normal(size=(64, 5, 1)).astype(np.float32)
    y = xs.sum(axis=1)

    def model():
        flux.seed(1)
        return {"cell": flux.Dense(9, 8, np.tanh), "out": flux.Dense(8, 1)}

    def loss(m, x, y):
        step = lambda h, x: (m["cell"](np.concatenate([x, h], axis=-1)), None)  # noqa: E731
        h, _ = flux.scan(step, np.zeros((len(x), 8), np.float32), np.swapaxes(x, 0, 1))
        return flux.mse(m["out"](h), y)

    def plain(m, x, y):
        h = np.zeros((len(x), 8), np.float32)
        for t in range(5):
            h = m["cell"](np.concatenate([x[:, t], h], axis=-1))
        return flux.mse(m["out"](h), y)

    found = []
    for function, compiled in ((loss, how), (plain, False)):
        m = model()
        data = flux.DataLoader((xs, y), batchsize=16, shuffle=True, rng=np.random.default_rng(3))
        found.append(flux.train(function, m, data, flux.setup(flux.Adam(0.01), m), epochs=3, compile=compiled))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)
    assert found[0][-1] < found[0][0]


def test_a_state_that_changes_its_form_is_an_error_of_the_step():
    with pytest.raises(
        ValueError, match=r"scan: expected step to return a state like .* float64\[2\], got float64\[3\]"
    ):
        flux.compile(lambda xs: flux.scan(lambda s, x: (np.zeros(3) + x[0], None), np.zeros(2), xs))(np.ones((4, 2)))


@pytest.mark.parametrize("nested", [False, True])
def test_a_dropout_draws_another_mask_at_each_step(nested):
    """Compiled as eager, and as a loop without scan: the same masks, and the same state of the layer afterwards."""

    def train(scan, compiled):
        flux.seed(0)
        m = {"cell": flux.Dense(3, 3, np.tanh), "drop": flux.Dropout(0.5, seed=3)}

        def loss(m, xs):
            step = lambda h, x: (m["drop"](m["cell"](h + x)), h)  # noqa: E731
            twice = lambda h, x: (scan(step, h, np.stack([x, -x]))[0], h)  # noqa: E731
            return np.sum(scan(twice if nested else step, np.zeros((2, 3), np.float32), xs)[0] ** 2)

        xs = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
        losses = flux.train(loss, m, [(xs,)] * 4, flux.setup(flux.Descent(0.1), m), compile=compiled)
        return losses, m["drop"].state, m["cell"].weight

    expected = train(unrolled, False)
    assert expected[1].tolist() == [3, 4 * 5 * 6 * (1 + nested)]
    for compiled in (False, True):
        losses, state, weight = train(flux.scan, compiled)
        np.testing.assert_allclose(losses, expected[0], rtol=1e-5)
        np.testing.assert_array_equal(state, expected[1])
        np.testing.assert_allclose(weight, expected[2], rtol=1e-5, atol=1e-6)


class Counting:
    """A layer that scales by how often it was called."""

    buffers = ("calls",)

    def __init__(self):
        self.calls = np.array(0.0)

    def __call__(self, x):
        self.calls = self.calls + 1
        return x * self.calls


def test_a_layer_that_keeps_a_state_in_a_step_is_refused():
    """Recorded once, it would be the same in all steps."""
    xs = np.ones((6, 3))

    def loss(m, xs):
        return np.sum(flux.scan(lambda s, x: (s + m["layer"](x * m["w"]), None), np.zeros(3), xs)[0])

    found = []
    for how in (False, "auto"):
        model = {"layer": Counting(), "w": np.ones(3)}
        found.append(flux.train(loss, model, [xs] * 2, flux.setup(flux.Descent(0.001), model), compile=how))
        assert model["layer"].calls == 12
    assert found[0] == found[1]
    model = {"layer": Counting(), "w": np.ones(3)}
    with pytest.raises(flux.NotCompilable, match="a layer in it keeps a state"):
        flux.train(loss, model, [xs], flux.setup(flux.Descent(0.001), model), compile=True)


def test_the_gradient_reads_each_of_several_sequences():
    a, b, h = arrays((4, 3), (4, 3), (3,))

    def scanned(h, a, b):
        return np.sum(flux.scan(lambda h, x: (np.tanh(h * x["a"]) * x["b"], None), h, {"a": a, "b": b})[0])

    def looped(h, a, b):
        for t in range(4):
            h = np.tanh(h * a[t]) * b[t]
        return np.sum(h)

    got = flux.compile(lambda *args: flux.withgradient(scanned, *args))(h, a, b)
    same(got, flux.withgradient(looped, h, a, b))


def test_a_step_that_is_another_one_in_the_next_call_is_refused():
    calls = [0]

    def counted(xs):
        calls[0] += 1
        times = calls[0]
        return flux.scan(lambda s, x: (s + times * x, None), np.zeros(()), xs)[0]

    with pytest.raises(flux.NotCompilable, match="not the same in two calls"):
        flux.compile(counted)(np.arange(4.0))


def test_arrays_that_a_step_makes():
    """Each run of the step makes new ones, which hold the same."""
    xs = np.random.default_rng(0).normal(size=(4, 3))

    def scanned(h, scan=flux.scan):
        def step(h, x):
            inner = scan(lambda s, k: (s * [0.5, 0.4, 0.3] + k, None), h[[2, 0, 1]] @ np.eye(3), xs[:2])[0]
            return np.sin(h * np.arange(1.0, 4.0) + x), inner

        return np.sum(scan(step, h, xs)[1] ** 2)

    def looped(step, h, xs):
        ys = []
        for x in xs:
            h, y = step(h, x)
            ys.append(y)
        return h, None if y is None else np.stack(ys)

    got = flux.compile(lambda h: flux.withgradient(scanned, h))(xs[0])
    same(got, flux.withgradient(lambda h: scanned(h, looped), xs[0]))


@pytest.mark.parametrize("draw", [lambda n: np.full(3, n), lambda n: [float(n), 1.0, 2.0]])
def test_arrays_that_a_step_makes_anew(draw):
    calls = []

    def step(h, x):
        calls.append(x)
        return h + x * draw(len(calls)), None

    with pytest.raises(flux.NotCompilable, match="is not the same twice: it draws random"):
        flux.compile(lambda h: flux.scan(step, h, np.ones((4, 3)))[0])(np.ones(3))
