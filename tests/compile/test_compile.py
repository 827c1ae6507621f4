"""What flux.compile gives is what the function itself gives: for all layers, special numbers, trees, errors …"""

import gc
import re
import weakref

import numpy as np
import pytest
from scipy import special

import tinyflux as flux
from tinyflux.autodiff import tape
from tinyflux.compile import NotCompilable, compile  # noqa: A004
from tinyflux.compile.build import available
from tinyflux.compile.program import Recording
from tinyflux.compile.symbolic import Symbolic
from tinyflux.nn.layers.dropout import _splitmix64

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

INF, NAN = np.inf, np.nan
SPECIAL = np.array([-INF, -1e4, -750.0, -1.5, -1.0, -1e-300, -0.0, 0.0, 1e-9, 0.5, 1.0, 2.0, 720.0, 1e4, INF, NAN])
rng = np.random.default_rng(0)


def same(got, expected, tolerance, path="result"):
    """Whether two trees of arrays agree: types, shapes, dtypes and numbers, NaN and infinities among them."""
    if isinstance(expected, (tuple, list)):
        assert type(got) is type(expected), path
        assert len(got) == len(expected), path
        for i, (g, e) in enumerate(zip(got, expected, strict=True)):
            same(g, e, tolerance, f"{path}[{i}]")
    elif isinstance(expected, dict):
        assert list(got) == list(expected), path
        for name in expected:
            same(got[name], expected[name], tolerance, f"{path}[{name!r}]")
    elif hasattr(expected, "dtype"):
        assert np.shape(got) == np.shape(expected), path
        assert got.dtype == expected.dtype, path
        np.testing.assert_allclose(
            got, expected, tolerance, 0 if expected.dtype.kind in "biu" else tolerance, err_msg=path
        )
    elif hasattr(expected, "__dict__") and not callable(expected):
        same(vars(got), vars(expected), tolerance, path)
    else:
        assert got == expected, path


def agree(f, *args, tolerance=1e-12):
    """Compare a function with its compiled self; returns the latter."""
    with np.errstate(all="ignore"):
        expected = f(*args)
    compiled = compile(f)
    same(compiled(*args), expected, tolerance)
    return compiled


# Networks.

ACTIVATIONS = {
    "identity": flux.identity, "relu": flux.relu, "leakyrelu": flux.leakyrelu, "elu": flux.elu, "gelu": flux.gelu,
    "swish": flux.swish, "softplus": flux.softplus, "sigmoid": flux.sigmoid, "tanh": flux.tanh,
    "leakyrelu 0.3": lambda x: flux.leakyrelu(x, 0.3), "elu 2": lambda x: flux.elu(x, 2.0),
}  # fmt: skip
ALONG = {
    "softmax": flux.softmax, "logsoftmax": flux.logsoftmax, "softmax 0": lambda x: flux.softmax(x, axis=0),
    "logsoftmax 0": lambda x: flux.logsoftmax(x, axis=0), "logsumexp": flux.logsumexp,
    "logsumexp 1": lambda x: flux.logsumexp(x, axis=1), "logsumexp kept": lambda x: flux.logsumexp(x, 0, keepdims=True),
}  # fmt: skip
LOSSES = {
    f.__name__: f
    for f in (
        flux.mse, flux.mae, flux.huber, flux.crossentropy, flux.logitcrossentropy,
        flux.binarycrossentropy, flux.logitbinarycrossentropy,
    )
} | {"huber 0.1": lambda p, t, agg=np.mean: flux.huber(p, t, agg, delta=0.1)}  # fmt: skip


def value_and_slopes(f, *args):
    """The value, the gradients, and those of a weighted sum of the gradients."""

    def slopes(*args):
        value, back = flux.pullback(f, *args)
        return value, back(np.cos(1 + np.arange(np.size(value))).reshape(np.shape(value)).astype(value.dtype))

    def second(*args):
        found = slopes(*args)[1]
        return sum(np.sum(d * np.sin(1 + d)) for d in (found if isinstance(found, tuple) else (found,)))

    return [f(*args), *slopes(*args), flux.gradient(second, *args)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_activations_and_losses(dtype, tolerance):
    x = rng.normal(size=(3, 4)).astype(dtype)
    p, t = rng.uniform(0.1, 0.9, (2, 3, 4)).astype(dtype)
    functions = [*ACTIVATIONS.values(), *ALONG.values()]
    losses = [
        lambda p, t, f=f, agg=agg: f(p, t, agg) for f in LOSSES.values() for agg in (np.mean, np.sum, flux.identity)
    ]

    def all_of(x, p, t):
        return [value_and_slopes(f, x) for f in functions] + [value_and_slopes(f, p, t) for f in losses]

    agree(all_of, x, p, t, tolerance=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_activations_at_the_ends_of_numbers(dtype, tolerance):
    with np.errstate(over="ignore"):
        x = SPECIAL.astype(dtype)
    rows = np.array([[INF, 1, INF], [-INF, 0, 1], [-INF, -INF, -INF], [1e4, 0, -1e4], [NAN, 0, 1], [3e38, 0, -3e38]])

    def all_of(x, rows):
        values = [f(x) for f in ACTIVATIONS.values()] + [f(rows) for f in ALONG.values()]
        slopes = [flux.gradient(lambda x, f=f: np.sum(f(x)), x) for f in ACTIVATIONS.values()]
        return values + slopes + [flux.gradient(lambda x, f=f: np.sum(np.sin(f(x))), rows) for f in ALONG.values()]

    agree(all_of, x, rows.astype(dtype), tolerance=tolerance)


def model(dtype=np.float64):
    flux.seed(1)
    found = flux.Chain(
        flux.flatten,
        flux.Dense(6, 4, flux.tanh),
        flux.SkipConnection(flux.Dense(4, 4, flux.relu), np.add),
        flux.Parallel(np.multiply, flux.Dense(4, 3, flux.sigmoid), flux.Dense(4, 3, bias=False), lambda x: x[:, 1:]),
        flux.Chain(flux.Dense(3, 2), flux.softmax),
    )
    return flux.f32(found) if dtype == np.float32 else flux.f64(found)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_layers(dtype, tolerance):
    x = rng.normal(size=(5, 2, 3)).astype(dtype)
    t = np.eye(2, dtype=dtype)[[0, 1, 1, 0, 1]]

    def step(m, x, t):
        loss, g = flux.withgradient(lambda m: flux.crossentropy(m(x), t), m)
        return {
            "loss": loss,
            "gradient": [layer.__dict__ for layer in (g[1], g[2].layer, g[3].branches[0], g[4][0])],
            "y": m(x),
        }

    agree(step, model(dtype), x, t, tolerance=tolerance)
    vector = agree(lambda m, x: m[1](x), model(dtype), x[0].reshape(-1), tolerance=tolerance)
    assert vector(model(dtype), x[0].reshape(-1)).shape == (4,)


def test_a_model_comes_back_as_a_model():
    m = model()
    doubled = compile(lambda m: flux.tree.map(lambda a: 2 * a, m))(m)
    assert isinstance(doubled, flux.Chain)
    assert repr(doubled) == repr(m)
    same([*flux.leaves(doubled)], [2 * a for a in flux.leaves(m)], 0)
    parallel = compile(flux.Parallel(np.add, np.sin, np.cos))
    same(parallel((np.ones(2), np.zeros(2))), np.sin(np.ones(2)) + 1, 1e-15)


def test_that_all_rules_of_nn_are_compiled():
    """Together, what stands above records every pullback of activations, losses and layers."""
    called = set()
    rules = {f: r for f, r in tape.rules.items() if str(getattr(f, "__module__", "")).startswith("tinyflux.nn")}
    expected = {(f, k) for f, r in rules.items() for k, pullback in enumerate(r.pullbacks) if pullback}
    before = {f: r.pullbacks for f, r in rules.items()}
    try:
        for f, r in rules.items():
            r.pullbacks = tuple(
                pullback and (lambda g, *a, key=(f, k), pullback=pullback, **o: called.add(key) or pullback(g, *a, **o))
                for k, pullback in enumerate(r.pullbacks)
            )
        with Recording() as recording:
            x, p, t = [Symbolic(recording.input((3, 6), np.dtype(float))) for _ in range(3)]
            for f in (*ACTIVATIONS.values(), *ALONG.values()):
                value_and_slopes(f, x)
            for f in LOSSES.values():
                value_and_slopes(f, p, t)
            flux.gradient(
                lambda m, x: np.sum(m(x)),
                flux.tree.map(lambda a: Symbolic(recording.input(a.shape, a.dtype)), model()),
                x,
            )
    finally:
        for f, r in rules.items():
            r.pullbacks = before[f]
    assert sorted((tape.name_of(f), k) for f, k in expected - called) == []


# Gradients on both sides, and nested.


def test_gradients_of_compiled_functions():
    def f(x, y):
        return np.sum(np.sin(x) * y**2) / np.prod(np.shape(x))

    x, y = rng.normal(size=(2, 3)), rng.normal(size=3)
    compiled = compile(f)
    same(flux.withgradient(compiled, x, y), flux.withgradient(f, x, y), 1e-12)
    same(flux.gradient(compiled, x, y), flux.gradient(f, x, y), 1e-12)
    same(compile(lambda x, y: flux.gradient(compiled, x, y))(x, y), flux.gradient(f, x, y), 1e-12)
    same(flux.gradient(lambda x: np.sum(flux.gradient(compiled, x, y)[0] ** 2), x),
         flux.gradient(lambda x: np.sum(flux.gradient(f, x, y)[0] ** 2), x), 1e-12)  # fmt: skip
    g = lambda v: np.sum(np.exp(v) * v[::-1])  # noqa: E731
    same(flux.hessian(compile(g), y), flux.hessian(g, y), 1e-12)
    agree(lambda v: [flux.hessian(g, v), flux.jacobian(lambda v: v[1:] * v[:-1], v), flux.pullback(g, v)[1](1.0)], y)
    same(flux.jacobian(compile(np.tanh), y), flux.jacobian(np.tanh, y), 1e-12)


def test_third_derivatives_of_indexing():
    def third(x):
        slope = lambda f: lambda x: np.sum(flux.gradient(f, x))  # noqa: E731
        return flux.gradient(slope(slope(lambda x: x[0] ** 4 + np.sum(x[1:] ** 3 * x[0]) + np.sum(x[[1, 1]] ** 3))), x)

    x = np.array([1.0, 2.0, 3.0])
    agree(third, x)
    finite = (flux.gradient(lambda x: np.sum(flux.hessian(lambda x: x[0] ** 4, x)), x), 24 * x[:1])
    assert finite[0][0] == pytest.approx(24.0)


def test_a_compiled_model_can_be_trained():
    m = model()
    forward = compile(lambda m, x: m(x))
    x, t = rng.normal(size=(4, 2, 3)), np.eye(2)[[0, 1, 0, 1]]
    expected = flux.gradient(lambda m: flux.crossentropy(m(x), t), m)
    got = flux.gradient(lambda m: flux.crossentropy(forward(m, x), t), m)
    same(flux.leaves(got), flux.leaves(expected), 1e-12)


# Arguments and surroundings.


def test_trees_of_arguments():
    def f(p, pair, scale, power, name):
        y = p["w"] @ pair[0] + (p["b"] if name == "with" else 0)
        return {"y": y * scale**power, "parts": [pair[1], {"n": power}], "same": p["b"]}

    p = {"w": rng.normal(size=(2, 3)), "b": rng.normal(size=2), "unused": [np.ones(1)]}
    compiled = agree(f, p, (np.ones(3), np.zeros((0, 2))), 1.5, 2, "with")
    for arguments in ((2.5, 2, "with"), (2.5, 3, "with"), (-1.0, 3, "without")):
        args = (p, [np.ones(3), np.zeros(1)], *arguments)
        same(compiled(*args), f(*args), 1e-12)


def test_python_numbers_take_on_the_dtype_of_arrays():
    x32, scale = np.ones(3, np.float32), 0.1
    agree(lambda x, s: [x * s, x + 2, 3.0 - x, s * 2, s / 3 + 1, np.float64(2) * x], x32, np.float64(scale))

    def f(x, s):
        return [x * s, x + s, np.where(x > s, x, s), np.maximum(x, s), np.sum(x) * s]

    agree(f, x32, scale, tolerance=1e-6)
    agree(f, np.arange(3), scale)
    same(compile(lambda s: s * 2 + 1)(0.25), 1.5, 0)
    assert type(compile(lambda s: s * 2 + 1)(0.25)) is float
    assert type(compile(np.sin)(np.float32(1))) is np.float32


def test_layouts_of_memory():
    x = rng.normal(size=(4, 6))
    compiled = compile(lambda x: [x @ x.T, np.sum(x, axis=0), x[1:, ::-2]])
    read_only = x.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.float64, offset=1).reshape(x.shape)
    for y in (x, np.asfortranarray(x), np.repeat(x, 2, 1)[:, ::2], x[::-1, ::-1], read_only, unaligned):
        same(compiled(y), [y @ y.T, np.sum(y, axis=0), y[1:, ::-2]], 1e-12)


def test_captured_arrays_are_read_anew():
    w, places, mask = np.ones(3), np.array([0, 2]), np.array([True, False, True])
    f = lambda x: [x * w, x[places], x[mask], np.where(mask, x, 0)]  # noqa: E731
    x = np.array([1.0, 2.0, 3.0])
    compiled = agree(f, x)
    w[:], places[:], mask[:] = 2, [-1, 1], [True, True, False]
    same(compiled(x), f(x), 0)
    mask[2] = True
    same(compiled(x), f(x), 0)
    places[0] = 3
    with pytest.raises(IndexError, match="out of bounds for an axis of length 3"):
        compiled(x)


def test_results_are_arrays_of_their_own():
    x = np.ones(3)
    y, z, w = compile(lambda x: (x, x, x.T))(x)
    for a in (y, z, w):
        a += 1
    assert (x == 1).all()
    same([y, z, w], [x + 1] * 3, 0)


def test_what_is_no_array_is_given_back_as_it_is():
    assert compile(lambda x: {"n": 3, "name": "a", "none": None})(np.ones(2)) == {"n": 3, "name": "a", "none": None}
    same(compile(lambda x: [np.ones(2), np.float64(3)])(np.ones(2)), [np.ones(2), np.float64(3)], 0)
    assert compile(lambda x: (x.shape, x.ndim, x.size, len(x), np.shape(x)))(np.ones((2, 3))) == (
        (2, 3),
        2,
        6,
        2,
        (2, 3),
    )


def test_a_function_that_is_gone_frees_what_it_holds():
    x = np.ones(1000)
    f = compile(lambda y: x + y)
    f(np.ones(1000))
    gone, x = weakref.ref(x), None
    del f
    gc.collect()
    assert gone() is None


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
        layer = flux.trainmode(flux.Dropout(0.4))
        layer.state = state
        return layer(x), layer.state

    x, state = rng.normal(size=(3, 7)), np.array([5, 2**63], np.uint64)
    agree(masked, state, x)
    assert masked(state, x)[1].tolist() == [5, 2**63 + 21]


def test_changes_of_arguments_are_no_silent_loss():
    model = flux.Chain(flux.Dense(3, 3), flux.Dropout(0.4, seed=5))
    x = np.ones((2, 3), np.float32)
    same(compile(lambda m, x: m(x))(model, x), model(x), 1e-6)
    for f in (lambda m, x: flux.trainmode(m)(x), lambda m, x: flux.gradient(lambda m: np.sum(m(x)), m)[0].bias):
        with pytest.raises(NotCompilable, match=r"arguments.*Dropout.*compile_training"):
            compile(f)(model, x)
    with pytest.raises(NotCompilable, match="arguments"):
        flux.gradient(lambda x: compile(lambda x, m: np.sum(flux.trainmode(m)(x)))(x, model[1]), np.ones(3))
    with pytest.raises(NotCompilable, match="arguments"):
        compile(lambda p: p.update(w=p["w"] + 1))({"w": x})
    assert model[1].state.tolist() == [5, 0]


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
    for f in (lambda x: x[x > 0], lambda x: x[0, x[0] > 0], lambda x: x[np.bool_(True)]):
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


# What can't be compiled.


def add_in_place(x):
    x += 1
    return x


def assign(x):
    x[0] = 1
    return x


REFUSED = {
    "np.unique": (np.unique, r"np\.unique.*depends on values"),
    "np.nonzero": (np.nonzero, r"np\.nonzero.*depends on values"),
    "np.where of a condition": (lambda x: np.where(x > 0), r"np\.where with these options"),
    "np.linalg.eigh": (lambda x: np.linalg.eigh(x), r"np\.linalg\.eigh.*other NumPy functions"),
    "np.linalg.svd": (lambda x: np.linalg.svd(x), r"np\.linalg\.svd"),
    "np.interp": (lambda x: np.interp(x[0], np.arange(2.0), np.arange(2.0)), r"np\.interp"),
    "scipy.special.j0": (special.j0, r"scipy\.special\.j0.*no way to write it in C"),
    "float": (lambda x: float(x[0, 0]), "float, int or item"),
    "int": (lambda x: int(x[0, 0]), "values are not known yet"),
    "item": (lambda x: x[0, 0].item(), "values are not known yet"),
    "if": (lambda x: x if x[0, 0] > 0 else -x, r"branch.*np\.where"),
    "x[0] = 1": (assign, "in place.*Make a new array"),
    "+=": (add_in_place, "in place.*Make a new array"),
    "out=": (lambda x: np.add(x, 1, out=x), "in place"),
    "np.asarray": (lambda x: np.asarray(x), r"np\.asarray"),
    "np.sum(where=)": (lambda x: np.sum(x, where=np.ones((2, 2), bool)), r"np\.sum.*where"),
    "np.var(dtype=)": (lambda x: np.var(x, dtype=np.float32), r"np\.var.*dtype"),
    "np.add(where=)": (lambda x: np.add(x, 1, where=np.ones((2, 2), bool)), r"np\.add.*where"),
    "np.pad(mode=)": (lambda x: np.pad(x, 1, mode="edge"), "mode='edge'"),
    "reshape in Fortran's order": (lambda x: np.reshape(x, (4,), order="F"), "order='F'"),
    "float16": (lambda x: x.astype(np.float16), "float16"),
    "complex": (lambda x: x * 1j, "complex"),
    "integers to a power": (lambda x: x.astype(int) ** x.astype(int), "exponent could be negative"),
    "int64 and uint64": (lambda x: x.astype(np.int64) < x.astype(np.uint64), "bring both to one dtype"),
    "attribute": (lambda x: x.flat, "no attribute flat"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_operation_and_its_remedy(name):
    f, message = REFUSED[name]
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(NotCompilable, match=message):
        compile(f)(x)
    assert (x == [[1, 2], [3, 4]]).all()


def test_arrays_that_cannot_be_compiled():
    for x in (
        np.ones(2, np.float16),
        np.ones(2, complex),
        np.array([None]),
        np.array(["a"]),
        np.ones(2, "M8[s]"),
        np.ones(2, ">f8"),
    ):
        with pytest.raises(NotCompilable, match=str(x.dtype).replace("[", r"\[")):
            compile(lambda x: x)(x)
        with pytest.raises(NotCompilable, match=str(x.dtype).replace("[", r"\[")):
            compile(lambda y, x=x: y + x)(np.ones(2))


def test_an_array_that_escapes_is_an_error():
    escaped = []
    compile(lambda x: escaped.append(x) or x)(np.ones(2))
    with pytest.raises(RuntimeError, match=r"outside"):
        escaped[0] + 1


# Large programs.


@pytest.mark.parametrize(
    "operation", [np.sin, np.negative, lambda x: x[::-1] + 1, lambda x: np.where(x > 0, x - 1, x + 1)]
)
def test_long_chains(operation):
    def chain(x):
        for _ in range(4000):
            x = operation(x)
        return x

    agree(chain, np.array([0.1, -0.2, 0.3]), tolerance=1e-11)


def test_twenty_thousand_operations():
    def chain(x):
        for _ in range(10_000):
            x = x * 1.0001 + 0.1
        return x

    agree(chain, np.array([0.1, -0.2]))


def test_many_separate_results():
    agree(lambda x: [np.sum(x * i) + x for i in range(150)], np.arange(3.0))


def test_random_numbers_and_a_dropout_from_outside_are_refused_not_drawn_once_for_ever():
    layer = flux.trainmode(flux.Dropout(0.5, seed=0))
    generator = np.random.default_rng(0)
    for f in (lambda x: layer(x), lambda x: x * generator.random(8), lambda x: x * np.random.random(8)):
        with pytest.raises(NotCompilable, match="not the same in two calls: it draws random numbers"):
            compile(f)(np.ones(8))
    assert generator.random() == np.random.default_rng(0).random()  # set back to where it was
