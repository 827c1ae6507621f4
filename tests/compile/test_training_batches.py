"""Compiled training steps on large batches: rows in blocks, on several cores, or all at once."""

import copy

import numpy as np
import pytest

import tinyflux as flux
from tests.support.training_cases import (
    DATA,
    LABELS,
    OTHER_WIDE,
    PER_ROW,
    SQUARE,
    TABLE,
    WIDE,
    Constant,
    Last,
    N,
    Running,
    W,
    X,
    Y,
    array,
    assert_same,
    check,
    dense,
    eager,
    mse,
    network,
    normalised,
    orders,
    prepared,
)
from tests.support.training_cases import _seeded as _seeded  # a fixture
from tinyflux import cores
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.schedule.tiling import BLOCK

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

ROWS = {  # whether they are cut into blocks
    "layers": (True, mse, network, DATA),
    "crossentropy": (
        True,
        lambda m, x, y: flux.crossentropy(flux.softmax(m(x)), y),
        network,
        (X, flux.onehotbatch(LABELS, range(3))),
    ),
    "first is transposed": (True, lambda m, x, y: np.mean((m[0].weight @ x.T - 3) ** 2), network, DATA),
    "table from outside": (True, lambda m, x, y: np.mean((m(x * TABLE.T) - y) ** 2), network, DATA),
    "images": (True, lambda m, x, y: flux.mse(m(flux.flatten(x)), y), network, (X.reshape(N, 3, 2), Y)),
    "mean before": (True, mse, lambda: flux.Chain(Running(True), network()), DATA),
    "bools": (True, lambda m, x, y: flux.mse(m(np.where(x, 1.0, -1.0)), y), network, (X > 0, Y)),
    "norm of weights": (True, lambda m, x, y: flux.mse(m(x) * np.sum(m[0].weight ** 2), y), network, DATA),
    "mean after": (None, mse, lambda: flux.Chain(Running(False), network()), DATA),
    "weights of samples": (
        None,
        lambda m, x, y, w: np.sum(w * np.sum((m(x) - y) ** 2, axis=1)) / np.sum(w),
        network,
        (X, Y, W),
    ),
    "weights, normalised": (
        None,
        lambda m, x, y, w: np.sum((w / np.sum(w))[:, None] * (m(x) - y) ** 2),
        network,
        (X, Y, W),
    ),
    "weights from outside": (
        None,
        lambda m, x, y: np.sum(PER_ROW * np.sum((m(x) - y) ** 2, axis=1)) * np.sum(PER_ROW),
        network,
        DATA,
    ),
    "maximum": (None, lambda m, x, y: np.max(np.sum((m(x) - y) ** 2, axis=1)), network, DATA),
    "mean inside": (False, lambda m, x, y: flux.mse(m[1](normalised(m[0](x))), y), network, DATA),
    "labels": (
        None,
        lambda m, x, i: np.mean(-np.log(flux.softmax(m(x))[np.arange(len(i)), i])),
        network,
        (X, LABELS),
    ),
    "numbers of rows": (
        None,
        lambda m, x, y: np.mean(np.arange(len(x))[:, None] * (m(x) - y) ** 2),
        network,
        DATA,
    ),
    "backwards": (None, lambda m, x, y: flux.mse(m(x)[::-1], y), network, DATA),
    "neighbours": (None, lambda m, x, y: flux.mse(m(x)[1:], y[:-1]), network, DATA),
    "all pairs": (None, lambda m, x, y: np.mean((m(x) @ m(x).T) ** 2), network, DATA),
    "running sum": (None, lambda m, x, y: flux.mse(np.cumsum(m(x), axis=0) / 100, y), network, DATA),
    "as many features as rows": (
        None,
        lambda m, x: np.mean((x * m) ** 2) + np.mean(x.T**2 * m) + np.mean((x + m[:, None]) ** 2),
        lambda: array(600),
        OTHER_WIDE,
    ),
    "last batch": (None, mse, lambda: flux.Chain(Last(600), network()), DATA),
    "maximum of the data": (False, lambda m, x, y: mse(m, x, y) + np.max(np.sum(x**2, axis=1)), network, DATA),
    "product of the data": (False, lambda m, x, y: mse(m, x, y) + np.prod(1 + x[:, 0] / 9), network, DATA),
    "data backwards": (False, lambda m, x, y: flux.mse(m(x[::-1]), y), network, DATA),
    "array of rows both ways": (
        False,
        lambda m, x, y: mse(m, x, y) + np.sum(m[0].array * m[1][0].weight[0]) / 99,
        lambda: flux.Chain(Constant(TABLE.T), network()),
        DATA,
    ),
    "square array both ways": (
        False,
        lambda m, x: np.mean((m["c"](x) + x * m["c"].array.T) ** 2 * m["w"]),
        lambda: {"c": Constant(SQUARE), "w": array(1)},
        WIDE,
    ),
    "array of rows": (True, mse, lambda: flux.Chain(Constant(TABLE.T), network()), DATA),
    "diagonal": (None, lambda m, x: np.mean((x * m) ** 2) + np.trace(x), lambda: array(1), WIDE),
    "dropout": (None, mse, lambda: flux.Chain(dense(6, 8), flux.Dropout(0.4, seed=3), dense(8, 3)), DATA),
}


@pytest.mark.parametrize("name", ROWS)
def test_large_batches(name):
    """600 rows: two blocks and a ragged one, or all at once where rows depend on each other."""
    blocked, loss, make, data = ROWS[name]
    assert 2 * BLOCK < 600 < 3 * BLOCK
    step = check(loss, make(), data, batchsize=600, rtol=1e-10)
    if blocked is not None:
        assert (step._latest().source.schedule.rows is not None) == blocked


@pytest.mark.parametrize("count", [1, 2, 3])
def test_several_cores(count, monkeypatch):
    """More than 8 blocks are shared out between cores; a sum of their sums is the whole."""
    monkeypatch.setattr(cores, "available_cores", lambda: count)
    calls = []
    monkeypatch.setattr(
        cores, "share", lambda work, items, share=cores.share: calls.append(len(items)) or share(work, items)
    )
    model = flux.Chain(Running(True), network())
    ours, theirs = ((m, flux.setup(flux.Adam(0.01), m)) for m in (copy.deepcopy(model), copy.deepcopy(model)))
    data = (array(9 * BLOCK, 6), array(9 * BLOCK, 3))
    order = orders(data, 8 * BLOCK + 70, 4)
    losses = flux.compile_training(mse, *ours, batchsize=order.shape[1])(data, order)
    assert calls == [9] * 4
    np.testing.assert_allclose(losses, eager(mse, *theirs, data, order), rtol=1e-13)
    assert_same(ours, theirs)


def test_a_bad_loss_and_a_bad_index_on_several_cores(monkeypatch):
    monkeypatch.setattr(cores, "available_cores", lambda: 2)
    n = 9 * BLOCK
    x = array(n, 6)
    for row in (3, n - 2):  # in the part of either core
        model, opt = prepared()
        before = copy.deepcopy(flux.leaves(model))
        bad = x.copy()
        bad[row] = np.nan
        step = flux.compile_training(lambda m, x: np.mean(m(x) ** 2), model, opt, n)
        with pytest.raises(flux.NonFiniteLoss, match="the loss is nan at iteration 0"):
            step(bad, range(n))
        for a, b in zip(flux.leaves(model), before, strict=True):
            np.testing.assert_array_equal(a, b)
        assert len(step(x, range(n))) == 1
