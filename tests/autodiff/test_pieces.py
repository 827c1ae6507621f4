"""Parts of arrays: what flows back to many of them takes time and memory in proportion to their number."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyflux as flux
from tinyflux.autodiff import cotangents as pieces

N = 4000
MANY = {
    "concatenate": lambda xs: np.sum(np.concatenate(xs) ** 2),
    "concatenate flat": lambda xs: np.sum(np.concatenate(xs, axis=None) ** 2),
    "stack": lambda xs: np.sum(np.stack(xs, axis=-1) ** 2),
    "hstack": lambda xs: np.sum(np.hstack(xs) ** 2),
    "vstack": lambda xs: np.sum(np.vstack(xs) ** 2),
}
ROWS = {
    "rows": lambda x: sum(x[i] @ x[i] for i in range(N)),
    "iterated": lambda x: sum(row @ row for row in x),
    "columns": lambda x: sum(x[:, i] @ x[:, i] for i in range(x.shape[1])),
    "split": lambda x: sum(np.sum(part * part) for part in np.split(x, N)),
    "taken": lambda x: sum(np.sum(np.take(x, [i], axis=0) ** 2) for i in range(N)),
}


def seconds(f, *arguments):
    begin = time.process_time()
    found = f(*arguments)
    return time.process_time() - begin, found


@pytest.mark.parametrize("f", MANY.values(), ids=MANY)
def test_many_pieces_are_joined(f):
    """4,000 of them, to second order; each by itself would be sought among all: 20 times as long."""
    xs = [np.full(2, float(i)) for i in range(N)]
    spent, slopes = seconds(flux.gradient, f, xs)
    assert spent < 0.5
    np.testing.assert_array_equal(slopes, [2 * x for x in xs])
    spent, slopes = seconds(flux.gradient, lambda xs: sum(np.sum(g * g) for g in flux.gradient(f, xs)), xs)
    assert spent < 1.5
    np.testing.assert_array_equal(slopes, [8 * x for x in xs])


@pytest.mark.parametrize("f", ROWS.values(), ids=ROWS)
def test_a_loop_over_rows(f):
    x = np.arange(N * 300.0).reshape(N, 300) / N
    spent, slope = seconds(flux.gradient, f, x)
    assert spent < 1
    np.testing.assert_array_equal(slope, 2 * x)


def test_a_loop_over_rows_to_second_order():
    x = np.arange(N * 50.0).reshape(N, 50) / N
    slope = lambda x: np.sum(flux.gradient(lambda x: sum(np.sum(row**3) for row in x), x) ** 2)  # noqa: E731
    spent, second = seconds(flux.gradient, slope, x)
    assert spent < 2
    np.testing.assert_allclose(second, 36 * x**3)


def test_pieces_need_little_memory():
    """Large parts of an array are added up as they come, and not kept."""
    x = np.ones(1 << 16)
    f = lambda x: sum(np.sum(x[i:]) for i in range(100))  # noqa: E731
    flux.gradient(f, x)
    tracemalloc.start()
    flux.gradient(f, x)
    assert tracemalloc.get_traced_memory()[1] < 8 * x.nbytes
    tracemalloc.stop()


INDICES = [
    2, -1, slice(1, None), slice(None, None, -2), [0, 0, 3], np.array([True, False, True, True]), Ellipsis, None,
    (slice(None), 1), (Ellipsis, [1, 1]), (np.array([0, 2]), np.array([0, 0])), True, np.array(False), (),
]  # fmt: skip
INDEX = st.sampled_from(range(len(INDICES)))


@given(st.lists(INDEX, min_size=1, max_size=6), st.booleans(), st.booleans())
def test_whatever_parts_are_used(chosen, whole_first, whole_last):
    """The gradient is the sum of what every use of x gives by itself, whatever comes between them."""
    x = np.arange(12.0).reshape(4, 3)
    uses = [lambda x, i=i, k=k: np.sum(np.sin(x[INDICES[k]] * (i + 1))) for i, k in enumerate(chosen)]
    uses = [*([lambda x: np.sum(x * 3)] * whole_first), *uses, *([lambda x: np.sum(x * x)] * whole_last)]
    expected = sum(flux.gradient(use, x) for use in uses)
    np.testing.assert_allclose(
        flux.gradient(lambda x: sum(use(x) for use in uses), x), expected, rtol=1e-14, atol=1e-14
    )
    flux.gradcheck(lambda x: sum(use(x) for use in uses), x)


def test_pieces_are_put_together_once(monkeypatch):
    calls = []
    original = pieces.scattered
    monkeypatch.setattr(pieces, "scattered", lambda *args: calls.append(len(args) - 2) or original(*args))
    flux.gradient(lambda x: sum(row @ row for row in x), np.ones((100, 5)))
    assert calls == [100]


def test_a_sweep_twice_over_one_tape():
    """What one sweep adds up is not there for the next."""
    _, back = flux.pullback(lambda x: np.stack([x[0] * x[1], x[1], x[0]]), np.array([2.0, 3.0]))
    for _ in range(2):
        np.testing.assert_array_equal(back(np.array([1.0, 10.0, 100.0])), [103.0, 12.0])
    np.testing.assert_array_equal(
        flux.jacobian(lambda x: x[0] * x[1:], np.array([2.0, 3.0, 4.0])), [[3, 2, 0], [4, 0, 2]]
    )


CHANGES = {
    "np.put": lambda x: np.put(x, [0], 1.0),
    "np.put_along_axis": lambda x: np.put_along_axis(x, np.array([0]), 1.0, 0),
    "np.fill_diagonal": lambda x: np.fill_diagonal(x, 0.0),
    "np.place": lambda x: np.place(x, np.array([True, False]), [1.0]),
    "np.putmask": lambda x: np.putmask(x, np.array([True, False]), 1.0),
    "np.copyto": lambda x: np.copyto(x, np.zeros(2)),
    "np.add.at": lambda x: np.add.at(x, [0, 0], 1.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_an_array_is_refused(name):
    def f(x):
        CHANGES[name](x)
        return np.sum(x)

    with pytest.raises(TypeError, match=rf"{name} would change an array in place.*Make a new one: np.where"):
        flux.gradient(f, np.ones(2))
    with pytest.raises(flux.NotCompilable, match=f"{name} changes an array in place"):
        flux.compile(f)(np.ones(2))
