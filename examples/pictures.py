"""What a training run looks like: the learning curve, and test digits with the predictions for them."""

from pathlib import Path
from typing import Any

import numpy as np

BLUE, ORANGE = "#0072B2", "#D55E00"  # told apart by colour-blind readers, too


def figure(width: float, height: float, **subplots: Any) -> tuple[Any, Any]:
    """A figure with axes, drawn by Agg, into memory: it needs no display. Sizes are in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn, drawn.subplots(**subplots)


def learning_curve(path: Path, title: str, curve: dict[str, list[float]], checkpoints: list[dict[str, float]]) -> None:
    """Draw the training loss and the test accuracy, one above the other, against the iteration.

    Arguments:
        path: the PNG file to write.
        title: a line or two above the picture.
        curve: "iteration" and "loss", and "mean" (of the last fifth of the iterations) where single ones are noisy.
        checkpoints: each with "iteration" and "accuracy", from 0 to 1.
    """
    drawn, (above, below) = figure(8, 7, nrows=2, sharex=True, gridspec_kw={"height_ratios": (3, 2)})
    drawn.suptitle(title)
    _draw_loss(above, curve)
    _draw_accuracy(below, [c["iteration"] for c in checkpoints], [100 * c["accuracy"] for c in checkpoints])
    below.set_xlabel("iteration (one update of the parameters)")
    if curve["iteration"][-1] >= 100:
        below.set_xscale("log")
        below.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    above.grid(alpha=0.3)
    below.grid(alpha=0.3)
    drawn.savefig(path, dpi=120)


def _draw_loss(axes: Any, curve: dict[str, list[float]]) -> None:
    axes.set_ylabel("training loss")
    if "mean" not in curve:
        axes.plot(curve["iteration"], curve["loss"], color=BLUE, linewidth=2)
        axes.set_ylim(bottom=0)
        return
    top = 1.25 * max(curve["mean"])  # the loss of a single image can be ten times the mean
    higher = sum(loss > top for loss in curve["loss"])
    label = "loss of one update" + (f" ({higher} of {len(curve['loss'])} lie higher)" if higher else "")
    axes.plot(curve["iteration"], curve["loss"], ".", color=BLUE, alpha=0.25, markersize=4, label=label)
    axes.plot(curve["iteration"], curve["mean"], color=ORANGE, label="mean of the last fifth of the iterations")
    axes.set_ylim(0, top)
    axes.legend(loc="upper right")


def _draw_accuracy(axes: Any, iterations: list[float], percent: list[float]) -> None:
    axes.set_ylabel("test accuracy in %")
    axes.plot(iterations, percent, "o-", color=BLUE)
    for i, p in zip(iterations, percent):
        frame = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.annotate(f"{p:.1f}", (i, p), (0, 7), textcoords="offset points", ha="center", fontsize=8, bbox=frame)
    room = max(0.25 * (max(percent) - min(percent)), 2)
    axes.set_ylim(max(min(percent) - room, 0), min(max(percent) + room, 100))


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
    drawn, axes = figure(10, 1.25 * rows + 0.8)
    drawn.suptitle(title)
    axes.set_axis_off()
    paper = np.zeros((rows * height, 10 * width), images.dtype)
    for i, (image, label, guess) in enumerate(zip(images, labels, predictions)):
        y, x = i // 10 * height + above, i % 10 * width + 1
        paper[y : y + 28, x : x + 28] = image
        wrong = {} if guess == label else {"color": ORANGE, "fontweight": "bold"}
        text = f"✗ {guess}, is {label}" if wrong else f"{guess}"
        axes.text(x + 13.5, y - 2, text, fontsize=11, ha="center", **wrong)
        if wrong:
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 28, 28, fill=False, color=ORANGE, linewidth=3))
    axes.imshow(paper, cmap="gray_r", vmin=0, vmax=1)
    drawn.savefig(path, dpi=120)
