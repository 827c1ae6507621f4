"""What a learning curve shows of the losses of runs: their means, over the seeds, and a few single ones."""

from typing import NamedTuple

import numpy as np

from .curve import WINDOW, Curve

POINTS = 256  # of a line, and of single losses, at most


class Series(NamedTuple):
    """Losses of runs that differ in their seeds alone.

    Attributes:
        iterations: at which the losses stand.
        lowest, mean, highest: over the seeds that have come so far.
    """

    iterations: np.ndarray
    lowest: np.ndarray
    mean: np.ndarray
    highest: np.ndarray


def shown(model: str, variant: str, optimiser: str) -> tuple[int, int]:
    """The first and the last iteration of the learning curve that the articles show.

    >>> shown("4LS", "minibatch", "Descent")
    (4001, 512000)
    """
    if variant == "batch":
        return 1, 500 if optimiser == "Descent" and model != "2LR" else 1_000
    if variant == "stochastic":
        return 1, 1_024_000
    return 4_001 if optimiser == "Descent" else 1, 512_000


def farthest(curves: list[Curve]) -> Curve:
    """The curve that has come farthest, the first of several; an empty one where there is none."""
    return max(curves, key=lambda curve: int(curve.count), default=Curve())


def width(iterations: int) -> int:
    """How many iterations a point of a line is to be the mean of, so that there are no more than POINTS.

    >>> width(8_000), width(128_000), width(1_024_000)
    (100, 500, 5000)
    """
    widths = (WINDOW * step * 10**power for power in range(5) for step in (1, 2, 5))
    return next(width for width in widths if width * POINTS >= iterations)


def series(curves: list[Curve], first: int, last: int, width: int) -> Series | None:
    """The mean losses of each `width` iterations from iteration `first` to `last`, each at the last of them.

    Arguments:
        curves: of runs that differ in their seeds alone.
        first: the first iteration, one more than a multiple of WINDOW.
        last: the last one; runs may be shorter.
        width: 1, within the losses that a curve keeps all of, or a multiple of WINDOW.

    Returns: None where no run has come as far as the first point.
    """
    runs = [_means(curve, first, last, width) for curve in curves]
    longest = max(map(len, runs), default=0)
    if longest == 0:
        return None
    losses = np.ma.masked_all((len(runs), longest))
    for row, means in zip(losses, runs):
        row[: len(means)] = means
    return Series(
        first - 1 + width * np.arange(1, longest + 1),
        *(over_seeds(axis=0).filled(np.nan) for over_seeds in (losses.min, losses.mean, losses.max)),
    )


def _means(curve: Curve, first: int, last: int, width: int) -> np.ndarray:
    iterations, losses = curve.losses(last) if width == 1 else curve.means(last)
    losses = losses[iterations >= first].astype(float)
    together = max(width // WINDOW, 1)
    return losses[: len(losses) - len(losses) % together].reshape(-1, together).mean(axis=1)


def single(curve: Curve, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Iterations from `first` to `last` that lie evenly, and the loss of each."""
    iterations, losses = curve.losses(last)
    iterations, losses = iterations[iterations >= first], losses[iterations >= first]
    stretch = -(-(iterations[-1] - first + 1) // POINTS)
    kept = np.unique((iterations - first) // stretch, return_index=True)[1]
    return iterations[kept], losses[kept]
