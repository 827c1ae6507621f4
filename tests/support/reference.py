"""The values that record_torch.py recorded, and how they are compared with."""

import json
from pathlib import Path

import numpy as np

import tinyflux as flux

REFERENCE = json.loads((Path(__file__).parents[1] / "nn" / "reference.json").read_text())


def derivatives(f, *inputs):
    """What tests/record/record_torch.py records: Σ w·f(x), differentiated once, and Σ v·first, differentiated again."""
    inputs = [np.array(x, dtype=np.float64) for x in inputs]
    w = np.cos(np.arange(np.size(f(*inputs)), dtype=np.float64)).reshape(np.shape(f(*inputs)))
    v = [np.sin(1.0 + np.arange(x.size)).reshape(x.shape) for x in inputs]

    def product(inputs):
        found = flux.gradient(lambda inputs: np.sum(w * f(*inputs)), inputs)
        return sum((np.sum(a * b) for a, b in zip(v, found, strict=True) if b is not None), np.sum(0.0 * inputs[0]))

    found = flux.gradient(lambda inputs: np.sum(w * f(*inputs)), inputs)
    return f(*inputs), found, flux.gradient(product, inputs)


def agrees(actual, expected):
    """To 1e-12, relative; below 1e-14 the recorded numbers are rounding (1 + tanh x, 1 − σ(x) cancel there)."""
    expected = np.array(expected, dtype=np.float64)
    actual = np.zeros_like(expected) if actual is None else actual
    assert np.shape(actual) == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)
