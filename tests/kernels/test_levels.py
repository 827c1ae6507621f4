"""Sections that don't depend on each other share a launch; those that do come one after another."""

import re

import numpy as np
import pytest

from tests.kernels.test_device_programs import check
from tests.support.program_cases import arrays
from tinyflux.compile.backends.cuda import levels
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
    launched, _ = levels.make_kernels(levels.find_levels([section("a", "x", "w"), product, section("b", "z", "v")]))
    assert [[type(step) for step in level] for level in launched] == [[Multiply, Launch], [Launch]]


def test_equal_kernels_are_made_once():
    steps = [section("a", "x", "y"), section("a", "y", "z"), section("b", "z", "w")]
    launched, texts = levels.make_kernels(levels.find_levels(steps))
    assert [launch.kernel for level in launched for launch in level] == ["kernel0", "kernel0", "kernel1"]
    assert len(texts) == 2


def test_a_kernel_has_no_more_arrays_than_it_can_be_given(monkeypatch):
    monkeypatch.setattr(levels, "MAX_ARRAYS", 5)
    steps = [section(name, "x", name) for name in "abcde"]
    launched, texts = levels.make_kernels(levels.find_levels(steps))
    assert [len(launch.arrays) for launch in launched[0]] == [4, 4, 2]
    assert len(texts) == 3


@pytest.mark.usefixtures("compiling")
def test_blocks_are_shared_out():
    """Two sums and a map, of several blocks each, in one kernel; then what reads them."""
    p, x = arrays((70, 40), (300, 5))

    def loss(m, x):
        return np.sum(np.sin(np.sum(m["p"], axis=0))) + np.sum(np.sum(m["q"] * x, axis=0) ** 2)

    program = check(loss, {"p": p, "q": x}, x)
    text = program.source.text
    assert any(text.count(f"{name}(blockIdx.x - ") for name in re.findall(r"section\d+", text))
