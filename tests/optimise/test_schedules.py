"""The schedules against their formulas, and in the place of hyperparameters."""

import dataclasses
import json
import math

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.optimise.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Demon,
    Exponential,
    InverseTime,
    MultiStep,
    OneCycle,
    Polynomial,
    Sequence,
    Step,
    Warmup,
)


def cosine(start, stop, share):
    """From start to stop along half a cosine, `share` of the way gone."""
    return stop + (start - stop) * (1 + math.cos(math.pi * share)) / 2


def restarts(start, stop, over, factor, t):
    """Turn by turn, each `factor` times as long as the one before."""
    while t >= over:
        t, over = t - over, over * factor
    return cosine(start, stop, t / over)


def one_cycle(peak, over, rise, divide, final, t):
    """Two half cosines: up during the share `rise` of the way, then down."""
    top = rise * over
    if t < top:
        return cosine(peak / divide, peak, t / top)
    return cosine(peak, peak / divide / final, min(1, (t - top) / (over - top)))


FORMULAS = [
    (Constant(0.3), lambda t: 0.3),
    (Step(0.8, 5), lambda t: 0.8 * 0.1 ** math.floor(t / 5)),
    (Step(0.8, 7, 0.5), lambda t: 0.8 / 2 ** math.floor(t / 7)),
    (MultiStep(0.8, (4, 6, 20)), lambda t: 0.8 * 0.1 ** sum(m <= t for m in (4, 6, 20))),
    (MultiStep(0.8, (4, 6, 20), 0.5), lambda t: 0.8 / 2 ** sum(m <= t for m in (4, 6, 20))),
    (MultiStep(0.8, ()), lambda t: 0.8),
    (Exponential(0.8, 0.9), lambda t: 0.8 * math.exp(t * math.log(0.9))),
    (InverseTime(0.8, 0.25), lambda t: 0.8 / (1 + t / 4)),
    (Polynomial(0.8, 10), lambda t: 0.8 * (10 - t) / 10 if t < 10 else 0.0),
    (Polynomial(0.8, 10, 2.5, 0.1), lambda t: 0.1 + 0.7 * (1 - t / 10) ** 2.5 if t < 10 else 0.1),
    (Polynomial(0.1, 10, stop=0.5), lambda t: 0.1 + 0.4 * min(t, 10) / 10),
    (Cosine(0.8, 10), lambda t: cosine(0.8, 0.0, min(t, 10) / 10)),
    (Cosine(0.8, 10, 0.1), lambda t: cosine(0.8, 0.1, min(t, 10) / 10)),
    (CosineRestarts(0.8, 7), lambda t: cosine(0.8, 0.0, t % 7 / 7)),
    (CosineRestarts(0.8, 7, stop=0.1), lambda t: restarts(0.8, 0.1, 7, 1, t)),
    (CosineRestarts(0.8, 3, 2, 0.1), lambda t: restarts(0.8, 0.1, 3, 2, t)),
    (CosineRestarts(0.8, 1, 3), lambda t: restarts(0.8, 0.0, 1, 3, t)),
    (Warmup(0.8, 10), lambda t: 0.8 * (t + 1) / 10 if t < 10 else 0.8),
    (Warmup(0.8, 1), lambda t: 0.8),
    (OneCycle(0.8, 20), lambda t: one_cycle(0.8, 20, 0.3, 25, 1e4, t)),
    (OneCycle(0.8, 20, 0.5, 10, 100), lambda t: one_cycle(0.8, 20, 0.5, 10, 100, t)),
    (Demon(0.9, 20), lambda t: 0.9 * (1 - t / 20) / (0.1 + 0.9 * (1 - t / 20)) if t < 20 else 0.0),
    (Demon(0.0, 20), lambda t: 0.0),
    (Sequence((Constant(0.3),), ()), lambda t: 0.3),
    # two steps before its start, the second one's formula has a pole
    (Sequence((Constant(0.3), InverseTime(0.8, 0.5)), (4,)), lambda t: 0.3 if t < 4 else 0.8 / (1 + (t - 4) / 2)),
    (
        Sequence((Warmup(0.8, 4), Constant(0.8), Cosine(0.8, 10)), (4, 3)),
        lambda t: 0.2 * (t + 1) if t < 4 else 0.8 if t < 7 else cosine(0.8, 0, min(t - 7, 10) / 10),
    ),
]
SCHEDULES = pytest.mark.parametrize("schedule", [schedule for schedule, _ in FORMULAS], ids=repr)


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=[repr(schedule) for schedule, _ in FORMULAS])
def test_formula(schedule, formula):
    for t in range(40):
        np.testing.assert_allclose(schedule(t), formula(t), rtol=1e-12, atol=1e-15, err_msg=f"step {t}")


@pytest.mark.parametrize(("over", "factor"), [(1, 2), (7, 2), (10, 3), (50, 2), (3, 10), (1, 1)])
def test_restarts_come_at_their_steps(over, factor):
    """Also late, where logarithms would be a little off: the value is the start there, and nearly the stop before."""
    schedule, at, length = CosineRestarts(1.0, over, factor), 0, over
    while at < 10**7 and at / over < 100 * factor**6:
        np.testing.assert_allclose(schedule(at), 1.0, rtol=1e-12)
        np.testing.assert_allclose(schedule(at + length - 1), cosine(1, 0, 1 - 1 / length), rtol=1e-6)
        at, length = at + length, length * factor


@SCHEDULES
def test_values_are_plain_numbers(schedule):
    """NumPy's would turn a float32 array into float64, and warn of nothing."""
    assert all(type(schedule(t)) is float for t in (0, 1, 5, 10**6))


@SCHEDULES
def test_records(schedule):
    """Equal schedules compare equal, can be kept in a set, and can't be changed."""
    same = type(schedule)(**{field.name: getattr(schedule, field.name) for field in dataclasses.fields(schedule)})
    assert same == schedule
    assert len({same, schedule}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.start = 1


def test_every_schedule_is_tested():
    exported = {x for x in vars(flux.schedules).values() if isinstance(x, type) and x.__module__.endswith("schedules")}
    public = {x for x in exported if not hasattr(x, "apply")} - {flux.schedules.Schedule}
    assert public == {type(schedule) for schedule, _ in FORMULAS}


@pytest.mark.parametrize(("schedules", "steps"), [((Constant(1.0),), (3,)), ((), ()), ((Constant(1.0),) * 3, (3,))])
def test_a_sequence_needs_a_last_schedule(schedules, steps):
    with pytest.raises(ValueError, match="Sequence: expected one schedule more than steps"):
        Sequence(schedules, steps)


# In the place of hyperparameters


def test_the_first_step_is_number_0():
    model = [np.zeros(1)]
    opt = flux.setup(flux.Descent(lambda t: 10.0**t), model)
    for expected in (-1, -11, -111):
        flux.update(opt, model, [np.ones(1)])
        np.testing.assert_array_equal(model[0], expected)


@pytest.mark.parametrize(
    ("scheduled", "fixed"),
    [
        (lambda s: flux.Descent(s), lambda x: flux.Descent(x)),
        (lambda s: flux.Momentum(0.1, rho=s), lambda x: flux.Momentum(0.1, rho=x)),
        (lambda s: flux.RMSProp(0.1, epsilon=s), lambda x: flux.RMSProp(0.1, epsilon=x)),
        (lambda s: flux.Padam(0.1, p=s), lambda x: flux.Padam(0.1, p=x)),
        (lambda s: flux.AdamW(0.1, lambda_=s), lambda x: flux.AdamW(0.1, lambda_=x)),
        (lambda s: flux.QHAdam(0.1, nu=(s, 1.0)), lambda x: flux.QHAdam(0.1, nu=(x, 1.0))),
        (lambda s: flux.AggMo(0.1, (0.0, s)), lambda x: flux.AggMo(0.1, (0.0, x))),
        (lambda s: flux.Lion(0.1, (s, 0.9)), lambda x: flux.Lion(0.1, (x, 0.9))),
        (lambda s: flux.YellowFin(s), lambda x: flux.YellowFin(x)),
        (
            lambda s: flux.OptimiserChain(flux.WeightDecay(s), flux.Momentum(0.1)),
            lambda x: flux.OptimiserChain(flux.WeightDecay(x), flux.Momentum(0.1)),
        ),
        (
            lambda s: flux.OptimiserChain(flux.ClipNorm(s), flux.Adam(0.1)),
            lambda x: flux.OptimiserChain(flux.ClipNorm(x), flux.Adam(0.1)),
        ),
    ],
)
def test_any_hyperparameter(scheduled, fixed):
    """A step of the scheduled rule is one of the rule with the number of that step."""
    schedule = Polynomial(0.5, 10, stop=0.25)
    rng = np.random.default_rng(6)
    model = [rng.normal(size=3)]
    opt = flux.setup(scheduled(schedule), model)
    x, state = model[0].copy(), fixed(0.5).init(model[0])
    for t in range(12):
        g = rng.normal(size=3)
        flux.update(opt, model, [g])
        state, delta = fixed(0.5 - 0.025 * min(t, 10)).apply(state, x, g)
        x = x - delta
        np.testing.assert_allclose(model[0], x, rtol=1e-12)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "AdaMax", "NAdam", "RAdam", "OAdam", "AdaBelief", "QHAdam"])
def test_bias_correction_of_a_scheduled_beta(name):
    """The first step is as with a constant: with a β₁ that begins at 0, the average is the gradient."""
    schedule = MultiStep(0.8, (1,), 0.5)
    rule, constant = getattr(flux, name)(0.1, beta=(schedule, 0.9)), getattr(flux, name)(0.1, beta=(0.8, 0.9))
    g = np.array([3.0, -0.1])
    for got, expected in zip(one_step(rule, g), one_step(constant, g), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def one_step(rule, g):
    model = [np.zeros(2)]
    flux.update(flux.setup(rule, model), model, [g])
    return model


def test_equal_gradients_of_adam_make_steps_of_eta():
    """Whatever β₁ does: a weighted mean of equal gradients is that gradient, if the weights are corrected rightly."""
    model = [np.zeros(2)]
    opt = flux.setup(flux.Adam(0.1, (Demon(0.9, 10), 0.999), epsilon=0.0), model)
    for t in range(12):
        flux.update(opt, model, [np.array([3.0, -0.5])])
        np.testing.assert_allclose(model[0], np.array([-0.1, 0.1]) * (t + 1), rtol=1e-12)


def test_float32_stays():
    model = [np.ones(3, np.float32)]
    opt = flux.setup(flux.Adam(OneCycle(0.1, 10), (Demon(0.9, 10), 0.999)), model)
    for _ in range(12):
        flux.update(opt, model, [np.ones(3, np.float32)])
    assert model[0].dtype == np.float32
    json.dumps([s for s in opt[0].state if not isinstance(s, np.ndarray)])  # numbers that a file can hold


def test_numbers_of_numpy_leave_float32():
    """They would make it float64 on the way, and some of many numbers would be rounded otherwise."""
    rng = np.random.default_rng(8)
    start, g = rng.normal(size=(2, 1000)).astype(np.float32)
    models = [[start.copy()], [start.copy()]]
    rules = [flux.Adam(lambda t: np.float64(0.1), (lambda t: np.array(0.6), 0.9)), flux.Adam(0.1, (0.6, 0.9))]
    for model, rule in zip(models, rules, strict=True):
        opt = flux.setup(rule, model)
        for _ in range(3):
            flux.update(opt, model, [g])
    np.testing.assert_array_equal(*models)


def test_the_state_begins_as_at_step_0():
    model = [np.ones(1)]
    np.testing.assert_array_equal(flux.setup(flux.AdaGrad(epsilon=lambda t: 1.0 + t), model)[0].state[0], 1)


def test_gathered_gradients_make_no_step():
    model = [np.zeros(1)]
    opt = flux.setup(flux.OptimiserChain(flux.AccumGrad(3), flux.Descent(lambda t: 10.0**t)), model)
    for expected in (0, 0, -1, -1, -1, -11):
        flux.update(opt, model, [np.ones(1)])
        np.testing.assert_allclose(model[0], expected, rtol=1e-15)


def test_a_parameter_that_waits_counts_its_own_steps():
    model = [np.zeros(1), np.zeros(1)]
    opt = flux.setup(flux.Descent(lambda t: 10.0**t), model)
    flux.update(opt, model, [np.ones(1), None])
    flux.freeze(opt[0])
    flux.update(opt, model, [np.ones(1), np.ones(1)])
    flux.thaw(opt[0])
    flux.update(opt, model, [np.ones(1), np.ones(1)])
    np.testing.assert_array_equal(model, [[-11], [-11]])


def test_adjust_to_a_schedule_and_back():
    model = [np.zeros(1)]
    opt = flux.setup(flux.Descent(Constant(1.0)), model)
    flux.update(opt, model, [np.ones(1)])
    flux.adjust(opt, eta=lambda t: 10.0**t)
    flux.update(opt, model, [np.ones(1)])
    np.testing.assert_array_equal(model[0], [-11])
    flux.adjust(opt, eta=2.0)
    flux.update(opt, model, [np.ones(1)])
    np.testing.assert_array_equal(model[0], [-13])


def test_adjust_from_a_scheduled_norm_to_a_number_and_back():
    """Behind gathered gradients a scheduled norm is taken of one parameter at a time, and a number of all."""
    model = [np.zeros(1), np.zeros((1, 1))]
    chain = flux.OptimiserChain(flux.ClipNorm(Constant(2.0)), flux.AccumGrad(2), flux.Descent(1.0))
    opt = flux.setup(chain, model)
    for omega in (2.0, 3.0, Constant(4.0)):
        flux.adjust(opt, omega=omega)
        for _ in range(2):
            flux.update(opt, model, [np.full(1, 8.0), np.full((1, 1), 8.0)])
    np.testing.assert_allclose([x.item() for x in model], [-9, -9], rtol=1e-15)


def test_a_function_is_not_saved_but_goes_on(tmp_path):
    """A file can't hold it: the given state's is taken, at the step of the file."""
    model = [np.zeros(1)]
    opt = flux.setup(flux.Descent(lambda t: 10.0**t), model)
    flux.update(opt, model, [np.ones(1)])
    flux.save(tmp_path / "a.npz", model, opt)
    other = [np.zeros(1)]
    fresh = flux.setup(flux.Descent(lambda t: 20.0**t), other)
    flux.load(tmp_path / "a.npz", other, fresh)
    flux.update(fresh, other, [np.ones(1)])
    np.testing.assert_array_equal(other[0], [-21])


@dataclasses.dataclass(frozen=True)
class Sawtooth(flux.schedules.Schedule):
    """A schedule of a user's, with a setting that is part of the program."""

    high: float
    every: int

    def __call__(self, t):
        return self.high * (1 - t % self.every / self.every)


@dataclasses.dataclass(frozen=True)
class Plain:
    """A rule of a user's."""

    eta: float

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        return (), self.eta * g


def trained(rule, compile):  # noqa: A002
    """The only parameter after 7 steps, each of which takes away the rate."""
    model = [np.zeros(1)]
    flux.train(lambda m, x: np.sum(m[0] * x), model, [np.ones(1)] * 7, flux.setup(rule, model), compile=compile)
    return -model[0][0]


@pytest.mark.parametrize("rule", [flux.Descent, Plain])
@pytest.mark.parametrize("compile", [False, True])
def test_a_schedule_of_ones_own_works_in_every_rule(rule, compile):  # noqa: A002
    rates = [0.3, 0.2, 0.1, 0.3, 0.2, 0.1, 0.3]
    np.testing.assert_allclose(trained(rule(Sawtooth(0.3, 3)), compile), sum(rates), rtol=1e-12)


def test_a_schedule_of_ones_own_is_saved(tmp_path):
    model, path = [np.zeros(1)], tmp_path / "state.npz"
    flux.save(path, model, flux.setup(flux.Descent(Sawtooth(0.3, 3)), model))
    opt = flux.setup(flux.Descent(Sawtooth(0.5, 4)), model)
    flux.load(path, model, opt)
    assert opt[0].rule.eta == Sawtooth(0.3, 3)


@pytest.mark.parametrize("compile", [False, True])
def test_a_function_with_minimum_is_compiled(compile):  # noqa: A002
    rates = [min(1, (t + 1) / 5) for t in range(7)]
    rule = flux.Descent(lambda t: np.minimum(1.0, (t + 1) / 5))
    np.testing.assert_allclose(trained(rule, compile), sum(rates), rtol=1e-12)


def test_the_rate_of_the_next_step_can_be_asked_for():
    model = [np.zeros(1)]
    opt = flux.setup(flux.OptimiserChain(flux.ClipGrad(9.0), flux.Momentum(Sawtooth(0.3, 3))), model)
    for _ in range(4):
        flux.update(opt, model, [np.ones(1)])
    velocity, steps = opt[0].state
    assert velocity.shape == (1,)
    assert opt[0].rule.rules[1].eta(steps) == pytest.approx(0.2)
