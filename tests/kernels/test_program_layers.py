"""Layers of images in programs for the device, without cuDNN: values and gradients are those of NumPy."""

import pytest

import tinyflux as flux
from tests.support import cuda_shim, layer_cases

pytestmark = pytest.mark.usefixtures("compiling")
LAYERS = layer_cases.LAYERS


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layers(layer):
    layer_cases.check_compiled(layer)


@pytest.mark.parametrize("order", ["backward", "shuffled"])
@pytest.mark.parametrize("layer", [LAYERS[0], LAYERS[8], flux.trainmode(flux.BatchNorm(4, flux.relu))], ids=repr)
def test_threads_in_any_order(layer, order):
    cuda_shim.order = order
    layer_cases.check_compiled(layer)
