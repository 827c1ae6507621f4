"""An array that is being differentiated: what it can do, and which error and remedy misuse meets."""

import copy
import functools
import math
import pickle

import numpy as np
import pytest
from scipy import sparse

import tinyflux as flux
from tinyflux.autodiff import tape
from tinyflux.autodiff.tape import Tracked
from tinyflux.compile.backends.c.build import available

needs_compiler = pytest.mark.skipif(not available(), reason="there is no C compiler here")
X = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]])


def inside(f, x=X):
    """What f returns while the gradient for its argument is being taken."""
    found = []
    flux.gradient(lambda x: found.append(f(x)) or 0.0, x)
    return found[0]


# What it can do.


@pytest.mark.parametrize(
    "compare",
    [
        lambda x: x < 1, lambda x: x <= 1, lambda x: x > 1, lambda x: x >= 1, lambda x: x == 1, lambda x: x != 1,
        lambda x: x > X.copy(), lambda x: np.less(x, x), lambda x: np.isfinite(x), lambda x: np.logical_not(x > 0),
        lambda x: np.any(x > 3, axis=0), lambda x: (x > 0).all(), lambda x: (x > 0) & (x < 2),
        lambda x: np.isclose(x, 1), lambda x: np.array_equal(x, x), lambda x: x.any(),
    ],
)  # fmt: skip
def test_comparisons_give_plain_booleans(compare):
    found = inside(compare)
    assert type(found) in (np.ndarray, np.bool, bool)
    assert np.array_equal(found, compare(X))


CONSTANT_ARGUMENTS = {
    np.floor_divide: (0.7,), np.less: (1,), np.less_equal: (1,), np.greater: (1,), np.greater_equal: (1,),
    np.equal: (1,), np.not_equal: (1,), np.logical_and: (X,), np.logical_or: (X,), np.logical_xor: (X,),
    np.isclose: (1,), np.allclose: (1,), np.array_equal: (X,),
    np.can_cast: None, np.argpartition: (1,), np.digitize: None, np.isin: (X,), np.ix_: None,
    np.diag_indices_from: None, np.ravel_multi_index: None, np.unravel_index: None,
    np.shares_memory: (X,), np.may_share_memory: (X,), np.searchsorted: None, np.empty_like: None,
}  # fmt: skip


@pytest.mark.parametrize("function", sorted(tape.constants, key=tape.name_of), ids=tape.name_of)
def test_functions_without_a_gradient(function):
    """They give what NumPy gives, and let no gradient through."""
    others = CONSTANT_ARGUMENTS.get(function, ())
    if others is None:
        return
    found = inside(lambda x: function(x, *others))
    assert not isinstance(found, Tracked)
    np.testing.assert_array_equal(found, function(X, *others))


def test_look_ups():
    assert inside(lambda x: np.searchsorted(x, 3.0), np.arange(5.0)) == 3
    assert inside(np.empty_like).shape == X.shape
    assert inside(lambda x: x.argmax(axis=1)).tolist() == [2, 1]
    assert inside(lambda x: x.round(1)).tolist() == X.tolist()


def test_it_looks_like_an_array():
    assert inside(lambda x: (x.shape, x.ndim, x.size, x.dtype, len(x))) == ((2, 3), 2, 6, np.float64, 2)
    assert inside(lambda x: [row.shape for row in x]) == [(3,), (3,)]
    assert inside(bool, 2.0) is True
    with pytest.raises(ValueError, match="ambiguous"):
        inside(bool)
    with pytest.raises(TypeError, match="unhashable"):
        inside(hash)


def test_it_can_be_printed():
    assert inside(lambda x: f"{x:.2f}", 1.234) == "1.23"
    assert inside(repr, np.array([1.0, 2.0])) == "Tracked(array([1., 2.]))"
    assert "Tracked" in inside(str)
    nested = []
    flux.gradient(lambda x: flux.gradient(lambda y: nested.append(f"{x + y:.1f}") or x * y, 2.0), 1.0)
    assert nested == ["3.0"]


def test_augmented_assignment_makes_a_new_array():
    def f(x):
        y = x
        y += 1
        y *= 2
        return np.sum(y)

    x = X.copy()
    assert (flux.gradient(f, x) == 2).all()
    assert (x == X).all()


def test_copies_are_the_array_itself():
    """It can't be changed, so that no gradient is lost."""
    model = {"w": np.ones(2), "layers": [flux.Dense(2, 1)]}
    for copied in (copy.copy, copy.deepcopy):
        g = flux.gradient(lambda m: np.sum(copied(m)["w"] * 3), model)  # noqa: B023
        assert g["w"].tolist() == [3, 3]
        assert flux.gradient(lambda x: np.sum(copied(x) * x), np.ones(2)).tolist() == [2, 2]  # noqa: B023
    g = flux.gradient(lambda m: np.sum(copy.deepcopy(m)["layers"][0](np.ones((1, 2), np.float32))), model)
    assert g["layers"][0].weight.tolist() == [[1, 1]]
    assert flux.gradient(lambda x: np.sum(x.copy() * np.copy(x)), np.full(2, 3.0)).tolist() == [6, 6]


def test_casts():
    """To whole numbers or booleans: a step, through which nothing flows; to another precision: all of it."""
    for dtype in (int, "u1", bool, np.int8):
        assert flux.gradient(lambda x: np.sum(x - x.astype(dtype)), np.array([1.5])).tolist() == [1]  # noqa: B023
        assert type(inside(lambda x: x.astype(dtype))) is np.ndarray  # noqa: B023
    for dtype in (np.float32, "f8", np.float16):
        g = flux.gradient(lambda x: np.sum(x.astype(dtype) * 2), np.array([1.5]))  # noqa: B023
        assert (g.tolist(), g.dtype) == ([2], np.float64)
    assert flux.gradient(lambda x: np.sum(x.astype(np.float32, copy=False)), X).dtype == np.float64
    twice = lambda x: flux.gradient(lambda y: np.sum(y * x.astype(int) * x), 1.5)  # noqa: E731
    assert flux.gradient(twice, 2.5) == 2  # x times its whole part


def test_full_like_takes_a_value():
    assert flux.gradient(lambda x: np.sum(np.full_like(x, x[0])), np.ones(2)).tolist() == [2, 0]
    weights = np.arange(6.0).reshape(2, 3)
    assert flux.gradient(lambda x: np.sum(np.full_like(x, x, shape=(2, 3)) * weights), np.ones(3)).tolist() == [3, 5, 7]
    assert flux.gradient(lambda x: np.sum(np.full_like(x, x[0], dtype=int)), np.ones(2)) is None
    assert flux.gradient(lambda x: np.nextafter(x, 2.0) * 3, 1.0) == 3
    single = flux.gradient(lambda x: np.sum(np.full_like(x, x[0], dtype=np.float32)), np.ones(2))
    assert (single.tolist(), single.dtype) == ([2, 0], np.float64)
    assert type(inside(lambda x: np.full_like(x, 3.0))) is np.ndarray
    np.testing.assert_array_equal(inside(lambda x: np.full_like(x, 3)), np.full_like(X, 3))


# Misuse.


def assign(x):
    x[0] = 1.0


def add_in_place(x):
    y = np.zeros((2, 3))
    y += x


def fill(x):
    y = np.zeros((2, 3))
    y[:] = x


MISUSE = {
    "assignment": (assign, TypeError, r"x\[…\] = ….*in place.*Make a new one: np.where"),
    "+=": (add_in_place, TypeError, r"operator such as \+=.*in place.*Make a new one"),
    "out=": (lambda x: np.add(x, 1, out=np.zeros((2, 3))), TypeError, r"np.add\(…, out=…\).*Make a new one"),
    "fill": (fill, TypeError, "cannot become a plain one"),
    "float": (lambda x: float(x[0, 0]), TypeError, r"float\(\) of an array that is being differentiated.*withgradient"),
    "int": (lambda x: int(x[0, 0]), TypeError, r"int\(\) of"),
    "complex": (lambda x: complex(x[0, 0]), TypeError, r"complex\(\) of"),
    "index": (lambda x: [1, 2][x[0, 0]], TypeError, r"int\(\) of"),
    "item": (lambda x: x[0, 0].item(), TypeError, r"item\(\) of"),
    "tolist": (lambda x: x.tolist(), TypeError, r"tolist\(\) of"),
    "pickle": (pickle.dumps, TypeError, r"pickle\(\) of an array that is being differentiated"),
    "math": (lambda x: math.sin(x[0, 0]), TypeError, r"float\(\) of"),
    "round": (lambda x: round(x[0, 0]), TypeError, "__round__"),
    "np.float64": (lambda x: np.float64(x[0, 0]), TypeError, "being differentiated"),
    "np.asarray of dtype": (lambda x: np.asarray(x, dtype=int), TypeError, "cannot become a plain one"),
    "view": (lambda x: x.view(np.int64), AttributeError, "view"),
    "an element": (lambda x: np.zeros(2).__setitem__(0, x[0, 0]), ValueError, "written into a plain array"),
    "fromiter": (lambda x: np.fromiter(x[0], float), ValueError, "written into a plain array"),
    "sparse": (lambda x: sparse.eye(2) @ x, TypeError, "scipy.s __matmul__ makes plain arrays"),
    "rule": (
        flux.rule(lambda x: 1.0, lambda g, y, x: g),
        TypeError,
        "function of a rule to return an array, got float",
    ),
    "np.array": (np.array, TypeError, "the gradient would be lost.*np.stack or np.concatenate, not np.array"),
    "np.array of a list": (lambda x: np.array([x[0], x[1]]), TypeError, "np.stack or np.concatenate, not np.array"),
    "np.array of numbers": (lambda x: np.array([x[0, 0], x[0, 1]]), TypeError, "being differentiated"),
    "np.asarray": (np.asarray, TypeError, "np.stack or np.concatenate, not np.array"),
    "no rule": (
        lambda x: np.roots(x[0]),
        NotImplementedError,
        r"np.roots has no gradient rule.*flux.rule\(np.roots, lambda g, y, x: …\)",
    ),
    "no rule for a ufunc": (
        lambda x: np.gcd(x, 3),
        NotImplementedError,
        r"np.gcd has no gradient rule.*flux.rule\(np.gcd",
    ),
    "no rule for a method": (np.subtract.reduce, NotImplementedError, "np.subtract.reduce has no gradient rule"),
    "no rule in np.linalg": (np.linalg.eig, NotImplementedError, "np.linalg.eig has no gradient rule"),
    "where=": (
        lambda x: np.logaddexp.reduce(x, where=x > 0),
        TypeError,
        r"np.logaddexp.reduce: its gradient does not know the option where",
    ),
    "where= of a ufunc": (lambda x: np.exp(x, where=x > 0), TypeError, "np.exp: .* option where.*it knows: none"),
    "initial=": (
        lambda x: np.logaddexp.reduce(x, initial=0),
        TypeError,
        r"np.logaddexp.reduce: .* option initial=0 \(it knows: axis, keepdims\)",
    ),
    "dtype=": (
        lambda x: np.clip(x, 0, 1, dtype="f4"),
        TypeError,
        r"np.clip: .* option dtype='f4'.*Write the option out",
    ),
    "option by position": (lambda x: np.sum(x, 0, None, X), TypeError, "np.sum: .* option out=…"),
    "order": (lambda x: np.reshape(x, -1, order="A"), TypeError, "order='A' the result depends on how the array lies"),
    "pad mode": (lambda x: np.pad(x, 1, mode="maximum"), TypeError, "np.pad: .*, got mode='maximum'"),
    "norm": (lambda x: np.linalg.norm(x, 3), NotImplementedError, "np.linalg.norm: no gradient for ord=3 over 2 axes"),
    "where alone": (lambda x: np.where(x)[0], TypeError, r"expected \(condition, x, y\).*np.nonzero"),
    "tracked option": (lambda x: np.roll(x, x[0, 0]), TypeError, "no gradient flows through the option shift"),
    "axis": (lambda x: np.sum(x, axis=2), ValueError, "axis 2 is out of bounds"),
    "axis of prod": (lambda x: np.prod(x, axis=2), ValueError, "axis 2 is out of bounds"),
    "axis of take": (lambda x: np.take(x, 0, axis=2), ValueError, "axis 2 is out of bounds"),
    "axis of sort": (lambda x: np.sort(x, axis=2), ValueError, "axis 2 is out of bounds"),
    "axis of take_along_axis": (lambda x: np.take_along_axis(x, np.zeros((2, 3), int), 2), ValueError, "axis 2 is out"),
    "tensordot": (lambda x: np.tensordot(x, x.T, axes=2), ValueError, "shape-mismatch"),
    "vdot": (lambda x: np.vdot(x, x[0, 0]), ValueError, "mismatch"),
    "matmul": (lambda x: x @ x, ValueError, "matmul"),
    "an index out of range": (lambda x: x[2], IndexError, "out of bounds"),
}


@pytest.mark.parametrize(("f", "error", "message"), MISUSE.values(), ids=MISUSE)
def test_misuse(f, error, message):
    with pytest.raises(error, match=message):
        flux.gradient(lambda x: np.sum(f(x)), X)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (np.arange(3), r"argument 1 is of int64; only real floating-point.*x.astype\(float\)"),
        (np.ones(3, complex), "argument 1 is of complex128"),
        (np.ones(3, bool), "argument 1 is of bool"),
        (3, "argument 1 is of int"),
        (1j, "argument 1 is of complex"),
        ("text", "argument 1, a str, holds no floating-point array"),
        ([], "argument 1, a list, holds no floating-point array"),
        ({"n": np.arange(2)}, "argument 1, a dict, holds no floating-point array"),
        (None, "argument 1, a NoneType, holds no"),
    ],
)
def test_arguments_that_cannot_be_differentiated(argument, message):
    for take in (flux.gradient, flux.withgradient, flux.pullback):
        with pytest.raises(TypeError, match=message):
            take(lambda x, y: np.sum(x), X, argument)


@pytest.mark.parametrize(
    ("f", "got"),
    [
        (lambda x: x, r"an array of shape \(2, 3\)"),
        (lambda x: np.sum(x, keepdims=True), r"an array of shape \(1, 1\)"),
        (lambda x: (x, np.sum(x)), r"an array of shape \(2, 3\)"),
        (lambda x: "text", "'text'"),
    ],
)
def test_losses_that_are_no_scalar(f, got):
    with pytest.raises(ValueError, match=f"expected f to return a scalar, got {got}.*np.sum or np.mean.*flux.jacobian"):
        flux.gradient(f, X)


def test_results_that_are_no_array():
    with pytest.raises(
        TypeError, match=r"pullback: expected f to return an array, got a list. Join its parts by np\.st"
    ):
        flux.pullback(lambda x: [x, x], X)
    with pytest.raises(TypeError, match=r"to return an array, got a tuple. Join its parts by np\.stack"):
        flux.jacobian(lambda x: (x[0], x[1]), X)
    with pytest.raises(TypeError, match=r"to return an array, got None. Is a return missing\?"):
        flux.jacobian(lambda x: None, X)
    with pytest.raises(TypeError, match=r"jacobian: argument 0 is a dict; expected an array. See flux.destructure"):
        flux.jacobian(lambda p: p["x"], {"x": X})


def test_a_box_that_outlives_its_gradient():
    """Another gradient treats it as the array it holds."""
    kept = inside(lambda x: x * 2)
    assert isinstance(kept, Tracked)
    assert (flux.gradient(lambda y: np.sum(y * tape.plain(kept)), X) == 2 * X).all()


def test_a_function_of_ones_own_needs_its_pullbacks_at_once():
    """As a decorator the rule would be lost: the function that records itself is what `rule` returns."""

    def twice(x):
        return x + x

    with pytest.raises(TypeError, match=r"twice = flux.rule\(twice, lambda g, y, x"):
        flux.rule(twice)


def test_a_box_that_outlived_its_gradient_is_a_constant():
    kept = []

    def f(x):
        kept.append(x * 2)
        return np.sum(kept[-1])

    flux.gradient(f, X)
    (box,) = kept
    assert type(box) is Tracked
    for y in (box + 1, np.concatenate([box, box])[:2] + 1, np.add(box, 1), 1 + box):
        assert type(y) is np.ndarray
        np.testing.assert_array_equal(y, 2 * X + 1)
    np.testing.assert_array_equal(np.asarray(box, np.float32), (2 * X).astype(np.float32))
    np.testing.assert_array_equal(flux.gradient(lambda x: np.sum(x * box), X), 2 * X)
    assert flux.gradient(lambda x: np.sum(box) + 0 * x[0, 0], X)[0, 0] == 0
    flux.gradient(lambda x: flux.gradient(f, x)[0, 0], X)  # in a box of the outer gradient
    np.testing.assert_array_equal(kept[-1] * 2, 4 * X)
    assert (float(box[0, 0]), int(box[0, 0]), complex(box[0, 0]), box[0, 0].item()) == (2.0, 2, 2 + 0j, 2.0)
    assert box.tolist() == (2 * X).tolist()


# Arrays beside it: `like=x` is how a layer makes them on the device where its input lies.

BESIDE = {
    "zeros": lambda x: np.zeros((2, 3), x.dtype, like=x),
    "ones": lambda x: np.ones((2, 3), like=x),
    "full": lambda x: np.full((2, 3), 2.5, like=x),
    "arange": lambda x: np.arange(1.0, 4.0, like=x),
    "eye": lambda x: np.eye(2, 3, 1, like=x),
    "identity": lambda x: np.identity(2, like=x)[:, :1],
    "tri": lambda x: np.tri(2, 3, -1, like=x),
    "asarray": lambda x: np.asarray([1, 2, 3], np.float64, like=x),
    "array": lambda x: np.array([1.0, 2.0, 3.0], like=x),
}


@pytest.mark.parametrize("name", BESIDE)
def test_arrays_beside_it(name):
    """They are constants, at any depth and where the gradient is compiled."""
    expected = np.broadcast_to(BESIDE[name](X), X.shape)
    assert type(inside(BESIDE[name])) is np.ndarray
    gradient = functools.partial(flux.gradient, lambda x: np.sum(x * BESIDE[name](x)))
    np.testing.assert_array_equal(gradient(X), expected)
    np.testing.assert_array_equal(flux.gradient(lambda x: np.sum(x * x * gradient(x)), X), 2 * X * expected)
    if available():
        np.testing.assert_array_equal(flux.compile(gradient)(X), expected)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_compiler)])
def test_arrays_that_are_made_of_it(compiled):
    """Here a gradient flows: x is copied, or its elements are the number with which another array is filled."""

    def f(x):
        copied = np.array(x, like=x) * np.asarray(x, like=x) * np.asarray(x, np.float64, like=x)
        return np.sum(copied) + np.sum(np.full((4, 2, 3), x, like=x)) + np.sum(np.full(5, x[0, 0], np.float64, like=x))

    expected = 3 * X**2 + 4
    expected[0, 0] += 5
    gradient = functools.partial(flux.gradient, f)
    np.testing.assert_allclose((flux.compile(gradient) if compiled else gradient)(X), expected, rtol=1e-15)
