"""`benchmarks.device_convolution` where there is no GPU: its contenders do the same work, and its table.

PyTorch and JAX do it on the CPU here, and tinyflux on the stand-in for CuPy, with a network of few channels.
"""

import datetime
import importlib.util
import sys
from typing import ClassVar

import numpy as np
import pytest

import tinyflux as flux
from benchmarks import convolution, device, device_convolution, device_peers
from benchmarks.device_convolution import Training
from benchmarks.worker import Failed
from tests.support import device_standin as standin
from tests.support import narrow_resnet
from tinyflux import device as flux_device
from tinyflux.nn import cudnn


@pytest.fixture(autouse=True)
def _devices(monkeypatch):
    """The stand-in for CuPy's, and the CPU for PyTorch, whose step is as it is in the place of a captured one."""
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())
    monkeypatch.setattr(device_peers, "TORCH_DEVICE", "cpu")
    monkeypatch.setattr(device_peers, "captured", lambda model, loss, opt: device_peers.torch_step(loss, opt))
    flux_device._fault.cache_clear()
    yield
    flux_device._fault.cache_clear()


@pytest.fixture(name="narrow")
def _narrow(monkeypatch):
    monkeypatch.setitem(convolution.NETWORKS, "ResNet18", narrow_resnet.LAYERS)
    monkeypatch.setattr(flux.models, "resnet18", narrow_resnet.model)


def needs(package):
    if package in ("torch", "jax") and importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}")


# The work


def test_all_have_the_same_network():
    """As many parameters as ResNet18 for ten classes and 32×32 images has, and the same scores."""
    layers = convolution.NETWORKS["ResNet18"]
    model = device_convolution.tinyflux_network()
    assert flux.parameter_count(model) == sum(a.size for a in convolution.arrays(layers)) == 11_173_962
    needs("torch")
    import torch

    network = convolution.torch_network(layers)
    assert sum(p.numel() for p in network.parameters()) == 11_173_962
    x, _ = Training("ResNet18", 2, "float32").batches(None, None)
    theirs = network(torch.tensor(x).permute(0, 3, 1, 2)).detach().numpy()
    np.testing.assert_allclose(flux.trainmode(model)(x), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", device_convolution.PRECISIONS)
@pytest.mark.parametrize("name", device_convolution.PEERS)
@pytest.mark.usefixtures("narrow")
@pytest.mark.filterwarnings("default")  # the peers' own
def test_contenders_do_the_work(name, precision):
    """Against NumPy in float64: the gradient, and Adam by its formula."""
    package, make = device_convolution.PEERS[name]
    needs(package)
    cell = Training("ResNet18", 4, precision)
    x, y = cell.batches(None, None)
    model = flux.f64(device_convolution.tinyflux_network())
    averages = [(np.zeros_like(p), np.zeros_like(p)) for p in flux.parameters(model)]
    expected = []
    for t in range(1, 5):
        loss, slopes = flux.withgradient(lambda m: flux.logitcrossentropy(m(x.astype(float)), y), model)
        expected.append(loss)
        for p, g, (m, v) in zip(flux.parameters(model), flux.parameters(slopes), averages, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= 0.001 * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    run, _ = make(cell, (x, y))
    assert expected[3] < expected[0] - 0.01
    np.testing.assert_allclose([run(1), run(1), run(2)], [*expected[:2], expected[3]], rtol=1e-3)


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("TF32", True)])
@pytest.mark.usefixtures("narrow")
@pytest.mark.filterwarnings("default")
def test_the_precision_is_set(precision, allowed, monkeypatch):
    cell = Training("ResNet18", 2, precision)
    asked = []
    monkeypatch.setattr(flux, "allow_tf32", asked.append)
    device_convolution.tinyflux(cell, cell.batches(None, None))
    assert asked == [allowed]
    needs("jax")
    import jax

    device_convolution.jax(cell, cell.batches(None, None))
    assert jax.config.jax_default_matmul_precision == ("tensorfloat32" if allowed else "highest")
    needs("torch")
    import torch

    device_convolution.pytorch(cell, cell.batches(None, None))
    assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == allowed


@pytest.mark.usefixtures("narrow")
def test_channels_last():
    needs("torch")
    cell = Training("ResNet18", 2, "float32")
    for last in (False, True):
        model, loss, _ = device_convolution.torch_training(cell, cell.batches(None, None), channels_last=last)
        assert loss().ndim == 0
        (images,) = (c.cell_contents for c in loss.__closure__ if getattr(c.cell_contents, "ndim", 0) == 4)
        for array in (images, model[0].weight):
            assert (array.stride()[1] == 1) == last


def test_losses_that_agree(capsys):
    agree = device_convolution.agree
    assert agree({"a": [2.0, 1.0], "b": [2.0001, 1.05]}, "float32")
    assert agree({"a": [2.0, 1.0], "b": [2.001, 1.05]}, "TF32")
    assert capsys.readouterr().err == ""
    for losses in ([2.001, 1.0], [2.0, 1.2], [2.0, np.nan]):
        assert not agree({"a": [2.0, 1.0], "b": losses}, "float32")
        assert f"in float32 these losses disagree:\n('a', [2.0, 1.0])\n('b', {losses})\n" in capsys.readouterr().err


# The table


SECONDS = {"tinyflux": 1e-2, "pytorch": 2e-2, "pytorch_channels_last": 1.5e-2, "pytorch_graphs": 1e-3}


class Worker:
    """Takes a time that is known, fails where it is told to, and doesn't compute anything."""

    fails: ClassVar = {}
    losses: ClassVar = {}

    def __init__(self, make, x, y, package):
        self.name = make.__name__
        assert package == ("cupy" if self.name == "tinyflux" else "torch")

    def prepare(self, cell):
        assert (cell.network, cell.batchsize) == ("ResNet18", 128)
        if self.fails.get(self.name) == cell.precision:
            raise Failed("a contender failed")
        return self.losses.get(self.name, [2.0, 1.0]), []

    def measure(self, seconds, patience):
        assert seconds == 0.2
        return SECONDS[self.name]

    def close(self):
        pass


@pytest.fixture(name="some_gpu")
def _some_gpu(monkeypatch):
    """PyTorch can use it, JAX can't."""
    monkeypatch.setattr(device, "on_gpu", lambda package: package == "torch")
    monkeypatch.setattr(device.importlib.metadata, "version", lambda package: "1.2")
    monkeypatch.setattr(device_convolution, "Worker", Worker)


FULL = "10.0 ms | 20.0 ms (2.00×) | 15.0 ms (1.50×) | 1.0 ms (0.10×) |"


@pytest.mark.usefixtures("some_gpu")
def test_the_table(capsys):
    device_convolution.main([])
    assert capsys.readouterr().out.splitlines() == [
        f"{datetime.date.today()}, Stand-in, CuPy 14.2.0 with CUDA 13.2, torch 1.2",
        "can't use the GPU here, left out: JAX jit",
        "ResNet18 with 11,173,962 parameters, 128 images of 32×32, Adam",
        cudnn.status(),
        "",
        "| precision | tinyflux | PyTorch | PyTorch, channels last | PyTorch CUDA graphs |",
        "| --- | --- | --- | --- | --- |",
        f"| float32 | {FULL}",
        f"| TF32 | {FULL}",
    ]
    device_convolution.main(["--peers", "--precisions", "TF32", "--rounds", "1"])
    assert capsys.readouterr().out.splitlines()[-1] == "| TF32 | 10.0 ms |"


@pytest.mark.usefixtures("some_gpu")
def test_a_contender_that_fails_takes_no_further_part(capsys, monkeypatch):
    monkeypatch.setattr(Worker, "fails", {"pytorch": "float32", "tinyflux": "TF32"})
    with pytest.raises(SystemExit, match="not to be relied on"):
        device_convolution.main([])
    out, err = capsys.readouterr()
    assert out.splitlines()[-2:] == [
        "| float32 | 10.0 ms | failed | 15.0 ms (1.50×) | 1.0 ms (0.10×) |",
        "| TF32 | failed | failed | 15.0 ms | 1.0 ms |",
    ]
    assert "benchmarks: PyTorch failed; its error stands above.\nbenchmarks: tinyflux failed" in err


@pytest.mark.usefixtures("some_gpu")
def test_contenders_that_disagree_are_shown_and_reported(capsys, monkeypatch):
    monkeypatch.setattr(Worker, "losses", {"pytorch": [2.0, 1.5]})
    with pytest.raises(SystemExit, match="not to be relied on"):
        device_convolution.main([])
    out, err = capsys.readouterr()
    assert out.splitlines()[-2:] == [f"| float32 | {FULL}", f"| TF32 | {FULL}"]
    assert err.count("these losses disagree") == 2


@pytest.mark.parametrize("arguments", ["--rounds 0", "--peers numpy", "--precisions bfloat16", "--batchsize 0"])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        device_convolution.main(arguments.split())
    assert stop.value.code == 2
    assert arguments.split()[0] in capsys.readouterr().err
