"""What cuBLAS is told: whose handle, in which stream, with which memory to calculate in."""

import threading

import numpy as np
import pytest

import tinyflux as flux
from tests.support import cublas_standin, graphs
from tests.support.graph_cases import RULES, check_as_one_by_one, one_by_one
from tests.support.program_cases import arrays
from tinyflux.compile.backends.cuda import kernels, persistent


@pytest.fixture(autouse=True)
def _all_products(compiling, monkeypatch):
    """cuBLAS multiplies all matrices, however small."""
    monkeypatch.setattr(kernels, "pays", lambda product: True)


def products(x):
    return np.sin(x @ x.T) @ x


def test_threads_leave_nothing_behind():
    """Neither handles, of which CuPy has one for each thread while it runs, nor memory."""
    (x,) = arrays((9, 13))
    compiled, there = flux.compile(products), flux.gpu(x)
    counts, found = [], []

    def call():
        found.append(compiled(there))
        counts.append(len(cublas_standin.handles))

    for _ in range(3):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert counts == [1] * 3
    assert not cublas_standin.handles
    assert not cublas_standin.workspaces()
    for y in found:
        np.testing.assert_allclose(y._host, products(x), rtol=1e-5)


def test_functions_in_several_streams():
    """Each calculates in memory that is its stream's, as they may run at the same time."""
    (x,) = arrays((9, 13))
    first, second, there = flux.compile(products), flux.compile(lambda x: x @ x.T), flux.gpu(x)
    for stream in (graphs.Stream(), graphs.Stream()):
        with stream:
            np.testing.assert_allclose(first(there)._host, products(x), rtol=1e-5)
            np.testing.assert_allclose(second(there)._host, x @ x.T, rtol=1e-5)


def test_a_graph_has_its_memory_as_long_as_it_is_launched(monkeypatch):
    monkeypatch.setattr(persistent, "WORK", 0)
    check_as_one_by_one(one_by_one(60, 2), rule=RULES[1])
    assert graphs.launched
    assert cublas_standin.products
    assert not cublas_standin.workspaces()
