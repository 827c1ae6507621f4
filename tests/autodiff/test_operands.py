"""What an operation is given besides boxes: complex numbers, other arrays than NumPy's, arrays changed in place."""

import contextlib
import itertools
import mmap
import pickle
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyflux as flux
from tinyflux.autodiff.operands import SMALL, thread

X = np.array([1.0, 2.0, 3.0])
C = np.array([1.0, 2.0j, 3.0])
REAL = "tinyflux differentiates real numbers"

# Complex numbers.

COMPLEX = {
    "a Python number": lambda x: np.sum(np.abs(x * (3 + 4j))),
    "on the left": lambda x: np.sum(np.abs((3 + 4j) * x)),
    "complex64": lambda x: np.sum(x + np.complex64(1j)),
    "an array": lambda x: np.sum(np.real(C - x)),
    "a list": lambda x: np.sum(np.real(np.multiply(x, [1j, 2, 3]))),
    "a power": lambda x: np.sum(np.abs(x ** (1j))),
    "where": lambda x: np.sum(np.abs(np.where(x > 1, x, 1j))),
    "einsum": lambda x: np.abs(np.einsum("i,i->", x, C)),
    "matmul": lambda x: np.abs(x @ C),
    "concatenate": lambda x: np.sum(np.abs(np.concatenate([x, C]))),
    "stack": lambda x: np.sum(np.abs(np.stack([x, C]))),
    "solve": lambda x: np.sum(np.abs(np.linalg.solve(np.eye(3) * 1j, x))),
    "maximum": lambda x: np.sum(np.abs(np.maximum(x, C))),
    "astype": lambda x: np.sum(np.abs(x.astype(complex))),
    "astype complex64": lambda x: np.sum(np.abs(x.astype("c8"))),
    "a rule that hides it": lambda x: np.sum(np.abs(hidden(x))),
    "a rule of one's own": lambda x: np.sum(np.abs(fourier(x))),
    "interp": lambda x: np.sum(np.abs(np.interp(x, [0.0, 2.0, 4.0], C))),
    "interp of a list": lambda x: np.sum(np.abs(np.interp(x, [0.0, 2.0, 4.0], list(C)))),
    "interp at": lambda x: np.sum(np.abs(np.interp(C, [0.0, 2.0, 4.0], x))),
    "interp between": lambda x: np.sum(np.abs(np.interp(x, C, [0.0, 2.0, 4.0]))),
    "cov": lambda x: np.abs(np.cov(x, C)[0, 1]),
    "corrcoef": lambda x: np.abs(np.corrcoef(C, x)[0, 1]),
    "average": lambda x: np.abs(np.average(C, weights=x)),
    "gradient": lambda x: np.sum(np.abs(np.gradient(C, x))),
    "nested": lambda x: flux.gradient(lambda y: np.sum(np.abs(x * y * 1j)), 1.0),
    "the loss": lambda x: np.vdot(C, C),
    "a Python loss": lambda x: 1j,
}
hidden = flux.rule(np.fft.fft.__wrapped__, lambda g, y, x: np.real(np.fft.ifft(g)))
fourier = flux.rule(lambda x: x * np.exp(1j), lambda g, y, x: g)


@pytest.mark.parametrize("f", COMPLEX.values(), ids=COMPLEX)
def test_complex_numbers_are_an_error(f):
    with pytest.raises(TypeError, match=REAL):
        flux.gradient(f, X)


def test_complex_numbers_are_named_with_the_function():
    with pytest.raises(TypeError, match=r"np\.multiply: got complex numbers, but tinyflux differentiates real numbers"):
        flux.gradient(lambda x: x * (1 + 0.2j), 1.0)
    with pytest.raises(TypeError, match=r"np\.subtract: got complex128 numbers"):
        flux.gradient(lambda x: np.sum(x - C), X)


def test_complex_leaves_losses_and_cotangents():
    with pytest.raises(TypeError, match=r"argument 0\['w'\]\[1\] is of complex128; only real floating-point"):
        flux.gradient(lambda p: np.sum(p["x"]), {"x": X, "w": [X, C]})
    with pytest.raises(TypeError, match=f"pullback: f returned complex128 numbers, but {REAL}"):
        flux.pullback(lambda x: C, X)
    _, back = flux.pullback(lambda x: x * 2, X)
    with pytest.raises(TypeError, match=f"back: got complex128 numbers, but {REAL}"):
        back(C)
    model = {"w": X.copy()}
    with pytest.raises(TypeError, match=REAL):
        flux.train(lambda m, x: np.sum(m["w"]) * 1j, model, [X], flux.setup(flux.Descent(), model), compile=False)


def test_real_and_imaginary_parts_of_real_numbers():
    parts = lambda x: np.sum(np.real(x) * x.real + np.imag(x) * x.imag * x + np.conj(x) * x.conj() + x.conjugate())  # noqa: E731
    np.testing.assert_array_equal(flux.gradient(parts, X), 4 * X + 1)
    assert flux.gradient(lambda x: np.sum(np.imag(x)), X) is None


# Other classes of arrays.

MASKED = np.ma.array([1, 1, 1, 100.0], mask=[0, 0, 0, 1])


class Tagged(np.ndarray):
    pass


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (MASKED, r"got a numpy.*\.MaskedArray. Give x.filled\(…\)"),
        (np.eye(2).view(np.matrix), r"got a numpy.*\.matrix. Give np.asarray\(x\)"),
        (np.ones(4).view(Tagged), r"got a .*test_operands\.Tagged. Give np.asarray\(x\)"),
    ],
)
def test_other_classes_of_arrays_are_an_error(array, message):
    x = np.ones(array.shape)
    with pytest.raises(TypeError, match=f"gradient: argument 0: .*{message}"):
        flux.withgradient(lambda x: np.sum(x**2), array)
    with pytest.raises(TypeError, match=rf"gradient: argument 1\['w'\]: .*{message}"):
        flux.withgradient(lambda x, p: np.sum(p["w"] ** 2), x, {"w": array})
    with pytest.raises(TypeError, match=f"np.multiply: .*{message}"):
        flux.gradient(lambda x: np.sum(x * array), x)
    with pytest.raises(TypeError, match=f"np.concatenate: .*{message}"):
        flux.gradient(lambda x: np.sum(np.concatenate([x, array])), x)
    with pytest.raises(TypeError):
        flux.gradient(lambda x: np.sum(array * x), x)
    _, back = flux.pullback(lambda x: x * 2, x)
    with pytest.raises(TypeError, match=f"back: .*{message}"):
        back(array)


def test_arrays_in_files_are_arrays(tmp_path):
    x = np.memmap(tmp_path / "x", np.float64, "w+", shape=(400,))
    x[:] = 3.0
    np.testing.assert_array_equal(flux.gradient(lambda x: np.sum(x**2), x), np.full(400, 6.0))
    np.testing.assert_array_equal(flux.gradient(lambda y: np.sum(y * x), np.ones(400)), np.full(400, 3.0))
    assert x.flags.writeable


# Arrays that are changed in place after they were used.


def changed_in_between(n, change):
    """∂/∂x of Σ_k x·buf_k, which is Σ_k buf_k: a loop that fills one buffer again and again."""
    buffer = np.empty(n)

    def f(x):
        total = 0.0
        for k in (1.0, 2.0, 3.0):
            change(buffer, k)
            total = total + np.sum(x * buffer)
        return total

    return f


def fill(buffer, k):
    buffer[:] = k


@pytest.mark.parametrize("n", [1, 3, SMALL])
def test_small_arrays_may_change(n):
    x = np.ones(n)
    np.testing.assert_array_equal(flux.gradient(changed_in_between(n, fill), x), np.full(n, 6.0))
    _, back = flux.pullback(changed_in_between(n, fill), x)
    np.testing.assert_array_equal(back(1.0), np.full(n, 6.0))


CHANGES = {
    "assignment": fill,
    "addition": lambda b, k: b.__iadd__(k),
    "out=": lambda b, k: np.multiply(b, k, out=b),
    "copyto": lambda b, k: np.copyto(b, k),
    "fill": lambda b, k: b.fill(k),
    "sort": lambda b, k: b.sort(),
    "random": lambda b, k: np.random.default_rng(0).random(out=b),
    "a view": lambda b, k: b[3:].__setitem__(0, k),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_large_arrays_may_not_change_before_the_sweep(change):
    n = SMALL + 1
    with pytest.raises(ValueError, match=r"read-only|writable") as caught:
        flux.gradient(changed_in_between(n, change), np.ones(n))
    assert "While a gradient is being taken, large arrays" in caught.value.__notes__[0]


def test_large_arrays_may_change_under_a_pullback():
    """`back` may be called at any time: copies are kept."""
    n = SMALL + 1
    buffer, x = np.full(n, 2.0), np.full(n, 5.0)
    y, back = flux.pullback(lambda x: np.exp(-x) * x * buffer, x)
    expected = (np.exp(-5.0) - 5 * np.exp(-5.0)) * 2
    for array in (buffer, x, y):
        assert array.flags.writeable
        array[:] = np.nan
    np.testing.assert_allclose(back(np.ones(n)), np.full(n, expected))
    np.testing.assert_array_equal(flux.pullback(changed_in_between(n, fill), np.ones(n))[1](1.0), np.full(n, 6.0))


def test_a_pullback_keeps_one_copy_of_a_large_array():
    n = 10_000
    constant = np.ones(n)

    def f(x):
        for _ in range(50):
            x = np.sum(x * constant) / n
        return x

    tracemalloc.start()
    kept = flux.pullback(f, 1.0)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept[0] == 1
    assert size < 60 * constant.nbytes  # the products, and one copy


def test_indices_may_change():
    x = np.arange(4.0)
    index, rows, chosen = np.array([0]), np.array([1]), [2]

    def f(x):
        y = x[index] + x[(rows,)] + x[chosen]
        index[0] = rows[0] = chosen[0] = 3
        return np.sum(y)

    assert flux.gradient(f, x).tolist() == [1, 1, 1, 0]


def test_arrays_are_writeable_again():
    base = np.ones((40, 40))
    locked = base[::2]
    fixed = np.ones(1000)
    fixed.flags.writeable = False

    def f(x):
        y = np.sum(x * locked) + np.sum(x[0, 0] * base) + np.sum(x[0, 0] * fixed)
        seen.append((base.flags.writeable, locked.flags.writeable, fixed.flags.writeable))
        return y

    seen = []
    x = np.ones((20, 40))
    for take in (
        lambda: flux.gradient(f, x),
        lambda: flux.gradient(lambda x: f(x) / (1 / 0), x),
        lambda: flux.gradient(lambda x: (f(x), x), x) and flux.gradient(lambda x: x * f(x), x),
        lambda: flux.gradient(lambda x: np.sum(flux.gradient(f, x) * x), x),
    ):
        with contextlib.suppress(ZeroDivisionError, ValueError):
            take()
        assert (base.flags.writeable, locked.flags.writeable, fixed.flags.writeable) == (True, True, False)
        assert not thread.locked
        assert not thread.busy
    assert set(seen) == {(False, False, False)}


def test_what_an_inner_gradient_read_stays_as_it_is_for_the_outer():
    buffer = np.full(1000, 2.0)

    def f(x):
        inner = flux.gradient(lambda y: np.sum(x * y * buffer), 1.0)  # x Σ buffer
        buffer[:] = 0
        return inner

    with pytest.raises(ValueError, match="read-only"):
        flux.gradient(f, 1.0)
    assert buffer.flags.writeable


def test_a_view_that_outlives_the_right_to_write_its_owner():
    """It could not be unlocked, so it is copied."""
    owner = np.ones(1000)
    view = owner[:]
    owner.flags.writeable = False

    def f(x):
        y = np.sum(x * view)
        view[:] = 7
        return y

    np.testing.assert_array_equal(flux.gradient(f, np.ones(1000)), np.ones(1000))
    assert view.flags.writeable


def test_threads_that_share_an_array():
    shared = np.ones(5000)
    failures = []

    def work():
        for _ in range(100):
            if not (flux.gradient(lambda x: np.sum(x * shared), np.ones(5000)) == 1).all():
                failures.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
    assert shared.flags.writeable


@given(
    shape=st.sampled_from([(), (1,), (3,), (2, 3), (20, 30)]),
    swapped=st.booleans(),
    operation=st.sampled_from([np.multiply, np.divide, np.power, np.arctan2, np.hypot]),
)
def test_whatever_is_changed_the_gradient_is_that_of_the_values_used(shape, swapped, operation):
    rng = np.random.default_rng(0)
    x, constant = rng.uniform(1, 2, shape), rng.uniform(1, 2, shape)
    operate = (lambda a, b: operation(b, a)) if swapped else operation
    expected = flux.gradient(lambda x: np.sum(operate(x, constant)), x)
    buffer = constant.copy()

    def f(x):
        y = np.sum(operate(x, buffer))
        buffer[...] = np.nan
        return y

    if buffer.size > SMALL:
        with pytest.raises(ValueError, match="read-only"):
            flux.gradient(f, x)
    else:
        np.testing.assert_array_equal(flux.gradient(f, x), expected)
    np.testing.assert_array_equal(buffer, constant if buffer.size > SMALL else np.nan)


def test_interrupted_anywhere_nothing_stays_read_only():
    """KeyboardInterrupt after each call in turn, as Ctrl-C may come."""
    array, x = np.ones(1000), np.ones(1000)

    for n in itertools.count():
        calls = itertools.count()

        def tracer(frame, event, argument, n=n, calls=calls):
            if event == "call" and "tinyflux" in frame.f_code.co_filename and next(calls) == n:
                raise KeyboardInterrupt
            return None

        sys.settrace(tracer)
        try:
            flux.gradient(lambda x: np.sum(x * array), x)
        except KeyboardInterrupt:
            assert array.flags.writeable
            assert (thread.depth, thread.busy) == (0, False)
        else:
            break
        finally:
            sys.settrace(None)
    assert n > 10


class Lent:
    """Memory that NumPy knows by its address alone, as that of a torch tensor."""

    def __init__(self):
        self.owner = np.ones(1000)
        self.__array_interface__ = self.owner.__array_interface__


@pytest.mark.parametrize(
    "made",
    [
        lambda: pickle.loads(pickle.dumps(np.ones(1000), protocol=4)),
        lambda: pickle.loads(pickle.dumps(np.ones(1000), protocol=5)),
        lambda: np.asarray(Lent()),
        lambda: np.frombuffer(bytearray(8000)),
        lambda: np.ndarray(1000, buffer=mmap.mmap(-1, 8000)),
        lambda: np.ones(1000),
    ],
    ids=["old pickle", "pickle", "address", "bytearray", "mmap", "own"],
)
@pytest.mark.parametrize("part", [slice(None), slice(0, 500)], ids=["whole", "part"])
def test_memory_that_is_not_numpys_own(made, part):
    array = made()[part]

    def f(x):
        y = np.sum(x * array)
        with contextlib.suppress(ValueError):  # either it is locked, or there is a copy of it
            array[:] = 7
        return y

    before = array.copy()
    np.testing.assert_array_equal(flux.gradient(f, np.ones(array.shape)), before)
    assert array.flags.writeable


def test_of_such_memory_no_more_is_copied_than_is_used():
    part = pickle.loads(pickle.dumps(np.ones(1_000_000), protocol=4))[:500]
    tracemalloc.start()
    try:
        flux.gradient(lambda x: np.sum(x * part), np.ones(500))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
