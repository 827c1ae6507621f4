"""Convolutions: PyTorch's numbers, gradients to second order, plain and compiled, and errors that help."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyflux as flux
from tests.support.convolution_cases import CASES, inputs, sums
from tinyflux.compile.backends.c.build import available
from tinyflux.nn.convolution import PACKED, Geometry, convolve, correlate, spread

RECORDED = json.loads(Path(__file__).with_name("convolution.json").read_text(encoding="utf-8"))
COMPILED = pytest.mark.skipif(not available(), reason="there is no C compiler here")


def results(x, w, f):
    return f(x, w), *flux.gradient(lambda x, w: np.sum(f(x, w) ** 3), x, w)


def function(name, options):
    given = {key: value for key, value in options.items() if key != "axes"}
    return lambda x, w: getattr(flux, name)(x, w, **given)


def same(got, recorded, x, w):
    for array, expected in zip(got, recorded, strict=True):
        scale = np.abs(array).sum()
        np.testing.assert_allclose(sums(array), expected, rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize(("case", "recorded"), list(zip(CASES, RECORDED, strict=True)), ids=str)
def test_what_pytorch_gives(case, recorded):
    name, options = case
    x, w = inputs(name, **options)
    same(results(x, w, function(name, options)), recorded, x, w)


@COMPILED
@pytest.mark.parametrize("k", range(6))
def test_compiled(k):
    """A sixth of the cases in each program: so they compile together."""
    cases = list(zip(CASES, RECORDED, strict=True))[k::6]
    given = [inputs(name, **options) for (name, options), _ in cases]
    compiled = flux.compile(lambda given: [results(*xw, function(*case)) for xw, (case, _) in zip(given, cases)])
    for got, xw, (_, recorded) in zip(compiled(given), given, cases, strict=True):
        same(got, recorded, *xw)


@COMPILED
def test_compiled_for_each_channel_by_itself():
    """One filter for each channel, or several, with windows that differ from axis to axis."""
    cases = [
        (1, 1, {}),
        (2, 1, {"pad": 1}),
        (2, 2, {"stride": 2, "pad": 1}),
        (2, 3, {"dilation": 2}),
        (3, 2, {"pad": 1}),
    ]
    rng = np.random.default_rng(0)
    given = []
    for axes, each, how in cases:
        x, w = rng.normal(size=(2, *[7] * axes, 5)), rng.normal(size=(5 * each, *range(2, 2 + axes), 1))
        given.append((x, w, rng.normal(size=flux.conv(x, w, groups=5, **how).shape)))

    def all_of(given):
        found = []
        for (x, w, g), (_, _, how) in zip(given, cases):
            y, back = flux.pullback(lambda x, w: flux.conv(x, w, groups=5, **how), x, w)  # noqa: B023
            found += [y, *back(g)]
        return found

    for got, expected in zip(flux.compile(all_of)(given), all_of(given), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@st.composite
def geometries(draw):
    """Images, filters, and how windows lie, small, with all options."""
    axes = draw(st.integers(1, 2))
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(axes))  # noqa: E731
    window, groups = each(1, 3), draw(st.integers(1, 2))
    how = Geometry(
        each(1, 3), tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in window), each(1, 2), groups
    )
    space = tuple(t * (k - 1) + 1 + draw(st.integers(0, 3)) for k, t in zip(window, how.dilation))
    x = np.sin(np.arange(2.0 * np.prod(space) * 2 * groups) ** 1.5).reshape(2, *space, 2 * groups)
    w = np.cos(np.arange(3.0 * groups * np.prod(window) * 2) ** 1.5).reshape(3 * groups, *window, 2)
    return x, w, how


@settings(max_examples=30, deadline=None)
@given(geometries())
def test_three_ways_to_take_one_product(drawn):
    """⟨y, x ∗ w⟩ = ⟨spread(y, w), x⟩ = ⟨correlate(x, y), w⟩."""
    x, w, how = drawn
    y = np.sin(np.arange(float(convolve(x, w, how).size))).reshape(convolve(x, w, how).shape)
    expected = np.sum(y * convolve(x, w, how))
    scale = np.abs(y).sum() * np.abs(w).sum()
    assert abs(np.sum(spread(y, w, how, x.shape[1:-1]) * x) - expected) <= 1e-14 * scale
    assert abs(np.sum(correlate(x, y, how, w.shape[1:-1]) * w) - expected) <= 1e-14 * scale


@settings(max_examples=15, deadline=None)
@given(geometries())
def test_gradients_to_second_order(drawn):
    x, w, how = drawn
    flux.gradcheck(lambda x, w: np.sum(np.sin(convolve(x, w, how))), x, w)
    flux.gradcheck(
        lambda x, w: sum(
            np.sum(np.tanh(d)) for d in flux.gradient(lambda x, w: np.sum(np.sin(convolve(x, w, how))), x, w)
        ),
        x,
        w,
    )  # fmt: skip


def test_definition():
    """Each number by the formula, pixel by pixel."""
    x, w = inputs("conv", 2, 2)
    y = flux.conv(x, w, stride=(2, 1), pad=((1, 0), (2, 1)), dilation=(1, 2), groups=2)
    padded = np.zeros((2, 10, 11, 4))
    padded[:, 1:, 2:10] = x
    for n, p, q, o in np.ndindex(y.shape):
        channels = slice(0, 2) if o < 3 else slice(2, 4)
        expected = sum(
            padded[n, 2 * p + i, q + 2 * j, channels] @ w[o, i, j] for i, j in np.ndindex(w.shape[1:3])
        )  # fmt: skip
        assert abs(y[n, p, q, o] - expected) < 1e-13


def test_images_are_packed_in_blocks():
    """More images than a block has: each comes to what it comes to alone."""
    x, w = np.random.default_rng(0).normal(size=(40, 24, 24, 16)), np.random.default_rng(1).normal(size=(4, 5, 5, 16))
    assert len(x) * 20 * 20 * w[0].size > 3 * PACKED
    how = Geometry((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    y = convolve(x, w, how)
    np.testing.assert_allclose(y[-1:], convolve(x[-1:], w, how), rtol=0, atol=1e-11)
    np.testing.assert_allclose(
        spread(y, w, how, (24, 24))[-1:], spread(y[-1:], w, how, (24, 24)), rtol=1e-12, atol=1e-9
    )
    alone = sum(correlate(x[i : i + 1], y[i : i + 1], how, (5, 5)) for i in range(len(x)))
    np.testing.assert_allclose(correlate(x, y, how, (5, 5)), alone, rtol=1e-11)


@pytest.mark.parametrize("n", [7, 8, 9])
@pytest.mark.parametrize(("window", "stride", "dilation"), [(3, 1, 1), (4, 1, 2), (3, 2, 1), (1, 3, 1), (5, 2, 2)])
def test_same(n, window, stride, dilation):
    x = np.ones((1, n, 2))
    y = flux.conv(x, np.ones((3, window, 2)), pad="same", stride=stride, dilation=dilation)
    assert y.shape == (1, -(-n // stride), 3)
    back = flux.conv_transpose(y, np.ones((3, window, 2)), pad="same", stride=stride, dilation=dilation)
    assert back.shape == (1, y.shape[1] * stride, 2)


X, W = np.ones((1, 5, 2)), np.ones((3, 3, 2))
ERRORS = {
    "no array": (lambda: flux.conv([1.0], W), TypeError, "conv: expected an array, got a list"),
    "axes": (lambda: flux.conv(np.ones((2, 3)), W), ValueError, "one to three axes of space"),
    "channels": (lambda: flux.conv(X, np.ones((3, 3, 4))), ValueError, "got shape (3, 3, 4)"),
    "groups": (lambda: flux.conv(np.ones((1, 5, 4)), W, groups=2), ValueError, "O a multiple of groups"),
    "stride": (lambda: flux.conv(X, W, stride=0), ValueError, "stride to be an integer"),
    "pad": (lambda: flux.conv(X, W, pad="full"), ValueError, "or 'same', got 'full'"),
    "small": (lambda: flux.conv(X, np.ones((3, 6, 2))), ValueError, "at least as large as a window"),
    "outpad": (lambda: flux.conv_transpose(X, np.ones((2, 3, 2)), outpad=1), ValueError, "outpad below"),
    "layer, channels first": (lambda: flux.Conv((3, 3), 3, 4)(np.ones((2, 3, 8, 8))), ValueError,
                              "Conv((3, 3), 3, 4): expected images of shape (N, H, W, 3), got shape (2, 3, 8, 8). "
                              "Channels come last here: give np.moveaxis(x, 1, -1)."),
    "layer, no channels": (lambda: flux.Conv((3, 3), 1, 4)(np.ones((2, 8, 8))), ValueError, "x[..., np.newaxis]"),
    "layer, no batch of one channel": (lambda: flux.Conv((3, 3), 1, 4)(np.ones((28, 28, 1))), ValueError,
                                       "x[np.newaxis]"),
    "layer, no batch, channels first": (lambda: flux.Conv((3, 3), 3, 4)(np.ones((3, 8, 8))), ValueError,
                                        "np.moveaxis(x, 0, -1)[np.newaxis]"),
    "layer, no batch": (lambda: flux.Conv((3,), 3, 4)(np.ones((8, 3))), ValueError, "x[np.newaxis]"),
    "layer, window": (lambda: flux.Conv(3, 1, 4), TypeError, "window to be a tuple of one to three integers, got 3"),
    "layer, groups": (lambda: flux.Conv((3,), 3, 4, groups=2), ValueError, "groups to divide nin=3 and nout=4"),
    "layer, pad": (lambda: flux.Conv((3,), 3, 4, pad=-1), ValueError, "Conv: expected pad"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case):
    call, kind, message = ERRORS[case]
    with pytest.raises(kind) as error:
        call()
    assert message in str(error.value)


def test_layers():
    x = np.sin(np.arange(2.0 * 9 * 8 * 4)).reshape(2, 9, 8, 4)
    layer = flux.f64(flux.Conv((3, 2), 4, 6, flux.tanh, stride=2, pad=1, dilation=2, groups=2))
    layer.bias = np.arange(6.0)
    assert layer.weight.shape == (6, 3, 2, 2)
    expected = np.tanh(flux.conv(x, layer.weight, stride=2, pad=1, dilation=2, groups=2) + layer.bias)
    np.testing.assert_array_equal(layer(x), expected)
    assert repr(layer).startswith("Conv((3, 2), 4, 6, tanh, stride=2, pad=1, dilation=2, groups=2)")
    back = flux.f64(flux.ConvTranspose((3, 2), 6, 4, stride=2, outpad=1, groups=2, bias=False))
    assert back.weight.shape == (6, 3, 2, 2)
    y = back(expected)
    np.testing.assert_array_equal(y, flux.conv_transpose(expected, back.weight, stride=2, outpad=1, groups=2))
    assert repr(back).startswith("ConvTranspose((3, 2), 6, 4, stride=2, groups=2, outpad=1, bias=False)")
    assert flux.DepthwiseConv((3,), 4, 8).weight.shape == (8, 3, 1)


def test_the_fans_of_a_window():
    weight = flux.Conv((5, 5), 8, 16, rng=np.random.default_rng(0)).weight
    bound = np.sqrt(6 / (25 * 8 + 25 * 16))
    assert 0.98 * bound < np.abs(weight).max() <= bound


@COMPILED
def test_a_small_network_trains_as_plain_numpy_does():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 10, 10, 1)), rng.integers(0, 3, 40)
    found = []
    for how in (True, False):
        flux.seed(1)
        model = flux.f64(flux.Chain(
            flux.Conv((3, 3), 1, 4, flux.relu, pad="same"), flux.Conv((3, 3), 4, 5, flux.tanh, stride=2), flux.flatten,
            flux.Dense(80, 3),
        ))  # fmt: skip
        loader = flux.DataLoader((x, flux.onehotbatch(y, range(3))), batchsize=16)
        loss = lambda m, x, y: flux.logitcrossentropy(m(x), y)  # noqa: E731
        flux.train(loss, model, loader, flux.setup(flux.Adam(0.01), model), epochs=3, compile=how)
        found.append(flux.leaves(model))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
