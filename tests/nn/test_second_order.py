"""Derivatives of the layers for images, to second order, on drawn shapes and options, against finite differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyflux as flux
from tinyflux import tree


def window(draw, d, most=3):
    return tuple(draw(st.integers(1, most)) for _ in range(d))


def conv(draw, d, c):
    groups = draw(st.sampled_from([1, c]))
    pad = draw(st.sampled_from([0, 1, "same"]))
    how = {"stride": draw(st.integers(1, 2)), "dilation": draw(st.integers(1, 2)), "pad": pad, "groups": groups}
    return flux.Conv(window(draw, d), c, 2 * c, np.tanh, bias=draw(st.booleans()), **how)


def conv_transpose(draw, d, c):
    how = {
        "stride": draw(st.integers(1, 2)),
        "dilation": draw(st.integers(1, 2)),
        "groups": draw(st.sampled_from([1, c])),
    }
    return flux.ConvTranspose(window(draw, d), c, 2 * c, np.tanh, **how)


def maxpool(draw, d, c):
    w = window(draw, d)
    pad = tuple(draw(st.integers(0, k // 2)) for k in w)
    return flux.MaxPool(w, stride=draw(st.integers(1, 3)), pad=pad)


def meanpool(draw, d, c):
    w = window(draw, d)
    pad = tuple(draw(st.integers(0, k // 2)) for k in w)
    return flux.MeanPool(w, stride=draw(st.integers(1, 3)), pad=pad, count_pad=draw(st.booleans()))


def batchnorm(draw, d, c):
    mode = draw(st.sampled_from([flux.trainmode, flux.testmode]))
    return mode(flux.BatchNorm(c, np.tanh, epsilon=0.1, affine=draw(st.booleans())))


LAYERS = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DepthwiseConv": lambda draw, d, c: flux.DepthwiseConv(window(draw, d), c, 2 * c, np.tanh),
    "MaxPool": maxpool,
    "MeanPool": meanpool,
    "AdaptiveMeanPool": lambda draw, d, c: flux.AdaptiveMeanPool(draw(st.integers(1, 3))),
    "GlobalMeanPool": lambda draw, d, c: flux.GlobalMeanPool(),
    "GlobalMaxPool": lambda draw, d, c: flux.GlobalMaxPool(),
    "Upsample": lambda draw, d, c: flux.Upsample(2, draw(st.sampled_from(["nearest", "bilinear"]))),
    "PixelShuffle": lambda draw, d, c: flux.Chain(flux.Conv((1,) * d, c, 2**d), flux.PixelShuffle(2)),
    "BatchNorm": batchnorm,
    "LayerNorm": lambda draw, d, c: flux.LayerNorm(c, activation=np.tanh, epsilon=0.1),
    "InstanceNorm": lambda draw, d, c: flux.InstanceNorm(c, np.tanh, epsilon=0.1, affine=draw(st.booleans())),
    "GroupNorm": lambda draw, d, c: flux.GroupNorm(c, draw(st.sampled_from([1, c])), np.tanh, epsilon=0.1),
}


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_derivatives(name, data):
    d, c = data.draw(st.integers(1, 3 if name != "Upsample" else 2)), data.draw(st.integers(1, 3))
    shape = (
        data.draw(st.integers(1, 2)),
        *(data.draw(st.integers(5 if name == "Conv" else 3, 5)) for _ in range(d)),
        c,
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = rng.permutation(np.linspace(-1, 1, np.prod(shape))).reshape(shape)  # no two numbers are close
    layer = tree.map(lambda a: a + rng.normal(size=a.shape) / 2, flux.f64(LAYERS[name](data.draw, d, c)), buffers=False)

    def value(both):
        layer, x = both
        return np.sum(np.sin(layer(x)))

    def slopes(both):
        found = tree.leaves(flux.gradient(value, both))
        return sum(np.sum(np.tanh(g * (1 + k))) for k, g in enumerate(found))

    for f in (value, slopes):
        flux.gradcheck(f, (layer, x), tolerance=1e-5)


def test_all_layers_for_images_are_here():
    given = {name for name in vars(flux) if name.endswith(("Conv", "Pool", "Norm", "Transpose", "sample", "Shuffle"))}
    assert {name for name in given if name[0].isupper()} == {*LAYERS, "ClipNorm", "NonFiniteNorm"}
