"""What the runs have come to: accuracies and times at the checkpoints, and loss curves, over the seeds."""

import csv
import itertools
import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinyflux as flux
from examples import models

from .curve import Curve
from .folder import Folder, Refused
from .grid import MODELS, OPTIMISERS, VARIANTS, Run

Kind = tuple[str, str, str]  # model, variant, optimiser: all runs of a kind differ in their seeds alone
KINDS: list[Kind] = list(itertools.product(MODELS, VARIANTS, OPTIMISERS))


class Cell(NamedTuple):
    """What runs of a kind have come to at an iteration.

    Attributes:
        accuracies: of each seed, in percent of the test images.
        seconds: of each seed, of training, without tests.
        losses: of each seed, the mean training loss of the last hundred iterations.
    """

    accuracies: tuple[float, ...]
    seconds: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """The mean over the seeds, in percent."""
        return statistics.fmean(self.accuracies)

    @property
    def spread(self) -> float:
        """The standard deviation of the accuracy over the seeds, in percentage points; NaN for a single seed."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else math.nan

    @property
    def time(self) -> float:
        """The mean over the seeds, in seconds."""
        return statistics.fmean(self.seconds)

    @property
    def effort(self) -> float:
        """Training time for accuracy: seconds for each percent."""
        return self.time / self.accuracy


class Table:
    """All that the runs in a folder have come to so far.

    Attributes:
        cells: for each kind that was trained its checkpoints, by iteration.
        settings: those of the runs, by kind and seed.
        diverged: what is to be said of runs that ended before their goal, a line each.

    Errors: Refused where there is no run, or where the runs learned from different images or mini-batches.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self.cells: dict[Kind, dict[int, Cell]] = {}
        self.settings: dict[tuple[Kind, int], dict[str, Any]] = {}
        self.diverged: list[str] = []
        seeds = sorted({seed for _, seed in _names(results)})
        for kind in KINDS:
            found = [(seed, folder) for seed in seeds if (folder := _folder(results, kind, seed)) is not None]
            for seed, folder in found:
                self.settings[kind, seed] = folder.settings() or {}
                ends = [entry for entry in folder.metrics() if "diverged" in entry]
                self.diverged += [f"{folder.run}, after {end['at']:,} iterations: {end['diverged']}" for end in ends]
            entries = [entry for _, folder in found for entry in folder.checkpoints()]
            if entries:
                self.cells[kind] = _cells(entries)
        if not self.cells:
            raise Refused(f"{results} holds no run that has come to a checkpoint; train some: run quick")
        for name in ("data_sha256", "batchsize"):
            if len({settings[name] for settings in self.settings.values()}) > 1:
                raise Refused(f"the runs in {results} differ in {name}; put those that belong together into a folder")

    @property
    def setting(self) -> dict[str, Any]:
        """The settings of one of the runs, for what they have in common."""
        return next(iter(self.settings.values()))

    def seeds(self, kind: Kind) -> list[int]:
        """The seeds with which a kind was trained."""
        return [seed for known, seed in self.settings if known == kind]

    def best(self, kind: Kind) -> tuple[int, Cell] | None:
        """The checkpoint of the highest mean accuracy, of those that most of its seeds have come to; or None."""
        cells = self.cells.get(kind, {})
        most = max((len(cell.accuracies) for cell in cells.values()), default=0)
        shared = [(i, cell) for i, cell in cells.items() if len(cell.accuracies) == most]
        return max(shared, key=lambda item: item[1].accuracy, default=None)

    def curve(self, kind: Kind, seed: int) -> Curve | None:
        """The loss curve of a run, as far as it was saved; None where nothing was."""
        folder = _folder(self.results, kind, seed)
        if folder is None or not folder.state.exists():
            return None
        curve = Curve()
        flux.load(folder.state, {"model": models.build(kind[0]), "curve": curve, "seconds": np.zeros(())})
        return curve


def _names(results: Path) -> Iterator[tuple[str, int]]:
    """The folders of runs, and their seeds."""
    for path in results.glob("*-seed*/settings.json"):
        _, _, seed = path.parent.name.rpartition("-seed")
        if seed.isdecimal():
            yield path.parent.name, int(seed)


def _folder(results: Path, kind: Kind, seed: int) -> Folder | None:
    folder = Folder(results, Run(*kind, seed, 0))
    settings = folder.settings()
    return settings and Folder(results, Run(*kind, seed, settings["batchsize"]))


def _cells(entries: list[dict[str, Any]]) -> dict[int, Cell]:
    """The checkpoints of runs, those at the same iteration together."""
    cells: dict[int, list[dict[str, Any]]] = {}
    for entry in entries:
        cells.setdefault(entry["iteration"], []).append(entry)
    return {
        iteration: Cell(
            tuple(100 * entry["accuracy"] for entry in some),
            tuple(entry["seconds"] for entry in some),
            tuple(entry["mean_loss"] for entry in some),
        )
        for iteration, some in sorted(cells.items())
    }


class Claimed(NamedTuple):
    """A figure of the articles: an accuracy that is equal to, above or below a number of percent."""

    kind: Kind
    iterations: int
    relation: str  # =, > or <
    percent: float
    wording: str


def article() -> list[Claimed]:
    """The figures of the articles.

    >>> article()[0].percent
    11.35
    """
    with open(Path(__file__).parent / "article.csv", newline="", encoding="utf-8") as file:
        return [
            Claimed(
                (row["model"], row["variant"], row["optimiser"]),
                int(row["iterations"]),
                row["relation"],
                float(row["accuracy_percent"]),
                row["wording"],
            )
            for row in csv.DictReader(file)
        ]
