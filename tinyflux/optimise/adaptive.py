"""Rules that scale every element's step by the size of its own earlier gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Array, Number
from .rule import Rule, State

__all__ = ["AdaDelta", "AdaGrad", "RMSProp"]


@dataclass(frozen=True)
class RMSProp(Rule):
    """RMSProp: the gradient over the root of its mean square.

        q ← ρq + (1−ρ)g²,  Δ = ηg/(√q + ε)
        centred:  l ← ρl + (1−ρ)g,  Δ = ηg/(√(q − l²) + ε)

    Arguments:
        eta: the learning rate η.
        rho: the decay rate ρ of the averages, in [0, 1).
        epsilon: ε, added to the root.
        centred: whether the mean gradient is taken off, so that the root is the standard deviation.

    Errors: ValueError for a rate outside [0, 1).

    Tieleman & Hinton, lecture 6.5 of "Neural networks for machine learning", 2012; centred: Graves, "Generating
    sequences with recurrent neural networks", 2013.

    >>> import numpy as np, tinyflux as flux
    >>> rule = flux.RMSProp(eta=0.5, rho=0.75)
    >>> rule.apply(rule.init(np.zeros(1)), np.zeros(1), np.array([4.0]))[1].round(6)
    array([1.])
    """

    eta: Number = 0.001
    rho: Number = 0.9
    epsilon: Number = 1e-8
    centred: bool = False
    squares = (0,)

    def init(self, x: Array) -> State:
        return (np.zeros_like(x), np.zeros_like(x)) if self.centred else (np.zeros_like(x),)

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        q = self.rho * state[0] + (1 - self.rho) * (g * g)
        if not self.centred:
            return (q,), self.eta * g / (np.sqrt(q) + self.epsilon)
        mean = self.rho * state[1] + (1 - self.rho) * g
        variance = np.maximum(q - mean * mean, 0)  # rounding can take it below
        return (q, mean), self.eta * g / (np.sqrt(variance) + self.epsilon)


@dataclass(frozen=True)
class AdaGrad(Rule):
    """AdaGrad: the gradient over the root of the sum of all its squares.

        a ← a + g²,  Δ = ηg/(√a + ε)

    Arguments:
        eta: the learning rate η.
        epsilon: ε, added to the root.
        initial: what the sum a starts at; None for ε, as in Flux (PyTorch: 0, Optax: 0.1).

    Duchi, Hazan & Singer, "Adaptive subgradient methods for online learning and stochastic optimization", 2011.

    >>> import numpy as np, tinyflux as flux
    >>> rule = flux.AdaGrad(eta=0.5, initial=9.0)
    >>> rule.apply(rule.init(np.zeros(1)), np.zeros(1), np.array([4.0]))[1].round(6)
    array([0.4])
    """

    eta: Number = 0.1
    epsilon: Number = 1e-8
    initial: Number | None = None
    squares = (0,)

    def init(self, x: Array) -> State:
        return (np.full_like(x, self.epsilon if self.initial is None else self.initial),)

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        a = state[0] + g * g
        return (a,), self.eta * g / (np.sqrt(a) + self.epsilon)


@dataclass(frozen=True)
class AdaDelta(Rule):
    """AdaDelta: steps in the units of the parameters, without a learning rate.

        a ← ρa + (1−ρ)g²,  Δ = g·√(d + ε)/√(a + ε),  d ← ρd + (1−ρ)Δ²

    Arguments:
        rho: the decay rate ρ of both averages, in [0, 1).
        epsilon: ε, added under both roots; the first steps have its size.

    Errors: ValueError for a rate outside [0, 1).

    Zeiler, "ADADELTA: an adaptive learning rate method", 2012.

    >>> import numpy as np, tinyflux as flux
    >>> rule = flux.AdaDelta(rho=0.75, epsilon=0.01)
    >>> rule.apply(rule.init(np.zeros(1)), np.zeros(1), np.array([4.0]))[1].round(3)
    array([0.2])
    """

    rho: Number = 0.9
    epsilon: Number = 1e-8
    averages = 2
    squares = (0, 1)

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        a, d = state
        a = self.rho * a + (1 - self.rho) * (g * g)
        delta = g * np.sqrt(d + self.epsilon) / np.sqrt(a + self.epsilon)
        return (a, self.rho * d + (1 - self.rho) * (delta * delta)), delta
