"""What a training run looks like: learning curves, and test images with what a network says of them."""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .files import replaced

BLUE, ORANGE = "#0072B2", "#D55E00"  # told apart by colour-blind readers, too
GREY = "#595959"
STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "font.size": 10,
    "grid.alpha": 0.3,
}


class Figure(NamedTuple):
    """A figure that was drawn.

    Attributes:
        name: of its files, without .png and .svg.
        title: a few words, without a full stop.
        caption: what it shows and how to read it, in sentences.
    """

    name: str
    title: str
    caption: str


def figure(width: float, height: float, **subplots: Any) -> tuple[Any, Any]:
    """A figure with axes, drawn by Agg, into memory: it needs no display. Sizes are in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn, drawn.subplots(**subplots)


def draw(folder: Path, make: Callable[[], Sequence[tuple[Figure, Any]]], name: str, dpi: int) -> list[Figure]:
    """Draw the figures of a report, as <name>.png and <name>.svg, each written in one move.

    Arguments:
        folder: where the pictures go; it is made.
        make: makes the figures, each with its picture as matplotlib has it; called with the style of reports set.
        name: of the experiment: the same one gives the same SVG files.
        dpi: dots per inch of the PNG files.

    Returns: the figures.
    """
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        for figure, picture in make():
            for ending, metadata in {"png": {"Software": None}, "svg": {"Date": None}}.items():
                with replaced(folder / f"{figure.name}.{ending}", lasting=False) as temporary:
                    picture.savefig(temporary, dpi=dpi, metadata=metadata)
            drawn.append(figure)
    return drawn


def learning_curve(path: Path, title: str, curve: dict[str, list[float]], checkpoints: list[dict[str, float]]) -> None:
    """Draw the training loss and the test accuracy, one above the other, against the iteration.

    Arguments:
        path: the PNG file to write.
        title: a line or two above the picture.
        curve: "iteration" and "loss", and "mean" (of the latest iterations) where single ones are noisy.
        checkpoints: each with "iteration" and "accuracy", from 0 to 1.
    """
    drawn, (above, below) = figure(6, 5.25, nrows=2, sharex=True, gridspec_kw={"height_ratios": (3, 2)})
    drawn.suptitle(title, fontsize=8.5)
    _draw_loss(above, curve)
    _draw_accuracy(below, [c["iteration"] for c in checkpoints], [100 * c["accuracy"] for c in checkpoints])
    below.set_xlabel("iteration (one update of the parameters)")
    below.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    below.locator_params(axis="x", nbins=6, integer=True)
    for axes in (above, below):
        axes.spines[["right", "top"]].set_visible(False)
        axes.grid(alpha=0.3)
    drawn.savefig(path, dpi=160)


def _draw_loss(axes: Any, curve: dict[str, list[float]]) -> None:
    """The loss on a logarithmic scale, on which the late, slow progress is seen as well as the early, fast one."""
    line = np.array(curve.get("mean", curve["loss"]))
    axes.set_ylabel("loss")
    axes.set_title(f"Training loss, the lower the better: {line[-1]:.2g} in the end", loc="left", fontsize=10)
    if line.min() > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(one_two_five())
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
        axes.minorticks_off()
    if "mean" not in curve:
        axes.plot(curve["iteration"], line, color=BLUE, linewidth=2)
        return
    low, high = line.min() / 2, 1.25 * line.max()  # the loss of a single image can be ten times the mean, or next to 0
    outside = sum(not low <= loss <= high for loss in curve["loss"])
    label = "one update" + (f" ({outside:,} of {len(curve['loss']):,} lie outside)" if outside else "")
    axes.plot(curve["iteration"], curve["loss"], ".", color=BLUE, alpha=0.25, markersize=4, label=label)
    axes.plot(curve["iteration"], line, color=ORANGE, linewidth=2, label="average of the latest updates")
    axes.set_ylim(low, high)
    axes.legend(loc="upper right", fontsize=9)


def one_two_five() -> Any:
    """Marks at 1, 2 and 5 of each power of ten, for a logarithmic axis."""
    from matplotlib.ticker import LogLocator

    return LogLocator(subs=(1, 2, 5))


def _draw_accuracy(axes: Any, iterations: list[float], percent: list[float]) -> None:
    title = f"Test images read right, the more the better: {percent[-1]:.2f} % in the end"
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_ylabel("accuracy in %")
    axes.plot(iterations, percent, "o-", color=BLUE, markersize=5)
    room = max(0.15 * (max(percent) - min(percent)), 0.5)
    axes.set_ylim(max(min(percent) - room, 0), min(max(percent) + room, 100.5))


def digit_grid(path: Path, title: str, images: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> None:
    """Draw digits in rows of ten, each with its prediction; wrong ones are crossed, framed, and corrected.

    Arguments:
        path: the PNG file to write.
        title: a line or two above the picture.
        images: (N, 28, 28), from 0 (paper) to 1 (ink).
        labels, predictions: the N digits that the images show, and those that the model took them for.
    """
    from matplotlib.patches import Rectangle

    width, height, above = 30, 38, 9  # of the place of a digit, in its pixels; its title takes those above it
    rows = -(-len(images) // 10)
    drawn, axes = figure(7.5, 0.9375 * rows + 0.6)
    drawn.suptitle(title, fontsize=9)
    axes.set_axis_off()
    paper = np.zeros((rows * height, 10 * width), images.dtype)
    for i, (image, label, guess) in enumerate(zip(images, labels, predictions)):
        y, x = i // 10 * height + above, i % 10 * width + 1
        paper[y : y + 28, x : x + 28] = image
        wrong = {} if guess == label else {"color": ORANGE, "fontweight": "bold"}
        text = f"✗ {guess}, is {label}" if wrong else f"{guess}"
        axes.text(x + 13.5, y - 2, text, fontsize=10, ha="center", **wrong)
        if wrong:
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 28, 28, fill=False, color=ORANGE, linewidth=3))
    axes.imshow(paper, cmap="gray_r", vmin=0, vmax=1)
    drawn.savefig(path, dpi=160)


def sheet(axes: Any, images: Sequence[np.ndarray], names: Sequence[str], heads: Sequence[str] | None = None) -> None:
    """Draw rows of digits, each (columns, 28, 28) or (columns, 784), with a name for each row, and heads of columns."""
    rows, columns = len(names), len(images[0])
    paper = np.pad(np.reshape(images, (rows, columns, 28, 28)), ((0, 0), (0, 0), (1, 1), (1, 1)))
    paper = paper.swapaxes(1, 2).reshape(30 * rows, 30 * columns)
    axes.imshow(paper, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks(30 * np.arange(rows) + 14.5, names, fontsize=9)
    axes.set_xticks(30 * np.arange(columns) + 14.5, [""] * columns if heads is None else heads, fontsize=8)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)


def epochs(path: Path, title: str, history: list[dict[str, Any]], rates: list[float], accuracy: float) -> None:
    """Draw the losses, the accuracy on images held back and the learning rate, one above the other, by epochs.

    Arguments:
        path: the PNG file to write.
        title: a line above the picture.
        history: for each epoch "losses" (means over equal parts of it), and "held_back_loss" and "held_back_accuracy"
            if any images were held back.
        rates: the learning rate at equal distances from the first step to the last.
        accuracy: on the test images, in the end, from 0 to 1.
    """
    tried = "held_back_loss" in history[0]
    title += "" if tried else f"\n{100 * accuracy:.2f} % of the test images right in the end"
    ratios = (3, 3, 1) if tried else (3, 1)
    height = 0.8 * (sum(ratios) + 1)
    drawn, axes = figure(6, height, nrows=len(ratios), sharex=True, gridspec_kw={"height_ratios": ratios})
    drawn.suptitle(title, fontsize=8.5)
    above, below = axes[0], axes[-1]
    ends = range(1, len(history) + 1)
    parts = [(i + (k + 0.5) / len(e["losses"]), x) for i, e in enumerate(history) for k, x in enumerate(e["losses"])]
    above.plot(*zip(*parts), color=BLUE, alpha=0.7, label="training images, as they are trained with")
    if tried:
        above.plot(ends, [e["held_back_loss"] for e in history], "o-", color=ORANGE, label="images held back")
        _draw_held_back(axes[1], ends, [100 * e["held_back_accuracy"] for e in history], 100 * accuracy)
    above.set_ylabel("loss (cross-entropy)")
    above.set_ylim(bottom=0)
    above.legend(fontsize=9)
    below.plot(np.linspace(0, len(history), len(rates)), rates, color=BLUE)
    below.set_ylabel("rate")
    below.set_ylim(bottom=0)
    below.set_title("Learning rate", loc="left", fontsize=10)
    below.set_xlabel("epoch (one pass over the training images)")
    below.xaxis.get_major_locator().set_params(integer=True)
    for each in axes:
        each.spines[["right", "top"]].set_visible(False)
        each.grid(alpha=0.3)
    drawn.savefig(path, dpi=160)


def _draw_held_back(axes: Any, ends: Sequence[int], percent: list[float], test: float) -> None:
    axes.plot(ends, percent, "o-", color=ORANGE, label=f"images held back: {percent[-1]:.2f} % in the end")
    axes.axhline(test, color="black", linestyle=":", label=f"test images, in the end: {test:.2f} %")
    axes.set_ylabel("accuracy in %")
    axes.legend(loc="lower right", fontsize=9)


def confusion(path: Path, title: str, counts: np.ndarray, names: Sequence[str]) -> None:
    """Draw how often images of each kind (rows) were taken for each (columns): (K, K) counts."""
    drawn, axes = figure(6, 5.8)
    drawn.suptitle(title, fontsize=8.5)
    wrong = counts * (1 - np.eye(len(counts), dtype=int))
    axes.imshow(wrong, cmap="Oranges", vmax=max(1.4 * wrong.max(), 1))  # the diagonal would leave no shades for these
    for (i, j), n in np.ndenumerate(counts):
        weight = "bold" if i == j else "normal"
        axes.text(j, i, f"{n:,}", ha="center", va="center", fontsize=9, fontweight=weight)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("what the network says")
    axes.set_ylabel("what the image shows")
    drawn.savefig(path, dpi=160)


def filters(path: Path, title: str, kernels: np.ndarray) -> None:
    """Draw the first layer's kernels (N, height, width, 3) as coloured images, each on its own scale: grey is 0."""
    columns = min(len(kernels), 8)
    rows = -(-len(kernels) // columns)
    drawn, axes = figure(max(0.8 * columns, 7), 0.8 * rows + 0.8, nrows=rows, ncols=columns, squeeze=False)
    drawn.suptitle(f"{title}\nthe first layer's filters, each on its own scale: grey is 0", fontsize=10)
    for place, kernel in zip_longest(axes.flat, kernels):
        place.set_axis_off()
        if kernel is not None:
            place.imshow(0.5 + 0.5 * kernel / np.abs(kernel).max())
    drawn.savefig(path, dpi=120)


def mistakes(
    path: Path, title: str, images: np.ndarray, labels: np.ndarray, shares: np.ndarray, names: Sequence[str]
) -> None:
    """Draw the images with wrong answers of which the network was surest, forty at most.

    Arguments:
        path: the PNG file to write.
        title: a line above the picture.
        images: bytes (N, height, width, 3).
        labels: (N,), what they show.
        shares: (N, K), the probability that the network gives to each answer.
        names: those of the K answers.
    """
    guesses = shares.argmax(axis=1)
    wrong = np.flatnonzero(guesses != labels)
    surest = wrong[np.argsort(-shares[wrong, guesses[wrong]], kind="stable")][:40]
    drawn, axes = figure(6.5, 13, nrows=8, ncols=5)
    text = f"{len(wrong):,} of {len(labels):,} test images are taken for something else"
    drawn.suptitle(f"{title}\n{text}; of these the network was surest", fontsize=9)
    for place, i in zip_longest(axes.flat, surest):
        place.set_axis_off()
        if i is not None:
            place.imshow(images[i])
            said = f"{names[guesses[i]]} {100 * shares[i, guesses[i]]:.0f} %"
            place.set_title(f"{said}\nis {names[labels[i]]}", fontsize=9)
    drawn.savefig(path, dpi=120)
