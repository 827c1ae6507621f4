"""Every rule on all kinds of arrays and gradients: dtypes, shapes, sizes, extreme and missing numbers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import tinyflux as flux

REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text())
RULES = [text for text in REFERENCE["cases"][0]["paths"] if "schedules" not in text]  # `setup` puts numbers for those
EVERY_RULE = pytest.mark.parametrize("expression", RULES)


def make(expression):
    """The rule that the expression, the name of a recorded path, stands for."""
    return eval(expression, dict(vars(flux)))


@EVERY_RULE
def test_apply_changes_no_argument(expression):
    rule = make(expression)
    x, g = np.linspace(-1, 1, 7), np.linspace(3, -2, 7)
    state = rule.init(x)
    for _ in range(2):
        kept = [np.copy(a) for a in (x, g, *state)]
        next_state, _ = rule.apply(state, x, g)
        for before, after in zip(kept, (x, g, *state), strict=True):
            np.testing.assert_array_equal(before, after)
        state = next_state


@EVERY_RULE
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_stay(expression, dtype):
    """Arrays keep their dtype, numbers are Python's; the state keeps its order, arrays first."""
    rule = make(expression)
    x = np.ones(3, dtype)
    state = rule.init(x)
    kinds = [type(s) for s in state]
    for _ in range(3):
        state, delta = rule.apply(state, x, np.ones(3, dtype))
        assert delta.dtype == dtype
        assert delta.shape == x.shape
        assert all(s.dtype == dtype and s.shape == x.shape for s in state if isinstance(s, np.ndarray))
        assert all(type(s) in (int, float) for s in state if not isinstance(s, np.ndarray))
        assert [issubclass(kind, np.ndarray) for kind in kinds] == [isinstance(s, np.ndarray) for s in state]
        assert np.all(np.isfinite(delta))


@EVERY_RULE
@given(shape=array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), data=st.data())
def test_any_shape(expression, shape, data):
    """An array of any shape is stepped as its numbers are in one row."""
    rule = make(expression)
    numbers = st.floats(-100, 100).map(lambda x: x if abs(x) > 1e-3 else 0.0)
    x = data.draw(arrays(np.float64, shape, elements=numbers))
    state, flat_state = rule.init(x), rule.init(x.ravel())
    for _ in range(3):
        g = data.draw(arrays(np.float64, shape, elements=numbers))
        state, delta = rule.apply(state, x, g)
        flat_state, flat_delta = rule.apply(flat_state, x.ravel(), g.ravel())
        assert delta.shape == shape
        np.testing.assert_allclose(delta.ravel(), flat_delta, rtol=1e-12)


@EVERY_RULE
def test_many_blocks(expression):
    """A large parameter is stepped piece by piece: the same as all of it at once, or as its repeated numbers."""
    case = next(case for case in REFERENCE["cases"] if case["name"] == "vector")
    repeats = 10_000
    rule, start = make(expression), np.tile(case["start"], repeats)
    model, state, x = [start.copy()], rule.init(start), start.copy()
    opt = flux.setup(rule, model)
    for g in case["gradients"]:
        state, delta = rule.apply(state, x, np.tile(g, repeats))
        x = x - delta
        flux.update(opt, model, [np.tile(g, repeats)])
    np.testing.assert_allclose(model[0], x, rtol=1e-12, atol=1e-14)


@EVERY_RULE
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e15])
def test_many_steps_with_extreme_gradients(expression, dtype, size):
    """Powers of β underflow after many steps, and g² does at once: no warning (they are errors here), no NaN."""
    rule = make(expression)
    x, g = np.ones(3, dtype), np.array([size, -size, 0], dtype)
    state = rule.init(x)
    for _ in range(3000):
        state, delta = rule.apply(state, x, g)
        x = x - delta
    assert np.all(np.isfinite(x))
    assert np.all(np.isfinite(np.concatenate([np.ravel(s) for s in state])) if state else True)


@EVERY_RULE
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_1e30(expression, dtype):
    """In float64 they are as any other. In float32 their squares are infinite, of which NumPy warns, and no step is
    wrong unseen: there is none, or where infinities are subtracted or multiplied by 0, it is NaN."""
    rule, x, g = make(expression), np.ones(3, dtype), np.array([1e30, -1e30, 0.0], dtype)
    undefined = dtype == np.float32 and any(name in expression for name in ("centred", "QHAdam()", "YellowFin"))
    state = rule.init(x)
    with np.errstate(over="ignore" if dtype == np.float32 else "warn", invalid="ignore" if undefined else "warn"):
        for _ in range(20):
            state, delta = rule.apply(state, x, g)
            x = x - delta
    assert np.all(np.isfinite(x[:2])) != undefined


@EVERY_RULE
def test_a_gradient_that_is_nan_shows(expression):
    """The parameter is NaN from then on; its neighbours are not, unless the rule measures all parameters together."""
    rule = make(expression)
    model = [np.ones(3)]
    opt = flux.setup(rule, model)
    for t in range(4):
        flux.update(opt, model, [np.array([np.nan if t == 1 else 1.0, 2.0, 0.0])])
        if t > 0:
            together = expression.startswith("YellowFin")
            np.testing.assert_array_equal(np.isnan(model[0]), [True, together, together])


def test_gradient_of_1e30_by_adam():
    """In float32 its square is infinite: NumPy says so, and x stays as it is."""
    model = [np.ones(2)]
    flux.update(flux.setup(flux.Adam(0.1), model), model, [np.full(2, 1e30)])
    np.testing.assert_allclose(model[0], 0.9)
    model = [np.ones(2, np.float32)]
    opt = flux.setup(flux.Adam(0.1), model)
    with pytest.warns(RuntimeWarning, match="overflow"):
        flux.update(opt, model, [np.full(2, 1e30, np.float32)])
    np.testing.assert_array_equal(model[0], 1)


def test_many_steps_of_adam():
    """The corrections end at exactly 1, and where |g| is far below ε the steps are small, too."""
    for size, expected in [(0.0, 1), (1e-30, 1), (1e15, 1 - 3000 * 0.001)]:
        model = [np.ones(2)]
        opt = flux.setup(flux.Adam(0.001, (0.5, 0.6)), model)
        for _ in range(3000):
            flux.update(opt, model, [np.full(2, size)])
        assert opt[0].state[2] == 0.0
        np.testing.assert_allclose(model[0], expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_centred_rmsprop_with_equal_gradients(dtype):
    """The average of g² and the square of that of g become the same number; a difference below 0 would be NaN."""
    rng = np.random.default_rng(2)
    g = rng.normal(size=1000).astype(dtype)
    rule = flux.RMSProp(centred=True)
    state = rule.init(g)
    for _ in range(500):
        state, delta = rule.apply(state, g, g)
        assert np.all(np.isfinite(delta))


@pytest.mark.parametrize("beta2", [0.0, 1 / 3, 0.5, 0.6])
def test_radam_without_enough_memory(beta2):
    """ρ∞ is at most 4, and reached where β₂ᵗ has underflowed: v is never trusted, and ηg is the step."""
    rule, g = flux.RAdam(0.1, (0.0, beta2)), np.array([3.0, -0.5, 0.0])
    state = rule.init(g)
    for _ in range(3000):
        state, delta = rule.apply(state, g, g)
        np.testing.assert_allclose(delta, 0.1 * g, rtol=1e-14)


def test_radam_with_just_enough_memory():
    """ρ∞ = 4.71 for β₂ = 0.65: v is trusted after some steps; with a constant gradient m̂ = g and v̂ = g²."""
    rule, g = flux.RAdam(0.1, (0.0, 0.65)), np.array([3.0])
    state, limit = rule.init(g), 2 / 0.35 - 1
    for t in range(1, 30):
        state, delta = rule.apply(state, g, g)
        rho = limit - 2 * t * 0.65**t / (1 - 0.65**t)
        step = 0.3
        if rho > 4:
            step = 0.1 * math.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
        np.testing.assert_allclose(delta, step, rtol=1e-8)  # ε is 3e-9 of |g|
    assert rho > 4


def test_yellowfin_measures_all_dtypes_together():
    """And beyond a block: with all of it in float64 the numbers are the same, up to the digits of float32."""
    rng = np.random.default_rng(5)
    start = [rng.normal(size=20_000), rng.normal(size=(3, 4)), np.array(rng.normal())]
    mixed = [start[0].astype(np.float32), start[1], start[2].astype(np.float32)]
    models = [[x.copy() for x in start], mixed]
    opts = [flux.setup(flux.YellowFin(0.1), model) for model in models]
    for t in range(8):
        gradient = [rng.normal(1, 0.1, size=x.shape) * (50 if t == 4 else 1) for x in start]
        for model, opt in zip(models, opts, strict=True):
            flux.update(opt, model, [g.astype(x.dtype) for g, x in zip(gradient, model, strict=True)])
    assert [x.dtype for x in mixed] == [np.float32, np.float64, np.float32]
    for got, expected in zip(mixed, models[0], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert opts[1][0].state[3:] == opts[1][1].state[3:]


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
