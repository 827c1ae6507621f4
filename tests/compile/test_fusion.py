"""What is stored, and what is calculated anew where it is read."""

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.ir import program
from tinyflux.compile.schedule.fuse import Result, make_schedule
from tinyflux.compile.trace.symbolic import node_of, symbolic_input

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")


def test_arrays_are_not_stored_for_what_is_read_of_a_few_numbers():
    """The mean of each column costs a division, once; what differs from it is as cheap to calculate as to read."""
    x = np.random.default_rng(0).normal(size=(50, 40))

    def normalised(x):
        away = x - np.mean(x, axis=0)
        return np.tanh(away / np.sqrt(np.mean(away**2, axis=0))) + np.max(away, axis=0)

    with program.Recording() as recording:
        node = node_of(normalised(symbolic_input(x)))
        schedule = make_schedule([Result(node, len(recording.inputs))])
    assert [n for n in schedule.stored if n.size == x.size] == [node]
    np.testing.assert_allclose(flux.compile(normalised)(x), normalised(x), rtol=0, atol=1e-14)
