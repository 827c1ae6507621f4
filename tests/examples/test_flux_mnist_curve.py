"""What examples/flux_mnist keeps of the losses, and in which order it takes the images."""

import doctest
import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tinyflux as flux
from examples.common import iterations
from examples.flux_mnist import curve as module
from examples.flux_mnist import grid, training
from examples.flux_mnist.curve import EARLY, WINDOW, Curve
from examples.flux_mnist.grid import LONGEST
from tests.support.flux_mnist import small

LOSSES = np.random.default_rng(0).random(6_789) ** 4


def cut(losses, pieces):
    """A curve to which losses were added in pieces of these lengths, again and again."""
    curve, start = Curve(), 0
    for length in itertools.cycle(pieces):
        if start >= len(losses):
            return curve
        curve.add(losses[start : start + length])
        start += length


def bits(curve):
    return [(array.dtype, array.tobytes()) for array in flux.leaves(curve)]


@pytest.mark.parametrize("module", [module, grid, training, iterations])
def test_the_examples_in_docstrings(module):
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0


@given(st.integers(0, len(LOSSES)), st.lists(st.integers(0, 450), min_size=1).filter(any))
@example(4_250, [1])
@example(4_000, [4_000])
@example(3_950, [99, 1])
@example(6_789, [3_999, 2, 100])
def test_the_cuts_do_not_matter(count, pieces):
    whole = Curve()
    whole.add(LOSSES[:count])
    found = cut(LOSSES[:count], pieces)
    assert bits(found) == bits(whole)
    if count:
        assert (found.last, found.recent_mean) == (whole.last, whole.recent_mean)


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250, 3_999, 4_000, 4_001, 4_100, 6_789])
def test_what_is_kept(count):
    curve, losses = Curve(), LOSSES[:count]
    curve.add(losses)
    whole = losses[: count - count % 100].reshape(-1, 100)
    assert curve.count == count
    np.testing.assert_array_equal(curve.early[:count], losses[:4_000].astype(np.float32))
    assert not curve.early[count:].any()
    np.testing.assert_array_equal(curve.loss[: len(whole)], losses[99::100].astype(np.float32))
    np.testing.assert_allclose(curve.mean[: len(whole)], [np.mean(window) for window in whole], rtol=1e-6)
    assert not curve.loss[len(whole) :].any()
    assert not curve.mean[len(whole) :].any()
    assert curve.last == losses[-1]
    assert curve.recent_mean == pytest.approx(losses[-100:].mean(), rel=1e-12)


@pytest.mark.parametrize("last", [50, 3_999, 4_000, 4_099, 4_100, 6_700, 6_789, LONGEST])
def test_points_of_the_curve(last):
    curve = Curve()
    curve.add(LOSSES)
    expected = [i for i in range(1, 6_790) if i <= last and (i <= 4_000 or i % 100 == 0)]
    iterations, losses = curve.losses(last)
    assert iterations.tolist() == expected
    np.testing.assert_array_equal(losses, LOSSES[np.array(expected) - 1].astype(np.float32))
    iterations, means = curve.means(last)
    assert iterations.tolist() == list(range(100, min(last, 6_789) + 1, 100))
    np.testing.assert_allclose(means, [LOSSES[i - 100 : i].mean() for i in iterations], rtol=1e-6)


def test_a_young_curve_has_points_for_its_losses_alone():
    curve = Curve()
    assert [len(array) for array in (*curve.losses(), *curve.means())] == [0, 0, 0, 0]
    curve.add([0.5, 0.25])
    assert [array.tolist() for array in curve.losses()] == [[1, 2], [0.5, 0.25]]
    assert [len(array) for array in curve.means()] == [0, 0]


def test_a_curve_that_is_full():
    losses = np.resize(LOSSES, LONGEST)
    curve = cut(losses, [200_000])
    assert curve.loss[-1] == np.float32(losses[-1])
    np.testing.assert_allclose(curve.mean[-1], losses[-100:].mean(), rtol=1e-6)
    assert len(curve.losses()[0]) == EARLY + (LONGEST - EARLY) // WINDOW
    before = bits(curve)
    with pytest.raises(ValueError, match="2,048,000 losses, got 2,048,001"):
        curve.add([1.0])
    assert bits(curve) == before


def test_too_many_losses_at_once_change_nothing():
    curve = Curve()
    curve.add(LOSSES)
    before = bits(curve)
    with pytest.raises(ValueError, match="a curve holds 2,048,000 losses"):
        curve.add(np.zeros(LONGEST - len(LOSSES) + 1))
    assert bits(curve) == before


# The images of each iteration


def rows(run, images, size, count, iteration=0):
    """The images of some iterations, one row each."""
    some = itertools.chain.from_iterable(training.samples(run, images, size, iteration))
    return np.array(list(itertools.islice(some, count)))


@pytest.mark.parametrize(
    ("variant", "size", "each"), [("stochastic", 1, 50), ("minibatch", 8, 6), ("minibatch", 50, 1)]
)
def test_a_pass_takes_each_image_once(variant, size, each):
    found = rows(small(variant=variant), 50, size, 4 * each)
    assert found.shape == (4 * each, size)
    passes = found.reshape(4, -1)
    for images in passes:
        assert len(set(images)) == len(images) == each * size
        assert set(images) <= set(range(50))
    assert len({tuple(images) for images in passes}) == 4  # each in an order of its own


def test_batch_takes_all_images_in_order():
    assert rows(small(variant="batch"), 7, 7, 3).tolist() == [list(range(7))] * 3


@given(st.sampled_from([("stochastic", 1), ("minibatch", 8), ("minibatch", 25), ("batch", 50)]), st.integers(0, 130))
@example(("stochastic", 1), 49)
@example(("stochastic", 1), 50)
@example(("minibatch", 8), 6)
def test_from_any_iteration_on_it_goes_the_same_way(kind, iteration):
    variant, size = kind
    run = small(variant=variant, seed=3)
    whole = rows(run, 50, size, iteration + 20)
    np.testing.assert_array_equal(rows(run, 50, size, 20, iteration), whole[iteration:])


def test_seeds_differ_in_the_order_alone():
    orders = [tuple(rows(small(seed=seed), 50, 1, 50).ravel()) for seed in range(5)]
    assert len(set(orders)) == 5
    assert len({frozenset(order) for order in orders}) == 1


def test_the_order_does_not_depend_on_what_else_is_random():
    first = rows(small(), 50, 1, 120)
    np.random.default_rng(1).random(7)
    flux.seed(99)
    np.testing.assert_array_equal(rows(small("4LS", optimiser="Descent"), 50, 1, 120), first)
