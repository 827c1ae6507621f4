"""The map of a view, which NumPy is asked for, leads to the elements that the view has."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.lib.stride_tricks import sliding_window_view

import tinyflux as flux
from tinyflux.compile.ir import program
from tinyflux.compile.ir.indexing import view_of

SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)


def same(shape, function):
    x = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    expected = function(x)
    axes, found = view_of(shape, function)
    assert found == expected.shape
    if expected.size:
        at = np.indices(found)
        index = [offset + sum(stride * at[i] for i, stride in terms) + np.zeros(found, int) for offset, terms in axes]
        np.testing.assert_array_equal(x[tuple(index)], expected)


@given(st.data())
@settings(max_examples=200)
def test_indexing_by_integers_slices_and_new_axes(data):
    shape = data.draw(SHAPES)
    index = data.draw(arrays.basic_indices(shape, allow_newaxis=True, allow_ellipsis=False))
    index = (*(index if isinstance(index, tuple) else (index,)), ...)
    same(shape, lambda x: x[index])


FUNCTIONS = {
    "transpose": lambda x: x.T,
    "flip": np.flip,
    "squeeze": np.squeeze,
    "move": lambda x: np.moveaxis(x, 0, -1),
    "expand": lambda x: np.expand_dims(x, (0, -1)),
    "broadcast": lambda x: np.broadcast_to(x, (2, 3, *x.shape)),
    "diagonal": lambda x: np.diagonal(x, 1) if x.ndim > 1 else x,
    "windows": lambda x: sliding_window_view(x, min(2, x.shape[0]), 0) if x.shape[0] else x,
    "all": lambda x: np.flip(np.expand_dims(x, 1)[::2], -1).T[..., ::-1],
}


@given(SHAPES, st.sampled_from(sorted(FUNCTIONS)))
@settings(max_examples=200)
def test_functions_that_make_views(shape, name):
    same(shape, FUNCTIONS[name])


def test_large_arrays_that_nobody_could_hold():
    """No element is read: the array need not be there."""
    axes, shape = view_of((10**5, 10**5, 30), lambda x: x[7::3, ::-1, 2])
    assert shape == (33331, 10**5)
    assert axes == ((7, ((0, 3),)), (10**5 - 1, ((1, -1),)), (2, ()))


def test_indices_of_rows_in_a_product_are_looked_at():
    """Of an argument: from the end, and out of bounds."""
    p, x = np.linspace(-1, 1, 70).reshape(14, 5), np.linspace(0, 1, 60).reshape(5, 12)
    f = lambda p, k, x: np.tanh(p[k] @ x)  # noqa: E731
    compiled = flux.compile(f)
    k = np.array([0, -1, 2, -14, 13, 0, 1, 5])
    np.testing.assert_allclose(compiled(p, k, x), f(p, k, x), rtol=1e-12)
    for bad in (14, -15, 2**40):
        with pytest.raises(IndexError, match="out of bounds for an axis of length 14"):
            compiled(p, np.array([0, bad, 2, 3, 4, 5, 6, 7]), x)


def test_which_indices_need_no_look():
    with program.Recording() as recording:
        checked = recording.input((3,), np.int64)
        picked = program.view(checked, ((0, ((1, 1),)),), (2, 3))
        counted, number = program.iota((7,), 0), program.literal(9, np.int64)
    assert program.is_trusted(counted, (), 7)
    assert not program.is_trusted(counted, (), 6)
    assert not program.is_trusted(picked, (), 9)
    assert program.is_trusted(picked, {checked}, 9)
    assert program.is_trusted(number, (), 5)  # which was looked at when it was recorded
