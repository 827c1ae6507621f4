"""A process that trains a rule with all its values: what it has made is noted run by run, and is not repeated.

A run that is done is a line of metrics.jsonl. A run takes
seconds, so that one which was begun when the process was killed begins anew, and needs no state to be saved.
"""

import dataclasses
import json
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from examples.common import datasets, workers
from examples.common.command import Refused
from examples.common.folder import Folder
from examples.common.lock import hold
from examples.common.machine import surroundings

from .contest import ENTRIES, Entry
from .training import BATCHSIZE, MEASURES, Data, split, train

Runs = dict[tuple[float, int], dict[str, Any]]  # what was measured, by value and seed


class Task(NamedTuple):
    """What the numbers of a rule's runs depend on, but for values, seeds and data."""

    entry: str
    iterations: int
    batchsize: int = BATCHSIZE

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.entry.replace(' ', '-')}-{self.iterations}"

    def settings(self) -> dict[str, Any]:
        """What has to be the same where a rule is gone on with."""
        return self._asdict()

    def __str__(self) -> str:
        return self.entry


@dataclasses.dataclass
class Job(workers.Job):
    """What a process needs to know to train a rule with all its values; the goal is a number of runs.

    Attributes:
        choosing: the seeds by which a value is chosen.
        reporting: the seeds with which the chosen value is trained; none where all values are to be shown.
    """

    choosing: tuple[int, ...] = ()
    reporting: tuple[int, ...] = ()
    plural, unit = "rules", "run"

    @property
    def folder(self) -> Folder:
        return Folder(Path(self.results), Task(*self.run))

    @property
    def entry(self) -> Entry:
        return ENTRIES[Task(*self.run).entry]

    def left(self) -> list[tuple[float, int]]:
        """The values and seeds that are to be trained next: all values, then the one that was chosen."""
        runs = finished(self.folder)
        left = [(value, seed) for value in self.entry.values for seed in self.choosing if (value, seed) not in runs]
        if left or not self.reporting:
            return left
        best = choose(runs, self.entry.values, self.choosing)
        return [(best, seed) for seed in self.reporting if (best, seed) not in runs]

    def reached(self) -> int:
        return min(len(finished(self.folder)), self.goal)

    def outcome(self) -> str:
        runs, values = finished(self.folder), self.entry.values
        best = choose(runs, values, self.choosing)
        return f"{len(runs)} runs; {self.entry.varied} {best:g}, {score(runs, best, self.choosing):.2%} in validation"


def finished(folder: Folder) -> Runs:
    """The runs that are done; Refused where one was made with another rule than it would be now."""
    runs, rule = {}, ENTRIES[folder.run.entry].rule
    for i, run in enumerate(folder.metrics(), 1):
        if "curve" not in run:
            continue
        wanted = repr(rule(run["value"], folder.run.iterations))
        if run["rule"] != wanted or not _is_whole(run):
            got = f"a run of {run['rule']}, not {wanted}" if run["rule"] != wanted else "a run without all measurements"
            raise Refused(f"{folder.path / 'metrics.jsonl'}, line {i}, holds {got}. {folder.remedy}")
        runs[run["value"], run["seed"]] = run
    return runs


def _is_whole(run: dict[str, Any]) -> bool:
    """Whether all that is measured of a run is there; one that diverged ended early."""
    curve, columns = run["curve"], {"iteration", *[f"{part} {what}" for part in Data._fields for what in MEASURES]}
    if type(run["diverged"]) is int:
        return isinstance(curve, dict)
    whole = run["diverged"] is None and isinstance(curve, dict) and curve.keys() == columns
    return whole and all(isinstance(x, list) and x and set(map(type, x)) <= {int, float} for x in curve.values())


def choose(runs: Runs, values: Iterable[float], seeds: Iterable[int]) -> float:
    """The value with the highest mean accuracy on the validation images, the first of several."""
    return max(values, key=lambda value: score(runs, value, seeds))


def score(runs: Runs, value: float, seeds: Iterable[int]) -> float:
    """The mean accuracy on the validation images; a run that diverged counts as 0."""
    tried = [runs[value, seed] for seed in seeds]
    return statistics.fmean(
        [0.0 if run["diverged"] is not None else run["curve"]["validation accuracy"][-1] for run in tried]
    )


def work(job: Job, stop: Callable[[], bool]) -> None:
    """Train what is left of a job."""
    folder, entry = job.folder, job.entry
    with hold(folder.path, str(folder.run), stop, job.wait):
        settings = folder.check(job.dataset)
        folder.clear()
        if not job.left():
            return
        if settings is None:
            folder.begin({**folder.run._asdict(), **job.dataset, "threads": job.threads})
        folder.append({"event": "gone on" if settings else "begun", **surroundings()})
        data = split(datasets.load(job.dataset["dataset"]))
        while left := job.left():
            value, seed = left[0]
            rule = entry.rule(value, folder.run.iterations)
            result = train(rule, seed, folder.run.iterations, data, stop)
            folder.append({"value": value, "rule": repr(rule), "seed": seed, **result})
            folder.tell(job.reached(), result["curve"]["train loss"][-1])
        folder.clear()


def main(parent: str, argument: str) -> int:
    """The process of a job."""
    return workers.serve(parent, lambda stop: work(Job(**json.loads(argument)), stop))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
