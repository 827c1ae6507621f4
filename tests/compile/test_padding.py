"""Arrays among zeros: np.pad, and the gradients of slices and windows, compiled. Nothing is stored that need not be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as draws
from numpy.lib.stride_tricks import sliding_window_view

import tinyflux as flux
from tests.support.program_cases import arrays
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.ir import program
from tinyflux.compile.schedule.fuse import Result, make_schedule
from tinyflux.compile.trace.symbolic import node_of, symbolic_input

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")
SHAPES = draws.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)


def kernels(f, *given):
    """The kinds of the kernels, and the nodes, of a function's program."""
    with program.Recording() as recording:
        node = node_of(f(*map(symbolic_input, given)))
    schedule = make_schedule([Result(node, len(recording.inputs))])
    return [kernel.kind for kernel in schedule.kernels], schedule.nodes


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_pad(data):
    x = arrays(data.draw(SHAPES), dtype=np.float64)[0]
    widths = [data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3))) for _ in x.shape]
    dtype = data.draw(st.sampled_from(["float64", "float32", "int32", "bool"]))
    value = data.draw(st.sampled_from([0, 1, 2.5, np.inf]))
    value = np.array(value).astype(dtype).item() if np.isfinite(value) or dtype[0] == "f" else 1
    given = (3 * x).astype(dtype)
    expected = np.pad(given, widths, constant_values=value)
    got = flux.compile(lambda x: np.pad(x, widths, constant_values=value))(given)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_the_gradient_of_any_slices(data):
    """Each index stands for a sum of the elements there, with weights: those are the gradient at these places."""
    shape = data.draw(SHAPES)
    drawn = [data.draw(draws.basic_indices(shape, allow_newaxis=True)) for _ in range(3)]
    x, *weights = arrays(shape, *(np.zeros(shape)[i].shape for i in drawn), dtype=np.float64)
    expected = np.zeros(shape)
    for index, w in zip(drawn, weights):
        expected[index] += w
    slope = flux.compile(lambda x, *ws: flux.gradient(lambda x: sum(np.sum(x[i] * w) for i, w in zip(drawn, ws)), x))
    np.testing.assert_allclose(slope(x, *weights), expected, rtol=0, atol=1e-14)


def test_slices_of_slices_and_steps_of_steps():
    x, w = arrays((23, 9), (3, 2), dtype=np.float64)
    expected = np.zeros_like(x)
    expected[2:21][::-2][1::3, 1::2][:3, 1:3] = w
    slope = flux.compile(lambda x, w: flux.gradient(lambda x: np.sum(x[2:21][::-2][1::3, 1::2][:3, 1:3] * w), x))
    np.testing.assert_array_equal(slope(x, w), expected)


def test_slices_of_picked_rows():
    x, w, rows = *arrays((5, 7), (4, 3), dtype=np.float64), np.array([3, 1, 3, -1])
    expected = np.zeros_like(x)
    np.add.at(expected[:, 1::2], rows, w)
    slope = flux.compile(lambda x, w, rows: flux.gradient(lambda x: np.sum(x[:, 1::2][rows] * w), x))
    np.testing.assert_allclose(slope(x, w, rows), expected, rtol=0, atol=1e-14)
    slope = flux.compile(lambda x, w, rows: flux.gradient(lambda x: np.sum(x[rows, 1::2] * w), x))
    np.testing.assert_allclose(slope(x, w, rows), expected, rtol=0, atol=1e-14)


def test_what_is_read_once_is_not_stored():
    x = np.ones((6, 7))
    kinds, nodes = kernels(lambda x: np.exp(np.pad(x, 2)), x)
    assert kinds == ["map"]
    kinds, _ = kernels(lambda x: flux.gradient(lambda x: np.sum(x[1:-1] ** 2) + np.sum(x[:, ::2] ** 3), x), x)
    assert kinds == ["map"]
    kinds, nodes = kernels(lambda x: np.pad(np.broadcast_to(x[:, None], (6, 4, 7)), ((1, 1), (0, 0), (2, 0))), x)
    assert [n.shape for n in nodes if n.op == "pad"] == [(8, 9)]  # what is repeated is padded before


def convolution(x, w):
    x = np.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0)))
    return np.tensordot(sliding_window_view(x, w.shape[1:3], (1, 2)), w, ((4, 5, 3), (1, 2, 3)))


def test_a_convolution_is_three_products():
    x, w = arrays((8, 12, 12, 16), (16, 3, 3, 16), dtype=np.float64)
    kinds, _ = kernels(convolution, x, w)
    assert sorted(kinds) == ["map", "product"]  # the map pads
    for which in range(2):
        kinds, nodes = kernels(
            lambda x, w: flux.gradient(lambda x, w: np.sum(convolution(x, w) ** 2), x, w)[which],  # noqa: B023
            x, w,
        )  # fmt: skip
        assert (set(kinds), kinds.count("product")) == ({"map", "product"}, 2)
        assert max(n.size for n in nodes if n.op == "pad") < 2 * x.size


@pytest.mark.parametrize("shape", [(2, 5, 6, 3), (1, 3, 3, 1), (3, 4, 9, 2)])
@pytest.mark.parametrize("window", [(3, 3), (2, 1), (1, 4), (1, 1)])
def test_the_gradient_of_a_convolution(shape, window):
    x, w = arrays(shape, (4, *window, shape[-1]), dtype=np.float64)
    t = arrays(convolution(x, w).shape, dtype=np.float64)[0]
    dx, dw = np.zeros_like(np.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0)))), np.zeros_like(w)
    padded = np.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0)))
    for i, j in np.ndindex(t.shape[1:3]):
        at = np.s_[:, i : i + window[0], j : j + window[1]]
        dx[at] += np.einsum("no,oabc->nabc", t[:, i, j], w)
        dw += np.einsum("no,nabc->oabc", t[:, i, j], padded[at])
    slopes = flux.compile(lambda x, w, t: flux.gradient(lambda x, w: np.sum(convolution(x, w) * t), x, w))
    for got, expected in zip(slopes(x, w, t), (dx[:, 1:-1, 2:], dw), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
