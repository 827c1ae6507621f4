"""Compiled training steps and what goes wrong: losses, orders, labels, and arrays that are refused."""

import copy
import re

import numpy as np
import pytest

import tinyflux as flux
from tests.support.state_cases import Keeping
from tests.support.training_cases import (
    DATA,
    LABELS,
    MODEL,
    N,
    Running,
    X,
    Y,
    assert_same,
    eager,
    mse,
    network,
    prepared,
)
from tests.support.training_cases import _seeded as _seeded  # a fixture
from tinyflux.compile.backends.c.build import available

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")


def with_nan(row):
    y = Y.copy()
    y[row] = np.inf if row % 2 else np.nan
    return X, y


@pytest.mark.parametrize("iteration", [0, 3, 6])
@pytest.mark.parametrize("bad", [10, 11])
def test_a_loss_that_is_not_finite(iteration, bad):
    """It stops there: parameters and state are those of the iterations before."""
    order = np.arange(35).reshape(7, 5) + 20
    order[iteration, 2] = bad
    ours, theirs = (prepared(flux.Adam(0.01), lambda: flux.Chain(Running(True), copy.deepcopy(MODEL))) for _ in "ab")
    square = lambda m, x, y: np.mean(m(x) ** 2) + np.sum(y**2)  # noqa: E731
    step = flux.compile_training(square, *ours, batchsize=5)
    with pytest.raises(
        flux.NonFiniteLoss, match=rf"^compile_training: the loss is (nan|inf) at iteration {iteration}\. That"
    ):
        step(with_nan(bad), order)
    eager(square, *theirs, with_nan(bad), order[:iteration])
    assert_same(ours, theirs)
    assert len(step(DATA, order)) == 7


@pytest.mark.parametrize(
    ("order", "error", "message"),
    [
        ([N], IndexError, f"from {N} to {N}, the data {N} samples"),
        ([3, -1], IndexError, "from -1 to 3"),
        ([[0, 1], [2, N]], IndexError, f"from 0 to {N}"),
        ([0.0, 1.0], ValueError, "hold integers.* got float64"),
        ([True, False], ValueError, "hold integers.* got bool"),
        ([], ValueError, "float64"),
    ],
)
def test_orders_that_are_refused(order, error, message):
    model, opt = prepared()
    before = copy.deepcopy(flux.leaves(model))
    with pytest.raises(error, match=message):
        flux.compile_training(mse, model, opt)(DATA, order)
    for a, b in zip(flux.leaves(model), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_orders_that_are_not_whole_batches_are_refused():
    model, opt = prepared()
    with pytest.raises(ValueError, match=r"whole batches of 4, got int64 of shape \(6,\)"):
        flux.compile_training(mse, model, opt, batchsize=4)(DATA, np.arange(6))
    for batchsize in (0, -1, 2.0, True, "2"):
        with pytest.raises(ValueError, match="expected batchsize to be at least 1"):
            flux.compile_training(mse, model, opt, batchsize=batchsize)


def test_an_order_of_any_shape_and_integer():
    losses = []
    small = np.arange(6, dtype=np.uint8).reshape(3, 2)
    for order in (np.arange(6), small, [0, 1, 2, 3, 4, 5], np.arange(12)[::2] // 2, range(6)):
        model, opt = prepared(make=lambda: copy.deepcopy(MODEL))
        losses.append(flux.compile_training(mse, model, opt, batchsize=2)(DATA, order).tolist())
    assert len(losses[0]) == 3
    assert all(x == losses[0] for x in losses)


def test_an_empty_order_makes_the_program_ready_and_nothing_else():
    model, opt = prepared()
    before = copy.deepcopy(flux.leaves(model))
    step = flux.compile_training(mse, model, opt, batchsize=2)
    assert step(DATA, np.empty(0, int)).shape == (0,)
    assert step.count == 1
    for a, b in zip(flux.leaves(model), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(step(DATA, np.arange(6))) == 3
    assert step.count == 1


def test_labels_out_of_range_stop_at_their_iteration():
    labels = LABELS.copy()
    labels[7] = 3
    loss = lambda m, x, i: np.mean(-np.log(flux.softmax(m(x))[np.arange(len(i)), i]))  # noqa: E731
    ours, theirs = (prepared(flux.Adam(0.01), lambda: copy.deepcopy(MODEL)) for _ in "ab")
    with pytest.raises(IndexError, match="out of bounds for an axis of length 3"):
        flux.compile_training(loss, *ours, batchsize=2)((X, labels), np.arange(20))
    eager(loss, *theirs, (X, labels), np.arange(6).reshape(3, 2))
    assert_same(ours, theirs)


def test_arrays_that_setup_did_not_prepare_are_refused():
    model, opt = prepared()
    step = flux.compile_training(mse, model, opt)
    step(DATA, [0])
    model[0].weight = model[0].weight.copy()
    with pytest.raises(
        ValueError, match=r"^compile_training: the parameter .*layers\[0\].weight is not the array that"
    ):
        step(DATA, [0])
    with pytest.raises(ValueError, match="is not the array that setup prepared"):
        flux.compile_training(mse, network(), opt)(DATA, [0])
    with pytest.raises(TypeError, match=r"expected the state opt = flux.setup\(rule, model\), got Adam"):
        flux.compile_training(mse, model, flux.Adam())
    with pytest.raises(TypeError, match="got a Chain"):
        flux.compile_training(mse, model, model)


class Matrix(np.ndarray):
    pass


def test_other_arrays_than_numpys_are_refused():
    model, opt = prepared()
    with pytest.raises(flux.NotCompilable, match="a Matrix can't be compiled; NumPy's arrays can"):
        flux.compile_training(mse, model, opt)((X.view(Matrix), Y), [0])
    for dtype in (np.float16, complex, np.longdouble, np.dtype(float).newbyteorder()):
        with pytest.raises(flux.NotCompilable, match=f"arrays of {np.dtype(dtype)}.* can't be compiled"):
            flux.compile_training(mse, model, opt)((X.astype(dtype), Y), [0])


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda m, x, y: mse(m, x, y) + len(np.unique(x)), r"np.unique can't be compiled"),
        (lambda m, x, y: mse(m, x, y) * float(np.mean(x)), "float, int or item of an array"),
        (lambda m, x, y: mse(m, x, y) if np.mean(x) > 0 else 0.0, r"branch that depends .* np.where"),
    ],
)
def test_what_cannot_be_compiled_is_named(loss, message):
    model, opt = prepared()
    with pytest.raises(flux.NotCompilable, match=message):
        flux.compile_training(loss, model, opt)(DATA, [0])


def test_what_was_recorded_can_be_looked_at():
    model, opt = prepared()
    step = flux.compile_training(mse, model, opt)
    for attribute in ("program", "source"):
        with pytest.raises(ValueError, match="was not called yet"):
            getattr(step, attribute)
    step(DATA, [0])
    assert step.program.startswith("%0 = input 0 : float64[4, 6]\n")
    assert re.search(r"\nreturn %\d+$", step.program)
    assert "int64_t run(" in step.source


@pytest.mark.parametrize("option", [False, True])
def test_an_index_that_the_loss_does_not_depend_on(option):
    """It is looked at before anything changes."""

    def loss(m, k):
        m["layer"](k)
        return np.sum(m["p"] ** 2)

    model = {"p": np.ones(2), "layer": Keeping()}
    items = [np.array(k) for k in ([0, 1, 2], [3, -1, 0], [1, 5, 0], [0, 0, 0])]
    with pytest.raises(IndexError, match="out of bounds"):
        flux.train(loss, model, items, flux.setup(flux.Descent(0.1), model), compile=option)
    assert model["layer"].last.tolist() == [3, 4, 0]
    np.testing.assert_allclose(model["p"], 0.64, rtol=1e-12)
