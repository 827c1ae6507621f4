"""Rules that stand after the one that makes the steps: they average the parameters that it leads to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import is_number, shown
from ..types import Array, Number
from .rule import Rule, State, check_rates, first_value, is_rule, number

__all__ = ["EMA", "Lookahead"]


@dataclass(frozen=True)
class EMA(Rule):
    """The exponential moving average of the parameters, kept beside them: a ← δa + (1−δ)(x − Δ). Steps stay the same.

    It stands last in a chain; `averaged` makes a model of the averages, which begin with the parameters of `setup`.

    Arguments:
        decay: the decay rate δ, in [0, 1). A schedule lets it start low, so that the first parameters are soon
            forgotten: decay=lambda t: np.minimum(0.999, (1 + t) / (10 + t)).

    Errors: ValueError for a rate outside [0, 1); TypeError for a rule, which belongs before it.

    >>> import numpy as np, tinyflux as flux
    >>> model = [np.array([1.0])]
    >>> opt = flux.setup(flux.OptimiserChain(flux.Descent(0.5), flux.EMA(0.75)), model)
    >>> flux.update(opt, model, [np.array([4.0])])
    >>> model, flux.averaged(model, opt)
    ([array([-1.])], [array([0.5])])
    """

    decay: Number = 0.999
    last = True

    def __post_init__(self) -> None:
        _refuse_rule(self, self.decay)
        super().__post_init__()
        check_rates(self, "decay")

    def init(self, x: Array) -> State:
        return (x.copy(),)

    def average(self, state: State, x: Array) -> Array:
        return state[0]

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        return (self.decay * state[0] + (1 - self.decay) * (x - g),), g


@dataclass(frozen=True)
class Lookahead(Rule):
    """Every k steps the parameters go back to slow ones, which have moved a part of the way towards them.

        every k steps:  s ← s + α(x − Δ − s),  x ← s;  in between Δ stays as it is

    It stands after a rule in a chain. The rule's own averages go on, as in the paper's default. `averaged` gives the
    slow parameters s, which begin with those of `setup`.

    Arguments:
        k: how many steps lead to one of the slow parameters, at least 1.
        alpha: the share α of the way that these go, in [0, 1].

    Errors: ValueError for another k or α; TypeError for a rule, which belongs before it.

    Zhang, Lucas, Hinton & Ba, "Lookahead optimizer: k steps forward, 1 step back", 2019.

    >>> import numpy as np, tinyflux as flux
    >>> model = [np.array([0.0])]
    >>> opt = flux.setup(flux.OptimiserChain(flux.Descent(1.0), flux.Lookahead(k=2)), model)
    >>> for _ in range(3):
    ...     flux.update(opt, model, [np.array([1.0])])
    ...     print(model[0])
    [-1.]
    [-1.]
    [-2.]
    """

    k: int = 5
    alpha: Number = 0.5
    last = True

    def __post_init__(self) -> None:
        _refuse_rule(self, self.k)
        super().__post_init__()
        alpha = first_value(self.alpha)
        if not (is_number(alpha) and alpha <= 1):
            raise ValueError(f"Lookahead: expected alpha to be a number in [0, 1], got {shown(self.alpha)}.")

    def init(self, x: Array) -> State:
        return x.copy(), 0  # the slow parameters, and the steps since they moved

    def average(self, state: State, x: Array) -> Array:
        return state[0]

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        slow, t = state
        due = t + 1 >= self.k  # of a compiled step, known when it runs
        if due is False:
            return (slow, t + 1), g
        moved = slow + self.alpha * (x - g - slow)
        if due is True:
            return (moved, 0), x - moved
        return (np.where(due, moved, slow), number(np.where(due, 0, t + 1))), np.where(due, x - moved, g)


def _refuse_rule(rule: Any, given: Any) -> None:
    name = type(rule).__name__
    if is_rule(given) or isinstance(given, type):
        raise TypeError(f"{name} stands after a rule: flux.OptimiserChain(rule, flux.{name}(…)).")
