"""YellowFin: momentum that tunes itself by what it measures of the gradient."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..types import Array
from .rule import Rule, State, is_rate, number


@dataclass(frozen=True)
class YellowFin(Rule):
    """Momentum whose rate α and momentum μ are the best for a noisy quadratic like the one met so far.

        v ← μv + ηαg,  Δ = v,  with  μ = max(x², ((κ−1)/(κ+1))²),  α = (1−√μ)²/h_min,  κ = √(h_max/h_min)

    where x in [0, 1] solves xD² = 2(1−x)³C/h_min². Measured over all parameters together are the extremes h_max and
    h_min of h = ‖g‖² over a window, the variance C of g, and the distance D, the average of ‖g‖/h; all are averages
    that decay with β, without the bias towards their start; those of the extremes are of logarithms. A step whose
    gradient is zero is not measured.

    Arguments:
        eta: a factor η on the tuned rate; the paper starts slowly with `flux.schedules.Warmup(1.0, 10 * window)`.
        beta: the decay rate β of the averages, in [0, 1).
        window: over how many steps the extremes are taken.

    Errors: ValueError for a rate outside [0, 1), or a window below 1.

    Zhang & Mitliagkas, "YellowFin and the art of momentum tuning", 2019. What only their program does, such as averages
    of α and μ and limits to the growth of h_max, is not done here.

    >>> import numpy as np, tinyflux as flux
    >>> model = [np.array([1.0, -3.0])]
    >>> opt = flux.setup(flux.YellowFin(), model)
    >>> for _ in range(1000):
    ...     flux.update(opt, model, flux.gradient(lambda m: np.sum(np.array([1.0, 10.0]) * m[0] ** 2), model))
    >>> bool(np.linalg.norm(model[0]) < 0.01)
    True
    """

    eta: float = 1.0
    beta: float = 0.999
    window: int = 20
    whole = "model"
    squares = (2,)

    def init(self, x: Array) -> State:
        arrays = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
        averages, weight, recent = (0.0,) * 5, 1.0, (0.0,) * self.window
        return (*arrays, *averages, weight, *recent)

    def accepts(self, given: State) -> bool:
        _, _, *positive, weight = given[:6]
        return is_rate(weight) and min(*positive, *given[6:]) >= 0

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        v, mean, square, log_high, log_low, norm, squared_norm, distance, weight, *recent = state
        h = number(np.sum(g * g, dtype=np.float64))
        measured, first = h != 0, weight == 1
        beta = number(np.where(measured, self.beta, 1.0))  # 1 leaves the averages as they are

        def averaged(old: Any, new: Any) -> Any:
            return beta * old + (1 - beta) * new

        seen = [np.where(first, h, old) for old in (*recent[1:], h)]
        recent = [number(np.where(measured, new, old)) for old, new in zip(recent, seen)]
        high, low = (np.where(measured, functools.reduce(f, recent), 1.0) for f in (np.maximum, np.minimum))
        log_high, log_low = averaged(log_high, np.log(high)), averaged(log_low, np.log(low))
        norm, squared_norm = averaged(norm, np.sqrt(h)), averaged(squared_norm, h)
        distance = averaged(distance, norm / np.where(squared_norm == 0, 1.0, squared_norm))
        mean, square = averaged(mean, g), averaged(square, g * g)

        weight = weight * beta  # of the zeros that the averages started with
        share = number(np.where(weight == 1, 1.0, 1 - weight))
        variance = np.sum(square / share - (mean / share) ** 2, dtype=np.float64)
        mu, alpha = _tuned(np.exp(log_high / share), np.exp(log_low / share), variance, distance / share)
        v = number(mu) * v + (self.eta * number(alpha)) * g
        numbers = (log_high, log_low, norm, squared_norm, distance, weight)
        return (v, mean, square, *map(number, numbers), *recent), v


def _tuned(high: Any, low: Any, variance: Any, distance: Any) -> tuple[Any, Any]:
    """Momentum and rate from the measurements: the closed form of the cubic, with y for 1 − x.

    y³ = q²(1 − y) with q = D·h_min/√(2C) has one real root; written with sinh it keeps its digits for any q.
    """
    noisy = variance > 0  # rounding can take it below
    q = np.where(noisy, distance * low / np.sqrt(2 * np.where(noisy, variance, 1.0)), 1.0)
    y = (2 / 3**0.5) * q * np.sinh(np.arcsinh(1.5 * 3**0.5 / q) / 3)
    y = np.minimum(np.where(noisy, y, 1.0), 2 / (np.sqrt(high / low) + 1))
    return (1 - y) ** 2, y * y / low
