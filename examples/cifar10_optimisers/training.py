"""One run: a rule trains a new network, and after every epoch the network is tried on the test images."""

import argparse
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import tinyflux as flux
from examples.common import models, photographs
from examples.common.command import MOVES
from examples.common.epochs import Training
from examples.common.photographs import Part, Predictor, judged, shifted

from .contest import PRESETS, Length
from .results import Run


class Counting:
    """A network that counts the training images that it gets right on the way.

    Attributes:
        network: what is trained.
        right: a buffer, how many it got right since it was new.
    """

    buffers = ("right",)

    def __init__(self, network: Any) -> None:
        self.network = network
        self.right = np.zeros(1)

    def __call__(self, x: Any) -> Any:
        return self.network(x)

    def loss(self, x: Any, y: Any) -> Any:
        scores = self.network(x)
        hits = np.argmax(scores, axis=1) == np.argmax(y, axis=1)
        self.right = self.right + np.sum(hits)
        return flux.logitcrossentropy(scores, y)


def train(run: Run, options: argparse.Namespace, data: tuple[Part, Part], stop: Callable[[], bool]) -> None:
    """Train a run as the command line asks, at most to the end of the epoch after which `stop` returns True.

    Arguments:
        data: the images to train and to test with.
    """
    training = prepared(run, options, data)
    try:
        training.fit(options.epochs, stop)
    except flux.NonFiniteLoss as error:
        training.diverge()
        print(f"{error} The run ends here.", flush=True)


def described(run: Run, options: argparse.Namespace, data: tuple[Part, Part]) -> tuple[Any, dict[str, Any]]:
    """The rule of a run, and what its results depend on wherever it is trained."""
    preset = PRESETS[options.preset]
    train, test = data
    length = Length(len(train[1]) // preset.batchsize, preset.epochs, options.original)
    rule = preset.entries[run.entry].rule(length)
    settings = {
        **run._asdict(),
        "rule": repr(rule),
        "batchsize": preset.batchsize,
        "images": len(train[1]),
        "test_images": len(test[1]),
    }
    return rule, settings


def prepared(run: Run, options: argparse.Namespace, data: tuple[Part, Part]) -> Training:
    """The training of a run, as far as its folder has it."""
    preset = PRESETS[options.preset]
    train, test = data
    scaling, move = preset.images.scaling, MOVES[options.device]
    loader = photographs.loader(train, preset.batchsize, run.seed, "standard", scaling)
    rule, settings = described(run, options, data)
    flux.seed(run.seed)
    model = Counting(models.build_convolutional(run.model))
    opt = flux.setup(rule, model)
    parameters, state = flux.parameter_count(model), state_bytes(rule, model)
    settings |= {"device": options.device, "parameters": parameters, "state": state}
    model, opt, loader = move(model, opt, loader)
    measure = Measure(model, preset.batchsize, move(test[0]), test[1], Predictor(options.device, scaling))
    folder = run.folder(options.output)
    return Training(folder, settings, model, opt, loader, lambda m, x, y: m.loss(x, y), measure, words)


class Measure:
    """What is noted after an epoch: called with the losses of its updates."""

    def __init__(self, model: Counting, batchsize: int, images: Any, labels: np.ndarray, predict: Predictor) -> None:
        self._model, self._batchsize, self._predict = model, batchsize, predict
        self._images, self._labels = images, labels

    def __call__(self, losses: list[float]) -> dict[str, float]:
        network, taken = self._model.network, len(losses) * self._batchsize
        right = float(self._model.right[0])
        self._model.right[:] = 0
        loss, accuracy = self._judged(network, self._images)
        # The same shifts after every epoch, so that a difference is the network's.
        moved = self._judged(network, shifted(self._images, np.random.default_rng(0)))
        return {
            "train_loss": math.fsum(losses) / len(losses),
            "train_accuracy": right / taken,
            "test_loss": loss,
            "test_accuracy": accuracy,
            "augmented_loss": moved[0],
            "augmented_accuracy": moved[1],
        }

    def _judged(self, network: Any, images: Any) -> tuple[float, float]:
        return judged(self._predict(network, images), self._labels)


def words(noted: dict[str, float]) -> str:
    """What was noted, in a line."""
    return (
        f"training: loss {noted['train_loss']:.4f}, {noted['train_accuracy']:.2%} right; "
        f"test images: loss {noted['test_loss']:.4f}, {noted['test_accuracy']:.2%} right"
    )


def state_bytes(rule: Any, model: Any) -> int:
    """How many bytes a rule keeps beside the parameters of a model."""
    kept = [x for parameter in flux.parameters(model) for x in rule.init(parameter)]
    return sum(x.nbytes for x in kept if isinstance(x, np.ndarray))
