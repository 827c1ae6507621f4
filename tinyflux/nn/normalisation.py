"""Normalising: numbers are brought to mean 0 and variance 1, the gradient knowing that both depend on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autodiff.rule import rule, variadic
from ..autodiff.tape import apply
from ..types import Array


def moments(x: Array, axis: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean and (biased) variance along axes, which are kept with length 1."""
    mean = np.mean(x, axis=axis, keepdims=True)
    return mean, _variance(x, mean, axis=axis)


def _spread(x: Array, mean: Array, axis: Any = ()) -> Array:
    return np.mean(np.square(x - mean), axis=axis, keepdims=True)


# Nothing flows to the mean: the sum of deviations from it is 0.
_variance: Any = rule(_spread, lambda g, y, x, mean, axis=(): (x - mean) * (g * (2 * y.size / (x.size or 1))), None)


def normalised(
    x: Array,
    mean: Array,
    variance: Array,
    weight: Array | None,
    bias: Array | None,
    axis: tuple[int, ...],
    epsilon: float,
) -> Array:
    """(x − mean) / √(variance + ε) · weight + bias.

    Arguments:
        x: any array.
        mean, variance: its `moments`. Their gradient is part of x's.
        weight, bias: None, or arrays that are alike all along `axis`; of the last axes of x.
    """
    return apply(_normalised, (x, weight, bias, mean, variance), {"axis": axis, "epsilon": epsilon})


def _normalised(
    x: Array, weight: Array | None, bias: Array | None, mean: Array, variance: Array, axis: Any = (), epsilon: float = 0
) -> Array:
    gain = 1 / np.sqrt(variance + epsilon)
    y = (x - mean) * (gain if weight is None else gain * weight)
    return y if bias is None else y + bias


def _pulled_back(
    positions: list[int], g: Array, y: Array, x: Array, weight: Any, bias: Any, mean: Array, variance: Array,
    axis: Any = (), epsilon: float = 0,
) -> list[Any]:  # fmt: skip
    """r · w · (g − mean g − x̂ · mean(g · x̂)), Σ g · x̂, and Σ g, with r = 1 / √(variance + ε) and x̂ = (x − mean) · r."""
    deviation = x - mean
    gain = 1 / np.sqrt(variance + epsilon)
    total = np.sum(g, axis=axis, keepdims=True)
    along = np.sum(g * deviation, axis=axis, keepdims=True) * gain
    count = x.size // (mean.size or 1)
    found: dict[int, Any] = {}
    if 0 in positions:
        factor = gain if weight is None else gain * weight
        found[0] = factor * g - (deviation * (factor * gain * along / count) + factor * total / count)
    for k, (parameter, cotangent) in enumerate(((weight, along), (bias, total)), 1):
        if k in positions:
            leading = tuple(range(cotangent.ndim - parameter.ndim))
            found[k] = np.sum(cotangent, axis=leading).reshape(parameter.shape)
    return [found.get(k) for k in positions]


variadic(_normalised, _pulled_back)
