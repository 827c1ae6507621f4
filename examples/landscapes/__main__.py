"""The command line of the landscapes."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tinyflux as flux
from examples.common.command import Refused, count, exit_code, rate, require
from examples.common.files import all_or_none, check_folder
from examples.common.markdown import csv_text

from . import figures, interactive, tutorial, window
from .functions import LANDSCAPES, Landscape
from .paths import outcome, parse_rule, walk
from .tables import markdown, point

STEPS = 1000
FARTHEST = 100  # that a start may lie from 0, in x and in y
EPILOG = """
Each function gives three files: NAME.png shows it as scattered points, contours, contours in space and a surface,
NAME-paths.png the paths of the rules over its contours, NAME.gif the same as it happens. steps.md and steps.csv hold
the steps to convergence. With Ackley's function, tutorial.md and tutorial.png repeat the run of a well-known tutorial.
Its formula for the gradient lacks two parentheses; the files show that its path looks right by chance only.

--interactive writes one page, interactive.html, in the place of the pictures, and opens it in the browser: turn the
surface, choose function, optimisers, rates and start, and play the paths. --window shows one function and the paths of
--rules in a window of the desktop, by VisPy.

examples:
  python -m examples.landscapes --interactive
  python -m examples.landscapes --function rosenbrock --start -1.5 2 --steps 3000
  python -m examples.landscapes --function beale --rules "Momentum(0.005, 0.9)" "AdaBelief(0.1)" "Lion(0.01)"
  python -m examples.landscapes --rules "OptimiserChain(ClipNorm(1), Descent(0.1))" "Adam(schedules.Cosine(0.3, 500))"
"""


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    return exit_code("landscapes", "stopped by Ctrl-C; nothing was written", lambda: run(options))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.landscapes",
        description="Watch optimisers walk over the functions people test them on.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    text = f"{', '.join(LANDSCAPES)} (default: all of them)"
    add("--function", nargs="+", choices=LANDSCAPES, default=list(LANDSCAPES), metavar="NAME", help=text)
    text = 'such as "Descent(0.001)" or "Momentum(0.001, rho=0.9)", as in Python (default: six, with rates that suit '
    text += "the function)"
    add("--rules", nargs="+", type=rule, metavar="RULE", help=text)
    add("--start", nargs=2, type=coordinate, metavar=("X", "Y"), help="where the paths begin (default: by function)")
    add("--steps", type=count, metavar="N", default=STEPS, help="how many steps a rule makes (default: %(default)s)")
    text = "a rule has converged once it stays this near to a minimum (default: %(default)s)"
    add("--tolerance", type=rate, metavar="DISTANCE", default=0.02, help=text)
    add("--no-animation", action="store_true", help="draw no GIFs")
    text = "where to put the files (default: %(default)s)"
    add("--output", type=Path, metavar="FOLDER", default=Path("results", "landscapes"), help=text)
    text = "write a page to play with (21 optimisers, 26 starts) and open it: takes half a minute"
    add("--interactive", action="store_true", help=text)
    add("--no-browser", action="store_true", help="only write the page of --interactive")
    add("--window", action="store_true", help="show one --function in a window, by VisPy, and draw no pictures")
    options = parser.parse_args(arguments)
    if options.window and (options.interactive or len(options.function) != 1):
        parser.error("--window shows one function, and no page: add --function NAME, and leave out --interactive")
    if options.interactive:
        drawn = {"rules": options.rules, "start": options.start, "steps": options.steps != STEPS}
        drawn["no-animation"] = options.no_animation
        for name in (name for name, given in drawn.items() if given):
            parser.error(
                f"--{name} belongs to the pictures: with --interactive one chooses it on the page. Leave it out"
            )
    elif options.no_browser:
        parser.error("--no-browser belongs to --interactive, which opens a page. Leave it out, or add --interactive")
    return options


def rule(text: str) -> tuple[str, Any]:
    """The rule's text, which names it in tables and pictures, and the rule."""
    try:
        return text, parse_rule(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def coordinate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not abs(value) <= FARTHEST:
        raise argparse.ArgumentTypeError(f"expected a number from -{FARTHEST} to {FARTHEST}, got {text!r}")
    return value


def run(options: argparse.Namespace) -> None:
    """Draw and write everything, then move it into the folder: all of it, or nothing."""
    if options.interactive:
        return write_page(options)
    if options.window:
        return show_window(options)
    require("matplotlib", "tqdm")
    from tqdm import tqdm

    check_folder(options.output)
    rows = []
    heading = f"Steps until the distance to a minimum stays within {options.tolerance:g}; – where it doesn't.\n"
    print(heading)
    with all_or_none(options.output) as folder:
        for name in (bar := tqdm(options.function, disable=None)):
            bar.set_description(name)
            found = show(folder, name, options)
            bar.write(table(found))
            if name == "ackley":
                bar.write(repeat_tutorial(folder))
            rows += found
        (folder / "steps.csv").write_text(csv_text(rows), encoding="utf-8", newline="")
        (folder / "steps.md").write_text(f"{heading}\n{table(rows)}", encoding="utf-8")
    print(f"Pictures and tables: in {options.output}")


def write_page(options: argparse.Namespace) -> None:
    """Write the interactive page, and open it where there is a display."""
    require("plotly", "tqdm")
    from tqdm import tqdm

    check_folder(options.output)
    path = options.output / "interactive.html"
    with tqdm(total=len(options.function), desc="walking", unit=" functions", disable=None) as bar:
        interactive.write_page(path, options.function, options.tolerance, bar.update)
    print(f"The page: {path.resolve()} ({path.stat().st_size / 1e6:.1f} MB; it needs no network)")
    if not options.no_browser and not interactive.show(path):
        print("No browser could be opened here; open the file in one.")


def show_window(options: argparse.Namespace) -> None:
    """Show a function and the paths of the rules in a window, until it is closed."""
    try:
        import vispy.app

        vispy.app.use_app()
    except (ImportError, RuntimeError) as error:
        message = f"--window needs VisPy and a toolkit for windows ({error}): run pip install vispy PyQt6, or take "
        raise Refused(message + "--interactive, which shows the same in the browser") from error
    landscape = LANDSCAPES[options.function[0]]
    window.open_window(landscape, walk_rules(landscape, options))


def walk_rules(landscape: Landscape, options: argparse.Namespace) -> figures.Paths:
    """The paths of the rules that were asked for, or of those that suit the function."""
    rules = dict(options.rules or map(rule, landscape.rules))
    gradient = partial(flux.gradient, landscape.function)
    return {
        label: walk(rule, options.start or landscape.start, gradient, options.steps) for label, rule in rules.items()
    }


def show(folder: Path, name: str, options: argparse.Namespace) -> list[dict[str, str]]:
    """Draw a function and the paths of the rules over it; returns the rows of the table of steps."""
    landscape = LANDSCAPES[name]
    paths = walk_rules(landscape, options)
    outcomes = {label: outcome(points, landscape.minima, options.tolerance) for label, points in paths.items()}
    figures.draw_function(folder / f"{name}.png", landscape)
    figures.draw_paths(folder / f"{name}-paths.png", landscape, paths, outcomes, options.tolerance)
    if not options.no_animation:
        figures.animate(folder / f"{name}.gif", landscape, paths)
    return [
        {
            "function": name,
            "start": point(points[0]),
            "rule": label,
            "steps": outcomes[label],
            "end": "" if outcomes[label] == "diverged" else point(points[-1], "z.3f"),
            "f at the end": "" if outcomes[label] == "diverged" else f"{landscape.function(points[-1]):.3g}",
        }
        for label, points in paths.items()
    ]


def table(rows: list[dict[str, str]]) -> str:
    """The rows in Markdown."""
    return markdown(list(rows[0]), [list(row.values()) for row in rows]) + "\n"


def repeat_tutorial(folder: Path) -> str:
    """Draw and write a tutorial's run with its gradient and with gradients; returns the text."""
    runs = {run: run.points() for run in tutorial.RUNS}
    tutorial.draw(folder / "tutorial.png", runs)
    text = tutorial.report(runs)
    (folder / "tutorial.md").write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    sys.exit(main())
