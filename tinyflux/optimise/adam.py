"""Adam: steps of the size η, scaled by averages of the gradient and of its square; and the rules that vary it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..types import Array, Number
from .rule import Rule, State, check_rates, is_rate, number

__all__ = ["ADAM", "AMSGrad", "AdaBelief", "AdaMax", "Adam", "AdamW", "NAdam", "OAdam", "Padam", "QHAdam", "RAdam"]


class Averaging(Rule):
    """What Adam and its relatives have in common: averages m of g and v of g², and products of all β₁ and β₂ so far.

    The products are the powers β₁ᵗ and β₂ᵗ of the bias correction, unless a schedule changes β.
    """

    eta: Number
    beta: tuple[Number, Number]
    epsilon: Number

    averages: ClassVar[int] = 2
    squares: ClassVar[tuple[int, ...]] = (1,)

    def init(self, x: Array) -> State:
        return (*super().init(x), 1.0, 1.0)

    def accepts(self, given: State) -> bool:
        return all(is_rate(x) for x in given if isinstance(x, float))

    def _averaged(self, g: Array, m: Any, v: Any, *powers: Any) -> tuple[Any, ...]:
        """m, v, and the powers, if there are any, after the gradient g."""
        beta1, beta2 = self.beta
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * (g * g)
        return (m, v, powers[0] * beta1, powers[1] * beta2) if powers else (m, v)

    def _step(self, m: Any, v: Any, power1: Any, power2: Any) -> Any:
        """η·m̂/(√v̂ + ε)."""
        return (self.eta / (1 - power1)) * m / (np.sqrt(v * (1 / (1 - power2))) + self.epsilon)


@dataclass(frozen=True)
class Adam(Averaging):
    """Adam: steps of the size η, scaled by averages of the gradient and of its square.

        m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²
        Δ = η·m̂/(√v̂ + ε),  m̂ = m/(1−β₁ᵗ),  v̂ = v/(1−β₂ᵗ)

    Arguments:
        eta: the learning rate η.
        beta: the decay rates (β₁, β₂) of the two averages, each in [0, 1).
        epsilon: ε, added after the bias correction (some libraries add it before, which changes its meaning).

    Errors: ValueError for rates outside [0, 1).

    Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015.

    >>> import numpy as np, tinyflux as flux
    >>> rule, x = flux.Adam(eta=0.1), np.array([1.0])
    >>> rule.apply(rule.init(x), x, np.array([4.0]))[1].round(6)  # η, whatever the gradient
    array([0.1])
    """

    eta: Number = 0.001
    beta: tuple[Number, Number] = (0.9, 0.999)
    epsilon: Number = 1e-8

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        m, v, power1, power2 = self._averaged(g, *state)
        return (m, v, power1, power2), self._step(m, v, power1, power2)


ADAM = Adam


@dataclass(frozen=True)
class AdamW(Averaging):
    """Adam with decoupled weight decay: the decay is no part of the gradient, and is not scaled by its averages.

        Δ = η·(m̂/(√v̂ + ε) + λx)

    Arguments and errors: as for `Adam`, and
        lambda_: the decay λ of the parameters.
        couple: whether the decay is multiplied by η, too; False: Δ = η·m̂/(√v̂ + ε) + λx.

    Loshchilov & Hutter, "Decoupled weight decay regularization", 2019.

    >>> import numpy as np, tinyflux as flux
    >>> rule, x = flux.AdamW(eta=0.1, lambda_=0.5), np.array([2.0])
    >>> rule.apply(rule.init(x), x, np.array([0.0]))[1]
    array([0.1])
    """

    eta: Number = 0.001
    beta: tuple[Number, Number] = (0.9, 0.999)
    lambda_: Number = 0.01
    epsilon: Number = 1e-8
    couple: bool = True

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        m, v, power1, power2 = self._averaged(g, *state)
        decay = self.eta * self.lambda_ if self.couple else self.lambda_
        return (m, v, power1, power2), self._step(m, v, power1, power2) + decay * x


class AdaMax(Adam):
    """Adam with the largest gradient of late in the place of the root of the mean square.

        m ← β₁m + (1−β₁)g,  u ← max(β₂u, |g|)
        Δ = η/(1−β₁ᵗ)·m/(u + ε)

    Arguments and errors: as for `Adam`, with β₂ the decay rate of u, to which ε is added.

    Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015, section 7.1.

    >>> import numpy as np, tinyflux as flux
    >>> rule, x = flux.AdaMax(eta=0.1), np.array([1.0])
    >>> rule.apply(rule.init(x), x, np.array([4.0]))[1].round(6)
    array([0.1])
    """

    def init(self, x: Array) -> State:
        return np.zeros_like(x), np.zeros_like(x), 1.0

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        m, u, power1 = state
        beta1, beta2 = self.beta
        m = beta1 * m + (1 - beta1) * g
        u = np.maximum(beta2 * u, np.abs(g))
        power1 = power1 * beta1
        return (m, u, power1), (self.eta / (1 - power1)) * m / (u + self.epsilon)


@dataclass(frozen=True)
class NAdam(Adam):
    """Adam with Nesterov's look ahead: the step uses the average as it will be after another such gradient.

        Δ = η·[β₁m/(1−β₁ᵗ⁺¹) + (1−β₁)g/(1−β₁ᵗ)] / (√(β₂v/(1−β₂ᵗ)) + ε)

    Arguments and errors: as for `Adam`, and
        psi: None, as above; a number ψ for PyTorch's form (4e-3 there), in which β₁ is μₜ = β₁(1 − 0.96^(tψ)/2) and
            Δ = η·[μₜ₊₁m/(1−μ₁…μₜ₊₁) + (1−μₜ)g/(1−μ₁…μₜ)] / (√v̂ + ε); m is averaged with β₁.

    Dozat, "Incorporating Nesterov momentum into Adam", 2016.

    >>> import numpy as np, tinyflux as flux
    >>> rule, x = flux.NAdam(eta=0.1, beta=(0.5, 0.5)), np.array([1.0])
    >>> rule.apply(rule.init(x), x, np.array([4.0]))[1].round(6)
    array([0.188562])
    """

    psi: Number | None = None

    def init(self, x: Array) -> State:
        return super().init(x) if self.psi is None else (*super().init(x), 0)

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        m, v, power1, power2, *steps = state
        beta1, beta2 = self.beta
        m, v = self._averaged(g, m, v)
        power2 = power2 * beta2
        if self.psi is None:
            power1 = power1 * beta1
            ahead = m * (beta1 / (1 - beta1 * power1)) + g * ((1 - beta1) / (1 - power1))
            root = np.sqrt(v * (beta2 / (1 - power2)))
            return (m, v, power1, power2), self.eta * ahead / (root + self.epsilon)
        t = steps[0] + 1
        mu, following = (beta1 * (1 - 0.5 * 0.96 ** (i * self.psi)) for i in (t, t + 1))
        power1 = power1 * mu
        ahead = m * (following / (1 - power1 * following)) + g * ((1 - mu) / (1 - power1))
        return (m, v, power1, power2, t), self.eta * ahead / (np.sqrt(v * (1 / (1 - power2))) + self.epsilon)


class RAdam(Adam):
    """Adam that waits with the division until the mean square has seen enough gradients to be trusted.

        Δ = r·η·m̂/(√v̂ + ε) if ρ > 4, else η·m̂
        r = √[(ρ−4)(ρ−2)ρ∞/((ρ∞−4)(ρ∞−2)ρ)]
        ρ∞ = 2/(1−β₂) − 1,  ρ = ρ∞ − 2tβ₂ᵗ/(1−β₂ᵗ)

    Arguments and errors: as for `Adam`.

    Liu et al., "On the variance of the adaptive learning rate and beyond", 2020.

    >>> import numpy as np, tinyflux as flux
    >>> rule, x = flux.RAdam(eta=0.1), np.array([1.0])
    >>> rule.apply(rule.init(x), x, np.array([4.0]))[1].round(6)
    array([0.4])
    """

    def init(self, x: Array) -> State:
        return (*super().init(x), 0)

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        *averages, t = state
        m, v, power1, power2 = self._averaged(g, *averages)
        t = t + 1
        limit = 2 / (1 - self.beta[1]) - 1
        rho = limit - 2 * t * power2 / (1 - power2)
        limit = number(np.where(limit > 4, limit, 5.0))  # rho stays below 4 then, and r is not used
        rectified = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)
        trusted = rho > 4
        r = number(np.where(trusted, rectified, 0.0)) ** 0.5
        delta = np.where(trusted, r * self._step(m, v, power1, power2), (self.eta / (1 - power1)) * m)
        return (m, v, power1, power2, t), delta


@dataclass(frozen=True)
class OAdam(Adam):
    """Optimistic Adam, for games: it steps twice, and takes the step before back.

        τ = Adam's Δ,  Δ = 2τ − τ of the step before

    Arguments and errors: as for `Adam`.

    Daskalakis, Ilyas, Syrgkanis & Zeng, "Training GANs with optimism", 2018.

    >>> import numpy as np, tinyflux as flux
    >>> rule, x = flux.OAdam(eta=0.1), np.array([1.0])
    >>> rule.apply(rule.init(x), x, np.array([4.0]))[1].round(6)
    array([0.2])
    """

    beta: tuple[Number, Number] = (0.5, 0.9)
    averages = 3

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        m, v, before, *powers = state
        m, v, power1, power2 = self._averaged(g, m, v, *powers)
        step = self._step(m, v, power1, power2)
        return (m, v, step, power1, power2), 2 * step - before


@dataclass(frozen=True)
class AdaBelief(Adam):
    """Adam that divides by how far the gradient is from what it was believed to be.

        s ← β₂s + (1−β₂)(g − m)² + ε,  Δ = η·m̂/(√(s/(1−β₂ᵗ)) + ε)

    Arguments and errors: as for `Adam`; ε is added to s in every step, and to the root.

    Zhuang et al., "AdaBelief optimizer: adapting stepsizes by the belief in observed gradients", 2020.

    >>> import numpy as np, tinyflux as flux
    >>> rule, x = flux.AdaBelief(eta=0.1, beta=(0.5, 0.9)), np.array([1.0])
    >>> rule.apply(rule.init(x), x, np.array([4.0]))[1].round(6)
    array([0.2])
    """

    epsilon: Number = 1e-16

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        m, s, *powers = state
        beta1, beta2 = self.beta
        m = beta1 * m + (1 - beta1) * g
        surprise = g - m
        s = beta2 * s + (1 - beta2) * (surprise * surprise) + self.epsilon
        power1, power2 = powers[0] * beta1, powers[1] * beta2
        return (m, s, power1, power2), self._step(m, s, power1, power2)


@dataclass(frozen=True)
class QHAdam(Averaging):
    """Adam with quasi-hyperbolic averages: between the gradient and its average, and so for its square.

        Δ = η·[(1−ν₁)g + ν₁m̂] / (√((1−ν₂)g² + ν₂v̂) + ε)

    Arguments and errors: as for `Adam`, and
        nu: the weights (ν₁, ν₂) of the two averages; (1, 1) is Adam. Anything but two numbers is a ValueError.

    Ma & Yarats, "Quasi-hyperbolic momentum and Adam for deep learning", 2019.

    >>> import numpy as np, tinyflux as flux
    >>> rule, x = flux.QHAdam(eta=0.1), np.array([1.0])
    >>> rule.apply(rule.init(x), x, np.array([4.0]))[1].round(6)
    array([0.1])
    """

    eta: Number = 0.001
    nu: tuple[Number, Number] = (0.7, 1.0)
    beta: tuple[Number, Number] = (0.9, 0.999)
    epsilon: Number = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rates(self, "nu", below=math.inf)

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        nu1, nu2 = self.nu
        m, v, power1, power2 = self._averaged(g, *state)
        top = (1 - nu1) * g + (nu1 / (1 - power1)) * m
        square = (1 - nu2) * (g * g) + (nu2 / (1 - power2)) * v
        return (m, v, power1, power2), self.eta * top / (np.sqrt(square) + self.epsilon)


@dataclass(frozen=True)
class AMSGrad(Adam):
    """Adam whose mean square never falls, so that no step grows again.

        w ← max(w, v),  Δ = η·m/(√w + ε),  without bias correction; m, v and w start at ε

    Arguments and errors: as for `Adam`, and
        epsilon: ε, added to the root; and what the state starts at in the form "flux".
        form: "flux", as above; "torch": w ← max(w, v), Δ = η·m̂/(√ŵ + ε); "optax": w ← max(w, v̂), Δ = η·m̂/(√w + ε); both
            start at 0. Another form is a ValueError.

    Reddi, Kale & Kumar, "On the convergence of Adam and beyond", 2018.

    >>> import numpy as np, tinyflux as flux
    >>> rule, x = flux.AMSGrad(eta=0.1, form="torch"), np.array([1.0])
    >>> rule.apply(rule.init(x), x, np.array([4.0]))[1].round(6)
    array([0.1])
    """

    form: str = "flux"
    forms = ("flux", "torch", "optax")
    squares = (1, 2)

    def init(self, x: Array) -> State:
        start = self.epsilon if self.form == "flux" else 0
        arrays = np.full_like(x, start), np.full_like(x, start), np.full_like(x, start)
        return arrays if self.form == "flux" else (*arrays, 1.0, 1.0)

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        m, v, w, *powers = state
        m, v, *powers = self._averaged(g, m, v, *powers)
        if self.form == "optax":
            w = np.maximum(w, v * (1 / (1 - powers[1])))
            return (m, v, w, *powers), self._step(m, w, powers[0], 0.0)
        w = np.maximum(w, v)
        if self.form == "torch":
            return (m, v, w, *powers), self._step(m, w, *powers)
        return (m, v, w), self.eta * m / (np.sqrt(w) + self.epsilon)


@dataclass(frozen=True)
class Padam(Adam):
    """AMSGrad with a power p of the mean square: between descent with momentum (0) and AMSGrad (1/2).

        w ← max(w, v),  Δ = η·m/wᵖ      (0/0 counts as 0)

    Arguments and errors: as for `Adam`, and
        epsilon: ε, of the form "code" alone.
        p: the power, in (0, 1/2].
        form: "paper", as above; "code", as the authors' program has it: Δ = η·√(1−β₂ᵗ)/(1−β₁ᵗ)·m/(√w + ε)²ᵖ.
            Another form is a ValueError.

    Chen et al., "Closing the generalization gap of adaptive gradient methods in training deep neural networks", 2020.

    >>> import numpy as np, tinyflux as flux
    >>> rule, x = flux.Padam(eta=0.1, beta=(0.5, 0.75), p=1/4), np.array([1.0])
    >>> rule.apply(rule.init(x), x, np.array([4.0]))[1].round(6)
    array([0.141421])
    """

    eta: Number = 0.1
    p: Number = 1 / 8
    form: str = "paper"
    forms = ("paper", "code")
    squares = (1, 2)

    def init(self, x: Array) -> State:
        arrays = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
        return arrays if self.form == "paper" else (*arrays, 1.0, 1.0)

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        m, v, w, *powers = state
        m, v, *powers = self._averaged(g, m, v, *powers)
        w = np.maximum(w, v)
        if self.form == "paper":
            return (m, v, w), self.eta * m / np.where(w == 0, 1, w) ** self.p  # where w is 0, m is, too
        rate = self.eta * (1 - powers[1]) ** 0.5 / (1 - powers[0])
        return (m, v, w, *powers), rate * m / (np.sqrt(w) + self.epsilon) ** (2 * self.p)
