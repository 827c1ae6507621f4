"""One run: a rule trains a new network for so many iterations, and is measured on the way."""

import itertools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinyflux as flux
from examples.common import datasets
from examples.common.iterations import Step, native, plain, shuffled
from examples.common.signals import Stopped

BATCHSIZE = 128
HELD_BACK = 6  # one of so many training images is kept for validation: 10,000 of MNIST's
MEASURED = 10_000  # training images, at most, of which loss and accuracy are measured
MEASURES = ("loss", "accuracy")  # of the images of each kind
POINTS = 12  # of a curve, besides its start


class Part(NamedTuple):
    """Images to measure a network on."""

    pixels: np.ndarray
    labels: np.ndarray


class Data(NamedTuple):
    """The images of a run: to train with, and to measure with."""

    train: Part
    validation: Part
    test: Part


def split(data: datasets.Data) -> Data:
    """Part the training images, the same way for all runs: most of them to train with, the others for validation."""
    pixels, labels = data.train
    order = np.random.default_rng(0).permutation(len(labels))
    held, rest = np.split(order, [len(order) // HELD_BACK])
    return Data(Part(pixels[rest], labels[rest]), Part(pixels[held], labels[held]), Part(*data.test))


def build() -> flux.Chain:
    """The network of all runs: the articles' 2LR, which gives logits here."""
    return flux.Chain(flux.Dense(784, 32, flux.relu), flux.Dense(32, 10))


def checkpoints(iterations: int) -> list[int]:
    """The iterations after which a run is measured: closest at the start, where most happens.

    >>> checkpoints(1000)
    [0, 7, 28, 62, 111, 174, 250, 340, 444, 562, 694, 840, 1000]
    """
    return sorted({round(iterations * (i / POINTS) ** 2) for i in range(POINTS + 1)})


def orders(seed: int, images: int, iterations: int) -> np.ndarray:
    """The images of each iteration: shuffled passes over all of them, as in the analysis of the articles."""
    count = math.ceil(iterations / (images // BATCHSIZE))
    return np.concatenate(list(itertools.islice(shuffled(seed, images, BATCHSIZE), count)))[:iterations]


def train(rule: Any, seed: int, iterations: int, data: Data, stop: Callable[[], bool]) -> dict[str, Any]:
    """Train a network.

    Arguments:
        rule: the optimiser.
        seed: of the first parameters and of the order of the images.
        iterations: how many updates to make.
        data: the images.
        stop: asked at each checkpoint; where it returns True, Stopped is raised.

    Returns: "step", "native code" or "NumPy"; the "seconds" of training alone; "diverged", the number of updates after
    which a loss was not finite, or None; the "curve": a list for "iteration", "train loss", "test accuracy" and so on.
    """
    flux.seed(seed)
    model = build()
    how, step = stepper(model, flux.setup(rule, model), data.train)
    order = orders(seed, len(data.train.labels), iterations)
    curve: dict[str, list[float]] = {}
    seconds, made, diverged = 0.0, 0, None
    with np.errstate(all="ignore"):  # an overflow ends in a loss that is not finite
        for checkpoint in checkpoints(iterations):
            if checkpoint > made:
                start = time.perf_counter()
                losses = step(order[made:checkpoint])
                seconds += time.perf_counter() - start
                made += len(losses) if np.isfinite(losses[-1]) else len(losses) - 1
            measured = measure(model, data)
            if made < checkpoint or not np.isfinite(list(measured.values())).all():
                diverged = made
                break
            for name, value in {"iteration": checkpoint, **measured}.items():
                curve.setdefault(name, []).append(value)
            if stop():
                raise Stopped(f"{rule} was stopped after {made:,} iterations; this run begins anew")
    return {"step": how, "seconds": seconds, "diverged": diverged, "curve": curve}


def stepper(model: Any, opt: Any, train: Part) -> tuple[str, Step]:
    """What makes iterations, "native code" where there is a compiler, and else the same in "NumPy"."""
    data = train.pixels, flux.onehotbatch(train.labels, range(10))
    try:
        return "native code", native(flux.logitcrossentropy, model, opt, data, BATCHSIZE)
    except flux.CompilerNotFound:
        return "NumPy", plain(flux.logitcrossentropy, model, opt, data)


def measure(model: Any, data: Data) -> dict[str, float]:
    """Loss and accuracy on the images of each kind: "train loss", "train accuracy" and so on."""
    measured = {}
    for name, part in data._asdict().items():
        pixels, labels = part.pixels[:MEASURED], part.labels[:MEASURED]
        logits = model(pixels)
        loss = float(flux.logitcrossentropy(logits, flux.onehotbatch(labels, range(10))))
        measured[f"{name} loss"] = float(f"{loss:.6g}")
        measured[f"{name} accuracy"] = flux.accuracy(logits, labels)
    return measured
