"""examples/cifar10.py --recipe fast: its network, rules, images and answers, and how it goes on; on images of noise."""

import json
import sys

import numpy as np
import pytest
from scipy.special import log_softmax

import tinyflux as flux
from examples import cifar10
from examples.common import fast, photographs
from examples.common.epochs import Training
from tests.support import device_standin as standin
from tests.support.cifar10_files import install, made_up, outcome
from tests.support.flux_mnist import NO_COMPILER
from tinyflux import device

IMAGES = made_up(24)  # 120 to train with, and 24 to test with
LABELS = np.arange(10).repeat(3)


def photos(n=30):
    """Images whose pixels, rows and channels belong together, normalised."""
    noise = np.random.default_rng(0).normal(size=(n, 32, 32, 3)).astype(np.float32)
    x = noise + np.roll(noise, 1, axis=1) + 2 * noise.mean(axis=-1, keepdims=True)
    return x / x.std()


@pytest.fixture(name="narrow")
def _narrow(monkeypatch):
    monkeypatch.setattr(fast, "WIDTHS", (24, 24, 24))


# The network


def test_the_first_layer_whitens():
    x = photos()
    filters = fast.network(x)[0].weight
    places = [(i, j, c) for i in range(2) for j in range(2) for c in range(3)]
    patches = np.stack([x[:, i : i + 31, j : j + 31, c].ravel() for i, j, c in places], axis=1)
    assert np.abs(np.corrcoef(patches.T) - np.eye(12)).max() > 0.5
    made = patches @ filters.reshape(24, 12).T
    np.testing.assert_allclose(made[:, :12].T @ made[:, :12] / len(made), np.eye(12), atol=0.02)
    np.testing.assert_array_equal(filters[12:], -filters[:12])


def test_the_network():
    flux.seed(0)
    model = fast.network(photos())
    kernels = {(24, 64): 1, (64, 64): 1, (64, 256): 1, (256, 256): 3}
    count = sum(9 * nin * nout * times for (nin, nout), times in kernels.items())
    count += (24 * 12 + 24) + 2 * (2 * 64 + 4 * 256) + 10 * 256
    assert flux.parameter_count(model) == count
    x = photos(2)
    sides = []
    for layer in model:
        x = layer(x)
        sides += [x.shape[1]] if isinstance(layer, flux.MaxPool) else []
    assert sides == [15, 7, 3, 1]
    assert x.shape == (2, 10)
    assert not np.allclose(x, 0)
    for i, (nin, nout) in {1: (24, 64), 4: (64, 64), 6: (64, 256)}.items():
        image = np.random.default_rng(1).normal(size=(1, 5, 5, nin)).astype(np.float32)
        made = model[i](image)
        np.testing.assert_allclose(made[..., :nin], image, rtol=1e-6)  # the first filters hand channels on
        assert made.shape == (1, 5, 5, nout)
        others = model[i].weight[nin:]
        assert not others.size or 0.95 / np.sqrt(9 * nin) < np.abs(others).max() <= 1 / np.sqrt(9 * nin)
    assert np.std(model[-2].weight) == pytest.approx(1, abs=0.05)
    features = np.ones((1, 256), np.float32)
    np.testing.assert_allclose(model[-1](model[-2](features))[0], model[-2].weight.mean(axis=1), rtol=1e-4, atol=1e-5)


def test_the_loss():
    scores = np.random.default_rng(0).normal(size=(30, 10))
    y = np.eye(10)[LABELS]
    expected = np.mean(np.sum(-(0.8 * y + 0.02) * log_softmax(scores, axis=1), axis=1))
    assert fast.loss(lambda x: x, scores, y) == pytest.approx(expected, rel=1e-12)


# The rules

BATCHSIZE, STEPS, EPOCHS = 50, 10, 8


def prepared():
    flux.seed(0)
    model = fast.network(photos())
    return model, fast.setup(model, BATCHSIZE, STEPS, EPOCHS)


def test_a_step(narrow):
    """Each parameter by its rule: kernels of length 1 a filter by Muon, the rest by Nesterov's momentum with decay."""
    model, opt = prepared()
    before = [np.array(x) for x in flux.leaves(model)]
    rng = np.random.default_rng(0)
    grads = flux.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), model, buffers=False)
    flux.update(opt, model, grads)
    old, kinds = iter(before), []
    for layer, g in zip(model, grads, strict=True):
        for name in ("weight", "bias"):
            x = getattr(layer, name, None)
            if x is None:
                continue
            was, slope = next(old), getattr(g, name)
            if name == "weight" and (layer is model[0] or isinstance(layer, flux.BatchNorm)):
                expected, kind = was, "frozen"
            elif x.ndim == 4:
                muon = flux.Muon(0.24, 0.6)
                expected, kind = was / np.sqrt(np.sum(was**2) / len(was)), "Muon"
                expected = expected - muon.apply(muon.init(was), was, slope)[1]
            else:
                eta = 0.67 if layer is model[-2] else 0.053
                expected = was - 1.85 * (BATCHSIZE * eta * slope + 2e-6 * BATCHSIZE * was)
                kind = "Nesterov"
            np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)
            kinds.append(kind)
        for _ in layer.buffers if isinstance(layer, flux.BatchNorm) else ():
            next(old)
    assert {kind: kinds.count(kind) for kind in kinds} == {"frozen": 7, "Nesterov": 8, "Muon": 6}


def test_rates_fall_in_straight_lines():
    _, opt = prepared()
    found = {"first": opt[0].bias, "others": opt[3].bias, "head": opt[-2].weight, "kernels": opt[1].weight}
    etas = {name: getattr(leaf.rule, "rules", (leaf.rule,))[-1].eta for name, leaf in found.items()}
    largest = {"first": 50 * 0.053, "others": 50 * 0.053, "head": 50 * 0.67, "kernels": 0.24}
    for name, eta in etas.items():
        over = STEPS * (3 if name == "first" else EPOCHS)
        np.testing.assert_allclose([eta(t) for t in range(STEPS * EPOCHS)],
                                   [largest[name] * max(1 - t / over, 0) for t in range(STEPS * EPOCHS)])  # fmt: skip


# Images and answers


def test_images_are_mirrored_in_turn():
    images, labels = IMAGES["data_batch_1.bin"]
    loader = fast.loader((images, labels), 6, seed=3)
    first = loader.data[0].copy()
    np.testing.assert_array_equal(loader.data[1], np.eye(10)[labels])
    kept = np.all(first == images, axis=(1, 2, 3))
    np.testing.assert_array_equal(first[~kept], images[~kept, :, ::-1])
    assert 6 <= kept.sum() <= 18
    fast.mirror(loader)
    np.testing.assert_array_equal(loader.data[0], first[:, :, ::-1])
    (x, y), *_ = loader
    assert x.shape == (6, 32, 32, 3)
    assert y.shape == (6, 10)


def test_slight_shifts():
    """Windows of the image in a frame of its mirror images; it isn't mirrored itself."""
    images, labels = IMAGES["data_batch_1.bin"]
    made, _ = photographs.augment((images, labels), np.random.default_rng(1), "slight")
    places = set()
    for image, x in zip(images, made, strict=True):
        index = {shift: np.abs(np.arange(32) + shift) for shift in range(-2, 3)}
        index = {shift: np.where(i > 31, 62 - i, i) for shift, i in index.items()}
        windows = {(a, b): image[i][:, j] for a, i in index.items() for b, j in index.items()}
        mean, std = map(np.float32, photographs.STANDARD)
        plain = {at: (w - mean) / std for at, w in windows.items()}
        (found,) = [at for at, w in plain.items() if np.allclose(x, w, atol=1e-5)]
        places.add(found)
    assert {a for a, _ in places} == {b for _, b in places} == set(range(-2, 3))


def test_an_answer_is_the_mean_of_six():
    images = IMAGES["data_batch_1.bin"][0][:3]
    weights = np.random.default_rng(0).normal(size=(32 * 32 * 3, 10))

    def scores(model, x):
        assert model == "the model"
        return np.tanh(x.reshape(len(x), -1) @ weights / 2000)

    def view(shift, step):
        index = np.abs(np.arange(32) + shift)
        index = np.where(index > 31, 62 - index, index)
        return scores("the model", images[:, index][:, :, index][:, :, ::step])

    shares = {0: 1 / 2, -1: 1 / 4, 1: 1 / 4}
    expected = sum(share / 2 * view(shift, step) for shift, share in shares.items() for step in (1, -1))
    np.testing.assert_allclose(fast.predict(scores, "the model", images), expected, rtol=1e-6)


# The command


@pytest.fixture(name="few")
def _few(tmp_path, monkeypatch, narrow):
    install(tmp_path / "data", IMAGES, monkeypatch)
    monkeypatch.setenv("CC", NO_COMPILER)


def command(folder, arguments=""):
    return cifar10.main(["--recipe", "fast", "--batchsize", "36", *arguments.split(), "--output", str(folder)])


def test_a_run(few, tmp_path, capsys):
    """It trains with all images, and looks at the test images in the end."""
    assert command(tmp_path, "--epochs 2") == 0
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    images, labels = IMAGES["test_batch.bin"]
    model = fast.network(photos())
    flux.load(tmp_path / "epoch-2.npz", model)
    guesses = np.argmax(fast.predict(photographs.Predictor("cpu"), model, images), axis=1)
    assert found["test_accuracy"] == np.mean(guesses == labels)
    assert [len(entry["losses"]) for entry in found["history"]] == [3, 3]
    assert not any("held_back_loss" in entry for entry in found["history"])
    assert found["settings"]["batchsize"] == 36
    assert found["settings"]["eta"] == 0.24
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert names >= {"learning.png", "confusion.png", "filters.png", "mistakes.png"}
    assert "epoch   2: loss" in capsys.readouterr().out


def test_a_run_that_was_stopped_goes_on(few, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "show", lambda training, data, options: None)
    assert command(tmp_path / "whole", "--epochs 3") == 0
    fit = Training.fit
    monkeypatch.setattr(Training, "fit", lambda training, epochs: fit(training, epochs, lambda: True))
    for _ in range(3):
        assert command(tmp_path / "stopped", "--epochs 3") == 0
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")
    assert len(outcome(tmp_path / "whole")[0]) == 3


def test_on_a_gpu(few, tmp_path, monkeypatch):
    """On arrays of the stand-in for CuPy, which takes what CuPy does."""
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())
    monkeypatch.setattr(cifar10, "device", lambda wanted: wanted)
    device._fault.cache_clear()
    try:
        assert command(tmp_path, "--epochs 2 --device gpu") == 0
    finally:
        device._fault.cache_clear()
    assert len(outcome(tmp_path)[0]) == 2


@pytest.mark.parametrize("option", ["--eta 0.1", "--model lenet5", "--augment none", "--optimiser adam"])
def test_options_that_it_has_itself(option, capsys):
    with pytest.raises(SystemExit) as stop:
        cifar10.parse(["--recipe", "fast", *option.split()])
    assert stop.value.code == 2
    assert f"argument {option.split()[0]}: --recipe fast has its own" in capsys.readouterr().err
