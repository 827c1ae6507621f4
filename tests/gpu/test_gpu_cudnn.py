"""cuDNN on a GPU beside NumPy in float64, with tolerances that follow from the arithmetic."""

import numpy as np
import pytest

import tinyflux as flux
from tests.support.convolution_cases import CASES, inputs
from tinyflux.nn import cudnn

if "can't" in flux.gpu_status():
    pytest.skip(flux.gpu_status(), allow_module_level=True)
if cudnn.fault():
    pytest.skip(cudnn.fault(), allow_module_level=True)
pytestmark = pytest.mark.gpu

# Of the largest result. In TF32 operands are off by 2⁻¹¹ of their size, and so about are sums, in which errors cancel;
# Winograd's way of multiplying in float32 costs two digits; float16 rounds what was added up in float32.
TOLERANCES = {
    "TF32": ("float32", True, 16 * 2**-11),
    "float32": ("float32", False, 1e-4),
    "float64": ("float64", True, 1e-12),
    "float16": ("float16", True, 4 * 2**-11),
}
PADS = [("conv", {"axes": 2, "stride": s, "pad": ((0, 1), (2, 0)), "dilation": 1, "groups": 1}) for s in (1, 2)]


@pytest.fixture(autouse=True)
def _as_before():
    before = flux.allow_tf32(True)
    yield
    flux.allow_tf32(before)


@pytest.mark.parametrize("kind", TOLERANCES)
@pytest.mark.parametrize("case", CASES + PADS, ids=str)
def test_products(case, kind):
    """A value and both gradients, of an image with a cotangent of its own."""
    dtype, tf32, tolerance = TOLERANCES[kind]
    flux.allow_tf32(tf32)
    name, options = case
    x, w = (a.astype(dtype) for a in inputs(name, **options))
    options = {key: value for key, value in options.items() if key != "axes"}
    f = lambda x, w: getattr(flux, name)(x, w, **options)  # noqa: E731
    value, back = flux.pullback(f, x.astype("d"), w.astype("d"))
    g = np.cos(np.arange(value.size)).reshape(value.shape).astype(dtype)
    there, there_back = flux.pullback(f, *flux.gpu(x, w))
    expected, got = [value, *back(g.astype("d"))], [there, *there_back(flux.gpu(g))]
    made = cudnn._make_plan.cache_info().currsize
    assert made > 0
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(flux.cpu(a), b, rtol=0, atol=tolerance * np.abs(b).max())


def test_every_case_is_cudnns():
    """Nothing of these falls back to packed windows."""
    x, w = flux.gpu(*inputs("conv", 2, 1))
    flux.gradient(lambda x, w: np.sum(flux.conv(x, w, pad=1) ** 2), x, w)
    before = cudnn._make_plan.cache_info().hits
    flux.gradient(lambda x, w: np.sum(flux.conv(x, w, pad=1) ** 2), x, w)
    assert cudnn._make_plan.cache_info().hits == before + 3


def test_a_large_convolution():
    """Whose plans take tensor cores: TF32 is off by about 1e-3, plain float32 by much less."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((16, 32, 32, 64), "f"), rng.standard_normal((64, 3, 3, 64), "f")
    expected = flux.conv(x.astype("d"), w.astype("d"), pad=1)
    errors = []
    for allowed in (True, False):
        flux.allow_tf32(allowed)
        errors.append(np.abs(flux.cpu(flux.conv(*flux.gpu(x, w), pad=1)) - expected).max() / np.abs(expected).max())
    assert errors[1] < 5e-5 < errors[0] < 5e-3


def test_another_stream():
    """Work in a stream of its own comes after what was queued there before, and before what is queued after."""
    import cupy

    x, w = flux.gpu(*inputs("conv", 2, 1))
    expected = flux.cpu(flux.conv(x, w))
    with cupy.cuda.Stream(non_blocking=True) as stream:
        slow = x
        for _ in range(50):
            slow = slow * 1.0
        y = flux.conv(slow, w) * 1.0
        stream.synchronize()
    np.testing.assert_allclose(flux.cpu(y), expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_a_training():
    """LeNet-5, whose weights begin anywhere in the parameters' buffer; with kernels around cuDNN, by CuPy, in NumPy."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 28, 28, 1), "f"), flux.onehotbatch(np.arange(40) % 10, range(10)).astype("f")
    flux.allow_tf32(False)
    trained = []
    for move, native in ((flux.cpu, False), (flux.gpu, False), (flux.gpu, True)):
        flux.seed(0)
        model = move(flux.models.lenet5())
        data = flux.DataLoader(move((x, y)), batchsize=16)
        loss = lambda m, x, y: flux.logitcrossentropy(m(x), y)  # noqa: E731
        losses = flux.train(loss, model, data, flux.setup(flux.Descent(0.05), model), 3, compile=native)
        trained.append((losses, [flux.cpu(p) for p in flux.parameters(model)]))
    for losses, parameters in trained[1:]:
        np.testing.assert_allclose(losses, trained[0][0], rtol=1e-3)
        for a, b in zip(parameters, trained[0][1], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-3 * np.abs(b).max())
