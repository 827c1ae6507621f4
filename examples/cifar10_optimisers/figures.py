"""The figures: curves over epochs and over time, a line an optimiser, and the grid of Padam's powers and rates.

Each has one panel, and is narrow enough for its letters to be read on a phone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from examples.common import pictures
from examples.common.pictures import GREY, Figure

from .claims import grid_cells
from .table import MEASURES, Comparison, Table

LOOKS = {  # colour-blind readers tell these apart; marks and names beside the lines help whoever sees no colours
    "SGD": ("#000000", "o", "-"),
    "SGDM": ("#000000", "o", "-"),
    "Adam": ("#0072B2", "^", "-"),
    "AdamW": ("#56B4E9", "v", "--"),
    "AdaMax": ("#D55E00", "D", "-"),
    "Padam": ("#D55E00", "D", "-"),
    "AdaDelta": ("#E69F00", "P", "-"),
    "AdaGrad": ("#009E73", "s", "--"),
    "AMSGrad": ("#009E73", "s", "--"),
    "ASGD": ("#CC79A7", "X", "-"),
}
OTHER = (GREY, "*", "-.")
CURVES = ("train_accuracy", "train_loss", "test_accuracy", "test_loss")
HIGHEST = 3.0  # a loss: guessing comes to 2.30
SIZE = (5.4, 4.0)  # inches
DOTS = 160  # an inch of a PNG
GAP = 13.0  # points from one name beside the lines to the next
MARKED = 6  # points of a line that bear its mark
UNITS = {"hours": 3600.0, "minutes": 60.0, "seconds": 1.0}


def draw(table: Table, folder: Path) -> dict[str, Figure]:
    """Draw every figure that there is data for, as <name>.png and <name>.svg, each written in one move.

    Returns: the figures by name: MODEL-MEASURE, MODEL-time where times tell something, and grid.
    """
    drawn = pictures.draw(folder, lambda: pictures_of(table), "cifar10_optimisers", dpi=DOTS)
    return {figure.name: figure for figure in drawn}


def pictures_of(table: Table) -> list[tuple[Figure, Any]]:
    """Each figure, and its picture as matplotlib has it."""
    contests = [c for c in table.contests if c.epoch]
    some = [drawn for c in contests for drawn in [_over_epochs(c, measure) for measure in CURVES]]
    some += [_over_time(c) for c in contests if c.timed]
    return [*some, _grid(table.grid)] if table.grid is not None and table.grid.epoch else some


# Curves


class _Line(NamedTuple):
    """A line of a figure: means over the seeds, and each of them."""

    name: str
    x: np.ndarray
    runs: np.ndarray  # (seeds, epochs)

    @property
    def mean(self) -> np.ndarray:
        return self.runs.mean(axis=0)


def _over_epochs(c: Comparison, measure: str) -> tuple[Figure, Any]:
    picture, axes = pictures.figure(*SIZE)
    lines = [_Line(name, np.arange(1, runs.shape[1] + 1), runs) for name, runs in _curves(c, measure).items()]
    longest = max((len(line.x) for line in lines), default=1)
    axes.set(xlabel="epoch", xlim=(1 - 0.03 * longest, 1.02 * longest))
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6, min_n_ticks=1)
    _draw(axes, c, measure, lines)
    caption = _told(c)
    if longest > c.epoch:
        axes.axvline(c.epoch, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
        caption += f" Dotted: epoch {c.epoch}, to which all have come."
    higher = sum(int((line.mean > HIGHEST).sum()) for line in lines)
    if measure.endswith("loss") and higher:
        caption += f" Losses above {HIGHEST:g} aren't shown ({higher} of {sum(len(line.x) for line in lines)})."
    title = f"{_capital(MEASURES[measure])}, {c.title}"
    return Figure(f"{c.model}-{measure.replace('_', '-')}", title, caption.strip()), picture


def _over_time(c: Comparison) -> tuple[Figure, Any]:
    picture, axes = pictures.figure(*SIZE)
    runs = _curves(c, "test_accuracy")
    seconds = {name: c.curve(name, "seconds").mean(axis=0).cumsum() for name in runs}
    longest = max((x[-1] for x in seconds.values()), default=1.0)
    unit = next((unit for unit, length in UNITS.items() if longest > 2 * length), "seconds")
    axes.set(xlabel=f"{unit} of training, without tests", xlim=(0, 1.02 * longest / UNITS[unit]))
    axes.locator_params(axis="x", nbins=6)
    _draw(axes, c, "test_accuracy", [_Line(name, seconds[name] / UNITS[unit], runs[name]) for name in runs])
    axes.set_title("Test accuracy in %, against time")
    return Figure(f"{c.model}-time", f"Test accuracy against time, {c.title}", _told(c)), picture


def _curves(c: Comparison, measure: str) -> dict[str, np.ndarray]:
    """The runs by optimiser, without those that have no number: they diverged in their first epoch."""
    curves = {name: c.curve(name, measure) for name in c.runs}
    return {name: runs for name, runs in curves.items() if not np.isnan(runs.mean(axis=0)).all()}


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _told(c: Comparison) -> str:
    """What is to be said of the lines."""
    words = []
    if len(c.seeds) > 1:
        words.append(f"Lines: the mean over {len(c.seeds)} seeds; bands: from the lowest to the highest of them.")
    if any(c.diverged(name) for name in c.runs):
        words.append("✗: diverged, a loss was not finite.")
    none = [name for name in c.runs if not c.curve(name, "seconds").size]
    if none:
        words.append(f"Without a line, since it diverged in the first epoch: {', '.join(none)}.")
    return " ".join(words)


def _draw(axes: Any, c: Comparison, measure: str, lines: Sequence[_Line]) -> None:
    """Draw the lines, each with its name beside the end."""
    for line in lines:
        colour, mark, dashes = LOOKS.get(line.name, OTHER)
        marked = list(range(len(line.x) - 1, -1, -max(1, len(line.x) // MARKED)))
        look = {"color": colour, "marker": mark, "markevery": marked, "markersize": 6.5, "markeredgecolor": "white"}
        look |= {"linewidth": 1.6, "linestyle": dashes, "markeredgewidth": 0.5}
        axes.plot(line.x, line.mean, **look)
        if len(line.runs) > 1:
            band = {"color": colour, "alpha": 0.15, "linewidth": 0}
            axes.fill_between(line.x, line.runs.min(axis=0), line.runs.max(axis=0), **band)
    axes.set_title(_capital(MEASURES[measure]) + (" in %" if measure.endswith("accuracy") else ""))
    if not measure.endswith("accuracy"):
        highest = max((np.nanmax(line.mean) for line in lines), default=1.0)
        axes.set_ylim(0, min(1.05 * highest, HIGHEST))
    _name(axes, c, lines)


def _name(axes: Any, c: Comparison, lines: Sequence[_Line]) -> None:
    """Write the names to the right of the axes, each as high as its line ends, or as near to it as there is room."""
    picture = axes.get_figure()
    picture.draw_without_rendering()  # now the height is known
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    height = axes.get_window_extent().height * 72 / picture.dpi  # in points
    ends = {line.name: _end(line, low, high) for line in lines}
    wanted = [(y - low) / (high - low) * height for _, y in ends.values()]
    for (name, end), place in zip(ends.items(), spread_out(wanted, GAP, height)):
        colour = LOOKS.get(name, OTHER)[0]
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "alpha": 0.6, "shrinkA": 0, "shrinkB": 0}
        axes.annotate(
            _label(c, name),
            end,
            xytext=(1.04, place / height),
            textcoords="axes fraction",
            color=_ink(colour),
            va="center",
            arrowprops={**leader, "relpos": (0, 0.5)},
            annotation_clip=False,
        )


def _end(line: _Line, low: float, high: float) -> tuple[float, float]:
    """The last point of a line, brought between two heights; an epoch in which a test came to NaN has none."""
    last = np.flatnonzero(~np.isnan(line.mean))[-1]
    return float(line.x[last]), float(np.clip(line.mean[last], low, high))


def _ink(colour: str) -> tuple[float, ...]:
    """A darker shade of a colour, to write with."""
    from matplotlib.colors import to_rgb

    return tuple(0.65 * part for part in to_rgb(colour))


def _label(c: Comparison, name: str) -> str:
    lost = len(c.diverged(name))
    which = f" {lost} of {len(c.seeds)}" if len(c.seeds) > 1 else ""
    return f"{name} ✗{which}" if lost else name


def spread_out(wanted: Sequence[float], gap: float, height: float) -> list[float]:
    """Heights at least `gap` apart, and from 0 to `height` if there is room: the squares of the ways to them are least.

    >>> spread_out([50, 50, 10], gap=10, height=100)
    [45.0, 55.0, 10.0]
    """
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    blocks: list[list[float]] = []  # each of names that touch: their places, less the gaps below them
    for rank, i in enumerate(order):
        blocks.append([wanted[i] - rank * gap])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    flat = [float(np.mean(block)) for block in blocks for _ in block]
    top = max(height - gap * (len(wanted) - 1), 0)
    places = [0.0] * len(wanted)
    for rank, i in enumerate(order):
        places[i] = min(max(flat[rank], 0.0), top) + rank * gap
    return places


# The grid


def _grid(c: Comparison) -> tuple[Figure, Any]:
    """A square for each power and rate, the best of them framed."""
    cells = grid_cells(c)
    powers, rates = sorted({p for p, _ in cells}), sorted({rate for _, rate in cells})
    spreads = {key: c.mean(name, "test_accuracy") for key, name in cells.items() if name in c.runs}
    means = np.array([[spreads[p, rate].mean if (p, rate) in spreads else np.nan for rate in rates] for p in powers])
    picture, axes = pictures.figure(*SIZE)
    image = axes.imshow(np.ma.masked_invalid(means), cmap="viridis", aspect="auto")
    for (row, column), mean in np.ndenumerate(means):
        over = spreads.get((powers[row], rates[column]))
        told = "not begun" if over is None else c.text(cells[powers[row], rates[column]], "test_accuracy")
        text = told.replace(" ± ", "\n± ").replace(" (", "\n(")
        dark = not np.isnan(mean) and image.norm(mean) < 0.6
        axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    if not np.isnan(means).all():
        row, column = np.unravel_index(np.nanargmax(means), means.shape)
        frame = {"fill": False, "edgecolor": "#D55E00", "linewidth": 4, "joinstyle": "miter"}
        axes.add_patch(_square(column, row, **frame))
    axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    axes.set_yticks(range(len(powers)), [str(p) for p in powers])
    axes.set(xlabel="learning rate η", ylabel="power p", title=f"Test accuracy in % after {c.epoch} epochs")
    axes.grid(visible=False)
    caption = f"{c.title}. The best pair is framed." + (
        f" Mean and standard deviation over {len(c.seeds)} seeds." if len(c.seeds) > 1 else ""
    )
    return Figure("grid", "Padam: power and learning rate", caption), picture


def _square(column: int, row: int, **look: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, **look)
