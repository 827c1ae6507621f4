"""What flux.compile gives is what the function itself gives: special numbers, integers, indices, matrices."""

import re

import numpy as np
import pytest
from scipy import special

import tinyflux as flux
from tests.support.compiling import INF, NAN, SPECIAL, agree, rng, same
from tinyflux.compile import compile  # noqa: A004
from tinyflux.compile.backends.c.build import available
from tinyflux.errors import NotCompilable
from tinyflux.nn.layers.dropout import _splitmix64

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

# Special numbers.


def test_not_a_number_and_infinities():
    a, b = (m.reshape(-1) for m in np.meshgrid(SPECIAL, SPECIAL))
    two = [
        np.maximum, np.minimum, np.fmax, np.fmin, np.add, np.subtract, np.multiply, np.divide, np.remainder, np.fmod,
        np.floor_divide, np.hypot, np.arctan2, np.copysign, np.power, special.xlogy,
        np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal,
        np.logical_and, np.logical_or, np.logical_xor, lambda a, b: np.where(a > b, a, b),
        lambda a, b: np.isclose(a, b), lambda a, b: np.isclose(a, b, equal_nan=True),
    ]  # fmt: skip
    one = [
        np.exp, np.expm1, np.exp2, np.log, np.log1p, np.log2, np.log10, np.sqrt, np.cbrt, np.sign, np.abs, np.floor,
        np.ceil, np.trunc, np.rint, np.round, np.fix, np.reciprocal, np.square, np.negative, np.tanh, np.sinh, np.cosh,
        np.arcsin, np.arctan, np.arcsinh, np.arccosh, np.arctanh, special.erf, special.erfc, special.expit,
        special.logit, special.log_expit, np.isnan, np.isinf, np.isfinite, np.signbit, np.logical_not, np.nan_to_num,
    ]  # fmt: skip
    one.remove(np.nan_to_num)
    agree(lambda a, b: [f(a, b) for f in two], a, b)
    agree(lambda a: [f(a) for f in one] + [special.psi(a[2:-3]), special.gammaln(a[7:-2])], SPECIAL)
    agree(lambda a, b: [np.logaddexp(a, b), np.logaddexp(a, a)], a, b)


def test_small_results_are_as_accurate_as_large_ones():
    """Relative to themselves, where a formula that is written down in haste has lost all digits."""
    x = 10.0 ** -np.arange(1, 16, 2)
    functions = [np.expm1, np.log1p, np.sinh, np.tanh, np.arctanh, lambda x: special.logit(0.5 + x), special.erf]
    got = compile(lambda x: [f(x) for f in functions])(x)
    for f, y in zip(functions, got, strict=True):
        np.testing.assert_allclose(y, f(x), rtol=1e-14)


def test_reductions_meet_not_a_number():
    rows = np.array([[1, NAN, 3], [NAN, NAN, NAN], [-INF, -INF, -INF], [INF, 2, INF], [-INF, 0, INF], [3, 3, 1]])
    reductions = [np.max, np.min, np.argmax, np.argmin, np.sum, np.prod, np.mean, np.sort, np.cumsum,
                  np.cumprod, np.any, np.all, np.count_nonzero]  # fmt: skip
    agree(lambda x: [f(x, axis=axis) for f in reductions for axis in (0, 1, None)], rows)
    agree(lambda x: [np.logaddexp.reduce(x, axis=0), np.logaddexp.reduce(x, axis=1)], rows)
    agree(lambda x: [f(x, axis=axis) for f in (np.argmax, np.argmin) for axis in (0, 1)], rows[2:4].astype(np.float32))


def test_sorting_is_stable():
    x = rng.integers(0, 5, (4, 37)).astype(float)
    x[0, ::5], x[1, 3] = NAN, -0.0
    f = lambda x: [np.argsort(x, axis=a, kind="stable") for a in (0, 1, None)] + [np.sort(x, axis=a) for a in (0, 1)]  # noqa: E731
    agree(f, x)
    agree(f, x.astype(np.float32))
    agree(f, rng.integers(-3, 3, (3, 8)))
    agree(f, rng.integers(0, 3, (3, 8)).astype(np.uint64) + np.uint64(2**63 - 1))
    agree(f, x > 1)
    agree(f, np.zeros((0, 3)))
    agree(f, np.zeros((3, 1)))


# Integers and truth values.

NUMBERS = {
    kind: np.array([low, low + 1, -1 if low else 9, 0, 1, 2, 3, 7, high - 1, high], kind)
    for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
    for low, high in [(np.iinfo(kind).min, np.iinfo(kind).max)]
}


def test_integers_wrap_around_as_numpy_has_it():
    two = [
        np.add, np.subtract, np.multiply, np.maximum, np.minimum, np.remainder, np.floor_divide, np.fmod, np.bitwise_or,
        np.bitwise_and, np.bitwise_xor, np.less, np.equal, np.greater_equal, np.divide, np.left_shift, np.right_shift,
    ]  # fmt: skip
    one = [
        np.negative, np.absolute, np.square, np.sign, np.invert, np.sum, np.prod, np.cumsum, np.max, np.min,
        lambda x: x + 1 > x, lambda x: -x, lambda x: x.astype(float), lambda x: x.astype("?"), lambda x: x.astype("i4"),
        lambda x: x**2, lambda x: x**3, lambda x: np.power(x, 0), np.floor, np.isnan, np.isfinite, np.round,
        lambda x: np.mean(x[-3:]),
    ]  # fmt: skip

    def all_of(numbers):
        found = []
        for x in numbers.values():
            a, b = np.reshape(x, (-1, 1)), np.reshape(x, (1, -1))
            found += [f(a, b) for f in two] + [f(x) for f in one]
        u = numbers["u8"]
        return [*found, np.power(np.reshape(u, (-1, 1)), u), u * np.uint64(0x9E3779B97F4A7C15), u >> np.uint64(30)]

    compiled = agree(all_of, NUMBERS, tolerance=1e-12)
    same(
        compiled({k: x[::-1] for k, x in NUMBERS.items()}),
        _quietly(all_of, {k: x[::-1] for k, x in NUMBERS.items()}),
        1e-12,
    )


def _quietly(f, *args):
    with np.errstate(all="ignore"):
        return f(*args)


def test_truth_values():
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    functions = [np.add, np.multiply, np.logical_and, np.logical_or, np.logical_xor, np.bitwise_and, np.bitwise_or,
                 np.bitwise_xor, np.maximum, np.minimum, np.equal, np.less, np.divide]  # fmt: skip
    agree(lambda a, b: [f(a, b) for f in functions], a, b)
    agree(lambda a: [f(a) for f in (np.sum, np.mean, np.prod, np.cumsum, np.any, np.all, np.argmax, np.logical_not)], a)
    agree(lambda a: [~a, a * 2.5, a + 1, np.where(a, 1, 0.5), np.sum(a[:0]), np.any(a[:0]), np.all(a[:0])], a)


def test_mixed_dtypes():
    arrays = [np.ones(2, kind) for kind in ("f4", "f8", "i4", "i8", "u1", "?")]
    agree(lambda xs: [a + b for a in xs for b in xs] + [np.concatenate([a, b]) for a in xs for b in xs], arrays)
    agree(
        lambda a, b: [a @ b, np.einsum("ij,j", a, b), np.tensordot(a, b, 1), np.linalg.solve(a, b)],
        np.eye(2, dtype="f4"),
        np.ones(2),
    )
    agree(
        lambda a: [np.linalg.inv(a), np.linalg.det(a), np.sum(a, dtype=np.float32), np.add(a, 1, dtype=np.float64)],
        np.array([[2, 1], [1, 1]]),
    )


def test_the_hash_of_dropout():
    counts = np.arange(1, 50, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    agree(_splitmix64, counts)

    def masked(state, x):
        layer = flux.trainmode(flux.Dropout(0.4, seed=0))  # without one it would draw its key
        layer.state = state
        return layer(x), layer.state

    x, state = rng.normal(size=(3, 7)), np.array([5, 2**63], np.uint64)
    agree(masked, state, x)
    assert masked(state, x)[1].tolist() == [5, 2**63 + 21]


# Indices.


def test_indices_that_are_known_when_the_program_runs():
    x = rng.normal(size=(4, 3))

    def f(x, i, j, k):
        scattered = flux.gradient(
            lambda x: np.sum(np.sin(x[i]) * 2) + np.sum(x[i, j] ** 2) + x[k, 1] + np.sum(x[:, j]), x
        )
        return [
            x[i],
            x[i, j],
            x[:, j],
            x[i][:, j],
            x[k],
            x[k, i[:0]],
            x[None, i, 1:],
            x[i, None, j],
            np.take(x, i, axis=0),
            scattered,
        ]

    compiled = agree(f, x, np.array([0, -1, 0, 3]), np.array([2, -3, 1, 1]), np.int64(-2))
    for i in (np.array([4, 0, 0, 0]), np.array([0, 0, -5, 0])):
        with pytest.raises(IndexError, match="out of bounds for an axis of length 4"):
            compiled(x, i, np.zeros(4, int), np.int64(0))
    with pytest.raises(IndexError, match="axis of length 3"):
        compiled(x, np.zeros(4, int), np.array([3, 0, 0, 0]), np.int64(0))
    with pytest.raises(IndexError, match="axis of length 4"):
        compiled(x, np.zeros(4, int), np.zeros(4, int), np.int64(4))
    for kind in (np.int8, np.uint8, np.int32, np.uint64):
        same(compile(lambda x, i: x[i])(x, np.array([3, 0], kind)), x[[3, 0]], 0)


def test_arrays_of_indices_apart_from_each_other():
    x, i, j = rng.normal(size=(3, 4, 2, 5)), np.array([0, -1, 3]), np.array([4, 0, 4])
    indices = [
        (slice(None), i, slice(1), j), (slice(None), 1, slice(None), j), (1, slice(None), slice(None), j),
        (slice(None), i[:, None], 1, j), (..., i[:2, None] % 2, slice(None)), (slice(2), i, None, 0),
        -3, (..., -2), (slice(-2, None), -4, -1), np.int8(-1),
    ]  # fmt: skip
    agree(lambda x: [x[index] for index in indices], x)
    agree(
        lambda x: flux.gradient(lambda x: sum(np.sum(x[index] ** 2 * (k + 1)) for k, index in enumerate(indices)), x), x
    )


@pytest.mark.parametrize("index", [4, -5, ([4],), (0, 3), [0, -5], (slice(None), [3]), (0, 0, 0), 1.0, np.array([0.5]),
                                   np.ones(3, bool), np.ones((4, 2), bool)], ids=str)  # fmt: skip
def test_wrong_indices_are_errors_as_they_are_for_arrays(index):
    x = np.ones((4, 3))
    with pytest.raises(IndexError):
        x[index]
    with pytest.raises(IndexError):
        compile(lambda x: x[index])(x)


def test_masks():
    x = rng.normal(size=(2, 3))
    mask, none = x > 0, np.zeros((0, 3), bool)
    agree(lambda x: [x[mask], x[mask[:, 0]], x[:, mask[0]], x[mask[0].tolist() == [] or [True, False]], x[:0][none]], x)
    agree(lambda x: flux.gradient(lambda x: np.sum(x[mask] ** 3) + np.sum(x[:, [True, False, True]]), x), x)
    for f in (lambda x: x[x > 0], lambda x: x[0, x[0] > 0]):
        with pytest.raises(NotCompilable, match=r"mask.*np\.where"):
            compile(f)(x)


def test_joined_pieces_at_fixed_places():
    """Whichever piece an element comes from, the others are not read at its index."""
    x, y = np.arange(1.0, 4.0), np.arange(4.0, 6.0)

    def f(x, y, i):
        xy = np.concatenate([x, y])
        return [xy[4] * 2, xy[0], xy[i] + 1, np.sum(xy[i] * x), np.stack([x, x * 2])[i - 3, ::-1]]

    agree(f, x, y, np.int64(4))
    reads = re.findall(
        r"(\S.*)\n\s*const double \w+ = p0\[4\];", agree(lambda x, y: np.concatenate([x, y])[4] * 2, x, y).source
    )
    assert reads == ["if (4 < 3) {"]  # x has no such element


# Matrices.


def test_linear_algebra():
    a = rng.normal(size=(2, 1, 5, 5))
    b = rng.normal(size=(3, 5, 2))
    spd = a @ np.swapaxes(a, -1, -2) + np.eye(5)
    permuted = np.eye(4)[[2, 0, 3, 1]]

    def f(a, b, spd, permuted):
        return [
            np.linalg.inv(a), np.linalg.solve(a, b), np.linalg.solve(a, b[0, :, 0]), np.linalg.det(a),
            np.linalg.cholesky(spd), *np.linalg.slogdet(a), np.linalg.inv(permuted), np.linalg.det(permuted),
            *np.linalg.slogdet(-permuted),
            np.linalg.det(a[..., :3, :3]), *np.linalg.slogdet(a[..., :1, :1]), np.linalg.det(a[..., :0, :0]),
            *np.linalg.slogdet(0 * permuted), np.linalg.det(0 * permuted), np.linalg.inv(a[..., :0, :0]),
        ]  # fmt: skip

    agree(f, a, b, spd, permuted)
    agree(f, *[x.astype(np.float32) for x in (a, b, spd, permuted)], tolerance=2e-4)
    same(compile(np.linalg.slogdet)(permuted)._asdict(), np.linalg.slogdet(permuted)._asdict(), 0)


@pytest.mark.parametrize("function", [np.linalg.inv, lambda a: np.linalg.solve(a, np.ones(2)), np.linalg.cholesky])
def test_matrices_without_an_inverse_are_errors(function):
    compiled = compile(function)
    same(compiled(np.array([[2.0, 1], [1, 2]])), function(np.array([[2.0, 1], [1, 2]])), 1e-12)
    for bad in (np.array([[1.0, 2], [2, 4]]), np.zeros((2, 2)), np.array([[1.0, 2], [2, 4]])):
        with pytest.raises(np.linalg.LinAlgError) as expected:
            function(bad)
        with pytest.raises(np.linalg.LinAlgError, match=str(expected.value)):
            compiled(bad)
    with pytest.raises(np.linalg.LinAlgError):
        compile(function)(np.ones((2, 3)))
    assert np.isnan(compiled(np.full((2, 2), NAN))).any()


def test_shapes_that_do_not_fit_are_errors():
    x, y = np.ones((2, 3)), np.ones((2, 4))
    functions = [
        lambda x, y: x + y, lambda x, y: x @ y, lambda x, y: np.tensordot(x, y, 1), lambda x, y: 2.0 @ x,
        lambda x, y: np.einsum("ij,jk", x, y), lambda x, y: np.concatenate([x, y]), lambda x, y: np.stack([x, y]),
        lambda x, y: np.reshape(x, (4, 2)),
        lambda x, y: np.broadcast_to(x, (2, 4)), lambda x, y: np.squeeze(x, 0), lambda x, y: np.sum(x, axis=2),
        lambda x, y: np.max(x[:0], axis=0), lambda x, y: np.argmax(x[:0], axis=0), lambda x, y: np.argmin(x[:0]),
        lambda x, y: np.where(x > 0, x, y), lambda x, y: np.linalg.solve(y @ y.T, x.T),
    ]  # fmt: skip
    for f in functions:
        with pytest.raises(ValueError):
            f(x, y)
        with pytest.raises(ValueError):
            compile(f)(x, y)
