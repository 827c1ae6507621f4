"""The images that the examples learn from: MNIST where it can be had, and small digits elsewhere."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinyflux as flux

DATASETS = ("auto", "mnist", "digits")


class Data(NamedTuple):
    """Pixels (N, 784) from 0 (paper) to 1 (ink), and labels (N,): to train with, and to test with."""

    name: str
    note: str  # which images these are, in plain words, for whoever reads a result
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    def as_images(self) -> "Data":
        """The same with pixels (N, 28, 28, 1), as convolutions take them."""
        (pixels, labels), (test_pixels, test_labels) = self.train, self.test
        return self._replace(
            train=(pixels.reshape(-1, 28, 28, 1), labels), test=(test_pixels.reshape(-1, 28, 28, 1), test_labels)
        )

    def identity(self) -> dict[str, str]:
        """Which images these are, for settings of a run: the name, and SHA-256 of all pixels and labels."""
        sha = hashlib.sha256()
        for pixels, labels in (self.train, self.test):
            sha.update(np.ascontiguousarray(pixels, "<f4"))
            sha.update(np.ascontiguousarray(labels, "<i8"))
        return {"dataset": self.name, "data_sha256": sha.hexdigest()}


def load(dataset: str) -> Data:
    """The data set of that name; "auto" stands for MNIST and, where it can't be had, says so and takes the digits."""
    if dataset == "digits":
        return _read("digits", flux.data.digits, "scikit-learn's digits, not MNIST")
    try:
        return _read("mnist", flux.data.mnist, "MNIST")
    except flux.data.DataUnavailable as error:
        if dataset == "mnist":
            raise
        print(f"{error}\nSo this run takes scikit-learn's digits instead: fewer images, and easier ones.\n", flush=True)
    return _read("digits", flux.data.digits, "scikit-learn's digits, as MNIST could not be had")


def _read(name: str, source: Callable[[str], Any], title: str) -> Data:
    (images, labels), (test_images, test_labels) = source("train"), source("test")
    note = f"{title} ({len(labels):,} training and {len(test_labels):,} test images)"
    return Data(name, note, (flux.flatten(images), labels), (flux.flatten(test_images), test_labels))
