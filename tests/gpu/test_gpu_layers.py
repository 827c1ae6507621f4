"""Layers of images on a GPU give the values and gradients that they give in NumPy, and so do networks."""

import copy

import numpy as np
import pytest

import tinyflux as flux
from tests.support import device_parity as parity
from tests.support import layer_cases, narrow_resnet

if "can't" in flux.gpu_status():
    pytest.skip(flux.gpu_status(), allow_module_level=True)
pytestmark = pytest.mark.gpu
TOLERANCES = {"float64": 1e-9, "float32": 1e-3, "TF32": 3e-2}  # of the largest number; float32 by Winograd's way


@pytest.fixture(params=TOLERANCES, name="precision")
def _precision(request):
    before = flux.allow_tf32(request.param == "TF32")
    yield request.param
    flux.allow_tf32(before)


def typed(tree, precision):
    return (flux.f64 if precision == "float64" else flux.f32)(copy.deepcopy(tree))


@pytest.mark.parametrize("calculate", [layer_cases.first_order, layer_cases.second_order])
@pytest.mark.parametrize("layer", layer_cases.LAYERS, ids=repr)
def test_layers(layer, calculate, precision):
    import cupy

    layer, x = typed(layer, precision), typed(layer_cases.images(), precision)
    there = flux.gpu(copy.deepcopy(layer), x)
    parity.check_same(calculate(*there), calculate(layer, x), cupy.ndarray, TOLERANCES[precision], repr(layer))


def residual_network(precision, samples):
    """Blocks with BatchNorm; images and answers."""
    flux.seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((samples, 32, 32, 3)), np.eye(10)[rng.integers(0, 10, samples)]
    return typed((narrow_resnet.model(10, 32), x, y), precision)


def loss(model, x, y):
    return flux.logitcrossentropy(model(x), y)


def test_gradients_of_a_residual_network(precision):
    import cupy

    model, x, y = residual_network(precision, 8)
    there = flux.gpu(copy.deepcopy(model), x, y)

    def calculate(model, x, y):
        value, slopes = flux.withgradient(lambda m: loss(m, x, y), model)
        return [value, *flux.parameters(slopes)]

    parity.check_same(calculate(*there), calculate(model, x, y), cupy.ndarray, TOLERANCES[precision], "the network")


def test_training_of_a_residual_network(precision):
    """In whatever way `train` does it there: losses, parameters and running statistics."""
    import cupy

    def trained(model, x, y, **options):
        data, opt = flux.DataLoader((x, y), 8), flux.setup(flux.Descent(0.01), model)
        losses = flux.train(loss, model, data, opt, epochs=2, **options)
        return losses, flux.leaves(model)

    arguments = residual_network(precision, 16)
    start = flux.leaves(copy.deepcopy(arguments[0]))
    losses, found = trained(*flux.gpu(*copy.deepcopy(arguments)))
    expected_losses, expected = trained(*arguments, compile=False)
    np.testing.assert_allclose(losses, expected_losses, rtol=TOLERANCES[precision])
    parity.check_same(found, expected, cupy.ndarray, TOLERANCES[precision], "the network")
    assert all((x != before).any() for x, before in zip(expected, start, strict=True))
