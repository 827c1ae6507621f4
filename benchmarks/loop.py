"""What the loop around the step costs in the analysis: `python -m benchmarks.loop`.

For each model, variant and optimiser the time of an iteration of `examples.flux_mnist` as its reports have it
(sampling, step, keeping the losses; without tests and the saving of states), and the part of it that is
spent in the compiled step. Medians of several runs, all on one core. The images come from memory in random order, which
`benchmarks.step`, with the data at hand, does not count: with mini-batches that takes the step itself longer.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from examples.common import datasets
from examples.common.folder import Folder
from examples.common.machine import processor
from examples.flux_mnist import grid, training
from tinyflux.training.iteration import Iteration

VARIANTS = ("stochastic", "minibatch")


def measured(run: grid.Run, iterations: int, dataset: str) -> tuple[float, float]:
    """Seconds that an iteration takes, and those of it that are spent in the step."""
    make, inside = Iteration.run, 0.0

    def timed(*arguments: Any) -> Any:
        nonlocal inside
        start = time.perf_counter()
        try:
            return make(*arguments)
        finally:
            inside += (time.perf_counter() - start) * (len(arguments[2]) > 0)  # an empty order is there to compile

    with tempfile.TemporaryDirectory() as name, mock.patch.object(Iteration, "run", timed):
        folder = Folder(Path(name), run)
        training.train(folder, iterations, {"dataset": dataset, "data_sha256": ""}, 1, lambda: False)
        return folder.checkpoints()[-1]["seconds"] / iterations, inside / iterations


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop", description=__doc__.split(":")[0])
    parser.add_argument("--models", nargs="+", choices=grid.MODELS, default=grid.MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, nargs=2, default=(512_000, 16_000), metavar=VARIANTS)
    options = parser.parse_args(arguments)
    iterations = dict(zip(VARIANTS, options.iterations))
    data = datasets.load("auto")
    print(f"{datetime.date.today()}, one of {os.cpu_count()} cores of {processor()}, {data.note}\n")
    print(f"{'model':<7}{'variant':<12}{'rule':<9}{'iteration':>12}{'step':>12}{'the loop':>10}")
    for model, variant, rule in itertools.product(options.models, VARIANTS, grid.OPTIMISERS):
        (run,) = grid.grid([model], [variant], [rule])
        rounds = [measured(run, iterations[variant], data.name) for _ in range(options.rounds)]
        whole, step = (statistics.median(times) for times in zip(*rounds))
        cost = f"{statistics.median([a / b for a, b in rounds]) - 1:.1%}"
        print(f"{model:<7}{variant:<12}{rule:<9}{whole * 1e6:>9.2f} µs{step * 1e6:>9.2f} µs{cost:>10}", flush=True)


if __name__ == "__main__":
    main()
