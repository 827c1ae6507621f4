"""What the loop around the step costs in the analysis: `python -m benchmarks.loop`.

For each model, variant and optimiser the time of an iteration of `examples.flux_mnist` (sampling, step, keeping the
losses, telling how far it is, saving the state now and then; without tests, as in its reports), beside that of the bare
step on the same images in the same order. Both start from the same parameters, and they take turns for several rounds;
the table shows the medians. All on one core, as `--workers` has it where there are as many workers as cores.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import tinyflux as flux
from examples import datasets, models
from examples.flux_mnist import grid, training
from examples.flux_mnist.folder import Folder
from examples.machine import processor

SIZES = {"stochastic": 1, "minibatch": grid.BATCHSIZE}


def in_the_analysis(run: grid.Run, iterations: int, dataset: str) -> float:
    """Seconds an iteration, as the run itself notes it; from its second checkpoint on, when all is warm."""
    with tempfile.TemporaryDirectory() as name:
        folder = Folder(Path(name), run)
        training.train(folder, iterations, {"dataset": dataset, "data_sha256": ""}, 1, lambda: False)
        first, *_, last = folder.checkpoints()
    return (last["seconds"] - first["seconds"]) / (last["iteration"] - first["iteration"])


def bare(run: grid.Run, iterations: int, data: datasets.Data) -> float:
    """Seconds an iteration of the step alone, the order of the images being known beforehand."""
    x, y = data.train[0], flux.onehotbatch(data.train[1], range(10))
    size = SIZES[run.variant]
    flux.seed(run.seed)
    model = models.build(run.model)
    opt = flux.setup(getattr(flux, run.optimiser)(grid.ETA[run.optimiser]), model)
    loss = models.LOSSES[run.model]
    step = flux.compile_training(lambda m, x, y: loss(m(x), y), model, opt, size)
    orders = list(_stretches(run, len(x), size, iterations))
    for order in orders[:1]:
        step((x, y), order)
    start = time.perf_counter()
    for order in orders[1:]:
        step((x, y), order)
    return (time.perf_counter() - start) / sum(map(len, orders[1:]))


def _stretches(run: grid.Run, images: int, size: int, iterations: int) -> Iterator[np.ndarray]:
    """The first checkpoint's iterations, then the others, as a run takes them."""
    left = iterations
    for order in training.samples(run, images, size, 0):
        parts = [order[:500], order[500:]] if left == iterations else [order]
        for part in parts:
            yield part[:left]
            left -= len(part[:left])
        if left <= 0:
            return


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop", description=__doc__.split(":")[0])
    parser.add_argument("--models", nargs="+", choices=grid.MODELS, default=grid.MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, nargs=2, default=(512_000, 16_000), metavar=tuple(SIZES))
    options = parser.parse_args(arguments)
    iterations = dict(zip(SIZES, options.iterations))
    data = datasets.load("auto")
    print(f"{datetime.date.today()}, one of {os.cpu_count()} cores of {processor()}, {data.note}\n")
    print(f"{'model':<7}{'variant':<12}{'rule':<9}{'bare step':>12}{'analysis':>12}{'the loop':>10}")
    for model, variant, rule in itertools.product(options.models, SIZES, grid.OPTIMISERS):
        run = grid.Run(model, variant, rule, 0, grid.BATCHSIZE)
        count = iterations[variant]
        rounds = [(bare(run, count, data), in_the_analysis(run, count, data.name)) for _ in range(options.rounds)]
        alone, whole = (statistics.median(times) for times in zip(*rounds))
        cost = f"{whole / alone - 1:+.1%}"
        print(f"{model:<7}{variant:<12}{rule:<9}{alone * 1e6:>9.2f} µs{whole * 1e6:>9.2f} µs{cost:>10}", flush=True)


if __name__ == "__main__":
    main()
