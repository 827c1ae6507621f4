"""The figures of the articles: learning curves, accuracy against training time, and the ranking by effort."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from examples.common import models, pictures
from examples.common.pictures import GREY, Figure

from .curve import WINDOW, Curve
from .grid import MODELS, OPTIMISERS, PRESETS, VARIANTS
from .series import Series, farthest, series, shown, single, width
from .table import KINDS, Cell, Kind, Table

# Greens, blues and golds, from dark to light: the models differ in grey, too, and for colour-blind readers.
COLOURS = {
    "4LS": {"batch": "#00553B", "stochastic": "#003D28", "minibatch": "#00492F"},
    "3LS": {"batch": "#2A6ECB", "stochastic": "#1757B8", "minibatch": "#2266C8"},
    "2LR": {"batch": "#BC8A00", "stochastic": "#A87B00", "minibatch": "#B28200"},
}
MARKERS = {"batch": "s", "stochastic": "o", "minibatch": "^"}
DASHES = {"batch": ":", "stochastic": "--", "minibatch": "-"}
TOP = 90.0  # percent of accuracy: what stays below is no top performer, and its effort misleads
AVERAGED = 128_000  # iterations whose moving average the articles show
ITERATION = "iteration (one update of the parameters)"
WIDTH, DOTS = 6.0, 225  # inches, so that a phone, too, shows the text large enough, and dots per inch


def draw(table: Table, folder: Path) -> list[Figure]:
    """Draw every figure that there is data for, as <name>.png and <name>.svg.

    Arguments:
        table: what the runs have come to.
        folder: where the pictures go; it is made, and each picture is written in one move.

    Returns: the figures that were drawn, in the order of the articles.
    """
    return pictures.draw(folder, lambda: _drawn(table), "flux_mnist", dpi=DOTS)


def _drawn(table: Table) -> list[tuple[Figure, Any]]:
    """Each figure, and its picture as matplotlib has it."""
    some = [
        *(_learning(table, variant) for variant in VARIANTS),
        _average(table, ("2LR", "stochastic", "ADAM")),
        _accuracies(table, "accuracy-time", "Accuracy against training time", -np.inf),
        _accuracies(table, "top-performers", "The top performers", TOP),
        _effort(table),
    ]
    return [drawn for drawn in some if drawn is not None]


def _say(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)


def _over_seeds(table: Table, kinds: list[Kind], mean: str, spread: str) -> str:
    """Sentences on how several seeds are shown; none where every kind has one seed."""
    most = max(len(table.seeds(kind)) for kind in kinds)
    return f" {mean} the mean over the seeds, up to {most:,}; {spread}." if most > 1 else ""


# Learning curves


def _learning(table: Table, variant: str) -> tuple[Figure, Any] | None:
    picture, panels = pictures.figure(WIDTH, 7, nrows=len(MODELS), ncols=len(OPTIMISERS))
    averaged = []
    for row, model in zip(panels, MODELS):
        row[0].set_ylabel(f"loss ({models.LOSSES[model].__name__})")
        averaged += [_learning_panel(axes, table, (model, variant, opt)) for axes, opt in zip(row, OPTIMISERS)]
    picture.supxlabel(ITERATION, fontsize=10)
    picture.align_ylabels()
    if not any(averaged):
        return None
    caption = _learning_caption(table, variant, sorted(set(averaged) - {0}))
    return Figure(f"learning-{variant}", f"Learning curves, {variant}", caption), picture


def _learning_caption(table: Table, variant: str, averaged: list[int]) -> str:
    text = "Training loss against iteration, each panel with scales of its own."
    if variant == "batch":
        text += " The loss is that over all training images."
    else:
        more = f" to {averaged[-1]:,}, more in longer runs" if len(averaged) > 1 else ""
        text += f" Line: the mean of each {averaged[0]:,} iterations{more}. Points: a few of the losses of single "
        text += "iterations, of one seed. Some points, and the first of the line, may lie above the panel."
    if variant == "minibatch":
        text += f" A mini-batch has {table.batchsize:,} images. Descent is shown from iteration 4,001 on."
    ends = sorted({shown(*kind)[1] for kind in KINDS if kind[1] == variant})
    text += f" A curve ends where the articles' does, at iteration {' or '.join(f'{end:,}' for end in ends)} "
    text += f"of {PRESETS['article'].iterations[variant]:,}; that of a shorter run ends with it."
    kinds = [kind for kind in KINDS if kind[1] == variant]
    return text + _over_seeds(table, kinds, "The line is", "the band goes from the lowest to the highest of them")


def _learning_panel(axes: Any, table: Table, kind: Kind) -> int:
    """Draw the losses of a kind; returns how many iterations a point of the line is the mean of, 0 without a line."""
    first, last = shown(*kind)
    axes.set_title(", ".join(kind))
    curves = _curves(table, kind)
    longest = farthest(curves)
    end = min(int(longest.count), last)
    averaged = 1 if kind[1] == "batch" else width(end - first + 1)
    losses = series(curves, first, last, averaged)
    if losses is None:
        _say(axes, f"not run beyond iteration {longest.count:,}" if curves else "not run")
        axes.set(xticks=[], yticks=[])
        return 0
    if averaged > 1:
        look = {"color": _colour(kind), "alpha": 0.35, "markersize": 3.5, "markeredgewidth": 0}
        axes.plot(*single(longest, first, last), ".", **look, rasterized=True)
    _draw_losses(axes, kind, losses, (first - 1, end))
    axes.set_ylim(0, 1.15 * np.percentile(losses.highest, 100 if averaged == 1 else 98))
    return averaged


def _draw_losses(axes: Any, kind: Kind, losses: Series, limits: tuple[int, int]) -> None:
    if (losses.lowest < losses.highest).any():
        band = {"color": _colour(kind), "alpha": 0.25, "linewidth": 0, "rasterized": True}
        axes.fill_between(losses.iterations, losses.lowest, losses.highest, **band)
    axes.plot(losses.iterations, losses.mean, color=_colour(kind), linewidth=1.6)
    axes.set_xlim(limits)
    axes.locator_params(axis="x", nbins=3)
    ticks = [tick for tick in axes.get_xticks() if limits[0] <= tick <= limits[1]]
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    if limits[1] - ticks[-1] < 0.1 * (limits[1] - limits[0]):  # centred, it would overhang
        axes.get_xticklabels()[-1].set_horizontalalignment("right")


def _average(table: Table, kind: Kind) -> tuple[Figure, Any] | None:
    curves = _curves(table, kind)
    longest = farthest(curves)
    end = min(int(longest.count), AVERAGED)
    losses = series(curves, 1, AVERAGED, averaged := 4 * width(end))
    if losses is None:
        return None
    picture, axes = pictures.figure(WIDTH, 3.6)
    axes.plot(*longest.means(AVERAGED), color=_colour(kind), alpha=0.35, linewidth=0.8)
    _draw_losses(axes, kind, losses, (0, end))
    axes.set_ylim(0, 1.1 * np.percentile(longest.means(AVERAGED)[1], 99.5))
    axes.set(xlabel=ITERATION, ylabel=f"mean training loss ({models.LOSSES[kind[0]].__name__})")
    caption = f"Thin line: the moving average of the training loss over {WINDOW:,} iterations, at every {WINDOW}th, "
    caption += f"of one seed. Thick line: the mean of each {averaged:,}. Up to iteration {AVERAGED:,}, or the end."
    caption += _over_seeds(table, [kind], "The thick line is", "the band goes from the lowest to the highest of them")
    title = f"Moving average of the loss over {WINDOW} iterations, {', '.join(kind)}"
    return Figure(f"average-{'-'.join(kind)}", title, caption), picture


def _curves(table: Table, kind: Kind) -> list[Curve]:
    return [curve for seed in table.seeds(kind) if (curve := table.curve(kind, seed)) is not None]


def _colour(kind: Kind) -> str:
    return COLOURS[kind[0]][kind[1]]


# Accuracy and effort


def _accuracies(table: Table, name: str, title: str, above: float) -> tuple[Figure, Any] | None:
    picture, panels = pictures.figure(WIDTH, 4.8, ncols=len(OPTIMISERS), sharex=True, sharey=True)
    drawn = [cell for axes, opt in zip(panels, OPTIMISERS) for cell in _accuracy_panel(axes, table, opt, above)]
    if not drawn:
        return None
    low, best = max(above, 0), np.nanmax([(cell.accuracy, cell.accuracy + cell.spread) for cell in drawn])
    panels[0].set(ylabel="test accuracy in %", ylim=(low, best + 0.04 * (best - low)))
    for axes in panels:
        axes.set_xlabel("training time in seconds")
        _log_seconds(axes, [cell.time for cell in drawn])
    lines = {container.get_label(): container[0] for axes in panels for container in axes.containers}
    labels = [label for label in map(", ".join, itertools.product(MODELS, VARIANTS)) if label in lines]
    below = {"loc": "outside lower center", "ncols": len(MODELS), "handlelength": 3, "frameon": False}
    picture.legend([lines[label] for label in labels], labels, **below)
    which = f"above {above:g} %" if above > 0 else "at every checkpoint"
    caption = f"Accuracy on the test images {which}, against the time of training up to it, without tests. A line "
    caption += "joins the checkpoints of a model and variant, each after about twice the iterations of the one before."
    caption += " It is interrupted where they lie lower." if above > 0 else ""
    caption += _over_seeds(table, list(table.cells), "A point is", "its bar is one standard deviation up and down")
    return Figure(name, title, caption), picture


def _accuracy_panel(axes: Any, table: Table, optimiser: str, above: float) -> list[Cell]:
    """Draw the checkpoints of an optimiser whose accuracy lies above a number of percent, and return them."""
    axes.set_title(optimiser)
    drawn = []
    kinds = [kind for kind in table.cells if kind[2] == optimiser]
    for kind in kinds:
        cells = list(table.cells[kind].values())
        heights = [cell.accuracy if cell.accuracy > above else np.nan for cell in cells]
        if not np.isnan(heights).all():
            look = {"color": _colour(kind), "marker": MARKERS[kind[1]], "linestyle": DASHES[kind[1]]}
            times, spreads = [cell.time for cell in cells], [cell.spread for cell in cells]
            axes.errorbar(times, heights, spreads, **look, markersize=5.5, elinewidth=1, label=", ".join(kind[:2]))
            drawn += [cell for cell in cells if cell.accuracy > above]
    if not drawn:
        _say(axes, f"none above {above:g} %" if kinds else "not run")
    return drawn


def _log_seconds(axes: Any, seconds: list[float]) -> None:
    axes.set(xscale="log", xlim=(min(seconds) / 1.5, max(seconds) * 1.5))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,g}")
    few = max(seconds) < 50 * min(seconds)  # decades, that they alone would say enough
    axes.xaxis.set_minor_formatter(lambda x, _: f"{x:,g}" if few and f"{x:e}"[0] in "25" else "")


def _effort(table: Table) -> tuple[Figure, Any] | None:
    best = {kind: found for kind in KINDS if (found := table.best(kind)) is not None}
    ranked = sorted(best, key=lambda kind: (best[kind][1].accuracy < TOP, best[kind][1].effort))
    tops = sum(best[kind][1].accuracy >= TOP for kind in ranked)
    picture, axes = pictures.figure(WIDTH, 1.2 + 0.29 * len(ranked))
    places = [place + (place >= tops) for place in range(len(ranked))]
    for place, kind in zip(places, ranked):
        _effort_point(axes, place, kind, *best[kind])
    if tops < len(ranked):
        axes.text(0, tops, f" best accuracy below {TOP:g} %", transform=axes.get_yaxis_transform(), va="center")
    _effort_row(axes, -1, ["accuracy", "time", "iterations"])
    axes.set_yticks(places, [", ".join(kind) for kind in ranked])
    axes.set(xlabel="effort: seconds of training for each percent of accuracy", ylim=(places[-1] + 0.6, -1.4))
    _log_seconds(axes, [effort for _, cell in best.values() for effort in _efforts(cell)])
    caption = "Effort is training time / accuracy, here at the checkpoint of the highest accuracy; the least is best. "
    caption += f"Hollow: never reached {TOP:g} %, so its effort can't be compared."
    caption += _over_seeds(table, list(best), "A point is", "the thin line goes from the lowest to the highest of them")
    return Figure("effort", "Ranking by effort", caption), picture


def _effort_point(axes: Any, place: int, kind: Kind, iteration: int, cell: Cell) -> None:
    top = cell.accuracy >= TOP
    colour = _colour(kind) if top else GREY
    if len(cell.seconds) > 1:
        axes.plot([min(_efforts(cell)), max(_efforts(cell))], [place, place], "|-", color=colour, linewidth=1.2)
    axes.plot(cell.effort, place, MARKERS[kind[1]], color=colour, markersize=8, fillstyle="full" if top else "none")
    time = f"{cell.time:,.{2 if cell.time < 10 else 0}f} s"
    _effort_row(axes, place, [f"{cell.accuracy:.2f} %", time, f"{iteration:,}"])


def _effort_row(axes: Any, place: float, texts: list[str]) -> None:
    """Write to the right of the axes."""
    at = {"xy": (1, place), "xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
    for right, text in zip((52, 102, 170), texts):
        axes.annotate(text, **at, xytext=(right, 0), ha="right", va="center", annotation_clip=False)


def _efforts(cell: Cell) -> list[float]:
    """Of each seed."""
    return [seconds / accuracy for seconds, accuracy in zip(cell.seconds, cell.accuracies)]
