"""Convolutions with filters of 3 × 3, compiled by Winograd's algorithm, against the definition in float64."""

import ctypes
import math
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyflux as flux
from tests.compile.test_kernels import COMPILER, FLAGS, HEADERS, PROCESSORS, guarded
from tests.support.program_cases import arrays
from tests.support.training_cases import check
from tinyflux.compile.backends.c import library as c_library
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.trace.lower import winograd

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

# In units of the sum of the products' magnitudes, √n · ε for n products; the transformations add a few roundings.
ERROR = {"float32": 1e-6, "float64": 2e-15}


@pytest.fixture
def any_size(monkeypatch):
    monkeypatch.setattr(winograd, "MULTIPLICATIONS", 0)
    monkeypatch.setattr(winograd, "CHANNELS", 1)


@st.composite
def cases(draw):
    """Images, filters and padding, as the arguments of `flux.conv`."""
    n, c, o = draw(st.integers(1, 3)), draw(st.integers(1, 40) | st.integers(60, 70)), draw(st.integers(1, 40))
    pad = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2)]
    space = [draw(st.integers(max(1, 6 - before - after), 9)) for before, after in pad]  # at least 4 results
    return (n, *space, c), (o, 3, 3, c), tuple(pad)


def value_and_derivatives(x, w, g, pad):
    y, back = flux.pullback(lambda x, w: flux.conv(x, w, pad=pad), x, w)
    return y, *back(g)


def compare(got, x, w, g, pad):
    """Each number is a sum of products: its error is bounded by the sum of their magnitudes."""
    dtype = x.dtype.name
    exact = value_and_derivatives(*(a.astype(float) for a in (x, w, g)), pad)
    scale = value_and_derivatives(*(np.abs(a).astype(float) for a in (x, w, g)), pad)
    for a, e, s in zip(got, exact, scale, strict=True):
        assert (a.shape, a.dtype) == (e.shape, dtype)
        assert np.max(np.abs(a - e) / np.max(s), initial=0) < ERROR[dtype]


@settings(max_examples=3, deadline=None)
@given(st.lists(cases(), min_size=5, max_size=5), st.sampled_from(sorted(ERROR)))
def test_values_and_derivatives(drawn, dtype):
    given = []
    for image, filters, pad in drawn:
        out = [n + sum(p) - 2 for n, p in zip(image[1:-1], pad)]
        given.append(arrays(image, filters, (image[0], *out, filters[0]), dtype=dtype))
    pads = [pad for _, _, pad in drawn]
    compiled = flux.compile(lambda given: [value_and_derivatives(*a, pad) for a, pad in zip(given, pads)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "MULTIPLICATIONS", 0)
        patch.setattr(winograd, "CHANNELS", 1)
        results = compiled(given)
    assert compiled.program.count("winograd convolve") >= 5
    for got, (x, w, g), pad in zip(results, given, pads, strict=True):
        compare(got, x, w, g, pad)


def test_second_derivatives(any_size):
    x, w, v = arrays((2, 6, 5, 7), (9, 3, 3, 7), (2, 6, 5, 7), dtype=np.float64)

    def slope(x, w):
        return flux.gradient(lambda x: np.sum(np.tanh(flux.conv(x, w, pad=1))), x)

    def second(x, w):
        return flux.gradient(lambda x, w: np.sum(slope(x, w) * v), x, w)

    compiled = flux.compile(second)
    for a, e in zip(compiled(x, w), second(x, w), strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-12 * np.abs(e).max())
    assert "winograd" in compiled.program


def test_what_it_applies_to():
    """Large convolutions with filters of 3 × 3 in steps of 1, whose results fill tiles."""
    x, w = arrays((8, 16, 16, 32), (32, 3, 3, 32), dtype=np.float32)

    def used(x, w, **how):
        compiled = flux.compile(lambda x, w: flux.conv(x, w, **how))
        np.testing.assert_allclose(compiled(x, w), flux.conv(x, w, **how), rtol=0, atol=1e-4)
        return "winograd" in compiled.program

    assert used(x, w, pad=1)
    assert not used(x, w, stride=2)
    assert not used(x, w, dilation=2)
    assert not used(x, w[..., :16], groups=2)
    assert not used(x, w[:, :2])
    assert not used(x[..., :15], w[..., :15])
    assert not used(x, w[:15])
    assert not used(x[:1, :9, :9], w)
    assert not used(np.tile(x[:, :3, :3], (16, 1, 1, 1)), w)  # one pixel each: a tile would be three quarters empty
    assert not used(x[0], w[:, 0])
    assert not used((9 * x).astype(np.int64), (9 * w).astype(np.int64))


@pytest.mark.parametrize("batchsize", [20, 300])
def test_training_whole_and_in_blocks_of_rows(any_size, batchsize):
    data = tuple(arrays((310, 4, 5, 3), (310, 6), dtype=np.float64))
    model = [*arrays((5, 3, 3, 3), (6, 3, 3, 5), dtype=np.float64)]

    def loss(m, x, y):
        hidden = np.tanh(flux.conv(x, m[0], pad=1))
        return np.mean((np.sum(flux.conv(hidden, m[1], pad=1), axis=(1, 2)) - y) ** 2)

    check(loss, model, data, batchsize=batchsize, rtol=1e-11)
    step = flux.compile_training(loss, model, flux.setup(flux.Descent(0.1), model), batchsize=batchsize)
    step(data, np.zeros(0, int))
    schedule = step._latest().source.schedule
    assert (schedule.rows is not None) == (batchsize == 300)
    assert sum(k.kind == "winograd" for k in schedule.kernels) == 4 + 4 + 2


def test_what_is_not_finite_reaches_only_what_is_calculated_from_it(any_size):
    x, w = arrays((1, 8, 9, 3), (4, 3, 3, 3), dtype=np.float32)
    compiled = flux.compile(lambda x, w: flux.conv(x, w, pad=1))
    for i, j in np.ndindex(8, 9):
        wrong = x.copy()
        wrong[0, i, j, 1] = np.inf
        with np.errstate(invalid="ignore"):
            expected = np.isfinite(flux.conv(wrong, w, pad=1))
        assert np.array_equal(np.isfinite(compiled(wrong, w)), expected)


SOURCE = """
#include "matmul.h"
#define ALL(T, S) \\
    void all_##S(int64_t tiles, int64_t most, int64_t n, int64_t h, int64_t w, int64_t c, int64_t p, int64_t q, \\
                 int64_t o, int64_t top, int64_t left, const T *x, const T *f, const T *g, T *u, T *y, T *dx, T *df, \\
                 const T *back_f, T *space) \\
    { \\
        const tf_images_##S s = {n, h, w, c, p, q, o, top, left}, back = {n, p, q, o, h, w, c, 2 - top, 2 - left}; \\
        winograd_filters_##S(0, 16, c, o, back_f, u); \\
        winograd_filters_##S(16, 1 << 20, c, o, back_f, u); \\
        winograd_convolve_##S(0, 2, tiles, s, x, u, y, space); \\
        winograd_convolve_##S(2, 1 << 20, tiles, s, x, u, y, space); \\
        winograd_filters_##S(0, 16, o, c, f, u); \\
        winograd_filters_##S(16, 1 << 20, o, c, f, u); \\
        winograd_convolve_##S(0, 1 << 20, tiles, back, g, u, dx, space); \\
        winograd_correlate_##S(0, 1, tiles, most, s, x, g, u, 0, space); \\
        winograd_correlate_##S(1, 4 * ((c + most - 1) / most), tiles, most, s, x, g, u, 0, space); \\
        winograd_gradient_##S(0, 16, o, c, u, df); \\
        winograd_gradient_##S(16, 1 << 20, o, c, u, df); \\
    }
ALL(float, f32)
ALL(double, f64)
"""


@pytest.mark.parametrize("processor", ["plain", "avx2", "native"])
def test_functions_for_each_kind_of_processor(processor, tmp_path):
    """With numbers that lie off any alignment, and around them NaNs, which nothing may read or write."""
    (tmp_path / "winograd.c").write_text(SOURCE)
    command = [COMPILER, *FLAGS, *PROCESSORS[processor], f"-I{HEADERS}", "winograd.c", "-o", "winograd.so", "-lm"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"not for this compiler or processor: {done.stderr[:200]}")
    functions = ctypes.CDLL(str(tmp_path / "winograd.so"))
    random = np.random.default_rng(0)
    for tiles, (n, h, w, c, o, top, left) in [(6, (2, 7, 6, 19, 37, 1, 0)), (6, (1, 8, 4, 70, 16, 2, 1))]:
        p, q = h + 2 * top - 2, w + 2 * left - 2
        for dtype, suffix in ((np.float32, "f32"), (np.float64, "f64")):
            shapes = [(n, h, w, c), (o, 3, 3, c), (n, p, q, o), (16, 80, 80), (n, p, q, o), (n, h, w, c), (o, 3, 3, c)]
            shapes.append((c, 3, 3, o))
            memories, given = zip(*(guarded(shape, dtype, random) for shape in shapes))
            given[-1][:] = given[1][:, ::-1, ::-1].transpose(3, 1, 2, 0)
            space = np.full(4_000_000 // np.dtype(dtype).itemsize, np.nan, dtype)
            sizes = map(ctypes.c_int64, (tiles, 64, n, h, w, c, p, q, o, top, left))
            getattr(functions, f"all_{suffix}")(*sizes, *(ctypes.c_void_p(a.ctypes.data) for a in (*given, space)))
            x, f, g, _, *got, _ = given
            compare(got, x, f, g, ((top, top), (left, left)))
            for memory, array in zip(memories, given):
                assert np.isnan(memory[0])
                assert np.isnan(memory[1 + math.prod(array.shape) :]).all()


def test_memory_of_threads_to_calculate_in():
    prototype = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int64)
    take = prototype(ctypes.addressof(ctypes.c_char.in_dll(c_library._pool(), "workspace")))
    first = take(1 << 21)
    assert first % 64 == 0
    ctypes.memset(first, 1, 1 << 21)
    assert take(1 << 20) == first  # there is enough
    assert take(1 << 22) is not None
    assert take(1 << 62) is None
    assert take(1 << 10) % 64 == 0
