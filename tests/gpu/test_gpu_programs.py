"""Programs for a GPU give there what NumPy gives: layers with a state, layers of images, sums of products in tiles."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinyflux as flux
from tests.support import (
    call_cases,
    compiled_cases,
    contraction_cases,
    dropout_cases,
    index_faults,
    layer_cases,
    state_cases,
)
from tests.support.index_cases import PICKINGS
from tests.support.program_cases import arrays, compiled

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


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", PICKINGS)
def test_indices_in_arrays(name, dtype):
    case = PICKINGS[name]
    p, *batch = case.inputs(dtype)
    expected, slopes = flux.withgradient(lambda m: case.loss(m, *batch), {"p": p})
    model, moved = flux.gpu({"p": p}, tuple(batch))
    program, tolerance = compiled(case.loss, model, moved), 2e-5 if dtype == np.float32 else 1e-12
    seen = []
    for _ in range(3):
        value, found = program(moved)
        seen.append(found["p"].get())
        np.testing.assert_allclose(value.get(), expected, rtol=tolerance)
    np.testing.assert_allclose(seen[0], slopes["p"], rtol=0, atol=tolerance * max(1, np.abs(p).max(initial=0)))
    np.testing.assert_array_equal(seen[0], seen[1])  # to the bit, in every run
    np.testing.assert_array_equal(seen[0], seen[2])


def test_an_index_that_is_out_of_bounds():
    picked = flux.compile(lambda x, k: x[k])
    x, k = flux.gpu(np.arange(12.0).reshape(3, 4), np.array([2, 0, -1]))
    with pytest.raises(IndexError, match="out of bounds for an axis of length 3"):
        picked(x, k + 1)
    assert picked(x, k).tolist() == x[k].tolist()


@pytest.mark.parametrize("name", dropout_cases.LAYERS)
def test_an_active_dropout(name, tmp_path):
    dropout_cases.check(name, tmp_path / "checkpoint.npz")


@pytest.mark.parametrize("name", compiled_cases.FUNCTIONS)
def test_compiled_functions(name):
    compiled_cases.check(name)


@pytest.mark.parametrize("name", call_cases.CASES)
def test_rows_and_matrices(name):
    f, shape = call_cases.CASES[name]
    p, x = arrays(shape, shape, dtype=np.float64)
    expected, slopes = flux.withgradient(lambda m: f(m["p"], x), {"p": p})
    model, moved = flux.gpu({"p": p}, (x,))
    value, found = compiled(lambda m, x: f(m["p"], x), model, moved)(moved)
    np.testing.assert_allclose(value.get(), expected, rtol=1e-11)
    np.testing.assert_allclose(found["p"].get(), slopes["p"], rtol=0, atol=1e-10 * max(1, np.abs(slopes["p"]).max()))


@pytest.mark.parametrize("name", call_cases.FAILING)
def test_matrices_that_fail(name):
    f, bad, said = call_cases.FAILING[name]
    with pytest.raises(np.linalg.LinAlgError, match=said):
        flux.compile(f)(flux.gpu(bad))


@pytest.mark.parametrize("name", index_faults.FAULTS)
def test_an_index_out_of_bounds_in_a_training(name):
    index_faults.check(name, flux.Adam(0.1))


def test_products_in_threads_and_streams():
    """Threads end, and their handles with them; functions in two streams multiply at the same time."""
    cupy = pytest.importorskip("cupy")
    (x,) = arrays((400, 300))
    functions = [(flux.compile(f), f) for f in (lambda x: x @ x.T, lambda x: np.sin(x @ x.T) @ x)]
    there = flux.gpu(x)

    def call():
        found = []
        for stream in (cupy.cuda.Stream(non_blocking=True) for _ in range(3)):
            with stream:
                found += [(compiled(there), f(x)) for compiled, f in functions]
            stream.synchronize()
        for a, b in found:
            np.testing.assert_allclose(a.get(), b, rtol=1e-3, atol=1e-3)

    cupy.cuda.Device().synchronize()
    for _ in range(3):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(call).result()
