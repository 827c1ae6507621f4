"""Gradients that AccumGrad gathers, in compiled training: steps as eager, and between them nothing moves."""

import copy

import numpy as np
import pytest

import tinyflux as flux
from tests.support.training_cases import DATA, MODEL, assert_same, check, eager, mse, network, orders, prepared
from tests.support.training_cases import _seeded as _seeded  # a fixture
from tinyflux.compile.backends.c.build import available
from tinyflux.optimise import schedules

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

Chain = flux.OptimiserChain
HALVING = schedules.Step(0.1, 1, gamma=0.5)
RULES = [
    flux.AccumGrad(2),
    *[Chain(flux.AccumGrad(n), flux.Adam(0.01)) for n in (1, 2, 3, 9)],
    Chain(flux.WeightDecay(0.1), flux.AccumGrad(2), flux.WeightDecay(0.1), flux.Adam(0.01)),
    Chain(flux.AccumGrad(2), flux.Descent(HALVING)),
    Chain(flux.AccumGrad(2), flux.ClipNorm(0.1), flux.Adam(0.1)),
    Chain(flux.AccumGrad(2), flux.ClipNorm(0.1, over="model"), flux.Momentum(HALVING)),
    Chain(flux.ClipNorm(0.1, over="model"), flux.AccumGrad(2), flux.Adam(0.1)),
    Chain(flux.ClipNorm(HALVING, over="model"), flux.AccumGrad(2), flux.Adam(HALVING)),
    Chain(flux.AccumGrad(2), flux.Adam(0.1), flux.Lookahead(2), flux.EMA(0.5)),
    Chain(flux.AccumGrad(2), Chain(flux.AccumGrad(2), flux.YellowFin()), flux.Momentum(rho=schedules.Demon(0.9, 20))),
    Chain(flux.Adam(0.01), flux.AccumGrad(2)),
    Chain(flux.AccumGrad(3), flux.Muon(0.1, others=flux.Adam())),
]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_rules(rule):
    check(mse, network(), DATA, rule, rtol=1e-11)


def pairs(rule):
    return [prepared(rule, lambda: copy.deepcopy(MODEL)) for _ in range(2)]


def test_between_steps_parameters_stay_to_the_bit():
    model, opt = prepared(RULES[2])
    step = flux.compile_training(mse, model, opt, 5)
    kept = [x.copy() for x in flux.leaves(model)]
    for t, rows in enumerate(orders(DATA, 5, 6), 1):
        step(DATA, rows)
        same = all(np.array_equal(a, b) for a, b in zip(kept, flux.leaves(model), strict=True))
        assert same == (t % 2 != 0)
        assert opt[0].weight.numbers == (t % 2, 0.9 ** (t // 2), 0.999 ** (t // 2))
        kept = [x.copy() for x in flux.leaves(model)]


def test_single_precision_stays():
    model = flux.Chain(flux.Dense(6, 4, flux.tanh), flux.Dense(4, 3))
    data = tuple(x.astype(np.float32) for x in DATA)
    check(mse, model, data, RULES[2], rtol=1e-4)


def test_what_is_changed_between_calls():
    """Frozen and thawed in the middle of gathering, so that layers count apart; and other numbers of gradients."""
    ours, theirs = pairs(Chain(flux.AccumGrad(4), flux.Momentum(0.01)))
    step = flux.compile_training(mse, *ours, batchsize=5)
    changes = [
        lambda opt: None,
        lambda opt: flux.adjust(opt[1], n=2),  # where three are gathered already: the mean is that of four
        lambda opt: flux.freeze(opt[0]),
        lambda opt: flux.thaw(opt),
        lambda opt: flux.adjust(opt, n=1),
    ]
    for i, change in enumerate(changes):
        for pair in (ours, theirs):
            change(pair[1])
        order = orders(DATA, 5, 3, seed=i)
        np.testing.assert_allclose(step(DATA, order), eager(mse, *theirs, DATA, order), rtol=1e-11)
        assert_same(ours, theirs, 1e-11)


def test_saved_and_loaded_while_gathering(tmp_path):
    ours, theirs = pairs(RULES[3])
    order = orders(DATA, 5, 10)
    flux.compile_training(mse, *ours, batchsize=5)(DATA, order[:4])
    assert ours[1][0].weight.numbers[0] == 1
    flux.save(tmp_path / "half.npz", *ours)
    again = pairs(RULES[3])[0]
    flux.load(tmp_path / "half.npz", *again)
    flux.compile_training(mse, *again, batchsize=5)(DATA, order[4:])
    eager(mse, *theirs, DATA, order)
    assert_same(again, theirs, 1e-11)


X, Y = (x[:40].copy() for x in DATA)
ROOT = np.ones(40)
ROOT[5:10] = 0  # the gradient of the second batch is NaN, and its loss is not


def rooted(m, x, y, root):
    return mse(m, x, y) + np.sum(np.sqrt(root * (1 + m[0].bias[0]) ** 2))


@np.errstate(all="ignore")
def test_nan_among_gradients():
    """The mean is NaN then; a batch before, nothing is."""
    ours, theirs = pairs(RULES[3])
    step = flux.compile_training(rooted, *ours, batchsize=5)
    data, order = (X, Y, ROOT), np.arange(40).reshape(8, 5)
    step(data, order[:2])
    eager(rooted, *theirs, data, order[:2])
    assert_same(ours, theirs, 1e-11)
    assert np.isnan(ours[1][0].bias.arrays[0]).any()
    assert all(np.isfinite(x).all() for x in flux.leaves(ours[0]))
    for pair, go in ((ours, step), (theirs, lambda *some: eager(rooted, *theirs, *some))):
        go(data, order[2:3])
        assert np.isnan(pair[0][0].bias).any()
    assert_same(ours, theirs, 1e-11)


@pytest.mark.parametrize("over", ["array", "model"])
@np.errstate(all="ignore")
def test_a_norm_is_refused_when_the_step_is_made(over):
    rule = Chain(flux.AccumGrad(4), flux.WeightDecay(0.1), flux.ClipNorm(1.0, over), flux.Adam(0.01))
    ours, theirs = pairs(rule)
    step = flux.compile_training(rooted, *ours, batchsize=5)
    data, order = (X, Y, ROOT), np.arange(40).reshape(8, 5)
    for go in (step, lambda *some: eager(rooted, *theirs, *some)):
        go(data, order[:3])
        with pytest.raises(flux.NonFiniteNorm):
            go(data, order[3:4])
    assert ours[1][0].weight.numbers == (3, 1, 1)
    assert_same(ours, theirs, 1e-11)
