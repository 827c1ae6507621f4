"""Programs for a GPU give there what NumPy gives: layers with a state, layers of images, sums of products in tiles."""

import numpy as np
import pytest

import tinyflux as flux
from tests.support import contraction_cases, layer_cases, state_cases

if "can't" in flux.gpu_status():
    pytest.skip(flux.gpu_status(), allow_module_level=True)
pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("make", state_cases.MODELS)
def test_trainings_of_layers_with_a_state(make):
    state_cases.check(make)


@pytest.mark.parametrize("layer", layer_cases.LAYERS, ids=repr)
def test_layers(layer):
    layer_cases.check_compiled(layer)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", contraction_cases.CONTRACTIONS)
def test_sums_of_products(name, dtype):
    case = contraction_cases.CONTRACTIONS[name]
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    contraction_cases.check(case.f, *contraction_cases.inputs(case, dtype), tolerance)
