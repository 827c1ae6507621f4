"""Indices in arrays, in kernels made for them and run on the CPU by g++: the numbers of NumPy, and its errors."""

import numpy as np
import pytest

import tinyflux as flux
from tests.kernels.test_device_programs import TOLERANCE, check
from tests.support import cuda_shim
from tests.support.index_cases import PICKINGS
from tests.support.program_cases import InOrder, compiled

pytestmark = pytest.mark.usefixtures("compiling")


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", PICKINGS)
def test_values_and_gradients(name, dtype):
    case = PICKINGS[name]
    p, *batch = case.inputs(dtype)
    check(case.loss, {"p": p}, *batch, dtype=dtype)


@pytest.mark.parametrize("name", ["rows", "rows of few", "rows that many name", "rows, positions shared out"])
def test_threads_in_any_order_give_the_same_bits(name):
    case = PICKINGS[name]
    p, *batch = case.inputs(np.float32)
    there, moved = flux.gpu({"p": p}, tuple(batch))
    program = compiled(case.loss, there, moved)
    found = []
    for order in cuda_shim.ORDERS:
        cuda_shim.order = order
        found.append(program(moved)[1]["p"].get())
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_sums_are_in_the_order_of_the_indices():
    """As np.add.at makes them, to the bit, where one block has all positions."""
    case = PICKINGS["rows for sequences"]
    p, k, w = case.inputs(np.float32)
    there, moved = flux.gpu({"p": p}, (k, w))
    expected = np.zeros_like(p)
    np.add.at(expected, k, w)
    program = compiled(lambda m, k, w: np.sum(m["p"][k] * w), there, moved)
    np.testing.assert_array_equal(program(moved)[1]["p"].get(), expected)


# Indices that are out of bounds.

LOSSES = {
    "one array": lambda m, k, x: np.sum(m["p"][k] * x),
    "the second of two": lambda m, k, x: np.sum(m["p"][k % 7] * x) + np.sum(m["q"][:, k]),
    "of data": lambda m, k, x: np.sum(m["p"] * x[k]),
    "in a product": lambda m, k, x: np.sum(np.tanh(m["p"][k] @ np.swapaxes(x, 0, 1))),
    "of each row": lambda m, k, x: np.sum(np.take_along_axis(m["p"], k[:, None], 1) * x[:, :1]),
    "joined": lambda m, k, x: np.sum(np.concatenate([x, m["p"][k]], axis=1) * 2),
    "in a scan": lambda m, k, x: np.sum(flux.scan(lambda s, i: (s * m["p"][i], None), m["p"][0], k)[0]),
}


def item(k):
    return np.full(7, 1) if k is None else np.array([0, 1, 2, k, 4, 0, 1]), np.linspace(0, 1, 35).reshape(7, 5)


def model():
    return {"p": np.linspace(-1, 1, 35).reshape(7, 5), "q": np.linspace(-1, 1, 21).reshape(3, 7)}


@pytest.mark.parametrize("order", cuda_shim.ORDERS)
@pytest.mark.parametrize("bad", [7, -8, 2**40])
@pytest.mark.parametrize("name", LOSSES)
def test_an_index_that_is_out_of_bounds(name, bad, order):
    """The error and its message are those of the CPU; afterwards all is as if nothing had been."""
    cuda_shim.order = order
    loss = LOSSES[name]
    ends = []
    for move in (lambda x: x, flux.gpu):
        m = move(model())
        opt = flux.setup(flux.Adam(0.1), m)
        said = []
        for k in (3, bad, -3):
            try:
                flux.train(loss, m, [move(item(k))], opt, compile=True)
            except IndexError as error:
                said.append((k, str(error)))
        ends.append((said, flux.leaves(flux.cpu(m))))
    assert [k for k, _ in ends[0][0]] == [bad]
    assert ends[1][0] == ends[0][0]
    for a, b in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_fixed_index_that_is_out_of_bounds():
    m, moved = flux.gpu(model(), item(0))
    with pytest.raises(IndexError, match="out of bounds for an axis of length 7"):
        compiled(lambda m, k, x: np.sum(m["p"][[0, 7]]), m, moved)
    with pytest.raises(IndexError, match="out of bounds for an axis of length 0"):
        compiled(lambda m, k, x: np.sum(m["p"][:0][k]), m, moved)


def test_a_training_with_batches_of_all_kinds():
    """An embedding and a classifier: shuffled batches that a kernel takes, and a last one that is shorter."""
    tokens = np.random.default_rng(0).integers(-20, 20, (50, 6))
    labels = tokens.sum(axis=1) % 4

    def loss(m, tokens, labels):
        scores = m["dense"](np.mean(m["embedding"][tokens], axis=1))
        scores = flux.logsoftmax(scores[:, [2, 0, 1, 3]])
        return -np.mean(scores[np.arange(len(labels)), labels])

    ends = []
    for move, option in ((lambda x: x, False), (flux.gpu, True)):
        flux.seed(0)
        m = move({"embedding": flux.glorot_normal((20, 8)), "dense": flux.Dense(8, 4)})
        opt = flux.setup(flux.Adam(0.01), m)
        losses = flux.train(loss, m, InOrder(move((tokens, labels)), 16), opt, epochs=3, compile=option)
        ends.append((losses, flux.leaves(flux.cpu(m))))
    np.testing.assert_allclose(ends[1][0], ends[0][0], rtol=1e-5)
    for a, b in zip(ends[1][1], ends[0][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


# Faults.

FAULTS = [
    ("index < 0 ? index + length : index", "index"),
    ("index >= -length && index < length", "index < length"),
    ("note_fault(code, fault);\n    return 0", "return 0"),
    ("total += there ?", "total += true ?"),
    ("begin == start ? 0", "true ? 0"),
    ("begin += 8192", "begin += 8191"),
    ("rest &= rest - 1", "rest = 0"),
    ("const long long own = ", "const long long own = 1 + "),
]


@pytest.mark.parametrize(("old", "new"), FAULTS, ids=[f"{old} > {new}" for old, new in FAULTS])
def test_a_fault_is_found(old, new, monkeypatch):
    changed = cuda_shim.plant(monkeypatch, lambda code: code.replace(old, new))
    for case in ("rows for sequences", "rows, more than are marked at once", 7, -8):
        try:
            if case in PICKINGS:
                test_values_and_gradients(case, np.float64)
            else:
                test_an_index_that_is_out_of_bounds("one array", case, "forward")
        except AssertionError:
            break
    else:
        pytest.fail("it was not found")
    assert any(changed)
