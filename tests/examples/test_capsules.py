"""examples/capsules.py: the network against the paper's formulas, and what a run calculates, writes and refuses."""

import json
import math
import sys

import numpy as np
import pytest

import tinyflux as flux
from examples import capsules
from examples.capsules import CapsNet, DigitCaps, PrimaryCaps, length, loss, margin_loss, squash
from tests.support import device_standin as standin
from tests.support.cifar10_files import outcome
from tests.support.flux_mnist import LABELS, NO_COMPILER, PIXELS, TEST_PIXELS, needs_compiler
from tinyflux import device

RNG = np.random.default_rng(3)
IMAGES = PIXELS.reshape(-1, 28, 28, 1)
TARGETS = np.eye(10)[LABELS]
SMALL = ["--dataset", "digits", "--channels", "2", "--capsules", "1", "--batchsize", "16"]
FILES = {"results.json", "learning.png", "numbers.png", "reconstructions.png"}


def squashed(s):
    """The paper's equation 1, of one vector."""
    norm = math.sqrt(sum(x * x for x in s))
    return norm**2 / (1 + norm**2) * s / norm


def routed(u, weight, iterations):
    """The paper's procedure 1, of the capsules (I, 8) of one image: loops over capsules i and digits j."""
    inputs, digits = weight.shape[:2]
    u_hat = [[weight[i, j] @ u[i] for j in range(digits)] for i in range(inputs)]
    b = np.zeros((inputs, digits))
    for _ in range(iterations):
        c = [np.exp(row) / np.exp(row).sum() for row in b]
        v = [squashed(sum(c[i][j] * u_hat[i][j] for i in range(inputs))) for j in range(digits)]
        for i, j in np.ndindex(b.shape):
            b[i, j] += u_hat[i][j] @ v[j]
    return np.array(v)


def small(iterations=3):
    flux.seed(1)
    model, rng = flux.f64(CapsNet(2, 1, iterations)), np.random.default_rng(0)
    model.digits.weight *= 10  # for capsules of some length
    for layer in (model.conv, model.primary.conv, *model.decoder):
        layer.bias = rng.normal(size=layer.bias.shape) / 4  # not 0, where relu has its kink
    return model


# The network


def test_squash_and_length():
    s = RNG.normal(size=(3, 4, 8)) * [[[0.01], [0.1], [1], [10]]]
    np.testing.assert_allclose(squash(s), np.apply_along_axis(squashed, -1, s), rtol=1e-4)  # ε beside 10⁻⁴ · 8
    np.testing.assert_allclose(squash(100 * s[:, 1:]), np.apply_along_axis(squashed, -1, 100 * s[:, 1:]), rtol=1e-9)
    np.testing.assert_allclose(length(s), np.linalg.norm(s, axis=-1), rtol=1e-3)
    np.testing.assert_array_less(length(squash(1e3 * s)), 1)
    flux.gradcheck(lambda s: length(squash(s)), s[1:])


def test_a_capsule_of_zeros_has_a_gradient():
    for f in (squash, length):
        slope = flux.gradient(lambda s, f=f: np.sum(f(s)), np.zeros((2, 8), np.float32))
        np.testing.assert_allclose(slope, 0, atol=1e-4)


def test_primary_capsules_are_neighbouring_channels_of_a_place():
    layer = flux.f64(PrimaryCaps(3, types=2))
    x = RNG.normal(size=(2, 12, 13, 3))
    channels = layer.conv(x)  # (2, 2, 3, 16): of windows of 9 × 9, in steps of 2
    assert channels.shape == (2, 2, 3, 16)
    u = layer(x)
    assert u.shape == (2, 2 * 3 * 2, 8)
    for n, y, z, kind in np.ndindex(2, 2, 3, 2):
        expected = squashed(channels[n, y, z, 8 * kind : 8 * kind + 8])
        np.testing.assert_allclose(u[n, (3 * y + z) * 2 + kind], expected, rtol=1e-6)
    assert np.all(channels.min((1, 2, 3)) < 0)  # there is no relu below the squash


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_routing(iterations):
    flux.seed(0)
    layer = flux.f64(DigitCaps(5, iterations))
    layer.weight *= 3  # for capsules of some length, beside which ε is small
    u = 2 * RNG.normal(size=(3, 5, 8))
    expected = [routed(image, layer.weight, iterations) for image in u]
    np.testing.assert_allclose(layer(u), expected, rtol=1e-6)
    flux.gradcheck(lambda layer, u: layer(u), layer, u, order=1)


def test_routing_gathers_where_capsules_agree():
    """Two of three capsules predict the same of digit 0: routed, its capsule is longer and lies nearer to these."""
    same, other = np.eye(8)[0], -np.eye(8)[1]
    u = np.array([[same, same, other]])
    layer = flux.f64(DigitCaps(3, 1))
    layer.weight = np.zeros_like(layer.weight)
    layer.weight[:, 0, :8] = 3 * np.eye(8)  # digit 0 gets what the capsules are; the others hear nothing
    once = layer(u)[0, 0]
    layer.iterations = 3
    thrice = layer(u)[0, 0]
    assert np.linalg.norm(thrice) > np.linalg.norm(once)
    assert thrice[0] / np.linalg.norm(thrice) > once[0] / np.linalg.norm(once)


def test_margin_loss():
    v = np.zeros((2, 10, 16))
    v[0, 3, 5], v[0, 4, 0], v[1, 2, 1] = 0.7, -0.4, 0.95
    y = np.eye(10)[[3, 7]]
    expected = [0.2**2 + 0.5 * 0.3**2, 0.9**2 + 0.5 * 0.85**2]
    np.testing.assert_allclose(margin_loss(v, y), expected, rtol=1e-4)  # |0| counts as 3·10⁻⁵


@pytest.mark.parametrize("iterations", [1, 3])
def test_the_loss(iterations):
    model, x, y = small(iterations), IMAGES[:4].astype(float), TARGETS[:4]
    v = np.array([routed(u, model.digits.weight, iterations) for u in model.primary(model.conv(x))])
    hidden = np.stack([np.where(np.arange(10)[:, None] == digit, v, 0).ravel() for v, digit in zip(v, LABELS)])
    for layer, f in zip(model.decoder, (lambda z: np.maximum(z, 0),) * 2 + (lambda z: 1 / (1 + np.exp(-z)),)):
        hidden = f(hidden @ layer.weight.T + layer.bias)
    lengths = np.linalg.norm(v, axis=-1)
    assert lengths.max() > 0.2
    value = np.sum(np.where(y == 1, np.maximum(0.9 - lengths, 0) ** 2, 0.5 * np.maximum(lengths - 0.1, 0) ** 2))
    value += 0.0005 * np.sum((hidden - x.reshape(4, 784)) ** 2)
    assert loss(model, x, y) == pytest.approx(value / 4, rel=1e-5)
    flux.gradcheck(lambda model: loss(model, x, y), model, order=1, directions=1)


def test_the_parameters():
    shapes = [p.shape for p in flux.leaves(CapsNet(256, 32, 3))]
    convolutions = [(256, 9, 9, 1), (256,), (256, 9, 9, 256), (256,)]
    dense = [(512, 160), (512,), (1024, 512), (1024,), (784, 1024), (784,)]
    assert shapes == [*convolutions, (1152, 10, 16, 8), *dense]  # the paper's


@needs_compiler
def test_compiled_training_is_the_same():
    data = [(IMAGES[:8], TARGETS[:8].astype(np.float32)), (IMAGES[8:16], TARGETS[8:16].astype(np.float32))]
    trained = []
    for compiled in (True, False):
        model = flux.f32(small())
        flux.train(loss, model, data, flux.setup(flux.Descent(0.1), model), epochs=2, compile=compiled)
        trained.append(flux.leaves(model))
    for p, q in zip(*trained, strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-3, atol=1e-6)


# The command


def command(tmp_path, *options):
    return capsules.main([*SMALL, *options, "--output", str(tmp_path / "out")])


@pytest.fixture
def plain(few_images, monkeypatch):
    monkeypatch.setenv("CC", NO_COMPILER)


@pytest.mark.usefixtures("plain")
def test_what_a_run_writes(tmp_path, capsys):
    assert command(tmp_path, "--routing", "2", "1", "2", "--epochs", "1") == 0
    out = tmp_path / "out"
    assert {file.name for file in out.iterdir()} == FILES | {"routing-1", "routing-2"}
    found = json.loads((out / "results.json").read_text(encoding="utf-8"))
    x = TEST_PIXELS.reshape(-1, 28, 28, 1)
    text = capsys.readouterr().out
    for iterations in (1, 2):
        model = CapsNet(2, 1, iterations)
        flux.load(out / f"routing-{iterations}" / "epoch-1.npz", model)
        v = model(x)
        missed = np.flatnonzero(np.argmax(np.linalg.norm(v, axis=-1), axis=1) != LABELS)
        wrong = len(missed)
        network = found["networks"][str(iterations)]
        assert network["wrong"] == network["history"][-1]["wrong"] == wrong
        assert len(network["history"]) == 1
        assert network["wrong_images"] == missed.tolist()
        assert network["parameters"] == flux.parameter_count(model)
        parts = network["margin_loss"] + 0.0005 * network["squared_errors"]
        assert parts == pytest.approx(loss(model, x, TARGETS), rel=1e-5)
        assert f"routing: {wrong} of 40 test images wrong" in text
    slants = [np.corrcoef(v[LABELS == 4, 4, d], capsules.slant(x)[LABELS == 4])[0, 1] for d in range(16)]
    np.testing.assert_allclose(found["correlations"]["slant"][4], slants, atol=6e-4)
    before = {file: file.read_bytes() for file in out.rglob("*.*")}
    (out / "numbers.png").unlink()
    assert command(tmp_path, "--routing", "1", "2", "--epochs", "1") == 0  # nothing is trained again
    assert {file: file.read_bytes() for file in out.rglob("*.*")} == before


def test_the_seed_decides_what_weights_it_begins_with(few_images, tmp_path):
    data = capsules.datasets.load("digits").as_images()
    weights = []
    for seed in (0, 1, 1):
        options = capsules.parse([*SMALL, "--seed", str(seed), "--output", str(tmp_path)])
        weights.append(capsules.prepared(options, data, iterations=1).model.digits.weight)
    assert np.array_equal(weights[1], weights[2])
    assert not np.array_equal(weights[0], weights[1])


@pytest.mark.usefixtures("plain")
def test_a_stopped_run_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(capsules, "show", lambda *_: None)
    options = "--routing", "2", "--epochs", "2"
    assert command(tmp_path / "whole", *options) == 0
    read, calls = capsules.reader, []

    def stopping(where):
        def wrapped(*arguments):
            calls.append(arguments)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return read(where)(*arguments)

        return wrapped

    monkeypatch.setattr(capsules, "reader", stopping)
    assert command(tmp_path / "stopped", *options) == 130
    assert capsys.readouterr().err.endswith(
        "capsules: stopped by Ctrl-C; the same command goes on after the last whole epoch\n"
    )
    assert command(tmp_path / "stopped", *options) == 0
    assert "1 of 2 epochs are made" in capsys.readouterr().out
    folders = (tmp_path / name / "out" / "routing-2" for name in ("whole", "stopped"))
    assert outcome(next(folders)) == outcome(next(folders))


@pytest.mark.usefixtures("plain")
def test_refusals(tmp_path, capsys):
    assert command(tmp_path, "--batchsize", "41") == 1
    assert capsys.readouterr().err == "capsules: --batchsize 41 is more than the 40 training images; take fewer\n"
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(SystemExit):
        command(tmp_path, "--routing", "0")
    assert "argument --routing: expected a whole number from 1" in capsys.readouterr().err


def test_on_a_gpu(tmp_path, few_images, monkeypatch):
    """On arrays of the stand-in for CuPy, which takes what CuPy does."""
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())
    monkeypatch.setattr(capsules, "device", lambda wanted: wanted)
    monkeypatch.setenv("CC", NO_COMPILER)
    device._fault.cache_clear()
    try:
        assert command(tmp_path, "--routing", "2", "--epochs", "1", "--device", "gpu") == 0
    finally:
        device._fault.cache_clear()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("off", [0, 1])
def test_the_picture_of_a_network_that_reads_all_or_none(off, tmp_path):
    model, x = flux.f32(small()), IMAGES[:12]
    v = model(x)
    labels = (capsules.answers(v) + off) % 10
    capsules.draw_reconstructions(tmp_path / "drawn.png", "a title", model, v, x, labels)
    assert (tmp_path / "drawn.png").exists()


def test_slant_and_ink():
    upright, leaning = np.zeros((2, 28, 28, 1), np.float32)
    upright[5:20, 9:12] = 0.5
    for i in range(5, 20):
        leaning[i, 30 - i : 32 - i] = 1.0  # a pixel to the right for each pixel upwards
    np.testing.assert_allclose(capsules.slant(np.stack([upright, leaning])), [0, 1], atol=1e-5)
    np.testing.assert_allclose(capsules.ink(np.stack([upright, leaning])), [22.5 / 784, 30 / 784], rtol=1e-6)


def test_images_are_shifted_within_a_frame_of_zeros():
    x, y = capsules.shifted((IMAGES, TARGETS), np.random.default_rng(0))
    assert y is TARGETS
    framed = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)))
    places = set()
    for image, frame in zip(x, framed, strict=True):
        places |= {(i, j) for i, j in np.ndindex(5, 5) if np.array_equal(image, frame[i : i + 28, j : j + 28])}
    assert len(places) > 12
