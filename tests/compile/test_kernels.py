"""The headers that compiled steps include, called through a small C file, against float64 and long double NumPy."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tinyflux

HEADERS = Path(tinyflux.__file__).parent / "compile" / "backends" / "c"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
FLAGS = ["-std=gnu11", "-O3", "-fPIC", "-shared", "-fopenmp-simd"]
FLAGS += ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
FUNCTIONS = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}
SUFFIX = {np.float32: "f32", np.float64: "f64"}
DTYPES = pytest.mark.parametrize("dtype", SUFFIX)
# Products whose sizes the compiler knows, which remove other branches than sizes it does not.
KNOWN = [(1, 16, 784), (1, 60, 10), (9, 10, 60), (9, 10, 784), (16, 16, 16), (70, 100, 90)]

SOURCE = """
#include "elementary.h"
#include "matmul.h"
#define EACH(name, T) void each_##name(long n, const T *x, T *y) { for (long i = 0; i < n; i++) y[i] = name(x[i]); }
#define PRODUCTS(T, S)                                                                                            \\
    void any_dot_##S(int64_t m, int64_t n, int64_t k, const T *a, int64_t lda, const int64_t *rows, const T *b,   \\
                     int64_t ldb, T *c, int64_t c_i, int64_t c_j, int add)                                        \\
    { dot_##S(m, n, k, a, lda, rows, b, ldb, c, c_i, c_j, add); }                                                 \\
    void any_axpy_##S(int64_t m, int64_t n, int64_t k, const T *a, int64_t a_i, int64_t a_k, const T *b,          \\
                      int64_t ldb, const int64_t *rows, T *c, int64_t ldc, int add)                               \\
    { axpy_##S(m, n, k, a, a_i, a_k, b, ldb, rows, c, ldc, add); }                                                \\
    void any_contract_##S(int64_t m, int64_t first, int64_t last, int64_t n, int64_t k, const T *a,               \\
                          const int64_t *a_i, const int64_t *a_k, const T *b, const int64_t *b_k,                 \\
                          const int64_t *b_j, T *c, const int64_t *c_i, const int64_t *c_j, int add,              \\
                          int64_t along, int64_t down, int64_t across)                                            \\
    { contract_##S(m, first, last, n, k, a, a_i, a_k, b, b_k, b_j, c, c_i, c_j, add, along, down, across); }
#define KNOWN(T, S, m, n, k)                                                                                      \\
    void dot_##m##_##n##_##k##_##S(const T *a, const int64_t *rows, const T *b, T *c, int add)                    \\
    { if (rows) dot_##S(m, n, k, a, k, rows, b, k, c, n, 1, add);                                                 \\
      else dot_##S(m, n, k, a, k, NULL, b, k, c, n, 1, add); }                                                    \\
    void axpy_##m##_##n##_##k##_##S(const T *a, const int64_t *rows, const T *b, T *c, int add)                   \\
    { if (rows) axpy_##S(m, n, k, a, 1, m, b, n, rows, c, n, add);                                                \\
      else axpy_##S(m, n, k, a, 1, m, b, n, NULL, c, n, add); }
PRODUCTS(float, f32)
PRODUCTS(double, f64)
"""


PROCESSORS = {
    "plain": [],
    "avx2": ["-mavx2", "-mfma"],
    "native": ["-march=native"],
    "one by one": ["-march=native", "-DTF_ONE_BY_ONE"],
}


@pytest.fixture(scope="module", params=PROCESSORS)
def library(request, tmp_path_factory):
    """The kernels in a shared library: for any processor of this kind, for one with AVX2, and for this very one."""
    if COMPILER is None:
        pytest.skip("no C compiler")
    information = Path("/proc/cpuinfo")
    if request.param == "avx2" and not (information.exists() and " avx2 " in information.read_text()):
        pytest.skip("this processor is not known to have AVX2")
    source = [SOURCE]
    for dtype, suffix in SUFFIX.items():
        c = "float" if dtype is np.float32 else "double"
        source += [f"EACH({name}_{suffix}, {c})" for name in FUNCTIONS]
        source += [f"KNOWN({c}, {suffix}, {m}, {n}, {k})" for m, n, k in KNOWN]
    path = tmp_path_factory.mktemp("kernels")
    (path / "kernels.c").write_text("\n".join(source) + "\n")
    command = [COMPILER, *FLAGS, *PROCESSORS[request.param], f"-I{HEADERS}", "kernels.c", "-o", "kernels.so", "-lm"]
    done = subprocess.run(command, cwd=path, capture_output=True, text=True)
    if done.returncode and "-march=native" in command:
        pytest.skip(f"the compiler refuses -march=native: {done.stderr[:200]}")
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(path / "kernels.so"))


def call(function, *arguments):
    """Call a C function with arrays (or pointers into them), None and integers."""
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    function(*[pointer(a.ctypes.data) if isinstance(a, np.ndarray) else pointer() if a is None else integer(a)
               for a in arguments])  # fmt: skip


def guarded(shape, dtype, random):
    """Random numbers of a shape, whose array begins off any alignment and ends where NaNs begin."""
    size = int(np.prod(shape))
    memory = np.full(size + 101, np.nan, dtype)
    memory[1 : 1 + size] = random.normal(size=size)
    return memory, memory[1 : 1 + size].reshape(shape)


def elementwise(library, name, x):
    y = np.empty_like(x)
    call(getattr(library, f"each_{name}_{SUFFIX[x.dtype.type]}"), x.size, x, y)
    return y


@DTYPES
@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions_are_accurate(library, name, dtype):
    random = np.random.default_rng(0)
    largest = 87 if dtype is np.float32 else 708
    positive = np.exp(random.uniform(-largest, largest, 20_000))
    x = np.concatenate([random.uniform(-largest, largest, 20_000), random.uniform(-3, 3, 20_000), positive, -positive])
    x = np.concatenate([x, 1 + 1e-3 * random.normal(size=20_000), 1e-3 * random.normal(size=20_000)]).astype(dtype)
    with np.errstate(all="ignore"):
        expected = FUNCTIONS[name](x.astype(np.longdouble))
        normal = (np.abs(expected) >= np.finfo(dtype).tiny) & (np.abs(expected) <= np.finfo(dtype).max)
    assert normal.sum() > 50_000
    error = np.abs(elementwise(library, name, x)[normal] / expected[normal] - 1)
    assert error.max() < (3e-7 if dtype is np.float32 else 2e-15)


@DTYPES
@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions_of_special_numbers(library, name, dtype):
    info = np.finfo(dtype)
    x = [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, info.max, -info.max, info.tiny, -info.tiny]
    x = np.array([*x, info.smallest_subnormal, 1, -1, -2, 1e4, -1e4, 1e9, -1e9, 1e30, -1e30, 5e-39, 88.9, -90], dtype)
    with np.errstate(all="ignore"):
        expected = FUNCTIONS[name](x.astype(np.longdouble)).astype(dtype)
    result = elementwise(library, name, x)
    np.testing.assert_allclose(result, expected, rtol=4 * info.eps, atol=info.tiny)
    same = np.signbit(result) == np.signbit(expected)
    assert np.all(same | np.isnan(expected) | (np.abs(expected) < info.tiny))
    if name in ("expm1", "tanh"):
        assert np.signbit(result[1])  # -0 stays -0


def check(result, a, b, before, add, dtype):
    """Compare c with a @ b in float64: sums of k terms differ by the size of the terms."""
    exact = a.astype(np.float64) @ b.astype(np.float64) + (before.astype(np.float64) if add else 0)
    size = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64)) + np.abs(before)
    assert np.all(np.abs(result - exact) <= 8 * np.finfo(dtype).eps * size)


SIZES = st.one_of(st.integers(0, 20), st.sampled_from([31, 33, 48, 60, 65, 100]))
DEPTHS = st.one_of(st.integers(0, 20), st.sampled_from([60, 255, 256, 257, 300, 784]))


@DTYPES
@settings(max_examples=150)
@given(m=SIZES, n=SIZES, k=DEPTHS, gap=st.integers(0, 3), rows=st.booleans(), add=st.booleans(), flip=st.booleans())
def test_dot(library, dtype, m, n, k, gap, rows, add, flip):
    random = np.random.default_rng(m + 101 * n + 10007 * k)
    table = random.integers(0, m + 3, m) if rows else None
    _, a = guarded((m + 3, k + gap), dtype, random)
    _, b = guarded((n, k + gap), dtype, random)
    memory, c = guarded((n, m + gap) if flip else (m, n + gap), dtype, random)
    before = memory.copy()
    view, old = (c.T[:m], c.T[:m].copy()) if flip else (c[:, :n], c[:, :n].copy())
    strides = (1, m + gap) if flip else (n + gap, 1)
    function = getattr(library, f"any_dot_{SUFFIX[dtype]}")
    call(function, m, n, k, a, k + gap, table, b, k + gap, c, *strides, add)
    check(view, a[table if rows else slice(m), :k], b[:, :k].T, old, add, dtype)
    view[...] = old
    np.testing.assert_array_equal(memory, before)  # nothing else was written


@DTYPES
@settings(max_examples=150)
@given(m=SIZES, n=SIZES, k=DEPTHS, gap=st.integers(0, 3), rows=st.booleans(), add=st.booleans(), flip=st.booleans())
def test_axpy(library, dtype, m, n, k, gap, rows, add, flip):
    random = np.random.default_rng(m + 101 * n + 10007 * k)
    table = random.integers(0, k + 3, k) if rows else None
    _, a = guarded((k, m + gap) if flip else (m, k + gap), dtype, random)
    _, b = guarded((k + 3, n + gap), dtype, random)
    memory, c = guarded((m, n + gap), dtype, random)
    before, old = memory.copy(), c[:, :n].copy()
    strides = (1, m + gap) if flip else (k + gap, 1)
    function = getattr(library, f"any_axpy_{SUFFIX[dtype]}")
    call(function, m, n, k, a, *strides, b, n + gap, table, c, n + gap, add)
    check(c[:, :n], a.T[:m] if flip else a[:, :k], b[table if rows else slice(k), :n], old, add, dtype)
    c[:, :n] = old
    np.testing.assert_array_equal(memory, before)


@DTYPES
@pytest.mark.parametrize("add", [0, 1])
@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), KNOWN)
def test_products_of_sizes_known_when_compiling(library, dtype, m, n, k, rows, add):
    random = np.random.default_rng(0)
    x, y, delta, old = (random.normal(size=s).astype(dtype) for s in [(m + 5, k), (n, k), (k, m), (m, n)])
    c, table = old.copy(), random.integers(0, m + 5, m) if rows else None
    call(getattr(library, f"dot_{m}_{n}_{k}_{SUFFIX[dtype]}"), x, table, y, c, add)
    check(c, x[table if rows else slice(m)], y.T, old, add, dtype)
    b = random.normal(size=(k + 5, n)).astype(dtype)
    c, table = old.copy(), random.integers(0, k + 5, k) if rows else None
    call(getattr(library, f"axpy_{m}_{n}_{k}_{SUFFIX[dtype]}"), delta, table, b, c, add)
    check(c, delta.T, b[table if rows else slice(k)], old, add, dtype)


PLACES = {  # where term k and column j of b are, (k, j) in an array of which shape, and whether each lies in pieces
    "columns together": (lambda k, n: (k, n), 0, 20),
    "a few columns together": (lambda k, n: (k, n), 0, 3),
    "all columns together": (lambda k, n: (k, n), 0, 1000),
    "terms together": (lambda k, n: (n, k), 20, 0),
    "both together": (lambda k, n: (k, 3 * n), 20, 3),
    "nothing together": (lambda k, n: (2 * k, n), 0, 0),
}


def few_columns(test):
    """Examples of so few columns that vectors run along the terms, which lie together in runs."""
    for m, n, k, run in [
        (1, 1, 64, 16),
        (13, 2, 704, 16),
        (490, 3, 704, 16),
        (9, 4, 64, 16),
        (490, 5, 704, 16),
        (7, 6, 64, 16),
        (10, 7, 704, 16),
        (20, 8, 64, 16),
        (25, 6, 28 * 50, 28),
        (12, 6, 28 * 20, 28),
        (9, 8, 28 * 4, 28),
        (4, 4, 15 * 50, 15),
        (490, 1, 7 * 12, 7),
        (7, 2, 31 * 3, 31),
        (3, 3, 20 * 40, 20),
        (3, 1, 3 * 1500, 3),
    ]:
        case, add = sorted(PLACES)[n % len(PLACES)], m % 2 == 0
        test = example(m=m, n=n, k=k, case=case, add=add, scattered=n % 3 == 0, run=run)(test)
    return test


@DTYPES
@settings(max_examples=30)
@given(
    m=st.one_of(st.integers(1, 20), st.just(490)),
    n=st.one_of(st.integers(1, 20), st.sampled_from([33, 70, 209])),
    k=st.one_of(st.integers(1, 20), st.sampled_from([64, 65, 704])),
    case=st.sampled_from(sorted(PLACES)),
    add=st.booleans(),
    scattered=st.booleans(),
    run=st.sampled_from([0, 3, 13, 16, 28]),
)
@few_columns
def test_contract(library, dtype, m, n, k, case, add, scattered, run):
    """Rows, columns and terms stand in any order, columns from `first` to `last`; what lies around is left alone."""
    random = np.random.default_rng(m + n + k)
    shape, down, along = PLACES[case]
    width = 2 * k + run
    _, a = guarded((m, width), dtype, random)
    _, b = guarded(shape(k, n), dtype, random)
    memory, c = guarded((m, n + 3), dtype, random)
    before = memory.copy()
    first, last = (16, n - n % 16) if n > 40 else (0, n)
    terms = shuffled(k, run, random) if run else random.permutation(2 * k)[:k]
    terms = terms + run * (terms // max(run, 1))  # runs lie apart
    a[:, np.setdiff1d(np.arange(width), terms)] = np.nan
    rows, places = random.permutation(m), shuffled(k, down, random)
    columns, to = shuffled(n, along, random), random.permutation(n + 3)[:n] if scattered else np.arange(n)
    across, down_to = {"terms together": (1, k), "both together": (1, 1)}.get(case, (n, 1))
    tables = rows * width, terms, places * across, columns * down_to, rows * (n + 3), to
    a_i, a_k, b_k, b_j, c_i, c_j = (np.ascontiguousarray(x, np.int64) for x in tables)
    function = getattr(library, f"any_contract_{SUFFIX[dtype]}")
    out = c_j if scattered else None
    call(function, m, first, last, n, k, a, a_i, a_k, b, b_k, b_j, c, c_i, out, add, along, down, run)
    right = b.reshape(-1)[b_k[:, None] + b_j]
    old, found = before[1 : 1 + c.size].reshape(c.shape), np.ix_(rows, to[first:last])
    check(c[found], a[rows][:, terms], right[:, first:last], old[found], add, dtype)
    c[found] = old[found]
    np.testing.assert_array_equal(memory, before)


def shuffled(n, piece, random):
    """The numbers below n in any order, but in pieces of some length, the last of which may be shorter, if not 0."""
    if not piece:
        return random.permutation(n)
    starts = [*(random.permutation(n // piece) * piece), n - n % piece]
    return np.concatenate([np.arange(start, min(start + piece, n)) for start in starts])
