"""Functions for flux.compile that are called with arrays here and there; and what has to be the same."""

import numpy as np
from scipy import special

import tinyflux as flux

X = np.linspace(-1, 2, 12).reshape(3, 4)
W = np.linspace(0.5, 1.5, 8).reshape(4, 2)
K = np.array([2, 0, -1])


def trees(x, scale=2.0, *, more=None):
    return {"a": [x["x"] * scale, (x["w"], 3, None)], "b": np.sum(x["x"]), "c": more, "d": "text"}


FUNCTIONS = {
    "a number": (lambda x, w: np.sum(np.tanh(x @ w)), (X, W)),
    "rows": (lambda x: np.exp(x - np.max(x, axis=1, keepdims=True)), (X,)),
    "several": (lambda x, w: (x @ w, x.T, x[::2, ::-1], x), (X, W)),
    "trees": (trees, ({"x": X, "w": W}, 3.5)),
    "numbers": (lambda x, eta, power: (eta * np.abs(x) ** power, eta + power, x + np.float64(2)), (X, 0.3, 1.5)),
    "numbers of NumPy": (lambda x, eta: x * eta, (X.astype(np.float32), np.float64(0.1))),
    "float32": (lambda x, eta: x * eta, (X.astype(np.float32), 0.1)),
    "whole numbers": (lambda k, x: (k // 2, k.astype(np.float32), x[k], np.take_along_axis(x, k[:, None], 1)), (K, X)),
    "a gradient": (lambda x, w: flux.gradient(lambda w: np.sum(np.sin(x @ w) ** 2), w), (X, W)),
    "indices": (lambda x, k: flux.gradient(lambda x: np.sum(x[k] ** 2), x), (X, K)),
    "a long sum": (lambda x: np.sum(x * x), (np.linspace(0, 1, 100_000),)),
    "a scan": (lambda x, h: flux.scan(lambda h, x: (np.tanh(h + x), h * x), h, x), (X, np.zeros(4))),
    "nothing": (lambda x: x[:0] * 2, (X,)),
    "constants": (lambda x: (np.zeros_like(x), np.arange(3, like=x), np.asarray([1.0, 2], like=x) * x[:2, :2]), (X,)),
    "special": (lambda x: special.expit(x) + special.erf(x), (X,)),
}


def build():
    flux.seed(0)
    return flux.Chain(flux.Dense(4, 6, flux.tanh), flux.Dense(6, 2, flux.softmax))


def check_same(found, expected, tolerance=1e-12):
    """The same trees; arrays on the GPU where NumPy has arrays or its own numbers."""
    if isinstance(expected, (tuple, list)):
        assert type(found) is type(expected)
        for a, b in zip(found, expected, strict=True):
            check_same(a, b, tolerance)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            check_same(found[key], expected[key], tolerance)
    elif isinstance(expected, (np.ndarray, np.generic)):
        assert hasattr(found, "__cuda_array_interface__")
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found.get(), expected, rtol=tolerance, atol=tolerance)
    else:
        assert (type(found), found) == (type(expected), expected)


def check(name):
    """A function, called twice there, beside the same in NumPy."""
    f, arguments = FUNCTIONS[name]
    compiled = flux.compile(f)
    expected, there = f(*arguments), flux.gpu(arguments)
    for _ in range(2):
        found = compiled(*there)
        check_same(found, expected, 1e-5 if name == "float32" else 1e-12)
    return compiled
