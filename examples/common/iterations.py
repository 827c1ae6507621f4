"""Iterations of a training, as native code or in NumPy, and the samples that each of them takes."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinyflux as flux

Data = tuple[np.ndarray, np.ndarray]
Step = Callable[[np.ndarray], np.ndarray]  # makes the iterations of some samples, a row each; returns their losses


def native(loss: Callable[..., Any], model: Any, opt: Any, data: Data, size: int) -> Step:
    """A function that makes iterations as native code, ready to go; CompilerNotFound where that can't be had.

    It takes the samples of each iteration, `size` of them, and returns the losses. It ends at one that is NaN or
    infinite, without the update of that iteration.
    """
    step = flux.compile_training(lambda m, x, y: loss(m(x), y), model, opt, size)
    step(data, np.empty(0, np.int64))
    return lambda order: step.iterate(data, order)


def plain(loss: Callable[..., Any], model: Any, opt: Any, data: Data) -> Step:
    """The same in NumPy."""
    x, y = data

    def step(order: np.ndarray) -> np.ndarray:
        losses = []
        for numbers in order:
            rows = numbers if len(numbers) < len(x) else slice(None)
            value, grads = flux.withgradient(lambda m: loss(m(x[rows]), y[rows]), model)  # noqa: B023
            losses.append(float(value))
            if not np.isfinite(value):
                break
            flux.update(opt, model, grads)
        return np.array(losses)

    return step


def shuffled(seed: int, images: int, size: int, iteration: int = 0) -> Iterator[np.ndarray]:
    """The images of each iteration from `iteration` on: rows of `size` numbers, as many rows at a time as a pass has.

    Every pass takes the images in an order of its own; the few that fill no mini-batch sit it out.

    >>> passes = shuffled(seed=0, images=5, size=2)
    >>> next(passes).tolist(), next(passes).tolist()
    ([[2, 4], [3, 0]], [[1, 4], [3, 0]])
    """
    passes, begun = divmod(iteration, images // size)
    while True:
        order = np.random.default_rng((seed, passes)).permutation(images)
        yield order[: len(order) - len(order) % size].reshape(-1, size)[begun:]
        passes, begun = passes + 1, 0
