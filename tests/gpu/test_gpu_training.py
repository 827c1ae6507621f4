"""Training on a GPU: rules step as in NumPy, the loader's data and order lie there, and the loop keeps its word."""

import math

import numpy as np
import pytest

import tinyflux as flux
from examples import mnist
from examples.common import models
from tests.support import branching, kernel_cases, program_cases, scan_cases
from tinyflux.training import cuda_engine

if "can't" in flux.gpu_status():
    pytest.skip(flux.gpu_status(), allow_module_level=True)
pytestmark = pytest.mark.gpu

WITHOUT_KERNEL = [
    flux.AggMo(),
    flux.ASGD(),
    flux.OptimiserChain(flux.ClipNorm(1.0), flux.Adam(0.01)),
    flux.OptimiserChain(flux.AccumGrad(2), flux.Descent(0.1)),
]
SCHEDULED = flux.OptimiserChain(flux.WeightDecay(0.1), flux.Adam(flux.schedules.Cosine(0.1, over=10)))
SIZES = [0, 1, 3, 4, 5, 1023, 100_003]
TOLERANCES = {np.float32: 1e-4, np.float64: 1e-10}


def stepped(rule, dtype, move):
    """Parameters of many sizes after eight updates, each by the gradient that all rules differ for."""
    params = move([np.linspace(-1, 1, n).astype(dtype) for n in SIZES])
    opt = flux.setup(rule, params)
    for t in range(8):
        flux.update(opt, params, move([kernel_cases.gradient(n, dtype, t, seed) for seed, n in enumerate(SIZES)]))
    return flux.cpu(params, opt)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("rule", [*kernel_cases.RULES, *kernel_cases.CHAINS, *WITHOUT_KERNEL, SCHEDULED], ids=repr)
def test_updates(rule, dtype):
    expected, expected_opt = stepped(rule, dtype, flux.cpu)
    got, opt = stepped(rule, dtype, flux.gpu)
    tolerance = TOLERANCES[dtype]
    for x, y in zip(got, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)
    for a, b in zip(opt._leaves, expected_opt._leaves, strict=True):
        assert a.numbers == pytest.approx(b.numbers, rel=1e-12)
        for x, y in zip(a.state, b.state, strict=True):
            scale = tolerance * np.max(np.abs(y), initial=1)
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=scale)


# The signs of eigenvectors and of QR's columns cancel in SOAP's steps. Where an eigenvalue is multiple, as 0 is for a
# first gradient that is much wider than high, the library chooses the eigenvectors: no side that is rotated is so here.
MATRICES = {
    "Muon": (flux.OptimiserChain(flux.ClipNorm(1.0, over="model"), flux.Muon(0.1)), [(5, 9), (40, 8), (16, 3, 3, 4)]),
    "SOAP": (flux.SOAP(0.1, every=2, max_size=16), [(5, 5), (5, 6), (40, 8), (8, 2, 2, 2)]),
}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("name", MATRICES)
def test_updates_of_matrices(name, dtype):
    (rule, shapes), results = MATRICES[name], []
    for move in (flux.cpu, flux.gpu):
        rng = np.random.default_rng(0)
        params = move([rng.normal(size=shape).astype(dtype) for shape in [*shapes, (7,)]])
        opt = flux.setup(rule, params)
        for _ in range(8):
            flux.update(opt, params, move([rng.normal(size=x.shape).astype(dtype) for x in params]))
        results.append(flux.cpu(params))
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])


# The loader


def loader(batchsize, seed=0, **options):
    x, y = np.arange(3_000.0, dtype=np.float32).reshape(1_000, 3), np.arange(1_000)
    options = {"shuffle": True, "rng": np.random.default_rng(seed), **options}
    return flux.gpu(flux.DataLoader((x, y), batchsize, **options))


def labels(batches):
    return np.concatenate([y.get() for _, y in batches]).tolist()


@pytest.mark.parametrize("batchsize", [1, 128, 1_000])
def test_a_pass(batchsize):
    import cupy

    data = loader(batchsize)
    assert type(data.order()) is cupy.ndarray
    batches = list(data)
    assert sorted(labels(batches)) == list(range(1_000))
    for x, y in batches:
        assert type(x) is type(y) is cupy.ndarray
        np.testing.assert_array_equal(x.get()[:, 0], 3 * y.get())
    assert labels(loader(batchsize, shuffle=False)) == list(range(1_000))


def test_a_seed_gives_an_order():
    first, again = loader(7, seed=1), loader(7, seed=1)
    passes = [labels(first), labels(first)]
    assert passes == [labels(again), labels(again)]
    assert passes[0] != passes[1]
    assert labels(loader(7, seed=2)) not in passes


# The loop


def small():
    flux.seed(0)
    return flux.gpu(flux.Chain(flux.Dense(3, 4, flux.tanh), flux.Dense(4, 1)))


@pytest.mark.parametrize("rule", [flux.Descent(0.1), flux.Adam(0.01)], ids=["Descent", "Adam"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite(rule, bad):
    """The updates before it stand, its own is not applied."""
    x, scales = flux.gpu(np.ones((2, 3), np.float32), np.array([1, 1, bad, 1], np.float32))

    def loss(model, i):
        return np.sum(model(x) ** 2) * scales[i]

    stopped, opt = (lambda m: (m, flux.setup(rule, m)))(small())
    with pytest.raises(flux.NonFiniteLoss, match=f"the loss is {bad} at item 2 of epoch 1"):
        flux.train(loss, stopped, [0, 1, 2, 3], opt)
    model, other = (lambda m: (m, flux.setup(rule, m)))(small())
    flux.train(loss, model, [0, 1], other)
    (stopped, opt), (model, other) = flux.cpu(stopped, opt), flux.cpu(model, other)
    for x, y in zip(flux.leaves(stopped), flux.leaves(model), strict=True):
        np.testing.assert_array_equal(x, y)
    for a, b in zip(opt._leaves, other._leaves, strict=True):
        for x, y in zip(a.state, b.state, strict=True):
            np.testing.assert_array_equal(x, y)


# Kernels made for a training


@pytest.mark.parametrize("name", program_cases.CASES)
def test_operations(name):
    f, shape = program_cases.CASES[name]
    p, x = program_cases.arrays(shape, shape)
    check_gradient(lambda m, x: f(m["p"], x), {"p": p}, x)


@pytest.mark.parametrize("name", scan_cases.SCANS)
def test_scans(name):
    check_gradient(*scan_cases.SCANS[name](np.float32))


def check_gradient(loss, model, *batch):
    """A compiled gradient beside NumPy's."""
    expected, slopes = flux.withgradient(lambda m: loss(m, *batch), model)
    there, moved = flux.gpu(model, batch)
    value, found = program_cases.compiled(loss, there, moved)(moved)
    np.testing.assert_allclose(value.get(), expected, rtol=1e-4)
    for a, b in zip(flux.leaves(found), flux.leaves(slopes), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a.get(), b, rtol=0, atol=1e-4 * max(1, np.abs(b).max(initial=0)))


@pytest.mark.parametrize("rows", [1, 128, 5_000])
@pytest.mark.parametrize("name", models.PERCEPTRONS)
def test_networks(name, rows):
    flux.seed(0)
    x, y = program_cases.arrays((rows, 784), (rows, 10))
    loss = models.LOSSES[name]
    check_gradient(lambda m, x, y: loss(m(x), y), models.build(name), x, np.abs(y) / 10)


@pytest.mark.parametrize("batchsize", [1, 16, 50])
@pytest.mark.parametrize("loader", [flux.DataLoader, program_cases.InOrder], ids=["slices", "numbers"])
def test_a_training_by_kernels(loader, batchsize, capsys):
    program_cases.check_trained(lambda: loader(program_cases.data(), batchsize))
    assert capsys.readouterr().err == cuda_engine.STARTED + "\n"


@pytest.mark.parametrize("rule", [branching.Branching(), pytest.param(branching.SCHEDULED, id="Adam, scheduled")])
def test_a_training_by_kernels_for_the_gradient(rule):
    loader = lambda: program_cases.InOrder(program_cases.data(), 16)  # noqa: E731
    program_cases.check_trained(loader, rule=rule, native="auto")


# The example


def mnist_run(folder, *options):
    arguments = ["--dataset", "digits", "--output", str(folder), *options]
    assert mnist.main(arguments) == 0
    model = models.build("2LR")
    flux.load(folder / "model.npz", model, flux.setup(flux.ADAM(), model))
    return model


def test_the_example(tmp_path, capsys):
    """Its batch gradient descent draws nothing at random; its mini-batches learn to read."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    batch = ["--variant", "batch", "--iterations", "20"]
    there, here = mnist_run(tmp_path / "gpu", *batch, "--device", "auto"), mnist_run(tmp_path / "cpu", *batch)
    flux.seed(0)
    for x, y, start in zip(flux.leaves(there), flux.leaves(here), flux.leaves(models.build("2LR")), strict=True):
        assert np.linalg.norm(x - y) <= 0.02 * np.linalg.norm(y - start)
    mnist_run(tmp_path / "learned", "--iterations", "1000", "--device", "gpu")
    shown = capsys.readouterr().out
    assert "--device auto: gpu. The GPU can be used" in shown
    images, labels = flux.data.digits("test")
    model = flux.gpu(models.build("2LR"))
    flux.load(tmp_path / "learned" / "model.npz", model)
    assert np.mean(flux.cpu(flux.onecold(model(flux.gpu(flux.flatten(images))))) == labels) > 0.85
