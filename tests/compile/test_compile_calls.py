"""Calls of compiled functions: keywords, copies, and results that are new in every call."""

import copy
import pickle

import numpy as np
import pytest

import tinyflux as flux
from tests.support.compiling import same
from tinyflux.compile.backends.c.build import available

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

X = np.array([-1.0, 0.5, 2.0])


def test_keyword_arguments():
    def f(x, scale=2.0, *, options=None, power=1):
        return (x["a"] * scale + (0 if options is None else options["b"])) ** power

    compiled, x = flux.compile(f), {"a": X}
    for kwargs in ({}, {"scale": 3.0}, {"scale": 4.0, "power": 2}, {"power": 2, "options": {"b": X}}):
        same(compiled(x, **kwargs), f(x, **kwargs), 1e-15)
        slopes = [flux.gradient(lambda x: np.sum(g(x, **kwargs)), x) for g in (compiled, f)]  # noqa: B023
        same(*slopes, 1e-15)
    named = flux.compile(lambda x, a=1.0, b=2.0: x * a - b)
    assert named(X, a=2.0).tolist() == (X * 2 - 2).tolist()
    assert named(X, b=3.0).tolist() == (X - 3).tolist()
    assert compiled(x=x, scale=3.0).tolist() == (X * 3).tolist()


@flux.compile
def decorated(x):
    return x * 2


def plain_function(x):
    return x * 3


def test_copies():
    assert copy.deepcopy(decorated) is decorated
    assert pickle.loads(pickle.dumps(decorated)) is decorated
    compiled = flux.compile(plain_function)
    compiled(X)
    for other in (copy.deepcopy(compiled), copy.copy(compiled), pickle.loads(pickle.dumps(compiled))):
        same(other(X), X * 3, 0)
    model = flux.Chain(flux.Dense(2, 2), flux.compile(np.tanh))
    same(copy.deepcopy(model)(np.ones(2, np.float32)), model(np.ones(2, np.float32)), 0)


def test_nothing_that_is_returned_is_shared():
    w, marks = np.ones(2), {1}
    compiled = flux.compile(lambda x: (x * 2, [np.arange(3.0), {"a": [1]}], w, marks, ([],)))
    first = compiled(X)
    first[0][:], first[1][0][:], first[2][:] = 7, 7, 7
    first[1][1]["a"].append(2)
    first[3].add(2)
    first[4][0].append(1)
    second = compiled(X)
    same(second[:3], (X * 2, [np.arange(3.0), {"a": [1]}], np.ones(2)), 0)
    assert second[3:] == ({1}, ([],))
    with pytest.raises(flux.NotCompilable, match="a generator in what a function returns"):
        flux.compile(lambda x: (y for y in [x]))(X)


def test_arrays_that_change_while_a_function_is_recorded():
    for f in (rewritten, restored):
        with pytest.raises(flux.NotCompilable, match="changed in place"):
            flux.compile(f)(X)
    same(flux.compile(written_first)(X), X * 3, 0)


def rewritten(x):
    a = np.zeros(3)
    y = x + a
    a[:] = 1
    return y


def restored(x):
    a, y = np.zeros(3), 0
    for k in (0, 1, 0):
        a[:] = k
        y = y + x * a
    return y


def written_first(x):
    a = np.zeros(3)
    a[:] = 3
    return x * a


@pytest.mark.parametrize("kind", [np.matrix, np.ma.MaskedArray, np.memmap])
def test_arrays_of_other_classes_are_refused(kind, tmp_path):
    x = np.ones((2, 2)).view(kind) if kind is not np.memmap else np.memmap(tmp_path / "a", float, "w+", shape=(2, 2))
    for call in (lambda: flux.compile(np.sin)(x), lambda: flux.compile(lambda p: p["a"] * 2)({"a": x})):
        with pytest.raises(flux.NotCompilable, match=f"a {kind.__name__} can't be compiled"):
            call()


def test_functions_and_sets_among_the_arguments():
    rate = 2.0
    f = lambda x: rate * x  # noqa: E731
    compiled = flux.compile(lambda x, options: options["f"](x) * len(options["s"]) + options["z"])
    options = {"f": f, "s": {1}, "z": 0.0}
    assert compiled(1.5, options) == 3.0
    rate = 3.0
    options["s"].add(2)
    assert compiled(1.5, options) == 9.0
    signed = flux.compile(lambda x, options: np.arctan2(x, options[0]))
    assert signed(0.0, [0.0]) == 0
    assert signed(0.0, [-0.0]) == np.pi


def test_gradients_of_compiled_functions_within_compiled_functions():
    """Of such that were never called before."""
    k = [1.0]
    inner = flux.compile(lambda x: x**2 * k[0])
    outer = flux.compile(lambda x: flux.gradient(lambda y: np.sum(inner(y)), x))
    same(outer(X), 2 * X, 1e-15)
    k[0] = 3.0
    same(outer(X), 6 * X, 1e-15)
    same(flux.gradient(lambda x: np.sum(outer(x)), X), np.full(3, 6.0), 1e-15)
