"""The command line of the comparison."""

import argparse
import math
import shlex
import sys
import time
from pathlib import Path

import tinyflux as flux
from examples.common import epochs
from examples.common.command import MOVES, Refused, count, device, exit_code, natural, require
from examples.common.files import check_folder
from examples.common.lock import hold
from examples.common.photographs import Part

from .contest import PRESETS, Preset
from .results import Result, Run, planned, read
from .training import described, train

EPILOG = """
presets:
{presets}

Each run is trained in a folder of its own, and kept there after every epoch. A command that was stopped, in whatever
way, goes on after the last whole epoch when it is given again; the report is written of what there is.

examples:
  python -m examples.cifar10_optimisers quick
  python -m examples.cifar10_optimisers cpu --epochs 3 --seeds 0
  python -m examples.cifar10_optimisers tutorial --minutes 12
"""


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    stopped = "stopped; the same command goes on after the last whole epoch of each run"
    return exit_code("cifar10_optimisers", stopped, lambda: run(options))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.cifar10_optimisers",
        description="Compare optimisers on CIFAR-10: a tutorial's seven on a ResNet, and the reproduction of Padam.",
        epilog=EPILOG.format(presets="\n".join(f"  {name:<10}{in_words(p)}" for name, p in PRESETS.items())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("preset", choices=PRESETS, help="what to train, and how far: see below")
    add("--epochs", type=count, metavar="N", help="passes over the training images (default: by preset)")
    add("--seeds", type=natural, nargs="+", metavar="N", help="one run of each optimiser for every seed (by preset)")
    names = {name.lower(): name for preset in PRESETS.values() for name in preset.entries}
    text = f"only these, names with a blank in quotes: {', '.join(names.values())}"
    known = names.values()
    add("--rules", nargs="+", type=lambda s: names.get(s.lower(), s), choices=known, metavar="NAME", help=text)
    text = "stop at the end of the epoch in which so many minutes are over. Each run gets the same share of them"
    add("--minutes", type=count, metavar="N", help=text)
    text = "padam with the numbers of the paper, not of its reproduction: a weight decay of 5e-4, of 1e-4 for Adam and "
    text += "AMSGrad, and a tenth of the learning rate from epoch 50 on, a hundredth from 75 on"
    add("--original", action="store_true", help=text)
    text = "where to train; auto: on the GPU if it can be used (default: %(default)s)"
    add("--device", choices=("auto", *MOVES), default="auto", help=text)
    add("--output", type=Path, metavar="FOLDER", help="of the runs (default: results/cifar10_optimisers/PRESET)")
    text = "where to put report and figures (default: report, in --output)"
    add("--report", type=Path, metavar="FOLDER", help=text)
    options = parser.parse_args(arguments)
    preset = PRESETS[options.preset]
    if options.original and preset.text != "padam":
        parser.error(f"argument --original: goes with the preset padam, not {options.preset}")
    missing = [name for name in options.rules or () if name not in preset.entries]
    if missing:
        parser.error(f"argument --rules: {options.preset} has no {', '.join(missing)}")
    options.output = options.output or Path("results", "cifar10_optimisers", options.preset)
    options.epochs = options.epochs or preset.epochs
    options.rules = list(dict.fromkeys(options.rules or ()))
    options.seeds = tuple(dict.fromkeys(options.seeds or preset.seeds))
    return options


def in_words(preset: Preset) -> str:
    networks = ", ".join(model for model, _ in preset.cells)
    seeds = f"{len(preset.seeds)} seed{'s' * (len(preset.seeds) > 1)}"
    return f"{networks}; {preset.epochs} epochs, {seeds}, mini-batches of {preset.batchsize}: {preset.length}"


def run(options: argparse.Namespace) -> None:
    require("matplotlib", "tqdm", "filelock", "markdown")
    check_folder(options.output)
    if options.report:
        check_folder(options.report, "--report")
    options.device = device(options.device)
    preset = PRESETS[options.preset]
    runs = planned(preset, options.seeds, tuple(options.rules))
    with hold(options.output, str(options.output), lambda: False):
        fit(runs, options, load(preset))
    results = read(options.output, runs, options.epochs)
    done = sum(not result.left for result in results)
    print(f"\n{done} of {len(runs)} runs are done{'' if done == len(runs) else '; the same command goes on'}")
    write(results, options)


def load(preset: Preset) -> tuple[Part, Part]:
    """The images to train and to test with."""
    (images, labels), (test_images, test_labels) = flux.data.cifar10("train"), flux.data.cifar10("test")
    train, test = slice(preset.images.train), slice(preset.images.test)
    return (images[train], labels[train]), (test_images[test], test_labels[test])


def fit(runs: list[Run], options: argparse.Namespace, data: tuple[Part, Part]) -> None:
    """Train what is left of the runs, in the time there is: those first that are behind, so that all come as far."""
    end = time.perf_counter() + 60 * options.minutes if options.minutes else math.inf
    found = {result.run: result for result in read(options.output, runs, options.epochs)}
    done = [run for run in runs if run in found and not found[run].left]
    for run in done:  # that of the others looks at it itself
        path, (_, settings) = run.folder(options.output) / "run.json", described(run, options, data)
        epochs.check_settings(path, found[run].settings, settings)
    left = [run for run in runs if run not in done]
    print(f"{len(runs)} runs of {options.epochs} epochs, of which {len(done)} are done", flush=True)
    if options.minutes:
        left.sort(key=lambda run: len(found[run].history) if run in found else 0)
    for i, run in enumerate(left):
        now = time.perf_counter()
        if now >= end:
            print(f"{options.minutes} minutes are over", flush=True)
            return
        share = now + (end - now) / (len(left) - i)
        print(f"\n{run}", flush=True)
        train(run, options, data, lambda: time.perf_counter() >= share)  # noqa: B023


def write(results: list[Result], options: argparse.Namespace) -> None:
    """Draw the figures and write the report."""
    from .report import report

    if not any(result.history for result in results):
        raise Refused("no run has made an epoch yet, so that there is nothing to report")
    folder = options.report or options.output / "report"
    for conclusion in report(PRESETS[options.preset], results, folder, command(options)):
        print(f"{conclusion.text} {conclusion.in_words}")
    print(f"\nThe report: {folder / 'report.html'}, and the same as report.md")


def command(options: argparse.Namespace) -> str:
    """What makes the report again."""
    preset = PRESETS[options.preset]
    words = [f"python -m examples.cifar10_optimisers {options.preset}"]
    words += [f"--epochs {options.epochs}"] * (options.epochs != preset.epochs)
    words += [f"--seeds {' '.join(map(str, options.seeds))}"] * (options.seeds != preset.seeds)
    words += [f"--rules {shlex.join(options.rules)}"] if options.rules else []
    return " ".join([*words, *["--original"] * options.original])


if __name__ == "__main__":
    sys.exit(main())
