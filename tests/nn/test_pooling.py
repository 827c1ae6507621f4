"""Pooling, upsampling and shuffling: against formulas and differences, compiled too, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyflux as flux

from ..support.compiling import agree


def image(data, d, least=1, most=6):
    """An image of d axes of space, whose numbers are all different."""
    shape = [data.draw(st.integers(1, 2)), *(data.draw(st.integers(least, most)) for _ in range(d)), 2]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    return rng.permutation(np.linspace(-1, 1, int(np.prod(shape)))).reshape(shape)


def windows(x, window, stride, pad, around):
    """All windows of an image, one by one: (place, pixels)."""
    d = x.ndim - 2
    x = np.pad(x, ((0, 0), *[(pad, pad)] * d, (0, 0)), constant_values=around)
    counts = [(n - window) // stride + 1 for n in x.shape[1:-1]]
    for place in np.ndindex(*counts):
        at = tuple(slice(stride * i, stride * i + window) for i in place)
        yield place, x[(slice(None), *at)]


@given(st.data())
def test_pools_are_their_formulas_on_drawn_shapes(data):
    d, window = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    stride, pad = data.draw(st.integers(1, 3)), data.draw(st.integers(0, window - 1))
    x = image(data, d, least=window)
    axes = tuple(range(1, d + 1))
    pools = [
        (lambda x: flux.maxpool(x, window, stride, pad), -np.inf, np.max),
        (lambda x: flux.meanpool(x, window, stride, pad), 0, np.mean),
        (lambda x: flux.meanpool(x, window, stride, pad, count_pad=False), np.nan, np.nanmean),
    ]
    for pool, around, reduction in pools:
        y = pool(x)
        for place, pixels in windows(x, window, stride, pad, around):
            np.testing.assert_allclose(y[(slice(None), *place)], reduction(pixels, axis=axes), rtol=1e-14, atol=1e-15)
        assert place == tuple(n - 1 for n in y.shape[1:-1])
        flux.gradcheck(pool, x)


@given(st.data())
def test_other_functions_have_the_gradients_of_their_differences(data):
    d, times = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    x = image(data, d, most=3)
    for f in (
        lambda x: flux.upsample(x, times),
        lambda x: flux.upsample(x, times, "bilinear"),
        lambda x: flux.upsample(x, times, "bilinear", align_corners=False),
        lambda x: flux.pixel_shuffle(np.repeat(x, times**d, axis=-1), times),
        lambda x: flux.adaptive_meanpool(x, min(times, *x.shape[1:-1])),
        flux.global_meanpool,
        flux.global_maxpool,
    ):
        flux.gradcheck(f, x)


def test_the_first_of_equal_pixels_gets_what_flows_to_their_maximum():
    x = np.zeros((1, 3, 3, 1))
    g = flux.gradient(lambda x: np.sum(flux.maxpool(x, 2, stride=1)), x)
    np.testing.assert_array_equal(g[0, :, :, 0], [[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    x[0, 0, 1, 0] = x[0, 1, 0, 0] = 1  # in C order the upper right one comes first
    g = flux.gradient(lambda x: np.sum(flux.maxpool(x, 3)), x)
    np.testing.assert_array_equal(g[0, :, :, 0], [[0, 1, 0], [0, 0, 0], [0, 0, 0]])


def test_nan_is_the_maximum_and_gets_the_gradient():
    x = np.array([1.0, np.nan, 3, 4]).reshape(1, 4, 1)
    y, g = flux.withgradient(lambda x: (np.sum(flux.maxpool(x, 2)), flux.maxpool(x, 2)), x)
    np.testing.assert_array_equal(y[1].ravel(), [np.nan, 4])
    np.testing.assert_array_equal(g.ravel(), [0, 1, 0, 1])


@pytest.mark.parametrize("n", range(3, 10))
def test_adaptive_windows_are_as_flux_has_them(n):
    x = np.arange(float(n)).reshape(1, n, 1)
    stride = n // 3
    size = n - 2 * stride
    expected = [x[0, i * stride : i * stride + size].mean() for i in range(3)]
    np.testing.assert_allclose(flux.adaptive_meanpool(x, 3).ravel(), expected, rtol=1e-15)


def test_same_gives_a_window_for_every_step():
    x = np.arange(35.0).reshape(1, 5, 7, 1)
    for window, stride in [(3, 1), (2, 1), (3, 2), ((2, 3), (2, 3)), (4, 3)]:
        y = flux.maxpool(x, window, stride, "same")
        steps = stride if isinstance(stride, tuple) else (stride, stride)
        assert y.shape == (1, -(-5 // steps[0]), -(-7 // steps[1]), 1)
    np.testing.assert_array_equal(flux.maxpool(x, 2, 1, "same")[0, -1, :, 0], [29, 30, 31, 32, 33, 34, 34])
    np.testing.assert_array_equal(
        flux.maxpool(x, (1, 2), pad=((0, 0), (0, 1)))[0, :, :, 0], np.c_[x[0, :, 1::2, 0], x[0, :, -1, 0]]
    )


@pytest.mark.parametrize(
    "f",
    [
        lambda x: flux.maxpool(x, 2),
        lambda x: flux.maxpool(x, (2, 5)),
        lambda x: flux.maxpool(x, 3, 2, 1),
        lambda x: flux.maxpool(x, (2, 3), 1, "same"),
        lambda x: flux.maxpool(x, 1, 2),
        lambda x: flux.meanpool(x, 2),
        lambda x: flux.meanpool(x, 3, 1, 1, count_pad=False),
        lambda x: flux.adaptive_meanpool(x, 3),
        lambda x: flux.upsample(x, (1, 2)),
        lambda x: flux.upsample(x, 2, "bilinear"),
        lambda x: flux.upsample(x, 2, "bilinear", align_corners=False),
        lambda x: flux.pixel_shuffle(x, 2),
        flux.global_maxpool,
        flux.global_meanpool,
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_is_the_same(f, dtype):
    x = np.random.default_rng(0).permutation(np.linspace(-1, 1, 240)).reshape(2, 6, 5, 4).astype(dtype)

    def first(x):
        return flux.gradient(lambda x: np.sum(np.sin(f(x))), x)

    def second(x):
        return flux.gradient(lambda x: np.sum(np.cos(first(x))), x)

    assert f(x).dtype == dtype
    for function in (f, first, second):
        agree(function, x, tolerance=1e-12 if dtype == np.float64 else 1e-5)


def test_infinite_and_equal_pixels_are_pooled_alike_when_compiled():
    x = np.array([-np.inf, -np.inf, 1, 1, np.nan, 0, -0.0, 0, np.inf, np.inf, -np.inf, 3]).reshape(1, 12, 1)
    agree(lambda x: flux.maxpool(x, 2), x)
    agree(lambda x: flux.gradient(lambda x: np.sum(flux.maxpool(x, 3, 1, 1)), x), x)


@pytest.mark.parametrize(("shape", "window"), [((3, 12, 2), 4), ((2, 6, 8, 3), (3, 2)), ((2, 4, 2, 6, 2), (2, 1, 3))])
def test_of_equal_pixels_the_same_one_gets_the_gradient_when_compiled(shape, window):
    x = np.random.default_rng(0).integers(0, 3, shape).astype(np.float64)
    weights = np.random.default_rng(1).normal(size=flux.maxpool(x, window).shape)
    agree(lambda x: flux.gradient(lambda x: np.sum(weights * flux.maxpool(x, window)), x), x)


def test_whole_numbers_are_pooled():
    x = np.array([250, 3, 7, 200], np.uint8).reshape(1, 4, 1)
    y = flux.maxpool(x, 2, pad=1)
    assert y.dtype == np.uint8
    assert y.ravel().tolist() == [250, 7, 200]
    np.testing.assert_array_equal(flux.meanpool(x, 2).ravel(), [126.5, 103.5])
    assert flux.maxpool(x == 7, 2, pad=1).ravel().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("dtype", "value", "n"), [(np.uint8, 200, 4), (np.int8, -100, 4), (bool, True, 4), (np.float16, 2.0, 300)]
)
@pytest.mark.parametrize(
    "pool",
    [
        lambda x, n: flux.meanpool(x, n),
        lambda x, n: flux.meanpool(x, n, pad=n - 1, count_pad=False),
        lambda x, n: flux.adaptive_meanpool(x, 1),
        lambda x, n: flux.global_meanpool(x),
    ],
)
def test_the_mean_of_small_numbers_types_does_not_overflow(pool, dtype, value, n):
    x = np.full((1, n, n, 1), value, dtype)
    y = pool(x, n)
    assert y.dtype == np.mean(x).dtype
    assert (y == value).all()
    if dtype == np.uint8:
        agree(lambda x: pool(x, n), x)


IMAGE = np.zeros((1, 4, 4, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: flux.maxpool([[1.0]], 2), TypeError, r"maxpool: expected an array, got a list\. Give np.array\(x\)"),
        (lambda: flux.maxpool(np.zeros((4, 4)), 2), ValueError, r"got shape \(4, 4\)\. For one image without N"),
        (lambda: flux.maxpool(IMAGE, 5), ValueError, r"at least as large as the window \(5, 5\), got shape \(1, 4, 4"),
        (lambda: flux.maxpool(IMAGE, 2, pad=2), ValueError, r"expected pad below the window \(2, 2\).*got 2"),
        (
            lambda: flux.maxpool(IMAGE, (2, 2, 2)),
            ValueError,
            r"expected window to be an integer, at least 1, or a tuple",
        ),
        (lambda: flux.maxpool(IMAGE, 0), ValueError, r"expected window .* got 0"),
        (lambda: flux.maxpool(IMAGE, 2, 0), ValueError, r"expected stride .* got 0"),
        (lambda: flux.meanpool(IMAGE, 2, pad=-1), ValueError, r"meanpool: expected pad to be an integer.* got -1"),
        (lambda: flux.meanpool(IMAGE, 2, count_pad=None), TypeError, r"count_pad to be True or False"),
        (lambda: flux.adaptive_meanpool(IMAGE, 5), ValueError, r"images of at least \(5, 5\) pixels"),
        (lambda: flux.upsample(IMAGE, 0), ValueError, r"expected scale .* got 0"),
        (lambda: flux.upsample(IMAGE, 2, "cubic"), ValueError, r"'nearest' or 'bilinear', got 'cubic'"),
        (lambda: flux.pixel_shuffle(IMAGE, 2), ValueError, r"a multiple of 4 channels, got shape \(1, 4, 4, 3\)"),
        (lambda: flux.pixel_shuffle(IMAGE, 0), ValueError, r"r to be an integer, at least 1, got 0"),
        (lambda: flux.global_meanpool(np.zeros(3)), ValueError, r"global_meanpool: expected images"),
        (lambda: flux.global_meanpool(IMAGE[:, :0]), ValueError, r"at least one pixel, got shape \(1, 0, 4, 3\)"),
        (lambda: flux.global_maxpool(IMAGE[:, :0]), ValueError, r"at least one pixel, got shape \(1, 0, 4, 3\)"),
    ],
)
def test_refusals_name_the_fix(call, error, message):
    with pytest.raises(error, match=message):
        call()
