"""Losses and gradients by kernels made for them, run on the CPU by g++: the numbers of NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

import tinyflux as flux
from examples.common import models
from tests.support import cublas_standin, cuda_shim
from tests.support.device_standin import DeviceArray, root
from tests.support.program_cases import CASES, FUNCTIONS, arrays, compiled
from tinyflux.compile.backends.cuda import kernels, launches
from tinyflux.optimise.kernels import loss_guard

ACTIVATIONS = ["identity", "sigmoid", "tanh", "relu", "leakyrelu", "elu", "gelu", "swish", "softplus", "softmax"]
LOSSES = ["mse", "mae", "huber", "crossentropy", "logitcrossentropy", "binarycrossentropy", "logitbinarycrossentropy"]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}
pytestmark = pytest.mark.usefixtures("compiling")
orders = pytest.mark.parametrize("order", cuda_shim.ORDERS)


def check(loss, model, *batch, dtype=np.float32):
    """A compiled gradient beside NumPy's; returns the program."""
    expected, slopes = flux.withgradient(lambda m: loss(m, *batch), model)
    there, moved = flux.gpu(model, batch)
    program = compiled(loss, there, moved)
    for order in cuda_shim.ORDERS:
        cuda_shim.order = order
        value, found = program(moved)
        assert (value.shape, value.dtype) == ((), expected.dtype)
        np.testing.assert_allclose(value._host, expected, rtol=TOLERANCE[dtype])
        pairs = list(zip(flux.leaves(found), flux.leaves(slopes), strict=True))
        assert pairs
        for a, b in pairs:
            assert type(a) is DeviceArray
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a._host, b, rtol=0, atol=TOLERANCE[dtype] * max(1, np.abs(b).max(initial=0)))
    return program


# Layers and losses.


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_activations_and_losses(dtype):
    """Each loss behind an activation; networks of two layers, of odd sizes."""
    x, y = arrays((37, 11), (37, 5), dtype=dtype)
    y = np.abs(y) / np.abs(y).sum(axis=1, keepdims=True)
    flux.seed(0)
    for i, name in enumerate(ACTIVATIONS):
        named = LOSSES[i % len(LOSSES)]
        loss = getattr(flux, named)
        last = flux.identity if "logit" in named else flux.softmax if named == "crossentropy" else flux.sigmoid
        model = flux.Chain(flux.Dense(11, 7, getattr(flux, name)), flux.Dense(7, 5, last))
        model = flux.tree.map(lambda x: x.astype(dtype), model)
        check(lambda m, x, y, loss=loss: loss(m(x), y), model, x, y, dtype=dtype)


@pytest.fixture
def all_products(monkeypatch):
    """cuBLAS multiplies all matrices, however small."""
    monkeypatch.setattr(kernels, "pays", lambda product: True)


@pytest.mark.usefixtures("all_products")
def test_products_go_to_cublas_and_the_rest_is_fused():
    flux.seed(0)
    model = flux.Chain(flux.Dense(20, 16, flux.sigmoid), flux.Dense(16, 10, flux.sigmoid))
    x, y = arrays((32, 20), (32, 10))
    program = check(lambda m, x, y: flux.mse(m(x), y), model, x, y)
    made = program.source.launches
    multiplied = [step for step in made if isinstance(step, launches.Multiply)]
    # Two forwards, two for the weights, one for what flows back; each bias and sigmoid is one kernel, so is its slope.
    assert len(multiplied) == 5
    assert len(made) - len(multiplied) <= 8
    assert "cupy" not in program.source.text
    assert program.source.text.isascii()


def test_the_calls_of_a_step():
    """Of 4LS: a kernel goes through the rows, another makes sums of them, and the update."""
    x, y = arrays((128, 784), (128, 10))
    model, batch = flux.gpu(models.build("4LS"), (x, y))
    program = compiled(lambda m, x, y: flux.mse(m(x), y), model, batch)
    opt = flux.setup(flux.Descent(), model)
    updates = loss_guard.FiniteLossGuard(opt, model)
    for _ in range(2):
        cuda_shim.launches.clear()
        cublas_standin.products.clear()
        updates.step(*program(batch), 99, [])
    assert (len(cublas_standin.products), len(cuda_shim.launches)) == (0, 2 + 1)


def test_a_softmax_and_its_loss_are_one_kernel():
    """With the slope of the two: of the rows of 2LR's scores, that is nine loops."""
    x, y = arrays((40, 784), (40, 10))
    program = check(lambda m, x, y: flux.crossentropy(m(x), y), models.build("2LR"), x, np.abs(y))
    assert len(program.source.launches) == 2
    rows = program.source.text.split("void section")[1]
    assert rows.count("__syncthreads") > 2
    assert rows.count("begin = block * 10ll") > 2  # a block does its own


# Operations.


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_operations(name, dtype):
    f, shape = CASES[name]
    p, x = arrays(shape, shape, dtype=dtype)
    check(lambda m, x: f(m["p"], x), {"p": p}, x, dtype=dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_functions(dtype):
    (p,) = arrays((4, 5), dtype=dtype)
    with np.errstate(all="ignore"):
        model = {str(i): p.copy() for i in range(len(FUNCTIONS))}
        check(lambda m: sum(np.sum(f(0.5 + 0.1 * m[str(i)])) for i, f in enumerate(FUNCTIONS)), model, dtype=dtype)


@pytest.mark.usefixtures("all_products")
def test_a_convolution():
    """cuBLAS knows no windows: what sums over several axes goes to kernels, and what lies in one line to cuBLAS."""
    w, x, v, s = arrays((5, 3, 2, 3), (4, 3, 7, 9), (5, 6, 7, 2), (4, 3, 7, 9))

    def loss(m, x):
        x = (x * m["s"])[:, :, :, ::-1]
        y = np.einsum("ncyxij,ocij->noyx", sliding_window_view(x, (2, 3), (2, 3)), m["w"])
        return np.sum(np.sin(np.einsum("noyx,oyxk->nk", np.tanh(y), m["v"])))

    program = check(loss, {"w": w, "v": v, "s": s}, x)
    multiplied = [step for step in program.source.launches if isinstance(step, launches.Multiply)]
    assert [step.size[::2] for step in multiplied[:1]] == [(4, 5 * 6 * 7)]


@pytest.mark.usefixtures("all_products")
def test_products_that_cublas_is_not_asked_for():
    """A sum of several products, whose factors are whole matrices, and a product of a matrix inside an array."""
    a, b, c = arrays((3, 8, 9), (3, 9, 10), (10, 7))
    program = check(lambda m, b: np.sum(np.sin(np.einsum("lik,lkj->ij", m, b))), a, b)
    assert not any(isinstance(step, launches.Multiply) for step in program.source.launches)
    program = check(lambda m, b: np.sum(np.sin(b[1] @ m)), c, b)
    assert not any(isinstance(step, launches.Multiply) and step.size[:2] == (9, 7) for step in program.source.launches)


REDUCTIONS = {"sum": np.sum, "max": np.max, "mean": np.mean, "prod": np.prod}


@given(st.data())
def test_reductions_of_any_shape(data):
    shape = tuple(data.draw(st.lists(st.sampled_from([1, 2, 5, 33, 70]), min_size=1, max_size=3)))
    axes = tuple(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    function = REDUCTIONS[data.draw(st.sampled_from(sorted(REDUCTIONS)))]
    (p,) = arrays(shape, dtype=np.float64, seed=len(shape))
    check(lambda m: np.sum(np.cos(function(1 + m["p"] / 9, axis=axes))), {"p": p}, dtype=np.float64)


@orders
def test_sums_of_several_blocks(order):
    """So many numbers that more blocks than one add them up, and a second kernel brings these together."""
    p, x = arrays((20_000, 3), (20_000, 3))
    program = check(lambda m, x: np.sum(np.sum(m["p"] * x, axis=0) ** 2), {"p": p}, x)
    assert any(name.startswith("parts_of_") for name in program.source.arrays)


def test_tied_parameters():
    (w,) = arrays((6, 6))
    x = arrays((5, 6))[0]
    check(lambda m, x: np.sum(np.sin(x @ m[0]) @ m[1]), [w, w], x)


def test_a_parameter_without_a_gradient():
    p, q = arrays((4,), (3,))
    model, (x,) = flux.gpu({"p": p, "q": q}, arrays((4,)))
    assert compiled(lambda m, x: np.sum(m["p"] * x), model, (x,))([x])[1]["q"] is None


def test_memory_is_used_again():
    """Of a chain of twelve layers, no more arrays of a batch are held than a gradient needs: one a layer, or so."""
    flux.seed(0)
    model = flux.Chain(*[flux.Dense(16, 16, flux.tanh) for _ in range(12)])
    x, y = arrays((64, 16), (64, 16))
    program = check(lambda m, x, y: flux.mse(m(x), y), model, x, y)
    pieces = {
        id(root(a._host))
        for name, a in program.function._executable._arrays.items()
        if name.startswith("t") and a.size == 64 * 16
    }
    assert len([name for name in program.source.arrays if program.source.arrays[name][0] == 64 * 16]) > 20
    assert len(pieces) < 20


# Faults.

FAULTS = [
    ("__syncthreads();", ""),
    ("if (lane == 0 && e <", "if (lane == 1 && e <"),
    ("other < 64; ++other", "other < 63; ++other"),
    ("[threadIdx.x + other * 4]", "[threadIdx.x + other]"),
    ("r += 64", "r += 65"),
    ("ll + lane; r", "ll; r"),
    ("[part * 3ll + e] =", "[part * 3ll] ="),
    ("int part = block", "int part = 0 * block"),
    ("section1(blockIdx.x, ", "section1(0, "),
    ("= block * 256ll", "= 0 * block"),
]


@pytest.mark.parametrize(("old", "new"), FAULTS, ids=[f"{old} > {new}" for old, new in FAULTS])
def test_a_fault_is_found(old, new, monkeypatch):
    def everything():
        test_sums_of_several_blocks("forward")
        check(lambda m, x: np.sum(np.sin(m["p"] * x)), {"p": x}, x)

    (x,) = arrays((300, 5))
    everything()
    changed = cuda_shim.plant(monkeypatch, lambda code: code.replace(old, new))
    with pytest.raises((AssertionError, cuda_shim.ShimError)):
        everything()
    assert any(changed)


def test_what_a_warp_exchanges_is_waited_for():
    """The stand-in says so where a thread stays away from an exchange, or asks one that there is not."""
    for condition, lanes in (("threadIdx.x != 3", 1), ("true", 32)):
        code = f"""extern "C" __global__ void f(float* x) {{
            if ({condition}) x[threadIdx.x] += __shfl_xor_sync(0xffffffff, x[threadIdx.x], {lanes});
        }}"""
        with pytest.raises(cuda_shim.ShimError, match="an exchange"):
            cuda_shim.RawModule(code).get_function("f")((1,), (64,), [DeviceArray(np.ones(64, np.float32))])


@orders
def test_a_warp_exchanges_values(order):
    """Twice, between barriers: every thread has the sum of four."""
    cuda_shim.order = order
    code = """extern "C" __global__ void f(double* x) {
        double total = x[threadIdx.x];
        for (int other = 1; other < 4; other *= 2) total += __shfl_xor_sync(0xffffffff, total, other);
        __syncthreads();
        x[63 - threadIdx.x] = total;
    }"""
    x = np.random.default_rng(0).normal(size=64)
    found = DeviceArray(x.copy())
    cuda_shim.RawModule(code).get_function("f")((1,), (64,), [found])
    np.testing.assert_allclose(found._host, np.repeat(x.reshape(16, 4).sum(axis=1), 4)[::-1], rtol=1e-14)
