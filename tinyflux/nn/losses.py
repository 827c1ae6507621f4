"""Loss functions: `loss(prediction, target, agg=np.mean)`, both arrays of one shape.

`agg` brings the values of a loss together: np.mean, np.sum, or any function of an array; `flux.identity` leaves them
as they are. The cross-entropies hand it one value for each sample, classes being the last axis; the others one for each
element. A prediction and a target of different shapes are an error; nothing is broadcast. It is also an error to swap
them in a cross-entropy of logits: the prediction then holds labels, and the gradient is taken by the target. While a
gradient is taken, a cross-entropy warns of scores where it takes probabilities, and the other way round.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import special
from ..arrays import is_array
from ..autodiff.rule import rule
from ..autodiff.tape import Tracked
from ..checks import RETURN, as_array, check_number, is_value, shown
from ..types import Array
from .activations import logsoftmax, softmax, widened

__all__ = ["binarycrossentropy", "crossentropy", "huber", "logitbinarycrossentropy", "logitcrossentropy", "mae", "mse"]

Agg = Callable[[Any], Any]


def _check(loss: str, prediction: Array, target: Array, agg: Any) -> None:
    if not (is_value(prediction) and is_value(target)):
        wrong = target if is_value(prediction) else prediction
        fix = " Give what the model returns, model(x)." if callable(wrong) else as_array(wrong)
        fix = RETURN if wrong is None else " Give one of its parts." if isinstance(wrong, tuple) else fix
        raise TypeError(f"{loss}: expected arrays as prediction and target, got {shown(wrong)}.{fix}")
    if getattr(prediction, "shape", ()) != getattr(target, "shape", ()):
        p, t = np.shape(prediction), np.shape(target)
        fix = "Nothing is broadcast: reshape one of them, or encode labels with flux.onehotbatch."
        if p == (*t, 1):
            fix = f"Nothing is broadcast: write y[{':' if len(t) == 1 else '...'}, np.newaxis] for the target y."
        elif len(p) > 1 and p[:-1] == t[:-1] and t[-1] > 1:
            fix = (
                f"The model gives {p[-1]} numbers a sample, the target has {t[-1]}: end the model in Dense(…, {t[-1]})."
            )
        raise ValueError(f"{loss}: expected prediction and target of one shape, got {p} and {t}. {fix}")
    if not callable(agg):
        raise TypeError(f"{loss}: expected agg to be a function, such as np.mean or np.sum, got {shown(agg)}.")


def _check_labels(loss: str, prediction: Array, target: Array) -> None:
    """That labels don't stand in the place of logits, where the loss would fall for ever."""
    if type(target) is not Tracked or type(prediction) is Tracked:
        return
    ones = prediction == 1
    swapped: Any = np.where(np.all(ones | (prediction == 0)) & np.any(ones) & ~np.all(ones), np.nan, 0.0)
    error = (
        f"{loss}: the target is being differentiated, and the prediction holds labels, all 0 or 1. "
        f"The prediction comes first: flux.{loss}(model(x), y)."
    )
    if hasattr(swapped, "demand_finite"):  # recorded for compiled training: no values yet
        swapped.demand_finite(ValueError, error)
    elif np.isnan(swapped):
        raise ValueError(error)


_SCORES = {"_affine", "relu", "leakyrelu", "elu", "gelu", "swish", "softplus", "tanh"}
_UNFIT = {  # the functions that don't give what a loss takes
    "crossentropy": _SCORES | {"expit"},
    "binarycrossentropy": _SCORES,
    "logitcrossentropy": {"softmax", "expit"},
    "logitbinarycrossentropy": {"softmax", "expit"},
}
_LAST = {False: "softmax", True: "sigmoid"}


def _check_last_layer(loss: str, prediction: Array) -> None:
    """Warn of scores where probabilities belong, and the other way round, by the function that made them."""
    record = prediction.tape[prediction.index] if type(prediction) is Tracked else None
    if not record:
        return
    made_by, binary = record[0].name.rpartition(".")[2], "binary" in loss
    if made_by not in _UNFIT[loss] and (binary or prediction.shape[-1] != 1):
        return
    layer = {"_affine": "a Dense without activation", "expit": "sigmoid"}.get(made_by, made_by)
    if not binary and prediction.shape[-1] == 1:
        wanted, got = "several classes along the last axis", "one, for which softmax always gives 1"
        fix = f"For one number a sample, take flux.{loss.replace('cross', 'binarycross')}."
    elif loss.startswith("logit"):
        wanted, got, fix = "scores, any real numbers", f"what {layer} gives", f"Leave {layer} out of the model."
    else:
        wanted, got = "probabilities" + " that sum to 1 over the classes" * (not binary), f"what {layer} gives"
        fix = f"Take flux.logit{loss}, and let the model give scores, or end it in flux.{_LAST[binary]}."
    warnings.warn(f"{loss}: expected {wanted}, got {got}. {fix}", RuntimeWarning, stacklevel=3)


def _check_classes(loss: str, prediction: Array, target: Array, agg: Any) -> None:
    _check(loss, prediction, target, agg)
    if not getattr(prediction, "shape", ()):
        raise ValueError(
            f"{loss}: expected the classes along the last axis, got a number. "
            f"For one number a sample, take {loss.replace('cross', 'binarycross')}."
        )


@functools.cache
def _eps(dtype: Any) -> float:
    """The machine epsilon, as a Python number: it leaves the dtype of what it is added to."""
    if dtype.kind != "f":
        raise TypeError(f"crossentropy: expected floating-point probabilities as prediction, got {dtype}.")
    return float(np.finfo(dtype).eps)


_squared_error = rule(
    lambda p, t: np.square(p - t),
    lambda g, y, p, t: (g + g) * (p - t),
    lambda g, y, p, t: (g + g) * (t - p),
    rows=(0, 1),
)


def mse(prediction: Array, target: Array, agg: Agg = np.mean) -> Array:
    """Mean squared error: the mean over all elements of (ŷ − y)².

    Arguments:
        prediction, target: arrays of one shape.
        agg: reduces the elements' values to the loss: np.mean, np.sum; `flux.identity` keeps them.

    Returns: a scalar (what `agg` returns).

    Errors: ValueError for different shapes, TypeError for something else than arrays.

    >>> import numpy as np, tinyflux as flux
    >>> flux.mse(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]))
    np.float64(2.0)
    """
    _check("mse", prediction, target, agg)
    return agg(_squared_error(widened(prediction), target))


def mae(prediction: Array, target: Array, agg: Agg = np.mean) -> Array:
    """Mean absolute error: the mean over all elements of |ŷ − y|; its slope at 0 is 0.

    Arguments, returns and errors: as for `mse`.

    >>> import numpy as np, tinyflux as flux
    >>> flux.mae(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]))
    np.float64(1.0)
    """
    _check("mae", prediction, target, agg)
    return agg(np.abs(widened(prediction) - target))


_huber = rule(
    lambda d, delta: np.clip(d, -delta, delta) * (d - 0.5 * np.clip(d, -delta, delta)),
    lambda g, y, d, delta: g * np.clip(d, -delta, delta),
    lambda g, y, d, delta: g * np.maximum(np.abs(d) - delta, 0),
)


def huber(prediction: Array, target: Array, agg: Agg = np.mean, *, delta: float = 1.0) -> Array:
    """The mean over all elements of d²/2 where |d| < δ and δ·(|d| − δ/2) elsewhere, d = ŷ − y (Huber 1964).

    Arguments, returns and errors: as for `mse`, and
        delta: δ, where the parabola goes over into straight lines.

    >>> import numpy as np, tinyflux as flux
    >>> flux.huber(np.array([0.0, 0.0]), np.array([0.5, 4.0]), flux.identity)
    array([0.125, 3.5  ])
    """
    _check("huber", prediction, target, agg)
    if not is_array(delta):
        check_number("huber", "delta", delta, "a number above 0", lambda delta: delta > 0)
    return agg(_huber(widened(prediction) - target, delta))


_crossentropy = rule(
    lambda p, t, eps: -np.einsum("...i,...i->...", t, np.log(p + eps)),
    lambda g, y, p, t, eps: -g[..., None] * t / (p + eps),
    lambda g, y, p, t, eps: -g[..., None] * np.log(p + eps),
    None,
)


def crossentropy(prediction: Array, target: Array, agg: Agg = np.mean) -> Array:
    """The mean over samples of −Σ y·log(ŷ + ε), the sum being over classes, the last axis.

    Arguments, returns and errors: as for `mse`, with
        prediction: probabilities, (…, classes), such as `softmax` gives.
        target: the probabilities wanted, of the same shape: one-hot labels, say.

    ε is the machine epsilon of the prediction's dtype: a probability of 0 costs much, but not infinitely much. So
    the two may change places: crossentropy(y, ŷ) is the reverse cross-entropy (Wang et al. 2019).

    A RuntimeWarning where a gradient is taken and the prediction comes from a function that gives no probabilities.

    >>> import numpy as np, tinyflux as flux
    >>> flux.crossentropy(np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])).round(4)
    np.float64(0.3466)
    """
    _check_classes("crossentropy", prediction, target, agg)
    _check_last_layer("crossentropy", prediction)
    return agg(_crossentropy(prediction, target, _eps(prediction.dtype)))


_logitcrossentropy = rule(
    lambda x, t: -np.einsum("...i,...i->...", t, logsoftmax(x)),
    lambda g, y, x, t: g[..., None] * (softmax(x) * t.sum(axis=-1, keepdims=True) - t),
    lambda g, y, x, t: -g[..., None] * logsoftmax(x),
)


def logitcrossentropy(prediction: Array, target: Array, agg: Agg = np.mean) -> Array:
    """`crossentropy` of softmax(ŷ), computed stably and without an ε: the mean over samples of −Σ y·logsoftmax(ŷ).

    Arguments, returns and errors: as for `mse`, with
        prediction: logits, any real numbers, (…, classes).
        target: the probabilities wanted, of the same shape: one-hot labels, say.

    Also a ValueError where a gradient is taken by the target while the prediction holds labels, all 0 or 1; and a
    RuntimeWarning where the prediction comes from softmax or sigmoid, or is for one class alone.

    >>> import numpy as np, tinyflux as flux
    >>> flux.logitcrossentropy(np.array([[0.0, 1e4], [0.0, 1e4]]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    np.float64(5000.0)
    """
    _check_classes("logitcrossentropy", prediction, target, agg)
    _check_last_layer("logitcrossentropy", prediction)
    _check_labels("logitcrossentropy", prediction, target)
    return agg(_logitcrossentropy(prediction, target))


_binarycrossentropy = rule(
    lambda p, t, eps: -special.xlogy(t, p + eps) - special.xlogy(1 - t, 1 - p + eps),
    lambda g, y, p, t, eps: g * ((1 - t) / (1 - p + eps) - t / (p + eps)),
    lambda g, y, p, t, eps: g * (np.log(1 - p + eps) - np.log(p + eps)),
    None,
)


def binarycrossentropy(prediction: Array, target: Array, agg: Agg = np.mean) -> Array:
    """The mean over all elements of −y·log(ŷ + ε) − (1 − y)·log(1 − ŷ + ε), where 0·log(…) is 0.

    Arguments, returns and errors: as for `mse`, with
        prediction: probabilities, such as `sigmoid` gives.
        target: the probabilities wanted, 0 or 1 mostly, of the same shape.

    ε is the machine epsilon of the prediction's dtype.

    >>> import numpy as np, tinyflux as flux
    >>> flux.binarycrossentropy(np.array([0.5, 1.0]), np.array([1.0, 1.0])).round(4)
    np.float64(0.3466)
    """
    _check("binarycrossentropy", prediction, target, agg)
    _check_last_layer("binarycrossentropy", prediction)
    return agg(_binarycrossentropy(prediction, target, _eps(prediction.dtype)))


_logitbinarycrossentropy = rule(
    # Where a label is 0 or 1 this form loses no digit to cancellation.
    lambda x, t: np.maximum(x, 0) - t * x + np.log1p(np.exp(-np.abs(x))),
    lambda g, y, x, t: g * (special.expit(x) - t),
    lambda g, y, x, t: -g * x,
)


def logitbinarycrossentropy(prediction: Array, target: Array, agg: Agg = np.mean) -> Array:
    """`binarycrossentropy` of σ(ŷ), computed stably and without an ε: the mean of (1 − y)·ŷ − log σ(ŷ).

    Arguments, returns and errors: as for `mse`, with
        prediction: logits, any real numbers.
        target: the probabilities wanted, 0 or 1 mostly, of the same shape.

    Also a ValueError where a gradient is taken by the target while the prediction holds labels, all 0 or 1.

    >>> import numpy as np, tinyflux as flux
    >>> flux.logitbinarycrossentropy(np.array([1e4, -1e4]), np.array([1.0, 1.0]))
    np.float64(5000.0)
    """
    _check("logitbinarycrossentropy", prediction, target, agg)
    _check_last_layer("logitbinarycrossentropy", prediction)
    _check_labels("logitbinarycrossentropy", prediction, target)
    return agg(_logitbinarycrossentropy(widened(prediction), target))
