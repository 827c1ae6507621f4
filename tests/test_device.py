"""gpu, cpu and gpu_status: what is moved, what is refused, and what is said where there is no GPU."""

import subprocess
import sys

import numpy as np
import pytest

import tinyflux as flux
from tests.support import device_standin as standin
from tests.support.device_standin import DeviceArray
from tinyflux import device, doctor
from tinyflux.installed import pip_install


@pytest.fixture
def cupy(monkeypatch):
    """A module in the place of CuPy, whose GPU is the stand-in's."""
    module = standin.cupy_module()
    monkeypatch.setitem(sys.modules, "cupy", module)
    device._fault.cache_clear()
    yield module
    device._fault.cache_clear()


def fails(error):
    def failing(*args):
        raise error

    return failing


# Whether the GPU can be used.


def test_a_gpu_that_can_be_used(cupy):
    assert flux.gpu_status() == "The GPU can be used: Stand-in, CuPy 14.2.0 with CUDA 13.2."


INSUFFICIENT = RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")
NO_DEVICE = RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
NO_NVRTC = RuntimeError('Failure finding "libnvrtc.so.13 or libnvrtc.so.12": No such file: libnvrtc.so.13')
NO_CURAND = ImportError('Failure finding "libcurand.so.10": No such file: libcurand.so.10')
NO_CUBLAS = ImportError('Failure finding "libcublasLt.so.13 or libcublasLt.so.12": No such file: libcublasLt.so.13')
FAULTS = {
    "no driver": ({"driverGetVersion": lambda: 0, "getDeviceCount": fails(INSUFFICIENT)}, {}, "no NVIDIA driver"),
    "an old driver": (
        {"driverGetVersion": lambda: 12020, "getDeviceCount": fails(INSUFFICIENT)},
        {},
        r"too old: it is for CUDA 12.2, CuPy for CUDA 13.2; update the driver, or pip install \".*\[cuda12x\]\"",
    ),
    "no device": ({"getDeviceCount": fails(NO_DEVICE)}, {}, "finds no device; look at nvidia-smi and the variable"),
    "count 0": ({"getDeviceCount": lambda: 0}, {}, "finds no device"),
    "a failure": ({"getDeviceCount": fails(RuntimeError("cudaErrorUnknown"))}, {}, "RuntimeError: cudaErrorUnknown"),
    "no NVRTC": ({}, {"RawKernel": fails(NO_NVRTC)}, r"NVRTC is missing.*libnvrtc.*\[cuda13x\]\".* brings it"),
    "no cuBLAS": ({}, {"__matmul__": fails(NO_CUBLAS)}, r"cuBLAS is missing.*libcublasLt.*\[cuda13x\]\".* brings it"),
    "no cuRAND": ({}, {"random.RandomState": fails(NO_CURAND)}, r"cuRAND is missing.*\[cuda13x\]\".* brings it"),
    "wrong results": ({}, {"__matmul__": lambda a, b: a * b}, "calculates wrongly"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_missing(fault, cupy, monkeypatch):
    runtime, others, said = FAULTS[fault]
    for name, function in runtime.items():
        monkeypatch.setattr(cupy.cuda.runtime, name, function)
    for name, function in others.items():
        place = DeviceArray if name.startswith("__") else cupy.random if name.startswith("random.") else cupy
        monkeypatch.setattr(place, name.removeprefix("random."), function)
    assert flux.gpu_status().startswith("The GPU can't be used: ")
    with pytest.raises(flux.GPUNotAvailable, match=said):
        flux.gpu(np.ones(2))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("raise ModuleNotFoundError(\"No module named 'cupy'\", name='cupy')", "CuPy is not installed; pip install"),
        ("raise ModuleNotFoundError(\"No module named 'fastrlock'\", name='fastrlock')", "CuPy can't be imported"),
        ("raise ImportError('libcudart.so.13: cannot open shared object file')", "CuPy can't be imported (ImportError"),
    ],
)
def test_no_cupy(tmp_path, found, said):
    """In a process of its own, where a module named cupy fails as it does when it is missing or broken."""
    (tmp_path / "cupy.py").write_text(found)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import tinyflux as flux; print(flux.gpu_status())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert said in run.stdout
    assert pip_install("cuda13x", "cuda12x") in run.stdout


def test_what_cupy_itself_says():
    """The installed CuPy, in a process of its own: with a GPU or without, there is an answer and no error."""
    code = "import tinyflux as flux, sys; assert 'cupy' not in sys.modules; print(flux.gpu_status())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert run.stdout.startswith(("The GPU can be used: ", "The GPU can't be used: "))


def test_the_probe_runs_once(cupy):
    flux.gpu_status()
    cupy.RawKernel = fails(AssertionError("tried again"))
    assert flux.gpu_status().startswith("The GPU can be used")


def test_the_doctor(cupy):
    lines = doctor.report().splitlines()
    first = ["tinyflux", "Python", "NumPy", "SciPy", "CuPy", "cuDNN", "C", "Cores:", "The"]
    assert [line.split()[0] for line in lines if line.split()[0] in first] == first
    assert lines[-1] == flux.gpu_status()


# Moving.


def test_arrays_in_any_tree(cupy):
    x = np.arange(3.0)
    tree = {"x": x, "rest": [np.arange(2), ("a", 1)], "mask": np.array([True])}
    moved = flux.gpu(tree)
    assert {type(a) for a in flux.leaves(moved)} == {DeviceArray}
    assert [a.dtype for a in flux.leaves(moved)] == [a.dtype for a in flux.leaves(tree)]
    assert moved["rest"][1] == ("a", 1)
    assert tree["x"] is x
    back = flux.cpu(moved)
    assert {type(a) for a in flux.leaves(back)} == {np.ndarray}
    assert back["x"].tolist() == [0, 1, 2]


def test_one_tree_or_several(cupy):
    assert type(flux.gpu(np.ones(1))) is DeviceArray
    assert [type(x) for x in flux.gpu(np.ones(1), np.ones(1))] == [DeviceArray] * 2
    assert type(flux.gpu((np.ones(1),))[0]) is DeviceArray
    assert flux.gpu() == ()


def test_what_is_there_already_stays(cupy):
    model = flux.Dense(3, 2)
    assert flux.cpu(model) is model
    there = flux.gpu(model)
    assert flux.gpu(there) is there


def test_cpu_needs_no_gpu(cupy, monkeypatch):
    monkeypatch.setattr(cupy.cuda.runtime, "driverGetVersion", lambda: 0)
    x, y = flux.cpu(np.ones(2), np.array(["text"]))
    assert (x.tolist(), y.tolist()) == ([1, 1], ["text"])


def test_tied_arrays_stay_tied(cupy):
    x = np.ones(2)
    a, b = flux.gpu({"one": x, "two": x}, [x])
    assert a["one"] is a["two"] is b[0]


def test_a_layer_in_two_places_stays_one(cupy):
    """Also in two trees: each place counts on the same state."""
    layer = flux.BatchNorm(2)
    model, (again,) = flux.gpu(flux.Chain(layer, layer), [layer])
    assert model[0] is model[1] is again is not layer
    assert type(again.running_mean) is DeviceArray
    back = flux.cpu(model)
    assert back[0] is back[1] is not layer
    flux.trainmode(back)
    back(np.full((4, 2), 3.0, np.float32))
    once = flux.BatchNorm(2)
    flux.trainmode(once)
    once(once(np.full((4, 2), 3.0, np.float32)))
    assert back[0].running_mean.tolist() == once.running_mean.tolist()


def test_buffers_are_moved(cupy):
    model = flux.gpu(flux.Chain(flux.Dense(2, 2), flux.Dropout(0.5, seed=1)))
    assert type(model[1].state) is DeviceArray
    assert flux.cpu(model)[1].state.tolist() == [1, 0]


def test_text_is_refused_by_its_place(cupy):
    with pytest.raises(TypeError, match=r"gpu: expected arrays of numbers, got <U1 at \['labels'\]"):
        flux.gpu({"labels": np.array(["a"])})


def test_a_loader_on_the_device(cupy):
    loader = flux.gpu(flux.DataLoader((np.arange(6.0), np.arange(6)), 4, shuffle=True, rng=np.random.default_rng(0)))
    x, y = next(iter(loader))
    assert type(x) is type(y) is DeviceArray
    assert x.tolist() == y.tolist()


# Optimiser states.


def half_trained():
    """A tied model with two steps behind it, one part adjusted, one frozen."""
    flux.seed(1)
    layer = flux.Dense(3, 3, flux.tanh)
    model = flux.Chain(layer, layer, flux.Dense(3, 1))
    opt = flux.setup(flux.Adam(0.01), model)
    step(model, opt)
    flux.adjust(opt[2], eta=0.5)
    flux.freeze(opt[2].bias)
    step(model, opt)
    return model, opt


def step(model, opt):
    x = np.asarray(np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), like=flux.leaves(model)[0])
    flux.update(opt, model, flux.gradient(lambda m: np.mean(m(x) ** 2), model))


def same_training(model, opt, other, other_opt):
    """The same arrays, rules, averages, numbers and flags."""
    for x, y in zip(flux.leaves(flux.cpu(model)), flux.leaves(flux.cpu(other)), strict=True):
        np.testing.assert_array_equal(x, y)
    for a, b in zip(opt._leaves, other_opt._leaves, strict=True):
        assert (a.path, a.rule, a.frozen, a.numbers) == (b.path, b.rule, b.frozen, b.numbers)
        for x, y in zip(flux.cpu(a.state), flux.cpu(b.state), strict=True):
            np.testing.assert_array_equal(x, y)


def test_a_state_goes_with_its_model(cupy):
    model, opt = half_trained()
    moved, moved_opt = flux.gpu(model, opt)
    same_training(model, opt, moved, moved_opt)
    assert all(type(leaf.view) is DeviceArray for leaf in moved_opt._leaves)
    assert all(type(s) is DeviceArray for leaf in moved_opt._leaves for s in leaf.arrays)
    step(model, opt)
    step(moved, moved_opt)
    same_training(model, opt, moved, moved_opt)
    back_opt, back = flux.cpu(moved_opt, moved)
    step(back, back_opt)
    step(model, opt)
    same_training(model, opt, back, back_opt)


def test_the_original_is_left_alone(cupy):
    model, opt = half_trained()
    before = [x.copy() for x in flux.leaves(model)]
    step(*flux.gpu(model, opt))
    for x, y in zip(flux.leaves(model), before, strict=True):
        np.testing.assert_array_equal(x, y)
    step(model, opt)


def test_a_state_that_is_there_stays(cupy):
    model, opt = half_trained()
    assert flux.cpu(model, opt) == (model, opt)
    there = flux.gpu(model, opt)
    assert flux.gpu(*there) == there


def test_a_state_without_its_model_is_refused(cupy):
    model, opt = half_trained()
    for trees in ((opt,), (opt, flux.Dense(3, 1)), (flux.gpu(model), opt)):
        with pytest.raises(ValueError, match=r"expected the model of the optimiser's state.*flux.gpu\(model, opt\)"):
            flux.gpu(*trees)
    with pytest.raises(ValueError, match=r"inside another tree; write model, opt = flux.cpu\(model, opt\)"):
        flux.cpu((model, opt))


def test_what_lies_there_is_shown(cupy):
    """By hand: the slope of x·Wᵀ + b, summed over 4 samples of ones, is 4 by each of three numbers."""
    model = flux.gpu(flux.Dense(2, 1))
    grads = flux.gradient(lambda m: np.sum(m(flux.gpu(np.ones((4, 2), np.float32)))), model)
    assert repr(model).endswith("# 3 parameters")
    assert repr(grads).endswith("# gradient of norm 6.928")  # √(3·16)
    assert str(flux.summary(model)).endswith("total    3 parameters in 2 arrays, 12 bytes")
    assert repr(flux.setup(flux.Descent(), model)).splitlines()[1] == "  Descent(eta=0.1):"
