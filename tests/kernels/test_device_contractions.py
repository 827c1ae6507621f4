"""Sums of products over any axes, in tiles: the numbers of NumPy, in whatever order threads and blocks run."""

import re

import numpy as np
import pytest

import tinyflux as flux
from tests.support import cuda_shim
from tests.support.contraction_cases import CONTRACTIONS, check, inputs
from tests.support.program_cases import compiled
from tinyflux.compile.backends.cuda import contractions
from tinyflux.compile.ir import program
from tinyflux.compile.schedule.fuse import Result, make_schedule
from tinyflux.compile.trace.symbolic import Symbolic, node_of

pytestmark = pytest.mark.usefixtures("compiling")


def tiles(program):
    """The calls of contract.cuh in a program: rows and columns of their tiles."""
    return [tuple(map(int, sizes)) for sizes in re.findall(r"contract<\w+, (\d+), (\d+), Places>", program.source.text)]


def lengths(program):
    """For each of these calls how many terms there are, and how many of them a block adds up."""
    found = re.findall(r"TERMS = (\d+), .*CHUNK = (\d+)", program.source.text)
    return [tuple(map(int, pair)) for pair in found]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", CONTRACTIONS)
def test_contractions(name, dtype):
    case = CONTRACTIONS[name]
    program = check(case.f, *inputs(case, dtype), 1e-4 if dtype == np.float32 else 1e-12)
    assert tiles(program) == case.tiles
    assert sum(chunk < terms for terms, chunk in lengths(program)) == case.parts


@pytest.mark.parametrize("order", ["backward", "shuffled"])
@pytest.mark.parametrize("name", ["a convolution", "few results of many terms"])
def test_threads_in_any_order(name, order):
    cuda_shim.order = order
    case = CONTRACTIONS[name]
    check(case.f, *inputs(case, np.float64), 1e-12)


def test_it_is_deterministic():
    """The parts of a sum are added up in one order."""
    case = CONTRACTIONS["few results of many terms"]
    p, x = inputs(case, np.float32)
    found = []
    for order in cuda_shim.ORDERS:
        cuda_shim.order = order
        model, item = flux.gpu({"p": p}, x)
        program = compiled(lambda m, x: np.sum(np.sin(case.f(m["p"], x))), model, item)
        found.append(program(flux.leaves(item))[1]["p"].get())
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_small_sums_are_left_to_threads():
    assert contractions.MULTIPLICATIONS > 2**11
    rng = np.random.default_rng(0)
    p, x = rng.standard_normal((4, 4, 5)), rng.standard_normal((4, 5, 6))
    assert tiles(check(lambda p, x: np.einsum("bij,bjk->bik", p, x), p, x, 1e-12)) == []


@pytest.mark.parametrize("axis", ["rows", "columns", "terms"])
def test_more_than_can_be_counted_is_left_to_threads(axis):
    """Nothing is calculated: no memory would hold it."""
    for size, tiled in ((2**30, True), (2**30 + 1, False)):
        shape = {"rows": 8, "columns": 8, "terms": 8} | {axis: size}
        with program.Recording() as recording:
            a = Symbolic(recording.input((shape["rows"], shape["terms"]), np.dtype(np.float32)))
            b = Symbolic(recording.input((shape["columns"], shape["terms"]), np.dtype(np.float32)))
            schedule = make_schedule([Result(node_of(a @ b.T), 2)], recording.trusted)
        (kernel,) = [kernel for kernel in schedule.kernels if kernel.product is not None]
        assert (contractions.find_tiling(kernel) is not None) == tiled
