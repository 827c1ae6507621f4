"""Descent, and the rules that add to it a memory of earlier gradients."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..types import Array, Number
from .rule import Rule, State, is_rate, number

__all__ = ["ASGD", "QHM", "AggMo", "Descent", "Lion", "Momentum", "Nesterov", "YellowFin"]


@dataclass(frozen=True)
class Descent(Rule):
    """Gradient descent: Δ = η·g.

    Arguments:
        eta: the learning rate η.

    >>> import numpy as np, tinyflux as flux
    >>> flux.Descent(0.5).apply((), np.array([1.0]), np.array([4.0]))
    ((), array([2.]))
    """

    eta: Number = 0.1

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        return (), self.eta * g


@dataclass(frozen=True)
class Momentum(Rule):
    """Descent with a velocity, which keeps going where gradients agree and calms down where they alternate.

        v ← ρv + η·g,  Δ = v

    Arguments:
        eta: the learning rate η.
        rho: the share ρ of the velocity that stays, in [0, 1).
        form: "flux" has η inside the velocity, "torch" outside: v ← ρv + g, Δ = η·v. They part once η changes.

    Errors: ValueError for a rate outside [0, 1), or another form.

    Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.

    >>> import numpy as np, tinyflux as flux
    >>> rule, x, g = flux.Momentum(eta=0.5, rho=0.5), np.array([0.0]), np.array([4.0])
    >>> state, first = rule.apply(rule.init(x), x, g)
    >>> state, second = rule.apply(state, x, g)
    >>> first, second
    (array([2.]), array([3.]))
    """

    eta: Number = 0.01
    rho: Number = 0.9
    form: str = "flux"
    forms = ("flux", "torch")
    averages = 1

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        (v,) = state
        if self.form == "torch":
            v = self.rho * v + g
            return (v,), self.eta * v
        v = self.rho * v + self.eta * g
        return (v,), v


@dataclass(frozen=True)
class Nesterov(Rule):
    """Momentum that takes the gradient a step ahead, where the velocity is about to lead.

        Δ = (1 + ρ)η·g − ρ²v,  v ← ρv − η·g

    where v points downhill, and Δ is taken before v changes.

    Arguments: as for `Momentum`.

    Nesterov, "A method of solving a convex programming problem with convergence rate O(1/k²)", 1983; in the form of
    Bengio et al., "Advances in optimizing recurrent networks", 2013.

    >>> import numpy as np, tinyflux as flux
    >>> rule = flux.Nesterov(eta=0.5, rho=0.5)
    >>> rule.apply(rule.init(np.array([0.0])), np.array([0.0]), np.array([4.0]))[1]
    array([3.])
    """

    eta: Number = 0.001
    rho: Number = 0.9
    averages = 1

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        (v,) = state
        step = self.eta * g
        v = self.rho * v - step
        return (v,), step - self.rho * v


@dataclass(frozen=True)
class QHM(Rule):
    """Quasi-hyperbolic momentum: between the gradient and its average.

        b ← βb + (1−β)g,  Δ = η[(1−ν)g + νb]

    Arguments:
        eta: the learning rate η.
        nu: the weight ν of the average; 0 is plain descent.
        beta: the decay rate β of the average, in [0, 1).

    Errors: ValueError for a rate outside [0, 1).

    Ma & Yarats, "Quasi-hyperbolic momentum and Adam for deep learning", 2019; the defaults are theirs.

    >>> import numpy as np, tinyflux as flux
    >>> rule = flux.QHM(eta=1.0, nu=0.5, beta=0.75)
    >>> rule.apply(rule.init(np.array([0.0])), np.array([0.0]), np.array([4.0]))[1]
    array([2.5])
    """

    eta: Number = 0.1
    nu: Number = 0.7
    beta: Number = 0.999
    averages = 1

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        (b,) = state
        b = self.beta * b + (1 - self.beta) * g
        return (b,), self.eta * ((1 - self.nu) * g + self.nu * b)


@dataclass(frozen=True)
class AggMo(Rule):
    """Aggregated momentum: the mean of several velocities, of which the fast ones damp the slow ones.

        vᵢ ← βᵢvᵢ + g,  Δ = η·mean(vᵢ)

    Arguments:
        eta: the learning rate η.
        beta: the damping βᵢ of each velocity, each in [0, 1).

    Errors: ValueError for a rate outside [0, 1), or none at all.

    Lucas, Sun, Zemel & Grosse, "Aggregated momentum: stability through passive damping", 2019.

    >>> import numpy as np, tinyflux as flux
    >>> rule, x, g = flux.AggMo(eta=1.0, beta=(0.0, 0.5)), np.array([0.0]), np.array([4.0])
    >>> state, _ = rule.apply(rule.init(x), x, g)
    >>> rule.apply(state, x, g)[1]  # the mean of 4 and 6
    array([5.])
    """

    eta: Number = 0.1
    beta: tuple[Number, ...] = (0.0, 0.9, 0.99)

    def init(self, x: Array) -> State:
        return tuple([np.zeros_like(x) for _ in self.beta])

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        velocities = tuple([beta * v + g for beta, v in zip(self.beta, state)])
        return velocities, (self.eta / len(velocities)) * sum(velocities[1:], velocities[0])


@dataclass(frozen=True)
class Lion(Rule):
    """Sign descent: every element moves by η, in the direction of gradient and momentum together.

        Δ = η·sign(β₁m + (1−β₁)g),  m ← β₂m + (1−β₂)g

    Arguments:
        eta: the learning rate η: three to ten times smaller than one for Adam.
        beta: (β₁, β₂), each in [0, 1): the weight of m in the step, and its decay rate.

    Errors: ValueError for rates outside [0, 1).

    Chen et al., "Symbolic discovery of optimization algorithms", 2023. (Optimisers.jl 0.4.8 has the weights of the
    average the other way round.)

    >>> import numpy as np, tinyflux as flux
    >>> rule = flux.Lion(eta=0.5)
    >>> rule.apply(rule.init(np.zeros(3)), np.zeros(3), np.array([7.0, -0.1, 0.0]))[1]
    array([ 0.5, -0.5,  0. ])
    """

    eta: Number = 0.001
    beta: tuple[Number, Number] = (0.9, 0.99)
    averages = 1

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        (m,) = state
        beta1, beta2 = self.beta
        delta = self.eta * np.sign(beta1 * m + (1 - beta1) * g)
        return (beta2 * m + (1 - beta2) * g,), delta


@dataclass(frozen=True)
class ASGD(Rule):
    """Averaged descent: the rate falls, and the average of the parameters is kept beside them.

        Δ = ηₜ(g + λx),  a ← a + μₜ(x − Δ − a)
        η₁ = η,  ηₜ₊₁ = η/(1 + ληt)ᵅ,  μ₁ = 1,  μₜ₊₁ = 1/max(1, t − t₀)

    Arguments:
        eta: the first learning rate η; a change of it is seen from the step after the next on.
        lambda_: the decay λ, of the parameters and of the rate.
        alpha: the power α with which the rate falls.
        t0: the step t₀ from which on the parameters are averaged; until then the average is the parameter.

    `averaged` makes a model of the averages a.

    Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", 1992; as torch.optim.ASGD has it.

    >>> import numpy as np, tinyflux as flux
    >>> model = [np.array([1.0])]
    >>> opt = flux.setup(flux.ASGD(eta=0.5, lambda_=0.0, t0=0), model)
    >>> for _ in range(3):
    ...     flux.update(opt, model, [np.array([1.0])])
    >>> model, flux.averaged(model, opt)  # after 0.5, 0.0, -0.5: the average of the last two
    ([array([-0.5])], [array([-0.25])])
    """

    eta: Number = 0.01
    lambda_: Number = 1e-4
    alpha: Number = 0.75
    t0: Number = 1e6

    def init(self, x: Array) -> State:
        return np.zeros_like(x), 0, float(self.eta), 1.0  # the average, the steps made, and η and μ of the step to come

    def accepts(self, given: State) -> bool:
        return is_rate(given[2])

    def average(self, state: State, x: Array) -> Array:
        return x if state[1] == 0 else state[0]

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        average, t, eta, mu = state
        delta = eta * g + (eta * self.lambda_) * x
        average = (1 - mu) * average + mu * (x - delta)
        t = t + 1
        eta = self.eta / (1 + self.lambda_ * self.eta * t) ** self.alpha
        return (average, t, eta, 1 / number(np.maximum(1.0, t - self.t0))), delta


@dataclass(frozen=True)
class YellowFin(Rule):
    """Momentum whose rate α and momentum μ are the best for a noisy quadratic like the one met so far.

        v ← μv + ηαg,  Δ = v
        μ = max(z², ((κ−1)/(κ+1))²),  α = (1−√μ)²/h₋,  κ = √(h₊/h₋)

    where z in [0, 1] solves zD² = 2(1−z)³C/h₋². The rule measures, over all parameters together: the extremes h₊ and
    h₋ of h = ‖g‖² over a window; the variance C of g; and the distance D, an average of ‖g‖/h. Each is averaged
    with the decay β, corrected for its start; the extremes as logarithms. Steps without a gradient don't count.

    Arguments:
        eta: a factor η on the tuned rate; the paper starts slowly with `flux.schedules.Warmup(1.0, 10 * window)`.
        beta: the decay rate β of the averages, in [0, 1).
        window: over how many steps the extremes are taken.

    Errors: ValueError for a rate outside [0, 1), or a window below 1.

    Zhang & Mitliagkas, "YellowFin and the art of momentum tuning", 2019. What only their program does, such as averages
    of α and μ and limits to the growth of h₊, is left out.

    >>> import numpy as np, tinyflux as flux
    >>> model = [np.array([1.0, -3.0])]
    >>> opt = flux.setup(flux.YellowFin(), model)
    >>> for _ in range(1000):
    ...     flux.update(opt, model, flux.gradient(lambda m: np.sum(np.array([1.0, 10.0]) * m[0] ** 2), model))
    >>> bool(np.linalg.norm(model[0]) < 0.01)
    True
    """

    eta: Number = 1.0
    beta: Number = 0.999
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
