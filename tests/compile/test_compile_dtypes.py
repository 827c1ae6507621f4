"""Compiled functions give NumPy's dtype and value, or its error, for every integer dtype and every edge of it."""

import numpy as np
import pytest
from scipy import special

import tinyflux as flux
from tests.support.compiling import agree, same
from tinyflux.compile import compile  # noqa: A004
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.ir.program import Recording
from tinyflux.compile.trace.symbolic import Symbolic
from tinyflux.errors import NotCompilable

needs_compiler = pytest.mark.skipif(not available(), reason="there is no C compiler here")

INTEGERS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
KINDS = ["?", *INTEGERS, "f4", "f8"]
REDUCTIONS = [
    np.sum, np.prod, np.var, np.std, np.max, np.min, np.ptp, np.cumsum, np.cumprod, np.any, np.all, np.argmax,
    np.argmin, np.count_nonzero, np.sort, np.argsort, np.linalg.norm, np.diff, np.round, np.fix, np.copy,
    np.add.reduce, np.multiply.reduce, np.maximum.reduce, np.minimum.reduce, np.add.accumulate, np.multiply.accumulate,
    np.maximum.accumulate, np.minimum.accumulate,
]  # fmt: skip
NUMBERS = [300, -1, 1, 0, 2.5, True, 2**40, 2**70]


def edges(kind):
    """Numbers at the edges of a dtype, and around 0."""
    if kind == "?":
        return np.array([False, True, True, False])
    if kind in ("f4", "f8"):
        return np.array([-np.inf, -7.5, -2.5, -1.5, -1, -0.0, 0, 1e-5, 0.5, 1, 1.5, 2, 3.7, 20, np.inf, np.nan], kind)
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    return np.array([low, low + 1, -1 if low else 9, 0, 1, 2, 3, 5, 7, 15, 25, 100, high - 1, high], kind)


def ufuncs(inputs):
    found = [f for f in vars(np).values() if isinstance(f, np.ufunc) and f.nin == inputs and f.signature is None]
    return [*found, *[f for f in vars(special).values() if isinstance(f, np.ufunc) and f.nin == inputs]]


def with_numbers():
    """Functions of arrays and numbers of Python's."""
    for k in NUMBERS:
        yield from (
            lambda x, k=k: x + k, lambda x, k=k: k - x, lambda x, k=k: x * k, lambda x, k=k: x // k,
            lambda x, k=k: x % k, lambda x, k=k: x < k, lambda x, k=k: k >= x, lambda x, k=k: x == k,
            lambda x, k=k: k != x, lambda x, k=k: np.maximum(x, k), lambda x, k=k: np.where(x > 0, x, k),
            lambda x, k=k: np.full_like(x, k), lambda x, k=k: np.clip(x, k, None), lambda x, k=k: np.clip(x, None, k),
            lambda x, k=k: x & k, lambda x, k=k: np.sum(x, initial=k),
        )  # fmt: skip


OTHERS = [
    lambda x: np.mean(x[2:-2]),  # without the numbers that only cancel each other
    *[lambda x, p=p: np.linalg.norm(x, p) for p in (1, 2, 3, np.inf, -np.inf, 0)],
    *[lambda x, axis=axis: np.linalg.norm(np.reshape(x, (2, -1)), axis=axis) for axis in (0, 1, (0, 1))],
    lambda x: np.round(x, 1), lambda x: x**2, lambda x: -x, lambda x: ~x, abs, lambda x: np.clip(x, -1, 100),
    lambda x: np.isclose(x, x[::-1]), lambda x: np.isclose(x, 3), lambda x: np.array_equal(x, x),
    lambda x: np.dot(x, x), lambda x: np.outer(x, x), lambda x: np.trace(np.outer(x, x)),
    lambda x: np.sum(x, where=x > 2), lambda x: np.max(x, where=x < 2, initial=2),
    lambda x: np.mean(x[2:-2], where=x[2:-2] != 7),
    *[
        lambda x, f=f, dtype=dtype: f(x[2:-2], dtype=dtype)
        for f in (np.sum, np.mean, np.prod, np.cumsum)
        for dtype in ("i1", "u4", "f8")
    ],
    flux.relu, flux.leakyrelu, flux.swish, flux.softmax, flux.logsumexp, lambda x: flux.mse(x, x[::-1]),
]  # fmt: skip


def attempted(f, *arguments):
    """What f gives, or the class of its error."""
    try:
        with np.errstate(all="ignore"):
            return f(*arguments)
    except Exception as error:
        return error


def recorded(f, *arguments):
    """The same for what is recorded; an error is NotCompilable where nothing else can be said of it."""
    with Recording() as recording:
        return attempted(f, *[Symbolic(recording.input(x.shape, x.dtype)) for x in arguments])


def compare(functions, *arguments):
    """Everything that can be recorded, compiled as one; what can't be recorded is an error that NumPy has, or named."""
    compiled = []
    for f in functions:
        found = recorded(f, *arguments)
        if isinstance(found, NotCompilable):
            continue
        expected = attempted(f, *arguments)
        if isinstance(expected, Exception) or isinstance(found, Exception):
            assert isinstance(expected, type(found)), (f, expected, found)
            continue
        compiled.append((f, expected))
    results = compile(lambda *xs: [f(*xs) for f, _ in compiled])(*arguments)
    for (f, expected), got in zip(compiled, results, strict=True):
        tolerance = 1e-5 if getattr(expected, "dtype", None) == np.float32 else 1e-11
        same(got, expected, tolerance, f"{getattr(f, '__name__', f)} {getattr(f, '__defaults__', '')}")
    return len(compiled)


@needs_compiler
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_functions_of_one_array(kind):
    functions = [*ufuncs(1), *REDUCTIONS, *with_numbers(), *OTHERS]
    assert compare(functions, edges(kind)) > 100


@needs_compiler
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "kinds", ["? ?", "i1 i1", "u1 u1", "i4 i4", "u4 u4", "i8 i8", "u8 u8", "f4 f4", "f8 f8", "u1 i8", "? u2", "i4 f4"]
)
def test_functions_of_two_arrays(kinds):
    a, b = (edges(kind) for kind in kinds.split())
    functions = [*ufuncs(2), lambda a, b: np.where(a > b, a, b), lambda a, b: np.clip(a, b, b), np.isclose]
    assert compare([f for f in functions if f is not special.zeta], a[:, None], b) > 20


@needs_compiler
def test_rounding_to_tens():
    for kind in INTEGERS:
        agree(
            lambda x: [np.round(x, -1), np.round(x, -2), np.around(x, 2)], np.array([0, 5, 15, 25, 99, 104, 120], kind)
        )
    agree(lambda x: np.round(x, -1), np.array([-128, -5, -15, 126, 127], np.int8))  # wraps around, as NumPy's does


@needs_compiler
def test_special_functions_of_negative_numbers():
    x = np.array([-1234.3, -20.5, -2.5, -1.5, -0.5, -0.1, 0.1, 1.5, 30.0])
    agree(lambda x: [special.psi(x), special.gammaln(x)], x, tolerance=1e-11)
    agree(lambda x: flux.gradient(lambda x: np.sum(special.psi(x)), x), x, tolerance=1e-11)
    agree(lambda x: [special.zeta(np.float64(s), x) for s in (1, 1.5, 2, 3, 4, 9)], x, tolerance=1e-10)
    agree(lambda x: special.zeta(np.float64(2), x), np.array([-np.inf, -3, -0.0, 0, np.inf, np.nan]))
    assert compile(lambda x: flux.gradient(special.psi, x))(-2.5) == pytest.approx(9.53924664498913, rel=1e-12)


def test_numbers_beyond_a_dtype():
    x = np.array([200, 100, 3], np.uint8)
    for f in (lambda x: x + 300, lambda x: -1 * x, lambda x: np.full_like(x, 256)):
        assert isinstance(attempted(f, x), OverflowError)
        assert isinstance(recorded(f, x), OverflowError)


def test_booleans_stay_without_nan():
    x = np.array([False, True])
    got = compile(np.nan_to_num)(x)
    assert got.dtype == bool
    assert got.tolist() == [False, True]
