"""Layers of images in programs for the device, without cuDNN: values and gradients are those of NumPy."""

import copy

import numpy as np
import pytest

import tinyflux as flux
from tests.support import cuda_shim, layer_cases
from tests.support.program_cases import compiled

pytestmark = pytest.mark.usefixtures("compiling")
LAYERS = [layer for layer in layer_cases.LAYERS if layer_cases.is_compiled_for_gpu(layer)]


def check(layer):
    """The loss and its gradient for the layer's arrays and for the images, twice; the images are a parameter, too."""
    model = {"layer": copy.deepcopy(flux.f64(layer)), "x": layer_cases.images()}
    there = flux.gpu(copy.deepcopy(model))
    scale = np.array(0.5)

    def loss(model, scale):
        return layer_cases.loss(model["layer"], model["x"] * scale)

    program = compiled(loss, there, flux.gpu(scale))
    expected, slopes = flux.withgradient(lambda m: loss(m, scale), model)
    for _ in range(2):
        value, found = program([flux.gpu(scale)])
        np.testing.assert_allclose(value.get(), expected, rtol=1e-12)
        for a, b in zip(flux.leaves(found), flux.leaves(slopes), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a.get(), b, rtol=0, atol=1e-11 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layers(layer):
    check(layer)


@pytest.mark.parametrize("order", ["backward", "shuffled"])
@pytest.mark.parametrize("layer", [LAYERS[0], LAYERS[8], flux.trainmode(flux.BatchNorm(4, flux.relu))], ids=repr)
def test_threads_in_any_order(layer, order):
    cuda_shim.order = order
    check(layer)


@pytest.mark.parametrize("layer", [x for x in layer_cases.LAYERS if x not in LAYERS], ids=repr)
def test_layers_that_are_left_to_cupy(layer):
    with pytest.raises(flux.NotCompilable, match="can't be compiled"):
        check(layer)
