"""Layers of images that have to give on a device what they give in NumPy, and what is compared of each."""

import copy

import numpy as np

import tinyflux as flux
from tests.support.program_cases import compiled

LAYERS = [
    flux.Conv((3, 2), 4, 6, flux.tanh, pad=1),
    flux.Conv((3, 3), 4, 4, stride=2, pad=(0, 1), dilation=2, groups=2),
    flux.Conv((1, 1), 4, 5, bias=False),
    flux.Conv((3, 3), 4, 3, pad="same"),
    flux.ConvTranspose((3, 2), 4, 6, flux.relu, stride=2, pad=1, outpad=1),
    flux.ConvTranspose((2, 2), 4, 4, dilation=2, groups=2),
    flux.DepthwiseConv((3, 3), 4, 8),
    flux.MaxPool(2),
    flux.MaxPool(3, stride=2, pad=1),
    flux.MeanPool(3, stride=1, pad=1),
    flux.MeanPool(3, stride=2, pad=1, count_pad=False),
    flux.AdaptiveMeanPool(2),
    flux.GlobalMaxPool(),
    flux.GlobalMeanPool(),
    flux.Upsample(2),
    flux.Upsample(2, "bilinear"),
    flux.PixelShuffle(2),
    flux.trainmode(flux.Dropout(0.5, dims=(0, -1), seed=1)),
    flux.trainmode(flux.BatchNorm(4, flux.relu)),
    flux.testmode(flux.BatchNorm(4, flux.relu)),
    flux.LayerNorm(5, 4),
    flux.GroupNorm(4, 2),
    flux.InstanceNorm(4, affine=True),
]


def images(dtype=np.float64):
    """Numbers without a pattern, no two of which are the same."""
    return np.sin(np.arange(240.0) ** 2).reshape(2, 6, 5, 4).astype(dtype)


def loss(layer, x):
    return np.sum(layer(x) ** 3)


def first_order(layer, x):
    """What a layer makes of images, and the gradients for its arrays and for the images."""
    slopes = flux.gradient(lambda both: loss(*both), (layer, x))
    return [layer(x), *flux.parameters(slopes)]


def second_order(layer, x):
    """The gradient of the gradient for the images, and the layer's arrays, which some change."""

    def slope(x):
        return np.sum(flux.gradient(lambda x: loss(layer, x), x) ** 2)

    return [flux.gradient(slope, x), *flux.leaves(layer)]


def check_compiled(layer):
    """The loss and its gradient for the layer's arrays and for the images, twice; the images are a parameter, too."""
    model = {"layer": copy.deepcopy(flux.f64(layer)), "x": images()}
    there = flux.gpu(copy.deepcopy(model))
    scale = np.array(0.5)

    def total(model, scale):
        return loss(model["layer"], model["x"] * scale)

    program = compiled(total, there, flux.gpu(scale))
    expected, slopes = flux.withgradient(lambda m: total(m, scale), model)
    for _ in range(2):
        value, found = program([flux.gpu(scale)])
        np.testing.assert_allclose(value.get(), expected, rtol=1e-12)
        for a, b in zip(flux.leaves(found), flux.leaves(slopes), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a.get(), b, rtol=0, atol=1e-11 * max(1, np.abs(b).max()))
