"""Functions of sampled curves where cases of smooth functions don't come: at the points, at ends, at NaN."""

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.compile.backends.c.build import available

XP, FP = np.array([0.0, 1.0, 3.0]), np.array([1.0, 5.0, -1.0])
X = np.array([-1, 0, 0.5, 1, 2, 3, 4, np.nan, np.inf, -np.inf])
ENDS = ({}, {"left": 9.0}, {"right": 0.0}, {"left": np.nan})


@pytest.mark.parametrize("ends", ENDS, ids=str)
def test_interpolated_values_are_numpys(ends):
    np.testing.assert_array_equal(
        flux.pullback(lambda x: np.interp(x, XP, FP, **ends), X)[0], np.interp(X, XP, FP, **ends)
    )


def test_slopes_of_interpolation():
    """In x that of the line after a point, or of the last; in the values the shares of both ends of a line."""
    slopes, shares = flux.gradient(lambda x, f: np.sum(np.interp(x, XP, f)), X[:7], FP)
    np.testing.assert_array_equal(slopes, [0, 4, 4, -3, -3, -3, 0])
    np.testing.assert_array_equal(shares, [2.5, 2, 2.5])


def test_periodic_interpolation():
    f = lambda x: np.interp(x, [190, -190, 350, -350.0], [5, 10, 3, 4.0], period=360)  # noqa: E731
    x = np.array([-180, -170, -185, 185, -10, -5, 0, 365.0])
    np.testing.assert_allclose(flux.pullback(f, x)[0], f(x))


@pytest.mark.skipif(not available(), reason="there is no C compiler here")
def test_compiled():
    elements, values = np.array([1, 2, 2, 3, np.nan]), np.array([[0, 1, 2], [2.5, 3, np.nan]])

    def f(x, elements, values, numbers):
        found = [np.searchsorted(elements, values, side) for side in ("left", "right")]
        return [*(np.interp(x, XP, FP, **ends) for ends in ENDS), *found, np.searchsorted(numbers, 3)]

    for got, expected in zip(
        flux.compile(f)(X, elements, values, np.arange(5)), f(X, elements, values, np.arange(5)), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.skipif(not available(), reason="there is no C compiler"))]
)
@pytest.mark.parametrize(
    "places", [np.array([240, 3, 2, 250], np.uint8), np.array([100, 90, 0, -100], np.int8), X[5:2:-1]]
)
def test_differences_at_places_of_other_dtypes(places, compiled):
    """Places of one byte don't wrap round, and the result has the dtype of the curve."""
    curve = np.array([1, 4, 2, 8], np.float32)[: len(places)]
    value = lambda y: np.gradient(y, places)  # noqa: E731
    found = flux.compile(value)(curve) if compiled else flux.pullback(value, curve)[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.gradient(curve, places), rtol=1e-6)
