"""The loss curve of a run: all of its first losses, then one of every hundred and the mean of each hundred."""

import numpy as np

from .grid import LONGEST

EARLY = 4_000  # iterations whose losses are all kept
WINDOW = 100  # iterations that are one point of the curve from then on


class Curve:
    """What is kept of the losses of a run; its memory is the same however long the run.

    Adding losses gives the same bits whether they come one by one or many at a time.

    Attributes: arrays alone, so that `flux.save` and `flux.load` take a curve as they take a model.
        count: () the number of losses that were added.
        early: (EARLY,) the first losses.
        loss: (LONGEST / WINDOW,) the last loss of each window.
        mean: (LONGEST / WINDOW,) the mean loss of each window.
        recent: (WINDOW,) the last losses, that of iteration i (from 0) at i modulo WINDOW.

    >>> curve = Curve()
    >>> curve.add(np.arange(250.0))
    >>> curve.means()
    (array([100, 200]), array([ 49.5, 149.5], dtype=float32))
    >>> curve.last, curve.recent_mean
    (249.0, 199.5)
    """

    def __init__(self) -> None:
        self.count = np.zeros((), np.int64)
        self.early = np.zeros(EARLY, np.float32)
        self.loss = np.zeros(LONGEST // WINDOW, np.float32)
        self.mean = np.zeros(LONGEST // WINDOW, np.float32)
        self.recent = np.zeros(WINDOW)

    def add(self, losses: np.ndarray) -> None:
        """Add the losses of the next iterations; ValueError beyond LONGEST."""
        count = int(self.count)
        if count + len(losses) > LONGEST:
            raise ValueError(f"a curve holds {LONGEST:,} losses, got {count + len(losses):,}.")
        begun, first = count % WINDOW, count // WINDOW
        some = np.concatenate([self.recent[:begun], losses])
        whole = some[: len(some) - len(some) % WINDOW].reshape(-1, WINDOW)
        self.early[count : count + len(losses)] = losses[: max(EARLY - count, 0)]
        self.loss[first : first + len(whole)] = whole[:, -1]
        self.mean[first : first + len(whole)] = whole.mean(axis=1)
        if len(whole):
            self.recent[:] = whole[-1]
        rest = some[whole.size :]
        self.recent[: len(rest)] = rest
        self.count[...] = count + len(losses)

    @property
    def last(self) -> float:
        """The loss of the last iteration."""
        return float(self.recent[(self.count - 1) % WINDOW])

    @property
    def recent_mean(self) -> float:
        """The mean loss of the last WINDOW iterations, or of as many as there were."""
        return float(self.recent[: min(int(self.count), WINDOW)].mean())

    def loss_of(self, iteration: int) -> np.float32 | None:
        """The loss of an iteration, from 1 on, if it was kept."""
        if iteration <= EARLY:
            return np.float32(self.early[iteration - 1])
        return None if iteration % WINDOW else np.float32(self.loss[iteration // WINDOW - 1])

    def losses(self, last: int = LONGEST) -> tuple[np.ndarray, np.ndarray]:
        """Iterations up to `last`, and their losses: all the early ones, then one of every WINDOW."""
        early = np.arange(1, min(int(self.count), EARLY) + 1)
        later = np.arange(EARLY + WINDOW, int(self.count) + 1, WINDOW)
        iterations = np.concatenate([early, later])
        losses = np.concatenate([self.early[: len(early)], self.loss[later // WINDOW - 1]])
        return iterations[iterations <= last], losses[iterations <= last]

    def means(self, last: int = LONGEST) -> tuple[np.ndarray, np.ndarray]:
        """The last iterations of the windows up to `last`, and the mean losses of the windows."""
        windows = min(int(self.count), last) // WINDOW
        return np.arange(1, windows + 1) * WINDOW, self.mean[:windows]
