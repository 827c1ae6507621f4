"""Muon: against recorded paths of PyTorch, the singular values that it is about, and the rules of other parameters."""

import json
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux

REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text())
EXPRESSIONS = list(REFERENCE["muon"][0]["paths"])
Chain = flux.OptimiserChain


def make(expression):
    return eval(expression, dict(vars(flux)))


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("case", REFERENCE["muon"], ids=lambda case: case["name"])
def test_agrees_with_the_reference(expression, case):
    shape, rule = case["shape"], make(expression)
    model = [np.array(case["start"]).reshape(shape)]
    opt = flux.setup(rule, model)
    for t, (g, expected) in enumerate(zip(case["gradients"], case["paths"][expression], strict=True)):
        if t == REFERENCE["halved"]:
            flux.adjust(opt, eta=rule.eta / 2)
        flux.update(opt, model, [np.array(g).reshape(shape)])
        np.testing.assert_allclose(model[0].ravel(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(8, 8), (40, 8), (8, 40), (16, 3, 3, 4)])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e30])
def test_all_singular_values_are_near_1(shape, size):
    """Those of the gradient reach from 1 to 30; the vectors stay. 1e30 has no square in float32."""
    rng = np.random.default_rng(0)
    rows, columns = shape[0], int(np.prod(shape[1:]))
    u, _, vt = np.linalg.svd(rng.normal(size=(rows, columns)), full_matrices=False)
    g = (u * np.geomspace(1, 30, len(vt))) @ vt
    rule, x = flux.Muon(1.0), np.zeros(shape, np.float32)
    _, delta = rule.apply(rule.init(x), x, (size * g).reshape(shape).astype(np.float32))
    assert delta.dtype == np.float32
    inside = u.T @ delta.reshape(rows, columns) @ vt.T / max(1, rows / columns) ** 0.5
    np.testing.assert_allclose(inside, np.diag(np.diag(inside)), atol=1e-4)
    assert np.all((np.diag(inside) > 0.65) & (np.diag(inside) < 1.25))


def test_steps_are_as_large_as_adams():
    """The root of the mean square of a step is about 0.2 η, whatever the shape."""
    rng = np.random.default_rng(0)
    for shape in [(30, 30), (90, 10), (10, 90)]:
        rule, x = flux.Muon(1.0, form="match_rms_adamw"), np.zeros(shape)
        _, delta = rule.apply(rule.init(x), x, rng.normal(size=shape))
        assert 0.15 < np.sqrt(np.mean(delta**2)) < 0.25


def network():
    flux.seed(0)
    layers = flux.Conv((2, 2), 3, 4, flux.relu), flux.BatchNorm(4), flux.flatten, flux.Dense(16, 5), flux.Dense(5, 2)
    return flux.f64(flux.Chain(*layers))


def gradients(model, seed=0):
    rng = np.random.default_rng(seed)
    return flux.tree.map(lambda x: rng.normal(size=x.shape), model)


def kinds(opt):
    return {leaf.path: type(leaf.rule).__name__ for leaf in opt._leaves}


def test_a_whole_model():
    """Matrices and kernels are Muon's, what has one axis is the others'; each as if it were alone."""
    others = flux.AdamW(0.01)
    model, rule = network(), flux.Muon(0.1, others=others)
    opt = flux.setup(rule, model)
    assert [leaf.rule for leaf in opt._leaves] == [
        others if leaf.view.ndim == 1 else flux.Muon(0.1, others=None) for leaf in opt._leaves
    ]
    assert {leaf.view.ndim for leaf in opt._leaves} == {1, 2, 4}
    alone = [x.copy() for x in flux.parameters(model)]
    states = [(rule if x.ndim > 1 else others).init(x) for x in alone]
    for t in range(3):
        grads = gradients(model, t)
        flux.update(opt, model, grads)
        for i, g in enumerate(flux.parameters(grads)):
            states[i], delta = (rule if g.ndim > 1 else others).apply(states[i], alone[i], g)
            alone[i] = alone[i] - delta
    for x, y in zip(flux.parameters(model), alone, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)


def test_a_rule_for_each_parameter():
    """The first and the last layer by Adam, as is the custom; equal rules share their arrays."""
    model = network()
    first, last = model[0].weight, model[-1].weight
    opt = flux.setup(lambda x: flux.Adam(0.01) if x is first or x is last else flux.Muon(others=flux.Adam(0.01)), model)
    assert [path for path, kind in kinds(opt).items() if kind == "Muon"] == [".layers[3].weight"]
    assert len({id(leaf.buffer) for leaf in opt._leaves}) == 2
    assert repr(opt).count("Adam(") == 1
    flux.update(opt, model, gradients(model))
    with pytest.raises(TypeError, match=r"setup: expected a rule such as flux.Adam\(0.001\), got None"):
        flux.setup(lambda x: None, model)
    with pytest.raises(TypeError, match=r"got 3\. The function gave it for \.layers\[3\]\.weight\.$"):
        flux.setup(lambda x: 3 if x.shape == (5, 16) else flux.Adam(), model)
    with pytest.raises(TypeError, match=r"got the class Adam\. Make one"):
        flux.setup(lambda x: flux.Adam, model)


def test_no_rule_for_others():
    with pytest.raises(ValueError, match=r"setup: \[1\]: Muon steps matrices, got shape \(3,\)\. .* others=flux.AdamW"):
        flux.setup(flux.Muon(others=None), [np.ones((2, 2)), np.ones(3)])
    with pytest.raises(ValueError, match=r"Muon: expected a parameter of two or more axes, got shape \(3,\)"):
        flux.Muon().apply((np.zeros(3),), np.ones(3), np.ones(3))
    flux.setup(flux.Muon(others=None), [np.ones((2, 2))])
    for others in (flux.Adam, 0.1, "Adam"):
        with pytest.raises(TypeError, match=r"Muon: expected a rule such as flux.Adam\(0.001\)"):
            flux.Muon(others=others)


@pytest.mark.parametrize("change", [{"rho": 1.0}, {"rho": -0.1}, {"eta": -1}, {"lambda_": -1}, {"form": "torch"}])
def test_nonsense(change):
    with pytest.raises(ValueError, match=f"Muon: expected {next(iter(change))} to be "):
        flux.Muon(**change)


def test_empty_matrices():
    for shape in [(0, 3), (3, 0), (2, 0, 3)]:
        model = [np.ones(shape)]
        flux.update(flux.setup(flux.Muon(), model), model, [np.ones(shape)])


def test_a_chain_and_schedules():
    """The modifiers stand before both rules, and each rule's schedule counts its own steps."""
    model = [np.zeros((2, 2)), np.zeros(2)]
    halving = flux.schedules.Step(1.0, 1, gamma=0.5)
    rule = Chain(flux.ClipNorm(0.5, over="model"), flux.Muon(halving, others=flux.Descent(1.0)))
    opt = flux.setup(rule, model)
    assert [repr(leaf.rule) for leaf in opt] == [repr(Chain(rule.rules[0], r)) for r in (
        flux.Muon(halving, others=None), flux.Descent(1.0))]  # fmt: skip
    sizes = []
    for _ in range(3):
        before = [x.copy() for x in model]
        flux.update(opt, model, [np.array([[2.0, 0.0], [0.0, 2.0]]), np.array([0.0, 1.0])])
        sizes.append([np.linalg.norm(x - y) for x, y in zip(model, before, strict=True)])
    np.testing.assert_allclose([b for _, b in sizes], 0.5 / 3, rtol=1e-12)  # the norm of all is 3
    np.testing.assert_allclose([a / sizes[0][0] for a, _ in sizes], [1, 0.5, 0.25], rtol=1e-9)
    with pytest.raises(flux.NonFiniteNorm):
        flux.update(opt, model, [np.full((2, 2), np.nan), np.ones(2)])


def test_adjust_reaches_the_rules_that_have_the_name():
    model = [np.zeros((2, 2)), np.zeros(2)]
    opt = flux.setup(flux.Muon(others=flux.Adam()), model)
    flux.adjust(opt, rho=0.5, eta=0.25)
    assert [leaf.rule for leaf in opt] == [flux.Muon(0.25, 0.5, others=None), flux.Adam(0.25)]
    flux.adjust(opt[1], eta=0.125)
    assert [leaf.rule.eta for leaf in opt] == [0.25, 0.125]
    with pytest.raises(TypeError, match="adjust: Muon has no window"):
        flux.adjust(opt, window=3)
    with pytest.raises(TypeError, match="adjust: Adam has no rho"):
        flux.adjust(opt[1], rho=0.5)
    with pytest.raises(ValueError, match="adjust: expected hyperparameters, got a rule in Muon; call setup"):
        flux.adjust(opt, others=flux.Descent())
    assert opt[0].rule == flux.Muon(0.25, 0.5, others=None)


@pytest.mark.parametrize("rule", [flux.Muon(), Chain(flux.WeightDecay(), flux.Muon(flux.schedules.Cosine(0.1, 9)))])
def test_saved(rule, tmp_path):
    models = [network() for _ in range(2)]
    opts = [flux.setup(rule, model) for model in models]
    for t in range(4):
        flux.update(opts[0], models[0], gradients(models[0], t))
    flux.save(tmp_path / "run.npz", models[0], opts[0])
    flux.load(tmp_path / "run.npz", models[1], opts[1])
    for t in range(4, 7):
        for model, opt in zip(models, opts, strict=True):
            flux.update(opt, model, gradients(model, t))
    for x, y in zip(*map(flux.leaves, models), strict=True):
        np.testing.assert_array_equal(x, y)
    with pytest.raises(flux.CheckpointError, match=r"is of .*Muon"):
        flux.load(tmp_path / "run.npz", models[1], flux.setup(flux.Adam(), models[1]))


def test_frozen_and_missing():
    model = network()
    opt = flux.setup(flux.Muon(), model)
    flux.freeze(opt.layers[3])
    kept, grads = model[3].weight.copy(), gradients(model)
    grads.layers[0].weight = None
    kernel = model[0].weight.copy()
    flux.update(opt, model, grads)
    np.testing.assert_array_equal(model[3].weight, kept)
    np.testing.assert_array_equal(model[0].weight, kernel)
    assert not np.any(opt.layers[0].weight.state[0])


def test_a_rule_of_ones_own_for_each_array_sees_its_shape():
    """As a head, and as a rule with a state; the mean over the axes of a kernel is another than that over a line."""

    class Centred(flux.Descent):
        whole = "array"

        def apply(self, state, x, g):
            assert x.shape == g.shape
            return (), g - g.mean(axis=-1, keepdims=True)

    class Kept(Centred):
        def init(self, x):
            return (np.zeros_like(x),)

        def apply(self, state, x, g):
            return (state[0] + g,), super().apply(state, x, g)[1]

    g = np.arange(6.0).reshape(2, 3) ** 2
    for rule in (Chain(Centred(), flux.Descent(1.0)), Kept(), Chain(flux.Descent(1.0), Kept())):
        model = [np.zeros((2, 3)), np.array(1.0)[None]]
        opt = flux.setup(rule, model)
        flux.update(opt, model, [g, np.ones(1)])
        np.testing.assert_allclose(model[0], g.mean(axis=1, keepdims=True) - g)
        for leaf in opt:
            assert all(a.shape == leaf.view.shape for a in leaf.arrays)


def test_saved_with_another_assignment(tmp_path):
    """The first parameter whose rule isn't that of the file is named, and nothing is changed."""
    model = network()
    flux.save(tmp_path / "run.npz", model, flux.setup(flux.Muon(), model))
    last, before = model[-1].weight, [x.copy() for x in flux.leaves(model)]
    opt = flux.setup(lambda x: flux.AdamW() if x is last else flux.Muon(), model)
    with pytest.raises(flux.CheckpointError, match=r"is of Muon, the given one AdamW; .* at \.layers\[4\]\.weight"):
        flux.load(tmp_path / "run.npz", model, opt)
    for x, y in zip(flux.leaves(model), before, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(("dtype", "largest"), [(np.float16, 6e4), (np.float32, 3e38), (np.float64, 1e308)])
def test_gradients_near_the_largest_number(dtype, largest):
    """Their norm is beyond it: the step is that of a gradient of a common size."""
    g = np.random.default_rng(0).normal(size=(60, 80))
    g /= np.abs(g).max()
    rule, x = flux.Muon(1.0), np.zeros(g.shape, dtype)
    steps = [rule.apply(rule.init(x), x, (size * g).astype(dtype))[1] for size in (1.0, largest)]
    np.testing.assert_allclose(steps[1], steps[0], atol=2e-2 if dtype == np.float16 else 1e-5)
    assert np.abs(steps[1]).max() > 0.1
    assert steps[1].dtype == dtype
