"""flux.scan by kernels made for the GPU, run on the CPU by g++: the numbers of the plain loop in NumPy."""

import numpy as np
import pytest

import tinyflux as flux
from tests.kernels.test_device_programs import TOLERANCE, check
from tests.support import scan_cases
from tests.support.program_cases import InOrder, compiled
from tests.support.scan_cases import SCANS
from tinyflux.compile.backends.cuda import kernels, launches
from tinyflux.training.cuda_engine import STARTED

pytestmark = pytest.mark.usefixtures("compiling")


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", SCANS)
def test_values_and_gradients(name, dtype):
    loss, model, *batch = SCANS[name](dtype)
    check(loss, model, *batch, dtype=dtype)


def recurrent(length):
    """The program of a recurrent net whose last state is looked at."""
    _, model, h, _ = scan_cases.of_the_data(np.float32)
    (xs,) = scan_cases.arrays((length, 7, 6))
    return check(lambda m, h, xs: np.sum(scan_cases.rnn(m, h, xs)[0] ** 2), model, h, xs)


def test_products_go_to_cublas_and_kernels_are_those_of_one_step(monkeypatch):
    monkeypatch.setattr(kernels, "pays", lambda product: True)
    texts = set()
    for length in (2, 9):
        program = recurrent(length)
        multiplied = [x for x in program.source.launches if isinstance(x, launches.Multiply)]
        assert len(multiplied) == 5 * length  # forward x @ w and h @ u, back the slopes of w, u and h
        texts.add(program.source.text.count("__global__"))
    assert len(texts) == 1


def test_memory_is_used_again():
    """More steps calculate in no more arrays; only stacks are longer."""
    pieces = [
        len({x.data.ptr for name, x in recurrent(n).function._executable._arrays.items() if "_" in name})
        for n in (10, 20)
    ]
    assert pieces[1] <= pieces[0] < 10


def test_each_item_is_read():
    """A sequence of the data lies elsewhere in each item."""
    loss, model, *_ = scan_cases.of_the_data(np.float64)
    program = None
    for seed in range(3):
        item = scan_cases.arrays((7, 5), (4, 7, 6), dtype=np.float64, seed=seed)
        expected, slopes = flux.withgradient(lambda m: loss(m, *item), model)  # noqa: B023
        there = flux.gpu(tuple(item))
        program = program or compiled(loss, flux.gpu(model), there)
        value, found = program(there)
        np.testing.assert_allclose(value._host, expected, rtol=1e-12)
        for name, g in slopes.items():
            np.testing.assert_allclose(found[name]._host, g, rtol=1e-10)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("how", [True, "auto"])
def test_a_training(how, shuffle, capsys):
    """Of two recurrent layers, by kernels, with batches of two sizes, of slices or of numbers."""
    xs = np.random.default_rng(0).normal(size=(50, 5, 1)).astype(np.float32)
    y = xs.sum(axis=1)

    def loss(m, x, y):
        xs = np.swapaxes(x, 0, 1)
        for cell in m["cells"]:
            h = np.zeros((len(x), 8), np.float32, like=xs)
            _, xs = flux.scan(lambda h, x, cell=cell: (cell(np.concatenate([x, h], axis=-1)),) * 2, h, xs)
        return flux.mse(m["out"](xs[-1]), y)

    loader = InOrder if shuffle else flux.DataLoader
    ends = []
    for move, option in ((lambda x: x, False), (flux.gpu, how)):
        flux.seed(1)
        model = move({"cells": [flux.Dense(n + 8, 8, np.tanh) for n in (1, 8)], "out": flux.Dense(8, 1)})
        opt = flux.setup(flux.Adam(0.01), model)
        losses = flux.train(loss, model, loader(move((xs, y)), 16), opt, epochs=3, compile=option)
        ends.append((losses, flux.leaves(flux.cpu(model))))
    assert capsys.readouterr().err == STARTED + "\n"
    np.testing.assert_allclose(ends[1][0], ends[0][0], rtol=1e-5)
    assert ends[1][0][-1] < ends[1][0][0]
    for a, b in zip(ends[1][1], ends[0][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
