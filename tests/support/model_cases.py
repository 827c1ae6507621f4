"""Models whose arrays come from a formula, and what they are given: PyTorch has the same in tests/record."""

import zlib

import numpy as np

import tinyflux as flux


class Own:
    """A model as one writes it in PyTorch: layers as attributes, in the order in which they are called."""

    def __init__(self):
        self.conv1 = flux.Conv((3, 3), 3, 4, stride=2, pad=1, bias=False)
        self.conv2 = flux.Conv((2, 3), 4, 6, groups=2)
        self.norm, self.line = flux.LayerNorm(3, 2, 6), flux.LayerNorm(3 * 2 * 6)
        self.fc = flux.Dense(6 * 3 * 2, 5)

    def __call__(self, x):
        x = flux.relu(self.norm(self.conv2(flux.tanh(self.conv1(x)))))
        return self.fc(self.line(x.reshape(len(x), -1)))


def layers():
    return flux.Chain(
        flux.Conv((3, 2), 3, 8, flux.tanh, pad=1), flux.Dropout(0.5),
        flux.ConvTranspose((2, 2), 8, 6, flux.tanh, stride=2, groups=2),
        flux.SkipConnection(flux.Conv((3, 3), 6, 6, pad=1), np.add), flux.flatten,
        flux.BatchNorm(16 * 18 * 6), flux.Dense(16 * 18 * 6, 4, flux.tanh), flux.Dense(4, 3),
    )  # fmt: skip


# Models, and the shape of their images.
CASES = {
    "own": (Own, (8, 7, 3)),
    "layers": (layers, (8, 8, 3)),
    "lenet5": (flux.models.lenet5, (28, 28, 1)),
    "resnet18, size=32": (lambda: flux.models.resnet18(10, size=32), (32, 32, 3)),
    "resnet18, size=224": (flux.models.resnet18, (48, 64, 3)),
    "resnet20": (flux.models.resnet20, (32, 32, 3)),
    "vgg11": (lambda: flux.models.vgg11(10, size=32), (32, 32, 3)),
    "wide_resnet": (lambda: flux.models.wide_resnet(16, 2), (32, 32, 3)),
}


def formula(name, shape):
    """An array of a state dict: numbers without a pattern, of a size as those of a trained model."""
    x = np.sin(zlib.crc32(name.encode()) % 1000 + np.arange(np.prod(shape, dtype=int)) ** 1.5).reshape(shape)
    if len(shape) > 1:
        return x * 2 / np.sqrt(np.prod(shape[1:]))
    return x / 4 + name.endswith((".weight", ".running_var"))


def images(shape):
    return np.sin(7 + np.arange(2 * np.prod(shape)) ** 1.5).reshape(2, *shape)


def sums(x):
    """Two numbers that tell an array from others."""
    return [float(x.sum()), float((x.ravel() * np.cos(np.arange(x.size))).sum())]
