"""An error in the middle of a training: the updates before it stand, in whole, and callbacks have seen them."""

import numpy as np
import pytest

import tinyflux as flux
from tests.support.train_option import X, Y, mse, needs_compiler

OPTIONS = [False, pytest.param("auto", marks=needs_compiler), pytest.param(True, marks=needs_compiler)]
BATCHES = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 48, 8)]
LABELS = np.arange(50) % 3
TARGET = np.zeros((8, 3))
every_option = pytest.mark.parametrize("option", OPTIONS)


class Fault(Exception):
    pass


def failing():
    yield from BATCHES
    raise Fault("in the data")


def network():
    flux.seed(0)
    return flux.f64(
        flux.Chain(flux.BatchNorm(6), flux.Dense(6, 4, flux.tanh), flux.Dropout(0.2, seed=1), flux.Dense(4, 3))
    )


def of_eight(m, x, y):
    return np.mean((m(x) - TARGET) ** 2)


def of_labels(m, x, i):
    return np.mean(-np.log(flux.softmax(m(x))[np.arange(len(i)), i]))


BAD_LABELS = np.where(np.arange(50) == 49, 3, LABELS)
# The loss, the data, the same without what fails, and the error.
CASES = {
    "a source": (mse, failing, lambda: BATCHES, Fault, "in the data"),
    "an item": (of_eight, lambda: [*BATCHES, (X[48:], Y[48:])], lambda: BATCHES, ValueError, "broadcast"),
    "a last batch": (
        of_eight, lambda: flux.DataLoader((X, Y), batchsize=8), lambda: flux.DataLoader((X[:48], Y[:48]), batchsize=8),
        ValueError, "broadcast",
    ),
    "a last batch of one sample": (
        mse, lambda: flux.DataLoader((X[:49], Y[:49]), batchsize=8),
        lambda: flux.DataLoader((X[:48], Y[:48]), batchsize=8), ValueError, "at least two numbers for each channel",
    ),
    "a label in the last batch": (
        of_labels, lambda: flux.DataLoader((X, BAD_LABELS), batchsize=8),
        lambda: flux.DataLoader((X[:48], LABELS[:48]), batchsize=8), IndexError, "out of bounds",
    ),
    "a label in a whole batch": (
        of_labels, lambda: flux.DataLoader((X, BAD_LABELS), batchsize=10),
        lambda: flux.DataLoader((X[:40], LABELS[:40]), batchsize=10), IndexError, "out of bounds",
    ),
}  # fmt: skip


def ended(loss, data, option, error=None, match="", callbacks=()):
    """All that a training leaves behind."""
    model = network()
    opt = flux.setup(flux.Adam(0.01), model)
    if error is None:
        flux.train(loss, model, data(), opt, compile=option, callbacks=callbacks)
    else:
        with pytest.raises(error, match=match):
            flux.train(loss, model, data(), opt, compile=option, callbacks=callbacks)
    return [*flux.leaves(model), *[np.asarray(x) for leaf in opt._leaves for x in leaf.state]]


@every_option
@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_updates_before_an_error_stand(name, watched, option):
    loss, data, before, error, match = CASES[name]
    seen = []

    def watch(progress):
        seen.append(progress.iteration)

    if not watched:
        watch.due = lambda iteration: iteration + 1000
    found = ended(loss, data, option, error, match, [watch])
    for a, b in zip(found, ended(loss, before, False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert seen == ([1, 2, 3, 4, 5, 6][: len(list(before()))] if watched else [])


@needs_compiler
@pytest.mark.parametrize("option", [True, "auto"])
def test_a_last_batch_that_cannot_be_compiled(option):
    """The updates before it are made all the same, and "auto" makes its own in NumPy."""

    def loss(m, x, y):
        return mse(m, x, y) * (1 if len(x) == 8 else len(np.unique(x)) / x.size)

    loader = lambda n: flux.DataLoader((X[:n], Y[:n]), batchsize=8)  # noqa: E731
    if option is True:
        found = ended(loss, lambda: loader(50), True, flux.NotCompilable, "unique")
        expected = ended(loss, lambda: loader(48), False)
    else:
        found, expected = ended(loss, lambda: loader(50), "auto"), ended(loss, lambda: loader(50), False)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@every_option
def test_a_loss_that_is_not_finite_since_parameters_are_not(option):
    """Weights that became NaN by an earlier update are named, or else the place in the data."""
    apart = (np.array([1.0]), np.array([2.0]))
    same = (np.array([1.0]), np.array([1.0]))  # the slope of the root is infinite there, and multiplied by 0

    def distance(m, a, b):
        return np.sum(np.sqrt(np.square(m["w"] * (a - b))))

    def message(items):
        model = {"w": np.array([3.0]), "b": np.array([1.0])}
        opt = flux.setup(flux.Descent(0.1), model)
        with np.errstate(all="ignore"), pytest.raises(flux.NonFiniteLoss) as caught:
            flux.train(lambda m, *item: distance(m, *item) + m["b"][0], model, items, opt, compile=option)
        return str(caught.value)

    found = message([apart, same, apart])
    assert "the loss is nan at item 2" in found
    assert "Parameters are NaN or infinite already, at ['w']: " in found
    found = message([apart, (np.array([np.nan]), np.array([1.0]))])
    assert "at item 1" in found
    assert found.endswith(
        "(Items count from 0, epochs from 1.) The parameters are finite. NaN or infinity is in the "
        "data: item[0], row 0."
    )
