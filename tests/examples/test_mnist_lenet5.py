"""examples/mnist.py --model lenet5: what convolutions add to the runs that test_mnist_example.py tests."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import log_softmax

import tinyflux as flux
from examples import mnist
from examples.common import models
from tests.support.scripts import result

FILES = {"model.npz", "results.json", "summary.txt", "learning.png", "digits.png"}


def convolved(x, layer):
    windows = sliding_window_view(x, (5, 5), (1, 2))  # (N, H, W, channels, 5, 5)
    return np.maximum(np.einsum("nhwcij,oijc->nhwo", windows, layer.weight, optimize=True) + layer.bias, 0)


def halved(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def by_hand(model, images):
    """The scores of images (N, 28, 28), from the model's arrays alone."""
    first, second, *dense = [layer for layer in model if hasattr(layer, "weight")]
    x = halved(convolved(halved(convolved(images[..., None], first)), second)).reshape(len(images), -1)
    for layer in dense[:-1]:
        x = np.maximum(x @ layer.weight.T + layer.bias, 0)
    return x @ dense[-1].weight.T + dense[-1].bias


def test_the_model():
    model = models.build("lenet5")
    images = np.random.default_rng(0).random((3, 28, 28), np.float32)
    shapes = [(6, 5, 5, 1), (6,), (16, 5, 5, 6), (16,), (120, 256), (120,), (84, 120), (84,), (10, 84), (10,)]
    assert [p.shape for p in flux.leaves(model)] == shapes
    assert flux.parameter_count(model) == 44_426  # 156 + 2,416 + 30,840 + 10,164 + 850
    np.testing.assert_allclose(model(images[..., None]), by_hand(model, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["stochastic", "minibatch"])
def test_what_a_run_writes(variant, tmp_path):
    options = ["--model", "lenet5", "--variant", variant, "--dataset", "digits"]
    assert mnist.main([*options, "--iterations", "3", "--output", str(tmp_path)]) == 0
    found = result(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == FILES
    assert found["settings"]["eta"] == 0.003
    assert found["parameters"] == 44_426
    assert found["curve"]["iteration"] == [1, 2, 3]
    model = models.build("lenet5")
    opt = flux.setup(flux.ADAM(flux.schedules.Cosine(0.003, over=3)), model)
    flux.load(tmp_path / "model.npz", model, opt)
    images, labels = flux.data.digits("test")
    assert found["accuracy"] == np.mean(np.argmax(by_hand(model, images), axis=1) == labels)
    assert "44,426 parameters" in (tmp_path / "summary.txt").read_text(encoding="utf-8")


def test_it_makes_as_many_updates_with_the_right_loss(tmp_path):
    options = ["--model", "lenet5", "--variant", "batch", "--optimiser", "Descent", "--eta", "0.03"]
    assert mnist.main([*options, "--dataset", "digits", "--iterations", "3", "--output", str(tmp_path)]) == 0
    images, labels = flux.data.digits("train")
    flux.seed(0)
    model = models.build("lenet5")
    losses = []
    for eta in (0.03, 0.0225, 0.0075):  # 0.03 · (1 + cos(π k / 3)) / 2
        losses.append(-np.mean(log_softmax(by_hand(model, images), axis=1)[np.arange(len(labels)), labels]))
        y = flux.onehotbatch(labels, range(10))
        grads = flux.gradient(lambda m, y=y: flux.logitcrossentropy(m(images[..., None]), y), model)
        flux.update(flux.setup(flux.Descent(eta), model), model, grads)
    np.testing.assert_allclose(result(tmp_path)["curve"]["loss"], losses, rtol=1e-4)
    trained = models.build("lenet5")
    flux.load(tmp_path / "model.npz", trained)
    for found, expected in zip(flux.leaves(trained), flux.leaves(model), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_it_soon_reads_the_digits(tmp_path):
    options = ["--model", "lenet5", "--dataset", "digits", "--iterations", "200", "--output", str(tmp_path)]
    assert mnist.main(options) == 0
    assert result(tmp_path)["accuracy"] >= 0.95


def test_the_same_seed_gives_the_same_results_bit_for_bit(tmp_path):
    options = ["--model", "lenet5", "--dataset", "digits", "--iterations", "10", "--seed", "3"]
    for name in "ab":
        assert mnist.main([*options, "--output", str(tmp_path / name)]) == 0
    a, b = ((tmp_path / name / "model.npz").read_bytes() for name in "ab")
    assert a == b


def test_the_accuracy_is_that_of_all_test_images(capsys):
    """They go through the model a block at a time."""
    random = np.random.default_rng(0)
    scores, labels = random.random((2 * mnist.BLOCK + 234, 10)), random.integers(0, 10, 2 * mnist.BLOCK + 234)
    record = mnist.Record((scores, labels), 1)
    record(flux.Progress(flux.identity, None, iteration=1, loss=1.0, losses=[1.0]))
    record.bar.close()
    assert record.checkpoints[0]["accuracy"] == np.mean(scores.argmax(axis=1) == labels)
