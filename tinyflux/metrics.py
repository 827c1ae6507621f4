"""Metrics: how well scores tell classes apart, `metric(scores, labels)`, as numbers that a person reads.

Scores are what a classifier returns, (…, K) for K classes: logits or probabilities. Labels are class numbers from 0 to
K−1, (…), or one-hot rows, (…, K), of which the largest entry counts. A class is guessed where its score is the highest
of a row, the first of them where several tie.

Integer scores, such as votes, look like class numbers if the labels have the same shape. They are refused, unless the
labels are one-hot rows, or none is above 1. For a single sample of integer scores, give scores[None] and labels[None].
"""

from __future__ import annotations

import numpy as np

from .arrays import MOVE, MixedDevices, device_of, is_array, on_gpu
from .autodiff.tape import plain
from .checks import as_array, check_integer, shown, type_of
from .types import Array

__all__ = ["accuracy", "confusion_matrix", "f1", "topk_accuracy"]


def accuracy(scores: Array, labels: Array) -> float:
    """The share of samples whose label has the highest score.

    Arguments:
        scores: (…, K), logits or probabilities of K classes. A row that holds NaN counts as wrong.
        labels: class numbers (…), or one-hot rows (…, K).

    Returns: a number from 0 to 1.

    Errors: TypeError for something else than plain arrays of numbers, such as masked ones, and for class numbers in the
    place of scores; ValueError for shapes that don't go together, a label that is no class's number, fewer than two
    classes, and no samples; MixedDevices for arrays on two devices.

    >>> import numpy as np, tinyflux as flux
    >>> scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5]])
    >>> flux.accuracy(scores, np.array([1, 0, 1]))
    0.6666666666666666
    >>> flux.accuracy(scores, flux.onehotbatch([1, 0, 2], range(3)))
    1.0
    """
    return _share_within(*_checked("accuracy", scores, labels), 1)


def topk_accuracy(scores: Array, labels: Array, k: int = 5) -> float:
    """The share of samples whose label has one of the k highest scores; of equal scores the first one is the highest.

    Arguments and errors: as for `accuracy`, and
        k: an integer from 1 to the number of classes.

    Returns: a number from 0 to 1; for k = 1 the accuracy.

    >>> import numpy as np, tinyflux as flux
    >>> scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]])
    >>> flux.metrics.topk_accuracy(scores, np.array([2, 1]), k=2)
    0.5
    """
    scores, labels = _checked("topk_accuracy", scores, labels)
    check_integer("topk_accuracy", "k", k, 1)
    if k > scores.shape[-1]:
        raise ValueError(f"topk_accuracy: expected k to be at most the {scores.shape[-1]} classes, got {k}.")
    return _share_within(scores, labels, k)


def confusion_matrix(scores: Array, labels: Array) -> Array:
    """How often each class was taken for each: entry (i, j) counts the samples of class i for which j was guessed.

    Arguments and errors: as for `accuracy`. In a row that holds NaN nothing is guessed: it isn't counted.

    Returns: integers of shape (K, K), on the device of the scores. The diagonal holds what was right.

    >>> import numpy as np, tinyflux as flux
    >>> scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]])
    >>> flux.metrics.confusion_matrix(scores, np.array([0, 0, 1]))
    array([[1, 1],
           [0, 1]])
    """
    return _confusion(*_checked("confusion_matrix", scores, labels))


def f1(scores: Array, labels: Array) -> float:
    """The mean over classes of F₁ = 2·TP / (2·TP + FP + FN), each class counting the same (macro average).

    TP counts the samples of a class for which it was guessed, FP those of others for which it was guessed, FN those of
    the class for which another one was, or none, in a row that holds NaN. A class that is neither a label nor guessed
    has no F₁, and is left out.

    Arguments and errors: as for `accuracy`.

    Returns: a number from 0 to 1.

    >>> import numpy as np, tinyflux as flux
    >>> scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]])
    >>> flux.metrics.f1(scores, np.array([0, 0, 1]))  # 2/3 for both classes
    0.6666666666666666
    """
    scores, labels = _checked("f1", scores, labels)
    counts = _confusion(scores, labels)
    right, guessed = counts.diagonal(), counts.sum(axis=0)
    of_class = np.bincount(labels.ravel(), minlength=scores.shape[-1])
    seen = of_class + guessed  # 2·TP + FP + FN
    return float(np.sum(2 * right / np.maximum(seen, 1)) / np.sum(seen > 0))


def _share_within(scores: Array, labels: Array, k: int) -> float:
    """The share of samples for which fewer than k classes come before the label's, by score and then by number."""
    own = np.take_along_axis(scores, labels[..., None], axis=-1)
    earlier = np.arange(scores.shape[-1], like=scores) < labels[..., None]
    before = ~(scores <= own) | ((scores == own) & earlier)  # NaN comes before all
    return float(np.mean(np.sum(before, axis=-1) < k))


def _confusion(scores: Array, labels: Array) -> Array:
    classes = scores.shape[-1]
    guessed = ~np.isnan(scores).any(axis=-1)
    pairs = labels[guessed] * classes + np.argmax(scores, axis=-1)[guessed]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _rows_of_one_hot(labels: Array) -> bool:
    """Whether labels are shares or flags of classes, up to 1, or have one entry a row that isn't 0."""
    return bool(labels.max() <= 1 or ((labels != 0).sum(axis=-1) == 1).all())


def _checked(metric: str, scores: Array, labels: Array) -> tuple[Array, Array]:
    """Scores, and labels as class numbers; inside a gradient their values, to which no gradient flows."""
    scores, labels = plain(scores), plain(labels)
    for x in (scores, labels):
        if not is_array(x):
            fix = " Give what the model returns, model(x)." if callable(x) else as_array(x)
            raise TypeError(f"{metric}: expected arrays as scores and labels, got {shown(x)}.{fix}")
        if isinstance(x, (np.ma.MaskedArray, np.matrix)):
            masked = isinstance(x, np.ma.MaskedArray)
            fix = "Leave out what is masked: labels.data[keep], scores[keep]" if masked else "Give np.asarray(x)"
            raise TypeError(f"{metric}: expected NumPy's plain arrays, got {type_of(x)}. {fix}.")
    if on_gpu(scores) != on_gpu(labels):
        where = f"the scores lie {device_of(scores)}, the labels {device_of(labels)}"
        raise MixedDevices(f"{metric}: {where}. {MOVE}", (scores, labels))
    if scores.dtype.kind not in "fiub" or labels.dtype.kind not in "fiub":
        raise TypeError(f"{metric}: expected numbers as scores and labels, got {scores.dtype} and {labels.dtype}.")
    if not scores.shape or scores.shape[-1] < 2:
        raise ValueError(
            f"{metric}: expected scores of at least two classes along the last axis, got shape {scores.shape}. For one "
            "logit a sample, (N, 1), give np.concatenate([-scores, scores], axis=-1)."
        )
    if labels.shape not in (scores.shape, scores.shape[:-1]):
        raise ValueError(
            f"{metric}: expected labels of shape {scores.shape[:-1]}, class numbers, or {scores.shape}, one-hot rows, "
            f"for scores of shape {scores.shape}; got {labels.shape}. Nothing is broadcast: labels.ravel() makes "
            "class numbers of a column, flux.onehotbatch(labels, classes) rows."
        )
    if not scores.size:
        raise ValueError(f"{metric}: expected at least one sample, got scores of shape {scores.shape}.")
    if labels.shape == scores.shape:
        if scores.dtype.kind in "iub" and (scores.ndim == 1 or not _rows_of_one_hot(labels)):
            raise TypeError(
                f"{metric}: expected scores (…, K), got class numbers {scores.shape}. Give the model's scores, or "
                "for class numbers one-hot rows, flux.onehotbatch(pred, classes). np.mean(pred == labels) is their "
                "accuracy."
            )
        if scores.ndim == 1 and abs(float(labels.sum()) - 1) > 1e-3:
            raise ValueError(
                f"{metric}: scores {scores.shape} are those of one sample, and the labels are no one-hot row. For one "
                "logit a sample give np.stack([-scores, scores], axis=-1), and integers as labels, labels.astype(int)."
            )
        return scores, np.argmax(labels, axis=-1)
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"{metric}: expected class numbers to be integers, got {labels.dtype}. Give labels.astype(int)."
        )
    labels = labels.astype(np.int64)
    least, most, last = int(labels.min()), int(labels.max()), scores.shape[-1] - 1
    if least < 0 or most > last:
        raise ValueError(
            f"{metric}: expected class numbers from 0 to {last}, got numbers from {least} to {most}. "
            "Give one-hot rows for labels of another kind: flux.onehotbatch(labels, classes)."
        )
    return scores, labels
