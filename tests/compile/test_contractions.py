"""Sums of products over several axes, compiled: NumPy's numbers, from arrays that lie in memory in every way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

import tinyflux as flux
from tests.support.program_cases import arrays
from tests.support.training_cases import check
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.ir import program
from tinyflux.compile.schedule import contraction
from tinyflux.compile.trace.lower.linalg import contract

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")
EXACT = {"float32": 1e-5, "float64": 1e-12, "int64": 0}


@st.composite
def cases(draw):
    """The subscripts of an einsum, the shapes of its operands, and how each is read: begin and step of each axis."""
    letters = draw(st.permutations("abcde"))
    sizes = {c: draw(st.sampled_from([1, 2, 3, 5, 9, 17])) for c in letters}
    inputs = ["".join(draw(st.permutations([c for c in letters if draw(st.integers(0, 3))]))) for _ in range(2)]
    output = "".join(c for c in letters if c in inputs[0] + inputs[1] and draw(st.booleans()))
    cuts = [[(draw(st.integers(0, 2)), draw(st.sampled_from([1, 1, 2, -1]))) for _ in s] for s in inputs]
    return f"{inputs[0]},{inputs[1]}->{output}", [[sizes[c] for c in s] for s in inputs], cuts


def lying(shape, cut):
    """The shape of the array of which a view has a given shape, and the view's slices."""
    slices = []
    for n, (begin, step) in zip(shape, cut):
        stop = begin + (n - 1) * abs(step) + 1
        slices.append(slice(begin, stop, step) if step > 0 else slice(stop - 1, begin - 1 if begin else None, step))
    return tuple(s.start + 1 if s.step < 0 else s.stop for s in slices), tuple(slices)


@settings(max_examples=8, deadline=None)
@given(st.lists(cases(), min_size=6, max_size=6), st.sampled_from(sorted(EXACT)))
def test_sums_over_any_axes_of_arrays_that_lie_in_any_way(drawn, dtype):
    where = [[lying(shape, cut) for shape, cut in zip(shapes, cuts)] for _, shapes, cuts in drawn]
    given = [[(9 * x).round().astype(dtype) for x in arrays(*(shape for shape, _ in pair))] for pair in where]

    def sums(given):
        return [
            np.einsum(subscripts, *(x[slices] for x, (_, slices) in zip(pair, lies)))
            for (subscripts, _, _), pair, lies in zip(drawn, given, where)
        ]

    for got, expected in zip(flux.compile(sums)(given), sums(given), strict=True):
        assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
        scale = max(np.abs(expected).max(initial=0), 1)
        np.testing.assert_allclose(got, expected, rtol=0, atol=EXACT[dtype] * scale)


def test_operands_that_begin_inside_an_array():
    a, b = arrays((4, 12, 13), (4, 13, 9), dtype=np.float64)
    compiled = flux.compile(lambda a, b: (a[2, 1:, ::-1] @ b[1], np.einsum("lik,lkj->ij", a[1:, 3:], b[:3, :, 2:])))
    np.testing.assert_allclose(compiled(a, b)[0], a[2, 1:, ::-1] @ b[1], rtol=0, atol=1e-13)
    expected = sum(x[3:] @ y[:, 2:] for x, y in zip(a[1:], b))
    np.testing.assert_allclose(compiled(a, b)[1], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("batchsize", "count"), [(1, 2), (7, 4), (300, 4)])
def test_slices_of_picked_rows_are_operands_of_products(batchsize, count):
    """As the steps of sequences are, in a forward pass that is a Python loop over them."""
    data = tuple(arrays((310, 3, 24), (310, 8), dtype=np.float64))
    model = [*arrays((8, 24), (8, 9), dtype=np.float64)]
    loss = lambda m, x, y: np.mean((np.tanh(x[:, 2] @ m[0].T) + x[:, 1, 5:14] @ m[1].T - y) ** 2)  # noqa: E731
    check(loss, model, data, batchsize=batchsize, rtol=1e-11)
    step = flux.compile_training(loss, model, flux.setup(flux.Descent(0.1), model), batchsize=batchsize)
    step(data, np.zeros(0, int))
    products = [k.product for k in step._latest().source.schedule.kernels if k.product]
    assert {x.offset for p in products for x in (p.a, p.b) if x.table} == {2 * 24, 24 + 5}
    assert len(products) == count


def lstm(m, x, y):
    h = c = np.zeros((len(x), 8))
    for t in range(x.shape[1]):
        both = np.concatenate([x[:, t], h], axis=1)
        i, f, o, new = (both @ w.T for w in m)
        c = flux.sigmoid(f) * c + flux.sigmoid(i) * np.tanh(new)
        h = flux.sigmoid(o) * np.tanh(c)
    return flux.mse(h, y)


def test_long_expressions_are_cut_before_a_product_rather_than_in_it():
    """Backwards through an unrolled LSTM: stored, the terms of a sum would be an array of three axes."""
    data = tuple(arrays((20, 8, 4), (20, 8), dtype=np.float64))
    model = [*arrays(*[(8, 12)] * 4, dtype=np.float64)]
    check(lstm, model, data, batchsize=6, rtol=1e-10)
    step = flux.compile_training(lstm, model, flux.setup(flux.Descent(0.1), model), batchsize=6)
    step(data, np.zeros(0, int))
    kernels = step._latest().source.schedule.kernels
    assert max(len(k.shape) for k in kernels) == 2
    assert sum(k.kind == "product" for k in kernels) == 4 * 8 + 4 * 7 + 4 * 8


def convolution(w, x, step=1):
    windows = sliding_window_view(x, w.shape[2:], (2, 3))[:, :, ::step, ::step]
    return np.einsum("ncyxij,ocij->noyx", windows, w)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(
    ("n", "c", "o", "size", "window"), [(3, 4, 5, 12, 3), (1, 1, 1, 30, 5), (2, 17, 20, 5, 5), (2, 3, 8, 9, 1)]
)
def test_convolutions_and_their_gradients(n, c, o, size, window, step, dtype):
    pair = arrays((o, c, window, window), (n, c, size, size), dtype=dtype)
    loss = lambda pair: np.sum(np.sin(convolution(*pair, step=step)))  # noqa: E731
    both = lambda pair: flux.withgradient(loss, pair)  # noqa: E731
    w, x = (a.astype(float) for a in pair)
    height = (size - window) // step + 1
    y = np.zeros((n, o, height, height))
    for i, j in np.ndindex(height, height):
        part = x[:, :, i * step : i * step + window, j * step : j * step + window]
        y[:, :, i, j] = np.tensordot(part, w, ((1, 2, 3), (1, 2, 3)))
    value, slopes = flux.compile(both)(pair)
    np.testing.assert_allclose(value, np.sin(y).sum(), rtol=EXACT[dtype], atol=EXACT[dtype] * y.size)
    for got, expected in zip(slopes, both((w, x))[1], strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=0, atol=EXACT[dtype] * np.abs(expected).max())


def test_convolutions_of_nothing():
    for w, x in ([(2, 3, 2, 2), (0, 3, 5, 5)], [(2, 0, 2, 2), (4, 0, 5, 5)], [(0, 3, 2, 2), (4, 3, 5, 5)]):
        w, x = np.ones(w), np.ones(x)
        got = flux.compile(convolution)(w, x)
        assert got.shape == (len(x), len(w), 4, 4)
        assert not got.any()


def product(subscripts, *shapes):
    """The product that is made of an einsum of two arrays."""
    with program.Recording() as recording:
        inputs = [recording.input(shape, np.float32) for shape in shapes]
        terms, output = subscripts.split("->")
        node = contract(terms.split(","), inputs, output)
        while node.op == "view":
            (node,) = node.args
        return contraction.find_product(node, {node}, None)


def test_axes_in_one_line_are_one():
    found = product("abijk,ijkc->abc", (3, 4, 5, 6, 7), (5, 6, 7, 8))
    assert sorted(found.shape) == [8, 12, 210]
    assert (found.size, found.outer) == ((12, 8, 210), ())


def test_a_stack_in_one_line_is_one_matrix():
    assert product("sik,kj->sij", (4, 5, 6), (6, 7)).size == (20, 7, 6)
    assert product("sik,skj->sij", (4, 5, 6), (4, 6, 7)).size == (5, 7, 6)


def test_a_call_takes_all_axes_but_that_of_a_stack():
    """A whole image, and all channels, not the three numbers of a window's row that lie beside each other."""
    with program.Recording() as recording:
        w, x = recording.input((16, 8, 3, 3), np.float32), recording.input((16, 8, 30, 30), np.float32)
        windows = program.view(x, ((0, ((0, 1),)), (0, ((1, 1),)), (0, ((2, 1), (4, 1))), (0, ((3, 1), (5, 1)))),
                               (16, 8, 28, 28, 3, 3))  # fmt: skip
        node = contract(["ncyxij", "ocij"], [windows, w], "noyx")
        found = contraction.find_product(node, {node}, None)
    assert found.size == (16, 28 * 28, 8 * 3 * 3)
    assert [found.shape[i] for i in found.outer] == [16]


@pytest.mark.parametrize("axes", [(2, 3), (1, 2), (3, 0), (1,), (2, 2)])
def test_gradients_of_windows_along_any_axes(axes):
    """The sum of all windows, each weighted by numbers of its own: the weights, back at their places."""
    x, w = arrays((3, 5, 6, 7), (4, 2), dtype=np.float64)
    sizes = (2, 3)[: len(axes)]
    weights = arrays(sliding_window_view(x, sizes, axes).shape, dtype=np.float64)[0]
    expected = np.zeros_like(x)
    np.add.at(expected.reshape(-1), sliding_window_view(np.arange(x.size).reshape(x.shape), sizes, axes), weights)
    slope = flux.compile(lambda x, w: flux.gradient(lambda x: np.sum(sliding_window_view(x, sizes, axes) * w), x))
    np.testing.assert_allclose(slope(x, weights), expected, rtol=1e-13)

    def weighted(x):  # by a product of matrices
        return np.sum(np.sin(np.tensordot(sliding_window_view(x, sizes, axes), w[: sizes[-1]], 1)))

    found = flux.compile(lambda x: flux.gradient(weighted, x))(x)
    np.testing.assert_allclose(found, flux.gradient(weighted, x), rtol=0, atol=1e-12)


def test_gradients_of_windows_that_are_read_by_indices():
    """Each of which is checked inside the loop."""
    x, t = arrays((20,), (6,), dtype=np.float64)
    k = np.arange(16 * 5).reshape(16, 5) % 6
    slope = flux.compile(lambda x, t, k: flux.gradient(lambda x: np.sum(sliding_window_view(x, 5) * t[k]), x))
    expected = np.zeros(20)
    np.add.at(expected, np.arange(16)[:, None] + np.arange(5), t[k])
    np.testing.assert_allclose(slope(x, t, k), expected, rtol=1e-13)
    with pytest.raises(IndexError, match="out of bounds"):
        slope(x, t, k + 1)


def of_images(m, x, y):
    h = np.tanh(convolution(m["w"], np.reshape(x, (-1, 1, 6, 6))))
    return flux.mse(np.reshape(h, (len(x), -1)) @ m["v"], y)


def of_lines(m, x, y):
    """Each row of the batch is treated by itself; the weight's gradient is a sum over rows and windows."""
    h = np.tanh(np.einsum("nti,ic->ntc", sliding_window_view(np.tanh(x), 9, 1), m["u"]))
    return flux.mse(np.einsum("ntc,tcy->ny", h, m["t"]), y)


def of_pieces(m, x, y):
    """Rows and what they consist of would be one line of memory."""
    h = np.tanh(np.einsum("ntij,ijc->ntc", np.reshape(np.tanh(x), (len(x), 4, 3, 3)), m["u"].reshape(3, 3, 5)))
    return flux.mse(np.einsum("ntc,tcy->ny", h, m["t"][:4]), y)


@pytest.mark.parametrize("loss", [of_images, of_lines, of_pieces])
@pytest.mark.parametrize("size", [701, 512])
def test_training_on_a_large_batch(loss, size):
    """Which is calculated in blocks of rows where that can be; of 701, the last is shorter."""
    x, y = arrays((size, 36), (size, 3))
    outcomes = []
    for native in (False, True):
        w, v, u, t = arrays((4, 1, 3, 3), (4 * 16, 3), (9, 5), (28, 5, 3))
        model = {"w": w, "v": v} if loss is of_images else {"u": u, "t": t}
        batches = flux.DataLoader((x, y), batchsize=size)
        means = flux.train(loss, model, batches, flux.setup(flux.Descent(0.1), model), 3, compile=native)
        outcomes.append([*means, *flux.leaves(model)])
    for a, b in zip(*outcomes, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


LARGE = {  # more rows than a block, terms than a piece, columns than a strip; b packed along columns, terms, or neither
    "columns lie together": ("nxhc,xhco->nxo", (170, 3, 5, 37), (3, 5, 37, 83)),
    "terms lie together": ("nrhc,ohc->nro", (17, 31, 9, 33), (70, 9, 33)),
    "neither": ("nrhc,hoc->nro", (8, 9, 31, 7), (31, 18, 7)),
    "rows of a turned array": ("hnrc,cho->rno", (7, 30, 20, 9), (9, 7, 21)),
    "rows of columns lie together": ("khc,nk->nhc", (40, 5, 37), (100, 40)),
    "all over": ("abcd,dbae->ce", (6, 7, 500, 8), (8, 7, 6, 33)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", LARGE)
def test_large_sums_over_several_axes(case, dtype):
    subscripts, *shapes = LARGE[case]
    x, w = (z.astype(dtype) for z in arrays(*shapes))
    # A window of x: nothing lies in one line.
    whole = np.pad(x, [(1, 2)] * x.ndim)
    inside = tuple(slice(1, n + 1) for n in x.shape)
    expected = np.einsum(subscripts, x.astype(np.float64), w.astype(np.float64))
    for _ in range(2):  # the second call finds the tables
        got = flux.compile(lambda x, w: np.einsum(subscripts, x[inside], w))(whole, w)
        np.testing.assert_allclose(got, expected, rtol=0, atol=20 * EXACT[dtype] * np.abs(expected).max())


@pytest.mark.parametrize(
    ("subscripts", "terms", "parts"),
    [("abxi,bayj->xyij", (200, 200), 16), ("abcdxi,dcbayj->yjxi", (14,) * 4, 14)],
)
def test_sums_of_far_more_terms_than_rows_and_columns_are_cut(subscripts, terms, parts):
    """Into parts for the threads: each would read all terms of one operand otherwise. 200 is no multiple of 16."""
    x, y = arrays((*terms, 2, 5), (*terms, 3, 4), dtype=np.float32)
    assert product(subscripts, x.shape, y.shape).parts == parts
    stack = subscripts.replace(",", "k,").replace("->", "k->k")  # which threads share
    assert product(stack, (*x.shape, 2), (*y.shape, 2)).parts == 1
    got = flux.compile(lambda x, y: np.einsum(subscripts, x, y))(x, y)
    expected = np.einsum(subscripts, x.astype(np.float64), y.astype(np.float64))
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("batchsize", [600, 300])
def test_convolutions_of_blocks_of_rows(batchsize):
    """Batches that are calculated in blocks of rows: the sum of the weights' gradient goes over all of them."""
    x, w = arrays((600, 6, 5, 3), (40, 3, 3, 3), dtype=np.float64)
    model = {"w": w / 8, "v": arrays((40,), dtype=np.float64)[0]}
    y = arrays((600,), dtype=np.float64)[0]

    def loss(m, x, y):
        return np.mean((np.tanh(flux.conv(x, m["w"])).mean((1, 2)) @ m["v"] - y) ** 2)

    found = []
    for how in (True, False):
        m = {name: value.copy() for name, value in model.items()}
        loader = flux.DataLoader((x, y), batchsize=batchsize)
        flux.train(loss, m, loader, flux.setup(flux.Descent(0.5), m), epochs=3, compile=how)
        found.append(m)
    for name in model:
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=0, atol=1e-13)
