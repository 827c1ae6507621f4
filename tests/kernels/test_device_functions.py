"""flux.compile of functions of arrays on the device, run on the CPU by g++: what the functions themselves give."""

import threading
import weakref

import numpy as np
import pytest

import tinyflux as flux
from tests.support import cuda_shim, graphs
from tests.support.compiled_cases import FUNCTIONS, K, W, X, build, check, check_same

pytestmark = pytest.mark.usefixtures("compiling")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    compiled = check(name)
    assert "__device__" in compiled.source
    assert "return" in compiled.program
    assert compiled._programs.made == 1


@pytest.mark.parametrize("order", ["backward", "shuffled"])
@pytest.mark.parametrize("name", ["a number", "rows", "a long sum", "indices"])
def test_threads_in_any_order(name, order):
    cuda_shim.order = order
    check(name)


def test_every_call_returns_new_arrays():
    compiled, x = flux.compile(lambda x: (x * 2, x)), flux.gpu(X)
    first = compiled(x)
    second = compiled(x + 1)
    check_same(first, (X * 2, X))
    check_same(second, ((X + 1) * 2, X + 1))
    assert first[1] is not x
    first[1][:] = 0
    check_same(x, X)


def test_arrays_that_lie_otherwise():
    compiled = flux.compile(lambda x, w: x @ w)
    check_same(compiled(flux.gpu(X)[:, ::-1], flux.gpu(W.T.copy()).T), X[:, ::-1] @ W)


@pytest.mark.parametrize("shape", [(1, 0, 9), (0, 5), (5, 0), (3, 0, 2), (0,)])
def test_arrays_without_elements(shape):
    """As what remains, as what is added up, and as the rows that a block goes through."""

    def value(x):
        y = np.exp(x)
        return y * 2, np.vdot(y, y), np.sum(y * np.sum(y, axis=-1, keepdims=True), axis=0), flux.gradient(np.sum, y)

    x = np.ones(shape)
    check_same(flux.compile(value)(flux.gpu(x)), value(x))


def test_many_rows_without_elements():
    """A thread's registers are arrays, which NVIDIA's compiler wants to have elements."""
    compiled = flux.compile(lambda x, w: np.tanh(x @ w) @ w.T)
    x, w = np.zeros((9000, 0)), np.zeros((0, 3))
    check_same(compiled(flux.gpu(x), flux.gpu(w)), np.zeros((9000, 0)))
    assert "[0];" not in compiled.source


def test_here_and_there():
    """One compiled function, called with arrays here and there: a program for each."""
    compiled = flux.compile(lambda x: np.sum(np.sin(x)))
    assert compiled(X) == pytest.approx(np.sum(np.sin(X)), rel=1e-13)
    check_same(compiled(flux.gpu(X)), np.sum(np.sin(X)))
    assert isinstance(compiled(X), np.float64)
    assert compiled._programs.made == 2


def test_a_model_is_an_argument():
    predict, model = flux.compile(lambda model, x: model(x)), build()
    x = X.astype(np.float32)
    there = flux.gpu(model)
    check_same(predict(there, flux.gpu(x)), model(x), 1e-6)
    model[0].weight *= 2
    there[0].weight[:] = flux.gpu(model[0].weight)
    check_same(predict(there, flux.gpu(x)), model(x), 1e-6)
    assert predict._programs.made == 1


def test_gradients_flow_through():
    f = lambda x, w: np.sum(np.tanh(x @ w) ** 2, axis=0)  # noqa: E731
    compiled = flux.compile(f)

    def loss(f):
        return lambda x, w: np.sum(np.sin(f(x, w * w)))

    expected = flux.gradient(loss(f), X, W)
    check_same(flux.gradient(loss(compiled), *flux.gpu((X, W))), expected, 1e-11)
    inside = flux.compile(lambda x, w: flux.gradient(loss(compiled), x, w))
    check_same(inside(*flux.gpu((X, W))), expected, 1e-11)


def test_in_a_training(capsys):
    compiled = flux.compile(np.tanh)
    ends = []
    for move in (lambda x: x, flux.gpu):
        flux.seed(0)
        model = move(flux.Chain(flux.Dense(4, 3, compiled), flux.Dense(3, 2)))
        opt, data = flux.setup(flux.Descent(0.1), model), move((X, X[:, :2]))
        ends.append(flux.train(lambda m, x, y: flux.mse(m(x), y), model, [data] * 3, opt, compile=True))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-6)


# What the function reads.

SCALE = 2.0


def test_guards(monkeypatch):
    compiled, x = flux.compile(lambda x: x * SCALE), flux.gpu(X)
    check_same(compiled(x), X * 2)
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    check_same(compiled(x), X * 3)


def test_arrays_from_around():
    """On the GPU, and whole numbers in NumPy for indices: another content counts from the next call on."""
    w, places = flux.gpu(X), np.array([0, 2])
    compiled = flux.compile(lambda x: (x * w)[places])
    check_same(compiled(flux.gpu(X)), (X * X)[[0, 2]])
    w[:] = 2
    check_same(compiled(flux.gpu(X)), (X * 2)[[0, 2]])
    places[0] = 1
    check_same(compiled(flux.gpu(X)), (X * 2)[[1, 2]])


# Errors.


def test_arrays_on_two_devices():
    compiled = flux.compile(lambda x, w: x @ w)
    for arguments in ((X, flux.gpu(W)), (flux.gpu(X), W)):
        with pytest.raises(flux.MixedDevices, match=r"in NumPy and on the GPU\. Move one of them: flux\.gpu"):
            compiled(*arguments)
        with pytest.raises(flux.MixedDevices, match="Move one of them"):
            flux.gradient(lambda x, w: np.sum(compiled(x, w)), *arguments)
    with pytest.raises(flux.NotCompilable, match=r"an array in NumPy.*Move it by flux\.gpu.*In .*lambda"):
        flux.compile(lambda x: x * X)(flux.gpu(X))
    there = flux.gpu(X)
    with pytest.raises(flux.NotCompilable, match="an array on the GPU can't be compiled with those in NumPy"):
        flux.compile(lambda x: x * there)(X)


@pytest.mark.parametrize("bad", [3, -4])
def test_an_index_that_is_out_of_bounds(bad):
    compiled, x = flux.compile(lambda x, k: x[k]), flux.gpu(X)
    for _ in range(2):
        with pytest.raises(IndexError, match="an index is out of bounds for an axis of length 3"):
            compiled(x, flux.gpu(np.array([0, bad, 1])))
        check_same(compiled(x, flux.gpu(K)), X[K])


def test_what_cannot_be_compiled():
    for f, said in (
        (lambda x: x if np.sum(x) > 0 else -x, "a branch that depends on an array's values"),
        (lambda x: np.linalg.eigh(x[:, :3]), "np.linalg.eigh can't be compiled"),
    ):
        with pytest.raises(flux.NotCompilable, match=said):
            flux.compile(f)(flux.gpu(X))


def test_calls_in_several_threads():
    compiled, found = flux.compile(lambda x: np.sum(np.sin(x) @ np.cos(x.T), axis=0)), {}
    xs = flux.gpu([X * k for k in range(1, 5)])

    def call(k):
        for _ in range(20):
            found[k] = compiled(xs[k])

    threads = [threading.Thread(target=call, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(4):
        x = X * (k + 1)
        check_same(found[k], np.sum(np.sin(x) @ np.cos(x.T), axis=0))


def test_calls_in_several_streams():
    """A call waits for the one before, which calculates in the same memory, where a stream doesn't see to that."""
    compiled, x = flux.compile(lambda x: np.sum(np.sin(x) @ np.cos(x.T), axis=0)), flux.gpu(X)
    first, second = graphs.Stream(), graphs.Stream()
    for stream in (first, first, second, second, first):
        with stream:
            compiled(x)
    assert second.waited == [first]
    assert first.waited == [second]


def test_arguments_are_let_go():
    compiled, x = flux.compile(lambda x: x * 2), X.copy()
    there = flux.gpu(x)
    seen = weakref.ref(there._host)
    compiled(there)
    del there
    assert seen() is None
