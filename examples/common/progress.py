"""How far the grid is: bars on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any

FIRST = 10.0  # seconds after which the time left is told for the first time, where there are no bars
QUIET = 60.0  # and seconds without any line after which it is told again
WORK = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} so far, {remaining} left"


class Display:
    """Tells of the runs at work: a bar each and one for all, or a line when a run is done.

    Arguments:
        jobs: those that are still to be trained.
        total: how many there are in the grid.
    """

    def __init__(self, jobs: list[Any], total: int) -> None:
        from tqdm import tqdm

        self._tqdm = tqdm
        self._jobs = {job.run: job for job in jobs}
        self._finished, self._total, self._plural = total - len(jobs), total, jobs[0].plural
        self._costs = {job.run: job.cost for job in jobs}
        self._at = {job.run: job.reached() for job in jobs}
        self._work = sum(job.cost(job.goal) for job in jobs)
        self._terminal = sys.stderr.isatty()
        options = {"disable": not self._terminal, "leave": False, "dynamic_ncols": True}
        self._bar = tqdm(total=self._work, initial=self._made(), bar_format=WORK, desc=self._title(), **options)
        self._options = {**options, "unit": jobs[0].unit, "unit_scale": True}
        self._bars: dict[Any, Any] = {}
        self._begun, self._start, self._spoke = self._made(), time.monotonic(), time.monotonic()
        self._patience = FIRST

    def _title(self) -> str:
        return f"{self._finished} of {self._total} {self._plural} done"

    def _made(self) -> float:
        return sum(self._costs[run](at) for run, at in self._at.items())

    def update(self) -> None:
        """Look how far the runs are, and show it."""
        for run, job in self._jobs.items():
            told = job.folder.told()
            if told is None:
                continue
            self._at[run] = told["iteration"]
            if self._terminal:
                if run not in self._bars:
                    self._bars[run] = self._new(job, told["iteration"])
                bar = self._bars[run]
                bar.set_postfix(loss=f"{told['loss']:.4f}", refresh=False)
                bar.n = told["iteration"]
                bar.refresh()
        self._bar.n = self._made()
        self._bar.set_description_str(self._title())
        if not self._terminal and time.monotonic() - self._spoke > self._patience and self._made() > self._begun:
            self._patience = QUIET
            self.say(f"{self._title()}, {self._made() / self._work:.0%} of the work{self._left()}")

    def _new(self, job: Any, iteration: int) -> Any:
        return self._tqdm(total=job.goal, initial=iteration, desc=f"  {job.run}", **self._options)

    def done(self, job: Any) -> None:
        """A run has reached its goal, or can't go on."""
        del self._jobs[job.run]
        self._at[job.run] = job.goal
        self._finished += 1
        if job.run in self._bars:
            self._bars.pop(job.run).close()
        number = f"{self._finished:>{len(str(self._total))}}/{self._total}"
        self.say(f"[{number}] {job.run}: {job.outcome()}{self._left()}")

    def say(self, line: str) -> None:
        self._spoke = time.monotonic()
        self._tqdm.write(line)
        sys.stdout.flush()

    def _left(self) -> str:
        """The time that the rest will take, by the work done so far."""
        made, spent = self._made() - self._begun, time.monotonic() - self._start
        if self._terminal or not made or not self._jobs:
            return ""
        return f"; about {self._tqdm.format_interval((self._work - self._made()) / made * spent)} left"

    def close(self) -> None:
        for bar in [*self._bars.values(), self._bar]:
            bar.close()
