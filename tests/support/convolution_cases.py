"""Convolutions with all options, and the images and filters that they are given."""

import itertools

import numpy as np

_OPTIONS = list(itertools.product((1, 2, 3), (0, 1, 2), (1, 2), (1, 2)))  # stride, pad, dilation, groups
CASES = [
    ("conv", {"axes": axes, "stride": s, "pad": p, "dilation": t, "groups": g})
    for axes in (1, 2, 3)
    for s, p, t, g in (_OPTIONS if axes == 2 else _OPTIONS[::3])
]
CASES += [
    ("conv_transpose", {"axes": axes, "stride": s, "pad": p, "dilation": t, "groups": g, "outpad": o})
    for axes in (1, 2, 3)
    for s, p, t, g in (_OPTIONS if axes == 2 else _OPTIONS[::3])
    for o in {0, s - 1}
]
SPACE, WINDOW = (9, 8, 7), (3, 2, 2)


def inputs(name, axes, groups, **options):
    """Images of 4 channels, and 6 filters for them, or the other way around; numbers without a pattern."""
    filters, channels = (6, 4) if name == "conv" else (4, 6)
    shapes = (2, *SPACE[:axes], 4), (filters, *WINDOW[:axes], channels // groups)
    return [np.sin(1.3 * k + np.arange(np.prod(shape)) ** 1.5).reshape(shape) for k, shape in enumerate(shapes)]


def sums(x):
    """Two numbers that tell an array from others."""
    return [float(x.sum()), float((x.ravel() * np.cos(np.arange(x.size))).sum())]
