"""The figures: accuracies, learning curves, what the rate does, Padam's powers, and each of Adam's numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from examples.common import pictures
from examples.common.pictures import GREY, Figure
from examples.common.spread import spread

from .contest import DEFAULTS, POWERS
from .table import Result, Table, last

LOOKS = {  # of the families of rules: colour-blind readers tell them apart, and so does who has no colours
    "momentum": {"color": pictures.BLUE, "marker": "o"},
    "adaptive": {"color": pictures.ORANGE, "marker": "s"},
    "Adam": {"color": "#009E73", "marker": "^"},
}
WIDTH, DOTS = 6.0, 180  # inches, so that a phone, too, shows the text large enough, and dots per inch
COLUMNS = 3  # of small panels
LOWEST = 90.0  # percent: what lies below is shown at the lower edge
HIGHEST = 4.0  # loss on training images: what lies above isn't shown


def draw(table: Table, folder: Path) -> list[Figure]:
    """Draw every figure that there is data for, as <name>.png and <name>.svg, each written in one move.

    Returns: the figures that were drawn.
    """
    return pictures.draw(folder, lambda: pictures_of(table), "optimisers_mnist", dpi=DOTS)


def pictures_of(table: Table) -> list[tuple[Figure, Any]]:
    """Each figure, and its picture as matplotlib has it."""
    some: list[tuple[Figure, Any]] = []
    if table.contest:
        some += [_accuracies(table), _curves(table, "loss"), _curves(table, "accuracy"), _values(table)]
    if table.padam:
        some.append(_padam(table))
    if table.adam:
        some.append(_adam(table))
    return some


# All rules


def _accuracies(table: Table) -> tuple[Figure, Any]:
    """A row for each rule: every seed, the mean, and the standard deviation."""
    picture, axes = pictures.figure(WIDTH, 1.2 + 0.27 * len(table.contest))
    for row, result in enumerate(table.contest):
        ends, look = result.ends("test accuracy"), LOOKS[result.entry.family]
        axes.plot(ends, np.full(len(ends), row), look["marker"], color=look["color"], alpha=0.3, markersize=4)
        over = spread(ends)
        bar = {"xerr": over.deviation} if not np.isnan(over.deviation) else {}
        axes.errorbar(over.mean, row, **bar, **look, markersize=7, markeredgecolor="white", capsize=3, zorder=3)
        if over.diverged:
            axes.annotate(f"✗ {over.diverged} of {len(ends)} diverged", (0.01, row), xycoords=("axes fraction", "data"))
    axes.set_yticks(range(len(table.contest)), [_label(result) for result in table.contest])
    axes.set(xlabel="accuracy on the test images in %", ylim=(len(table.contest) - 0.4, -0.6))
    handles = [axes.plot([], [], **look, linestyle="", label=family)[0] for family, look in LOOKS.items()]
    picture.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    seeds = len(table.contest[0].reporting)
    caption = (
        f"Each rule with the value that was chosen on validation images. Small marks: {seeds} seeds that had no part "
    )
    caption += "in choosing it. Large mark and bar: their mean and standard deviation. Sorted by the mean."
    return Figure("accuracies", "Accuracy on the test images", caption), picture


def _label(result: Result) -> str:
    return f"{result.name}, {result.entry.varied} = {result.best:g}"


class _Panels(NamedTuple):
    picture: Any
    axes: list[Any]


def _panels(count: int, **subplots: Any) -> _Panels:
    """Small panels, as many as rules, in rows; those of the last row that are not needed are taken away."""
    rows = -(-count // COLUMNS)
    picture, grid = pictures.figure(WIDTH, 1.0 + 1.6 * rows, nrows=rows, ncols=COLUMNS, squeeze=False, **subplots)
    for axes in grid.flat[count:]:
        axes.remove()
    return _Panels(picture, list(grid.flat[:count]))


def _curves(table: Table, measure: str) -> tuple[Figure, Any]:
    """A panel for each rule: training and test images, over the test curves of all others."""
    picture, panels = _panels(len(table.contest), sharex=True, sharey=True)
    others = _joined([_mean_curve(result.reported, f"test {measure}") for result in table.contest])
    for axes, result in zip(panels, table.contest):
        axes.plot(*others, color="#BBBBBB", linewidth=0.6, zorder=1)
        colour = LOOKS[result.entry.family]["color"]
        for part, dashes in {"train": "-", "test": "--"}.items():
            _draw_curve(axes, result.reported, f"{part} {measure}", color=colour, linestyle=dashes, label=part)
        axes.set_title(_label(result), fontsize=8)
        lost = sum(run["diverged"] is not None for run in result.reported)
        if lost:
            axes.text(0.5, 0.5, f"✗ {lost} of {len(result.reported)}\ndiverged", transform=axes.transAxes, ha="center")
    _scale(panels[0], measure)
    handles = [panels[0].plot([], [], color=GREY, linestyle=style, label=label)[0] for label, style in _KEY.items()]
    handles.append(panels[0].plot([], [], color="#BBBBBB", label="test images, each of the rules")[0])
    picture.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    picture.supxlabel("iteration (one update of the parameters)", fontsize=10)
    picture.supylabel("crossentropy" if measure == "loss" else "accuracy in %", fontsize=10)
    caption = (
        "Lines: the mean over the seeds; bands: one standard deviation. The training images are the first 10,000 of "
    )
    caption += "those that are trained with. Sorted by accuracy on the test images."
    caption += (
        " The scale of the loss is logarithmic." if measure == "loss" else f" What is below {LOWEST:g} % isn't shown."
    )
    return Figure(f"learning-{measure}", f"Learning curves, {measure}", caption), picture


_KEY = {"training images": "-", "test images": "--"}


def _scale(axes: Any, measure: str) -> None:
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.locator_params(axis="x", nbins=4)
    if measure == "accuracy":
        axes.set_ylim(LOWEST, 100)
    else:
        axes.set(yscale="log", yticks=[0.05, 0.1, 0.2, 0.5, 1, 2])
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
        axes.minorticks_off()


def _stacked(runs: list[dict[str, Any]], name: str) -> tuple[list[int], np.ndarray]:
    """The curves of the runs that came to their end: iterations, and values of shape (runs, iterations)."""
    ended = [run["curve"] for run in runs if run["diverged"] is None]
    if not ended:
        return [], np.empty((0, 0))
    return ended[0]["iteration"], np.array([curve[name] for curve in ended]) * (100 if "accuracy" in name else 1)


def _mean_curve(runs: list[dict[str, Any]], name: str) -> tuple[list[int], Any]:
    iterations, values = _stacked(runs, name)
    return iterations, values.mean(axis=0) if len(values) else []


def _joined(curves: list[tuple[list[int], Any]]) -> np.ndarray:
    """Curves as a single one with gaps, which takes a file less room."""
    return np.concatenate([[*zip(*curve), (np.nan, np.nan)] for curve in curves]).T


def _draw_curve(axes: Any, runs: list[dict[str, Any]], name: str, **look: Any) -> None:
    iterations, values = _stacked(runs, name)
    if not len(values):
        return
    mean = values.mean(axis=0)
    axes.plot(iterations, mean, linewidth=1.4, zorder=3, **look)
    if len(values) > 1:
        deviation = values.std(axis=0, ddof=1)
        lower = np.maximum(mean - deviation, values.min(axis=0))  # which a logarithmic axis can show
        axes.fill_between(iterations, lower, mean + deviation, color=look["color"], alpha=0.2, linewidth=0)


# What values do


def _values(table: Table) -> tuple[Figure, Any]:
    """A panel for each rule: the accuracy against the value that was varied."""
    picture, panels = _panels(len(table.contest), sharey=True)
    for axes, result in zip(panels, table.contest):
        look = LOOKS[result.entry.family]
        _draw_validation(axes, result, **look)
        axes.axvline(result.best, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
        axes.set_title(result.name, fontsize=9)
        axes.set_xlabel(result.entry.varied, labelpad=1)
        axes.set(xscale="log", xlim=(min(result.entry.values) / 2, max(result.entry.values) * 2))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes.minorticks_off()
    panels[0].set(ylim=(LOWEST - 0.5, 98), yticks=range(int(LOWEST), 99, 2))
    picture.supylabel("accuracy on the validation images in %", fontsize=10)
    caption = (
        f"Small marks: the {len(table.contest[0].choosing)} seeds by which the value was chosen; line: their mean; "
    )
    caption += f"dotted: the value that was chosen. {_LOW}"
    return Figure("values", "What the learning rate does", caption), picture


_LOW = f"▼ at the lower edge: below {LOWEST:g} %; ✗ there: some seed diverged."


def _draw_validation(axes: Any, result: Result, place: Callable[[float], float] = float, **look: Any) -> None:
    """Draw the accuracy on the validation images against the values, each at its place on the axis."""
    values = sorted(result.entry.values)
    means = [result.validation(value).mean for value in values]
    axes.plot([place(value) for value in values], means, color=look["color"], linewidth=1.2)
    for value in values:
        ends = [last(run, "validation accuracy") for run in result.tried(value)]
        seen = [end for end in ends if end >= LOWEST]
        style = {"color": look["color"], "alpha": 0.6, "markersize": 4.5}
        axes.plot([place(value)] * len(seen), seen, look["marker"], **style)
        sign = "x" if np.isnan(ends).any() else "v" if len(seen) < len(ends) else None
        if sign:
            axes.plot(place(value), LOWEST, sign, color=look["color"], markersize=7, clip_on=False)


def _padam(table: Table) -> tuple[Figure, Any]:
    """A square for each power and rate."""
    picture, panels = pictures.figure(WIDTH, 3.0, ncols=2)
    rates = sorted(table.padam[0].entry.values)
    titles = {"validation accuracy": "validation accuracy in %", "train loss": "training loss"}
    for axes, (name, title) in zip(panels, titles.items()):
        spreads = [[spread(last(run, name) for run in r.tried(rate)) for rate in rates] for r in table.padam]
        means = np.array([[over.mean for over in row] for row in spreads])
        colours = "viridis" if "accuracy" in name else "viridis_r"
        image = axes.imshow(np.ma.masked_invalid(means), cmap=colours, aspect="auto")
        for (row, column), mean in np.ndenumerate(means):
            dark = image.norm(mean) < 0.6 if colours == "viridis" else image.norm(mean) > 0.4
            text = spreads[row][column].text(2 if "accuracy" in name else 3).replace(" ± ", "\n± ")
            axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
        axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        axes.set_yticks(range(len(table.padam)), [_power(result) for result in table.padam])
        axes.set(title=title, xlabel="learning rate η", ylabel="power p")
        axes.grid(visible=False)
    caption = (
        f"After {table.iterations:,} iterations, mean and standard deviation over {len(table.padam[0].choosing)} seeds."
    )
    return Figure("padam", "Padam: power and learning rate", caption), picture


def _power(result: Result) -> str:
    return POWERS[result.entry.rule(0.1, 1).p]


def _adam(table: Table) -> tuple[Figure, Any]:
    """A row for each of Adam's numbers: the training loss of each value, and the accuracy against the value."""
    from matplotlib import colormaps

    picture, rows = pictures.figure(WIDTH, 0.6 + 2.4 * len(table.adam), nrows=len(table.adam), ncols=2, squeeze=False)
    for (left, right), result in zip(rows, table.adam):
        varied, values = result.entry.varied, sorted(result.entry.values)
        default = DEFAULTS[varied]
        for value, shade in zip(values, np.linspace(0, 0.88, len(values))):
            iterations, losses = _mean_curve(result.tried(value), "train loss")
            width = 2.6 if value == default else 1.3
            label = f"{value:g}" + (" (default)" if value == default else "")
            left.plot(iterations, losses, color=colormaps["viridis"](shade), linewidth=width, label=label)
        left.set(yscale="log", ylabel="loss on training images", title=f"{varied} varied")
        left.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
        left.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        left.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, title=varied, frameon=False)
        _draw_validation(right, result, place=values.index, color=pictures.BLUE, marker="o")
        right.axvline(values.index(default), color=GREY, linewidth=0.8, linestyle=":", zorder=1)
        right.set_xticks(range(len(values)), [f"{value:g}" for value in values], fontsize=8, rotation=90)
        right.set(xlabel=varied, ylabel="validation accuracy in %", ylim=(LOWEST - 0.5, 98))
    ends = [line.get_ydata()[-1] for left, _ in rows for line in left.get_lines() if len(line.get_ydata())]
    for left, _ in rows:
        left.set_ylim(0.8 * min(ends, default=1.0), HIGHEST)
    rows[-1][0].set_xlabel("iteration")
    caption = (
        f"The other numbers are Adam's defaults. Mean over {len(table.adam[0].choosing)} seeds, small marks for each; "
    )
    caption += f"dotted: the default. Losses above {HIGHEST:g} aren't shown. {_LOW}"
    return Figure("adam", "What each of Adam's numbers does", caption), picture
