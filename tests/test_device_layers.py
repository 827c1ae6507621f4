"""Pooling and normalisation on arrays that are not NumPy's: the stand-in for CuPy gives what NumPy gives."""

import copy
import sys

import numpy as np
import pytest

import tinyflux as flux
from tests.support import device_parity as parity
from tests.support import device_standin as standin
from tests.support.device_standin import DeviceArray


def there(x):
    return DeviceArray(x.copy())


@pytest.fixture(autouse=True)
def _cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())


LAYERS = [
    flux.MaxPool(2),
    flux.MaxPool(3, stride=2, pad=1),
    flux.MeanPool(3, stride=1, pad=1),
    flux.MeanPool(3, stride=2, pad=1, count_pad=False),
    flux.AdaptiveMeanPool(2),
    flux.GlobalMaxPool(),
    flux.GlobalMeanPool(),
    flux.Upsample(2),
    flux.Upsample(2, "bilinear"),
    flux.PixelShuffle(2),
    flux.trainmode(flux.Dropout(0.5, dims=(0, -1), seed=1)),
    flux.trainmode(flux.BatchNorm(4, flux.relu)),
    flux.testmode(flux.BatchNorm(4, flux.relu)),
    flux.LayerNorm(5, 4),
    flux.GroupNorm(4, 2),
    flux.InstanceNorm(4, affine=True),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layers_give_what_they_give_in_numpy(layer):
    layer, there_too = flux.f64(copy.deepcopy(layer)), flux.tree.map(there, flux.f64(copy.deepcopy(layer)))
    x = np.sin(np.arange(240.0) ** 2).reshape(2, 6, 5, 4)

    def results(layer, x):
        y = layer(x)
        first = flux.gradient(lambda x: np.sum(layer(x) ** 3), x)
        second = flux.gradient(lambda x: np.sum(flux.gradient(lambda x: np.sum(layer(x) ** 3), x) ** 2), x)
        return [y, first, second, *flux.leaves(layer)]

    parity.check_same(results(there_too, there(x)), results(layer, x), DeviceArray, 1e-10, repr(layer))
