"""Descent and Adam on single arrays: against formulas worked out by hand, and against PyTorch's numbers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux

REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text())
RULES = {
    "Descent": flux.Descent(),
    "Adam": flux.Adam(),
    "Adam, others": flux.Adam(0.3, (0.6, 0.95), 1e-3),
    "Adam, beta 0": flux.Adam(0.05, (0.0, 0.5), 1e-6),
}


def path(rule, x, gradients, halved):
    """x after every step, through setup, update and adjust."""
    model = [x.copy()]
    opt = flux.setup(rule, model)
    for t, g in enumerate(gradients):
        if t == halved:
            flux.adjust(opt, eta=rule.eta / 2)
        flux.update(opt, model, [g])
        yield model[0]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: case["name"])
def test_agrees_with_torch(name, case):
    shape = case["shape"]
    x = np.array(case["start"]).reshape(shape)
    gradients = [np.array(g).reshape(shape) for g in case["gradients"]]
    for got, expected in zip(path(RULES[name], x, gradients, REFERENCE["halved"]), case["paths"][name], strict=True):
        np.testing.assert_allclose(got, np.reshape(expected, shape), rtol=1e-12, atol=1e-14)


def test_the_recorded_table_has_its_pitfalls():
    case = REFERENCE["cases"][1]
    table = np.array(case["gradients"])
    assert len(table) >= 12
    assert np.abs(table[4]).max() > 20 * np.abs(np.delete(table, 4, 0)).max()
    assert np.abs(table[:, 0]).max() < 1e-4
    assert np.all(table[:, 2] == 0)


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


@pytest.mark.parametrize("rule", [flux.Descent(), flux.Adam()])
def test_apply_changes_no_argument(rule):
    x, g = np.linspace(-1, 1, 7), np.linspace(3, -2, 7)
    state = rule.init(x)
    kept = [np.copy(a) for a in (x, g, *state)]
    rule.apply(state, x, g)
    for before, after in zip(kept, (x, g, *state), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("rule", [flux.Descent(), flux.Adam(epsilon=1e-3)])
def test_dtypes_stay(rule, dtype):
    x = np.ones(3, dtype)
    state = rule.init(x)
    for _ in range(3):
        state, delta = rule.apply(state, x, np.ones(3, dtype))
        assert delta.dtype == dtype
        assert all(s.dtype == dtype for s in state if isinstance(s, np.ndarray))
        assert all(type(s) is float for s in state if not isinstance(s, np.ndarray))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e15])
def test_many_steps_with_extreme_gradients(dtype, size):
    """The powers of β underflow after many steps, and g² does at once; no warning (they are errors here), no NaN."""
    model = [np.ones(2, dtype)]
    opt = flux.setup(flux.Adam(0.001, (0.5, 0.6)), model)
    for _ in range(3000):
        flux.update(opt, model, [np.full(2, size, dtype)])
    assert opt[0].state[2] == 0.0
    expected = 1 - 3000 * 0.001 if size == 1e15 else 1  # where |g| is far below ε the steps are, too
    np.testing.assert_allclose(model[0], expected, rtol=1e-3)


def test_gradient_of_1e30():
    """In float64 it is as any other; in float32 its square is infinite: NumPy says so, and x stays as it is."""
    model = [np.ones(2)]
    flux.update(flux.setup(flux.Adam(0.1), model), model, [np.full(2, 1e30)])
    np.testing.assert_allclose(model[0], 0.9)
    model = [np.ones(2, np.float32)]
    opt = flux.setup(flux.Adam(0.1), model)
    with pytest.warns(RuntimeWarning, match="overflow"):
        flux.update(opt, model, [np.full(2, 1e30, np.float32)])
    np.testing.assert_array_equal(model[0], 1)


def test_adam_is_also_called_ADAM():
    assert flux.ADAM is flux.Adam
    assert flux.Adam() == flux.Adam(eta=0.001, beta=(0.9, 0.999), epsilon=1e-8)
    assert flux.Descent() == flux.Descent(eta=0.1)


@pytest.mark.parametrize("beta", [(0.9, 1.0), (-0.1, 0.9), (0.9,), 0.9, (0.9, 0.99, 0.999), (math.nan, 0.9)])
def test_beta_is_checked(beta):
    with pytest.raises(ValueError, match=r"Adam: expected beta to be two numbers in \[0, 1\)"):
        flux.Adam(beta=beta)


def test_unknown_hyperparameters_are_refused():
    with pytest.raises(TypeError, match="momentum"):
        flux.Descent(0.1, momentum=0.9)


def test_bias_correction_at_the_first_step():
    """Without the corrections the step would be 0.1/√0.001 ≈ 3.2 times η."""
    model = [np.zeros(3)]
    flux.update(flux.setup(flux.Adam(0.5), model), model, [np.array([1.0, -7.0, 100.0])])
    np.testing.assert_allclose(model[0], [-0.5, 0.5, -0.5], rtol=1e-7)


@pytest.mark.parametrize("eta", [np.float64(0.01), np.float32(0.25)])
def test_numpy_numbers_as_hyperparameters(eta, tmp_path):
    """They would promote float32, and JSON holds Python's numbers alone: a resumed run would go another way."""
    models = [[np.linspace(0, 1, 5, dtype=np.float32)] for _ in range(3)]
    opts = [flux.setup(flux.Descent(eta), models[0]), flux.setup(flux.Descent(float(eta)), models[1])]
    opts.append(flux.setup(flux.Descent(7.0), models[2]))
    flux.adjust(opts[2], eta=eta)
    for model, opt in zip(models, opts, strict=True):
        assert type(opt[0].rule.eta) is float
        flux.update(opt, model, [np.linspace(3, 4, 5, dtype=np.float32)])
        flux.save(tmp_path / "a.npz", model, opt)
    np.testing.assert_array_equal(models[0], models[1])
    np.testing.assert_array_equal(models[0], models[2])
