"""The runs side by side: the optimisers of one model, at the last epoch that all of them have reached."""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np

from examples.common.spread import Spread, spread

from .contest import Preset
from .results import Result

MODELS = {
    "resnet20-narrow": "narrow ResNet20",
    "resnet20": "ResNet20",
    "resnet18": "ResNet18",
    "wide_resnet-16-4": "Wide ResNet 16-4",
    "vgg16": "VGG16",
}
MEASURES = {  # of an epoch, in the order of the tutorial's table
    "train_accuracy": "training accuracy",
    "train_loss": "training loss",
    "test_accuracy": "test accuracy",
    "test_loss": "test loss",
    "augmented_accuracy": "test accuracy, augmented",
    "augmented_loss": "test loss, augmented",
}

UNEVEN = 1.3  # times are left out from this `Comparison.unevenness` on


def title(model: str) -> str:
    """What a model is called in sentences."""
    return MODELS.get(model, model)


class Comparison:
    """The runs of several optimisers on one model, compared fairly: after as many epochs, with the same seeds.

    Attributes:
        model: its name.
        runs: by optimiser and seed. Those that have no epoch yet are left out.
        missing: the optimisers that can't be compared yet.
        goal: the epochs that were asked for.
        epoch: the last one that all have come to; a run that diverged counts as one that came to its end.
        seeds: those with which all have come to that epoch.
    """

    def __init__(self, model: str, entries: Iterable[str], results: Iterable[Result]) -> None:
        self.model = model
        begun: dict[str, dict[int, Result]] = {name: {} for name in entries}
        for r in results:
            if r.model == model and r.entry in begun and (r.history or r.diverged is not None):
                begun[r.entry][r.seed] = r
        seeds = sorted({seed for some in begun.values() for seed in some})
        first = max(seeds, key=lambda s: (sum(s in some for some in begun.values()), _reached(begun, s)), default=None)
        self.runs = {name: some for name, some in begun.items() if first in some}
        self.missing = [name for name in begun if name not in self.runs]
        self.goal = max((r.epochs for r in self.results), default=0)
        self.epoch = 0 if first is None else _reached(self.runs, first)
        self.seeds = [s for s in seeds if all(s in some and self._compares(some[s]) for some in self.runs.values())]

    def _compares(self, r: Result) -> bool:
        """Whether a run has come to the common epoch, or to its end."""
        return r.diverged is not None or len(r.history) >= self.epoch

    @property
    def title(self) -> str:
        return title(self.model)

    @property
    def results(self) -> list[Result]:
        """All runs that have begun."""
        return [r for some in self.runs.values() for r in some.values()]

    def compared(self, name: str) -> list[Result]:
        """The runs of an optimiser with the seeds that all have in common."""
        return [self.runs[name][seed] for seed in self.seeds]

    def ends(self, name: str, measure: str, epoch: int | None = None) -> list[float]:
        """What each run of an optimiser measured after an epoch (the common one): NaN where it had diverged.

        Accuracies are in percent.
        """
        return [_measured(r, measure, epoch or self.epoch) for r in self.compared(name)]

    def mean(self, name: str, measure: str, epoch: int | None = None) -> Spread:
        """Mean and deviation of these over the seeds."""
        return spread(self.ends(name, measure, epoch))

    def text(self, name: str, measure: str, epoch: int | None = None) -> str:
        """The same in words: 96.12 ± 0.10, or a loss with three digits after the point, or that it diverged."""
        mean = self.mean(name, measure, epoch)
        if math.isnan(mean.mean) and len(self.seeds) == 1:
            return "diverged"
        return mean.text(2 if measure.endswith("accuracy") else 3)

    def ranked(self, measure: str, names: Iterable[str] | None = None, epoch: int | None = None) -> list[str]:
        """The optimisers from the best mean to the worst; those that diverged with all seeds come last."""
        sign = -1 if measure.endswith("accuracy") else 1

        def key(name: str) -> float:
            mean = self.mean(name, measure, epoch).mean
            return math.inf if math.isnan(mean) else sign * mean

        return sorted(self.runs if names is None else names, key=key)

    def curve(self, name: str, measure: str) -> np.ndarray:
        """What the runs of an optimiser measured, of shape (seeds, epochs), as far as all of them have come.

        Runs that diverged stand there only where all of them did.
        """
        runs = [r for r in self.compared(name) if r.diverged is None] or self.compared(name)
        end = min(len(r.history) for r in runs)
        return np.array([[_measured(r, measure, e) for e in range(1, end + 1)] for r in runs])

    def diverged(self, name: str) -> list[Result]:
        return [r for r in self.compared(name) if r.diverged is not None]

    def seconds(self, name: str) -> float:
        """The median time of an epoch; NaN where it diverged before the end of the first."""
        return float(np.median([e["seconds"] for r in self.compared(name) for e in r.history] or [math.nan]))

    @property
    def unevenness(self) -> float:
        """How many times as long as another of the same run an epoch took.

        Those with which a run was begun or gone on are left out: the program is made in them.
        """
        runs = []
        for r in self.results:
            made = {0, *[event.get("at", 0) for event in r.events]}
            runs.append([e["seconds"] for i, e in enumerate(r.history) if i not in made] or [1.0])
        return max(max(seconds) / min(seconds) for seconds in runs)

    @property
    def timed(self) -> bool:
        """Whether times tell something: not where the machine had other work, so that the same work took longer."""
        return self.unevenness < UNEVEN


def _reached(runs: dict[str, dict[int, Result]], seed: int) -> int:
    """The last epoch that all runs with a seed have come to, without those that diverged."""
    some = [by_seed[seed] for by_seed in runs.values() if seed in by_seed]
    going = [len(r.history) for r in some if r.diverged is None]
    return min(going) if going else max((len(r.history) for r in some), default=0)


def _measured(result: Result, measure: str, epoch: int) -> float:
    if not 0 < epoch <= len(result.history):
        return math.nan
    return result.history[epoch - 1][measure] * (100 if measure.endswith("accuracy") else 1)


class Table:
    """All that the runs of a preset have come to.

    Attributes:
        preset: who takes part.
        contests: a comparison for each model; one without runs where none has begun.
        grid: Padam with several powers and rates, on the model that they are tried on; None where they have no part.
    """

    def __init__(self, preset: Preset, results: Sequence[Result]) -> None:
        self.preset = preset
        self.contests, self.grid = [], None
        for model, entries in preset.cells:
            names = [entry.name for entry in entries]
            self.contests.append(Comparison(model, (n for n in names if not of_the_grid(n)), results))
            if any(map(of_the_grid, names)):
                self.grid = Comparison(model, filter(of_the_grid, names), results)

    @property
    def comparisons(self) -> list[Comparison]:
        """All that have runs: the contests, then the grid."""
        return [c for c in [*self.contests, self.grid] if c is not None and c.runs]

    @property
    def results(self) -> list[Result]:
        """All runs that have begun."""
        return [r for c in self.comparisons for r in c.results]

    def contest(self, model: str) -> Comparison | None:
        return next((c for c in self.contests if c.model == model), None)


def of_the_grid(name: str) -> bool:
    """Whether an entry is one of Padam's variants: "Padam p=1/4 η=0.1", "Padam falling"."""
    return name.startswith("Padam ")


def cell(name: str) -> tuple[Fraction, float] | None:
    """The power and the rate of an entry of the grid; None for others.

    >>> cell("Padam p=1/4 η=0.1"), cell("Padam falling")
    ((Fraction(1, 4), 0.1), None)
    """
    if "p=" not in name:
        return None
    power, rate = name.removeprefix("Padam p=").split(" η=")
    return Fraction(power), float(rate)
