"""Losses that run over sequences by flux.scan, with a model and a batch of a given dtype: calculated in three ways."""

import numpy as np

import tinyflux as flux
from tests.support.program_cases import arrays

BOTH_WAYS = {"": False, ", reversed": True}
LOSSES = {
    "the last state": lambda h, ys: np.sum(np.sin(h)),
    "the outputs": lambda h, ys: np.sum(np.sin(ys) * np.cumsum(ys, axis=0)),
    "both": lambda h, ys: np.sum(np.sin(ys[::2])) + np.sum(h**2),
}


def cell(inputs, hidden, dtype):
    return dict(zip("wub", arrays((inputs, hidden), (hidden, hidden), (hidden,), dtype=dtype)))


def rnn(m, h, xs, reverse=False):
    def step(h, x):
        h = np.tanh(x @ m["w"] + h @ m["u"] + m["b"])
        return h, 2 * h

    return flux.scan(step, h, xs, reverse=reverse)


def recurrent(loss, reverse, length, batch, hidden):
    """Weights, the first state and the sequence have their gradients."""

    def case(dtype):
        h, xs = arrays((batch, hidden), (length, batch, 6), dtype=dtype, seed=1)
        model = cell(6, hidden, dtype) | {"h": h, "xs": xs}
        return lambda m: loss(*rnn(m, m["h"], m["xs"], reverse)), model

    return case


def of_the_data(dtype):
    """A sequence that is read where it lies, from the item that is given."""
    h, xs = arrays((7, 5), (4, 7, 6), dtype=dtype, seed=1)
    return lambda m, h, xs: LOSSES["both"](*rnn(m, h, xs)), cell(6, 5, dtype), h, xs


def trees(dtype):
    """An LSTM, whose states and sequences are dicts, with an output that is None, and one that nobody reads."""
    h, c, xs, mask = arrays((5, 2), (5, 2), (6, 5, 3), (6, 5, 1), dtype=dtype, seed=1)

    def loss(p, mask):
        def step(state, item):
            gates = item["x"] @ p["w"] + state["h"] @ p["u"] + p["b"]
            i, f, o, g = np.split(gates, 4, axis=-1)
            c = flux.sigmoid(f) * state["c"] + flux.sigmoid(i) * np.tanh(g)
            h = flux.sigmoid(o) * np.tanh(c)
            return {"h": h, "c": c}, (h, c * item["mask"], None, 3 * c)

        state, (hs, cs, _, _) = flux.scan(step, {"h": p["h"], "c": p["c"]}, {"x": p["xs"], "mask": mask})
        return np.sum(hs**2) + np.sum(np.sin(cs)) + np.sum(state["c"])

    w, u, b = arrays((3, 8), (2, 8), (8,), dtype=dtype)
    return loss, {"w": w, "u": u, "b": b, "h": h, "c": c, "xs": xs}, mask


def counting(reverse):
    """Whole numbers beside others, and a state that stays as it is."""

    def case(dtype):
        def loss(m, start):
            def step(state, x):
                n, total, fixed = state
                return (n + 2, total * np.cos(fixed * n) + x, fixed), n

            (n, total, fixed), ns = flux.scan(step, (start, m["w"], m["v"]), m["xs"], reverse=reverse)
            return np.sum(total * fixed * n) + np.sum(ns * m["w"][0])

        w, v, xs = arrays((3,), (3,), (7, 3), dtype=dtype)
        return loss, {"w": w, "v": v, "xs": xs}, np.array([3], np.int16)

    return case


def numbers(dtype):
    """States without axes beside others, whole numbers and truths among them."""
    w, xs = arrays((3,), (5, 3), dtype=dtype)

    def loss(m):
        def step(state, x):
            n, odd, total = state
            return (n + 1, ~odd, total + np.sum(np.where(odd, x, -x) * m["w"] * n.astype(dtype))), n

        (n, _, total), ns = flux.scan(step, (0, False, np.sum(m["w"])), m["xs"])
        return total * (n + np.sum(ns)).astype(dtype)

    return loss, {"w": w, "xs": xs}


def shifting(dtype):
    """A line of three places, each of which takes over from the next one: none may be overwritten too early."""
    a, b, xs = arrays((4,), (4,), (8, 4), dtype=dtype, seed=1)

    def loss(m):
        state, ys = flux.scan(lambda s, x: ((s[1], s[2], x * s[0]), s[1]), (m["a"], m["a"] * 2, m["b"]), m["xs"])
        return sum(np.sum(np.sin(s)) for s in state) + np.sum(ys**2)

    return loss, {"a": a, "b": b, "xs": xs}


def nested(reverse):
    """The inner loop reads what the outer one's step has made, and what lies outside both."""

    def case(dtype):
        def loss(m):
            def outer(s, x):
                scale = np.cos(s)
                inner = lambda z, y: (np.sin(z @ m["w"] + y * scale), z * m["w"][0])  # noqa: E731
                z, zs = flux.scan(inner, s, x, reverse=reverse)
                return z, np.sum(zs * x)

            s, ys = flux.scan(outer, m["w"][0], m["xs"])
            return np.sum(s * m["w"][1]) + np.sum(ys**2)

        w, xs = arrays((2, 2), (3, 4, 2), dtype=dtype)
        return loss, {"w": w, "xs": xs}

    return case


def one_after_another(dtype):
    """The second loop reads the outputs of the first, from the back."""
    h, xs = arrays((3, 6), (5, 3, 6), dtype=dtype, seed=1)

    def loss(m, h, xs):
        _, ys = rnn(m, h, xs)
        _, zs = rnn(m, ys[0], ys + xs, reverse=True)
        return np.sum(np.sin(zs) * ys)

    return loss, cell(6, 6, dtype), h, xs


def long_sums(dtype):
    """Sums of several blocks, and what brings them together."""
    w, s, xs = arrays((9_000,), (1,), (3, 9_000), dtype=dtype)

    def loss(m, s, xs):
        return np.sum(flux.scan(lambda s, x: (s + np.mean(np.sin(m["w"] * x * s)), None), s, xs)[0])

    return loss, {"w": w}, s, xs


def without_a_sequence(dtype):
    (w,) = arrays((4,), dtype=dtype)
    return lambda m: np.sum(flux.scan(lambda s, _: (np.sin(s * m["w"]), s), m["w"], None, length=6)[1]), {"w": w}


SCANS = {
    f"a recurrent net, {loss}, {length} steps{name}": recurrent(LOSSES[loss], reverse, length, batch, hidden)
    for loss in LOSSES
    for length, batch, hidden in ((1, 3, 4), (2, 1, 3), (5, 9, 8))
    for name, reverse in BOTH_WAYS.items()
}
SCANS |= {f"counting{name}": counting(reverse) for name, reverse in BOTH_WAYS.items()}
SCANS |= {f"a loop in a loop{name}": nested(reverse) for name, reverse in BOTH_WAYS.items()}
SCANS |= {
    "a sequence of the data": of_the_data,
    "trees": trees,
    "numbers": numbers,
    "a state that moves on": shifting,
    "one loop after another": one_after_another,
    "long sums": long_sums,
    "no sequence": without_a_sequence,
}
