"""Labels as one-hot vectors, and scores back to labels."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import as_array, is_foreign, is_integer, shown


def onehot(label: Hashable, classes: Sequence[Hashable] | NDArray[Any]) -> NDArray[np.float32]:
    """One label as a vector that is 1 at the label's class and 0 elsewhere.

    Arguments:
        label: one of `classes`.
        classes: the K different labels, in the order of the vector's entries: a range, list, array …

    Returns: a float32 array of shape (K,).

    Errors:
        ValueError: the label is not among the classes, or a class is given twice.
        TypeError: there are several labels, or `classes` is one number or a set.

    >>> import tinyflux as flux
    >>> flux.onehot("cat", ["ant", "bee", "cat"])
    array([0., 0., 1.], dtype=float32)
    """
    if isinstance(label, (list, set, dict)) or (hasattr(label, "shape") and label.shape):
        raise TypeError(f"onehot: expected one label, got {shown(label)}. For many, flux.onehotbatch(labels, classes).")
    row: NDArray[np.float32] = _rows("onehot", [_plain(label)], classes)[0]
    return row


def onehotbatch(
    labels: Iterable[Hashable] | NDArray[Any], classes: Sequence[Hashable] | NDArray[Any]
) -> NDArray[np.float32]:
    """Labels as rows that are 1 at each label's class and 0 elsewhere.

    Arguments:
        labels: N labels, each one of `classes`: a list, or an array of shape (N,).
        classes: the K different labels, in the order of the columns: a range, list, array …

    Returns: a float32 array of shape (N, K).

    Errors:
        ValueError: a label is not among the classes, a class is given twice, or `labels` is not one-dimensional.
        TypeError: `labels` or `classes` is one number or a set, or a label is a list.

    >>> import tinyflux as flux
    >>> flux.onehotbatch([2, 0], range(3))
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    return _rows("onehotbatch", labels, classes)


def _rows(caller: str, labels: Any, classes: Any) -> NDArray[np.float32]:
    if getattr(labels, "ndim", 1) != 1:
        raise ValueError(
            f"{caller}: expected labels of one axis, (N,), got shape {labels.shape}; flatten with labels.ravel()"
        )
    if not isinstance(labels, Iterable):
        raise TypeError(
            f"{caller}: expected many labels, got {shown(labels)}. For one label, flux.onehot(label, classes)."
        )
    _refuse_set("labels", labels)
    labels, classes = list(_plain(labels)), _listed(classes)
    for i, label in enumerate(labels):
        if isinstance(label, (list, set, dict)):
            raise TypeError(f"{caller}: expected one label a sample, got {shown(label)} at index {i}.")
    column = {label: k for k, label in enumerate(classes)}
    if len(column) != len(classes):
        raise ValueError(f"classes: expected different labels, got {_listing(classes)}; name each class once")
    try:
        columns = np.fromiter(map(column.__getitem__, labels), np.intp, len(labels))
    except KeyError:
        i, label = next((i, label) for i, label in enumerate(labels) if label not in column)
        raise ValueError(
            f"{caller}: expected one of the {len(classes)} classes {_listing(classes)}, "
            f"got {label!r} at index {i}; correct the label or add its class"
        ) from None
    batch = np.zeros((len(labels), len(classes)), np.float32)
    batch[np.arange(len(labels)), columns] = 1
    return batch


def onecold(scores: ArrayLike, classes: Sequence[Hashable] | NDArray[Any] | None = None) -> Any:
    """The class with the highest score along the last axis; the first of them where several tie.

    Arguments:
        scores: one-hot vectors, probabilities or logits, of shape (..., K).
        classes: the K labels in the order of the last axis, by default 0 to K-1.

    Returns: an int64 array of shape (...), or with `classes` a NumPy array of labels; for scores of shape (K,) one
    number or label.

    Errors:
        ValueError: there are not K classes.
        TypeError: `scores` has no last axis, or one of length 0; or `classes` is a set.

    >>> import tinyflux as flux
    >>> flux.onecold([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]])
    array([1, 0])
    >>> flux.onecold([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]], ["ant", "bee", "cat"]).tolist()
    ['bee', 'ant']
    """
    if isinstance(scores, (str, bytes, int, float)) or is_foreign(scores) or not np.shape(scores)[-1:] > (0,):
        raise TypeError(f"onecold: expected scores of shape (..., K), got {shown(scores)}.{as_array(scores)}")
    best = np.argmax(scores, axis=-1)
    if classes is None:
        return best
    labels, size = _listed(classes), np.shape(scores)[-1]
    if len(labels) != size:
        raise ValueError(
            f"classes: expected {size} labels for scores {np.shape(scores)}, got {len(labels)}: {_listing(labels)}"
        )
    # Through a list, because an index on the GPU cannot choose from labels on the CPU.
    return _table(labels)[np.array(best.tolist(), np.intp).reshape(best.shape)]


def _plain(x: Any) -> Any:
    """Python values in place of NumPy's or CuPy's, which hash slowly or not at all."""
    return x.tolist() if hasattr(x, "tolist") else x


def _listed(classes: Any) -> list[Any]:
    """The classes as a list."""
    if not isinstance(classes, Iterable):
        fix = f" Give range({classes})." if is_integer(classes) else ""
        raise TypeError(f"classes: expected all labels, in the order of the columns, got {shown(classes)}.{fix}")
    _refuse_set("classes", classes)
    return list(_plain(classes))


def _refuse_set(name: str, x: Any) -> None:
    """Strings in a set come in another order in each process: a saved model would mean other classes."""
    if isinstance(x, (set, frozenset)):
        raise TypeError(f"{name}: expected labels in an order, got {shown(x)}, which has none. Give sorted({name}).")


def _table(labels: list[Any]) -> NDArray[Any]:
    """The labels as an array, of objects where NumPy would change some: [1, "a"] to strings, tuples to rows."""
    try:
        table = np.asarray(labels)
    except ValueError:
        return np.fromiter(labels, object, len(labels))
    return table if table.tolist() == labels else np.fromiter(labels, object, len(labels))


def _listing(labels: list[Any]) -> str:
    """Labels as a message shows them, shortened to the first and last few."""
    shown = [repr(label) for label in labels]
    if len(shown) > 10:
        shown[5:-2] = ["…"]
    return f"[{', '.join(shown)}]"
