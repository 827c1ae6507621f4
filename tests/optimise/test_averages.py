"""Lookahead and EMA: against their definitions written out, in all that steps parameters; and models of averages."""

import itertools

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.optimise import RULES

Chain = flux.OptimiserChain
MAKERS = [*RULES, lambda: flux.Adam(flux.schedules.Cosine(0.1, 9)), lambda: Chain(flux.ClipNorm(0.5), flux.Muon())]
EVERY_RULE = pytest.mark.parametrize("make", MAKERS, ids=lambda make: repr(make()))


def start():
    rng = np.random.default_rng(7)
    return [rng.normal(size=(2, 3)), rng.normal(size=4)]


def gradients(t, model):
    """Those of a loss that the steps so far have an influence on."""
    return [np.sin(x + t) * (20 if t == 3 else 1) for x in model]


def run(rule, model, opt, steps):
    for t in steps:
        flux.update(opt, model, gradients(t, model))
        yield [x.copy() for x in model]


@EVERY_RULE
def test_lookahead_is_algorithm_1(make):
    """Of the paper: in each outer step the fast weights start at the slow ones, and make k inner steps."""
    k, alpha = 3, 0.3
    slow, expected, rule = start(), [], make()
    fast = [x.copy() for x in slow]
    inner = flux.setup(rule, fast)
    for outer in range(4):
        for x, s in zip(fast, slow, strict=True):
            x[...] = s
        for i in range(k):
            flux.update(inner, fast, gradients(k * outer + i, fast))
            expected.append([x.copy() for x in fast])
        slow = [s + alpha * (x - s) for s, x in zip(slow, fast, strict=True)]
        expected[-1] = slow
    model = start()
    opt = flux.setup(Chain(rule, flux.Lookahead(k, alpha)), model)
    for t, (got, want) in enumerate(zip(run(rule, model, opt, range(4 * k)), expected, strict=True)):
        last = start() if t < k - 1 else expected[(t + 1) // k * k - 1]
        for x, y, average, s in zip(got, want, flux.averaged(model, opt), last, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(average, s, rtol=1e-10, atol=1e-12)


@EVERY_RULE
def test_ema_is_a_weighted_mean_of_all_parameters(make):
    """And the parameters go where they would without it."""
    decay, steps = 0.7, 9
    plain, model = start(), start()
    alone = list(run(None, plain, flux.setup(make(), plain), range(steps)))
    opt = flux.setup(Chain(make(), flux.EMA(decay)), model)
    for t, got in enumerate(run(None, model, opt, range(steps)), 1):
        path = [start(), *alone[:t]]
        weights = [decay**t, *[(1 - decay) * decay ** (t - i) for i in range(1, t + 1)]]
        for i, (x, average) in enumerate(zip(got, flux.averaged(model, opt), strict=True)):
            np.testing.assert_array_equal(x, alone[t - 1][i])
            mean = sum(w * xs[i] for w, xs in zip(weights, path, strict=True))
            np.testing.assert_allclose(average, mean, rtol=1e-11, atol=1e-13)


def test_a_decay_that_starts_low():
    """(1 + t)/(10 + t) is 0.1 first: the average of steps to 1, 2, 3 …"""
    model, a = [np.zeros(1)], 0.0
    opt = flux.setup(Chain(flux.Descent(1.0), flux.EMA(lambda t: min(0.3, (1 + t) / (10 + t)))), model)
    for t in range(6):
        flux.update(opt, model, [-np.ones(1)])
        decay = min(0.3, (1 + t) / (10 + t))
        a = decay * a + (1 - decay) * (t + 1)
        np.testing.assert_allclose(flux.averaged(model, opt)[0], a, rtol=1e-13)


def test_a_share_that_changes_and_another_k():
    model = [np.zeros(1)]
    opt = flux.setup(Chain(flux.Descent(1.0), flux.Lookahead(2, flux.schedules.Step(1.0, 2, gamma=0.25))), model)
    path = [x[0].item() for x in run_down(model, opt, 4)]
    assert path == [-1, -2, -3, -2.5]  # a whole way, then a quarter of the way from −2 to −4
    flux.adjust(opt, k=1, alpha=0.5)
    assert [x[0].item() for x in run_down(model, opt, 2)] == [-3, -3.5]


def run_down(model, opt, steps):
    for _ in range(steps):
        flux.update(opt, model, [np.ones(1)])
        yield [x.copy() for x in model]


def test_the_ends():
    """With α = 1 or k = 1 and α = 1 it is the rule itself; with α = 0 nothing is ever left of k steps."""
    path = {}
    for k, alpha in itertools.product((1, 2), (0.0, 1.0)):
        model = start()
        opt = flux.setup(Chain(flux.Adam(0.1), flux.Lookahead(k, alpha)), model)
        path[k, alpha] = list(run(None, model, opt, range(4)))
    plain = start()
    expected = list(run(None, plain, flux.setup(flux.Adam(0.1), plain), range(4)))
    for t, k in itertools.product(range(4), (1, 2)):
        for x, y in zip(path[k, 1.0][t], expected[t], strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12)
    for x, y in zip(path[2, 0.0][3], start(), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)


def test_gathered_gradients_are_one_step():
    model = [np.zeros(1)]
    opt = flux.setup(Chain(flux.AccumGrad(2), flux.Descent(1.0), flux.Lookahead(2), flux.EMA(0.5)), model)
    assert [x[0].item() for x in run_down(model, opt, 6)] == [0, -1, -1, -1, -1, -2]
    assert flux.averaged(model, opt)[0].item() == ((0 * 0.5 - 0.5) * 0.5 - 0.5) * 0.5 - 1


def test_the_average_of_asgd():
    model = [np.ones(2)]
    opt = flux.setup(flux.ASGD(0.5, 0.0, t0=0), model)
    np.testing.assert_array_equal(flux.averaged(model, opt), model)
    list(run_down([np.ones(2)], opt, 0))
    for _ in range(3):
        flux.update(opt, model, [np.ones(2)])
    np.testing.assert_array_equal(flux.averaged(model, opt)[0], opt[0].state[0])
    np.testing.assert_array_equal(flux.averaged(model, opt)[0], -0.25)
    np.testing.assert_array_equal(model[0], -0.5)


def network():
    flux.seed(0)
    return flux.f64(flux.Chain(flux.Dense(3, 4), flux.BatchNorm(4), flux.Dense(4, 2)))


def loss(model, x, y):
    return flux.mse(model(x), y)


def batches():
    rng = np.random.default_rng(3)
    return [(rng.normal(size=(8, 3)), rng.normal(size=(8, 2))) for _ in range(7)]


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("last", [(flux.EMA(0.8),), (flux.Lookahead(3),), (flux.Lookahead(2), flux.EMA(0.8))], ids=repr)
def test_trained_evaluated_and_saved(compile, last, tmp_path):  # noqa: A002
    """The copy is a model of its own, with the buffers as they are; training goes on as if it had not been made."""
    rule = Chain(flux.ClipNorm(1.0, over="model"), flux.Adam(flux.schedules.Cosine(0.1, 20)), *last)
    results = []
    for looks in (False, True):
        model = network()
        opt = flux.setup(rule, model)
        path = []

        def look(progress):
            path.append([x.copy() for x in flux.parameters(progress.model)])  # noqa: B023
            if looks:  # noqa: B023
                flux.averaged(progress.model, progress.opt)[0].weight[...] = 100

        flux.train(loss, model, batches(), opt, callbacks=[look], compile=compile)
        results.append(path)
        average = flux.averaged(model, opt)
    for x, y in zip(itertools.chain(*results[0]), itertools.chain(*results[1]), strict=True):
        np.testing.assert_array_equal(x, y)
    if isinstance(last[-1], flux.EMA):
        a = flux.parameters(network())
        for xs in results[0][:7]:
            a = [0.8 * old + 0.2 * x for old, x in zip(a, xs, strict=True)]
    else:
        a = results[0][5]
    for x, y in zip(flux.parameters(average), a, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(average[1].running_mean, model[1].running_mean)
    assert average[1].running_mean is not model[1].running_mean
    flux.save(tmp_path / "average.npz", average)
    fresh = network()
    flux.load(tmp_path / "average.npz", fresh)
    np.testing.assert_array_equal(flux.testmode(fresh)(batches()[0][0]), flux.testmode(average)(batches()[0][0]))


def test_a_tied_parameter_stays_tied():
    w = np.ones((2, 2))
    model = {"in": w, "out": [w]}
    opt = flux.setup(Chain(flux.Descent(1.0), flux.EMA(0.5)), model)
    flux.update(opt, model, {"in": np.ones((2, 2)), "out": [np.ones((2, 2))]})
    average = flux.averaged(model, opt)
    assert average["in"] is average["out"][0]
    assert average["in"] is not model["in"]
    np.testing.assert_array_equal(average["in"], 0.0)


def test_parameters_without_an_average():
    model = start()
    opt = flux.setup(lambda x: flux.Descent() if x.ndim == 1 else Chain(flux.Descent(1.0), flux.EMA(0.5)), model)
    flux.update(opt, model, [np.ones(x.shape) for x in model])
    average = flux.averaged(model, opt)
    np.testing.assert_array_equal(average[1], model[1])
    assert average[1] is not model[1]
    np.testing.assert_allclose(average[0], model[0] + 0.5, rtol=1e-12)


def test_refusals():
    model = start()
    with pytest.raises(ValueError, match=r"averaged: Adam keeps no average of the parameters\. Set up .*flux\.EMA"):
        flux.averaged(model, flux.setup(flux.Adam(), model))
    opt = flux.setup(Chain(flux.Adam(), flux.EMA()), model)
    with pytest.raises(ValueError, match=r"averaged: the parameter .* is not the array that setup prepared"):
        flux.averaged(start(), opt)
    with pytest.raises(TypeError, match="averaged: expected the state"):
        flux.averaged(opt, model)
    for kind in (flux.EMA, flux.Lookahead):
        for rule in (flux.Adam(), flux.Adam):
            with pytest.raises(TypeError, match=rf"{kind.__name__} stands after a rule: flux.OptimiserChain\(rule, "):
                kind(rule)
        with pytest.raises(ValueError, match=f"{kind.__name__} .* can't stand before Adam. Put it last"):
            Chain(flux.ClipGrad(), kind(), Chain(flux.Adam()))
    for k in (0, 2.5, True, lambda t: 2):
        with pytest.raises(ValueError, match="Lookahead: expected k to be an integer, at least 1"):
            flux.Lookahead(k)
    for alpha in (-0.1, 1.5, "1", lambda t: 2.0):
        with pytest.raises(ValueError, match="Lookahead: expected alpha to be a"):
            flux.Lookahead(alpha=alpha)
    for decay in (1.0, -0.1, None, flux.schedules.Constant(1.0)):
        with pytest.raises(ValueError, match="EMA: expected decay to be a"):
            flux.EMA(decay)
