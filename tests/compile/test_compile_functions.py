"""What flux.compile gives is what the function itself gives: layers, gradients, trees of arguments, long functions."""

import gc
import weakref

import numpy as np
import pytest

import tinyflux as flux
from tests.support.compiling import INF, NAN, SPECIAL, agree, rng, same
from tinyflux.autodiff import tape
from tinyflux.compile import compile  # noqa: A004
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.ir.program import Recording
from tinyflux.compile.trace.symbolic import Symbolic

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

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
} | {
    "huber 0.1": lambda p, t, agg=np.mean: flux.huber(p, t, agg, delta=0.1),
    "huber of arrays": lambda p, t, agg=np.mean: flux.huber(p, 0 * p, agg, delta=0.1 + t * t),
}  # fmt: skip


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
            image, filters = (
                Symbolic(recording.input(shape, np.dtype(float))) for shape in [(2, 4, 4, 1), (1, 3, 3, 1)]
            )
            norm = flux.trainmode(flux.BatchNorm(1, track=False))
            pools = lambda x, w: flux.maxpool(flux.maxpool(norm(flux.upsample(x, 2)), 3, 1, 1), 2) * w[0, 0, 0, 0]  # noqa: E731
            for f in (flux.conv, pools):
                value_and_slopes(lambda x, w, f=f: np.sum(np.sin(f(x, w))), image, filters)
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


@pytest.mark.slow
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
    w, places, mask, flag = np.ones(3), np.array([0, 2]), np.array([True, False, True]), np.array(True)
    f = lambda x: [x * w, x[places], x[mask], np.where(mask, x, 0), x[flag]]  # noqa: E731
    x = np.array([1.0, 2.0, 3.0])
    compiled = agree(f, x)
    w[:], places[:], mask[:] = 2, [-1, 1], [True, True, False]
    same(compiled(x), f(x), 0)
    mask[2], flag[()] = True, False
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


# Large programs.


@pytest.mark.slow
@pytest.mark.parametrize(
    "operation", [np.sin, np.negative, lambda x: x[::-1] + 1, lambda x: np.where(x > 0, x - 1, x + 1)]
)
def test_long_chains(operation):
    def chain(x):
        for _ in range(4000):
            x = operation(x)
        return x

    agree(chain, np.array([0.1, -0.2, 0.3]), tolerance=1e-11)


@pytest.mark.slow
def test_twenty_thousand_operations():
    def chain(x):
        for _ in range(10_000):
            x = x * 1.0001 + 0.1
        return x

    agree(chain, np.array([0.1, -0.2]))


def test_many_separate_results():
    agree(lambda x: [np.sum(x * i) + x for i in range(150)], np.arange(3.0))


def test_reductions_of_a_constant_array_under_a_mask_that_is_an_argument():
    for constant in (np.arange(-3.0, 3), np.arange(-3, 3, dtype=np.int8), np.arange(6, dtype=np.uint64)):
        for f in (np.sum, np.prod, np.mean, np.add.reduce, np.multiply.reduce):
            agree(lambda m, f=f, constant=constant: f(constant, where=m > 0), np.array([1.0, -1, 1, -1, 1, -1]))
        for f in (np.max, np.min, np.maximum.reduce, np.minimum.reduce):
            agree(
                lambda m, f=f, constant=constant: f(constant, where=m > 0, initial=1), np.array([1.0, -1, 1, -1, 1, -1])
            )
