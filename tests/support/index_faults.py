"""Trainings of which a batch has an index that is out of bounds, or a number that is not finite."""

import numpy as np

import tinyflux as flux
from tests.support.program_cases import InOrder


def loss(m, tokens, x):
    return np.mean((np.mean(m["embedding"][tokens], axis=1) * x) ** 2)


def faulty(**bad):
    """41 samples, of which some have an index or a number that is wrong."""
    rng = np.random.default_rng(0)
    tokens, x = rng.integers(-9, 9, (41, 3)), rng.normal(size=(41, 4)).astype(np.float32)
    if "index" in bad:
        tokens[bad["index"], 1] = 9
    if "number" in bad:
        x[bad["number"], 2] = np.inf
    return tokens, x


def ended(move, option, rule, data, due=None, loader=InOrder):
    """The error of a training in batches of two, and what it leaves behind."""
    flux.seed(0)
    model = move({"embedding": flux.glorot_normal((9, 4))})
    opt = flux.setup(rule, model)

    def look(progress):
        return None

    look.due = lambda iteration: iteration + due
    error = None
    try:
        with np.errstate(all="ignore"):
            flux.train(loss, model, loader(move(data), 2), opt, callbacks=[look] if due else [], compile=option)
    except (IndexError, flux.NonFiniteLoss) as raised:
        error = type(raised)
    state = [x for leaf in opt._leaves for x in leaf.state]
    return error, [flux.cpu(x) for x in (*flux.leaves(model), *state)]


FAULTS = {
    "at first": ({"index": 0}, IndexError),
    "in a graph": ({"index": 37}, IndexError),
    "in the last, smaller batch": ({"index": 40}, IndexError),
    "behind a loss that is not finite": ({"index": 23, "number": 20}, flux.NonFiniteLoss),
    "before a loss that is not finite": ({"index": 20, "number": 22}, IndexError),
    "in one batch with it": ({"index": 20, "number": 21}, IndexError),
}


def check(name, rule, due=None, option=True):
    """The error, and what a training leaves behind, there and on the plain path in NumPy."""
    bad, error = FAULTS[name]
    expected = ended(lambda x: x, False, rule, faulty(**bad), due)
    found = ended(flux.gpu, option, rule, faulty(**bad), due)
    assert (found[0], expected[0]) == (error, error)
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
