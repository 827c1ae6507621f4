"""SOAP: Adam along the directions in which the gradients of a matrix spread."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import NotCompilable
from ..types import Array, Number
from .adam import Averaging
from .rule import State

__all__ = ["SOAP"]

_NON_FINITE = (
    "SOAP: the averages of products of gradients are NaN or infinite, and have no eigenvectors; no parameter was "
    "changed. Look for NaN in the data, or put flux.ClipNorm before it."
)


@dataclass(frozen=True)
class SOAP(Averaging):
    """Adam in the basis of Shampoo: matrices are stepped along the directions in which their gradients spread.

        m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)(PᵀgQ)²
        s = η·√(1−β₂ᵗ)/(1−β₁ᵗ)·P(PᵀmQ/(√v + ε))Qᵀ,  Δ = s + ηλ(x − s)
        L ← β₂L + (1−β₂)ggᵀ,  R ← β₂R + (1−β₂)gᵀg

    The first gradient makes no step. It begins L and R, and the columns of P and Q are the eigenvectors of these, by
    falling eigenvalues. At every tenth step P and Q follow L and R: the columns p of P are sorted by pᵀLp, and the rows
    of v with them; then P becomes the orthogonal factor of LP (QR). Likewise Q, by R, and the columns of v.

    A parameter of n axes is taken as a matrix, (out, all the rest): as the kernel of a convolution, it has a row for
    each output. One of fewer than two axes is stepped by Adam: its P and Q are the identity.

    Of an m × n matrix the state holds 2(mn + m² + n²) numbers. Where m = n, a step costs eight products of matrices of
    this size; with the decompositions, about nine on average. Where not, the longer side counts. Steps aren't compiled.

    Arguments:
        eta: the learning rate η.
        beta: the decay rates (β₁, β₂) of the averages, each in [0, 1).
        lambda_: the decay λ of the parameters, decoupled from the gradient.
        epsilon: ε, added before the bias correction.
        every: how many steps lead to other P and Q.
        max_size: a longer axis of a matrix isn't rotated: its P or Q is the identity. With 0 all is Adam.

    Errors: ValueError for a rate outside [0, 1), or `every` below 1; FloatingPointError where P and Q would be made of
    NaN or infinities; nothing is changed then.

    Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", 2024; as in their program, which, for a
    kernel, has a matrix for each axis.

    >>> import numpy as np, tinyflux as flux
    >>> model = [np.zeros((2, 2))]
    >>> opt = flux.setup(flux.SOAP(eta=0.1), model)
    >>> for _ in range(2):
    ...     flux.update(opt, model, [np.array([[0.0, 300.0], [-1.0, 0.0]])])
    >>> model[0].round(3)  # as large along both directions
    array([[ 0. , -0.1],
           [ 0.1,  0. ]])
    """

    eta: Number = 0.003
    beta: tuple[Number, Number] = (0.95, 0.95)
    lambda_: Number = 0.01
    epsilon: Number = 1e-8
    every: int = 10
    max_size: int = 10_000
    whole = "array"

    def init(self, x: Array) -> State:
        sides = [n if x.ndim > 1 and n <= self.max_size else 0 for n in _matrix(x)]
        kind = np.promote_types(x.dtype, np.float32)  # half precision has no decompositions
        left, right, p, q = (np.zeros_like(x, kind, shape=(n, n)) for n in 2 * sides)
        m, v, *powers = super().init(x)
        return m, v, left, right, p, q, *powers, 0  # of gradients so far

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        left, right, p, q, power1, power2, t = state[2:]
        if not isinstance(t, int):
            raise NotCompilable("SOAP can't be compiled: it takes eigenvectors and QR decompositions.")
        beta1, beta2 = self.beta
        m, v, g = (a.reshape(_matrix(x)) for a in (*state[:2], g.astype(left.dtype)))
        step = np.zeros_like(x)
        if t > 0:
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * _between(p.T, g, q) ** 2
            power1, power2 = power1 * beta1, power2 * beta2
            u = _between(p, _between(p.T, m, q) / (np.sqrt(v) + self.epsilon), q.T)
            step = (self.eta * (1 - power2) ** 0.5 / (1 - power1)) * u.reshape(x.shape)
            step = step + (self.eta * self.lambda_) * (x - step)
        left, right = _averaged(left, g, beta2), _averaged(right, g.T, beta2)
        if t == 0:
            p, q = _eigenvectors(left), _eigenvectors(right)
        elif t % self.every == 0:
            p, v = _renewed(p, left, v)
            q, v = _renewed(q, right, v.T)
            v = v.T
        return (m.reshape(x.shape), v.reshape(x.shape), left, right, p, q, power1, power2, t + 1), step


def _matrix(x: Array) -> tuple[int, int]:
    """The shape of a parameter as a matrix."""
    return (x.shape[0], math.prod(x.shape[1:])) if x.ndim else (1, 1)


def _averaged(a: Array, g: Array, beta: Any) -> Array:
    """The average of ggᵀ; an empty one stays."""
    return beta * a + (1 - beta) * (g @ g.T) if a.size else a


def _between(p: Array, a: Array, q: Array) -> Array:
    """The product of three matrices, of which the empty ones stand for the identity."""
    a = p @ a if p.size else a
    return a @ q if q.size else a


def _eigenvectors(a: Array) -> Array:
    """Those of a symmetric matrix, by falling eigenvalues."""
    return np.linalg.eigh(_finite(a))[1][:, ::-1]


def _renewed(p: Array, a: Array, v: Array) -> tuple[Any, Array]:
    """A basis a step of the power method nearer to the eigenvectors of a, and the rows of v in the order it is in."""
    if p.size == 0:
        return p, v
    product = _finite(a) @ p
    order = np.argsort(-np.sum(p * product, axis=0))
    return np.linalg.qr(product[:, order])[0], v[order]


def _finite(a: Array) -> Array:
    if not np.isfinite(a).all():
        raise FloatingPointError(_NON_FINITE)
    return a
