"""The time of one whole training step, tinyflux beside its peers: `python -m benchmarks.step`.

A step is the gradient of the loss for one batch and the update of the parameters with it, the data being at hand. All
contenders do the same work: the same initial weights, batches and formulas, in float32; that is checked before anything
is measured. Each has a process of its own with all cores, and they take turns, a short stretch each, for several
rounds. The table shows the medians over the rounds, and in brackets how many times that of compiled tinyflux they are
(of eager tinyflux, where the compiled one takes no part). A spread, half the distance of the rounds' quartiles in per
cent of the median, is shown from 10 % on: the machine was busy then.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from typing import Any

import numpy as np

from .models import BATCHSIZES, MODELS, OPTIMISERS, POOL, Cell, data
from .peers import PEERS, Before, installed
from .worker import Worker

TOLERANCE = 1e-4  # relative, of losses
DRIFT = 1e-2  # of the way that the weights went, in norm: ADAM turns the rounding of small gradients into steps
OURS = ("tinyflux compiled", "tinyflux")  # the first that takes part is what the others' times are divided by
Times = dict[str, list[float]]  # by contender, the seconds a step took in each round


def check(results: dict[str, tuple[list[float], list[Any]]], start: Sequence[Any]) -> None:
    """Raise an AssertionError unless all contenders computed nearly the same losses and weights.

    Arguments:
        results: by contender, the losses of the first steps, and the weights after them.
        start: the weights before them.
    """
    (first, (losses, weights)), *others = results.items()
    for name, (their_losses, their_weights) in others:
        np.testing.assert_allclose(their_losses, losses, rtol=TOLERANCE, err_msg=f"losses of {name} and {first}")
        for i, (before, mine, theirs) in enumerate(zip(start, weights, their_weights, strict=True)):
            way, apart = np.linalg.norm(mine - before), np.linalg.norm(mine - theirs)
            assert apart <= DRIFT * way, f"{name} and {first} disagree on array {i}: {apart:.2g} apart, {way:.2g} away"


def measure(workers: dict[str, Worker], cell: Cell, rounds: int, seconds: float, patience: float = 0) -> Times:
    """Check that the contenders agree on a cell, then measure them in turns."""
    results = {name: worker.prepare(cell) for name, worker in workers.items()}
    check(results, [w for layer in cell.weights() for w in layer])
    return take_turns(workers, rounds, seconds, patience)


def take_turns(workers: dict[str, Worker], rounds: int, seconds: float, patience: float = 0) -> Times:
    """Measure the contenders one after the other, for several rounds."""
    times: Times = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            times[name].append(worker.measure(seconds, patience))
    return times


def row(cell: Cell, times: Times) -> list[str]:
    """A row of the table: the cell, and the times."""
    return [cell.model, f"{cell.batchsize:,}", cell.optimiser, *format_times(times)]


def format_times(times: Times) -> list[str]:
    """For each contender its median, its ratio to that of OURS, and a large spread."""
    yardstick = next((name for name in OURS if name in times), None)
    entries = []
    for name, seconds in times.items():
        median = statistics.median(seconds)
        entry = f"{median * 1e3:.1f} ms" if median >= 1e-3 else f"{median * 1e6:.1f} µs"
        if yardstick and name != yardstick:
            ratio = median / statistics.median(times[yardstick])
            entry += f" ({ratio:.{2 if ratio < 10 else 1}f}×)"
        low, _, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [median] * 3
        spread = (high - low) / 2 / median
        entries.append(entry + f" ±{spread:.0%}" * (spread >= 0.1))
    return entries


def line(entries: Sequence[str], markdown: bool) -> str:
    if markdown:
        return f"| {' | '.join(entries)} |"
    return "".join(f"{entry:<{width}}" for entry, width in zip(entries, [7, 8, 9, *[25] * len(entries)])).rstrip()


def machine(names: Sequence[str]) -> list[str]:
    """The day, the machine's shape, and the versions of all that is compared."""
    from examples.common.machine import processor  # and tinyflux, where another one may be wanted: see `Before`

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    versions = [f"Python {platform.python_version()}", f"NumPy {np.__version__} with {blas['name']} {blas['version']}"]
    versions += [f"{needed} {_version(needed)}" for needed in dict.fromkeys(PEERS[name][0] for name in names)]
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return [
        f"{datetime.date.today()}, {os.cpu_count()} cores of {processor()}, {platform.system()}{load}",
        ", ".join(versions),
    ]


def _version(needed: str) -> str:
    try:
        return importlib.metadata.version(needed)
    except importlib.metadata.PackageNotFoundError:
        pass
    if shutil.which(needed):
        return (
            subprocess.run([needed, "--version"], capture_output=True, text=True)
            .stdout.partition("\n")[0]
            .removeprefix(f"{needed} ")
        )
    return "of this folder"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__.split(":")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batchsizes", nargs="+", type=int, default=list(BATCHSIZES))
    parser.add_argument("--optimisers", nargs="+", choices=OPTIMISERS, default=list(OPTIMISERS))
    parser.add_argument("--peers", nargs="*", choices=PEERS, help="beside tinyflux; by default all that are installed")
    parser.add_argument(
        "--before", metavar="FOLDER", help="a checkout of another commit, whose tinyflux takes part, too"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="the length of a stretch")
    parser.add_argument("--patience", type=float, default=0, help="seconds in which to repeat disturbed stretches")
    parser.add_argument("--markdown", action="store_true", help="print the table as docs/speed.md has it")
    options = parser.parse_args(arguments)

    chosen = PEERS if options.peers is None else options.peers
    wanted = [name for name in PEERS if name == "tinyflux" or name in chosen]
    names = [name for name in wanted if installed(name)]
    x, y, source = data(max(POOL, *options.batchsizes))
    missing = [name for name in wanted if name not in names]
    print(*machine(names), f"data: {source}", sep="\n")
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")
    print(flush=True)
    contenders = {name: PEERS[name][1] for name in names}
    if options.before:
        ours = [name for name in names if name in OURS]
        contenders |= {f"{name}, before": Before(name, options.before) for name in ours}
    workers = {name: Worker(make, x, y) for name, make in contenders.items()}
    print(line(["model", "batch", "rule", *workers], options.markdown))
    if options.markdown:
        print(line(["---"] * (len(workers) + 3), markdown=True))
    for model in options.models:
        for batchsize in options.batchsizes:
            for optimiser in options.optimisers:
                cell = Cell(model, batchsize, optimiser)
                times = measure(workers, cell, options.rounds, options.seconds, options.patience)
                print(line(row(cell, times), options.markdown), flush=True)
    for worker in workers.values():
        worker.close()


if __name__ == "__main__":
    main()
