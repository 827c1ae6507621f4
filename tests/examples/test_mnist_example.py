"""examples/mnist.py as a person runs it: what it trains, and what it writes."""

import itertools
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit

import tinyflux as flux
from examples import mnist
from examples.common import models
from tests.support.device_standin import DeviceArray, cupy_module
from tests.support.scripts import SCRIPT, environment, result, script, without_the_word_on_compiling
from tinyflux import device

FILES = {"model.npz", "results.json", "summary.txt", "learning.png", "digits.png"}
DIGITS = "scikit-learn's digits"


def png_size(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", content[16:24])


def by_hand(name, model, x):
    """What the model should compute, from its arrays alone."""
    if name == "2LR":
        (w1, b1), (w2, b2) = [(layer.weight, layer.bias) for layer in model[:2]]
        e = np.exp(np.maximum(x @ w1.T + b1, 0) @ w2.T + b2)
        return e / e.sum(axis=1, keepdims=True)
    for layer in model:
        x = expit(x @ layer.weight.T + layer.bias)
    return x


def loss_by_hand(name, prediction, y):
    if name == "2LR":
        return -np.sum(y * np.log(prediction + np.finfo(np.float32).eps)) / len(y)
    return np.sum((prediction - y) ** 2) / y.size


@pytest.fixture(scope="module")
def digits():
    """(pixels, labels) for training and for testing."""
    return [(flux.flatten(x), y) for x, y in map(flux.data.digits, ("train", "test"))]


# The models


@pytest.mark.parametrize(
    ("name", "sizes", "count"),
    [("4LS", (784, 16, 16, 16, 10), 13_274), ("3LS", (784, 60, 60, 10), 51_370), ("2LR", (784, 32, 10), 25_450)],
)
def test_models(name, sizes, count):
    model = models.build(name)
    x = np.random.default_rng(0).random((7, 784), np.float32)
    assert [p.shape for p in flux.leaves(model)] == [s for i, o in itertools.pairwise(sizes) for s in ((o, i), (o,))]
    assert flux.parameter_count(model) == count
    np.testing.assert_allclose(model(x), by_hand(name, model, x), rtol=1e-5)


def test_an_unknown_model():
    with pytest.raises(ValueError, match=r"one of 4LS, 3LS, 2LR, lenet5, got '5LS'"):
        models.build("5LS")


# What a run trains and writes


@pytest.mark.parametrize("name", ["4LS", "3LS", "2LR"])
@pytest.mark.parametrize("variant", ["batch", "stochastic", "minibatch"])
@pytest.mark.parametrize("rule", ["Descent", "ADAM"])
def test_every_combination(name, variant, rule, tmp_path, digits, capsys):
    options = ["--model", name, "--variant", variant, "--optimiser", rule, "--dataset", "digits"]
    assert mnist.main([*options, "--iterations", "7", "--seed", "5", "--output", str(tmp_path / "out")]) == 0
    out = tmp_path / "out"
    assert {file.name for file in out.iterdir()} == FILES
    found, (pixels, labels) = result(out), digits[1]

    settings = {"model": name, "variant": variant, "optimiser": rule, "iterations": 7, "seed": 5, "dataset": "digits"}
    settings |= {
        "device": "cpu",
        "eta": {"Descent": 0.1, "ADAM": 0.01}[rule],
        "batchsize": 128 if variant == "minibatch" else None,
    }
    assert found["settings"] == {**settings, "output": str(out)}
    assert found["parameters"] == {"4LS": 13_274, "3LS": 51_370, "2LR": 25_450}[name]
    assert found["dataset"]["name"] == "digits"
    assert found["curve"]["iteration"] == list(range(1, 8))
    assert [c["iteration"] for c in found["checkpoints"]] == [7]

    model = models.build(name)
    opt = flux.setup({"Descent": flux.Descent(), "ADAM": flux.ADAM()}[rule], model)
    flux.load(out / "model.npz", model, opt)
    accuracy = np.mean(np.argmax(by_hand(name, model, pixels), axis=1) == labels)
    assert found["accuracy"] == found["checkpoints"][-1]["accuracy"] == accuracy

    shown = capsys.readouterr().out
    for text in (shown, (out / "summary.txt").read_text(encoding="utf-8")):
        assert f"{DIGITS}, not MNIST (1,437 training and 360 test images)" in text
        assert f"{accuracy:.2%} right: {round(accuracy * 360)} of 360" in text
        assert str(out) in text


@pytest.mark.parametrize("name", ["4LS", "3LS", "2LR"])
@pytest.mark.parametrize("rule", [flux.Descent, flux.ADAM])
def test_it_makes_as_many_updates_with_the_right_loss(name, rule, tmp_path, digits):
    options = ["--model", name, "--variant", "batch", "--optimiser", "ADAM" if rule is flux.ADAM else "Descent"]
    options += ["--eta", "0.03", "--dataset", "digits", "--iterations", "4", "--output", str(tmp_path)]
    assert mnist.main(options) == 0
    x, y = digits[0][0], np.eye(10, dtype=np.float32)[digits[0][1]]
    flux.seed(0)
    model = models.build(name)
    opt = flux.setup(rule(0.03), model)
    losses = []
    for _ in range(4):
        losses.append(loss_by_hand(name, by_hand(name, model, x), y))
        lossfunction = flux.crossentropy if name == "2LR" else flux.mse
        flux.update(opt, model, flux.gradient(lambda m, f=lossfunction: f(m(x), y), model))
    trained = models.build(name)
    flux.load(tmp_path / "model.npz", trained)
    flux.seed(0)
    start, end, found = (
        np.concatenate([a.ravel() for a in flux.leaves(m)]) for m in (models.build(name), model, trained)
    )
    # ADAM makes whole steps of gradients that are nothing but rounding, and so differ compiled: near 0.01 of the way.
    assert np.linalg.norm(found - end) < 0.02 * np.linalg.norm(end - start)
    np.testing.assert_allclose(result(tmp_path)["curve"]["loss"], losses, rtol=1e-5)


@pytest.fixture(scope="module")
def default_run(tmp_path_factory):
    """The default run where MNIST can't be had."""
    folder = tmp_path_factory.mktemp("default")
    done = script(folder)
    return folder / "results" / "mnist", done


def test_the_default_run(default_run):
    out, done = default_run
    assert done.returncode == 0
    assert {file.name for file in out.iterdir()} == FILES
    assert result(out)["accuracy"] >= 0.93
    tested = [400, 500, 800, 1000, 1200, 1600, 2000, 2400, 2800, 3200, 3600, 4000]
    assert [c["iteration"] for c in result(out)["checkpoints"]] == tested
    assert re.findall(r"iteration +([\d,]+): loss .*, test accuracy", done.stdout) == [f"{i:,}" for i in tested]
    assert without_the_word_on_compiling(done.stderr) == ""  # no bar where no terminal is


def test_the_pictures_are_whole_and_readable(default_run):
    out, _ = default_run
    assert png_size(out / "learning.png") == (960, 840)
    assert png_size(out / "digits.png") == (1200, 846)
    assert (out / "digits.png").stat().st_size > 20_000


def test_without_mnist_and_network_it_takes_the_digits_and_says_so(default_run):
    out, done = default_run
    note = f"{DIGITS}, as MNIST could not be had (1,437 training and 360 test images)"
    assert "MNIST cannot be had here" in done.stdout
    assert "So this run takes scikit-learn's digits instead" in done.stdout
    assert done.stdout.count(note) == 2
    assert result(out)["dataset"] == {"name": "digits", "note": note}
    assert note in (out / "summary.txt").read_text(encoding="utf-8")


def test_the_pictures_say_which_data(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    titles = []
    monkeypatch.setattr(Figure, "suptitle", lambda self, text, **style: titles.append(text))
    options = ["--dataset", "digits", "--iterations", "2", "--variant", "stochastic", "--output", str(tmp_path)]
    assert mnist.main(options) == 0
    assert len(titles) == 2
    for title in titles:
        assert title.startswith("2LR, stochastic, ADAM(0.01), seed 0\non scikit-learn's digits, not MNIST (1,437 ")


def test_the_same_seed_gives_the_same_results_bit_for_bit(tmp_path):
    def run(name, seed):
        folder = tmp_path / name
        arguments = ["--dataset", "digits", "--iterations", 30, "--seed", seed, "--batchsize", 50, "--output", folder]
        assert script(tmp_path, *arguments).returncode == 0
        found = result(folder)
        for checkpoint in found["checkpoints"]:
            del checkpoint["seconds"]
        return (folder / "model.npz").read_bytes(), found["curve"], found["checkpoints"]

    first = run("a", 3)
    assert run("b", 3) == first
    other = run("c", 4)
    assert other[0] != first[0]
    assert other[1] != first[1]


def test_as_a_module_and_its_help(tmp_path):
    done = script(tmp_path, "--help", command=("-m", "examples.mnist"))
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    for words in (
        "--variant {batch,stochastic,minibatch}",
        "200 for batch, 64,000 for stochastic, 4,000 for minibatch",
    ):
        assert words in text
    assert "0.1 for Descent, 0.01 for ADAM" in text


def test_a_bar_where_there_is_a_terminal(tmp_path):
    ours, theirs = pty.openpty()
    arguments = [sys.executable, str(SCRIPT), "--dataset", "digits", "--iterations", "1500", "--output", str(tmp_path)]
    termios.tcsetwinsize(theirs, (24, 80))
    options = {"env": environment(tmp_path), "encoding": "utf-8"}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=theirs, **options) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
        out = process.stdout.read()
    os.close(ours)
    assert process.returncode == 0
    assert b"1500/1500" in shown
    assert b"loss=0." in shown
    assert out.count("test accuracy") == 12  # a line for each tenth, and those at 500 and 1,000
    assert "iteration       150" in out


MNIST = Path(os.environ.get("TINYFLUX_DATA") or "absent").expanduser()
HELD = any((MNIST / folder / "t10k-labels-idx1-ubyte.gz").exists() for folder in ("", "mnist"))


@pytest.mark.skipif(not HELD, reason="TINYFLUX_DATA names no folder with MNIST's files")
def test_the_accuracy_on_mnist(tmp_path):
    done = script(tmp_path, env=environment(tmp_path, TINYFLUX_DATA=str(MNIST.resolve())))
    out = tmp_path / "results" / "mnist"
    assert done.returncode == 0
    assert result(out)["accuracy"] >= 0.95
    assert result(out)["dataset"] == {"name": "mnist", "note": "MNIST (60,000 training and 10,000 test images)"}
    assert "of 10,000 test images" in (out / "summary.txt").read_text(encoding="utf-8")


# On the GPU


@pytest.fixture
def _gpu(monkeypatch):
    """The stand-in for CuPy, in whose place it stands."""
    monkeypatch.setitem(sys.modules, "cupy", cupy_module())
    device._fault.cache_clear()
    yield
    device._fault.cache_clear()


def same_models(one, other):
    for x, y in zip(flux.leaves(one), flux.leaves(other), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("_gpu")
@pytest.mark.parametrize("device", ["gpu", "auto"])
def test_a_run_on_the_gpu(device, tmp_path, digits, capsys):
    """Batch gradient descent draws nothing at random: the GPU trains what the CPU trains."""
    runs = {}
    for where in ("cpu", device):
        flux.seed(0)
        options = ["--variant", "batch", "--optimiser", "Descent", "--dataset", "digits", "--iterations", "5"]
        assert mnist.main([*options, "--device", where, "--output", str(tmp_path / where)]) == 0
        model = models.build("2LR")
        opt = flux.setup(flux.Descent(), model)
        flux.load(tmp_path / where / "model.npz", model, opt)
        runs[where] = model, result(tmp_path / where)
    same_models(runs["cpu"][0], runs[device][0])
    found, expected = runs[device][1], runs["cpu"][1]
    assert {file.name for file in (tmp_path / device).iterdir()} == FILES
    assert (expected["settings"]["device"], found["settings"]["device"]) == ("cpu", "gpu")
    assert found["accuracy"] == expected["accuracy"]
    np.testing.assert_allclose(found["curve"]["loss"], expected["curve"]["loss"], rtol=1e-5)
    shown, error = capsys.readouterr()
    assert shown.count("Descent(0.1), seed 0, on the GPU") == 2
    assert shown.count("--device auto: gpu. The GPU can be used: Stand-in") == (device == "auto")
    assert error.count("training runs as") <= 1  # that of the CPU


@pytest.mark.usefixtures("_gpu")
@pytest.mark.parametrize("variant", ["stochastic", "minibatch"])
def test_everything_random_on_the_gpu(variant, tmp_path):
    """The model learns, the same seed gives the same results, and its checkpoint goes on either side."""
    options = ["--dataset", "digits", "--variant", variant, "--iterations", "300", "--device", "gpu"]
    for name in ("a", "b"):
        assert mnist.main([*options, "--output", str(tmp_path / name)]) == 0
    a, b = result(tmp_path / "a"), result(tmp_path / "b")
    assert a["curve"] == b["curve"]
    assert a["accuracy"] > 0.5
    here, there = models.build("2LR"), flux.gpu(models.build("2LR"))
    for model in (here, there):
        opt = flux.setup(flux.ADAM(), model)
        flux.load(tmp_path / "a" / "model.npz", model, opt)
    same_models(here, flux.cpu(there))


@pytest.mark.usefixtures("_gpu")
def test_what_lies_on_the_gpu(tmp_path, monkeypatch):
    """Model, optimiser state, training and test data do while training; what is written comes back."""
    kinds = {}

    def train(loss, model, data, opt, epochs, callbacks):
        kinds["train"] = {type(x) for tree in (model, data, opt._leaves[0].state[:2]) for x in flux.leaves(tree)}
        kinds["test"] = {type(x) for x in flux.leaves(callbacks[0]._test)}

    def write(model, opt, data, options, record):
        kinds["written"] = {type(x) for tree in (model, data, opt._leaves[0].state[:2]) for x in flux.leaves(tree)}

    monkeypatch.setattr(flux, "train", train)
    monkeypatch.setattr(mnist, "write", write)
    assert mnist.main(["--dataset", "digits", "--device", "gpu", "--output", str(tmp_path)]) == 0
    assert kinds == {"train": {DeviceArray}, "test": {DeviceArray}, "written": {np.ndarray}}


# The parts


def options(**values):
    return mnist.argparse.Namespace(**{"variant": "minibatch", "batchsize": None, "device": "cpu", **values})


@pytest.mark.parametrize(
    ("variant", "batchsize", "size"), [("minibatch", 4, 4), ("stochastic", None, 1), ("batch", None, 10)]
)
def test_batches_are_shuffled_passes(variant, batchsize, size, monkeypatch):
    given = {}
    monkeypatch.setattr(
        flux, "train", lambda loss, model, data, opt, epochs, **rest: given.update(data=data, epochs=epochs)
    )
    data = SimpleNamespace(train=(np.arange(10.0), np.arange(10)), test=(np.eye(10), np.arange(10)))
    flux.seed(0)
    mnist.fit(None, None, data, options(variant=variant, batchsize=batchsize, iterations=7, model="2LR"))
    drawn = list(given["data"])
    assert len(drawn) * given["epochs"] >= 7
    assert all(len(x) == size and (y.argmax(1) == x).all() for x, y in drawn)
    seen = np.concatenate([x for x, _ in drawn])
    assert len(set(seen)) == len(seen) == 10 - 10 % size
    assert (seen == np.arange(len(seen))).all() == (variant == "batch")


def test_the_record_of_a_long_run_stays_small(capsys):
    n = 20_000
    losses = np.random.default_rng(0).random(n)
    record = mnist.Record((np.eye(10), np.arange(10)), n)
    progress = flux.Progress(flux.identity, None)
    while progress.iteration < n:
        before, progress.iteration = progress.iteration, record.due(progress.iteration)
        progress.losses = losses[before : progress.iteration].tolist()
        progress.loss = progress.losses[-1]
        assert record(progress) == (progress.iteration == n)
    record.bar.close()
    curve = record.curve
    tenths = set(range(2000, 20001, 2000))
    assert [c["iteration"] for c in record.checkpoints] == sorted({500, 1000, 2000, 4000, 8000, 16000} | tenths)
    assert all(c["accuracy"] == 1 for c in record.checkpoints)
    seconds = [c["seconds"] for c in record.checkpoints]
    assert seconds == sorted(seconds)
    assert 500 < len(curve["iteration"]) <= mnist.CURVE_POINTS
    assert (curve["iteration"][0], curve["iteration"][-1]) == (1, n)
    assert curve["loss"] == [losses[i - 1] for i in curve["iteration"]]
    for i, mean in zip(curve["iteration"], curve["mean"]):
        start = max([j for j in curve["iteration"] if j <= 0.8 * i], default=0)
        assert mean == pytest.approx(losses[start:i].mean())


def test_the_time_of_tests_is_not_counted(capsys):
    record = mnist.Record((np.eye(10), np.arange(10)), 1000)
    progress = flux.Progress(lambda x: time.sleep(0.5) or x, None, loss=1.0, losses=[1.0])
    for progress.iteration in range(1, 1001):
        record(progress)
    assert record.checkpoints[-1]["seconds"] < 0.4
