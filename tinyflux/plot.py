"""flux.plot: curves of a training, confusion matrices and images, as figures of matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import tree
from .arrays import is_array, to_numpy
from .checks import as_array, check_integer, is_foreign, is_number, shown
from .installed import pip_install
from .training.history import History
from .training.learning_rate import LearningRates

# Okabe and Ito's colours, which colour-blind readers tell apart, from the darkest on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 13,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 12,
    "grid.alpha": 0.3,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "lines.linewidth": 2,
}
WIDTH, HEIGHT = 5.6, 3.6  # inches, of a panel: words are still read where a telephone shows it
FEW = 30  # points that are marked, not only joined
WIDE = 20  # from this ratio on of the largest to the smallest number an axis is logarithmic
IMAGES, COLUMNS = 40, 8  # shown at most, and beside each other
TITLED_COLUMNS = 4  # beside each other where they have titles
EMPTY = 1 / 3  # from this share of zeros on images are drawings on an empty background
LEGEND, LONG = 12, 40  # names below each other, and their characters
LABELLED = 20  # classes of a confusion matrix up to which its cells hold their numbers

Curves = Mapping[str, Sequence[float]]


def plot(what: Any, steps: int | None = None, *, titles: Sequence[str] | None = None) -> Any:
    """Draw a training's curves, a schedule, a confusion matrix or images. Needs matplotlib: the extra `plot`.

    Arguments:
        what: one of these.

            *   What `train` returns: the loss by epoch, validation's beside it, and the metrics in a panel below. The
                axis of the loss is logarithmic where the largest loss is more than 20 times the least one, and all are
                above 0.
            *   What `find_learning_rate` returns: the loss by learning rate, with the suggestion marked.
            *   A schedule, or another function of the step: its values by step.
            *   A list of numbers, or an array with one axis: a curve.
            *   A dict of any of the last three, or of several histories: named curves in one picture.
            *   A confusion matrix, integers of shape (K, K), such as `flux.metrics.confusion_matrix` gives: a row for
                each class, a column for each guess, and the counts in the cells. Colours are shares of the row.
            *   An array of images, (N, height, width) or (N, height, width, 1 or 3): the first 40 of them. Images with
                one channel are drawn in grey. If a third of their numbers or more are 0, as in handwritten digits, they
                are drawn dark on white, else 0 is black. With numbers below 0, as in filters, 0 is white, and a bar
                shows which colours stand for which numbers, the same ones in all images.
        steps: how many steps of a schedule to draw; by default as many as it is over.
        titles: words above the images, one for each that is drawn.

    Returns: a matplotlib Figure. A notebook shows it when it is the last thing in a cell. Elsewhere `plt.show()`, of
    matplotlib.pyplot, opens windows for all figures, and `figure.savefig("loss.png", dpi=200)` writes a file.

    Errors: ImportError without matplotlib; TypeError or ValueError for something that can't be drawn.

    >>> import tinyflux as flux, matplotlib.pyplot as plt
    >>> history = flux.History([0.9, 0.4, 0.3], {"loss": [0.8, 0.5, 0.5], "accuracy": [0.6, 0.8, 0.9]})
    >>> figure = flux.plot(history)
    >>> [panel.get_ylabel() for panel in figure.axes]
    ['loss', 'accuracy']
    >>> plt.close(figure)
    """
    draw = _drawing(what, steps, titles)
    try:
        import matplotlib
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(f"plot: expected matplotlib, got none ({error}); {pip_install('plot')}") from error
    with matplotlib.rc_context(STYLE):
        figure = draw(pyplot)
    if "inline" in matplotlib.get_backend().lower():
        pyplot.close(figure)  # or a notebook would show it a second time
    return figure


def _drawing(what: Any, steps: int | None, titles: Sequence[str] | None) -> Callable[[Any], Any]:
    """What draws it, given pyplot; an error for what can't be drawn."""
    if steps is not None:
        check_integer("plot", "steps", steps, 2)
    if any(isinstance(x, np.ma.MaskedArray) for x in (what.values() if isinstance(what, dict) else [what])):
        raise TypeError("plot: expected an array without a mask, got a masked one. Give x.filled(np.nan).")
    if isinstance(what, LearningRates):
        return lambda pyplot: _learning_rates(pyplot, what)
    if is_array(what) and what.ndim in (3, 4):
        images = _images(to_numpy(what))
        words = _titles(titles, len(images))
        return lambda pyplot: _grid_of(pyplot, images, words)
    if titles is not None:
        raise TypeError(f"plot: titles are for images, got {shown(what)}.")
    if is_array(what) and what.ndim == 2 and what.dtype.kind in "iu" and what.shape[0] == what.shape[1] > 0:
        counts = to_numpy(what)
        if counts.min() < 0:
            raise ValueError(f"plot: expected a confusion matrix to hold counts, got {counts.min()} in it.")
        return lambda pyplot: _confusion(pyplot, counts)
    named = {str(name): x for name, x in what.items()} if isinstance(what, dict) else {"": what}
    if not named:
        raise ValueError("plot: expected at least one curve, got an empty dict.")
    if all(isinstance(x, History) for x in named.values()):
        if not all(map(len, named.values())):
            raise ValueError("plot: expected a history of at least one epoch, got one of none.")
        return lambda pyplot: _histories(pyplot, named)
    curves = {name: _curve(x, steps, f"what[{name!r}]" if name else "what") for name, x in named.items()}
    return lambda pyplot: _curves(pyplot, curves)


# What is given, as numbers


def _curve(x: Any, steps: int | None, name: str) -> Sequence[float]:
    """The numbers of a curve: those that are given, or a schedule's."""
    if callable(x) and not isinstance(x, type) and not tree.leaves(x):
        length = getattr(x, "over", None) if steps is None else steps
        if length is None:
            raise ValueError(f"plot: how many steps of {shown(x)}? Write flux.plot(schedule, steps=1000).")
        values = [x(t) for t in range(int(length))]
        odd = [t for t, value in enumerate(values) if not _is_real(value)]
        if odd:
            raise TypeError(
                f"plot: expected {shown(x)} to give a number, got {shown(values[odd[0]])} at step {odd[0]}."
            )
        return [float(value) for value in values]
    numbers = x.tolist() if is_array(x) and x.ndim == 1 else x
    if not isinstance(numbers, (list, tuple)) or not all(map(_is_real, numbers)):
        raise TypeError(f"plot: expected {name} to be a list of numbers, a history or a schedule, got {_no_curve(x)}")
    if not len(numbers):
        raise ValueError(f"plot: expected {name} to have numbers, got none.")
    return [float(number) for number in numbers]


def _no_curve(x: Any) -> str:
    """What was given, and what to give instead."""
    if is_foreign(x):
        return f"{shown(x)}.{as_array(x)}"
    if is_array(x) and x.ndim == 1:
        return f"{shown(x)} of {x.dtype}."
    if isinstance(x, (range, Iterator)):
        return f"{shown(x)}. Give list(x)."
    fix = f"{shown(x)}. For images give (N, height, width), for several curves a dict of them"
    if isinstance(x, (list, tuple)):
        place, odd = next((i, item) for i, item in enumerate(x) if not _is_real(item))
        return f'{fix}, {{"one": …, "two": …}}; at index {place} stands {shown(odd)}.'
    return f"{fix}."


def _is_real(x: Any) -> bool:
    return is_number(x) or (isinstance(x, (float, np.floating)) and not math.isfinite(x))


def _images(x: Any) -> Any:
    """Images as matplotlib takes them: bytes, or numbers from 0 to 1, (N, height, width) or (N, height, width, 3)."""
    if not x.size or (x.ndim == 4 and x.shape[-1] not in (1, 3)):
        raise ValueError(
            f"plot: expected images (N, height, width), or with 1 or 3 channels as the last axis, got shape {x.shape}."
        )
    x = x[:IMAGES, ..., 0] if x.shape[3:] == (1,) else x[:IMAGES]
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind not in "fiub":
        raise TypeError(f"plot: expected images of real numbers, got {x.dtype}.")
    x = x.astype(float)
    numbers = x[np.isfinite(x)]
    least, most = numbers.min(initial=0.0), numbers.max(initial=1.0)
    x = np.where(np.isinf(x), np.where(x > 0, most, least), x)
    if x.ndim == 3 and least < 0:
        return x
    return (x - least) / (most - least)


def _titles(titles: Sequence[str] | None, images: int) -> list[str]:
    if titles is None:
        return []
    if isinstance(titles, str) or not hasattr(titles, "__len__"):
        raise TypeError(f"plot: expected titles to be a list of strings, got {shown(titles)}.")
    if len(titles) < images:
        raise ValueError(f"plot: expected a title for each of the {images} images, got {len(titles)}.")
    return [str(title) for title in titles][:images]


# The pictures


def _panels(pyplot: Any, rows: int) -> tuple[Any, Any]:
    figure, panels = pyplot.subplots(
        rows, figsize=(WIDTH, HEIGHT * (1 + 0.7 * (rows - 1))), layout="constrained", sharex=True, squeeze=False
    )
    return figure, panels[:, 0]


def _histories(pyplot: Any, histories: Mapping[str, History]) -> Any:
    """Losses by epoch; where there are metrics, a panel below for them."""
    metrics = list(dict.fromkeys(name for h in histories.values() for name in h.validation if name != "loss"))
    figure, (above, *below) = _panels(pyplot, 1 + bool(metrics))
    validated = any("loss" in h.validation for h in histories.values())
    for i, (name, history) in enumerate(histories.items()):
        colours = [_colour(i)] * 2 if len(histories) > 1 else COLOURS
        _line(above, history, colours[0], "-", f"{name} training".strip() if validated else name)
        if "loss" in history.validation:
            _line(above, history.validation["loss"], colours[1], "--", f"{name} validation".strip())
        for k, metric in enumerate(metrics):
            if metric in history.validation:
                several = len(histories) > 1
                colour, dash = (_colour(i), DASHES[k % 4]) if several else (_colour(k + 1), "--")
                label = f"{name} {metric}".strip() if len(metrics) > 1 else name
                _line(below[0], history.validation[metric], colour, dash, label)
    _finish(above, "loss", spread=_spread(above))
    if below:
        _finish(below[0], metrics[0] if len(metrics) == 1 else "metrics of validation")
    last = figure.axes[-1]
    last.set_xlabel("epoch")
    last.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    if max(map(len, histories.values())) == 1:
        last.set_xlim(0.5, 1.5)
    figure.align_ylabels()
    return figure


def _curves(pyplot: Any, curves: Curves) -> Any:
    figure, (panel,) = _panels(pyplot, 1)
    for i, (name, numbers) in enumerate(curves.items()):
        _line(panel, numbers, _colour(i), DASHES[i // len(COLOURS) % 4], name, first=0)
    _finish(panel, "value")
    panel.set_xlabel("step")
    return figure


def _learning_rates(pyplot: Any, found: LearningRates) -> Any:
    figure, (panel,) = _panels(pyplot, 1)
    panel.plot(found.rates, found.losses, color=COLOURS[0], marker="o" if len(found.rates) == 1 else None)
    panel.set_xscale("log")
    panel.axvline(found.suggestion, color=COLOURS[1], linestyle="--", label=f"suggestion: {found.suggestion:.2g}")
    _finish(panel, "loss, smoothed")
    panel.set_xlabel("learning rate")
    return figure


def _grid_of(pyplot: Any, images: Any, titles: list[str]) -> Any:
    most = TITLED_COLUMNS if titles else COLUMNS
    columns = min(most, len(images))
    rows = -(-len(images) // columns)
    signed = images.ndim == 3 and bool((images < 0).any())
    bar = 0.8 * signed  # inches, as all below
    width = (WIDTH - bar) / most
    above = 0.1 + 0.2 * max([1 + title.count("\n") for title in titles]) if titles else 0.0
    height = width * images.shape[1] / images.shape[2] + above
    size = max(width * columns, 2 * bar) + bar, max(height * rows, 2 * bar)
    figure, panels = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    for panel in panels.flat:
        panel.axis("off")
    for panel, image in zip(panels.flat, images):
        shown_image = panel.imshow(image, **_colouring(images))
    for panel, title in zip(panels.flat, titles):
        panel.set_title(title, fontsize=11)
    if signed:
        figure.colorbar(shown_image, ax=panels).ax.tick_params(labelsize=10)
    return figure


def _colouring(images: Any) -> dict[str, Any]:
    """The colours of images: dark on white for drawings on an empty background, and about 0 for signed numbers."""
    if images.ndim == 3 and (images < 0).any():
        most = np.nanmax(np.abs(images))
        return {"cmap": "PuOr_r", "vmin": -most, "vmax": most}
    empty = images.ndim == 3 and np.mean(images == 0) >= EMPTY
    return {"cmap": "gray_r" if empty else "gray", "vmin": 0, "vmax": 255 if images.dtype == np.uint8 else 1}


def _confusion(pyplot: Any, counts: Any) -> Any:
    """A row for each class, a column for each guess; a cell is as dark as its share of the row."""
    classes = len(counts)
    figure, (panel,) = _panels(pyplot, 1)
    figure.set_size_inches(WIDTH, WIDTH)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    panel.grid(False)
    panel.spines[:].set_visible(False)
    panel.set(xlabel="read as", ylabel="true")
    if classes <= LABELLED:
        panel.set(xticks=range(classes), yticks=range(classes))
        for (i, j), count in np.ndenumerate(counts):
            colour = "white" if shares[i, j] > 0.5 else "black" if count else "#888888"
            panel.text(j, i, str(count), ha="center", va="center", color=colour, fontsize=min(12, 100 / classes))
    return figure


def _line(panel: Any, numbers: Sequence[float], colour: str, dash: str, label: str, first: int = 1) -> None:
    marker = "o" if len(numbers) <= FEW else None
    label = label if len(label) <= LONG else f"{label[: LONG - 1]}…"
    steps = range(first, first + len(numbers))
    panel.plot(steps, numbers, color=colour, linestyle=dash, marker=marker, markersize=4, label=label)


def _finish(panel: Any, label: str, spread: float = 1.0) -> None:
    panel.set_ylabel(label)
    if spread > WIDE:
        panel.set_yscale("log")
        panel.yaxis.get_major_locator().set_params(subs=(1.0,) if spread > 1e3 else (1.0, 3.0))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("")
    if not any(np.isfinite(line.get_ydata()).any() for line in panel.lines):
        panel.text(0.5, 0.5, "no finite number", ha="center", va="center", transform=panel.transAxes)
        panel.set(yticks=[], xlim=(0, max(len(line.get_ydata()) for line in panel.lines) + 1))
    names = [name for name in panel.get_legend_handles_labels()[1] if name]
    if names:
        panel.legend(**({"fontsize": 7, "ncols": -(-len(names) // LEGEND)} if len(names) > LEGEND else {}))


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _spread(panel: Any) -> float:
    """The ratio of the largest to the smallest number in a panel; 1 where some aren't positive."""
    numbers = np.concatenate([line.get_ydata() for line in panel.lines])
    numbers = numbers[np.isfinite(numbers)]
    return float(numbers.max() / numbers.min()) if numbers.size and numbers.min() > 0 else 1.0
