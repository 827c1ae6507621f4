"""Compiled training steps against the plain path: `withgradient` and `update`, on NumPy, iteration by iteration."""

import copy
import dataclasses
import itertools
import os
import random
import re
import shlex
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from benchmarks.models import BATCHSIZES, MODELS, OPTIMISERS, Cell, synthetic
from benchmarks.peers import _tinyflux
from tinyflux.autodiff import cores
from tinyflux.compile import build, training
from tinyflux.compile.build import available
from tinyflux.compile.rows import BLOCK
from tinyflux.tree import walk

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")
REPOSITORY = Path(flux.__file__).parents[1]


def take(data, rows):
    batch = flux.tree.map(lambda x: x[rows], data)
    return batch if type(batch) is tuple else (batch,)


def eager(loss, model, opt, data, order):
    """The losses of iterations on the plain path."""
    losses = []
    for rows in order:
        batch = take(data, rows)
        value, grads = flux.withgradient(lambda m: loss(m, *batch), model)  # noqa: B023
        flux.update(opt, model, grads)
        losses.append(float(value))
    return losses


def assert_same(one, other, rtol=1e-12):
    """Models and states (model, opt) are equal up to roundings."""
    for (path, a), (_, b) in zip(walk(one[0]), walk(other[0]), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=path)
        assert a.dtype == b.dtype
    for a, b in zip(one[1]._leaves, other[1]._leaves, strict=True):
        for i, (x, y) in enumerate(zip(a.state, b.state, strict=True)):
            np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol, err_msg=f"state {i} of {a.path}")
            assert type(x) is type(y)


def orders(data, batchsize, iterations, seed=3):
    samples = min(len(x) for x in flux.leaves(data))
    return np.random.default_rng(seed).integers(samples, size=(iterations, batchsize))


def check(loss, model, data, rule=None, batchsize=5, rtol=1e-12, prepare=lambda model, opt: None, programs=1):
    """Compiled and plain iterations in turns give what plain ones alone give, in the very arrays of model and state."""
    order = orders(data, batchsize, 7)
    ours, theirs = [], []
    for pair in (ours, theirs):
        pair.append(copy.deepcopy(model))
        pair.append(flux.setup(rule or flux.Adam(0.01), pair[0]))
        prepare(*pair)
    arrays = [(leaf.view, leaf.buffer.x, *leaf.buffer.state) for leaf in ours[1]._leaves]
    step = flux.compile_training(loss, *ours, batchsize=batchsize)
    losses = [
        *step(data, order[:2]),
        *eager(loss, *ours, data, order[2:3]),
        *step(data, order[3:4]),
        *step(data, order[4:7]),
    ]
    np.testing.assert_allclose(losses, eager(loss, *theirs, data, order), rtol=rtol)
    assert_same(ours, theirs, rtol)
    assert step.count == programs
    for leaf, before in zip(ours[1]._leaves, arrays, strict=True):
        assert all(a is b for a, b in zip((leaf.view, leaf.buffer.x, *leaf.buffer.state), before, strict=True))
    assert all(
        a is b for a, b in zip(flux.parameters(ours[0]), [ours[1]._views[i] for i in range(len(ours[1]._views))])
    )
    return step


def dense(nin, nout, activation=flux.tanh):
    return flux.f64(flux.Dense(nin, nout, activation))


@pytest.fixture(autouse=True)
def _seeded():
    flux.seed(0)


RANDOM = np.random.default_rng(0)
N = 700
X, Y = RANDOM.normal(size=(N, 6)), RANDOM.normal(size=(N, 3))
LABELS = RANDOM.integers(0, 3, N)
W = RANDOM.random(N)
DATA = (X, Y)


def network():
    return flux.Chain(dense(6, 4), dense(4, 3))


def mse(m, x, y):
    return flux.mse(m(x), y)


# The models of the benchmarks. All 60,000 images are the benchmarks' to check: `python -m benchmarks.step`.

IMAGES, DIGITS = synthetic(3000)
CELLS = [(m, b, o) for m in MODELS for b in (*BATCHSIZES[:2], 3000) for o in OPTIMISERS]  # 3,000: a ragged last block


def of_cell(cell, dtype):
    """The model of a cell, its state, its loss and data."""
    model, _ = _tinyflux(cell)
    model = flux.f64(model) if dtype == np.float64 else model
    loss = getattr(flux, cell.loss)
    data = (IMAGES.reshape(-1, 784).astype(dtype), flux.onehotbatch(DIGITS, range(10)))
    return model, flux.setup(getattr(flux, cell.optimiser)(cell.eta), model), lambda m, x, y: loss(m(x), y), data


def largest_difference(model, other):
    """Of weights, beside the largest weight of each array."""
    pairs = zip(flux.leaves(model), flux.leaves(other), strict=True)
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs)


@pytest.mark.parametrize(("name", "batchsize", "optimiser"), CELLS)
def test_the_models_of_the_benchmarks(name, batchsize, optimiser):
    """Measured: losses 2e-15 apart, weights too, with Descent; 2e-12 and 6e-11 with ADAM, which enlarges roundings."""
    cell = Cell(name, batchsize, optimiser)
    model, opt, loss, data = of_cell(cell, np.float64)
    other, other_opt, _, _ = of_cell(cell, np.float64)
    order = orders(data, batchsize, 1000 if batchsize < 1000 else 8)
    losses = flux.compile_training(loss, model, opt, batchsize)(data, order)
    bound = 1e-9 if optimiser == "ADAM" else 1e-13
    np.testing.assert_allclose(losses, eager(loss, other, other_opt, data, order), rtol=bound)
    assert largest_difference(model, other) < 10 * bound


@pytest.mark.parametrize(("name", "batchsize"), [("4LS", 1), ("3LS", 128), ("2LR", 3000)])
def test_the_models_of_the_benchmarks_in_float32(name, batchsize):
    cell = Cell(name, batchsize, "ADAM")
    model, opt, loss, data = of_cell(cell, np.float32)
    other, other_opt, _, _ = of_cell(cell, np.float32)
    order = orders(data, batchsize, 40 if batchsize < 1000 else 4)
    losses = flux.compile_training(loss, model, opt, batchsize)(data, order)
    np.testing.assert_allclose(losses, eager(loss, other, other_opt, data, order), rtol=2e-5)
    assert largest_difference(model, other) < 1e-4
    assert {x.dtype for x in flux.leaves(model)} == {np.dtype(np.float32)}


# Models


class Tied:
    def __init__(self):
        self.a = RANDOM.normal(size=(6, 6)) / 3
        self.b = RANDOM.normal(size=(3, 6)) / 3
        self.c = [self.a]

    def __call__(self, x):
        return np.tanh(np.tanh(x @ self.a.T) @ self.c[0]) @ self.b.T


@dataclasses.dataclass
class Affine:
    scale: np.ndarray
    shift: np.ndarray

    def __call__(self, x):
        return x * self.scale + self.shift


class Running:
    """A state of the layer's own: `before` subtracts the mean as it was, else as it is now."""

    buffers = ("mean",)

    def __init__(self, before):
        self.mean, self.before = np.zeros(6), before

    def __call__(self, x):
        old = self.mean
        self.mean = 0.9 * old + 0.1 * np.mean(x, axis=0)
        return x - (old if self.before else self.mean)


class Last:
    """A layer that keeps its last batch."""

    buffers = ("last",)

    def __init__(self, n):
        self.last = np.zeros((n, 6))

    def __call__(self, x):
        y = x + self.last
        self.last = np.tanh(x)
        return y


class Constant:
    buffers = ("array",)

    def __init__(self, array):
        self.array = array

    def __call__(self, x):
        return x * self.array


def normalised(h):
    return (h - np.mean(h, axis=0)) / np.sqrt(np.mean(h**2, axis=0) + 1e-3)


def array(*shape):
    return np.random.default_rng(7).normal(size=shape)


CASES = {
    "layers": (mse, network, DATA),
    "one output": (mse, lambda: flux.Chain(dense(6, 4), dense(4, 1)), (X, Y[:, :1])),  # a bias of one element
    "tied": (mse, Tied, DATA),
    "nested": (
        lambda m, x, y: flux.mse(np.tanh(x @ m["l"][0].w.T) @ m["l"][1]["v"] + m["c"][0], y),
        lambda: {"l": [types.SimpleNamespace(w=array(4, 6)), {"v": array(4, 3)}], "c": (array(3),)},
        DATA,
    ),
    "own layer": (mse, lambda: flux.Chain(Affine(array(6), array(1)), dense(6, 3)), DATA),
    "skip and parallel": (
        mse,
        lambda: flux.Chain(
            flux.SkipConnection(dense(6, 6), lambda a, b: a + b),
            flux.Parallel(lambda *a: sum(a), dense(6, 3), dense(6, 3)),
        ),
        DATA,
    ),
    "sum": (lambda m, x, y: flux.mse(m(x), y, agg=np.sum) / 100, network, DATA),
    "penalty": (lambda m, x, y: mse(m, x, y) + 0.1 * sum(np.sum(p**2) for p in flux.parameters(m)), network, DATA),
    "penalty of signs": (lambda m, x, y: mse(m, x, y) + 0.1 * np.sum(np.abs(m[0].weight)), network, DATA),
    "there and back": (lambda m, x, y: np.mean((np.tanh(x @ m.T) @ m - x) ** 2), lambda: array(4, 6), DATA),
    "with its transpose": (lambda m, x, y: np.sum(m["w"] * m["w"].T) / 9, lambda: {"w": array(6, 6)}, DATA),
    "product of all": (
        lambda m, x, y: np.mean((x @ (m["a"] @ m["b"] @ m["c"]) - y) ** 2) / 9,
        lambda: {"a": array(6, 6), "b": array(6, 6), "c": array(6, 3)},
        DATA,
    ),
    "each needs the other's norm": (
        lambda m, x, y: np.sqrt(np.sum(m["a"] ** 2)) * np.sum(m["b"]) + np.sqrt(np.sum(m["b"] ** 2)) * np.sum(m["a"]),
        lambda: {"a": array(6, 3), "b": array(2, 4)},
        DATA,
    ),
    "each reshaped": (
        lambda m, x, y: np.sum(m["a"].reshape(-1) * m["b"]) + np.sum(m["a"].T.reshape(-1) * m["b"]),
        lambda: {"a": array(3, 6), "b": array(18)},
        DATA,
    ),
    "each reversed": (
        lambda m, x, y: np.sum(m["a"][::-1] * m["b"]) + np.sum(m["b"][:, None] * m["c"]) + np.sum(m["c"].T @ m["a"]),
        lambda: {"a": array(6), "b": array(6), "c": array(6, 2)},
        DATA,
    ),
    "outer product": (
        lambda m, x, y: np.sum(np.outer(m["a"], m["b"]) ** 2) / 50 + np.sum(m["a"]) * np.sum(m["b"]),
        lambda: {"a": array(6), "b": array(5)},
        DATA,
    ),
    "numbers": (
        lambda m, x, y: np.mean((x * m["a"] + m["b"] - 1) ** 2) + m["a"] * m["b"],
        lambda: {"a": np.array(2.0), "b": np.array(0.5)},
        DATA,
    ),
    "slices": (
        lambda m, x, y: np.mean((x @ m["w"][:, :3] - y) ** 2) + np.sum(m["w"][::2, 1] * m["w"][0, 0]),
        lambda: {"w": array(6, 6)},
        DATA,
    ),
    "embedding": (
        lambda m, x, i: np.mean((m["e"][i] @ m["e"].T - x[:, :3]) ** 2) / 9,
        lambda: {"e": array(3, 6)},
        (X, LABELS),
    ),
    "unused parameters": (lambda m, x, y: flux.mse(m[0](x), y), lambda: [dense(6, 3), dense(2, 2)], DATA),
    "unused data": (lambda m, x, y: np.sum(m["w"] ** 2), lambda: {"w": array(4)}, DATA),
    "unused model": (lambda m, x, y: np.mean(x), lambda: {"w": array(4)}, DATA),
    "a number": (lambda m, x, y: 1.0, lambda: {"w": array(4)}, DATA),
    "mean before": (mse, lambda: flux.Chain(Running(True), network()), DATA),
    "mean after": (mse, lambda: flux.Chain(Running(False), network()), DATA),
    "last batch": (mse, lambda: flux.Chain(Last(5), network()), DATA),
    "labels": (
        lambda m, x, i: np.mean(-np.log(flux.softmax(m(x))[np.arange(len(i)), i])),
        network,
        (X, LABELS - 3 * (LABELS == 2)),  # −1 counts from the end
    ),
    "dict": (lambda m, d: flux.mse(m(d["x"]), d["y"]), network, {"x": X, "y": Y}),
    "array": (lambda m, x: flux.mse(m(x), x[:, :3]), network, X),
    "images": (lambda m, x, y: flux.mse(m(flux.flatten(x)), y), network, (X.reshape(N, 3, 2), Y)),
    "bytes": (
        lambda m, x, y: flux.mse(m(x / 255), y),
        network,
        (RANDOM.integers(0, 256, (N, 6), dtype=np.uint8), Y),
    ),
    "Fortran's order, backwards, read-only": (
        lambda m, x, y, z: mse(m, x, y) + np.sum(m(z)) / 99,
        network,
        (np.asfortranarray(X), Y[:, ::-1], np.broadcast_to(X[0], (N, 6))),
    ),
    "mean inside": (lambda m, x, y: flux.mse(m[1](normalised(m[0](x))), y), network, DATA),
    "one layer twice": (
        mse,
        lambda: (lambda drop: flux.Chain(drop, dense(6, 3), drop))(flux.Dropout(0.5, seed=1)),
        DATA,
    ),
}
DROPOUT = flux.Chain(flux.Dropout(0.4, seed=3), flux.Dropout(0.3, seed=4))
CASES["dropout"] = (
    mse,
    lambda: flux.Chain(dense(6, 8), *copy.deepcopy(DROPOUT), dense(8, 3), flux.Dropout(0.3, seed=5)),
    DATA,
)


@pytest.mark.parametrize("name", CASES)
def test_models(name):
    loss, make, data = CASES[name]
    check(loss, make(), data)


@pytest.mark.parametrize("name", ["tied", "there and back", "each reshaped", "penalty", "product of all"])
def test_models_without_a_state_of_the_optimiser(name):
    """What is overwritten first is another order of things than with Adam."""
    loss, make, data = CASES[name]
    check(loss, make(), data, flux.Descent(0.01))


def test_float64_data_and_a_float32_model():
    check(mse, flux.f32(network()), DATA, flux.Descent(0.1), rtol=2e-5)


def test_dropout_has_the_same_masks_and_its_position_is_that_of_the_plain_path():
    model = flux.Chain(flux.Dropout(0.5, seed=5), dense(6, 3))
    opt = flux.setup(flux.Descent(0.0), model)
    step = flux.compile_training(lambda m, x: np.sum(m[0](x) * 2.0 ** np.arange(6)) + 0 * np.sum(m(x)), model, opt, 1)
    ones = np.ones((1, 6))
    losses = step(ones, np.zeros((200, 1), int))
    other = flux.trainmode(flux.Dropout(0.5, seed=5))
    masks = []
    for _ in range(200):
        masks.append(np.sum(other(ones) * 2.0 ** np.arange(6)))
        other(ones)
    np.testing.assert_array_equal(losses, masks)
    np.testing.assert_array_equal(model[0].state, other.state)
    assert len(set(losses)) > 40
    assert model[0].state.tolist() == [5, 200 * 12]


def test_the_state_of_a_layer_is_replaced_as_on_the_plain_path_not_written_over():
    """The old one may stand in another model, too."""
    model = flux.Chain(flux.Dropout(0.5, seed=5), Running(True), dense(6, 3))
    copied, state, mean = copy.copy(model[0]), model[0].state, model[1].mean
    step = flux.compile_training(mse, model, flux.setup(flux.Descent(), model), 5)
    step(DATA, range(10))
    assert copied.state is state
    assert state.tolist() == [5, 0]
    assert mean.tolist() == [0] * 6
    assert model[0].state.tolist() == [5, 60]
    assert model[1].mean.any()


def test_a_state_that_is_no_contiguous_array():
    model = flux.Chain(Running(True), dense(6, 3))
    model[0].mean = np.zeros((6, 2))[:, 0]
    check(mse, model, DATA)


def test_an_array_in_two_layers_that_becomes_two_is_refused():
    layer = flux.Dropout(0.5, seed=5)
    model = flux.Chain(layer, dense(6, 3), copy.copy(layer))
    with pytest.raises(flux.NotCompilable, match="stands in several places, and would become several"):
        flux.compile_training(mse, model, flux.setup(flux.Descent(), model))(DATA, [0])


def test_a_state_that_is_no_longer_shared():
    """What is one array in two places is one input of the program, which another model can't take."""
    shared = np.array([1.0, 2.0])
    model = flux.Chain(Constant(shared), Constant(shared), dense(2, 3))
    step = flux.compile_training(mse, model, flux.setup(flux.Descent(0.0), model))
    data = np.ones((1, 2)), np.zeros((1, 3))
    for _ in range(2):
        np.testing.assert_allclose(step(data, [0]), flux.mse(model(data[0]), data[1]))
        model[1].array = np.array([5.0, 6.0])


def test_an_array_of_the_model_that_is_not_contiguous():
    check(mse, flux.Chain(Constant(np.arange(12.0)[::2]), dense(6, 3)), DATA)


def test_nothing_is_copied_where_the_order_of_loops_is_enough():
    for name in ("layers", "there and back", "product of all"):
        loss, make, data = CASES[name]
        step = check(loss, make(), data, flux.Descent(0.01))
        schedule = step._last.source.schedule
        assert not any(kernel.copies for kernel in schedule.kernels)


def test_arrays_from_outside_are_read_anew():
    shift = np.zeros(6)
    model, opt = prepared()
    step = flux.compile_training(lambda m, x, y: mse(m, x + shift, y), model, opt, 5)
    step(DATA, range(5))
    shift[:] = 1
    expected = flux.mse(model(X[:5] + 1), Y[:5])
    np.testing.assert_allclose(step(DATA, range(5)), expected)
    assert step.count == 1


def prepared(rule=None, make=network):
    model = make()
    return model, flux.setup(rule or flux.Adam(0.01), model)


def test_parameters_that_the_loss_takes_from_its_surroundings():
    """What is calculated from them alone would stay as it was when the loss was recorded."""
    model, opt = prepared(flux.Descent(0.1))
    arrays, holder = flux.leaves(model), types.SimpleNamespace(task={"net": model})
    losses = [
        lambda m, x, y: mse(m, x, y) * np.sum(model[0].weight ** 2),
        lambda m, x, y: mse(m, x, y) + np.mean(model(x)),
        lambda m, x, y: mse(m, x, y) * np.sum(arrays[0] ** 2),
        lambda m, x, y: mse(m, x, y) * np.sum(holder.task["net"][0].weight ** 2),
    ]
    for loss in losses:
        with pytest.raises(
            flux.NotCompilable, match=r"the loss reads the model from its surroundings.*it is called with"
        ):
            flux.compile_training(loss, model, opt, 5)(DATA, range(5))
    SETTINGS.model = model  # which the loss does not look at
    assert (
        len(flux.compile_training(lambda m, x, y: SETTINGS.factor * mse(m, x, y), model, opt, 5)(DATA, range(5))) == 1
    )


def test_a_view_of_parameters_from_the_surroundings_is_refused():
    model, opt = prepared()
    first = model[0].weight[0]
    with pytest.raises(flux.NotCompilable, match="reads the model from its surroundings"):
        flux.compile_training(lambda m, x, y: mse(m, x * first, y), model, opt)(DATA, [0])


class Counting:
    def __init__(self):
        self.count = 0

    def __call__(self, x):
        self.count += 1
        return x / self.count


class Keeping:
    def __call__(self, x):
        self.kept = x
        return x


@pytest.mark.parametrize("layer", [Counting, Keeping])
def test_a_layer_that_changes_what_is_no_array_is_refused(layer):
    model = flux.Chain(layer(), dense(6, 3))
    with pytest.raises(flux.NotCompilable, match=r"changes an attribute of its own that is no array.*Hold"):
        flux.compile_training(mse, model, flux.setup(flux.Descent(), model))(DATA, [0])
    assert getattr(model[0], "count", 0) == 0
    assert not hasattr(model[0], "kept")


GENERATOR = np.random.default_rng(1)
NUMBERS = itertools.count()


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: GENERATOR.normal(size=x.shape),
        lambda x: np.random.normal(),
        lambda x: random.random(),
        lambda x: next(NUMBERS),
        lambda x: flux.default_rng().random(6),
    ],
)
def test_random_numbers_are_refused_not_drawn_once_for_ever(draw):
    """And none is used up: the plain path goes on with those that it would have had."""
    model, opt = prepared()
    before = states()
    with pytest.raises(flux.NotCompilable, match="not the same in two calls: it draws random numbers"):
        flux.compile_training(lambda m, x, y: mse(m, x + draw(x), y), model, opt)(DATA, [0])
    assert before == states()


def states():
    numpys = GENERATOR.bit_generator.state, flux.default_rng().bit_generator.state
    return *numpys, np.random.get_state()[2], random.getstate()


# Large batches

PER_ROW = RANDOM.random(600)
TABLE = RANDOM.random((6, 600))
SQUARE, WIDE = RANDOM.random((600, 600)), RANDOM.normal(size=(N, 600))
ROWS = {  # whether they are cut into blocks
    "layers": (True, mse, network, DATA),
    "crossentropy": (
        True,
        lambda m, x, y: flux.crossentropy(flux.softmax(m(x)), y),
        network,
        (X, flux.onehotbatch(LABELS, range(3))),
    ),
    "first is transposed": (True, lambda m, x, y: np.mean((m[0].weight @ x.T - 3) ** 2), network, DATA),
    "table from outside": (True, lambda m, x, y: np.mean((m(x * TABLE.T) - y) ** 2), network, DATA),
    "images": (True, lambda m, x, y: flux.mse(m(flux.flatten(x)), y), network, (X.reshape(N, 3, 2), Y)),
    "mean before": (True, mse, lambda: flux.Chain(Running(True), network()), DATA),
    "bools": (True, lambda m, x, y: flux.mse(m(np.where(x, 1.0, -1.0)), y), network, (X > 0, Y)),
    "norm of weights": (True, lambda m, x, y: flux.mse(m(x) * np.sum(m[0].weight ** 2), y), network, DATA),
    "mean after": (None, mse, lambda: flux.Chain(Running(False), network()), DATA),
    "weights of samples": (
        None,
        lambda m, x, y, w: np.sum(w * np.sum((m(x) - y) ** 2, axis=1)) / np.sum(w),
        network,
        (X, Y, W),
    ),
    "weights, normalised": (
        None,
        lambda m, x, y, w: np.sum((w / np.sum(w))[:, None] * (m(x) - y) ** 2),
        network,
        (X, Y, W),
    ),
    "weights from outside": (
        None,
        lambda m, x, y: np.sum(PER_ROW * np.sum((m(x) - y) ** 2, axis=1)) * np.sum(PER_ROW),
        network,
        DATA,
    ),
    "maximum": (None, lambda m, x, y: np.max(np.sum((m(x) - y) ** 2, axis=1)), network, DATA),
    "mean inside": (False, lambda m, x, y: flux.mse(m[1](normalised(m[0](x))), y), network, DATA),
    "labels": (
        None,
        lambda m, x, i: np.mean(-np.log(flux.softmax(m(x))[np.arange(len(i)), i])),
        network,
        (X, LABELS),
    ),
    "numbers of rows": (
        None,
        lambda m, x, y: np.mean(np.arange(len(x))[:, None] * (m(x) - y) ** 2),
        network,
        DATA,
    ),
    "backwards": (None, lambda m, x, y: flux.mse(m(x)[::-1], y), network, DATA),
    "neighbours": (None, lambda m, x, y: flux.mse(m(x)[1:], y[:-1]), network, DATA),
    "all pairs": (None, lambda m, x, y: np.mean((m(x) @ m(x).T) ** 2), network, DATA),
    "running sum": (None, lambda m, x, y: flux.mse(np.cumsum(m(x), axis=0) / 100, y), network, DATA),
    "as many features as rows": (
        None,
        lambda m, x: np.mean((x * m) ** 2) + np.mean(x.T**2 * m) + np.mean((x + m[:, None]) ** 2),
        lambda: array(600),
        RANDOM.normal(size=(N, 600)),
    ),
    "last batch": (None, mse, lambda: flux.Chain(Last(600), network()), DATA),
    "maximum of the data": (False, lambda m, x, y: mse(m, x, y) + np.max(np.sum(x**2, axis=1)), network, DATA),
    "product of the data": (False, lambda m, x, y: mse(m, x, y) + np.prod(1 + x[:, 0] / 9), network, DATA),
    "data backwards": (False, lambda m, x, y: flux.mse(m(x[::-1]), y), network, DATA),
    "array of rows both ways": (
        False,
        lambda m, x, y: mse(m, x, y) + np.sum(m[0].array * m[1][0].weight[0]) / 99,
        lambda: flux.Chain(Constant(TABLE.T), network()),
        DATA,
    ),
    "square array both ways": (
        False,
        lambda m, x: np.mean((m["c"](x) + x * m["c"].array.T) ** 2 * m["w"]),
        lambda: {"c": Constant(SQUARE), "w": array(1)},
        WIDE,
    ),
    "array of rows": (True, mse, lambda: flux.Chain(Constant(TABLE.T), network()), DATA),
    "diagonal": (None, lambda m, x: np.mean((x * m) ** 2) + np.trace(x), lambda: array(1), WIDE),
    "dropout": (None, mse, lambda: flux.Chain(dense(6, 8), flux.Dropout(0.4, seed=3), dense(8, 3)), DATA),
}


@pytest.mark.parametrize("name", ROWS)
def test_large_batches(name):
    """600 rows: two blocks and a ragged one, or all at once where rows depend on each other."""
    blocked, loss, make, data = ROWS[name]
    assert 2 * BLOCK < 600 < 3 * BLOCK
    step = check(loss, make(), data, batchsize=600, rtol=1e-10)
    if blocked is not None:
        assert (step._last.source.schedule.rows is not None) == blocked


@pytest.mark.parametrize("count", [1, 2, 3])
def test_several_cores(count, monkeypatch):
    """More than 8 blocks are shared out between cores; a sum of their sums is the whole."""
    monkeypatch.setattr(cores, "_cores", lambda: count)
    calls = []
    monkeypatch.setattr(
        cores, "share", lambda work, items, share=cores.share: calls.append(len(items)) or share(work, items)
    )
    model = flux.Chain(Running(True), network())
    ours, theirs = ((m, flux.setup(flux.Adam(0.01), m)) for m in (copy.deepcopy(model), copy.deepcopy(model)))
    data = (array(9 * BLOCK, 6), array(9 * BLOCK, 3))
    order = orders(data, 8 * BLOCK + 70, 4)
    losses = flux.compile_training(mse, *ours, batchsize=order.shape[1])(data, order)
    assert calls == [9] * 4
    np.testing.assert_allclose(losses, eager(mse, *theirs, data, order), rtol=1e-13)
    assert_same(ours, theirs)


def test_a_bad_loss_and_a_bad_index_on_several_cores(monkeypatch):
    monkeypatch.setattr(cores, "_cores", lambda: 2)
    n = 9 * BLOCK
    x = array(n, 6)
    for row in (3, n - 2):  # in the part of either core
        model, opt = prepared()
        before = copy.deepcopy(flux.leaves(model))
        bad = x.copy()
        bad[row] = np.nan
        step = flux.compile_training(lambda m, x: np.mean(m(x) ** 2), model, opt, n)
        with pytest.raises(flux.NonFiniteLoss, match="the loss is nan at iteration 0"):
            step(bad, range(n))
        for a, b in zip(flux.leaves(model), before, strict=True):
            np.testing.assert_array_equal(a, b)
        assert len(step(x, range(n))) == 1


# Optimisers


@pytest.fixture
def builds(monkeypatch):
    """The sources that were built, also those that had been built before."""
    sources = []
    import tinyflux.compile.library as library

    monkeypatch.setattr(library, "build", lambda text, original=library.build: sources.append(text) or original(text))
    return sources


def test_numbers_are_read_in_every_call_without_a_new_program(builds):
    ours, theirs = (prepared(flux.Adam(0.01), lambda: copy.deepcopy(MODEL)) for _ in range(2))
    step = flux.compile_training(mse, *ours, batchsize=5)
    order = orders(DATA, 5, 12)
    losses, expected = [], []
    settings = [{}, {"eta": 0.02}, {"beta": (0.8, 0.99)}, {"epsilon": 1e-3, "eta": 0.005}]
    for setting, some in zip(settings, np.split(order, 4)):
        for pair in (ours, theirs):
            flux.adjust(pair[1], **setting)
        losses += [*step(DATA, some)]
        expected += eager(mse, *theirs, DATA, some)
    np.testing.assert_allclose(losses, expected, rtol=1e-11)
    assert_same(ours, theirs, 1e-11)
    assert step.count == len(builds) == 1


MODEL = flux.Chain(flux.f64(flux.Dense(6, 4, flux.tanh)), flux.f64(flux.Dense(4, 3)))


def test_the_powers_of_beta_move_on():
    model, opt = prepared(flux.Adam(0.01, beta=(0.5, 0.75)))
    step = flux.compile_training(mse, model, opt, 5)
    step(DATA, orders(DATA, 5, 3))
    for leaf in opt._leaves:
        assert leaf.state[2:] == (0.5**4, 0.75**4)
        assert type(leaf.state[2]) is float
    step(DATA, orders(DATA, 5, 2))
    assert opt[0].bias.state[2:] == (0.5**6, 0.75**6)


def test_parts_are_adjusted_frozen_and_thawed_between_calls():
    ours, theirs = (prepared(flux.Adam(0.01), lambda: copy.deepcopy(MODEL)) for _ in range(2))
    step = flux.compile_training(mse, *ours, batchsize=5)
    changes = [
        (lambda opt: flux.adjust(opt[0], eta=0.1), 2),  # from here on layers are stepped apart
        (lambda opt: flux.adjust(opt[0], eta=0.2), 2),
        (lambda opt: flux.adjust(opt, eta=0.01), 2),
        (lambda opt: flux.freeze(opt[1]), 3),
        (lambda opt: flux.adjust(opt[0].bias, eta=0.02), 4),
        (lambda opt: flux.freeze(opt), 5),
        (lambda opt: flux.thaw(opt[0].weight), 6),
        (lambda opt: flux.thaw(opt), 7),  # with powers of beta of their own by now
        (lambda opt: flux.adjust(opt, eta=0.03), 7),
    ]
    order = orders(DATA, 5, 2)
    step(DATA, order)
    eager(mse, *theirs, DATA, order)
    for change, programs in changes:
        for pair in (ours, theirs):
            change(pair[1])
        losses = step(DATA, order)
        np.testing.assert_allclose(losses, eager(mse, *theirs, DATA, order), rtol=1e-11)
        assert_same(ours, theirs, 1e-11)
        assert step.count == programs


def test_what_is_not_stepped_keeps_its_numbers():
    model, opt = prepared(flux.Adam(0.01, beta=(0.5, 0.75)), lambda: [dense(6, 3), dense(2, 2)])
    flux.freeze(opt[0].bias)
    step = flux.compile_training(lambda m, x, y: flux.mse(m[0](x), y), model, opt, 5)
    for _ in range(3):
        step(DATA, range(5))
    assert opt[0].weight.state[2:] == (0.5**4, 0.75**4)
    assert opt[0].bias.state[2:] == opt[1].weight.state[2:] == (0.5, 0.75)
    assert step.count == 1


rule = dataclasses.dataclass(frozen=True)


@rule
class Momentum:
    eta: float = 0.01
    rho: float = 0.9
    nesterov: bool = False

    def init(self, x):
        return (np.zeros_like(x),)

    def apply(self, state, x, g):
        v = self.rho * state[0] + self.eta * g
        return (v,), (self.rho * v + self.eta * g if self.nesterov else v)


@rule
class RMSProp:
    eta: float = 0.01
    rho: float = 0.9

    def init(self, x):
        return (np.zeros_like(x),)

    def apply(self, state, x, g):
        v = self.rho * state[0] + (1 - self.rho) * g**2
        return (v,), self.eta * g / (np.sqrt(v) + 1e-8)


@rule
class Slowing:
    """Its state is a number of steps."""

    eta: float = 0.1
    decay: float = 0.5

    def init(self, x):
        return (0,)

    def apply(self, state, x, g):
        return (state[0] + 1,), self.eta / (1 + self.decay * state[0]) * g


@rule
class Warming:
    eta: float = 0.1

    def init(self, x):
        return np.zeros_like(x), 1

    def apply(self, state, x, g):
        total, t = state
        return (total + g, t + 1), np.where(t < 4, 0.1 * self.eta, self.eta) * g


@rule
class Clipped:
    inner: object = Momentum()
    limits: tuple = (-0.01, 0.02)

    def init(self, x):
        return self.inner.init(x)

    def apply(self, state, x, g):
        return self.inner.apply(state, x, np.clip(g, *self.limits))


@rule
class Averaging:
    """A state that reads the parameter before it is stepped, and one that is another's, moved."""

    eta: float = 0.1

    def init(self, x):
        return x.copy(), np.zeros_like(x), np.ones_like(x)

    def apply(self, state, x, g):
        return (0.9 * state[0] + 0.1 * x, state[2], state[1] + g), self.eta * state[1] * g


@rule
class Twice:
    """Two states that are one, and one that is a number."""

    eta: float = 0.1

    def init(self, x):
        return np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)

    def apply(self, state, x, g):
        v = state[0] + g
        return (v, v, np.float64(2.0)), self.eta * v + 0 * state[2]


class NoDataclass:
    def __init__(self):
        self.eta = 0.1

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        return (), self.eta * g


@dataclasses.dataclass
class NotFrozen:
    eta: float = 0.1

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        return (), self.eta * g


RULES = [
    Momentum(),
    Momentum(nesterov=True),
    RMSProp(),
    Slowing(),
    Warming(),
    Clipped(),
    Averaging(),
    Twice(),
    NoDataclass(),
    NotFrozen(),
    flux.Adam(0.01, beta=[0.9, 0.99]),
]


@pytest.mark.parametrize("own", RULES, ids=repr)
def test_rules_of_ones_own(own):
    check(mse, network(), DATA, own, rtol=1e-11)


def test_a_rule_that_changes_is_looked_at_in_every_call():
    for own in (NoDataclass(), NotFrozen()):
        model, opt = prepared(own)
        step = flux.compile_training(mse, model, opt, 5)
        step(DATA, range(5))
        own.eta = 0.0
        before = model[0].weight.copy()
        step(DATA, range(5))
        np.testing.assert_array_equal(model[0].weight, before)
        assert step.count == 1


def test_a_rule_that_branches_on_its_number_is_refused():
    @rule
    class Branching(Momentum):
        eta: float = 0.1

        def apply(self, state, x, g):
            return state, (self.eta * g if self.eta < 1 else g)

    model, opt = prepared(Branching())
    with pytest.raises(flux.NotCompilable, match=r"branch that depends on an array's values.*Write it with np.where"):
        flux.compile_training(mse, model, opt)(DATA, [0])


def test_a_rule_that_adds_elements_up_is_refused():
    """On the plain path neighbouring parameters are one array to it."""

    @rule
    class Normalised(Momentum):
        def apply(self, state, x, g):
            return state, self.eta * g / np.sqrt(np.sum(g * g))

    model, opt = prepared(Normalised())
    with pytest.raises(flux.NotCompilable, match=r"Normalised brings the elements of an array together"):
        flux.compile_training(mse, model, opt)(DATA, [0])


# Errors


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
        with pytest.raises(ValueError, match="expected batchsize to be a number from 1 on"):
            flux.compile_training(mse, model, opt, batchsize=batchsize)


def test_an_order_of_any_shape_and_integer():
    losses = []
    small = np.arange(6, dtype=np.uint8).reshape(3, 2)
    for order in (np.arange(6), small, [0, 1, 2, 3, 4, 5], np.arange(12)[::2] // 2, range(6)):
        model, opt = prepared(make=lambda: copy.deepcopy(MODEL))
        losses.append(flux.compile_training(mse, model, opt, batchsize=2)(DATA, order).tolist())
    assert len(losses[0]) == 3
    assert all(x == losses[0] for x in losses)
    model, opt = prepared()
    assert flux.compile_training(mse, model, opt)(DATA, np.empty(0, int)).shape == (0,)


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


# Surroundings

FACTOR = 2.0
SETTINGS = types.SimpleNamespace(factor=2.0, other=0)
TABLE_OF = {"factor": 2.0}


class Options:
    factor = 2.0


class Callable:
    def __init__(self):
        self.factor = 2.0
        self.calls = []

    def __call__(self, m, x):
        return self.scaled(np.sum(m * x))

    def scaled(self, x):
        return self.factor * x

    def method(self, m, x):
        return self(m, x)


def helper(x):
    return FACTOR * x


def through_a_global():
    def change(value):
        global FACTOR
        FACTOR = value

    return lambda m, x: helper(np.sum(m * x)), change


def through_a_closure():
    factor = 2.0

    def change(value):
        nonlocal factor
        factor = value

    return lambda m, x: factor * np.sum(m * x), change


def through_a_list():
    factors = [2.0]
    return lambda m, x: factors[0] * np.sum(m * x), lambda value: factors.__setitem__(0, value)


def through_a_dict():
    return lambda m, x: TABLE_OF["factor"] * np.sum(m * x), lambda value: TABLE_OF.__setitem__("factor", value)


def through_an_object():
    return lambda m, x: SETTINGS.factor * np.sum(m * x), lambda value: setattr(SETTINGS, "factor", value)


def through_a_class():
    return lambda m, x: Options.factor * np.sum(m * x), lambda value: setattr(Options, "factor", value)


def through_a_callable_object():
    loss = Callable()
    return loss, lambda value: setattr(loss, "factor", value)


def through_a_method():
    loss = Callable()
    return loss.method, lambda value: setattr(loss, "factor", value)


def through_numpys_number():
    factors = types.SimpleNamespace(factor=np.float32(2.0))
    return lambda m, x: factors.factor * np.sum(m * x), lambda value: setattr(factors, "factor", np.float32(value))


def through_an_array():
    values = types.SimpleNamespace(factor=np.array(2.0))
    return lambda m, x: values.factor * np.sum(m * x), lambda value: setattr(values, "factor", np.array(value))


def through_a_function():
    double = lambda x: 2 * x  # noqa: E731
    triple = lambda x: 3 * x  # noqa: E731
    functions = types.SimpleNamespace(f=double)
    return (
        lambda m, x: functions.f(np.sum(m * x)),
        lambda value: setattr(functions, "f", double if value == 2 else triple),
    )


WAYS = [
    through_a_global, through_a_closure, through_a_list, through_a_dict, through_an_object, through_a_class,
    through_a_callable_object, through_a_method, through_numpys_number, through_an_array, through_a_function,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_constants_that_change_are_noticed(way):
    loss, change = way()
    model = {"w": np.ones(2)}
    opt = flux.setup(flux.Descent(0.0), model)
    step = flux.compile_training(lambda m, x: loss(m["w"], x), model, opt)
    x = np.array([[1.0, 2.0]])
    assert step(x, [0, 0]).tolist() == [6, 6]
    change(3.0)
    assert step(x, [0]).tolist() == [9]
    change(2.0)
    assert step(x, [0]).tolist() == [6]
    if way is not through_an_array:
        assert step.count == 2


def test_what_a_layer_reads_from_its_module_is_noticed():
    class Scaled:
        def __call__(self, x):
            return helper(x)

    model = [Scaled(), np.ones(2)]
    step = flux.compile_training(lambda m, x: np.sum(m[0](x) * m[1]), model, flux.setup(flux.Descent(0.0), model))
    _, change = through_a_global()
    try:
        assert step(np.ones((1, 2)), [0]).tolist() == [4]
        change(3.0)
        assert step(np.ones((1, 2)), [0]).tolist() == [6]
    finally:
        change(2.0)


def test_what_the_loss_does_not_read_does_not_matter():
    """A list that grows beside it, say."""
    loss = Callable()
    model = {"w": np.ones(2)}
    step = flux.compile_training(lambda m, x: loss(m["w"], x), model, flux.setup(flux.Descent(0.0), model))
    for i in range(3):
        step(np.ones((1, 2)), [0])
        loss.calls.append(i)
        SETTINGS.other = i
    assert step.count == 1


def test_attributes_of_the_model_are_constants():
    model = flux.Chain(dense(6, 4), flux.Dropout(0.5, seed=1), dense(4, 3))
    opt = flux.setup(flux.Descent(0.0), model)
    step = flux.compile_training(mse, model, opt, 5)
    first = step(DATA, range(5))
    model[1].p = 0.0
    np.testing.assert_allclose(step(DATA, range(5)), flux.mse(flux.testmode(model)(X[:5]), Y[:5]))
    flux.trainmode(model, None)
    model[1].p, model[1].state = 0.5, np.array([1, 0], np.uint64)
    assert step(DATA, range(5)) == first
    assert step.count == 2


# Processes, threads, memory

SCRIPT = """
import os, sys, numpy as np, tinyflux as flux
from benchmarks.models import MODELS, Cell
from benchmarks.peers import _tinyflux
for name in MODELS:
    cell = Cell(name, 1, "ADAM")
    model, opt = _tinyflux(cell)
    loss = getattr(flux, cell.loss)
    step = flux.compile_training(lambda m, x, y: loss(m(x), y), model, opt)
    print(step((np.full((2, 784), 0.1, np.float32), np.eye(2, 10, dtype=bool)), [0, 1]).tolist())
"""


def run(script, *arguments, **environment):
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True).stdout


def test_another_process_compiles_nothing(tmp_path):
    real = shlex.join(build.find_compiler().command)
    log, script = tmp_path / "log", tmp_path / "cc"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *source.c*) echo "$*" >> {shlex.quote(str(log))};; esac\nexec {real} "$@"\n'
    )
    script.chmod(0o700)
    options = {"CC": shlex.quote(str(script)), "TINYFLUX_CACHE": str(tmp_path / "cache")}
    first = run(SCRIPT, **options)
    compiled = log.read_text()
    assert compiled.count("\n") >= 3
    assert run(SCRIPT, **options) == first
    assert log.read_text() == compiled


CYCLES = """
import os, sys, numpy as np, tinyflux as flux

def state():
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    with open("/proc/self/maps") as file:
        libraries = len({line.split()[-1] for line in file if ".so" in line})
    return pages * os.sysconf("SC_PAGE_SIZE"), libraries, len(os.listdir("/proc/self/fd"))

def cycle(i):
    n = 3 + i % 3
    model = flux.Chain(flux.Dense(n, 4, flux.tanh), flux.Dense(4, 1))
    opt = flux.setup(flux.Adam(0.01), model)
    step = flux.compile_training(lambda m, x: np.mean(m(x) ** 2), model, opt, batchsize=2)
    step(np.ones((4, n), np.float32), [0, 1, 2, 3])
    flux.compile(lambda x: np.sum(np.exp(x)))(np.ones(n))

count = int(sys.argv[1])
for i in range(count // 3):
    cycle(i)
before = state()
for i in range(count):
    cycle(i)
after = state()
print(*[b - a for a, b in zip(before, after)])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_compiling_again_and_again_leaks_nothing(tmp_path):
    """10,000 cycles, run by hand, grow by no more; they take some three minutes, nine tenths of which are recording."""
    memory, libraries, files = map(int, run(CYCLES, "300", TINYFLUX_CACHE=str(tmp_path)).split())
    assert libraries == files == 0
    assert memory < 1 << 20


def test_threads_train_models_of_their_own_at_once():
    order = orders(DATA, 5, 400)
    results, errors = {}, []
    compiled = flux.compile(lambda x: np.sum(np.tanh(x) ** 2))
    expected = np.sum(np.tanh(X) ** 2)

    def work(name, make, seed):
        try:
            model = flux.f64(make())
            opt = flux.setup(flux.Adam(0.01), model)
            step = flux.compile_training(mse, model, opt, 5)
            losses = [x for part in np.split(order, 40) for x in step(DATA, part)]
            assert all(abs(compiled(X + 0 * i) / expected - 1) < 1e-12 for i in range(50))
            results[name] = losses
        except BaseException as error:
            errors.append(error)

    makes = [lambda: copy.deepcopy(MODEL), lambda: copy.deepcopy(SMALL)]
    for name, make in enumerate(makes):
        work(name, make, name)
    alone = dict(results)
    threads = [threading.Thread(target=work, args=(i, make, i)) for i, make in enumerate(makes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert results == alone


SMALL = flux.Chain(flux.f64(flux.Dense(6, 3)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_goes_on_with_what_its_parent_compiled():
    script = """
import os, numpy as np, tinyflux as flux
model = flux.f64(flux.Dense(6, 3)); opt = flux.setup(flux.Adam(0.01), model)
step = flux.compile_training(lambda m, x: np.mean(m(x) ** 2), model, opt, batchsize=5)
x = np.random.default_rng(0).normal(size=(50, 6)); order = np.arange(50)
step(x, order)
read, write = os.pipe()
child = os.fork()
losses = step(x, order)
other = flux.f64(flux.Dense(6, 2)); opt = flux.setup(flux.Adam(0.01), other)
more = flux.compile_training(lambda m, x: np.mean(m(x) ** 2), other, opt, batchsize=5)(x, order)
if child == 0:
    os.write(write, losses.tobytes()); os._exit(0 if np.isfinite(more).all() else 1)
_, status = os.waitpid(child, 0)
print(status, os.read(read, 1 << 16) == losses.tobytes())
"""
    assert run(script).split() == ["0", "True"]


INTERRUPTED = """
import signal, sys, numpy as np, tinyflux as flux
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job lacks
hidden = 50 if int(sys.argv[1]) < 100 else 500
model = flux.f64(flux.Chain(flux.Dense(20, hidden, flux.tanh), flux.Dense(hidden, 1)))
opt = flux.setup(flux.Adam(1e-6, beta=(0.9, 0.999999)), model)
loss = lambda m, x: np.mean((m(x) - 1) ** 2)
rows = int(sys.argv[1])
count = 4_000_000 if rows < 100 else 4000
x = np.random.default_rng(0).normal(size=(rows, 20))
step = flux.compile_training(loss, model, opt, batchsize=rows)
order = np.broadcast_to(np.arange(rows), (count, rows))
step(x, order[:1])
print("begun", flush=True)
try:
    if sys.argv[2] == "train":
        flux.train(loss, model, flux.DataLoader(x, batchsize=rows), opt, epochs=10**7)
    else:
        step(x, order)
except KeyboardInterrupt:
    pass
else:
    print("went through")
done = round(np.log(opt[0].weight.state[3]) / np.log(0.999999)) - 1
print(done, *{leaf.state[3] for leaf in opt._leaves}, 0.999999 ** (done + 1))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize(("rows", "how"), [(2, "step"), (3000, "step"), (2, "train")])
def test_an_interrupt_stops_soon_and_between_iterations(rows, how, tmp_path):
    import signal
    import time

    command = [sys.executable, "-c", INTERRUPTED, str(rows), how]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, **options)
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - start < 2  # of which the end of the process is a part
    assert process.returncode == 0, err
    done, *powers, expected = out.split()
    assert int(done) > 20
    assert len(powers) == 1
    assert float(powers[0]) == pytest.approx(float(expected), rel=1e-9)


def test_the_stretches_between_looks_at_ctrl_c_are_short(monkeypatch):
    """However quick an iteration is, C code returns to Python within some tenths of a second."""
    model, opt = prepared(make=lambda: copy.deepcopy(SMALL))
    step = flux.compile_training(mse, model, opt)
    variant = step.variant(DATA, np.zeros((1, 1), np.int64))
    counts = []
    run = variant._library.run

    def counted(table, arena, count, losses):
        counts.append(count)
        return run(table, arena, count, losses)

    variant._library.run = counted
    monkeypatch.setattr(training.time, "perf_counter", lambda: sum(counts) * 1e-3)  # an iteration takes a millisecond
    step(DATA, np.zeros(5000, int))
    assert sum(counts) == 5000
    assert max(counts) < 0.3 / 1e-3
    assert len(counts) < 200
