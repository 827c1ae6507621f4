"""CIFAR-10's photographs: read, augmented, and told apart by a network."""

import functools
from typing import Any, NamedTuple

import numpy as np

import tinyflux as flux
from tinyflux.compile.backends.c.build import available

from .command import Refused

BLOCK = 100  # images that go through a model at once outside of training

Part = tuple[np.ndarray, np.ndarray]  # images (N, 32, 32, 3) as bytes, and labels (N,)


class Scaling(NamedTuple):
    """What is subtracted from the numbers of each channel, and what they are divided by then."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


STANDARD = Scaling((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))  # of the training images


def shifted(images: Any, rng: np.random.Generator) -> Any:
    """Images shifted by up to 4 pixels along both axes, half of them mirrored."""
    return flux.data.random_flip(flux.data.random_crop(images, rng, padding=4), rng)


def augment(batch: Any, rng: np.random.Generator, how: str, scaling: Scaling = STANDARD) -> Any:
    """What becomes of a batch of training images: a loader's `transform`.

    Arguments:
        how: "none", "standard" for `shifted`, "cutout" for that and a square of 16 × 16 pixels blanked, or "slight" for
            a shift by up to 2 pixels, whose frame mirrors the image.
    """
    images, labels = batch
    if how == "slight":
        framed = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
        images = flux.data.random_crop(framed, rng, padding=2)[:, 2:-2, 2:-2]
    elif how != "none":
        images = shifted(images, rng)
    images = flux.data.normalise(images, *scaling)
    return (flux.data.cutout(images, rng, size=16) if how == "cutout" else images), labels


def loader(train: Part, batchsize: int, seed: int, how: str, scaling: Scaling = STANDARD) -> Any:
    """Mini-batches of augmented images and rows of ten for their labels, in a new order every epoch."""
    images, labels = train
    if batchsize > len(images):
        raise Refused(f"--batchsize {batchsize:,} is more than the {len(images):,} training images; take fewer")
    return flux.DataLoader(
        (images, flux.onehotbatch(labels, range(10))),
        batchsize,
        shuffle=True,
        partial=False,
        transform=functools.partial(augment, how=how, scaling=scaling),
        rng=np.random.default_rng(seed),
    )


class Predictor:
    """Gives a model's scores (N, 10) for images that lie where the model does, as a NumPy array.

    It runs native code where there is a C compiler, and the model isn't on a GPU.
    """

    def __init__(self, device: str, scaling: Scaling = STANDARD) -> None:
        self._scaling = scaling
        self._scores = flux.compile(_scores) if device == "cpu" and available() else _scores

    def __call__(self, model: Any, images: Any) -> np.ndarray:
        blocks = [images[i : i + BLOCK] for i in range(0, len(images), BLOCK)]
        scores = [self._scores(model, flux.data.normalise(block, *self._scaling)) for block in blocks]
        return np.concatenate([flux.cpu(block) for block in scores])


def _scores(model: Any, x: Any) -> Any:
    return model(x)


def judged(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The cross-entropy of scores, and the share of labels that have the highest score."""
    loss = float(flux.logitcrossentropy(scores, flux.onehotbatch(labels, range(10))))
    return loss, flux.accuracy(scores, labels)
