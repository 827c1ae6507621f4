"""The optimisers: each a small record of hyperparameters that knows nothing of models.

A rule has two methods on one array. `init(x)` gives its state for the parameter x: arrays like x first, then plain
numbers. `apply(state, x, g)` gives the next state and the step Δ for the gradient g; whoever called it then sets
x ← x − Δ. Both are pure NumPy expressions. Numbers in the state are Python floats, so that they stay exact in float64
and leave a float32 array float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

State = tuple[Any, ...]


@dataclass(frozen=True)
class Descent:
    """Gradient descent: Δ = η·g.

    Arguments:
        eta: the learning rate η.

    >>> import numpy as np, tinyflux as flux
    >>> flux.Descent(0.5).apply((), np.array([1.0]), np.array([4.0]))
    ((), array([2.]))
    """

    eta: float = 0.1

    def init(self, x: Any) -> State:
        return ()

    def apply(self, state: State, x: Any, g: Any) -> tuple[State, Any]:
        return (), self.eta * g


@dataclass(frozen=True)
class Adam:
    """Adam: steps of the size η, scaled by averages of the gradient and of its square.

        m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  Δ = η·m̂/(√v̂ + ε)  with  m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ)

    Arguments:
        eta: the learning rate η.
        beta: the decay rates (β₁, β₂) of the two averages, each in [0, 1).
        epsilon: ε, added after the bias correction (some libraries add it before, which changes its meaning).

    Errors: ValueError for rates outside [0, 1).

    Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015.

    >>> import numpy as np, tinyflux as flux
    >>> rule = flux.Adam(eta=0.1)
    >>> state, step = rule.apply(rule.init(np.array([1.0])), np.array([1.0]), np.array([4.0]))
    >>> step.round(6)  # the first step has the size η whatever the gradient's
    array([0.1])
    """

    eta: float = 0.001
    beta: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        if not (isinstance(self.beta, (tuple, list)) and len(self.beta) == 2 and all(0 <= b < 1 for b in self.beta)):
            raise ValueError(f"Adam: expected beta to be two numbers in [0, 1), got {self.beta!r}.")

    def init(self, x: Any) -> State:
        beta1, beta2 = self.beta
        return np.zeros_like(x), np.zeros_like(x), beta1, beta2  # m, v and the powers β₁ᵗ, β₂ᵗ of the step to come

    def apply(self, state: State, x: Any, g: Any) -> tuple[State, Any]:
        m, v, power1, power2 = state
        beta1, beta2 = self.beta
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * (g * g)
        delta = (self.eta / (1 - power1)) * m / (np.sqrt(v * (1 / (1 - power2))) + self.epsilon)
        return (m, v, power1 * beta1, power2 * beta2), delta


ADAM = Adam
