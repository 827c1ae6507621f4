"""Options, infinities and whole numbers: under a gradient, and compiled, functions have NumPy's value and dtype."""

import numpy as np
import pytest
from scipy import special

import tinyflux as flux
from tests.support.compiling import same
from tinyflux.compile.backends.c.build import available

A = np.array([[0.3, -1.2, 2.5, 0.7], [1.1, 0.2, -0.4, 3.0], [-2.0, 0.9, 1.6, -0.1]])
SINGLE = A.astype(np.float32)
MASK = A > 0
INF = np.array([[1, np.inf, np.inf], [-np.inf, np.inf, np.inf], [-np.inf, -np.inf, 0], [1, np.nan, np.inf]])
WIDE = np.float64(3)

CASES = {
    "sum begins in float64": (lambda x: np.sum(x, axis=0, initial=WIDE), SINGLE),
    "prod begins in float64": (lambda x: np.prod(x, axis=0, initial=WIDE), SINGLE),
    "max begins in float64": (lambda x: np.max(x, axis=0, initial=WIDE), SINGLE),
    "min begins in float64": (lambda x: np.min(x, axis=0, initial=WIDE), SINGLE),
    "max of none": (lambda x: np.max(x, axis=0, initial=WIDE), SINGLE[:0]),
    "mean where, in float32": (lambda x: np.mean(x, axis=1, where=MASK, dtype=np.float32), A),
    "nanmean in float32": (lambda x: np.nanmean(x, axis=1, dtype=np.float32), A),
    "median of infinities": (lambda x: np.median(x, axis=1), INF),
    "nanmedian of infinities": (lambda x: np.nanmedian(x, axis=0), INF),
    "average, axes": (lambda x: np.average(x, axis=(2, 0), weights=A[:, :2]), np.stack([A, A * A]).reshape(2, 4, 3)),
    "average, a list": (lambda x: np.average(x, axis=0, weights=[1.0, 2.0, 3.0]), A),
    "average of a list": (lambda w: np.average([1.0, 2.0, 4.0], weights=w), np.array([1.0, 2.0, 0.5])),
    "split, backwards": (lambda x: np.concatenate(np.split(x, [2, 1, 9], axis=1), axis=1), A),
    "insert at a number in an array": (lambda x: np.insert(x, np.array(1), [5.0, 6.0, 7.0], axis=1), A),
    "cov of more ddof than samples": (lambda x: np.isinf(np.cov(x, ddof=4)), A),
    "cov of columns": (lambda x: np.cov(x[:, :1], rowvar=False), A),
    "gradient of two rows": (lambda x: np.gradient(x, axis=0), A[:2]),
    "ediff1d": (lambda x: np.ediff1d(x, to_begin=0), SINGLE),
    "linspace of whole numbers": (lambda x: np.linspace(x, 2.7, 7, dtype=int), np.float64(-3)),
}

N = np.array([[3, 1, 2, 9], [0, 7, 5, 1], [4, 4, 8, 2]])
WHOLE = {
    **{f"{f.__name__} {method}": (lambda x, f=f, method=method: f(x, 0.3, axis=0, method=method))
       for f in (np.quantile, np.nanquantile) for method in ("linear", "midpoint", "lower", "hazen")},
    "percentile": lambda x: np.percentile(x, [30, 70.5], axis=1),
    "median": lambda x: np.median(x, axis=1),
    "nanmedian": lambda x: np.nanmedian(x, axis=0, keepdims=True),
    "nanmax": lambda x: np.nanmax(x, axis=0),
    "nanmin": lambda x: np.nanmin(x, axis=1),
    "nan_to_num": lambda x: np.nan_to_num(x),
    "gradient": lambda x: np.gradient(x, axis=1),
    "average": lambda x: np.average(x, axis=0, weights=[1, 2, 3]),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
def test_under_a_gradient(name):
    f, x = CASES[name]
    same(flux.pullback(f, x)[0], f(x), 1e-6 if x.dtype == np.float32 else 1e-12)


@pytest.mark.skipif(not available(), reason="there is no C compiler here")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_compiled():
    whole = {f"{name} of {kind}": (f, N.astype(kind)) for name, f in WHOLE.items() for kind in ("u1", "i8")}
    cases = CASES | whole
    compiled = flux.compile(lambda arrays: {name: cases[name][0](x) for name, x in arrays.items()})
    got = compiled({name: x for name, (_, x) in cases.items()})
    for name, (f, x) in cases.items():
        same(got[name], f(x), 1e-6 if x.dtype == np.float32 else 1e-12, name)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.quantile(x, 1.5),
        lambda x: np.percentile(x, [50, -1]),
        lambda x: np.cov(x[None, :2, :2]),
        lambda x: np.gradient(x, axis=1, edge_order=3),
        lambda x: np.meshgrid(x[0], x[1], indexing="yx"),
        lambda x: np.average(x, axis=0, weights=np.ones(2)),
    ],
)
def test_what_numpy_refuses(f):
    for call in (f, lambda x: flux.pullback(f, x)):
        with pytest.raises(ValueError, match=r"\w"):
            call(A)


def test_slopes_of_averages_and_medians():
    """By the formulas: wᵢ / Σw, and (aᵢ − average) / Σw; a half for each of the two in the middle."""
    a, w = np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 0.5])
    slopes = flux.gradient(lambda a, w: np.average(a, weights=w), a, w)
    np.testing.assert_allclose(slopes[0], w / 3.5)
    np.testing.assert_allclose(slopes[1], (a - 2) / 3.5)
    np.testing.assert_array_equal(flux.gradient(np.median, np.array([3.0, 0, 1, 7])), [0.5, 0, 0.5, 0])
    np.testing.assert_array_equal(flux.gradient(np.median, np.array([3.0, 0, 1])), [0, 0, 1])


@pytest.mark.parametrize("name", ["boxcox", "boxcox1p", "gammainc", "gammaincc", "betainc"])
def test_slopes_that_are_not_known_are_no_zeros(name):
    f = getattr(special, name)
    others = [2.0] * (f.nin - 2)
    first = name not in ("boxcox", "boxcox1p")
    with pytest.raises(NotImplementedError, match=f"{name}: its gradient with respect to"):
        flux.gradient(lambda p: f(p, *others, 0.5) if first else f(0.5, p), 2.5)
    assert flux.gradient(lambda x: f(2.5, *others, x) if first else f(x, 2.5), 0.5) is not None


def test_averages_of_whole_numbers_are_float64():
    weights = np.array([1.5, 2, 0.5], np.float32)
    for a in (np.array([True, False, True]), np.array([3, 1, 2], np.int8)):
        y, slope = flux.withgradient(lambda w, a=a: np.average(a, weights=w), weights)
        expected = np.average(a, weights=weights)
        assert (y.dtype, y) == (expected.dtype, expected)
        np.testing.assert_allclose(slope, (a - expected) / 4, rtol=1e-6)
        assert slope.dtype == np.float32
