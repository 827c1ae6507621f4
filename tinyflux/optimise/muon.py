"""Muon: descent along matrices whose directions all count the same."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..types import Array, Number
from .adam import AdamW
from .rule import Rule, State, check_rule, rule_for

__all__ = ["Muon"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # those of the published program
ITERATIONS = 5
LEAST_NORM = 1e-7
OTHERS = AdamW()


@dataclass(frozen=True)
class Muon(Rule):
    """Momentum that is made orthogonal: of a matrix, every direction moves by about the same.

        b ← ρb + (1−ρ)g,  u = ρb + (1−ρ)g,  Δ = η(s·O(u) + λx)

    O(u) is near UVᵀ, where u = USVᵀ: five times X ← aX + (bA + cA²)X with A = XXᵀ, from X = u/max(‖u‖, 1e-7), with
    (a, b, c) = (3.4445, −4.7750, 2.0315), which brings singular values to between 0.7 and 1.2. A parameter of n axes is
    taken as a matrix, (out, all the rest): as the kernel of a convolution, it has a row for each output.

    Arguments:
        eta: the learning rate η.
        rho: the share ρ of the average that stays, in [0, 1).
        lambda_: the decay λ of the parameters, decoupled from the gradient as in AdamW.
        form: the factor s of a matrix (m, n): "original" is √max(1, m/n); "match_rms_adamw" is 0.2·√max(m, n), with
            which steps are as large as AdamW's, and so is a good η.
        others: the rule for parameters of fewer than two axes, such as biases; None refuses them in `setup`.

    `setup` gives each parameter its rule. Where more is to be left to Adam, as the last layer by custom, give `setup` a
    function of the parameter; see there.

    Errors: ValueError for a rate outside [0, 1), or another form; TypeError where `others` is no rule.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the average and the Nesterov step as
    in their program of today and in torch.optim.Muon (at first it was b ← ρb + g). Those calculate O in bfloat16, we in
    the parameter's own dtype. "match_rms_adamw": Liu et al., "Muon is scalable for LLM training", 2025.

    >>> import numpy as np, tinyflux as flux
    >>> rule, x = flux.Muon(eta=1.0), np.zeros((2, 2))
    >>> state, delta = rule.apply(rule.init(x), x, np.array([[0.0, 300.0], [-1.0, 0.0]]))
    >>> delta.round(1)
    array([[ 0. ,  0.7],
           [-1.2,  0. ]])
    """

    eta: Number = 0.02
    rho: Number = 0.95
    lambda_: Number = 0.0
    form: str = "original"
    others: Any = OTHERS
    forms = ("original", "match_rms_adamw")
    whole = "array"
    averages = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.others is not None:
            check_rule("Muon", self.others)

    def rule_for(self, x: Array) -> Any:
        if x.ndim >= 2:
            return dataclasses.replace(self, others=None)
        if self.others is None:
            raise ValueError(f"Muon steps matrices, got shape {x.shape}. Say what is to step it: others=flux.AdamW(…).")
        return rule_for(self.others, x)

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        if x.ndim < 2:
            raise ValueError(f"Muon: expected a parameter of two or more axes, got shape {x.shape}.")
        rows, columns = x.shape[0], math.prod(x.shape[1:])
        b = self.rho * state[0] + (1 - self.rho) * g
        u = self.rho * b + (1 - self.rho) * g
        direction = _orthogonal(u.reshape(rows, columns)).reshape(x.shape)
        if self.form == "original":
            scale = max(1, rows / max(1, columns)) ** 0.5
        else:
            scale = 0.2 * max(rows, columns) ** 0.5
        return (b,), (self.eta * scale) * direction + (self.eta * self.lambda_) * x


def _orthogonal(u: Array) -> Array:
    """A matrix with the singular vectors of u, and singular values near 1."""
    if not u.size:
        return u
    a, b, c = COEFFICIENTS
    x = u if u.shape[0] <= u.shape[1] else u.T
    x = x / np.maximum(np.max(np.abs(x)), LEAST_NORM)  # whose squares are no infinity
    x = x / np.maximum(np.sqrt(np.sum(x.astype(np.float64) ** 2)), 1).astype(x.dtype)  # in all u/max(‖u‖, 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x if u.shape[0] <= u.shape[1] else x.T
