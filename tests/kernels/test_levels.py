"""Sections that don't depend on each other share a launch; those that do come one after another."""

import re

import numpy as np
import pytest

from tests.kernels.test_device_programs import check
from tests.support import cuda_shim, graphs
from tests.support.graph_cases import RULES, check_as_one_by_one, one_by_one
from tests.support.program_cases import arrays
from tinyflux.compile.backends.cuda import levels, persistent
from tinyflux.compile.backends.cuda.launches import Barrier, Launch, Multiply, Place, Section


def section(name, reads, writes):
    types = ("const float *",) * len(reads) + ("float *",) * len(writes)
    return Section(name, 2, tuple(map(Place, reads + writes)), types)


def names(found):
    return [[step.name for step in level] for level in found]


def test_what_is_read_was_written():
    steps = [section("a", "x", "y"), section("b", "y", "z"), section("c", "x", "w"), section("d", "zw", "v")]
    assert names(levels.find_levels(steps)) == [["a", "c"], ["b"], ["d"]]


def test_what_is_overwritten_was_read():
    """And what is written twice is so in order."""
    steps = [section("a", "x", "y"), section("b", "y", "x"), section("c", "", "x"), section("d", "y", "w")]
    assert names(levels.find_levels(steps)) == [["a"], ["b", "d"], ["c"]]


def test_a_barrier():
    steps = [section("a", "x", "y"), Barrier(), section("b", "x", "z"), section("c", "y", "w")]
    assert names(levels.find_levels(steps)) == [["a"], ["b", "c"]]


def test_libraries_are_called_beside_the_kernel_of_their_level():
    product = Multiply(tuple(map(Place, "xyz")), (1, 1, 1), (False, False), np.dtype("f"))
    launched, _ = levels.make_kernels(levels.find_levels([section("a", "x", "w"), product, section("b", "z", "v")]), {})
    assert [[type(step) for step in level] for level in launched] == [[Multiply, Launch], [Launch]]


def test_equal_kernels_are_made_once():
    steps = [section("a", "x", "y"), section("a", "y", "z"), section("b", "z", "w")]
    launched, texts = levels.make_kernels(levels.find_levels(steps), {})
    assert [launch.kernel for level in launched for launch in level] == ["kernel0", "kernel0", "kernel1"]
    assert len(texts) == 2


def test_a_kernel_has_no_more_arrays_than_it_can_be_given(monkeypatch):
    monkeypatch.setattr(levels, "MAX_ARRAYS", 5)
    steps = [section(name, "x", name) for name in "abcde"]
    launched, texts = levels.make_kernels(levels.find_levels(steps), {})
    assert [len(launch.arrays) for launch in launched[0]] == [4, 4, 2]
    assert len(texts) == 3


MOST = 4096  # bytes that the parameters of a kernel can have before CUDA 12.1


def test_a_section_has_more_arrays_than_a_kernel_can_be_given(compiling, monkeypatch):
    """Its kernel is given tables: of 420 parameters, and as many gradients."""
    codes = []
    cuda_shim.plant(monkeypatch, lambda code: codes.append(code) or code)
    model = arrays(*[(2,)] * 420, dtype=np.float64)
    (x,) = arrays((2,), dtype=np.float64)
    program = check(lambda m, x: np.sum(np.sin(np.sum(np.stack(m) * x, axis=0))), model, x, dtype=np.float64)
    assert max(len(step.arrays) for step in program.source.steps) > MOST // 8
    (module,) = map(cuda_shim.RawModule, codes)
    sizes = [8 * len(kinds) for kinds in module.kernels.values() if all("*" in kind for kind in kinds)]
    assert len(sizes) == len(module.kernels)
    assert MOST // 2 < max(sizes) <= MOST


def test_equal_sections_have_tables_of_their_own(monkeypatch):
    monkeypatch.setattr(levels, "MAX_ARRAYS", 3)
    kinds = ("const float *",) * 3 + ("float *",)
    sections = [Section("section0", 1, tuple(Place(f"{x}{i}") for i in range(4)), kinds) for x in "xy"]
    arrays = {}
    _, (one, other) = levels.make_kernels([sections], arrays)[0]
    assert one.kernel == other.kernel
    assert not {place.array for place in one.given} & {place.array for place in other.given}
    assert len(arrays) == 4


def test_a_training_whose_kernels_are_given_tables(compiling, monkeypatch):
    """Launched one by one, and in graphs, whose iterations have orders of samples at addresses of their own."""
    monkeypatch.setattr(levels, "MAX_ARRAYS", 3)
    monkeypatch.setattr(persistent, "WORK", 0)
    check_as_one_by_one(one_by_one(60, 2), rule=RULES[2])
    assert graphs.launched


@pytest.mark.usefixtures("compiling")
def test_blocks_are_shared_out():
    """Two sums and a map, of several blocks each, in one kernel; then what reads them."""
    p, x = arrays((70, 40), (300, 5))

    def loss(m, x):
        return np.sum(np.sin(np.sum(m["p"], axis=0))) + np.sum(np.sum(m["q"] * x, axis=0) ** 2)

    program = check(loss, {"p": p, "q": x}, x)
    text = program.source.text
    assert any(text.count(f"{name}(blockIdx.x - ") for name in re.findall(r"section\d+", text))
