"""examples/cifar10.py: what a run calculates, writes and refuses, on few images of noise in CIFAR-10's place."""

import json
import sys

import numpy as np
import pytest
from scipy.special import log_softmax

import tinyflux as flux
from examples import cifar10
from examples.common import models, photographs
from tests.support import device_standin as standin
from tests.support.cifar10_files import install, made_up, module
from tests.support.flux_mnist import NO_COMPILER
from tinyflux import device

FILES = {"run.json", "results.json", "learning.png", "confusion.png", "filters.png", "mistakes.png"}
MEAN, STD = np.float32([125.3, 123.0, 113.9]), np.float32([63.0, 62.1, 66.7])  # of the training images, by cifar10
IMAGES = made_up(24)  # 120 to train with, of which 12 are held back, and 24 to test with


@pytest.fixture(autouse=True)
def _few_images(tmp_path, monkeypatch):
    install(tmp_path / "data", IMAGES, monkeypatch)
    monkeypatch.setenv("CC", NO_COMPILER)


def command(tmp_path, arguments, model="lenet5"):
    return cifar10.main(["--model", model, "--batchsize", "36", *arguments.split(), "--output", str(tmp_path / "out")])


def split(names):
    images, labels = (np.concatenate([IMAGES[name][i] for name in names]) for i in range(2))
    return (images - MEAN) / STD, labels


def training_images():
    return split(module.CIFAR10.splits["train"])


def cross_entropy(scores, labels):
    return -np.mean(log_softmax(scores, axis=1)[np.arange(len(labels)), labels])


def result(tmp_path):
    return json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))


def test_what_a_run_writes(tmp_path, capsys):
    arguments = "--epochs 1 --eta 0.01", "wide_resnet-10-1"
    assert command(tmp_path, *arguments) == 0
    files = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert files.keys() == FILES | {"epoch-1.npz"}
    model = flux.models.wide_resnet(10, 1)
    flux.load(tmp_path / "out" / "epoch-1.npz", model)
    found = result(tmp_path)
    x, labels = split(module.CIFAR10.splits["test"])
    guesses = np.argmax(model(x), axis=1)
    assert found["test_accuracy"] == np.mean(guesses == labels)
    for i, j in np.ndindex(10, 10):
        assert found["confusion"][i][j] == np.sum((labels == i) & (guesses == j))
    x, labels = (part[-12:] for part in training_images())
    scores = model(x)
    (epoch,) = found["history"]
    assert epoch["held_back_accuracy"] == np.mean(np.argmax(scores, axis=1) == labels)
    assert epoch["held_back_loss"] == pytest.approx(cross_entropy(scores, labels), rel=1e-5)
    out = capsys.readouterr().out
    assert "0 of 1 epochs are made" in out
    assert f"{round(24 * found['test_accuracy'])} of 24 test images" in out
    (tmp_path / "out" / "filters.png").unlink()
    assert command(tmp_path, *arguments) == 0  # nothing is trained again
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == files
    assert "1 of 1 epochs are made" in capsys.readouterr().out


def test_the_updates_are_those_of_momentum_with_decay(tmp_path):
    options = "--epochs 1 --optimiser momentum --eta 0.05 --decay 0.1 --schedule step --augment none --seed 4"
    assert command(tmp_path, options) == 0
    x, labels = (part[:108] for part in training_images())
    flux.seed(4)
    model = flux.models.lenet5(shape=(32, 32, 3))
    velocities = [np.zeros_like(p) for p in flux.leaves(model)]
    losses = []
    order = np.random.default_rng(4).permutation(108).reshape(3, 36)
    for eta, chosen in zip((0.05, 0.005, 0.0005), order, strict=True):  # a tenth after one and after two of three steps
        value, grad = flux.withgradient(
            lambda m, c=chosen: flux.logitcrossentropy(m(x[c]), flux.onehotbatch(labels[c], range(10))), model
        )
        losses.append(value)
        for p, v, g in zip(flux.leaves(model), velocities, flux.leaves(grad), strict=True):
            v[...] = 0.9 * v + eta * (g + 0.1 * p)
            p -= v
    found = result(tmp_path)["history"][0]
    np.testing.assert_allclose(found["losses"], losses, rtol=1e-5)
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    trained = flux.models.lenet5(shape=(32, 32, 3))
    flux.load(tmp_path / "out" / "epoch-1.npz", trained)
    for p, q in zip(flux.leaves(trained), flux.leaves(model), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-4, atol=1e-6)


def test_on_a_gpu(tmp_path, monkeypatch):
    """On arrays of the stand-in for CuPy, which takes what CuPy does: model and images lie there, results here."""
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())
    monkeypatch.setattr(cifar10, "device", lambda wanted: wanted)
    device._fault.cache_clear()
    try:
        assert command(tmp_path, "--epochs 1 --augment cutout --device gpu") == 0
    finally:
        device._fault.cache_clear()
    model = flux.models.lenet5(shape=(32, 32, 3))
    flux.load(tmp_path / "out" / "epoch-1.npz", model)
    x, labels = (part[-12:] for part in training_images())
    found = result(tmp_path)["history"][0]
    assert found["held_back_loss"] == pytest.approx(cross_entropy(model(x), labels), rel=1e-5)


RATES = {  # of 100 steps, by their number
    "constant": {0: 1.0, 99: 1.0},
    "cosine": {0: 1.0, 50: 0.5, 100: 0.0},
    "onecycle": {0: 0.04, 30: 1.0, 100: 4e-6},
    "step": {49: 1.0, 50: 0.1, 74: 0.1, 75: 0.01},
}


@pytest.mark.parametrize("schedule", RATES)
def test_schedules(schedule):
    rates = cifar10.SCHEDULES[schedule](1.0, 100)
    for step, expected in RATES[schedule].items():
        assert rates(step) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("optimiser", cifar10.ETA)
def test_optimisers(optimiser):
    """The first step, for a parameter 2 with the gradient 3: Adam's is the rate, whatever the gradient."""
    options = cifar10.parse(f"--optimiser {optimiser} --eta 0.1 --decay 0.5 --schedule constant".split())
    model = [np.array([2.0])]
    flux.update(flux.setup(cifar10.rule(options, 10), model), model, [np.array([3.0])])
    g = 3 + 0.5 * 2
    step = {"momentum": 0.1 * g, "nesterov": 0.1 * 1.9 * g, "adam": 0.1, "adamw": 0.1 + 0.1 * 0.5 * 2}[optimiser]
    np.testing.assert_allclose(model[0], [2 - step], rtol=1e-6)


def test_augmentation():
    """Shifted images are windows of the image in a frame of zeros, as bytes; a half is mirrored; cutout comes last."""
    images, labels = IMAGES["data_batch_1.bin"]
    plain = (images - MEAN) / STD
    made = {}
    for how in ("none", "standard", "cutout"):
        made[how], kept = photographs.augment((images, labels), np.random.default_rng(1), how)
        assert made[how].dtype == np.float32
        np.testing.assert_array_equal(kept, labels)
    np.testing.assert_allclose(made["none"], plain, rtol=1e-6)
    framed = (np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0))) - MEAN) / STD
    mirrored = 0
    for image, frame in zip(made["standard"], framed, strict=True):
        windows = {(i, j): frame[i : i + 32, j : j + 32] for i in range(9) for j in range(9)}
        found = [flip for w in windows.values() for flip in (1, -1) if np.allclose(image, w[:, ::flip], atol=1e-5)]
        assert len(found) == 1
        mirrored += found == [-1]
    assert 6 <= mirrored <= 18
    cut = np.all(made["cutout"] == 0, axis=-1)
    np.testing.assert_array_equal(made["cutout"][~cut], made["standard"][~cut])
    assert all(8 * 8 <= n <= 16 * 16 for n in cut.sum((1, 2)))


@pytest.mark.parametrize("device_name", ["cpu", "gpu"])
def test_every_image_is_predicted(device_name):
    images = np.random.default_rng(0).integers(0, 256, (2 * photographs.BLOCK + 7, 2, 2, 3), np.uint8)
    scores = photographs.Predictor(device_name)(lambda x: x.mean((1, 2)), images)
    np.testing.assert_allclose(scores, ((images - MEAN) / STD).mean((1, 2)), atol=1e-5)


@pytest.mark.parametrize("name", [*models.CONVOLUTIONAL, "wide_resnet-10-2"])
def test_every_model_takes_the_images(name):
    model = models.build_convolutional(name)
    assert model(np.zeros((1, 32, 32, 3), np.float32)).shape == (1, 10)
    assert model[0].weight.shape[-1] == 3  # whose filters can be drawn in colours


# What is refused.

REFUSED = {
    "--batchsize 109": "cifar10: --batchsize 109 is more than the 108 training images; take fewer",
    "--model resnet99": "cifar10: model: expected one of lenet5, resnet20, ",
    "--model wide_resnet-18-2": "cifar10: wide_resnet: expected a depth of 6n + 4",
    "--eta 1e30 --optimiser momentum": "cifar10: train: the loss is ",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_refusals(arguments, tmp_path, capsys):
    assert command(tmp_path, arguments) == 1
    assert capsys.readouterr().err.startswith(REFUSED[arguments])
    assert not list((tmp_path / "out").iterdir())


def test_without_the_images(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache")
    monkeypatch.setattr(module.CIFAR10, "mirrors", ("http://127.0.0.1:1/",))
    assert command(tmp_path, "") == 1
    message = capsys.readouterr().err
    assert message.startswith("cifar10: CIFAR-10 cannot be had here, for lack of data_batch_1.bin")
    assert "TINYFLUX_DATA" in message


@pytest.mark.parametrize("option", ["--epochs 0", "--decay -1", "--augment mixup", "--schedule linear", "--seed x"])
def test_bad_options(option, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        command(tmp_path, option)
    assert stop.value.code == 2
    assert f"argument {option.split()[0]}" in capsys.readouterr().err


def test_the_folder_of_another_run(tmp_path, capsys):
    assert command(tmp_path, "--epochs 1") == 0
    before = (tmp_path / "out" / "run.json").read_bytes()
    assert command(tmp_path, "--epochs 2 --seed 1") == 1
    message = capsys.readouterr().err
    assert (
        "run.json is of a run with epochs 1, seed 0, not epochs 2, seed 1; name another folder by --output" in message
    )
    assert (tmp_path / "out" / "run.json").read_bytes() == before
    saved = json.loads(before)
    for text in (
        "{",
        "[]",
        *(json.dumps(saved | {name: "x"}) for name in ("settings", "history", "events", "diverged", "generator")),
    ):
        (tmp_path / "out" / "run.json").write_text(text)
        assert command(tmp_path, "--epochs 1") == 1
        assert "run.json is damaged; name another folder by --output" in capsys.readouterr().err
