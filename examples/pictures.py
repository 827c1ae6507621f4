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
    rows = -(-len(images) // 10)
    drawn, grid = figure(10, 1.25 * rows + 0.8, nrows=rows, ncols=10, squeeze=False)
    drawn.suptitle(title)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], frame_on=False)
    for axes, image, label, guess in zip(grid.flat, images, labels, predictions):
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        if guess == label:
            axes.set_title(f"{guess}", fontsize=11)
        else:
            axes.set_title(f"✗ {guess}, is {label}", fontsize=11, color=ORANGE, fontweight="bold")
            axes.set_frame_on(True)
            for side in axes.spines.values():
                side.set(color=ORANGE, linewidth=3)
    drawn.savefig(path, dpi=120)
