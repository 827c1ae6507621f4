"""What came of the rules: the values that were chosen, accuracies over the seeds, and how sure the differences are."""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from examples.common.command import Refused
from examples.common.spread import Spread, spread

from .contest import ADAM, CONTESTANTS, PADAM, Entry
from .job import Job, Runs, choose, finished

SURE = 0.05  # the share of false alarms, over all comparisons with the best


def last(run: dict[str, Any], name: str) -> float:
    """What a run came to: "test loss", or "test accuracy" in percent; NaN where it diverged."""
    if run["diverged"] is not None:
        return math.nan
    return run["curve"][name][-1] * (100 if name.endswith("accuracy") else 1)


class Result(NamedTuple):
    """All runs of a rule.

    Attributes:
        entry: the rule, with the values that were tried.
        iterations: how long each run was.
        runs: what was measured, by value and seed.
        choosing, reporting: the seeds.
    """

    entry: Entry
    iterations: int
    runs: Runs
    choosing: tuple[int, ...]
    reporting: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def best(self) -> float:
        """The value that was chosen."""
        return choose(self.runs, self.entry.values, self.choosing)

    @property
    def at_the_edge(self) -> bool:
        """Whether a value beyond those that were tried may be better still."""
        return self.best in (min(self.entry.values), max(self.entry.values))

    def tried(self, value: float) -> list[dict[str, Any]]:
        """The runs by which a value was judged."""
        return [self.runs[value, seed] for seed in self.choosing]

    def validation(self, value: float) -> Spread:
        """The accuracy on the validation images, in percent."""
        return spread(last(run, "validation accuracy") for run in self.tried(value))

    @property
    def reported(self) -> list[dict[str, Any]]:
        """The runs of the value that was chosen, with seeds that had no part in choosing it."""
        return [self.runs[self.best, seed] for seed in self.reporting]

    def ends(self, name: str) -> np.ndarray:
        """What each reported run came to."""
        return np.array([last(run, name) for run in self.reported])

    @property
    def state(self) -> int:
        """How many bytes a rule keeps for each float32 parameter."""
        state = self.entry.rule(self.best, self.iterations).init(np.zeros(1, np.float32))
        return sum(x.nbytes for x in state if isinstance(x, np.ndarray))


class Behind(NamedTuple):
    """How far a rule is behind the best one, in percentage points of the test images: the same seeds compared.

    Attributes:
        points: the mean difference.
        error: its standard error.
        sure: whether it is more than chance would make of two equal rules, among so many that are compared.
    """

    points: float
    error: float
    sure: bool


def behind(best: Result, other: Result, comparisons: int) -> Behind:
    """Compare by a paired t-test, with Bonferroni's correction for the number of comparisons."""
    differences = best.ends("test accuracy") - other.ends("test accuracy")
    differences = differences[~np.isnan(differences)]
    count = len(differences)
    if count < 2:
        return Behind(float(differences.mean()) if count else math.nan, math.nan, False)
    mean, error = float(differences.mean()), float(differences.std(ddof=1) / math.sqrt(count))
    chance = 2 * stats.t.sf(abs(mean) / error, count - 1) if error else float(mean == 0)
    return Behind(mean, error, bool(chance * comparisons < SURE))


class Table:
    """All that jobs have come to, of those that are done.

    Attributes:
        contest: the rules, from the best mean accuracy on the test images to the lowest.
        padam, adam: the results of Padam's powers, and of Adam's numbers.
        missing: the names of rules that are not done.
        events: when, where and with what processes were begun.
        dataset: the name of the images.

    Errors: Refused where none is done.
    """

    def __init__(self, jobs: list[Job]) -> None:
        done = [job for job in jobs if not job.left()]
        self.missing = [str(job.run) for job in jobs if job not in done]
        if not done:
            raise Refused("no rule is done, so that there is nothing to report; the same command goes on")
        self.dataset = done[0].dataset
        self.iterations = done[0].run.iterations
        self.events = [entry for job in done for entry in job.folder.metrics() if "event" in entry]
        results = {r.name: r for r in map(_result, done)}
        contest = [results[entry.name] for entry in CONTESTANTS if entry.name in results]
        self.contest = sorted(contest, key=lambda result: -_rank(result))
        self.padam = [results[entry.name] for entry in PADAM if entry.name in results]
        self.adam = [results[entry.name] for entry in ADAM if entry.name in results]

    @property
    def results(self) -> list[Result]:
        return [*self.contest, *self.padam, *self.adam]

    @property
    def behind(self) -> list[Behind]:
        """How far each rule of the contest is behind the first."""
        return [behind(self.contest[0], other, len(self.contest) - 1) for other in self.contest]

    @property
    def groups(self) -> list[list[Result]]:
        """The rules in groups: the best, with all that aren't surely behind it; of the others the best, and so on."""
        left = [result for result in self.contest if not np.isnan(result.ends("test accuracy")).all()]
        groups = []
        while left:
            first, *others = left
            groups.append([first, *(r for r in others if not behind(first, r, len(others)).sure)])
            left = [r for r in others if r not in groups[-1]]
        return groups


def _result(job: Job) -> Result:
    return Result(job.entry, job.run.iterations, finished(job.folder), tuple(job.choosing), tuple(job.reporting))


def _rank(result: Result) -> float:
    mean = spread(result.ends("test accuracy")).mean
    return -1.0 if math.isnan(mean) else mean
