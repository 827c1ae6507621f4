"""The command line of the analysis."""

import argparse
import sys
from contextlib import closing
from pathlib import Path

from examples.common import datasets, machine, workers
from examples.common.command import Refused, exit_code, natural, require
from examples.common.progress import Display

from . import claims, grid
from .cluster import cluster
from .job import Job
from .table import Cells, Kind, Table

EPILOG = """
commands:
  quick     all of it, the mini-batches for a short while and with one seed: 18 runs, the figures and the report, in
            about three minutes on two free cores; three of the articles' six conclusions are answered
  article   the same with the articles' own numbers of iterations, and three seeds: about two hours on two cores
  run       the trainings alone: run quick, run article
  figures   draw what the runs in --output have come to, however many there are
  report    draw it, and write the report: report.html and report.md

A run that was stopped, in whatever way, goes on from where its state was last saved, to the same numbers as if it
had not been stopped; one that is done is not repeated. So `article` goes on from what `quick` has trained, too.

examples:
  python -m examples.flux_mnist quick
  python -m examples.flux_mnist run article --models 4LS 2LR --variants stochastic --seeds 0 1 2 3 4
  python -m examples.flux_mnist article --scheduler tcp://head:8786 --output /shared/flux_mnist
"""


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    return exit_code("flux_mnist", "stopped; the same command goes on from here", lambda: run(options))


def run(options: argparse.Namespace) -> int:
    require("filelock", "tqdm", "matplotlib", "markdown")
    problems = train(options) if options.preset else []
    if problems:
        print("\n  ".join([f"flux_mnist: {len(problems)} runs failed:", *problems]), file=sys.stderr)
    if options.command != "run":
        write(options)
    return 1 if problems else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options; for a command that trains, its preset is among them."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.flux_mnist",
        description='The analysis of the articles "Flux.jl on MNIST": three models, three variants of gradient descent '
        "and two optimisers, trained, drawn, and held against the articles' own figures.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("command", choices=[*grid.PRESETS, "run", "figures", "report"], help="see below")
    add("preset", nargs="?", choices=grid.PRESETS, help="for run: how far to train")
    add = parser.add_argument_group("what to train (report and figures take all that was trained)").add_argument
    add("--models", nargs="+", choices=grid.MODELS, default=grid.MODELS, help="only these")
    add("--variants", nargs="+", choices=grid.VARIANTS, default=grid.VARIANTS, help="only these")
    add("--optimisers", nargs="+", choices=grid.OPTIMISERS, default=grid.OPTIMISERS, help="only these")
    text = "of the first parameters and the images' order: a run each (default: 0 for quick, 0 1 2 for article)"
    add("--seeds", nargs="+", type=natural, metavar="N", help=text)
    text = f"train every run this far, up to {grid.LONGEST:,} (default: by preset and variant)"
    add("--iterations", type=_count, metavar="N", help=text)
    text = "images in a mini-batch; the articles' number is not known (default: %(default)s)"
    add("--batchsize", type=_count, metavar="N", default=grid.BATCHSIZE, help=text)
    text = "as in examples/mnist.py: MNIST where it can be had, else small digits (default: %(default)s)"
    add("--dataset", choices=datasets.DATASETS, default="auto", help=text)
    text = "how many runs to train at a time, each with its share of the cores (default: one a core, at most 8)"
    add("--workers", type=_count, metavar="N", default=min(machine.cores(), 8), help=text)
    text = "train on the workers of a Dask cluster instead. They may be started in any folder, with the same Python, "
    text += "NumPy and SciPy as here, and must see this clone and --output under the same paths. Runs that were begun "
    text += "there go on after Ctrl-C"
    add("--scheduler", metavar="ADDRESS", help=text)
    add = parser.add_argument_group("where").add_argument
    text = "of the runs (default: %(default)s)"
    add("--output", type=Path, metavar="FOLDER", default=Path("results", "flux_mnist"), help=text)
    text = "where to put figures and report (default: report, in --output)"
    add("--report", type=Path, metavar="FOLDER", help=text)
    options = parser.parse_args(arguments)
    if options.command in grid.PRESETS:
        if options.preset:
            parser.error(f"argument preset: goes with run, not {options.command}")
        options.preset = options.command
    elif (options.command == "run") != bool(options.preset):
        parser.error("argument preset: run needs one, quick or article; figures and report take none")
    if options.preset:
        options.seeds = options.seeds or grid.PRESETS[options.preset].seeds
    return options


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= grid.LONGEST:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {grid.LONGEST:,}, got {text!r}")
    return int(text)


def train(options: argparse.Namespace) -> list[str]:
    """Train the runs that are asked for, and don't exist yet; returns what went wrong, a line a run."""
    data = datasets.load(options.dataset)
    dataset, note, images = data.identity(), data.note, len(data.train[0])
    del data  # the runs load it for themselves
    if options.batchsize > images:
        raise Refused(f"--batchsize {options.batchsize:,} is more than the {images:,} training images; take fewer")
    runs = grid.grid(options.models, options.variants, options.optimisers, options.seeds, options.batchsize)
    goals = grid.PRESETS[options.preset].iterations
    threads = 1 if options.scheduler else max(1, machine.cores() // options.workers)
    results = options.output.resolve()
    jobs = [
        Job(str(results), run, options.iterations or goals[run.variant], dataset, images, threads)
        for run in dict.fromkeys(runs)
    ]
    for job in jobs:
        job.folder.check(dataset)
    left = [job for job in jobs if not job.folder.ended(job.goal)]
    left.sort(key=lambda job: -grid.cost(job.run, job.goal, images))  # so that no long one is left for the end
    begun = sum(job.folder.settings() is not None for job in left)
    print(f"{len(jobs)} runs on {note}: {len(jobs) - len(left)} done, {begun} to go on, {len(left) - begun} to begin")
    if options.command != "run":
        print(promise({job.run[:3]: job.goal for job in jobs}))
    if not left:
        return []
    where = f"on {options.scheduler}" if options.scheduler else f"{min(options.workers, len(left))} at a time"
    print(f"{where}, {threads} thread{'s' * (threads > 1)} each; results in {options.output}", flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    place = cluster(options.scheduler, results) if options.scheduler else workers.local(options.workers)
    with closing(Display(left, len(jobs))) as display, place as submit:
        return workers.train_all(left, submit, display)


def promise(goals: dict[Kind, int]) -> str:
    """Which of the articles' conclusions the report will answer."""
    every = [conclusion.text for conclusion in claims.conclusions(Cells({}))]
    sure = [conclusion.text for conclusion in claims.answered(goals)]
    lines = [f"These are long enough for {len(sure)} of the articles' {len(every)} conclusions:", *sure]
    if len(sure) < len(every):
        lines += ["The others need more trainings, those of the command article:"]
        lines += [text for text in every if text not in sure]
    return "\n".join(line if line.endswith(":") else f"  - {line}" for line in lines)


def write(options: argparse.Namespace) -> None:
    """Draw the figures and, unless they alone are wanted, write the report."""
    from . import figures, report

    table = Table(options.output)
    folder = options.report or options.output / "report"
    if options.command == "figures":
        drawn = figures.draw(table, folder / "figures")
        print(f"{len(drawn)} figures, as PNG and SVG, in {folder / 'figures'}")
        return
    for conclusion in report.report(table, folder):
        print(f"{conclusion.sign:<16}{conclusion.text}")
    print(f"\nThe report: {folder / 'report.html'}, and the same as report.md; the figures: {folder / 'figures'}")


if __name__ == "__main__":
    sys.exit(main())
