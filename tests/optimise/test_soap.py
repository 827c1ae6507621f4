"""SOAP: against a transcription of the published program, and what holds of it by its idea."""

import math

import numpy as np
import pytest

import tinyflux as flux
from tests.record import transcriptions


def table(shape, count):
    """Gradients of very unequal rows and columns, one of them much larger than the others."""
    rng = np.random.default_rng(count)
    rows, columns = (np.geomspace(1, 30, n) for n in (shape[0], math.prod(shape[1:])))
    for t in range(count):
        g = rng.normal(size=(len(rows), len(columns))) * np.outer(rows, columns) / 100
        yield (100 * g if t == 17 else g).reshape(shape)


CASES = [
    ((4, 4), {}),
    ((5, 4), {"eta": 0.1, "every": 3}),
    ((3, 4), {"beta": (0.9, 0.8), "lambda_": 0.3, "every": 1}),
    ((9, 3), {"epsilon": 0.1, "every": 4}),
    ((3, 9), {"lambda_": 0.0, "every": 7}),
    ((5, 4), {"max_size": 4, "every": 2}),
    ((4, 5), {"max_size": 4, "every": 2}),
    ((5, 4), {"max_size": 0}),
    ((4, 2, 1, 2), {"every": 3}),
    ((6,), {"every": 3}),
]


@pytest.mark.parametrize(("shape", "options"), CASES, ids=str)
def test_agrees_with_the_transcription(shape, options):
    """A kernel as a matrix with a row for each output; η is halved on the way."""
    gradients, start = list(table(shape, 40)), np.linspace(-1, 2, math.prod(shape))
    shape_there = shape if len(shape) < 2 else (shape[0], -1)
    there = [g.reshape(shape_there) for g in gradients]
    path = transcriptions.SOAP(start.reshape(shape_there), there, [1.0] * 25 + [0.5] * 15, **options)
    model, rule = [start.reshape(shape)], flux.SOAP(**options)
    opt = flux.setup(rule, model)
    for t, (g, expected) in enumerate(zip(gradients, path, strict=True)):
        if t == 25:
            flux.adjust(opt, eta=rule.eta / 2)
        flux.update(opt, model, [g])
        np.testing.assert_allclose(model[0].reshape(shape_there), expected, rtol=1e-10, atol=1e-12)


def test_the_first_gradient_makes_no_step():
    rng = np.random.default_rng(0)
    model = [rng.normal(size=(4, 3)), np.ones(2)]
    before = [x.copy() for x in model]
    opt = flux.setup(flux.SOAP(beta=(0.9, 0.95), lambda_=0.5), model)
    g = rng.normal(size=(4, 3))
    flux.update(opt, model, [g, np.ones(2)])
    for x, y in zip(model, before, strict=True):
        np.testing.assert_array_equal(x, y)
    m, v, left, right, p, q, *_ = opt[0].state
    assert not m.any()
    assert not v.any()
    u, s, vt = np.linalg.svd(g)
    np.testing.assert_allclose(p.T @ left @ p, 0.05 * np.diag([*s**2, 0]), atol=1e-12)
    np.testing.assert_allclose(np.abs(p.T @ u)[:3, :3], np.eye(3), atol=1e-10)
    np.testing.assert_allclose(np.abs(vt @ q), np.eye(3), atol=1e-10)
    np.testing.assert_allclose(right, 0.05 * g.T @ g, rtol=1e-12)


@pytest.mark.parametrize(("shape", "options"), [((3, 4), {"max_size": 0}), ((5,), {}), ((), {})])
def test_without_another_basis_it_is_adam(shape, options):
    """From the second gradient on; ε stands elsewhere."""
    models = [[np.ones(shape)] for _ in range(2)]
    rules = flux.SOAP(0.1, (0.8, 0.9), lambda_=0, epsilon=0, **options), flux.Adam(0.1, (0.8, 0.9), epsilon=0)
    opts = [flux.setup(rule, model) for rule, model in zip(rules, models)]
    flux.update(opts[0], models[0], [np.full(shape, 100.0)])
    rng = np.random.default_rng(0)
    for _ in range(25):
        g = rng.normal(size=shape)
        for opt, model in zip(opts, models):
            flux.update(opt, model, [np.asarray(g)])
        np.testing.assert_allclose(*models, rtol=1e-12)


def test_turning_rows_and_columns_turns_the_steps():
    """U and V orthogonal: of the gradients UgVᵀ come the steps UΔVᵀ, whatever the basis is given in. Adam's don't."""
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(n, n))).Q for n in (5, 4))
    start, gradients = rng.normal(size=(5, 4)), list(table((5, 4), 35))

    def ends(rule):
        models = [start.copy()], [u @ start @ v.T]
        opts = [flux.setup(rule, model) for model in models]
        for g in gradients:
            flux.update(opts[0], models[0], [g])
            flux.update(opts[1], models[1], [u @ g @ v.T])
        return u @ models[0][0] @ v.T, models[1][0]

    np.testing.assert_allclose(*ends(flux.SOAP(0.1, every=4)), atol=1e-9)
    assert np.abs(np.subtract(*ends(flux.Adam(0.1)))).max() > 0.1


def test_down_a_badly_conditioned_slope():
    """‖A(X−Y)B‖² with conditions of 30: at its best of five rates Adam is far behind SOAP at its best."""
    n, rng = 8, np.random.default_rng(1)
    a, b = (
        np.linalg.qr(rng.normal(size=(n, n))).Q * np.geomspace(1, 1 / 30, n) @ np.linalg.qr(rng.normal(size=(n, n))).Q
        for _ in range(2)
    )
    y = rng.normal(size=(n, n))

    def loss(model):
        return np.sum((a @ (model[0] - y) @ b) ** 2)

    def least(kind, **options):
        found = []
        for eta in (0.01, 0.03, 0.1, 0.3, 1.0):
            model = [np.zeros((n, n))]
            opt = flux.setup(kind(flux.schedules.Cosine(eta, 200), (0.95, 0.95), **options), model)
            for _ in range(200):
                flux.update(opt, model, flux.gradient(loss, model))
            found.append(loss(model))
        return min(found)

    assert 10 * least(flux.SOAP, lambda_=0) < least(flux.Adam)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes(dtype):
    """The matrices are at least of single precision, as LAPACK wants it; in half, products of gradients overflow."""
    rng = np.random.default_rng(0)
    model = [np.ones((3, 4), dtype), np.ones(3, dtype)]
    opt = flux.setup(flux.SOAP(0.1, every=2), model)
    for _ in range(5):
        flux.update(opt, model, [(300 * rng.normal(size=x.shape)).astype(dtype) for x in model])
    wide = np.promote_types(dtype, np.float32)
    for leaf in opt:
        assert leaf.view.dtype == dtype
        assert [a.dtype for a in leaf.arrays] == [dtype] * 2 + [wide] * 4
        assert np.isfinite(leaf.view).all()
    assert np.all(np.abs(model[0] - 1) < 0.6)


def test_empty_matrices():
    for shape in [(0, 3), (3, 0), (2, 0, 3)]:
        model = [np.ones(shape)]
        opt = flux.setup(flux.SOAP(every=1), model)
        for _ in range(3):
            flux.update(opt, model, [np.ones(shape)])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("good", [0, 1])
def test_no_eigenvectors(bad, good):
    """What has none is refused, with nothing changed, when the basis is begun and when it is renewed."""
    model = [np.ones((3, 4)), np.ones(2)]
    opt = flux.setup(flux.SOAP(every=1), model)
    grads = [np.random.default_rng(0).normal(size=(3, 4)), np.ones(2)]
    for _ in range(good):
        flux.update(opt, model, grads)
    before = [x.copy() for leaf in opt for x in (leaf.view, *leaf.arrays)]
    worse = grads[0].copy()
    worse[1, 2] = bad
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=r"SOAP: the averages of .* no eigenvectors"),
    ):
        flux.update(opt, model, [worse, np.ones(2)])
    for x, y in zip([x for leaf in opt for x in (leaf.view, *leaf.arrays)], before, strict=True):
        np.testing.assert_array_equal(x, y)
    assert [leaf.numbers[2] for leaf in opt] == [good, good]
    flux.update(opt, model, grads)


def test_zero_gradients():
    model = [np.ones((3, 4))]
    opt = flux.setup(flux.SOAP(0.1, lambda_=0, every=1), model)
    for _ in range(4):
        flux.update(opt, model, [np.zeros((3, 4))])
    np.testing.assert_array_equal(model[0], 1)


def test_a_schedule_counts_every_gradient():
    """As a loop of the program does that calls its scheduler after each step: the second gradient gets η(1)."""
    steps = []
    for eta in (flux.schedules.Step(1.0, 1, gamma=0.5), 0.5):
        model = [np.zeros((2, 2))]
        opt = flux.setup(flux.SOAP(eta), model)
        for _ in range(2):
            flux.update(opt, model, [np.array([[1.0, 2.0], [0.0, 1.0]])])
        steps.append(model[0])
    np.testing.assert_array_equal(*steps)
    assert np.any(steps[0])


@pytest.mark.parametrize(
    "change", [{"beta": (1.0, 0.5)}, {"eta": -1}, {"lambda_": -1}, {"every": 0}, {"every": 2.5}, {"max_size": -1}]
)
def test_nonsense(change):
    with pytest.raises(ValueError, match=f"SOAP: expected {next(iter(change))} to be "):
        flux.SOAP(**change)


def test_it_is_not_compiled():
    model = [np.ones((3, 4))]
    history = flux.train(lambda m, x: np.sum(m[0] * x), model, [np.ones((3, 4))] * 2, flux.setup(flux.SOAP(), model))
    assert "SOAP can't be compiled: it takes eigenvectors and QR decompositions" in history.engine
    assert np.all(model[0] != 1)


def test_a_state_with_nonsense_is_not_loaded(tmp_path):
    model = [np.ones((3, 4))]
    opt = flux.setup(flux.SOAP(), model)
    flux.save(tmp_path / "run.npz", model, opt)
    with np.load(tmp_path / "run.npz") as file:
        arrays = dict(file)
    for i, value in ((1, -1.0), (4, np.nan)):
        np.savez(
            tmp_path / "other.npz", **arrays | {f"optimiser/0/{i}": np.full_like(arrays[f"optimiser/0/{i}"], value)}
        )
        with pytest.raises(flux.CheckpointError, match="is not as a training could have left it"):
            flux.load(tmp_path / "other.npz", model, opt)
