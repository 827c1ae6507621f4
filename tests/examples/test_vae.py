"""examples/vae.py: its lower bound against the formula by hand, and what a run trains, draws, writes and refuses."""

import json
import sys
from types import SimpleNamespace

import matplotlib.axes
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

import tinyflux as flux
from examples import vae
from examples.common import epochs
from tests.support import device_standin as standin
from tests.support.flux_mnist import LABELS, NO_COMPILER, PIXELS, TEST_PIXELS, needs_compiler
from tests.support.scripts import ROOT
from tinyflux import device

RANDOM = np.random.default_rng(5)
FILES = {"results.json", "bounds.png", "digits.png"}


@pytest.fixture
def small(monkeypatch):
    """A model of 6 pixels, 4 hidden units and 3 latent numbers in float64, images and noise."""
    monkeypatch.setattr(vae, "PIXELS", 6)
    monkeypatch.setattr(vae, "HIDDEN", 4)
    flux.seed(3)
    model = flux.f64(vae.VAE(3))
    for layer in (model.hidden, model.mean, model.log_variance, *model.decode):
        layer.bias += RANDOM.normal(size=layer.bias.shape)
    return model, RANDOM.random((5, 6)), RANDOM.normal(size=(5, 3))


@pytest.fixture(autouse=True)
def _no_compiler(request, monkeypatch):
    if "compiled" not in request.node.name:
        monkeypatch.setenv("CC", NO_COMPILER)


def costs_by_hand(model, x, epsilon):
    """As the paper has them: log-likelihoods of pixels, and the divergence as an integral."""
    affine = lambda layer, x: x @ layer.weight.T + layer.bias  # noqa: E731
    h = np.tanh(affine(model.hidden, x))
    mu, sigma = affine(model.mean, h), np.sqrt(np.exp(affine(model.log_variance, h)))
    first, last = model.decode
    p = 1 / (1 + np.exp(-affine(last, np.tanh(affine(first, mu + sigma * epsilon)))))
    return -np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=1), mu, sigma


def divergence_by_hand(mu, sigma):
    """The mean of log q(z) − log p(z) over q = N(μ, σ²), for p = N(0, 1), by Gauss and Hermite's quadrature."""
    nodes, weights = np.polynomial.hermite.hermgauss(8)
    z = mu[..., None] + 2**0.5 * sigma[..., None] * nodes
    q = norm(mu[..., None], sigma[..., None])
    return (q.logpdf(z) - norm.logpdf(z)) @ weights / np.pi**0.5


def command(folder, arguments=""):
    given = f"--dataset digits --latents 2 3 --epochs 2 --batchsize 18 --output {folder} {arguments}"
    return vae.main(given.split())


def result(folder):
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for run in found["runs"]:
        del run["seconds"]
        for noted in run["history"]:
            del noted["seconds"]
    return found


# The model


def test_the_costs_by_hand(small):
    reconstruction, divergence = vae.costs(*small)
    expected, mu, sigma = costs_by_hand(*small)
    np.testing.assert_allclose(reconstruction, expected, rtol=1e-12)
    np.testing.assert_allclose(divergence, divergence_by_hand(mu, sigma), rtol=1e-12)
    assert vae.loss(*small) == pytest.approx(np.mean(expected) + np.sum(divergence) / 5, rel=1e-12)


def test_the_gradient(small):
    model, x, epsilon = small
    flux.gradcheck(lambda model: vae.loss(model, x, epsilon), model)
    gradient = flux.gradient(lambda model: vae.loss(model, x, epsilon), model)
    assert all(np.any(g) for g in flux.leaves(gradient))


@needs_compiler
def test_compiled_it_is_trained_to_the_same_numbers(small):
    model, x, epsilon = small
    trained = []
    for compiled in (True, False):
        copy = flux.tree.map(np.copy, model)
        opt = flux.setup(flux.Adam(0.01), copy)
        losses = flux.train(vae.loss, copy, [(x, epsilon)], opt, epochs=20, compile=compiled)
        trained.append([losses, *flux.leaves(copy)])
    assert trained[0][0][-1] < trained[0][0][0] - 0.1
    for a, b in zip(*trained, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_the_noise():
    """Standard normal, of its own for every image, batch and pass; the images stay as they are."""
    x = np.zeros((3000, 4), np.float32)
    loader = flux.DataLoader(x, 1000, transform=lambda x, rng: vae.with_noise(x, rng, 5), rng=np.random.default_rng(1))
    batches = [*loader, *loader]
    assert all(images.shape == (1000, 4) and not images.any() for images, _ in batches)
    noise = np.concatenate([epsilon for _, epsilon in batches])
    assert noise.shape == (6000, 5)
    assert noise.dtype == np.float32
    assert len(np.unique(noise)) > 29_900  # of 30,000 in float32, few are the same
    np.testing.assert_allclose(np.mean(noise, axis=0), 0, atol=5 / 6000**0.5)
    np.testing.assert_allclose(np.cov(noise.T), np.eye(5), atol=5 * (2 / 6000) ** 0.5)


# A run


def test_what_a_run_trains_and_writes(tmp_path, few_images, capsys):
    """The updates are Adam's, with a learning rate that falls along a cosine; the bound is that of the test images."""
    assert command(tmp_path, "--eta 0.01 --seed 4") == 0
    assert {f.name for f in tmp_path.iterdir()} == FILES | {"plane.png", "latents-2", "latents-3"}
    out = capsys.readouterr().out
    for latents, run in zip((2, 3), result(tmp_path)["runs"], strict=True):
        flux.seed(4)
        model = vae.VAE(latents)
        loader = flux.DataLoader(
            PIXELS,
            18,
            shuffle=True,
            partial=False,  # the four images that are left over sit a pass out
            transform=lambda x, rng, n=latents: (x, rng.standard_normal((18, n), np.float32)),
            rng=np.random.default_rng(4),
        )
        means = [(np.zeros_like(p), np.zeros_like(p)) for p in flux.leaves(model)]
        losses = []
        for t, batch in enumerate([*loader, *loader], 1):
            value, gradient = flux.withgradient(lambda m, b=batch: vae.loss(m, *b), model)
            losses.append(value)
            eta = 0.01 * (1 + np.cos(np.pi * (t - 1) / 4)) / 2
            for p, (m, v), g in zip(flux.leaves(model), means, flux.leaves(gradient), strict=True):
                m[...], v[...] = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
                p -= eta * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(
            [noted["loss"] for noted in run["history"]], np.reshape(losses, (2, 2)).mean(1), 1e-3
        )
        flux.load(tmp_path / f"latents-{latents}" / "epoch-2.npz", model)
        noise = np.random.default_rng(4).standard_normal((40, latents), np.float32)
        reconstruction, mu, sigma = costs_by_hand(flux.f64(model), TEST_PIXELS, noise)
        each = np.mean(divergence_by_hand(mu, sigma), axis=0)
        assert run["latents"] == latents
        assert run["parameters"] == 2 * 784 * 500 + 500 * (3 * latents + 2) + 2 * latents + 784
        assert run["test_reconstruction"] == pytest.approx(np.mean(reconstruction), rel=1e-5)
        np.testing.assert_allclose(run["test_divergence_of_each"], np.sort(each)[::-1], rtol=1e-4)
        assert run["test_divergence"] == pytest.approx(np.sum(each), rel=1e-4)
        assert (
            run["test_bound"]
            == run["history"][-1]["test_bound"]
            == -run["test_reconstruction"] - run["test_divergence"]
        )
        assert run["used"] == np.sum(each > 0.1)
        assert f"{latents:>7} {run['used']:>7}   {run['test_bound']:>11.2f}" in out


def test_numbers_that_tell_nothing_do_not_count_as_used():
    noted = {"loss": 5.0, "test_bound": -6.0, "test_reconstruction": 3.7, "seconds": 1.0}
    training = SimpleNamespace(model=[], history=[{**noted, "test_divergence": [0.001, 2.0, 0.099, 0.2]}])
    found = vae.summary(4, training)
    assert found["used"] == 2
    assert found["test_divergence_of_each"] == [2.0, 0.2, 0.099, 0.001]


def test_many_images_are_evaluated_in_blocks(small, monkeypatch):
    model, x, epsilon = small
    monkeypatch.setattr(vae, "BLOCK", 2)
    reconstruction, divergence = vae.costs(model, x, epsilon)
    found = vae.mean_costs(model, x, epsilon)
    np.testing.assert_allclose(found[0], np.mean(reconstruction), rtol=1e-12)
    np.testing.assert_allclose(found[1], np.mean(divergence, axis=0), rtol=1e-12)


def test_a_run_that_was_stopped_goes_on(tmp_path, few_images, capsys, monkeypatch):
    """After the first epoch of the second model: the first one isn't trained again."""
    with monkeypatch.context() as patched:
        call = epochs.Training.__call__

        def stopped(training, progress):
            call(training, progress)
            if training.settings["latents"] == 3 and training.epoch == 1:
                raise KeyboardInterrupt

        patched.setattr(epochs.Training, "__call__", stopped)
        assert command(tmp_path / "stopped") == 130
    assert "the same command goes on after the last whole epoch" in capsys.readouterr().err
    assert not (tmp_path / "stopped" / "results.json").exists()
    assert command(tmp_path / "stopped") == 0
    out = capsys.readouterr().out
    assert "2 of 2 epochs are made" in out
    assert "1 of 2 epochs are made" in out
    assert command(tmp_path / "whole") == 0
    assert result(tmp_path / "stopped") == result(tmp_path / "whole")


def test_on_a_gpu(tmp_path, few_images, monkeypatch):
    """On arrays of the stand-in for CuPy, which takes what CuPy does: model, images and noise lie there."""
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())
    monkeypatch.setattr(vae, "device", lambda wanted: wanted)
    device._fault.cache_clear()
    try:
        assert command(tmp_path, "--device gpu --latents 2 --epochs 1") == 0
    finally:
        device._fault.cache_clear()
    model = vae.VAE(2)
    flux.load(tmp_path / "latents-2" / "epoch-1.npz", model)
    noise = np.random.default_rng(0).standard_normal((40, 2), np.float32)
    (run,) = result(tmp_path)["runs"]
    assert run["test_bound"] == pytest.approx(-vae.loss(flux.f64(model), TEST_PIXELS, noise), rel=1e-5)


# The pictures


class Painter:
    """In the place of a model: shades an image by its first latent number on the left and by its last on the right."""

    def encode(self, x):
        return x[:, [400, 401]], None

    def decode(self, z):
        return np.repeat(z[:, [0, -1]], [14, 14], axis=1)[:, None, :].repeat(28, 1).reshape(-1, 784)


@pytest.fixture
def drawn(monkeypatch):
    """The images that are drawn, as arrays."""
    images = []
    monkeypatch.setattr(matplotlib.axes.Axes, "imshow", lambda axes, image, **style: images.append(image))
    return images


def cell(image, row, column, side=28):
    """The digit in a row and a column, without the frame of a wider cell."""
    frame = (side - 28) // 2
    return image[side * row + frame :, side * column + frame :][:28, :28]


def test_the_bounds(tmp_path, monkeypatch):
    """A line for each model, from the first epoch to the last, with its name and its end."""
    lines = []
    plot = matplotlib.axes.Axes.plot
    monkeypatch.setattr(matplotlib.axes.Axes, "plot", lambda *args, **style: lines.append(args) or plot(*args, **style))
    bounds = {2: [-180.0, -155.44], 20: [-123.5, -103.38]}
    runs = [{"latents": n, "history": [{"test_bound": b} for b in values]} for n, values in bounds.items()]
    vae.draw_bounds(tmp_path / "bounds.png", runs)
    assert [(list(x), y) for _, x, y, _ in lines] == [([1, 2], bounds[2]), ([1, 2], bounds[20])]
    names = [text.get_text() for text in lines[0][0].get_figure().legends[0].get_texts()]
    assert names == ["2: −155.4 in the end", "20: −103.4 in the end"]


def test_the_plane(tmp_path, drawn):
    """The first number grows to the right, the second upwards: both by the quantiles of a standard normal number."""
    vae.draw_plane(tmp_path / "plane.png", Painter())
    (image,) = drawn
    assert image.shape == (560, 560)
    for i, j in np.ndindex(20, 20):
        first, second = norm.ppf([(j + 0.5) / 20, (19.5 - i) / 20])
        np.testing.assert_allclose(cell(image, i, j)[:, [0, 27]], np.tile(expit([first, second]), (28, 1)), rtol=1e-5)


def test_the_digits(tmp_path, drawn):
    """A test image of every digit, what the models make of it, and what they make of random numbers."""
    vae.draw_digits(tmp_path / "digits.png", {2: Painter(), 3: Painter()}, (TEST_PIXELS, LABELS), seed=1)
    above, below = drawn
    assert above.shape == (90, 300)
    assert below.shape == (60, 300)
    rng = np.random.default_rng(1)
    for row, noise in enumerate([rng.standard_normal((10, n), np.float32) for n in (2, 3)]):
        for digit in range(10):  # the first ten test images are of the digits 0 to 9
            np.testing.assert_array_equal(cell(above, 0, digit, 30), TEST_PIXELS[digit].reshape(28, 28))
            kept = expit(TEST_PIXELS[digit, [400, 401]])
            np.testing.assert_allclose(cell(above, row + 1, digit, 30)[3, [5, 20]], kept, rtol=1e-6)
            np.testing.assert_allclose(cell(below, row, digit, 30)[3, [5, 20]], expit(noise[digit, [0, -1]]), rtol=1e-6)


# What is refused


def test_more_images_in_a_batch_than_there_are(tmp_path, few_images, capsys):
    assert command(tmp_path / "out", "--batchsize 41") == 1
    assert capsys.readouterr().err == "vae: --batchsize 41 is more than the 40 training images; take fewer\n"
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("option", ["--latents 0", "--latents 2 x", "--epochs 0", "--eta -1", "--dataset cifar10"])
def test_bad_options(option, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        command(tmp_path, option)
    assert stop.value.code == 2
    assert f"argument {option.split()[0]}" in capsys.readouterr().err


def test_the_folder_of_another_run(tmp_path, few_images, capsys):
    assert command(tmp_path, "--latents 2 --epochs 1") == 0
    assert command(tmp_path, "--latents 2 --epochs 1 --seed 1") == 1
    assert "run.json is of a run with seed 0, not seed 1; name another folder by --output" in capsys.readouterr().err


# What is documented


def test_the_page_tells_what_the_runs_have_found():
    results = ROOT / "examples" / "results" / "vae"
    found, longer, seed = (
        json.loads((results / name).read_text(encoding="utf-8"))
        for name in ("results.json", "epochs-50.json", "seed-1.json")
    )
    assert found["settings"] == {name: x for name, x in vars(vae.parse([])).items() if name != "output"}
    assert longer["settings"] == found["settings"] | {"latents": [20], "epochs": 50}
    assert seed["settings"] == found["settings"] | {"latents": [20, 50], "seed": 1}
    page = " ".join((ROOT / "docs" / "experiments" / "vae.md").read_text(encoding="utf-8").split())
    for run in found["runs"]:
        numbers = [nats(run[name]) for name in ("test_bound", "test_reconstruction", "test_divergence")]
        assert f"| {run['latents']} | {' | '.join(numbers)} | {run['used']} |" in page
    twenty, fifty = (nats(run["test_bound"]) for run in seed["runs"])
    assert f"it was {twenty} for 20 and {fifty} for 50, of which {seed['runs'][1]['used']} were used again" in page
    assert f"After 50 epochs our model of 20 numbers is at {nats(longer['runs'][0]['test_bound'])} nats" in page
    losses = [run["history"][-1]["loss"] for run in (*found["runs"][3:], *longer["runs"])]
    text = "the mean loss over the training images is {} with 20 numbers and {} with 50"
    assert text.format(*map(nats, losses)) in page
    assert f"in the last of 50 it is {nats(losses[2])}" in page


def nats(x):
    return f"{x:.1f}".replace("-", "−")
