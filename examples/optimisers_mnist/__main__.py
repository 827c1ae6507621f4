"""The command line of the comparison."""

import argparse
import shlex
import sys
from contextlib import closing
from pathlib import Path

from examples.common import datasets, machine, workers
from examples.common.command import count, exit_code, require
from examples.common.files import check_folder
from examples.common.progress import Display
from examples.common.spread import spread

from .contest import CONTESTANTS, ENTRIES, PRESETS
from .job import Job, Task
from .table import Table
from .timing import times
from .training import HELD_BACK

EPILOG = """
presets:
  quick   1,000 iterations, 2 seeds to choose by and 3 to report: some minutes on two cores
  full    4,000 iterations, 3 seeds to choose by and 10 to report: less than an hour on two cores

It trains what isn't there yet, then writes report.html, report.md, optimisers.csv and the figures. A command that was
stopped, in whatever way, goes on with the runs that are not done; with other presets or iterations it begins others
beside them.

examples:
  python -m examples.optimisers_mnist quick
  python -m examples.optimisers_mnist quick --rules Adam AdaBelief Lion --output results/three
"""


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    return exit_code("optimisers_mnist", "stopped; the same command goes on from here", lambda: run(options))


def run(options: argparse.Namespace) -> int:
    require("filelock", "tqdm", "matplotlib", "markdown")
    check_folder(options.output)
    jobs = planned(options)
    problems = train(jobs, options)
    if problems:
        print("\n  ".join([f"optimisers_mnist: {len(problems)} rules failed:", *problems]), file=sys.stderr)
    write(jobs, options)
    return 1 if problems else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.optimisers_mnist",
        description="All optimisers on MNIST under one protocol: the same network, mini-batches and number of "
        "iterations; for each a learning rate chosen on images held back from training; several seeds.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("preset", choices=PRESETS, help="how far and how often to train: see below")
    names = {name.lower(): name for name in ENTRIES}
    text = f"only these, names with a blank in quotes: {', '.join(ENTRIES)}"
    add("--rules", nargs="+", type=lambda s: names.get(s.lower(), s), choices=ENTRIES, metavar="NAME", help=text)
    text = "updates of each run (default: by preset)"
    add("--iterations", type=count, metavar="N", help=text)
    text = "as in examples/mnist.py: MNIST where it can be had, else small digits (default: %(default)s)"
    add("--dataset", choices=datasets.DATASETS, default="auto", help=text)
    text = "how many rules to train at a time, each with its share of the cores (default: one a core, at most 8)"
    add("--workers", type=count, metavar="N", default=min(machine.cores(), 8), help=text)
    text = "of the runs (default: %(default)s)"
    add("--output", type=Path, metavar="FOLDER", default=Path("results", "optimisers_mnist"), help=text)
    text = "where to put report and figures (default: report, in --output)"
    add("--report", type=Path, metavar="FOLDER", help=text)
    return parser.parse_args(arguments)


def planned(options: argparse.Namespace) -> list[Job]:
    """The jobs that are asked for, done or not."""
    data = datasets.load(options.dataset)
    images = len(data.train[1]) - len(data.train[1]) // HELD_BACK
    dataset = data.identity()
    results, threads = str(options.output.resolve()), max(1, machine.cores() // options.workers)
    iterations, choosing, reporting = PRESETS[options.preset]
    jobs = []
    for name in dict.fromkeys(options.rules or ENTRIES):
        entry = ENTRIES[name]
        seeds = {"choosing": choosing, "reporting": reporting if entry in CONTESTANTS else ()}
        goal = len(entry.values) * len(choosing) + len(seeds["reporting"])
        task = Task(name, options.iterations or iterations)
        jobs.append(Job(results, task, goal, dataset, images, threads, **seeds))
        jobs[-1].folder.check(dataset)
    return jobs


def train(jobs: list[Job], options: argparse.Namespace) -> list[str]:
    """Make the runs that are not there yet; returns what went wrong, a line a rule."""
    left = [job for job in jobs if job.left()]
    made = sum(job.reached() for job in jobs)
    print(f"{len(jobs)} rules, {sum(job.goal for job in jobs):,} runs of which {made:,} are done", flush=True)
    if not left:
        return []
    with closing(Display(left, len(jobs))) as display, workers.local(options.workers) as submit:
        return workers.train_all(left, submit, display)


def write(jobs: list[Job], options: argparse.Namespace) -> None:
    """Draw the figures and write the report."""
    from .report import report

    folder = options.report or options.output / "report"
    table = Table(jobs)
    measured = times(options.output, table.dataset["dataset"], [result.name for result in table.contest])
    limits = f" --iterations {options.iterations}" if options.iterations else ""
    only = f" --rules {shlex.join(options.rules)}" if options.rules else ""
    command = f"python -m examples.optimisers_mnist {options.preset} --dataset {table.dataset['dataset']}{limits}{only}"
    report(table, measured, folder, command)
    for result in table.contest[:5]:
        print(f"{result.name:<16}{spread(result.ends('test accuracy'))} % of the test images")
    print(f"\nThe report: {folder / 'report.html'}, and the same as report.md; the figures: {folder / 'figures'}")


if __name__ == "__main__":
    sys.exit(main())
