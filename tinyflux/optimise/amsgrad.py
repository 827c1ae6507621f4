"""Adam's relatives whose mean square never falls, so that no step grows again for lack of gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Array
from .adam import Adam
from .rule import State


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
        m, v = self._averaged(m, v, g)
        if self.form == "flux":
            w = np.maximum(w, v)
            return (m, v, w), self.eta * m / (np.sqrt(w) + self.epsilon)
        power1, power2 = self._powers(*powers)
        if self.form == "torch":
            w = np.maximum(w, v)
            return (m, v, w, power1, power2), self._step(m, w, power1, power2)
        w = np.maximum(w, v * (1 / (1 - power2)))
        return (m, v, w, power1, power2), self._step(m, w, power1, 0.0)


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

    eta: float = 0.1
    p: float = 1 / 8
    form: str = "paper"
    forms = ("paper", "code")
    squares = (1, 2)

    def init(self, x: Array) -> State:
        arrays = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
        return arrays if self.form == "paper" else (*arrays, 1.0, 1.0)

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        m, v, w, *powers = state
        m, v = self._averaged(m, v, g)
        w = np.maximum(w, v)
        if self.form == "paper":
            return (m, v, w), self.eta * m / np.where(w == 0, 1, w) ** self.p  # where w is 0, m is, too
        power1, power2 = self._powers(*powers)
        rate = self.eta * (1 - power2) ** 0.5 / (1 - power1)
        return (m, v, w, power1, power2), rate * m / (np.sqrt(w) + self.epsilon) ** (2 * self.p)
