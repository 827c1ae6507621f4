"""One run of the grid: trained to its goal from wherever it stands, bit for bit as if it had never been stopped.

The samples of an iteration follow from the seed and the iteration's number alone, and all else that the training
depends on lies in the state that is saved: the parameters, the optimiser's state, the loss curve.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinyflux as flux
from examples.common import datasets, models
from examples.common.command import Refused
from examples.common.folder import Folder
from examples.common.iterations import Step, native, plain, shuffled
from examples.common.lock import LOOK, Busy, hold
from examples.common.machine import surroundings
from examples.common.signals import Stopped

from .grid import ETA, Run, checkpoints, size
from .state import State

SAVE = 30.0  # seconds of training after which the state is saved between checkpoints


def train(
    folder: Folder,
    goal: int,
    dataset: dict[str, str],
    threads: int,
    stop: Callable[[], bool],
    wait: bool = False,
) -> None:
    """Train a run up to the iteration `goal`.

    Arguments:
        folder: the run's folder; what is in it is gone on with.
        dataset: "dataset", the name of the images, and "data_sha256".
        threads: how many the arithmetic uses, to be noted.
        stop: asked several times a second; the training ends, its state saved, when it returns True.
        wait: wait for another process that is at work on the run, instead of raising Busy.

    Errors: Busy, Stopped; Refused where the folder holds another run than that.
    """
    with hold(folder.path, str(folder.run), stop, wait):
        settings = folder.check(dataset)
        if settings and settings["threads"] != threads:
            raise Busy(f"another process began {folder.run} with {settings['threads']} threads")
        if not folder.ended(goal):
            _Training(folder, goal, dataset, threads, settings, stop).run()


class _Training:
    def __init__(
        self,
        folder: Folder,
        goal: int,
        dataset: dict[str, str],
        threads: int,
        settings: dict[str, Any] | None,
        stop: Callable[[], bool],
    ) -> None:
        self.folder, self.goal, self.stop = folder, goal, stop
        folder.clear()
        run = folder.run
        data = datasets.load(dataset["dataset"])
        pixels, labels = data.train
        self.size = size(run, len(pixels))
        self.data = pixels, flux.onehotbatch(labels, range(10))
        self.test = data.test
        flux.seed(run.seed)
        self.model = models.build(run.model)
        self.opt = flux.setup(getattr(flux, run.optimiser)(ETA[run.optimiser]), self.model)
        self.state = State(folder, self.model)
        how, self.step = self._step(settings and settings.get("step"))
        if settings is None:
            fixed = {**run.settings(), **dataset, "step": how}
            fixed |= {"threads": threads, "parameters": flux.parameter_count(self.model), "begun": surroundings()}
            folder.begin(fixed)
        if folder.state.exists():
            self.state.load(self.opt)
            self.state.check_metrics()
        elif folder.checkpoints():
            raise Refused(f"{folder.state} is missing. {folder.remedy}")
        folder.append({"event": "gone on" if self.iteration else "begun", "at": self.iteration, **surroundings()})

    @property
    def iteration(self) -> int:
        return int(self.state.curve.count)

    def _step(self, how: str | None) -> tuple[str, Step]:
        """What makes iterations, as native code where that can be had, and its name."""
        arguments = models.LOSSES[self.folder.run.model], self.model, self.opt, self.data
        try:
            if how == "NumPy":  # a run goes on as it was begun
                raise flux.CompilerNotFound
            return "native code", native(*arguments, self.size)
        except flux.CompilerNotFound as error:
            if how == "native code":
                raise Refused(
                    f"{self.folder.path} was begun with native code, which gives other roundings than NumPy: {error}"
                ) from error
            return "NumPy", plain(*arguments)

    def run(self) -> None:
        """Train to the goal, or until told to stop or the loss is not finite: the state is saved then."""
        due = [i for i in checkpoints(self.goal) if i >= self.iteration] or [self.iteration]
        tested = {entry["iteration"] for entry in self.folder.checkpoints()}
        try:
            while due:
                self._train(due[0])
                self._save()
                if due[0] not in tested:
                    self._test()
                del due[0]
        except flux.NonFiniteLoss as error:
            self._save()
            self.folder.append({"diverged": str(error), "at": self.iteration})
        finally:
            self.folder.clear()

    def _train(self, goal: int) -> None:
        """The loop around the step. The time that counts is that of sampling, training and keeping the losses."""
        orders = samples(self.folder.run, len(self.data[0]), self.size, self.iteration)
        order, chunk, told, saved = next(orders), 1, self.state.seconds + LOOK, self.state.seconds + SAVE
        with np.errstate(all="ignore"):  # an overflow ends in a loss that is not finite
            while self.iteration < goal:
                start = time.perf_counter()
                count = min(chunk, goal - self.iteration)
                losses = self.step(order[:count])
                finite = losses if np.isfinite(losses[-1]) else losses[:-1]
                self.state.curve.add(finite)
                order = order[count:] if count < len(order) else next(orders)
                spent = time.perf_counter() - start
                self.state.seconds += spent
                if len(finite) < len(losses):
                    raise flux.NonFiniteLoss(f"the loss is {losses[-1]}")
                chunk = max(1, min(2 * chunk, int(len(losses) * LOOK / spent)))
                if self.state.seconds > told or self.iteration == goal:
                    self.folder.tell(self.iteration, self.state.curve.recent_mean)
                    told = self.state.seconds + LOOK
                if self.stop():
                    self._save()
                    raise Stopped(f"{self.folder.run} was stopped after {self.iteration:,} iterations")
                if self.state.seconds > saved:
                    self._save()
                    saved = self.state.seconds + SAVE

    def _save(self) -> None:
        self.state.save(self.opt)

    def _test(self) -> None:
        pixels, labels = self.test
        accuracy = flux.accuracy(self.model(pixels), labels)
        losses = {"loss": self.state.curve.last, "mean_loss": self.state.curve.recent_mean}
        entry = {"iteration": self.iteration, "accuracy": accuracy, **losses, "seconds": float(self.state.seconds)}
        self.folder.append(entry)


def samples(run: Run, images: int, size: int, iteration: int) -> Iterator[np.ndarray]:
    """The images of each iteration from `iteration` on: rows of `size` numbers, as many rows at a time as a pass has.

    >>> passes = samples(Run("4LS", "batch", "ADAM", seed=0, batchsize=None), images=3, size=3, iteration=0)
    >>> next(passes).tolist()
    [[0, 1, 2]]
    """
    if run.variant == "batch":
        return itertools.repeat(np.arange(images)[None])
    return shuffled(run.seed, images, size, iteration)
