"""Running sums, products and maxima are loops in C, however long they are."""

import numpy as np
import pytest

import tinyflux as flux
from tests.support.compiling import agree, rng
from tinyflux.compile import compile  # noqa: A004
from tinyflux.compile.backends.c.build import available

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

RUNNING = [
    np.cumsum, np.cumprod, np.cumulative_sum, np.cumulative_prod, np.prod, np.add.accumulate, np.multiply.accumulate,
    np.maximum.accumulate, np.minimum.accumulate, np.logaddexp.accumulate,
]  # fmt: skip


def slopes(x):
    return [flux.withgradient(lambda x, f=f: np.sum(np.sin(f(x))), x) for f in RUNNING]


def test_the_source_does_not_grow_with_the_length():
    sources = [compile(slopes) for _ in range(2)]
    for function, length in zip(sources, (40, 4000), strict=True):
        function(np.ones(length))
    short, long = (len(function.source.splitlines()) for function in sources)
    assert short == long


def test_running_functions_along_every_axis():
    x = rng.normal(size=(3, 4, 5))
    x[0, 1], x[0, 3], x[2, 2, 4] = 0, 0, np.inf
    running = [f for f in RUNNING if f not in (np.prod, np.cumulative_sum, np.cumulative_prod)]
    agree(lambda x: [f(x, axis=axis) for f in running for axis in (0, 1, -1)], x)
    agree(lambda x: [f(x, axis=1) for f in running], x[:, :0])
    agree(lambda x: [f(x) for f in running[:-1]], rng.integers(0, 200, (3, 4)).astype(np.uint8))
