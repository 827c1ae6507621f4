"""A well-known tutorial's run, and why a picture that looks right proves nothing about the gradient behind it.

The tutorial lets gradient descent walk on Ackley's function from (-2, -2), with the rate 1e-5 and the difference
h = 1e-3, until x and y together move by less than h. It reports 139 epochs for plain descent and 127 for momentum 0.1,
and its picture shows a path to the minimum. But the gradient that its program calculates lacks two parentheses.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinyflux as flux
from examples.common import pictures

from .figures import draw_stage, looks
from .functions import LANDSCAPES, Point, ackley
from .paths import walk
from .tables import markdown, point

H = 1e-3
RATE = 1e-5
START = (-2.0, -2.0)
OPPOSITE = (2.0, 2.0)
LONGEST = 1000  # epochs, after which a run that hasn't stopped counts as one that runs away
SHIFTS = H * np.eye(2)  # by h in x, and by h in y

Function = Callable[[np.ndarray], np.ndarray]


def printed(f: Function, points: np.ndarray) -> np.ndarray:
    """The gradient as the tutorial's program has it: f(x+h) − f(x−h)/(2h)."""
    at = points[..., None, :]
    return f(at + SHIFTS) - f(at - SHIFTS) / (2 * H)


def central(f: Function, points: np.ndarray) -> np.ndarray:
    """The gradient that was meant: (f(x+h) − f(x−h))/(2h)."""
    at = points[..., None, :]
    return (f(at + SHIFTS) - f(at - SHIFTS)) / (2 * H)


def exact(f: Function, points: np.ndarray) -> np.ndarray:
    """The gradient by tinyflux; that of a sum has at each point the gradient at this point."""
    return flux.gradient(lambda p: np.sum(f(p)), points)


GRADIENTS = {"as printed": printed, "central difference": central, "flux.gradient": exact}


class Run(NamedTuple):
    """A run of the tutorial's loop.

    Attributes:
        gradient: a key of GRADIENTS.
        rule: Descent or Momentum.
        start: x and y.
        reported: the epochs that the tutorial reports, if it does.
    """

    gradient: str
    rule: Any
    start: Point = START
    reported: str = ""

    def points(self) -> np.ndarray:
        """The start, and the point after each epoch."""
        return walk(self.rule, self.start, partial(GRADIENTS[self.gradient], ackley), LONGEST, least=H)


DESCENT, SLOW, FAST = flux.Descent(RATE), flux.Momentum(RATE, 0.1), flux.Momentum(RATE, 0.9)
RUNS = (
    Run("as printed", DESCENT, reported="139"),
    Run("as printed", SLOW, reported="127"),
    Run("as printed", FAST),
    Run("as printed", DESCENT, OPPOSITE),
    Run("as printed", SLOW, OPPOSITE),
    *(Run("central difference", rule) for rule in (DESCENT, SLOW, FAST)),
    *(Run("flux.gradient", rule) for rule in (DESCENT, SLOW, FAST)),
    Run("flux.gradient", flux.Descent(0.01)),
)

CONCLUSION = """\
What follows. The printed expression is no derivative: f(x+h) and f(x-h) are nearly the same, so that it comes to about
f - f/(2h) = -499·f, which is negative wherever f is not 0. So every step leads to the upper right, however the ground
slopes, and is the shorter the lower the point lies. From (-2, -2) the minimum happens to be in that direction, and the
walk stops where f is small. From (2, 2) it walks away from the minimum for ever; momentum 0.9 rushes past it.

With a gradient the same settings stop after one step, as the rate 1e-5 is far too small: the first move, 2.7e-5, is
less than h. And with a rate that suits, plain descent doesn't come to (0, 0) from there: it ends in the nearest hollow.

A plausible picture is no proof of a gradient. A gradient check is, and it takes one line: flux.gradcheck(f, x).
"""


def check(gradient: Callable[..., np.ndarray], at: Point) -> str:
    """What `flux.gradcheck` has to say against a gradient of Ackley's function; nothing where that is right."""
    taught = flux.rule(lambda p: ackley(p), lambda g, _, p: g * gradient(ackley, p))
    try:
        flux.gradcheck(ackley if gradient is exact else taught, np.array(at), order=1)
    except flux.GradientError as error:
        return str(error)
    return ""


def report(runs: dict[Run, np.ndarray]) -> str:
    """The tables of all runs and of the checks, and what follows."""
    verdicts = {name: check(gradient, START) for name, gradient in GRADIENTS.items()}
    values = [point(gradient(ackley, np.array(START)), ",.3f") for gradient in GRADIENTS.values()]
    checked = [(name, value, "fails" if verdicts[name] else "passes") for name, value in zip(GRADIENTS, values)]
    return "\n\n".join(
        [
            "# Ackley's function with a tutorial's gradient, and with gradients",
            f"Rate {RATE:g} where nothing else is said, h = {H:g}, until |Δx| + |Δy| < h.",
            markdown(
                ("gradient", "rule", "start", "epochs", "reported", "end", "f there"), map(_row, runs, runs.values())
            ),
            markdown(("gradient", f"its value at {point(START)}", "flux.gradcheck there"), checked),
            *(f"The check of the gradient {name} says: {verdict}" for name, verdict in verdicts.items() if verdict),
            CONCLUSION,
        ]
    )


def epochs(points: np.ndarray) -> int | None:
    """After how many epochs a run stopped, as it hardly moved any more; None where it didn't."""
    return len(points) - 1 if np.abs(points[-1] - points[-2]).sum() < H else None


def _row(run: Run, points: np.ndarray) -> tuple[str, ...]:
    stopped = epochs(points)
    count = "runs away" if stopped is None else f"{stopped:,}"
    end = point(points[-1], ".5f"), f"{ackley(points[-1]):.3g}"
    return run.gradient, _name(run.rule), point(run.start), count, run.reported, *end


def _name(rule: Any) -> str:
    return f"Descent({rule.eta:g})" if isinstance(rule, flux.Descent) else f"Momentum({rule.eta:g}, {rule.rho:g})"


# The figure


def draw(path: Path, runs: dict[Run, np.ndarray]) -> None:
    """Draw the paths by the printed expression, and what its steps look like beside those by the gradient."""
    drawn, panels = pictures.figure(11, 11.5, nrows=2, ncols=2)
    drawn.suptitle("A plausible picture is no proof of a gradient: Ackley's function, rate 1e-5, h = 1e-3")
    for axes, start in zip(panels[0], (START, OPPOSITE)):
        shown = [run for run in runs if run.gradient == "as printed" and run.start == start]
        _draw_paths(axes, {run: runs[run] for run in shown})
    panels[0, 0].set_title("the gradient as printed, from (−2, −2):\nlooks like descent to the minimum")
    panels[0, 1].set_title("the gradient as printed, from (2, 2):\naway from the minimum, uphill")
    _draw_directions(panels[1, 0], printed)
    panels[1, 0].set_title("directions of the steps by the gradient as printed:\nthe same everywhere")
    _draw_directions(panels[1, 1], exact)
    panels[1, 1].set_title("directions of the steps by flux.gradient:\ndownhill, into the nearest hollow")
    drawn.savefig(path, dpi=100)


def _draw_paths(axes: Any, runs: dict[Run, np.ndarray]) -> None:
    draw_stage(axes, LANDSCAPES["ackley"], next(iter(runs)).start)
    for (run, points), look, width in zip(runs.items(), looks(len(runs)), (6, 3, 1.2)):  # one path upon the other
        stopped = epochs(points)
        what = "runs away" if stopped is None else f"{stopped} epochs, to {point(points[-1], '.5f')}"
        axes.plot(*points.T, **look, linewidth=width, markevery=0.1, label=f"{_name(run.rule)}: {what}", zorder=4)
    axes.legend(loc="lower right")


def _draw_directions(axes: Any, gradient: Callable[..., np.ndarray]) -> None:
    draw_stage(axes, LANDSCAPES["ackley"], START)
    grid = np.stack(np.meshgrid(*[np.linspace(-3.8, 3.8, 20)] * 2), axis=-1)
    steps = -gradient(ackley, grid)
    steps /= np.linalg.norm(steps, axis=-1, keepdims=True)
    axes.quiver(grid[..., 0], grid[..., 1], steps[..., 0], steps[..., 1], color=pictures.BLUE, pivot="mid", zorder=4)
