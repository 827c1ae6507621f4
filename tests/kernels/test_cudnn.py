"""Convolutions by cuDNN, for which a stand-in looks at every call and calculates: the numbers of NumPy."""

import contextlib
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinyflux as flux
from tests.support import cudnn_standin as standin
from tests.support.convolution_cases import CASES, inputs
from tests.support.cudnn_standin import there
from tests.support.device_standin import DeviceArray
from tinyflux.nn import cudnn as library
from tinyflux.nn.convolution import Geometry, convolve, correlate, spread

pytestmark = pytest.mark.usefixtures("cudnn")
TF32 = 2**-11  # what an operand is off by, of its size, at most


def named(case):
    name, options = case
    return f"{name}({', '.join(f'{key}={value}' for key, value in options.items())})"


def results(f, x, w):
    """The value of a function, its gradients, and the gradients of a sum of these."""

    def slopes(x, w):
        return sum(np.sum(np.sin(g)) for g in flux.gradient(lambda x, w: np.sum(f(x, w) ** 3), x, w))

    return f(x, w), *flux.gradient(lambda x, w: np.sum(f(x, w) ** 3), x, w), *flux.gradient(slopes, x, w)


def compare(f, x, w, tolerance=1e-12):
    expected = results(f, x, w)
    for got, value in zip(results(f, there(x), there(w)), expected, strict=True):
        assert type(got) is DeviceArray
        assert (got.shape, got.dtype) == (value.shape, value.dtype)
        np.testing.assert_allclose(got._host, value, rtol=0, atol=tolerance * np.abs(value).max(initial=0))


@pytest.mark.parametrize("case", CASES, ids=named)
def test_values_and_gradients(case):
    name, options = case
    x, w = inputs(name, **options)
    options = {key: value for key, value in options.items() if key != "axes"}
    compare(lambda x, w: getattr(flux, name)(x, w, **options), x, w)
    assert {run.function for run in standin.runs} == {"fprop", "dgrad", "wgrad"}


@pytest.mark.parametrize("pad", [((0, 1), (2, 0)), ((2, 1), (0, 3)), "same"], ids=str)
@pytest.mark.parametrize("stride", [1, 2, (3, 2)])
def test_pads_of_two_sides(pad, stride):
    x, w = inputs("conv", 2, 1)
    compare(lambda x, w: flux.conv(x, w, pad=pad, stride=stride), x, w)
    assert pad == "same" or any(run.pre != run.post for run in standin.runs)


@pytest.mark.parametrize("axes", [1, 3])
def test_pads_of_two_sides_of_other_axes(axes):
    x, w = inputs("conv", axes, 2)
    compare(lambda x, w: flux.conv(x, w, pad=((0, 2), (1, 0), (2, 1))[:axes], groups=2, dilation=2), x, w)


@pytest.mark.parametrize("stride", [1, 2])
def test_windows_of_a_pixel(stride):
    """What NumPy calculates as a product of matrices is cuDNN's, too."""
    x, w = np.sin(np.arange(2 * 5 * 4 * 8.0)).reshape(2, 5, 4, 8), np.cos(np.arange(48.0)).reshape(6, 1, 1, 8)
    compare(lambda x, w: flux.conv(x, w, stride=stride), x, w)
    assert len(standin.runs) > 0


def test_pixels_that_no_window_reads():
    x, w = np.sin(np.arange(2 * 9 * 9 * 4.0)).reshape(2, 9, 9, 4), np.cos(np.arange(96.0)).reshape(6, 2, 2, 4)
    compare(lambda x, w: flux.conv(x, w, stride=4), x, w)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 3e-3), ("float32", 8 * TF32), ("float64", 1e-13)])
def test_dtypes(dtype, tolerance):
    """float16 rounds results by 2⁻¹¹; TF32 operands, whose products' errors partly cancel."""
    x, w = (a.astype(dtype) for a in inputs("conv", 2, 1))
    y, expected = flux.conv(there(x), there(w)), flux.conv(x.astype("d"), w.astype("d"))
    assert y.dtype == dtype
    np.testing.assert_allclose(y._host, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("dtypes", [("f", "d"), ("d", "f")])
def test_the_two_dtypes_are_brought_together(dtypes):
    x, w = (a.astype(dtype) for a, dtype in zip(inputs("conv", 2, 1), dtypes))
    y = flux.conv(there(x), there(w))
    assert y.dtype == np.float64
    np.testing.assert_allclose(y._host, flux.conv(x, w), rtol=1e-12)
    assert [run.kind for run in standin.runs] == [standin.Kind.DOUBLE]


def test_arrays_apart_are_refused():
    x, w = inputs("conv", 2, 1)
    for arrays in ((there(x), w), (x, there(w))):
        with pytest.raises(TypeError, match=r"Unsupported type|NumPy"):
            flux.conv(*arrays)
        with pytest.raises(flux.MixedDevices):
            flux.gradient(lambda x, w: np.sum(flux.conv(x, w)), *arrays)


def test_tf32():
    """By default, and not after allow_tf32(False); float64 may take tensor cores, which calculate it as it is."""
    x, w = (a.astype(np.float32) for a in inputs("conv", 2, 1))
    expected = flux.conv(x.astype("d"), w.astype("d"))
    scale = np.abs(expected).max()
    assert flux.allow_tf32(True) is True
    assert 1e-5 < np.abs(flux.conv(there(x), there(w))._host - expected).max() / scale < 1e-2
    assert flux.allow_tf32(False) is True
    assert np.abs(flux.conv(there(x), there(w))._host - expected).max() / scale < 1e-6
    assert flux.allow_tf32(True) is False
    assert np.abs(flux.conv(there(x), there(w))._host - expected).max() / scale > 1e-5
    assert [plan.tensor_cores for plan in standin.plans] == [True, False]
    flux.allow_tf32(False)
    flux.conv(there(x.astype("d")), there(w))
    assert standin.plans[-1].tensor_cores
    with pytest.raises(TypeError, match=r"allow_tf32: expected allowed to be True or False, got 'yes'\."):
        flux.allow_tf32("yes")


def test_a_plan_is_made_once():
    x, w = map(there, inputs("conv", 2, 1))
    for _ in range(3):
        flux.gradient(lambda x, w: np.sum(flux.conv(x, w, pad=1) ** 2), x, w)
    assert (len(standin.plans), len(standin.runs), len(standin.handles)) == (3, 9, 1)


WAYS = [
    lambda x, w: flux.conv(x, w),
    lambda x, w: flux.conv(x, w, stride=2),
    lambda x, w: flux.conv(x, w, stride=(1, 2)),
    lambda x, w: flux.conv(x, w, stride=(2, 1)),
    lambda x, w: flux.conv(x, w, pad=((1, 0), (0, 0))),
    lambda x, w: flux.conv(x, w, pad=((0, 1), (0, 0))),
    lambda x, w: flux.conv(x, w, dilation=2),
    lambda x, w: flux.conv(x, w, dilation=2, pad=((0, 1), (0, 0))),
    lambda x, w: flux.conv(x, w[..., :2], groups=2),
    lambda x, w: flux.conv(x[:1], w),
    lambda x, w: flux.conv(x[:, 1:], w),
    lambda x, w: flux.conv(x, w[:4]),
    lambda x, w: flux.conv(x, w[:, 1:]),
    lambda x, w: flux.conv_transpose(x, w[:4], stride=2),
    lambda x, w: flux.conv_transpose(x, w[:4], stride=2, outpad=1),
    lambda x, w: flux.conv(x.astype(np.float32), w.astype(np.float32)),
]


def test_each_kind_has_a_plan_of_its_own():
    """All in one process, forwards and back: what one is calculated by is nothing for the others."""
    x, w = inputs("conv", 2, 1)
    for ways in (WAYS, WAYS[::-1]):
        for f in ways:
            got, expected = f(there(x), there(w)), f(x, w)
            np.testing.assert_allclose(got._host, expected, rtol=0, atol=1e-2 * np.abs(expected).max())
    assert len(standin.plans) == len(WAYS)


def test_plans_are_bounded(monkeypatch):
    assert library._make_plan.cache_info().maxsize == library.MAX_PLANS


def test_the_stream_is_cupys(monkeypatch):
    x, w = map(there, inputs("conv", 2, 1))
    for stream in (7, 7, 9, 7):
        monkeypatch.setattr(standin, "stream", stream)
        flux.conv(x, w)
    assert len(standin.plans) == len(standin.handles) == 1
    assert standin.told == [7, 9, 7]  # which takes the library microseconds


def test_a_device_has_a_handle_and_plans_of_its_own(monkeypatch):
    import cupy

    x, w = map(there, inputs("conv", 2, 1))
    for device in (0, 1, 0, 1):
        monkeypatch.setattr(cupy.cuda, "Device", lambda device=device: types.SimpleNamespace(id=device))
        flux.conv(x, w)
    assert len(standin.plans) == len(standin.handles) == 2


def test_threads_leave_no_handles_behind():
    x, w = map(there, inputs("conv", 2, 1))
    for _ in range(3):
        thread = threading.Thread(target=flux.conv, args=(x, w))
        thread.start()
        thread.join()
    assert (len(standin.plans), len(standin.handles)) == (1, 1)


def test_threads_that_run_at_the_same_time_have_handles_of_their_own(monkeypatch):
    x, w = map(there, inputs("conv", 2, 1))
    flux.conv(x, w)
    both, execute, used = threading.Barrier(2, timeout=60), standin.Graph.execute, []

    def wait(graph, pointers, workspace, handle):
        used.append(handle)
        both.wait()
        execute(graph, pointers, workspace, handle)

    monkeypatch.setattr(standin.Graph, "execute", wait)
    with ThreadPoolExecutor(2) as pool:
        for call in [pool.submit(flux.conv, x, w) for _ in range(2)]:
            call.result()
    assert sorted(used) == sorted(standin.handles)
    assert len(used) == 2


def test_a_failure_leaves_no_handle_behind(monkeypatch):
    x, w = map(there, inputs("conv", 2, 1))
    for failure in ("CUDNN_STATUS_EXECUTION_FAILED", ""):
        monkeypatch.setattr(standin, "failure", failure)
        with pytest.raises(RuntimeError) if failure else contextlib.nullcontext():
            flux.conv(x, w)
    assert len(standin.handles) == 1


def test_arrays_that_lie_otherwise():
    """Transposed, with steps, or from an address on that cuDNN can't read from: they are copied, and not changed."""
    x, w = inputs("conv", 2, 1)
    expected = flux.conv(x, w)
    turned = DeviceArray(np.ascontiguousarray(x.T)).T
    apart = there(np.repeat(w, 2, axis=1))[:, ::2]
    np.testing.assert_allclose(flux.conv(turned, apart)._host, expected, rtol=1e-12)
    line = DeviceArray(np.concatenate([[0.0], x.ravel()]))
    shifted = line[1:].reshape(x.shape)
    assert shifted.data.ptr % library.ALIGNMENT
    np.testing.assert_allclose(flux.conv(shifted, there(w))._host, expected, rtol=1e-12)


def test_a_result_that_begins_anywhere():
    """In a compiled program a result may lie inside an array: no element around it is touched."""
    x, w = inputs("conv", 2, 1)
    expected = flux.conv(x, w)
    how = Geometry((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    plan = library.find_plan("convolve", (x.shape, w.shape, expected.shape), how, x.dtype)
    for start in (0, 1):
        out = DeviceArray(np.full(expected.size + 5, 77.0))
        plan(there(x), there(w), out[start:])
        np.testing.assert_allclose(out._host[start : start + expected.size], expected.ravel(), rtol=1e-12)
        assert (np.delete(out._host, np.arange(start, start + expected.size)) == 77).all()


def test_the_three_products_on_their_own():
    """Of whole numbers, which any order of summation gives exactly: ⟨y, x ∗ w⟩ is the same, whichever is left out."""
    rng = np.random.default_rng(0)
    how = Geometry((2, 1), ((1, 0), (0, 2)), (1, 2), 2)
    x, w = rng.integers(-4, 5, (3, 7, 6, 4)).astype("d"), rng.integers(-4, 5, (6, 3, 2, 2)).astype("d")
    y = rng.integers(-4, 5, (3, *how.out((7, 6), (3, 2)), 6)).astype("d")
    x, w, y = map(there, (x, w, y))
    sums = [
        np.sum(y * convolve(x, w, how)), np.sum(x * spread(y, w, how, (7, 6))), np.sum(w * correlate(x, y, how, (3, 2)))
    ]  # fmt: skip
    assert sums[0].item() == sums[1].item() == sums[2].item() != 0


def test_what_cudnn_cannot_do_goes_the_other_way(monkeypatch):
    x, w = inputs("conv", 2, 1)
    monkeypatch.setattr(standin, "unsupported", lambda graph: graph.function != "wgrad")
    compare(lambda x, w: flux.conv(x, w, pad=1), x, w)
    assert {run.function for run in standin.runs} == {"wgrad"}
    whole = (10 * x).astype(np.int64), (10 * w).astype(np.int64)
    np.testing.assert_array_equal(flux.conv(*map(there, whole))._host, flux.conv(*whole))
    compare(lambda x, w: flux.conv(x, w) + 1, x[:0], w, 0)


def test_an_error_names_what_was_asked(monkeypatch):
    x, w = (a.astype(np.float32) for a in inputs("conv", 2, 1))
    monkeypatch.setattr(standin, "failure", "CUDNN_STATUS_EXECUTION_FAILED")
    asked = (
        r"convolve arrays of float32 of shapes \(2, 9, 8, 4\) and \(6, 3, 2, 4\) to \(2, 7, 7, 6\), by Geometry\(str"
    )
    with pytest.raises(RuntimeError, match=rf"cuDNN 9\.28\.1 failed to {asked}.*: CUDNN_STATUS_EX.*pip (install|unin)"):
        flux.conv(there(x), there(w))
    monkeypatch.setattr(standin, "failure", "")
    monkeypatch.setattr(standin.Graph, "check_support", lambda graph: (_ for _ in ()).throw(RuntimeError("no NVRTC")))
    with pytest.raises(RuntimeError, match=r"failed to convolve arrays .* \(2, 4, 4, 6\), by .*: no NVRTC\. Install"):
        flux.conv(there(x), there(w), stride=2)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cudnn", None)
    standin.forget()
    x, w = inputs("conv", 2, 1)
    compare(lambda x, w: flux.conv(x, w, pad=1), x, w, 1e-12)
    assert not standin.runs
    assert library.status().startswith("cuDNN is not installed, with which convolutions on a GPU are faster; pip inst")
    assert "[cudnn13x]" in library.status()


BROKEN = {
    "no library": (
        "backend_version",
        lambda: 1 / 0,
        r"nvidia-cudnn-frontend finds no library \(division by zero\); pip",
    ),
    "an old one": ("backend_version", lambda: 8907, r"it is version 9\.28\.1, older than 9; pip install"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_installation_is_told(name, cudnn, monkeypatch):
    attribute, value, message = BROKEN[name]
    monkeypatch.setattr(cudnn, attribute, value)
    x, w = inputs("conv", 2, 1)
    with pytest.warns(RuntimeWarning, match=f"cuDNN can't be used: {message}"):
        y = flux.conv(there(x), there(w))
    np.testing.assert_allclose(y._host, flux.conv(x, w), rtol=1e-12)
    assert not standin.runs


def test_the_doctor(cupy, monkeypatch):
    from tinyflux import device, doctor

    device._fault.cache_clear()
    told = lambda: next(line for line in doctor.report().splitlines() if line.startswith("cuDNN"))  # noqa: E731
    assert told() == "cuDNN 9.28.1, by nvidia-cudnn-frontend 1.26.0"
    assert len(standin.runs) == 1
    monkeypatch.setattr(standin, "failure", "CUDNN_STATUS_EXECUTION_FAILED")
    assert told().startswith("cuDNN 9.28.1 failed to convolve arrays of float32")
    monkeypatch.setattr(standin, "failure", "")
    monkeypatch.setattr(standin.Graph, "_fprop", lambda graph, x, w: np.zeros(graph.out.dim))
    assert told().endswith("by nvidia-cudnn-frontend 1.26.0, which calculates wrongly: install it anew")
    monkeypatch.setitem(sys.modules, "cudnn", None)
    standin.forget()
    assert told().startswith("cuDNN is not installed")
    device._fault.cache_clear()


def test_the_extras_that_are_named():
    import configparser
    from pathlib import Path

    written = configparser.ConfigParser()
    written.read(Path(__file__).parents[2] / "setup.cfg")
    extras = written["options.extras_require"]
    for cuda in ("12", "13"):
        brought = extras[f"cudnn{cuda}x"]
        assert f"[cudnn{cuda}x]" in library._install()
        assert f"nvidia-cudnn-cu{cuda}" in brought
        assert extras[f"cuda{cuda}x"] in brought
