"""Initialisers: bounds, spread, dtype, and what the generators give."""

import math

import numpy as np
import pytest

import tinyflux as flux

# (name, shape) -> standard deviation by Flux's formulas; the shape (out, in, *kernel).
GLOROT = [((300, 500), math.sqrt(2 / 800)), ((40, 30, 5, 5), math.sqrt(2 / (25 * 70))), ((9000,), math.sqrt(2 / 9001))]
KAIMING = [((300, 500), math.sqrt(2 / 500)), ((40, 30, 5, 5), math.sqrt(2 / (25 * 30))), ((9000,), math.sqrt(2))]
TABLE = [(name, *row) for name in ("glorot", "kaiming") for row in (GLOROT if name == "glorot" else KAIMING)]


@pytest.mark.parametrize(("name", "shape", "deviation"), TABLE)
@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_spread(name, shape, deviation, gain):
    rng = np.random.default_rng(0)
    factor = gain if name == "glorot" else gain / math.sqrt(2)  # kaiming's own gain is √2
    uniform = getattr(flux, f"{name}_uniform")(shape, rng, gain=gain)
    normal = getattr(flux, f"{name}_normal")(shape, rng, gain=gain)
    bound = math.sqrt(3) * deviation * factor
    assert uniform.shape == normal.shape == shape
    assert uniform.dtype == normal.dtype == np.float32
    assert 0.999 * bound < uniform.max() <= bound * (1 + 1e-6)
    assert -bound * (1 + 1e-6) <= uniform.min() < -0.999 * bound
    for x in (uniform, normal):
        assert x.std() == pytest.approx(deviation * factor, rel=0.03)
        assert abs(x.mean()) < 5 * deviation * factor / math.sqrt(x.size)
    inside = np.mean(np.abs(normal) < deviation * factor)
    assert inside == pytest.approx(0.6827, abs=0.02)


def test_default_gains():
    for name, gain in [("glorot", 1.0), ("kaiming", math.sqrt(2))]:
        for kind in ("uniform", "normal"):
            init = getattr(flux, f"{name}_{kind}")
            np.testing.assert_array_equal(
                init((3, 4), np.random.default_rng(1)), init((3, 4), np.random.default_rng(1), gain=gain)
            )


@pytest.mark.parametrize("init", [flux.glorot_uniform, flux.glorot_normal, flux.kaiming_uniform, flux.kaiming_normal])
def test_generators(init):
    flux.seed(3)
    a, b = init((3, 4)), init((3, 4))
    flux.seed(3)
    np.testing.assert_array_equal(init((3, 4)), a)
    assert (a != b).any()
    np.testing.assert_array_equal(init((3, 4), np.random.default_rng(3)), a)
    assert init((0, 4)).shape == (0, 4)
    assert init(()).shape == ()


def test_constants():
    for init, value in [(flux.zeros, 0), (flux.ones, 1)]:
        x = init((2, 3))
        assert x.dtype == np.float32
        assert x.shape == (2, 3)
        assert (x == value).all()
