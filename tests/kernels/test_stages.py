"""What is calculated together: the numbers of NumPy, in few launches, whatever the shapes and the order of threads."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinyflux as flux
from examples.common import models
from tests.kernels.test_device_programs import check
from tests.support import cuda_shim
from tests.support.program_cases import arrays
from tinyflux.compile.backends.cuda import levels, persistent, rows, sections
from tinyflux.compile.backends.cuda.launches import Multiply
from tinyflux.training import cuda_iteration

pytestmark = pytest.mark.usefixtures("compiling")
LENGTHS = [1, 2, 7, 16, 33, 70, 130]


@pytest.fixture(autouse=True)
def launched(monkeypatch):
    """Iterations are launched, not made by one kernel, however small they are."""
    monkeypatch.setattr(persistent, "WORK", 0)


few = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(*[st.sampled_from(LENGTHS)] * 3, st.booleans(), st.booleans(), st.sampled_from([1, 1 << 8, 1 << 16]))
def test_products_with_what_comes_behind_them(m, n, k, left, right, busy):
    """Bias, activation and slope; operands as they are and transposed; with one lane to a result, some, and many."""
    w, x, b = arrays((k, n) if right else (n, k), (m, k) if left else (k, m), (n,), dtype=np.float64)

    def loss(p, x):
        z = (x if left else x.T) @ (p["w"] if right else p["w"].T) + p["b"]
        return np.mean(np.tanh(z) ** 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "BUSY", busy)
        check(loss, {"w": w, "b": b}, x, dtype=np.float64)


@few
@given(
    st.sampled_from(LENGTHS), st.sampled_from(LENGTHS), st.sampled_from(["sum", "max", "prod", "mean"]), st.booleans()
)
def test_totals_of_totals(m, n, function, along):
    """Sums whose results others bring together, element by element or in other places."""
    p, x = arrays((m, n), (m, n), dtype=np.float64)

    def loss(model, x):
        y = getattr(np, function)(np.cos(model["p"] * x), axis=int(along), keepdims=True)
        return np.sum(np.sin(model["p"] / (3 + y)) * y) + np.sum(y**2)

    check(loss, {"p": p}, x, dtype=np.float64)


NETWORKS = {
    "softmax": (lambda m, x, y: flux.crossentropy(flux.softmax(m(x), axis=1), y), flux.tanh),
    "mse": (lambda m, x, y: flux.mse(m(x), y), flux.sigmoid),
    "logits": (lambda m, x, y: flux.logitcrossentropy(m(x), y), flux.relu),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("many", [1, 1 << 30], ids=["a thread for each row", "blocks of rows"])
@pytest.mark.parametrize("name", NETWORKS)
def test_rows(name, many, dtype, monkeypatch):
    """Through three layers and back in one launch; sums over the rows in another."""
    monkeypatch.setattr(rows, "MANY", many)
    monkeypatch.setattr(sections, "ROW_BLOCKS", 8)
    loss, activation = NETWORKS[name]
    flux.seed(0)
    model = flux.Chain(flux.Dense(7, 6, activation), flux.Dense(6, 5, activation), flux.Dense(5, 4))
    model = flux.tree.map(lambda x: x.astype(dtype), model)
    x, y = arrays((61, 7), (61, 4), dtype=dtype)
    y = np.abs(y) / np.abs(y).sum(axis=1, keepdims=True)
    program = check(loss, model, x, y, dtype=dtype)
    assert len(program.source.launches) == 2
    assert ("#pragma unroll\n" in program.source.text.split("void section")[1]) == (many == 1)


def test_a_gradient_that_lies_transposed():
    """The map behind it is calculated in its order, by the same section."""
    w, x = arrays((9, 20), (9, 30), dtype=np.float64)
    program = check(lambda p, x: np.sum(np.sin(p["w"].T @ x)) + np.sum(p["w"] ** 3), {"w": w}, x, dtype=np.float64)
    assert len(program.source.launches) == 2


# Whole iterations.


@pytest.fixture
def iterations(monkeypatch):
    """The programs of trainings."""
    made, make = [], cuda_iteration.CudaIteration.__init__

    def kept(self, *args):
        make(self, *args)
        made.append(self)

    monkeypatch.setattr(cuda_iteration.CudaIteration, "__init__", kept)
    return made


LARGE = {"4LS": (7, 2), "3LS": (12, 5), "2LR": (7, 2)}  # launches at batch 60,000, and those of cuBLAS among them


class Made(Exception):
    """An iteration's program was made, and is not run."""


@pytest.mark.parametrize("rule", [flux.Descent(0.1), flux.Adam(0.01)], ids=["Descent", "Adam"])
@pytest.mark.parametrize("batchsize", [1, 128, 60_000])
@pytest.mark.parametrize("name", LARGE)
def test_launches_of_an_iteration(name, batchsize, rule, iterations, monkeypatch):
    def run(*args):
        raise Made

    monkeypatch.setattr(cuda_iteration.CudaIteration, "run", run)
    loss, model = models.LOSSES[name], flux.gpu(models.build(name))
    data = flux.gpu(np.zeros((60_000, 784), np.float32), np.zeros((60_000, 10), np.float32))
    loader = flux.DataLoader(data, batchsize, shuffle=True)
    with pytest.raises(Made):
        flux.train(lambda m, x, y: loss(m(x), y), model, loader, flux.setup(rule, model), compile=True)
    launched = iterations[-1].source.launches
    expected = LARGE[name] if batchsize == 60_000 else (2 if batchsize == 1 else 3, 0)
    assert (len(launched), sum(isinstance(launch, Multiply) for launch in launched)) == expected


RULES = [flux.Descent(0.1), flux.Adam(0.01), flux.OptimiserChain(flux.ClipNorm(0.5), flux.Momentum(0.1))]


def trained(move, rule, scale=1.0, batchsize=8):
    flux.seed(0)
    model = move(flux.Chain(flux.Dense(5, 4, flux.tanh), flux.Dense(4, 3)))
    x, y = arrays((24, 5), (24, 3))
    x[17] *= scale
    opt = flux.setup(rule, model)
    with np.errstate(all="ignore"):
        try:
            losses = flux.train(
                lambda m, x, y: flux.mse(m(x), y), model, flux.DataLoader(move((x, y)), batchsize), opt, 2,
                compile=move is flux.gpu,
            )  # fmt: skip
        except flux.NonFiniteLoss as error:
            losses = [str(error)]
    return losses, flux.leaves(flux.cpu(model))


def check_training(rule, scale=1.0, batchsize=8):
    (losses, parameters), (found, others) = (trained(move, rule, scale, batchsize) for move in (lambda x: x, flux.gpu))
    assert losses == found or not isinstance(losses[0], str)
    if not isinstance(losses[0], str):
        np.testing.assert_allclose(found, losses, rtol=1e-5)
    for x, y in zip(parameters, others, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("order", cuda_shim.ORDERS)
@pytest.mark.parametrize("scale", [1.0, np.nan])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_updates_behind_gradients(rule, scale, order):
    """Those of a batch whose loss is not finite, and of later ones, are left out."""
    cuda_shim.order = order
    check_training(rule, scale)


def check_orders():
    for name in cuda_shim.ORDERS:
        cuda_shim.order = name
        check_training(RULES[0])
        check_training(RULES[0], np.nan)


FAULTS = {
    "a barrier between stages": ("__syncthreads();\n    {", "{"),
    "the look at the loss": ("if (record[1] - record[1] != 0) return;", ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_kernel_is_found(name, monkeypatch):
    old, new = FAULTS[name]
    changed = cuda_shim.plant(monkeypatch, lambda code: code.replace(old, new))
    with pytest.raises((AssertionError, cuda_shim.ShimError)):
        check_orders()
    assert any(changed)


def test_what_is_overwritten_too_early_is_found(monkeypatch):
    """An update beside what still reads the parameter, or is still to look at the loss."""
    find = levels.find_levels

    def careless(steps):
        *others, last_but_one, last = find(steps)
        return [*others, [*last_but_one, *last]]

    monkeypatch.setattr("tinyflux.compile.backends.cuda.kernels.find_levels", careless)
    with pytest.raises(AssertionError):
        check_orders()
