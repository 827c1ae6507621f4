"""The rules: against recorded paths, formulas worked out by hand and each other; and what they are made with."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from tests.support.clone import CLONE
from tinyflux.optimise import RULES

REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text())
EXPRESSIONS = list(REFERENCE["cases"][0]["paths"])
CASE = pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: case["name"])


def make(expression):
    """The rule that the expression, the name of a recorded path, stands for."""
    return eval(expression, dict(vars(flux)))


def steps(rule, arrays, gradients, halved=None):
    """The arrays as one row after every step, through setup, update and adjust; η is halved before step `halved`."""
    model = [x.copy() for x in arrays]
    opt = flux.setup(rule, model)
    for t, g in enumerate(gradients):
        if t == halved:
            flux.adjust(opt, eta=eta_of(rule) / 2)
        flux.update(opt, model, g)
        yield np.concatenate([x.ravel() for x in model])


def eta_of(rule):
    """The η of a rule, or of the last rule of a chain."""
    return rule.rules[-1].eta if isinstance(rule, flux.OptimiserChain) else rule.eta


def halved_in(expression):
    """The step at which η was halved; AdaDelta has none."""
    return None if expression.startswith("AdaDelta") else REFERENCE["halved"]


# The recorded table


@pytest.mark.parametrize("expression", EXPRESSIONS)
@CASE
def test_agrees_with_the_reference(expression, case):
    shape = case["shape"]
    start = np.array(case["start"]).reshape(shape)
    gradients = [[np.array(g).reshape(shape)] for g in case["gradients"]]
    got = list(steps(make(expression), [start], gradients, halved_in(expression)))
    np.testing.assert_allclose(got, case["paths"][expression], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_agrees_with_the_reference_in_two_arrays(expression):
    """The same numbers as two parameters of a model; YellowFin measures all of them together."""
    case = REFERENCE["cases"][-1]
    parts = [slice(0, 2), slice(2, 6)]
    start = [np.array(case["start"])[part] for part in parts]
    gradients = [[np.array(g)[part] for part in parts] for g in case["gradients"]]
    got = list(steps(make(expression), start, gradients, halved_in(expression)))
    np.testing.assert_allclose(got, case["paths"][expression], rtol=1e-12, atol=1e-14)


@CASE
def test_the_average_of_asgd(case):
    for expression, averages in case["averages"].items():
        model = [np.array(case["start"])]
        opt = flux.setup(make(expression), model)
        for t, (g, average) in enumerate(zip(case["gradients"], averages, strict=True)):
            if t == REFERENCE["halved"]:
                flux.adjust(opt, eta=make(expression).eta / 2)
            flux.update(opt, model, [np.array(g)])
            np.testing.assert_allclose(opt[0].state[0], average, rtol=1e-12, atol=1e-14)


def test_the_recorded_table_has_its_pitfalls():
    case = next(case for case in REFERENCE["cases"] if case["name"] == "vector")
    table = np.array(case["gradients"])
    assert len(table) >= 12
    assert np.abs(table[4]).max() > 20 * np.abs(np.delete(table, 4, 0)).max()
    assert np.abs(table[:, 0]).max() < 1e-4
    assert np.all(table[:, 2] == 0)
    assert np.all(table[:3, 4] == 0)
    assert np.all(table[3:, 4] != 0)
    one = next(case for case in REFERENCE["cases"] if case["name"] == "one")
    assert one["gradients"][6] == [0.0]  # a step without any gradient
    assert {"Adam()", "RMSProp(centred=True)", "NAdam(eta=0.002, psi=0.004)"} <= set(REFERENCE["from torch"])


# Formulas by hand


def test_epsilon_stands_outside_the_corrected_root():
    """The first step is η·g/(|g| + ε) to the last digits; with ε elsewhere it differs by a multiple of ε."""
    rule = flux.Adam(1.0, (0.9, 0.999), 1e-3)
    for g in (1e-3, 1e-6, 2.0):
        _, delta = rule.apply(rule.init(np.zeros(1)), np.zeros(1), np.array([g]))
        np.testing.assert_allclose(delta, g / (g + 1e-3), rtol=1e-13)


def test_adam_by_hand():
    """The formula written out with sums over all past gradients: no recursion, no powers carried along."""
    beta1, beta2, eta, epsilon = 0.8, 0.95, 0.02, 1e-4
    gradients = [1.0, -3.0, 0.5, 0.0, 20.0, 1e-6, -2.0]
    rule = flux.Adam(eta, (beta1, beta2), epsilon)
    x, state = np.array(0.0), rule.init(np.array(0.0))
    expected = 0.0
    for t in range(1, len(gradients) + 1):
        state, delta = rule.apply(state, x, np.array(gradients[t - 1]))
        x = x - delta
        past = list(enumerate(gradients[:t], 1))
        m = sum((1 - beta1) * beta1 ** (t - i) * g for i, g in past) / (1 - beta1**t)
        v = sum((1 - beta2) * beta2 ** (t - i) * g * g for i, g in past) / (1 - beta2**t)
        expected -= eta * m / (math.sqrt(v) + epsilon)
        np.testing.assert_allclose(x, expected, rtol=1e-13)


def test_descent_by_hand():
    np.testing.assert_array_equal(flux.Descent(0.25).apply((), np.ones(3), np.array([4.0, -8.0, 0.0]))[1], [1, -2, 0])


def test_bias_correction_at_the_first_step():
    """Without the corrections the step would be 0.1/√0.001 ≈ 3.2 times η."""
    model = [np.zeros(3)]
    flux.update(flux.setup(flux.Adam(0.5), model), model, [np.array([1.0, -7.0, 100.0])])
    np.testing.assert_allclose(model[0], [-0.5, 0.5, -0.5], rtol=1e-7)


def test_yellowfin_takes_newton_steps_first():
    """The first step is g/‖g‖², whatever g."""
    for g in ([3.0, 4.0], [-3e-5, 4e-5], [1e20, 0.0]):
        (row,) = steps(flux.YellowFin(), [np.zeros(2)], [[np.array(g)]])
        np.testing.assert_allclose(row, -np.array(g) / np.dot(g, g), rtol=1e-12)


def test_yellowfin_with_a_wide_range_of_curvatures():
    """Equal gradients but for one, 100 times as long: of no variance, μ and α come from the range of h, 1 to 10⁴."""
    gradients = [[np.array([100.0 if t == 9 else 1.0, 0.0])] for t in range(90)]
    path = np.array(list(steps(flux.YellowFin(0.5, beta=0.5, window=100), [np.zeros(2)], gradients)))[:, 0]
    mu, alpha = ((100 - 1) / (100 + 1)) ** 2, (2 / 101) ** 2
    moves = -np.diff(path)
    np.testing.assert_allclose(moves[-9:], mu * moves[-10:-1] + 0.5 * alpha, rtol=1e-12)


def test_yellowfin_forgets_what_is_outside_the_window():
    """The same, but the long one is past: μ is 0, and α is 1/h."""
    gradients = [[np.array([100.0 if t == 9 else 1.0, 0.0])] for t in range(90)]
    path = np.array(list(steps(flux.YellowFin(0.5, beta=0.5, window=20), [np.zeros(2)], gradients)))[:, 0]
    np.testing.assert_allclose(-np.diff(path)[-9:], 0.5, rtol=1e-12)


# Identities: rules that become others

IDENTITIES = [
    (flux.Momentum(0.1, 0.0), flux.Descent(0.1)),
    (flux.Momentum(0.1, 0.0, form="torch"), flux.Descent(0.1)),
    (flux.Momentum(0.1, flux.schedules.Demon(0.0, 20)), flux.Descent(0.1)),
    (flux.Nesterov(0.1, 0.0), flux.Descent(0.1)),
    (flux.QHM(0.1, nu=0.0), flux.Descent(0.1)),
    (flux.AggMo(0.1, (0.0,)), flux.Descent(0.1)),
    (flux.AggMo(0.1, (0.7,)), flux.Momentum(0.1, 0.7, form="torch")),
    (flux.QHM(0.1, nu=1.0, beta=0.8), flux.Momentum(0.1 * (1 - 0.8), 0.8, form="torch")),
    (flux.QHM(0.5, nu=0.8, beta=0.8), flux.Nesterov(0.5 * (1 - 0.8), 0.8)),
    (flux.QHAdam(0.1, (1.0, 1.0), (0.6, 0.8), 1e-3), flux.Adam(0.1, (0.6, 0.8), 1e-3)),
    (flux.AdamW(0.1, (0.6, 0.8), 0.0, 1e-3), flux.Adam(0.1, (0.6, 0.8), 1e-3)),
    (flux.AdamW(0.1, (0.6, 0.8), 0.0, 1e-3, couple=False), flux.Adam(0.1, (0.6, 0.8), 1e-3)),
    (flux.AdamW(0.1, lambda_=0.3), flux.AdamW(0.1, lambda_=0.03, couple=False)),
    (flux.AMSGrad(0.1, (0.0, 0.0), 1e-3, "torch"), flux.AMSGrad(0.1, (0.0, 0.0), 1e-3, "optax")),
    (flux.Padam(0.1, (0.6, 0.8), 0.0, 0.5, "code"), flux.AMSGrad(0.1, (0.6, 0.8), 0.0, "torch")),
    (flux.Padam(0.1, (0.6, 0.8), 0.0, 0.5, "paper"), flux.AMSGrad(0.1, (0.6, 0.8), 0.0, "flux")),
    (flux.Padam(0.1, (0.6, 0.8), 0.0, 0.2, "paper"), flux.Padam(0.1, (0.6, 0.8), 0.7, 0.2, "paper")),
    (flux.RAdam(0.1, (0.0, 0.5)), flux.Descent(0.1)),
    (flux.OptimiserChain(flux.Descent(0.1)), flux.Descent(0.1)),
]


@pytest.mark.parametrize(("rule", "other"), IDENTITIES)
def test_identities(rule, other):
    rng = np.random.default_rng(4)
    start = [rng.normal(size=(2, 3)), rng.normal(size=4)]
    gradients = [[rng.normal(size=x.shape) * (50 if t == 4 else 1) for x in start] for t in range(16)]
    for got, expected in zip(steps(rule, start, gradients), steps(other, start, gradients), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


# Names and hyperparameters


def test_documented_exported_and_tested_are_the_same():
    names = {rule.__name__ for rule in RULES}
    page = (CLONE / "docs/understand/optimisers.md").read_text(encoding="utf-8")
    table = page.split("<!-- rules -->")[1].split("<!-- /rules -->")[0]
    assert set(re.findall(r"^\| \[`(\w+)", table, re.MULTILINE)) == names
    modules = {f"tinyflux.optimise.{name}" for name in ("momentum", "adaptive", "adam", "muon", "soap")}
    exported = {x.__name__ for x in vars(flux).values() if isinstance(x, type) and x.__module__ in modules}
    assert exported == names
    recorded = [*EXPRESSIONS, *REFERENCE["muon"][0]["paths"]]
    transcribed = {"SOAP"}  # see test_soap
    assert {expression.split("(")[0] for expression in recorded} - {"OptimiserChain"} | transcribed == names
    assert all(getattr(flux, rule.__name__) is rule for rule in RULES)
    assert len(RULES) == len(names)


@pytest.mark.parametrize("rule", RULES)
def test_hyperparameters_and_defaults(rule):
    """Names, order and values, and that they are given by position as well."""
    known = {name: field.default for name, field in rule.__dataclass_fields__.items()}
    recorded = {
        name: tuple(x) if isinstance(x, list) else make(x) if name == "others" else x
        for name, x in REFERENCE["defaults"][rule.__name__].items()
    }
    assert list(known.items()) == list(recorded.items())
    assert rule(*known.values()) == rule()


def test_adam_is_also_called_ADAM():
    assert flux.ADAM is flux.Adam
    assert flux.Adam() == flux.Adam(eta=0.001, beta=(0.9, 0.999), epsilon=1e-8)
    assert flux.Descent() == flux.Descent(eta=0.1)


@pytest.mark.parametrize("beta", [(0.9, 1.0), (-0.1, 0.9), (0.9,), 0.9, (0.9, 0.99, 0.999), (math.nan, 0.9)])
def test_beta_is_checked(beta):
    with pytest.raises(ValueError, match=r"Adam: expected beta to be two numbers in \[0, 1\)"):
        flux.Adam(beta=beta)


@pytest.mark.parametrize("rule", RULES)
def test_unknown_hyperparameters_are_refused(rule):
    """The message names those that there are."""
    with pytest.raises(TypeError) as caught:
        rule(weight_decay=0.1)
    assert rule.__name__ in str(caught.value)
    assert "weight_decay" in str(caught.value)
    for name in rule.__dataclass_fields__:
        assert name in str(caught.value)


def test_hyperparameters_of_adam_are_named():
    with pytest.raises(TypeError, match="eta, beta, epsilon"):
        flux.Adam(weight_decay=0.1)


@pytest.mark.parametrize("rule", [flux.Momentum, flux.AMSGrad, flux.Padam])
def test_unknown_forms_are_refused(rule):
    with pytest.raises(ValueError, match=f"{rule.__name__}: expected form to be one of"):
        rule(form="other")
