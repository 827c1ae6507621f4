"""Every rule, modifier and schedule of the library, compiled: the same parameters, state and numbers as eager."""

import contextlib

import numpy as np
import pytest

import tinyflux as flux
from tests.support.training_cases import assert_same, eager, mse
from tinyflux.compile.backends.c.build import available
from tinyflux.optimise import MODIFIERS, RULES, schedules

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

Chain = flux.OptimiserChain
DATA = tuple(np.random.default_rng(0).normal(size=(64, n)) for n in (5, 2))
ORDER = np.random.default_rng(1).integers(64, size=(30, 8))
FORMS = [
    flux.Momentum(form="torch"),
    flux.RMSProp(centred=True),
    flux.AdaGrad(initial=0.1),
    flux.AdamW(couple=False),
    flux.NAdam(psi=4e-3),
    flux.AMSGrad(form="torch"),
    flux.AMSGrad(form="optax"),
    flux.Padam(form="code"),
    flux.ASGD(t0=5),
    flux.Muon(lambda_=0.1, form="match_rms_adamw", others=flux.Momentum()),
]
MODIFIED = [
    Chain(flux.ClipGrad(0.1), flux.WeightDecay(0.01), flux.Adam(0.01)),
    Chain(flux.SignDecay(0.1), flux.Maximize(), flux.Descent(0.01)),
    Chain(flux.ClipNorm(0.1), flux.Adam(0.01)),
    Chain(flux.ClipNorm(0.3, over="model"), flux.Momentum(0.01)),
    Chain(flux.ClipNorm(0.3, over="model"), flux.Muon(schedules.Cosine(0.1, 20), others=flux.Adam())),
    Chain(flux.Adam(schedules.Cosine(0.1, 20)), flux.Lookahead(4, 0.25), flux.EMA(0.9)),
    Chain(flux.ClipNorm(0.1), flux.Muon(), flux.Lookahead(k=3), flux.EMA(schedules.Exponential(0.9, 0.99))),
    Chain(flux.WeightDecay(0.1), flux.YellowFin(eta=schedules.Warmup(1.0, 20))),
    Chain(flux.AccumGrad(4), flux.Adam(schedules.Cosine(0.1, 20))),
]
SCHEDULES = [
    schedules.Constant(0.1),
    schedules.Step(0.1, 10),
    schedules.MultiStep(0.1, (3, 7)),
    schedules.Exponential(0.1, 0.99),
    schedules.InverseTime(0.1, 0.1),
    schedules.Polynomial(0.1, 20, 2),
    schedules.Cosine(0.1, 20),
    schedules.CosineRestarts(0.1, 5),
    schedules.CosineRestarts(0.1, 4, factor=2),
    schedules.Warmup(0.1, 10),
    schedules.OneCycle(0.1, 20),
    schedules.Demon(0.9, 20),
    schedules.Sequence((schedules.Warmup(0.1, 5), schedules.Cosine(0.1, 20)), (5,)),
    pytest.param(lambda t: 0.1 / (1 + t), id="a function"),
]
DEMON = [
    flux.Adam(beta=(schedules.Demon(0.9, 20), 0.999)),
    Chain(flux.ClipGrad(1.0), flux.Momentum(schedules.Step(0.1, 10), rho=schedules.Demon(0.9, 20))),
]


def prepared(rule, dtype):
    flux.seed(0)
    model = flux.Chain(flux.Dense(5, 7, flux.tanh), flux.Dense(7, 2))
    model = flux.f64(model) if dtype == np.float64 else model
    return model, flux.setup(rule, model)


def both(rule, dtype):
    """A model, and its optimiser's state, after the iterations of ORDER, compiled and eager."""
    data = tuple(x.astype(dtype) for x in DATA)
    compiled, plain = prepared(rule, dtype), prepared(rule, dtype)
    flux.compile_training(mse, *compiled, 8)(data, ORDER)
    eager(mse, *plain, data, ORDER)
    return compiled, plain


COMPILED = [kind for kind in RULES if kind is not flux.SOAP]


@pytest.mark.parametrize("rule", [*(kind() for kind in COMPILED), *FORMS, *MODIFIED, *DEMON], ids=repr)
def test_rules(rule):
    assert_same(*both(rule, np.float64), rtol=1e-11)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_schedules(schedule):
    compiled, plain = both(flux.Descent(eta=schedule), np.float64)
    assert_same(compiled, plain)
    assert compiled[1][0].weight.numbers == (30,)


@pytest.mark.parametrize("rule", [flux.Adam(schedules.Cosine(0.01, 20)), flux.RAdam(), *MODIFIED], ids=repr)
def test_single_precision_stays(rule):
    (model, opt), (expected, _) = both(rule, np.float32)
    for got, want in zip(flux.leaves(model), flux.leaves(expected), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)  # 30 steps, each rounded in another order
    assert all(a.dtype == np.float32 for leaf in opt._leaves for a in leaf.state if isinstance(a, np.ndarray))


def test_all_modifiers_are_here():
    assert set(MODIFIERS) == {Chain} | {type(part) for rule in MODIFIED for part in rule.rules} - set(RULES)


def test_a_norm_over_many_rows():
    """Batches large enough to be run in blocks of rows: the norm is that of the whole gradient."""
    data = tuple(np.random.default_rng(0).normal(size=(1000, n)) for n in (5, 2))
    results = []
    for step in (True, False):
        model, opt = prepared(Chain(flux.ClipNorm(0.1), flux.Descent(1.0)), np.float64)
        before = [x.copy() for x in flux.leaves(model)]
        if step:
            flux.compile_training(mse, model, opt, 1000)(data, range(1000))
        else:
            flux.update(opt, model, flux.gradient(lambda m: mse(m, *data), model))
        results.append([x - y for x, y in zip(flux.leaves(model), before)])
    for got, want in zip(*results):
        np.testing.assert_allclose(got, want, rtol=1e-10)
    assert any(abs(np.linalg.norm(moved) - 0.1) < 1e-12 for moved in results[0])


@pytest.mark.parametrize("over", ["array", "model"])
@pytest.mark.parametrize("rows", [8, 600])
@pytest.mark.parametrize("how", ["step", "train", "plain"])
def test_a_norm_that_is_not_finite(over, rows, how):
    """As without a compiler: an error, before anything is changed, in the last iteration too. The losses are finite."""

    def loss(m, x, scale):
        return np.mean(m(x) * scale)

    rng = np.random.default_rng(0)
    data = rng.normal(size=(3 * rows, 5)), np.repeat([1.0, 1.0, 1e200], rows)[:, None]
    ends = []
    for samples in (2 * rows, 3 * rows):
        model, opt = prepared(Chain(flux.ClipNorm(1.0, over), flux.Adam(0.1)), np.float64)
        batches = flux.DataLoader(tuple(x[:samples] for x in data), rows)
        refused = pytest.raises(flux.NonFiniteNorm, match=r"norm of the gradient is .*inf.*; no parameter was changed")
        with np.errstate(over="ignore"), refused if samples > 2 * rows else contextlib.nullcontext():
            if how == "step":
                flux.compile_training(loss, model, opt, rows)(data, np.arange(samples))
            else:
                flux.train(loss, model, batches, opt, compile=how == "train")
        ends.append([*flux.leaves(model), *opt.layers[0].weight.state])
    for before, after in zip(*ends, strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_schedule_that_branches_is_refused():
    model, opt = prepared(flux.Descent(eta=lambda t: 0.1 if t < 10 else 0.01), np.float64)
    with pytest.raises(flux.NotCompilable, match=r"Write it with np\.where"):
        flux.compile_training(mse, model, opt, 8)(DATA, ORDER)


def test_another_schedule_is_another_program():
    model, opt = prepared(flux.Descent(eta=lambda t: 0.0 * t), np.float64)
    step = flux.compile_training(mse, model, opt, 8)
    step(DATA, ORDER)
    before = [x.copy() for x in flux.leaves(model)]
    flux.adjust(opt, eta=lambda t: 0.1 + 0.0 * t)
    step(DATA, ORDER[:1])
    assert all(np.any(x != y) for x, y in zip(flux.leaves(model), before))


@pytest.mark.parametrize("compiled", [True, False])
def test_the_norm_of_the_model_stays_that_after_a_thaw(compiled):
    """The powers of beta are others then, but the norm is still that of all gradients, 5."""
    model = [np.zeros((1, 1)), np.zeros((1, 1))]
    opt = flux.setup(Chain(flux.ClipNorm(schedules.Constant(1.0), over="model"), flux.Adam(1e-9)), model)

    def loss(m, x):
        return np.sum(3 * m[0] * x) + np.sum(4 * m[1] * x)

    step = flux.compile_training(loss, model, opt)

    def stepped(x):
        if compiled:
            step(np.full((1, 1), x), [0])
        else:
            flux.update(opt, model, flux.gradient(lambda m: loss(m, x), model))

    flux.freeze(opt[0])
    stepped(0.0)
    flux.thaw(opt[0])
    stepped(1.0)
    assert opt[0].numbers != opt[1].numbers
    np.testing.assert_allclose([opt[0].state[0].item(), opt[1].state[0].item()], [0.06, 0.08], rtol=1e-12)


def test_a_scheduled_norm():
    rule = Chain(flux.ClipNorm(schedules.Exponential(0.5, 0.9), over="model"), flux.Momentum(schedules.Warmup(0.1, 9)))
    assert_same(*both(rule, np.float64), rtol=1e-11)


def test_the_rate_of_asgd_stays_a_fraction():
    """An integer given as eta doesn't make an integer of the falling rate."""
    (_, opt), (_, plain) = both(flux.ASGD(eta=1, lambda_=0.01), np.float64)
    assert opt[0].weight.numbers == pytest.approx(plain[0].weight.numbers, rel=1e-9)
    assert 0 < opt[0].weight.numbers[1] < 1


def test_a_schedule_that_is_adjusted_is_watched():
    rate = 0.1
    model, opt = prepared(flux.Descent(0.1), np.float64)
    step = flux.compile_training(mse, model, opt, 8)
    flux.adjust(opt, eta=lambda t: rate + 0.0 * t)
    step(DATA, ORDER)
    rate, before = 0.0, [x.copy() for x in flux.leaves(model)]
    step(DATA, ORDER)
    assert all(np.array_equal(x, y) for x, y in zip(flux.leaves(model), before))


def test_a_rule_of_ones_own_that_sees_whole_arrays():
    """It is given each array in its shape, compiled as by update."""

    class Normalised(flux.Descent):
        whole = "array"

        def apply(self, state, x, g):
            return state, self.eta * g / np.sqrt(1 + np.sum(g * g, axis=0))

    assert_same(*both(Normalised(0.1), np.float64))
