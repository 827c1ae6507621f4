"""Losses, and trainings of a small network, that are compiled for the device; beside the plain path in NumPy."""

import math
import types

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view as windows
from scipy import special

import tinyflux as flux
from tinyflux.training.compiled_gradient import CompiledGradient


def arrays(*shapes, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.uniform(-1, 1, shape), dtype) for shape in shapes]


# Functions of a parameter and an array, and their shape.
CASES = {
    "a sum of all": ((lambda p, x: np.sum(np.sin(p) * x)), (7, 5)),
    "a long sum of all": ((lambda p, x: np.sum(np.sin(p) * x)), (130, 70)),
    "a sum of columns": ((lambda p, x: np.sum(np.sin(np.sum(p * x, axis=0)))), (300, 5)),
    "a sum of many columns": ((lambda p, x: np.sum(np.sin(np.sum(p * x, axis=0)))), (90, 70)),
    "a sum of rows": ((lambda p, x: np.sum(np.sin(np.sum(p * x, axis=1)))), (5, 300)),
    "a sum of the middle": ((lambda p, x: np.sum(np.sin(np.sum(p * x, axis=1)))), (3, 100, 4)),
    "a sum of the outer axes": ((lambda p, x: np.sum(np.sin(np.sum(p * x, axis=(0, 2))))), (9, 4, 11)),
    "means of many numbers each": ((lambda p, x: np.sum(np.sin(np.mean(1 + p * x, axis=(0, 1))))), (90, 300, 13)),
    "a maximum of as many": ((lambda p, x: np.sum(np.max(p * x, axis=(0, 1)))), (90, 300, 13)),
    "a mean": ((lambda p, x: np.mean(np.sin(p) * x)), (40, 3)),
    "a maximum of rows": ((lambda p, x: np.sum(np.max(p * x, axis=1))), (6, 100)),
    "a maximum of columns": ((lambda p, x: np.sum(np.max(p * x, axis=0))), (100, 6)),
    "a minimum": ((lambda p, x: np.min(p * x)), (70, 3)),
    "running sums": ((lambda p, x: np.sum(np.cumsum(p * x, axis=0) ** 2 + np.cumsum(p, axis=1) * x)), (40, 7)),
    "a product": ((lambda p, x: np.sum(np.prod(1 + p * x / 9, axis=1))), (4, 70)),
    "argmax": ((lambda p, x: np.sum(p[0] * np.argmax(p * x, axis=0))), (70, 3)),
    "one element": ((lambda p, x: np.sum(p * x)), (1, 1)),
    "transposed": ((lambda p, x: np.sum(np.sin(p.T) * x.T + p[0, 0])), (5, 8)),
    "slices": ((lambda p, x: np.sum(p[1:, ::2] * x[:-1, ::2]) + np.sum(p[::-1] * x)), (6, 7)),
    "windows": ((lambda p, x: np.sum(windows(p, (2, 3)) * np.sin(windows(x, (2, 3))))), (6, 7)),
    "windows along one axis": ((lambda p, x: np.sum(np.cos(windows(p, (2, 4), axis=(1, 1))))), (3, 9)),
    "windows some steps apart": ((lambda p, x: np.sum(np.cos(windows(p, 5, axis=0)[::3, ::-2] * x[0, 0]))), (12, 7)),
    "a convolution": ((lambda p, x: np.sum(np.sin(np.einsum("ijkl,kl", windows(p, (3, 3)), x[:3, :3])))), (8, 9)),
    "a diagonal": ((lambda p, x: np.sum(np.sin(np.einsum("ii->i", p @ x)))), (6, 6)),
    "steps": ((lambda p, x: np.sum(p[5::-2, None, 1:6:3] ** 2) + np.sum(np.sin(p[3]) * p[::2, -1][0])), (6, 7)),
    "joined": ((lambda p, x: np.sum(np.concatenate([p, x, p * x], axis=1) ** 2)), (6, 7)),
    "branches": ((lambda p, x: np.sum(np.where(p > x, p * x, np.abs(p) + (x > 0)))), (6, 7)),
    "a matrix product": ((lambda p, x: np.sum(np.sin(p @ x.T))), (9, 13)),
    "another matrix product": ((lambda p, x: np.sum(np.sin(p.T @ x))), (9, 13)),
    "a product with itself": ((lambda p, x: np.sum(np.sin(p @ p.T) @ x)), (12, 12)),
    "a product written down transposed": ((lambda p, x: np.sum(np.sin(np.einsum("ij,kj->ki", p, x)))), (9, 13)),
    "a part of a matrix": ((lambda p, x: np.sum(np.sin(p[:5] @ x.T))), (9, 13)),
    "another part of a matrix": ((lambda p, x: np.sum(np.sin(p[:, :8] @ x[:, 5:].T))), (9, 13)),
    "stacks of matrices": ((lambda p, x: np.sum(np.sin(p @ np.swapaxes(x, 1, 2)))), (3, 9, 5)),
    "a matrix and a vector": ((lambda p, x: np.sum(np.sin(p @ x[0]))), (90, 70)),
    "outer": ((lambda p, x: np.sum(np.sin(np.outer(p[:, 0], x[0])))), (20, 30)),
    "other rows": ((lambda p, x: np.sum(np.sin(p * np.flip(np.sum(np.exp(p * x), axis=1, keepdims=True), 0)))), (9, 5)),
    "as many rows as columns": ((lambda p, x: np.sum(np.sin(p * np.sum(np.exp(p * x), axis=1)))), (6, 6)),
    "rows and columns": (
        (lambda p, x: np.sum(np.sin(p * np.sum(np.exp(p * x), axis=1, keepdims=True) + np.max(np.exp(p), axis=0)))),
        (6, 6),
    ),
    "rows of matrices": ((lambda p, x: np.sum(np.exp(p * np.sum(np.exp(p * x), axis=2, keepdims=True)))), (6, 3, 5)),
    "whole numbers": ((lambda p, x: np.sum(p * ((x > 0).astype(np.int64) * 3 // 2))), (7, 5)),
    "powers": ((lambda p, x: np.sum(np.abs(p) ** 1.5 * np.exp(x) / (1 + np.log1p(np.abs(p))))), (7, 5)),
}


FUNCTIONS = [
    np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan, np.sinh, np.cosh, np.tanh, np.arcsinh, np.arctanh, np.exp,
    np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sqrt, np.cbrt, np.abs, np.sign, np.floor, np.reciprocal,
    np.square, np.deg2rad, special.expit, special.logit, special.log_expit, special.erf, flux.relu, flux.gelu,
    lambda x: np.arctan2(x, 2), lambda x: np.hypot(x, 2), lambda x: x % 0.3, lambda x: x // 0.3, lambda x: x**2.5,
    lambda x: np.logaddexp(x, 1), lambda x: np.maximum(x, 0.4), lambda x: np.where(np.isnan(x), 0, x),
    lambda x: np.fmod(x, 0.3), lambda x: special.xlogy(x, x), np.arccosh,
    lambda x: np.where(np.isinf(x) | np.signbit(x), np.inf, x),
]  # fmt: skip


def network():
    flux.seed(0)
    return flux.Chain(flux.Dense(6, 8, flux.tanh), flux.Dense(8, 3))


def loss(model, x, y):
    return flux.logitcrossentropy(model(x), y)


def data(n=50):
    x = np.random.default_rng(1).standard_normal((n, 6), dtype=np.float32)
    return x, flux.onehotbatch(np.arange(n) % 3, range(3)).astype(np.float32)


def trained(move, batches, rule=None, native=True, epochs=2, callbacks=()):
    model = move(network())
    opt = flux.setup(rule or flux.Adam(0.01), model)
    means = flux.train(loss, model, batches(), opt, epochs, callbacks, compile=native)
    return means, flux.cpu(model)


def check_trained(batches, native=True, **options):
    here = trained(lambda x: x, lambda: flux.cpu(batches()), native=False, **options)
    there = trained(flux.gpu, lambda: flux.gpu(batches()), native=native, **options)
    np.testing.assert_allclose(there[0], here[0], rtol=1e-5)
    for a, b in zip(flux.leaves(there[1]), flux.leaves(here[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


class compiled:
    """The loss and its gradient by kernels, for a model and an item of the data that lie on the GPU."""

    def __init__(self, loss, model, item):
        gradient = CompiledGradient(loss, model, types.SimpleNamespace(_leaves=[], _programs={}), math.inf)
        gradient.find(item)
        self.function = gradient._programs.latest
        self.source = self.function.source
        self._own = flux.leaves(model)

    def __call__(self, given):
        value, _, slopes, joined = self.function([*self._own, *given])
        return value, joined(iter(slopes))


class InOrder(flux.DataLoader):
    """Calls itself shuffled, and isn't: a pass on the device takes the samples in the order of the CPU."""

    shuffle = property(lambda self: True, lambda self, value: None)

    def order(self):
        return np.arange(self.taken, like=flux.leaves(self.data)[0])
