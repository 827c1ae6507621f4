"""What the runs have come to: accuracies and times at the checkpoints, and loss curves, over the seeds."""

import csv
import itertools
import math
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from examples.common import models
from examples.common.command import Refused
from examples.common.folder import Folder

from .curve import Curve
from .grid import LONGEST, MODELS, OPTIMISERS, VARIANTS, Run
from .state import State

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


class Cells:
    """What each kind has come to.

    Attributes:
        cells: for each kind that was trained its checkpoints, by iteration.
    """

    def __init__(self, cells: dict[Kind, dict[int, Cell]]) -> None:
        self.cells = cells

    def shared(self, kind: Kind) -> dict[int, Cell]:
        """The checkpoints of a kind that most of its seeds have come to."""
        cells = self.cells.get(kind, {})
        most = max((len(cell.accuracies) for cell in cells.values()), default=0)
        return {i: cell for i, cell in cells.items() if len(cell.accuracies) == most}

    def best(self, kind: Kind, within: int = LONGEST) -> tuple[int, Cell] | None:
        """The shared checkpoint of the highest mean accuracy, of those up to iteration `within`; or None."""
        cells = [(i, cell) for i, cell in self.shared(kind).items() if i <= within]
        return max(cells, key=lambda item: item[1].accuracy, default=None)


class Table(Cells):
    """All that the runs in a folder have come to so far; one that has come to no checkpoint isn't there yet.

    Attributes:
        settings: those of the runs, by kind and seed.
        seconds: the training time of the runs so far, by kind and seed.
        diverged: what is to be said of runs that ended before their goal, a line each.

    Errors: Refused where there is no run, or where the runs learned from different images or mini-batches.
    """

    def __init__(self, results: Path) -> None:
        super().__init__({})
        self.results = results
        self.settings: dict[tuple[Kind, int], dict[str, Any]] = {}
        self.seconds: dict[tuple[Kind, int], float] = {}
        self.diverged: list[str] = []
        for kind, seed in itertools.product(KINDS, _seeds(results)):
            folder = Folder(results, Run(*kind, seed, None))
            settings, entries = folder.settings(), folder.checkpoints()
            if settings is None or not entries:
                continue
            Folder(results, Run(*kind, seed, settings.get("batchsize"))).check({})
            self.settings[kind, seed] = settings
            self.seconds[kind, seed] = max(entry["seconds"] for entry in entries)
            ends = [entry for entry in folder.metrics() if "diverged" in entry]
            self.diverged += [f"{folder.run}, after {end['at']:,} iterations: {end['diverged']}" for end in ends]
            self.cells[kind] = _cells(self.cells.get(kind, {}), entries)
        if not self.cells:
            raise Refused(f"{results} holds no run that has come to a checkpoint; train some: run quick")
        for name in ("data_sha256", "batchsize"):
            if len({settings[name] for settings in self.settings.values()} - {None}) > 1:
                raise Refused(f"the runs in {results} differ in {name}; put those that belong together into a folder")

    @property
    def setting(self) -> dict[str, Any]:
        """The settings of one of the runs, for what they have in common."""
        return next(iter(self.settings.values()))

    @property
    def batchsize(self) -> int | None:
        """How many images a mini-batch has; None where no mini-batches were run."""
        return next((settings["batchsize"] for settings in self.settings.values() if settings["batchsize"]), None)

    def seeds(self, kind: Kind) -> list[int]:
        """The seeds with which a kind was trained."""
        return [seed for known, seed in self.settings if known == kind]

    def curve(self, kind: Kind, seed: int) -> Curve | None:
        """The loss curve of a run, as far as it was saved; None where nothing was."""
        folder = Folder(self.results, Run(*kind, seed, None))
        if not folder.state.exists():
            return None
        state = State(folder, models.build(kind[0]))
        state.load()
        return state.curve


def _seeds(results: Path) -> list[int]:
    """The seeds of which there are runs."""
    names = [path.parent.name.rpartition("-seed")[2] for path in results.glob("*-seed*/settings.json")]
    return sorted({int(name) for name in names if name.isdecimal()})


def _cells(cells: dict[int, Cell], entries: list[dict[str, Any]]) -> dict[int, Cell]:
    """Checkpoints with those of another seed."""
    result = dict(cells)
    for entry in entries:
        old = result.get(entry["iteration"], Cell((), (), ()))
        more = 100 * entry["accuracy"], entry["seconds"], entry["mean_loss"]
        result[entry["iteration"]] = Cell(*[(*before, x) for before, x in zip(old, more)])
    return dict(sorted(result.items()))


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
