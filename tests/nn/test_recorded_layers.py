"""Pooling and normalisation against PyTorch, recorded in float64: values, first and second derivatives."""

import json
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux

from ..record.record_pooling import EVEN, inputs, numbers, sums, weights

RECORDED = json.loads((Path(__file__).parent / "pooling.json").read_text())


def filled(layer, weight, bias):
    layer.weight, layer.bias = weight, bias
    return layer


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("expression", "shape", "count", "recorded"), RECORDED["cases"])
def test_values_and_derivatives_are_pytorchs(expression, shape, count, recorded):
    arrays = inputs(tuple(shape), count)
    names = ["x", "weight", "bias"][:count]

    def f(*given):
        return eval(expression, vars(flux) | {"filled": filled} | dict(zip(names, given, strict=True)))

    def gradients(f, given):
        found = flux.gradient(f, *given)
        return found if count > 1 else (found,)

    def first(*given):
        return gradients(lambda *some: np.sum(weights(f(*some).shape, 0) * f(*some) ** 2), given)

    def second(*given):
        return gradients(lambda *some: sum(np.sum(g * weights(g.shape, 1)) for g in first(*some)), given)

    close(sums(f(*arrays)), recorded["value"])
    for derivative, name in ((first, "first"), (second, "second")):
        close([sums(g) for g in derivative(*arrays)], recorded[name])


def test_running_numbers_are_pytorchs():
    layer = flux.f64(flux.trainmode(flux.BatchNorm(4, momentum=0.3)))
    for k in (0.0, 1.0):
        layer(numbers(EVEN, k))
    close(layer.running_mean, RECORDED["running"]["mean"])
    close(layer.running_var, RECORDED["running"]["var"])
    close(sums(flux.testmode(layer)(numbers(EVEN, 2.0))), RECORDED["running"]["inference"])
