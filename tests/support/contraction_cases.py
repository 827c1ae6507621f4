"""Sums of products that are no product of two matrices, for kernels that calculate in tiles."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view as windows

import tinyflux as flux
from tests.support.program_cases import compiled


class Case(NamedTuple):
    """A function of a parameter and an array; their shapes; tiles of value and gradient; how many have parts."""

    f: Callable
    shapes: tuple
    tiles: list
    parts: int = 0


def convolution(p, x):
    """Filters (out, 3, 3, in) over images (N, H, W, in)."""
    return np.einsum("nyxcij,oijc->nyxo", windows(x, (3, 3), axis=(1, 2)), p)


def strided(p, x):
    """The same, in every second place along one axis and against the direction of the other."""
    return np.einsum("nyxcij,oijc->nyxo", windows(x, (3, 3), axis=(1, 2))[:, ::2, ::-1], p)


def transposed(p, x):
    """Channels first in the result."""
    return np.einsum("nyxcij,oijc->noyx", windows(x, (3, 3), axis=(1, 2)), p)


CONTRACTIONS = {
    "a convolution": Case(convolution, ((20, 3, 3, 5), (2, 9, 8, 5)), [(64, 32), (32, 64)]),
    "a convolution backwards, some steps apart": Case(strided, ((6, 3, 3, 5), (3, 9, 8, 5)), [(64, 16), (16, 64)]),
    "a convolution, channels first": Case(transposed, ((7, 3, 3, 4), (2, 9, 12, 4)), [(16, 64), (16, 64)]),
    "stacks of matrices": Case(
        lambda p, x: np.einsum("bij,bjk->bik", p, x), ((3, 33, 17), (3, 17, 40)), [(64, 64), (64, 32)]
    ),
    "stacks, transposed": Case(
        lambda p, x: np.einsum("bji,bjk->bki", p, x), ((2, 17, 70), (2, 17, 20)), [(32, 64), (32, 64)]
    ),
    "stacks, turned": Case(
        lambda p, x: np.einsum("bij,bkj->bki", p, x), ((3, 40, 17), (3, 5, 17)), [(16, 64), (64, 32)]
    ),
    "terms of two axes": Case(lambda p, x: np.tensordot(p, x, ((0, 2), (1, 0))), ((5, 33, 7), (7, 5, 18)), [(64, 32)]),
    "few results of many terms": Case(
        lambda p, x: np.einsum("nic,njc->ij", p, x), ((91, 5, 11), (91, 6, 11)), [(16, 16), (16, 64)], 1
    ),
    "a part of an array": Case(
        lambda p, x: np.einsum("bij,bkj->bik", p[1:, ::2], x[:, :, 3:]),
        ((3, 40, 17), (2, 20, 20)),
        [(32, 32), (32, 32)],
    ),
}


def inputs(case, dtype):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(dtype) for shape in case.shapes]


def check(f, p, x, tolerance):
    """Value and gradient of a sum, by kernels and in NumPy; returns the program."""

    def loss(model, x):
        return np.sum(np.sin(f(model["p"], x)))

    model, item = flux.gpu({"p": p}, x)
    program = compiled(loss, model, item)
    value, grads = program(flux.leaves(item))
    expected, slopes = flux.withgradient(lambda m: loss(m, x), {"p": p})
    np.testing.assert_allclose(value.get(), expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(grads["p"].get(), slopes["p"], rtol=0, atol=tolerance * np.abs(slopes["p"]).max())
    return program
