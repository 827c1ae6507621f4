"""A process that trains a run."""

import json
import sys
from pathlib import Path

from examples.common import workers
from examples.common.folder import Folder

from . import grid, training
from .grid import Run


class Job(workers.Job):
    """What a process needs to know to train a run; the goal is an iteration."""

    @property
    def folder(self) -> Folder:
        return Folder(Path(self.results), Run(*self.run))

    def reached(self) -> int:
        """The last iteration that was noted."""
        return max([entry["iteration"] for entry in self.folder.checkpoints()], default=0)

    def cost(self, made: int) -> float:
        """In the unit of `grid.cost`."""
        return grid.cost(self.run, made, self.images)

    def outcome(self) -> str:
        return outcome(self.folder)


def outcome(folder: Folder) -> str:
    """What came of a run, in words."""
    metrics = folder.metrics()
    diverged = next((entry for entry in metrics if "diverged" in entry), None)
    if diverged:
        return f"ended after {diverged['at']:,} iterations: {diverged['diverged']}"
    last = max(folder.checkpoints(), key=lambda entry: entry["iteration"])
    return f"{last['accuracy']:.2%} right after {last['iteration']:,} iterations, {last['seconds']:.1f} s of training"


def main(parent: str, argument: str) -> int:
    """The process of a run."""
    job = Job(**json.loads(argument))
    return workers.serve(
        parent, lambda stop: training.train(job.folder, job.goal, job.dataset, job.threads, stop, job.wait)
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
