"""Where a function has no slope, or a formula divides by zero: the stated convention, and no NaN or warning."""

import numpy as np
import pytest
from scipy import special

import tinyflux as flux

INF = np.inf


def gradient(f, *arguments):
    """The gradients of the sum of f, by position, as lists."""
    found = flux.gradient(lambda *xs: np.sum(f(*xs)), *[np.array(x, float) for x in arguments])
    return [g.tolist() for g in found] if len(arguments) > 1 else found.tolist()


def test_absolute_values_have_slope_0_at_0():
    assert gradient(np.abs, [-2, 0, 3]) == [-1, 0, 1]
    assert gradient(np.fabs, [-2, 0, 3]) == [-1, 0, 1]


@pytest.mark.parametrize("f", [np.maximum, np.minimum, np.fmax, np.fmin])
def test_equal_arguments_share_the_gradient(f):
    assert gradient(f, [1, 0], [1, 0]) == [[0.5, 0.5], [0.5, 0.5]]
    assert gradient(lambda x: f(x, 0.0), [0]) == [0.5]


def test_the_larger_and_the_smaller_argument_get_all():
    assert gradient(np.maximum, [1, 2], [2, 1]) == [[0, 1], [1, 0]]
    assert gradient(np.minimum, [1, 2], [2, 1]) == [[1, 0], [0, 1]]
    assert gradient(np.fmax, [np.nan, 1], [2, np.nan]) == [[0, 1], [1, 0]]
    assert gradient(np.fmin, [np.nan, 1], [2, np.nan]) == [[0, 1], [1, 0]]


@pytest.mark.parametrize("f", [np.max, np.min, np.maximum.reduce, np.minimum.reduce])
def test_equal_extrema_share_the_gradient(f):
    assert gradient(f, [2, 2, 2, 2]) == [0.25] * 4
    assert gradient(lambda x: f(x, axis=0), [[5, 5], [5, 5]]) == [[0.5, 0.5], [0.5, 0.5]]
    sign = 1 if f in (np.max, np.maximum.reduce) else -1
    assert gradient(lambda x: f(x, axis=0), [[sign * 5, 1], [0, 1]]) == [[1, 0.5], [0, 0.5]]


def test_clip_passes_the_gradient_at_its_bounds():
    assert gradient(lambda x: np.clip(x, -1, 1), [-2, -1, 0, 1, 2]) == [0, 1, 1, 1, 0]


def test_a_bound_that_is_not_a_number_makes_clip_so():
    x, bound = np.array([1.0, 2.0, 3.0]), np.array([np.nan, 2.5, 2.5])
    for low, high in ((np.nan, 1), (0, np.nan), (bound, 4), (0, bound), (3, 1)):
        for start in (x, x * np.nan):
            value, _ = flux.pullback(lambda x, low=low, high=high: np.clip(x, low, high), start)
            np.testing.assert_array_equal(value, np.clip(start, low, high))


@pytest.mark.parametrize(
    "f",
    [
        np.linalg.norm,
        np.std,
        lambda x: np.linalg.norm(x, axis=0),
        lambda x: np.linalg.norm(x, 3),
        lambda x: np.linalg.norm(x, 1.5),
        lambda x: np.linalg.norm(x, 1),
        lambda x: np.hypot(x, x),
        lambda x: np.std(x, keepdims=True),
    ],
)
def test_roots_have_slope_0_at_0(f):
    assert gradient(f, [0, 0, 0]) == [0, 0, 0]


@pytest.mark.parametrize(
    "f",
    [
        np.linalg.norm,
        np.std,
        lambda x: np.linalg.norm(x, 3),
        lambda x: np.hypot(x[0], x[1]),
        lambda x: np.linalg.norm(x, axis=0, keepdims=True)[0],
    ],
)
@pytest.mark.parametrize("power", [1, 2, 3])
def test_roots_have_no_second_derivative_at_0(f, power):
    """That of the square is 2, but only where the slope of a root times the root is known to be the argument."""
    curvature = flux.hessian(lambda x: f(x) ** power, np.zeros(2))
    assert np.isnan(curvature).all()
    assert np.isfinite(flux.hessian(lambda x: f(x) ** power, np.array([1.0, 2.0]))).all()


def test_only_the_column_at_the_origin_has_no_second_derivative():
    x = np.array([[3.0, 0.0], [4.0, 0.0]])
    slope = lambda x: np.sum(flux.gradient(lambda x: np.sum(np.linalg.norm(x, axis=0) ** 2), x))  # noqa: E731
    curvature = flux.gradient(slope, x)
    np.testing.assert_allclose(curvature[:, 0], [2, 2], rtol=1e-12)
    assert np.isnan(curvature[:, 1]).all()


def test_std_of_one_number():
    assert gradient(lambda x: np.std(x, axis=1), [[3], [4]]) == [[0], [0]]


def test_powers_of_zero():
    for p, slope in ((0, 0), (1, 1), (2, 0), (3, 0), (0.0, 0), (1.0, 1)):
        assert gradient(lambda x, p=p: x**p, [0]) == [slope]
    assert gradient(lambda x: x ** np.array([0, 1, 2.0]), [0, 0, 0]) == [0, 1, 0]
    assert gradient(np.power, [0, 0, 0], [0, 1, 2]) == [[0, 1, 0], [0, 0, 0]]
    for p, curvature in ((0, 0), (1, 0), (2, 2), (3, 0)):
        assert flux.hessian(lambda x, p=p: x**p, 0.0) == curvature
        assert flux.hessian(lambda x, p=p: np.power(x, np.array(float(p))), 0.0) == curvature


def test_a_zero_exponent_at_another_base():
    """∂/∂a aᵇ = b aᵇ⁻¹, so that ∂²/∂a∂b at b = 0 is 1/a."""
    mixed = flux.gradient(lambda b: flux.gradient(np.power, 2.0, b)[0], 0.0)
    assert mixed == pytest.approx(0.5)


def test_products_with_zeros():
    assert gradient(np.prod, [0, 2, 3]) == [6, 0, 0]
    assert gradient(np.prod, [0, 2, 0]) == [0, 0, 0]
    assert gradient(lambda x: np.prod(x, axis=1), [[0, 2], [3, 0]]) == [[2, 0], [0, 3]]
    assert gradient(np.cumprod, [0, 2]) == [3, 0]
    assert gradient(np.cumprod, [2, 0, 3, 0, 5]) == [1, 8, 0, 0, 0]  # 2 + 2·3
    assert flux.hessian(np.prod, np.array([0.0, 2, 3])).tolist() == [[0, 3, 2], [3, 0, 0], [2, 0, 0]]
    assert flux.hessian(np.prod, np.array([0.0, 0, 3])).tolist() == [[0, 3, 0], [3, 0, 0], [0, 0, 0]]


def test_running_products_with_zeros_to_second_order():
    """∂²/∂xᵢ∂xⱼ Σₖ x₀…xₖ is the sum over k of the products without i and j."""
    x = np.array([2.0, 0, 3, 0, 0.5, 4])
    expected = np.zeros((6, 6))
    for i in range(6):
        for j in range(6):
            others = [np.delete(x[: k + 1], [i, j]).prod() for k in range(max(i, j), 6)]
            expected[i, j] = 0 if i == j else sum(others)
    assert flux.hessian(lambda x: np.sum(np.cumprod(x)), x).tolist() == expected.tolist()


def test_a_running_maximum_hands_the_gradient_on():
    assert gradient(np.maximum.accumulate, [1, 3, 2, 5, 4]) == [1, 2, 0, 2, 0]
    assert gradient(np.minimum.accumulate, [4, 5, 2, 3, 1]) == [2, 0, 2, 0, 1]
    assert gradient(np.maximum.accumulate, [2, 2, 2]) == [1.75, 0.75, 0.5]  # half at each tie


def test_xlogy_at_0():
    assert gradient(special.xlogy, [0, 0, 3], [2, 0, 1]) == [[np.log(2), 0, 0], [0, 0, 3]]
    assert flux.hessian(lambda x: special.xlogy(x[0], x[1]), np.array([0.0, 2])).tolist() == [[0, 0.5], [0.5, 0]]


def test_logaddexp_of_infinities():
    assert gradient(np.logaddexp, [-INF, INF, 0], [1, 1, -INF]) == [[0, 1, 1], [1, 0, 0]]
    for x in (-INF, INF):
        assert gradient(np.logaddexp, [x], [x]) == [[0.5], [0.5]]
    np.testing.assert_allclose(gradient(np.logaddexp, [1000, -1000], [1000, -1000]), 0.5, rtol=1e-12)


def test_logsumexp_is_stable():
    assert gradient(np.logaddexp.reduce, [-INF, 1000, 1000]) == pytest.approx([0, 0.5, 0.5])
    assert gradient(np.logaddexp.reduce, [INF, 1, -INF]) == [1, 0, 0]
    assert gradient(np.logaddexp.reduce, [-INF, -INF]) == [0.5, 0.5]
    assert gradient(np.logaddexp.reduce, [INF, INF, 0, INF, INF]) == [0.25, 0.25, 0, 0.25, 0.25]
    assert gradient(np.logaddexp.accumulate, [-INF, -INF, -INF, 0]) == [1.75, 0.75, 0.5, 1]
    assert flux.hessian(lambda x: np.logaddexp(x[0], x[1]), np.zeros(2)).tolist() == [[0.25, -0.25], [-0.25, 0.25]]
    rows = gradient(lambda x: np.logaddexp.reduce(x, axis=1), [[-1000, -1000], [0, -INF]])
    np.testing.assert_allclose(rows, [[0.5, 0.5], [1, 0]], rtol=1e-12)
    assert gradient(np.logaddexp.reduce, []) == []


def test_sort_keeps_the_order_of_equal_elements():
    assert gradient(lambda x: np.sort(x) * np.array([1, 10, 100]), [2, 1, 2]) == [10, 1, 100]


def test_where_stops_infinite_gradients():
    assert gradient(lambda x: np.where(x > 0, np.log(np.where(x > 0, x, 1)), 0), [-1, 0, 2]) == [0, 0, 0.5]
    with np.errstate(divide="ignore"):  # the slope of the root at 0 is infinite
        assert gradient(lambda x: np.sqrt(np.where(x > 0, x, 0)), [-1, 4]) == [0, 0.25]


def test_reductions_of_nothing():
    assert gradient(np.sum, []) == []
    assert gradient(np.prod, []) == []
    assert gradient(np.linalg.norm, []) == []
    assert gradient(lambda x: np.max(x, axis=1), np.zeros((0, 3))) == []
    value, g = flux.withgradient(np.prod, np.zeros((2, 0)))
    assert value == 1
    assert g.shape == (2, 0)


# First and second derivatives by mpmath, with 50 digits.
FAR = {
    special.log_ndtr: {
        -300.0: (300.00333325926337, -0.999988889629561),
        -30.0: (30.033259667433677, -0.99889622848810099),
        0.0: (0.79788456080286536, -0.63661977236758134),
        30.0: (1.4736461348785476e-196, 0),
        1e4: (0, 0),
    },
    special.erfcx: {
        6.0: (-0.015060353489052321, 0.0048288937324488541),
        8.0: (-0.0086165078814177303, 0.0021062062990781701),
        100.0: (-5.6410497625993185e-5, 1.1280407802288336e-6),
    },
    special.dawsn: {
        6.0: (-0.014512267694526227, 0.0050618343852270179),
        8.0: (-0.0080031793208542067, 0.0020504717185605315),
        -100.0: (-5.0007501875656545e-5, -1.0003001125525296e-6),
    },
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("f", FAR)
def test_far_from_0(f, dtype):
    """Where the formulas of the books are differences of nearly equal numbers, or ratios of two that are 0.

    At 6, before the series begins, the second derivative loses a factor of about 2x⁴ = 2,600 of the digits.
    """
    slope = lambda x: flux.gradient(lambda x: np.sum(f(x)), x)  # noqa: E731
    x, expected = np.array(list(FAR[f]), dtype), np.transpose(list(FAR[f].values()))
    exact = dtype == np.float64
    np.testing.assert_allclose(slope(x), expected[0], rtol=1e-13 if exact else 1e-5, atol=1e-37)
    second = flux.gradient(lambda x: np.sum(slope(x)), x)
    np.testing.assert_allclose(second, expected[1], rtol=1e-12 if exact else 5e-4, atol=1e-37)


@pytest.mark.parametrize(("f", "expected"), [(special.i0, 5 / 16), (special.j0, -5 / 16)])
def test_derivatives_of_bessel_functions_at_0(f, expected):
    """Those of the series Σ (±x²/4)ᵏ / k!²: 1, 0, ±1/2, 0, 3/8, 0, ±5/16."""
    found = []
    for _ in range(7):
        found.append(float(f(0.0)))
        f = lambda x, f=f: flux.gradient(lambda x: f(x), x)  # noqa: E731
    np.testing.assert_allclose(found, [1, 0, np.sign(expected) / 2, 0, 3 / 8, 0, expected], rtol=1e-14, atol=1e-15)
