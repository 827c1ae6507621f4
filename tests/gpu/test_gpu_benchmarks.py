"""The contenders of the benchmarks of the GPU do the same work there; how fast they are is not tested."""

import importlib.util

import numpy as np
import pytest

import tinyflux as flux
from benchmarks import device_peers, device_training, device_update, models, peers, step
from benchmarks.models import Cell

if "can't" in flux.gpu_status():
    pytest.skip(flux.gpu_status(), allow_module_level=True)
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]  # the peers' own warnings


def needs(package):
    if package in device_peers.PROBES and not (importlib.util.find_spec(package) and device_peers.on_gpu(package)):
        pytest.skip(f"needs {package} that can use the GPU")


@pytest.mark.parametrize("rule", models.OPTIMISERS)
@pytest.mark.parametrize(("model", "batchsize"), [("4LS", 1), ("3LS", 128), ("2LR", 128), ("2LR", 4096)])
@pytest.mark.parametrize("name", device_peers.PEERS)
def test_steps(name, model, batchsize, rule):
    needs(device_peers.PEERS[name][0])
    images, labels = models.synthetic(models.POOL)
    cell = Cell(model, batchsize, rule)
    batches = cell.batches(images.reshape(-1, 784), np.eye(10, dtype=np.float32)[labels])[:3]
    found = {}
    for who, make in (("NumPy", peers.tinyflux_eager), (name, device_peers.PEERS[name][1])):
        run, weights = make(cell, batches)
        found[who] = [run(1) for _ in range(4)] + [run(3)], [np.array(w) for w in weights()]
    step.check(found, [w for layer in cell.weights() for w in layer])


@pytest.mark.parametrize("rule", models.OPTIMISERS)
@pytest.mark.parametrize("size", [1_003, 1_000_000])
def test_updates(rule, size):
    """`measure` refuses contenders that disagree."""
    names = [name for name, (package, _) in device_update.PEERS.items() if package == "cupy"]
    if importlib.util.find_spec("torch") and device_peers.on_gpu("torch"):
        names = list(device_update.PEERS)
    times = device_update.measure(names, rule, size, rounds=1, seconds=0.001)
    assert list(times) == ["copy", *names]
    assert min(times.values()) > 0


@pytest.mark.parametrize("rule", models.OPTIMISERS)
@pytest.mark.parametrize("name", device_training.PEERS)
def test_trainings(name, rule):
    """With one image there is one order."""
    package, make = device_training.PEERS[name]
    needs(package)
    cell = Cell("4LS", 1, rule)
    images, labels = models.synthetic(1)
    x, y = images.reshape(-1, 784), np.eye(10, dtype=np.float32)[labels]
    run, _ = peers.tinyflux_eager(cell, [(x, y)])
    expected = [run(1) for _ in range(9)]
    train = make(cell, x, y, 9)
    for _ in range(2):
        np.testing.assert_allclose(train(), expected, rtol=1e-3)
