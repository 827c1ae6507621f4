"""The same numbers on a GPU as in NumPy: `pytest -m gpu`, skipped with the reason where no GPU can be used."""

import numpy as np
import pytest

import tinyflux as flux
from tests.support import device_parity as parity

if "can't" in flux.gpu_status():
    pytest.skip(flux.gpu_status(), allow_module_level=True)
pytestmark = pytest.mark.gpu
POSSIBLE = [c for c in parity.CASES if c.name not in parity.MIXED and not parity.limit(c, parity.LIMITS)]
TOLERANCES = (1e-9, 1e-3)  # other orders of summation, other elementary functions, and fused operations


def named(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: f"{case.name} [{case.shapes}]")


def check(case, calculate):
    import cupy

    parity.check_case(case, calculate, flux.gpu, cupy.ndarray, TOLERANCES)


@pytest.fixture(autouse=True)
def _without_numpy_arrays(monkeypatch):
    parity.without_numpy_arrays(monkeypatch)


@named(POSSIBLE)
def test_values_and_gradients(case):
    check(case, parity.first_order)


@named([c for c in POSSIBLE if not parity.limit(c, parity.SECOND_ORDER_LIMITS)])
def test_second_derivatives(case):
    check(case, parity.second_order)


@named([c for c in POSSIBLE if not parity.limit(c, parity.UNRECORDED_LIMITS)])
def test_values_outside_a_gradient(case):
    check(case, lambda case, arguments: case.f(*arguments))


# cupy.einsum brings NumPy arrays to the device by itself.
@named([c for c in parity.CASES if c.name in parity.MIXED - {"einsum with plain"}])
def test_mixed_devices_are_an_error(case):
    with pytest.raises(TypeError):
        parity.first_order(case, [flux.gpu(x) for x in case.arguments(parity.SIZES[0], 0)])


@pytest.mark.parametrize("rule", [flux.Descent(0.1), flux.Adam(0.01)], ids=["Descent", "Adam"])
def test_a_training(rule):
    expected, model, _ = parity.trained(rule, lambda *trees: trees)
    losses, moved, opt = parity.trained(rule, flux.gpu)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    back, opt = flux.cpu(moved, opt)
    for x, y in zip(flux.parameters(back), flux.parameters(model), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)
    flux.update(opt, back, flux.gradient(lambda m: np.mean(m(np.ones((2, 6), np.float32)) ** 2), back))


def test_a_checkpoint(tmp_path):
    _, model, opt = parity.trained(flux.Adam(0.01), flux.gpu)
    _, other, other_opt = parity.trained(flux.Adam(0.02), lambda *trees: trees)
    flux.save(tmp_path / "model.npz", model, opt)
    flux.load(tmp_path / "model.npz", other, other_opt)
    for x, y in zip(flux.leaves(flux.cpu(model)), flux.leaves(other), strict=True):
        np.testing.assert_array_equal(x, y)


AUGMENT = {
    "random_crop": lambda images, rng: flux.data.random_crop(images, rng, 2),
    "random_flip": flux.data.random_flip,
    "cutout": lambda images, rng: flux.data.cutout(images, rng, 3),
    "normalise": lambda images, rng: flux.data.normalise(images, (120, 125, 130), (60, 65, 70)),
}


@pytest.mark.parametrize("name", AUGMENT)
def test_augmentation(name):
    """Of a loader's batches: they stay there, and what is drawn is the same as in NumPy."""
    import cupy

    images = np.random.default_rng(0).integers(0, 256, (10, 6, 5, 3), np.uint8)
    here, there = (flux.DataLoader(images, 4, transform=AUGMENT[name], rng=np.random.default_rng(0)) for _ in range(2))
    for batch, expected in zip(flux.gpu(there), here, strict=True):
        assert type(batch) is cupy.ndarray
        np.testing.assert_allclose(flux.cpu(batch), expected, rtol=1e-6)


def test_a_model_and_data_apart():
    model = flux.gpu(flux.Dense(3, 1))
    with pytest.raises(flux.MixedDevices, match=r"the parameter \.weight of argument 0 is on the GPU"):
        flux.gradient(lambda m: np.mean(m(np.ones((2, 3), np.float32))), model)
