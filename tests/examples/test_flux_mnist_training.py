"""One run of examples/flux_mnist: the numbers that it computes, where it ends, and what it takes."""

import os
import tracemalloc

import numpy as np
import pytest

import tinyflux as flux
from examples.common import models
from examples.common.folder import Folder
from examples.common.signals import Stopped
from examples.flux_mnist import grid, training
from examples.flux_mnist.curve import Curve
from examples.flux_mnist.job import outcome
from tests.support.flux_mnist import (
    DATASET,
    GOAL,
    LABELS,
    PIXELS,
    TEST_PIXELS,
    Clock,
    after,
    count,
    needs_compiler,
    result,
    scores,
    small,
    state,
    train,
)

pytestmark = pytest.mark.usefixtures("few_images")


# What is computed


def by_hand(run, goal):
    """The losses of the iterations, and the layers after them: the textbook's formulas in double precision."""
    flux.seed(run.seed)
    layers = [layer for layer in models.build(run.model) if hasattr(layer, "weight")]
    parameters = [np.array(p, float) for layer in layers for p in (layer.weight, layer.bias)]
    averages = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
    size = {"batch": 40, "stochastic": 1, "minibatch": run.batchsize}[run.variant]
    order = [row for _, rows in zip(range(goal), training.samples(run, 40, size, 0)) for row in rows]
    losses = []
    for i, rows in enumerate(order[:goal], 1):
        loss, gradients = backpropagation(run.model, parameters, PIXELS[rows].astype(float), np.eye(10)[LABELS[rows]])
        losses.append(loss)
        for p, (m, v), g in zip(parameters, averages, gradients):
            if run.optimiser == "Descent":
                p -= 0.1 * g
                continue
            m += (1 - 0.9) * (g - m)
            v += (1 - 0.999) * (g**2 - v)
            p -= 0.01 * (m / (1 - 0.9**i)) / (np.sqrt(v / (1 - 0.999**i)) + 1e-8)
    return np.array(losses), parameters


def activities(name, parameters, x):
    """The input, and what each layer makes of it."""
    found = [x]
    for w, b in zip(parameters[::2], parameters[1::2]):
        z = found[-1] @ w.T + b
        if name != "2LR":
            found.append(1 / (1 + np.exp(-z)))
        elif len(found) == 1:
            found.append(np.maximum(z, 0))
        else:
            e = np.exp(z - z.max(axis=1, keepdims=True))
            found.append(e / e.sum(axis=1, keepdims=True))
    return found


def backpropagation(name, parameters, x, y):
    """The loss, and the gradient for each parameter."""
    found = activities(name, parameters, x)
    if name == "2LR":
        loss, delta = -np.sum(y * np.log(found[-1] + np.finfo(np.float32).eps)) / len(y), (found[-1] - y) / len(y)
    else:
        loss, delta = np.mean((found[-1] - y) ** 2), 2 * (found[-1] - y) / y.size * found[-1] * (1 - found[-1])
    gradients = []
    for i in reversed(range(len(parameters) // 2)):
        gradients = [delta.T @ found[i], delta.sum(axis=0), *gradients]
        slope = found[i] > 0 if name == "2LR" else found[i] * (1 - found[i])
        delta = delta @ parameters[2 * i] * slope
    return loss, gradients


@pytest.mark.parametrize(
    ("name", "variant", "rule"),
    [
        ("4LS", "minibatch", "ADAM"),
        ("3LS", "stochastic", "Descent"),
        ("2LR", "batch", "ADAM"),
        ("2LR", "minibatch", "Descent"),
    ],
)
def test_losses_parameters_and_accuracy(how, name, variant, rule, tmp_path):
    run = small(name, variant, rule, seed=5, batchsize=12)
    folder = Folder(tmp_path, run)
    train(folder, 150)
    losses, parameters = by_hand(run, 150)
    with np.load(folder.state) as file:
        np.testing.assert_allclose(file["model['curve'].early"][:150], losses, rtol=2e-3, atol=1e-6)
        saved = [array for key, array in file.items() if key.startswith("model['model']")]
    assert [p.shape for p in saved] == [p.shape for p in parameters]
    flux.seed(5)
    first = [p.copy() for p in flux.leaves(models.build(name))]
    for p, expected, begun in zip(saved, parameters, first):
        assert np.linalg.norm(p - expected) < 0.01 * np.linalg.norm(expected - begun)
    right = activities(name, [p.astype(float) for p in saved], TEST_PIXELS)[-1].argmax(axis=1) == LABELS
    (found,) = folder.checkpoints()
    assert found["seconds"] > 0
    assert scores(folder) == [
        {
            "iteration": 150,
            "accuracy": right.mean(),
            "loss": pytest.approx(losses[-1], rel=2e-3, abs=1e-6),
            "mean_loss": pytest.approx(losses[-100:].mean(), rel=2e-3, abs=1e-6),
        }
    ]
    assert folder.settings()["step"] == how


def test_a_checkpoint_is_of_its_own_iteration(tmp_path):
    long, short = Folder(tmp_path / "long", small()), Folder(tmp_path / "short", small())
    train(long, GOAL)
    train(short, 500)
    assert [entry["iteration"] for entry in long.checkpoints()] == [500, 1000, 1100]
    assert scores(long)[:1] == scores(short)
    accuracies = [entry["accuracy"] for entry in long.checkpoints()]
    assert accuracies[0] > 0.3
    assert len({entry["mean_loss"] for entry in long.checkpoints()}) == 3


def test_settings(how, tmp_path):
    folder = Folder(tmp_path, small("4LS", "minibatch", "ADAM", seed=3, batchsize=8))
    train(folder, 1, threads=2)
    settings = folder.settings()
    begun = settings.pop("begun")
    assert settings == {
        **folder.run._asdict(),
        **DATASET,
        "eta": 0.01,
        "step": how,
        "threads": 2,
        "parameters": 13_274,
    }
    assert begun["versions"]["numpy"] == np.__version__
    assert begun["machine"]["cores"] >= 1


def test_testing_and_saving_take_none_of_the_time(tmp_path, monkeypatch):
    clock = Clock(monkeypatch, tick=0.001)

    def slow(function):
        def slowed(*arguments):
            clock.now += 1000
            return function(*arguments)

        return slowed

    monkeypatch.setattr(flux, "accuracy", slow(flux.accuracy))
    monkeypatch.setattr(flux, "save", slow(flux.save))
    folder = Folder(tmp_path, small())
    train(folder, GOAL)
    seconds = [entry["seconds"] for entry in folder.checkpoints()]
    assert clock.now > 6000
    assert 0 < seconds[0] < seconds[1] < seconds[2] < 10


def test_the_time_goes_on_where_it_was(tmp_path, monkeypatch):
    folder = Folder(tmp_path, small())
    train(folder, 500)
    first = folder.checkpoints()[0]["seconds"]
    Clock(monkeypatch, tick=7.0)
    train(folder, 501)
    assert folder.checkpoints()[1]["seconds"] == first + 7.0


# A loss that is not finite


def ended(folder):
    """Train a run to its end before the goal; returns the entry of that."""
    train(folder, GOAL)
    assert folder.ended(GOAL)
    before = result(folder), folder.metrics()
    train(folder, GOAL)  # nothing is left to do
    assert (result(folder), folder.metrics()) == before
    *_, end = folder.metrics()
    assert count(folder) == end["at"]
    assert outcome(folder) == f"ended after {end['at']} iterations: {end['diverged']}"
    return end


def test_a_rate_that_is_too_high(how, tmp_path, monkeypatch):
    monkeypatch.setitem(grid.ETA, "Descent", 1e25)
    folder = Folder(tmp_path, small(optimiser="Descent"))
    assert ended(folder) == {"diverged": "the loss is nan", "at": 1}  # the first loss is that of the first parameters


@pytest.mark.parametrize("stopped", [False, True])
def test_the_iteration_of_a_loss_that_is_not_finite(how, stopped, tmp_path):
    folder = Folder(tmp_path, small("4LS"))
    spoilt = next(training.samples(folder.run, 40, 1, 0))[29, 0]
    kept = PIXELS[spoilt].copy()
    PIXELS[spoilt] = np.nan
    try:
        if stopped:
            with pytest.raises(Stopped):
                train(folder, GOAL, after(3))
        assert ended(folder) == {"diverged": "the loss is nan", "at": 29}
    finally:
        PIXELS[spoilt] = kept
    whole = Folder(tmp_path / "whole", folder.run)
    train(whole, 29)
    assert state(folder) == state(whole)


# Memory


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@needs_compiler
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_memory_does_not_grow(tmp_path, monkeypatch):
    class Watched(Curve):
        def add(self, losses):
            before = int(self.count)
            super().add(losses)
            if before // 20_000 < int(self.count) // 20_000:
                sizes.append((resident(), tracemalloc.get_traced_memory()[0]))

    sizes = []
    monkeypatch.setattr("examples.flux_mnist.state.Curve", Watched)
    tracemalloc.start()
    try:
        train(Folder(tmp_path, small("4LS", optimiser="Descent")), 140_000)
    finally:
        tracemalloc.stop()
    assert len(sizes) == 7
    assert sizes[-1][0] - sizes[0][0] < 500_000
    assert sizes[-1][1] - sizes[0][1] < 50_000
