"""Layers of images on arrays that are not NumPy's: the stand-in for CuPy gives what NumPy gives."""

import copy
import sys

import pytest

import tinyflux as flux
from tests.support import device_parity as parity
from tests.support import device_standin as standin
from tests.support import layer_cases
from tests.support.device_standin import DeviceArray


def there(x):
    return DeviceArray(x.copy())


@pytest.fixture(autouse=True)
def _cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())


@pytest.mark.parametrize("calculate", [layer_cases.first_order, layer_cases.second_order])
@pytest.mark.parametrize("layer", layer_cases.LAYERS, ids=repr)
def test_layers_give_what_they_give_in_numpy(layer, calculate):
    layer, there_too = flux.f64(copy.deepcopy(layer)), flux.tree.map(there, flux.f64(copy.deepcopy(layer)))
    x = layer_cases.images()
    got, expected = calculate(there_too, there(x)), calculate(layer, x)
    parity.check_same(got, expected, DeviceArray, 1e-10, repr(layer))
