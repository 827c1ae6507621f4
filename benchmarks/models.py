"""The work that every contender does: three models, their initial weights, and the batches they learn from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

MODELS = {  # the sizes of the layers, what each applies to its result, and the loss
    "4LS": ([784, 16, 16, 16, 10], ["sigmoid", "sigmoid", "sigmoid", "sigmoid"], "mse"),
    "3LS": ([784, 60, 60, 10], ["sigmoid", "sigmoid", "sigmoid"], "mse"),
    "2LR": ([784, 32, 10], ["relu", "softmax"], "crossentropy"),
}
BATCHSIZES = (1, 128, 60_000)
OPTIMISERS = {"Descent": 0.1, "ADAM": 0.01}  # the learning rates; ADAM has β = (0.9, 0.999) and ε = 1e-8
EPSILON = float(np.finfo(np.float32).eps)  # crossentropy is the mean over samples of -Σ y·log(ŷ + EPSILON)
POOL = 4096  # samples that small batches are cut from: enough that the processor cannot learn them by heart


@dataclass(frozen=True)
class Cell:
    """One cell of the table: a model, a batch size and an optimiser."""

    model: str
    batchsize: int
    optimiser: str

    @property
    def activations(self) -> list[str]:
        return MODELS[self.model][1]

    @property
    def loss(self) -> str:
        return MODELS[self.model][2]

    @property
    def eta(self) -> float:
        return OPTIMISERS[self.optimiser]

    def weights(self) -> list[tuple[Any, Any]]:
        """For each layer the initial weight (out, in), Glorot-uniform, and bias, zero; new copies with every call."""
        sizes = MODELS[self.model][0]
        rng = np.random.default_rng(0)
        return [
            (rng.uniform(-1, 1, (n, m)).astype(np.float32) * np.float32((6 / (m + n)) ** 0.5), np.zeros(n, np.float32))
            for m, n in pairwise(sizes)
        ]

    def batches(self, x: Any, y: Any) -> list[tuple[Any, Any]]:
        """The batches, in the order in which they are taken, again and again."""
        stop = max(POOL // self.batchsize, 1) * self.batchsize
        return [(x[i : i + self.batchsize], y[i : i + self.batchsize]) for i in range(0, stop, self.batchsize)]


def data(samples: int) -> tuple[Any, Any, str]:
    """Images (N, 784) and one-hot labels (N, 10), float32, and a word on where they come from."""
    import tinyflux as flux

    try:
        images, labels = flux.data.mnist("train")
        source = "MNIST"
    except OSError:
        images, labels = synthetic(samples)
        source = "synthetic images, as sparse as MNIST's, which cannot be had here"
    return images[:samples].reshape(-1, 784), flux.onehotbatch(labels[:samples], range(10)), source


def synthetic(samples: int) -> tuple[Any, Any]:
    """Images of noise that lie in MNIST's middle, where a fifth of the pixels is lit; labels at random.

    The pixels that are never lit matter: their weights' averages fade away in ADAM, to numbers that are slow to
    calculate with.
    """
    rng = np.random.default_rng(0)
    images = np.zeros((samples, 28, 28), np.float32)
    lit = rng.random((samples, 20, 20), np.float32)
    images[:, 4:24, 4:24] = np.maximum(lit - 0.6, 0) / np.float32(0.4)
    return images, rng.integers(0, 10, samples)
