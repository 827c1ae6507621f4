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


def test_axes_are_joined_after_a_map_rather_than_before():
    """Of what is calculated that would be an array in memory; what lies in memory is read as it is."""
    x, y = np.random.default_rng(0).normal(size=(2, 6, 4, 5))

    def joined(x, y):
        return np.tanh(np.exp(x).reshape(24, 5) * y.reshape(24, 5) + np.sin(x[::-1]).reshape(24, 5))

    with program.Recording():
        x_in, y_in = map(symbolic_input, (x, y))
        node, plain = node_of(joined(x_in, y_in)), node_of(np.exp(x_in.reshape(24, 5) * np.ones(5)))
    assert (node.op, node.args[0].op, node.args[0].shape, plain.op) == ("reshape", "map", x.shape, "map")
    np.testing.assert_allclose(flux.compile(joined)(x, y), joined(x, y), rtol=1e-14)


def test_a_gradient_shares_loops_with_what_it_is_the_gradient_of():
    """Of a maximum over tiles: it, where it is, and what comes to it are calculated while the tile is at hand."""
    x = np.random.default_rng(0).integers(0, 3, (8, 6, 6, 5)).astype(np.float32)
    model = {"w": np.ones((6, 6, 5), np.float32)}
    step = flux.compile_training(
        lambda m, x: np.mean(flux.maxpool(np.tanh(x * m["w"]), 2) ** 2), model, flux.setup(flux.Descent(0.1), model),
        batchsize=8,
    )  # fmt: skip
    step((x,), np.zeros(0, int))
    pooled = [k for k in step._latest().source.schedule.kernels if k.shape == (8, 3, 3, 5)]
    assert [len(k.nodes) for k in pooled] == [3]


def test_a_gradient_shares_the_loop_of_the_update_that_reads_it():
    """It is as cheap to calculate as to read: that of a weight from one sample is a product of two numbers."""
    model = flux.Dense(24, 6)
    step = flux.compile_training(
        lambda m, x: np.mean(m(x) ** 2), model, flux.setup(flux.Adam(), model), batchsize=1
    )  # fmt: skip
    step((np.ones((3, 24), np.float32),), np.zeros(0, int))
    assert len([k for k in step._latest().source.schedule.kernels if k.shape == (6, 24)]) == 1


@pytest.mark.parametrize("also", [0, 1], ids=["by a sum", "by the other update, too"])
def test_what_is_overwritten_is_read_before_rather_than_copied(also):
    """The loop that would be the first to take p's update comes before those that read p backwards."""
    with program.Recording():
        p, q = map(symbolic_input, np.random.default_rng(0).normal(size=(2, 50)))
        slope = np.tanh(q)
        product = np.sum(p[::-1] * slope)
        updates = [(q, q - product * slope - (p[::-1] if also else 0)), (p, p * 0.5)]
        results = [Result(node_of(new), i, overwrites=node_of(old)) for i, (old, new) in enumerate(updates)]
        schedule = make_schedule(results)
    assert len(schedule.kernels) == 3 + also
    assert not any(kernel.copies for kernel in schedule.kernels)
