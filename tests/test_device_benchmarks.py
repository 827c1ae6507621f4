"""The benchmarks of the GPU where there is none: what they refuse, the work they compare, and their tables.

Their contenders do the work of those on the CPU, which are tested by hand; PyTorch and JAX do it on the CPU here, and
tinyflux on the stand-in for CuPy. The capture of CUDA graphs needs a GPU: see tests/gpu.
"""

import contextlib
import datetime
import importlib.util
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import tinyflux as flux
from benchmarks import device, device_peers, device_training, device_update, models, peers, step
from benchmarks.models import Cell
from tests.support import device_standin as standin
from tinyflux import device as flux_device

ROOT = Path(__file__).parents[1]
BENCHMARKS = {"device": device, "device_update": device_update, "device_training": device_training}
CELLS = [Cell("4LS", 1, "ADAM"), Cell("3LS", 128, "Descent"), Cell("2LR", 128, "ADAM"), Cell("2LR", 4096, "Descent")]


@pytest.fixture(scope="module", name="samples")
def _samples():
    images, labels = models.synthetic(models.POOL)
    return images.reshape(-1, 784), np.eye(10, dtype=np.float32)[labels]


@pytest.fixture(autouse=True)
def _devices(monkeypatch):
    """The stand-in for CuPy's, and the CPU for PyTorch."""
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())
    for module in (device_peers, device_update, device_training):
        monkeypatch.setattr(module, "TORCH_DEVICE", "cpu")
    flux_device._fault.cache_clear()
    yield
    flux_device._fault.cache_clear()


def needs(package):
    if package in ("torch", "jax") and importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}")


@pytest.fixture(name="eager")
def _eager(monkeypatch):
    """PyTorch's step as it is in the place of a captured one."""

    def captured(model, loss, optimiser):
        def replay():
            optimiser.zero_grad()
            value = loss()
            value.backward()
            optimiser.step()
            return value.detach()

        return replay

    monkeypatch.setattr(device_peers, "captured", captured)
    monkeypatch.setattr(device_training, "captured", captured)


# Without a GPU


@pytest.mark.parametrize("name", [*BENCHMARKS, "device_convolution", "device_all"])
def test_without_a_gpu_they_say_why(name):
    code = "import runpy, sys; sys.modules['cupy'] = None; sys.argv = sys.argv[:1]; "
    code += f"runpy.run_module('benchmarks.{name}', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("benchmarks: The GPU can't be used: CuPy is not installed; pip install")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("arguments", ["--rounds 0", "--peers numpy", "--optimisers SGD"])
def test_bad_arguments(name, arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        BENCHMARKS[name].main(arguments.split())
    assert stop.value.code == 2
    assert arguments.split()[0] in capsys.readouterr().err


def test_the_probes_are_those_of_packages_without_a_gpu():
    needs("torch")
    import torch

    assert device_peers.on_gpu("torch") == torch.cuda.is_available()
    assert set(device_peers.PROBES) == {package for package, _ in device_peers.PEERS.values()} - {"cupy"}


# The work


@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("name", device_peers.PEERS)
@pytest.mark.filterwarnings("default")  # the peers' own
@pytest.mark.usefixtures("eager")
def test_contenders_do_the_work_of_those_on_the_cpu(name, cell, samples):
    needs(device_peers.PEERS[name][0])
    batches = cell.batches(*samples)[:3]  # which begin again
    found = {}
    for who, make in (("NumPy", peers.tinyflux_eager), (name, device_peers.PEERS[name][1])):
        run, weights = make(cell, batches)
        found[who] = [run(1) for _ in range(4)] + [run(3)], [np.array(w) for w in weights()]
    step.check(found, [w for layer in cell.weights() for w in layer])


@pytest.mark.parametrize("rule", ["Descent", "ADAM"])
def test_the_steps_before_a_capture_are_taken_back(rule, samples):
    needs("torch")
    cell = Cell("4LS", 128, rule)
    ((x, y),) = device_peers.torch_batches(cell.batches(*samples)[:1])

    def stepped(count, taken_back):
        model, loss, optimiser = device_peers.torch_model(cell)
        start = [p.detach().clone() for p in model.parameters()]
        for steps in (taken_back, count):
            for _ in range(steps):
                optimiser.zero_grad()
                loss(x, y).backward()
                optimiser.step()
            if steps == taken_back:
                device_peers.as_before(model, optimiser, start)
        return device_peers.torch_weights(model)

    for w, expected in zip(stepped(2, 3), stepped(2, 0), strict=True):
        np.testing.assert_array_equal(w, expected)


def test_what_a_capture_leaves_behind(monkeypatch, samples):
    """The first weights, and a loss that holds no tape. The steps are made here; on a GPU a capture makes none."""
    needs("torch")
    import torch

    for name in ("Stream", "CUDAGraph", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, mock.Mock())
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, contextlib.nullcontext)
    cell = Cell("4LS", 128, "Descent")
    ((x, y),) = device_peers.torch_batches(cell.batches(*samples)[:1])
    model, loss, optimiser = device_peers.torch_model(cell)
    expected = loss(x, y).item()
    replay = device_peers.captured(model, lambda: loss(x, y), optimiser)
    for w, start in zip(device_peers.torch_weights(model), [w for layer in cell.weights() for w in layer], strict=True):
        np.testing.assert_array_equal(w, start)
    assert replay().item() < expected  # that of the last step
    assert not replay().requires_grad
    torch.cuda.CUDAGraph.return_value.replay.assert_called_with()


@pytest.mark.parametrize("rule", ["Descent", "ADAM"])
def test_updates_are_those_of_the_formula(rule):
    """Of 1,003 parameters in ten arrays, three times, against the rules in NumPy, in float64."""
    rng = np.random.default_rng(0)
    start, slopes = (np.array_split(rng.standard_normal(1003, np.float32), 10) for _ in range(2))
    expected = [x.astype(float) for x in start]
    opt = flux.setup(getattr(flux, rule)(models.OPTIMISERS[rule]), expected)
    for _ in range(3):
        flux.update(opt, expected, flux.f64(slopes))
    for name, (package, make) in device_update.PEERS.items():
        if package == "torch" and importlib.util.find_spec("torch") is None:
            continue
        update, weights = make(rule, start, slopes)
        for _ in range(3):
            update()
        for w, e in zip(weights(), expected, strict=True):
            np.testing.assert_allclose(w, e, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("rule", ["Descent", "ADAM"])
@pytest.mark.parametrize("name", device_training.PEERS)
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("eager")
def test_trainings_learn_from_every_image(name, rule, samples):
    """With one image there is one order: the losses are those of tinyflux in NumPy.

    With more, the first loss is that of some image with its own label, and losses fall.
    """
    package, make = device_training.PEERS[name]
    needs(package)
    cell = Cell("4LS", 1, rule)
    x, y = (a[:1] for a in samples)
    run, _ = peers.tinyflux_eager(cell, [(x, y)])
    expected = [run(1) for _ in range(9)]
    train = make(cell, x, y, 9)
    for _ in range(2):  # from the first weights every time
        np.testing.assert_allclose(train(), expected, rtol=1e-4)
    x, y = (a[:50] for a in samples)
    losses = make(cell, x, y, 220)()
    assert len(losses) == 220
    model, _ = peers._tinyflux(cell)
    first = np.mean((model(x) - y) ** 2, axis=1)
    assert np.min(np.abs(losses[0] - first)) < 1e-6 < np.std(first)
    assert np.mean(losses[-50:]) < 0.8 * np.mean(losses[:10])


def test_passes_that_pytorch_draws():
    needs("torch")
    order = list(device_training.drawn(20, 50))
    assert [sorted(order[i : i + 20]) for i in (0, 20)] == [list(range(20))] * 2
    assert len(order) == 50
    assert len(set(order[40:])) == 10
    assert order[:20] != order[20:40]


def test_trainings_that_learned_something_else():
    device_training.check({"a": 0.1, "b": 0.19, "c": 0.15})
    with pytest.raises(AssertionError, match=r"b ended at a mean loss of 0\.21, a at 0\.1"):
        device_training.check({"c": 0.15, "b": 0.21, "a": 0.1})


# The tables


def tables(capsys, module, *arguments):
    """The lines before the table, and the table."""
    module.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    first = next(i for i, text in enumerate(lines) if text.startswith("|"))
    return lines[:first], lines[first:]


@pytest.fixture(name="some_gpu")
def _some_gpu(monkeypatch):
    """PyTorch can use it, JAX can't."""
    monkeypatch.setattr(device, "on_gpu", lambda package: package == "torch")
    monkeypatch.setattr(device.importlib.metadata, "version", lambda package: "1.2")
    for module in (device, device_training):
        monkeypatch.setattr(module, "data", lambda n: (None, None, "invented"))
    monkeypatch.setattr(step.statistics, "quantiles", lambda *args, **options: [1.0, 1.0, 1.0])


HEADING = f"{datetime.date.today()}, Stand-in, CuPy 14.2.0 with CUDA 13.2, torch 1.2"


@pytest.mark.usefixtures("some_gpu")
def test_the_table_of_steps(capsys, monkeypatch):
    class Worker:
        closed = 0

        def __init__(self, make, x, y):
            self.make = make

        def close(self):
            Worker.closed += 1

    times = {device_peers.tinyflux: 3e-4, device_peers.tinyflux_eager: 9e-4, device_peers.pytorch: 6e-4}
    times[device_peers.pytorch_graphs] = 1e-4
    measured = lambda workers, cell, rounds, seconds: {n: [times[w.make]] * rounds for n, w in workers.items()}  # noqa: E731
    monkeypatch.setattr(device, "Worker", Worker)
    monkeypatch.setattr(device, "measure", measured)
    heading, table = tables(capsys, device, "--models", "4LS", "--batchsizes", "1", "128")
    assert heading == [HEADING, "can't use the GPU here, left out: JAX lax.scan", "data: invented", ""]
    assert table == [
        "| model | batch | rule | tinyflux | tinyflux eager | PyTorch | PyTorch CUDA graphs |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *[
            f"| 4LS | {size} | {rule} | 300.0 µs | 900.0 µs (3.00×) | 600.0 µs (2.00×) | 100.0 µs (0.33×) |"
            for size in (1, 128)
            for rule in ("Descent", "ADAM")
        ],
    ]
    assert Worker.closed == 4
    _, table = tables(capsys, device, "--models", "2LR", "--batchsizes", "1", "--peers")
    assert table[0] == "| model | batch | rule | tinyflux |"
    device.main([])
    assert capsys.readouterr().out.count("\n| ") == 2 + 18


@pytest.mark.usefixtures("some_gpu")
def test_the_table_of_updates(capsys, monkeypatch):
    """An update that is as fast as the copy has 100 % of its bandwidth: Adam moves 28 bytes a parameter, Descent 12."""
    made = []

    def copying(size):
        made.append(size)
        return "copy"

    def contender(name):
        return lambda rule, start, slopes: (lambda: name, lambda: start)

    seconds = {"copy": 1e-3, "tinyflux": 1.25e-3, "torch fused": 1e-3, "torch foreach": 4e-3}
    monkeypatch.setattr(device_update, "copying", copying)
    for name in device_update.PEERS:
        monkeypatch.setitem(device_update.PEERS, name, (device_update.PEERS[name][0], contender(name)))
    monkeypatch.setattr(device_update, "timed", lambda f, n: seconds[f if f == "copy" else f()])
    heading, table = tables(capsys, device_update, "--sizes", "1000000")
    assert heading == [HEADING, "float32, 10 arrays", ""]
    assert table == [
        "| rule | parameters | copy | tinyflux | torch fused | torch foreach |",
        "| --- | --- | --- | --- | --- | --- |",
        "| Descent | 1,000,000 | 1,000.0 µs, 12 GB/s | 1,250.0 µs, 10 GB/s (80%) | 1,000.0 µs, 12 GB/s (100%) | "
        "4,000.0 µs, 3 GB/s (25%) |",
        "| ADAM | 1,000,000 | 1,000.0 µs, 28 GB/s | 1,250.0 µs, 22 GB/s (80%) | 1,000.0 µs, 28 GB/s (100%) | "
        "4,000.0 µs, 7 GB/s (25%) |",
    ]
    assert made == [12_000_000, 28_000_000]


def test_a_copy_reads_half_of_the_bytes_and_writes_half(monkeypatch):
    cupy = mock.Mock(zeros=lambda n, dtype: mock.Mock(nbytes=np.empty(n, dtype).nbytes))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    device_update.copying(1_000)()
    cupy.empty.assert_called_once_with(500, np.uint8)
    assert cupy.empty.return_value.data.copy_from_device_async.call_args.args[1] == 500


def test_an_update_that_differs_is_refused(monkeypatch):
    wrong = lambda rule, start, slopes: (lambda: None, lambda: [2 * x for x in start])  # noqa: E731
    monkeypatch.setitem(device_update.PEERS, "wrong", ("numpy", wrong))
    with pytest.raises(AssertionError, match="wrong and tinyflux disagree on array 0"):
        device_update.measure(["tinyflux", "wrong"], "Descent", 1000, 1, 0.1)


@pytest.mark.usefixtures("some_gpu")
def test_the_table_of_trainings(capsys, monkeypatch):
    seconds = {"tinyflux": 20.0, "PyTorch": 30.0, "tinyflux on the CPU": 1.0}

    class Place:
        def __init__(self, processes, context):
            pass

        def submit(self, function, name, cell, iterations):
            assert (function, iterations) == (device_training.timed, 500)
            self.result = lambda: (seconds[name], 0.1)
            return self

        def shutdown(self):
            pass

    monkeypatch.setattr(device_training, "ProcessPoolExecutor", Place)
    arguments = ["--models", "2LR", "--iterations", "500", "--peers", "PyTorch", "JAX lax.scan", "tinyflux on the CPU"]
    heading, table = tables(capsys, device_training, *arguments)
    left_out = "can't use the GPU here, left out: JAX lax.scan"
    assert heading == [HEADING, left_out, "500 updates, data: invented", ""]
    assert table == [
        "| model | rule | tinyflux | PyTorch | tinyflux on the CPU |",
        "| --- | --- | --- | --- | --- |",
        *[f"| 2LR | {rule} | 20.00 s | 30.00 s (1.50×) | 1.00 s (0.05×) |" for rule in ("Descent", "ADAM")],
    ]


def test_a_training_is_timed_after_one_that_is_not(monkeypatch, samples):
    calls = []

    def make(cell, x, y, iterations):
        return lambda: calls.append(iterations) or [1.0] * 15 + [3.0, 5.0]

    monkeypatch.setitem(device_training.PEERS, "Fake", ("numpy", make))
    monkeypatch.setattr(device_training, "data", lambda n: (*samples, "invented"))
    seconds, mean = device_training.timed("Fake", CELLS[0], 17)
    assert (mean, calls) == (4.0, [17, 17])
    assert 0 < seconds < 1
    device_training.timed("Fake", CELLS[0], 17)
    assert calls == [17] * 3
