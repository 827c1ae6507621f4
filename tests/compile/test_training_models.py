"""Compiled training steps of all kinds of models and losses against the plain path, and what is refused."""

import copy
import dataclasses
import enum
import itertools
import logging
import random
import types
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from tests.support.training_cases import (
    BYTES,
    DATA,
    LABELS,
    RANDOM,
    BatchNorm,
    Constant,
    Last,
    N,
    Running,
    X,
    Y,
    array,
    check,
    dense,
    mse,
    network,
    normalised,
    prepared,
)
from tests.support.training_cases import _seeded as _seeded  # a fixture
from tinyflux.compile.backends.c.build import available

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")


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


class Which(enum.Enum):
    SIN = "sin"


class Named:
    """A layer that holds what is no tree of the model's: a member of an enum, a path, a logger."""

    def __init__(self):
        self.w, self.which = array(3, 6), Which.SIN
        self.path, self.log = Path("a"), logging.getLogger("a")

    def __call__(self, x):
        return (np.sin if self.which is Which.SIN else np.cos)(x @ self.w.T)


CASES = {
    "layers": (mse, network, DATA),
    "one output": (mse, lambda: flux.Chain(dense(6, 4), dense(4, 1)), (X, Y[:, :1])),  # a bias of one element
    "tied": (mse, Tied, DATA),
    "enum, path, logger": (mse, Named, DATA),
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
    "mean before": (mse, lambda: flux.Chain(Running(True), network()), DATA),
    "batch normalisation": (
        mse,
        lambda: flux.Chain(flux.f64(flux.Dense(6, 6, bias=False)), BatchNorm(6), np.tanh, dense(6, 3)),
        DATA,
    ),
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
        (BYTES, Y),
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
        schedule = step._latest().source.schedule
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
    with pytest.raises(flux.NotCompilable, match=r"random numbers|NUMBERS, a .*can't be watched"):
        flux.compile_training(lambda m, x, y: mse(m, x + draw(x), y), model, opt)(DATA, [0])
    assert before == states()


def states():
    numpys = GENERATOR.bit_generator.state, flux.default_rng().bit_generator.state
    return *numpys, np.random.get_state()[2], random.getstate()
