"""A model is a tree: walking it, mapping over it, taking it apart and putting it together."""

import dataclasses
import enum
import logging
import signal
import threading
import types
from collections import OrderedDict, defaultdict, namedtuple
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyflux as flux
from tinyflux import tree

Pair = namedtuple("Pair", "left right")


class Node:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Buffered:
    buffers = ("mean", "missing")

    def __init__(self):
        self.scale, self.mean = np.ones(2), np.full(2, 7.0)


class Colour(enum.Enum):
    RED = 1


class SubArray(np.ndarray):
    pass


def model():
    return {
        "list": [np.ones(1), (np.ones(2), np.arange(3))],
        "pair": Pair(np.ones((2, 2), np.float32), None),
        3: Node(w=np.ones(()), f=np.tanh, text="x", n=1.5, inner=Node(b=np.ones(0))),
        "layer": Buffered(),
    }


PATHS = {
    "['list'][0]": (1,),
    "['list'][1][0]": (2,),
    "['list'][1][1]": (3,),
    "['pair'][0]": (2, 2),
    "[3].w": (),
    "[3].inner.b": (0,),
    "['layer'].scale": (2,),
    "['layer'].mean": (2,),
}


def test_walk():
    assert {path: a.shape for path, a in tree.walk(model())} == PATHS
    assert list(dict(tree.walk(model()))) == list(PATHS)
    parameters = [path for path in PATHS if path not in ("['list'][1][1]", "['layer'].mean")]
    assert [path for path, _ in tree.walk(model(), buffers=False)] == parameters


def test_paths_are_python():
    m = model()
    for path, array in tree.walk(m):
        assert eval(f"m{path}", {"m": m}) is array


def test_leaves_and_parameters():
    m = model()
    assert [a.shape for a in flux.leaves(m)] == list(PATHS.values())
    assert len(flux.parameters(m)) == 6
    assert all(a.dtype.kind == "f" for a in flux.parameters(m))
    assert flux.leaves(np.ones(3))[0].shape == (3,)
    assert flux.leaves(None) == flux.leaves({}) == flux.leaves("text") == flux.leaves(1.0) == []
    assert flux.leaves(np.float64(1.0)) == []


@pytest.mark.parametrize(
    "thing",
    [
        np.tanh,
        lambda x: x,
        partial(np.sum, np.ones(2)),
        np.random.default_rng(0),
        np.float32(1),
        int,
        threading,
        "abc",
        b"abc",
        threading.Lock(),
        logging.getLogger("tinyflux"),
        Path("a"),
        signal.SIGINT,
        1j,
        {1, 2},
        range(3),
        iter([np.ones(1)]),
    ],
)
def test_what_is_no_node_is_carried_along(thing):
    assert flux.leaves([thing]) == []
    m = [np.ones(1), thing]
    assert tree.map(lambda a: a + 1, m)[1] is thing


def test_parameter_count():
    w = np.ones((3, 4))
    assert flux.parameter_count([w, w, np.ones(2), np.arange(5)]) == 14
    assert flux.parameter_count(Buffered()) == 2
    assert flux.parameter_count([]) == 0
    assert flux.parameter_count(np.ones(())) == 1


# map


def test_map_rebuilds_every_kind_of_node():
    m = model()
    new = tree.map(lambda a: np.asarray(a * 2), m)
    assert [a.shape for a in flux.leaves(new)] == list(PATHS.values())
    for a, b in zip(flux.leaves(m), flux.leaves(new), strict=True):
        np.testing.assert_array_equal(a * 2, b)
    assert type(new["pair"]) is Pair
    assert new["pair"].right is None
    assert type(new[3]) is Node
    assert (new[3].f, new[3].text, new[3].n) == (np.tanh, "x", 1.5)
    assert type(new["list"][1]) is tuple


def test_map_leaves_buffers_alone():
    m = model()
    new = tree.map(lambda a: a * 2, m, buffers=False)
    assert new["layer"].mean is m["layer"].mean
    np.testing.assert_array_equal(new["layer"].scale, 2)
    new = tree.map(lambda a, b: a + b, m["layer"], m["layer"], buffers=False)
    assert new.mean is m["layer"].mean
    np.testing.assert_array_equal(new.scale, 2)


def test_map_shares_what_does_not_change():
    m = [{"a": np.ones(1)}, {"b": np.ones(2)}, Node(text="x"), (1, 2)]
    new = tree.map(lambda a: a + 1 if a.size == 1 else a, m)
    assert new[0] is not m[0]
    assert all(x is y for x, y in zip(new[1:], m[1:], strict=True))
    assert tree.map(lambda a: a, m) is m


def test_map_of_subclasses():
    m = [OrderedDict(b=np.ones(1), a=np.ones(2)), defaultdict(list, x=np.ones(1)), np.ones(3).view(SubArray)]
    for new in (tree.map(lambda a: a + 1, m), tree.map(lambda a, b: a + b, m, m)):
        assert [type(x) for x in new] == [OrderedDict, defaultdict, SubArray]
        assert list(new[0]) == ["b", "a"]
        assert new[1].default_factory is list
        np.testing.assert_array_equal(np.concatenate(flux.leaves(new)), 2)
    np.testing.assert_array_equal(m[0]["b"], 1)


def test_map_over_several_trees():
    m, others = model(), tree.map(lambda a: np.asarray(a + 1), model())
    new = tree.map(lambda a, b, c: np.asarray(a + b + c), m, others, m)
    for a, b in zip(flux.leaves(m), flux.leaves(new), strict=True):
        np.testing.assert_array_equal(3 * a + 1, b)


def test_none_stands_for_a_whole_branch():
    m = {"a": [np.ones(1), np.ones(2)], "b": np.ones(3)}
    seen = []
    tree.map(lambda a, b: seen.append((a.size, b)), m, {"a": None, "b": None})
    assert seen == [(1, None), (2, None), (3, None)]


@pytest.mark.parametrize(
    "other",
    [
        {"a": [np.ones(1)], "b": np.ones(3)},
        {"a": [np.ones(1)] * 2},
        [np.ones(1)],
        np.ones(3),
        {"a": np.ones(1), "b": 1},
    ],
)
def test_trees_of_different_shape(other):
    m = {"a": [np.ones(1), np.ones(2)], "b": np.ones(3)}
    with pytest.raises(ValueError, match=r"trees of different shape: .* has .* the other, .* has"):
        tree.map(lambda a, b: a, m, other)


def test_map_leaves_its_argument_as_it_is():
    m = model()
    kept = {path: (a, a.copy()) for path, a in tree.walk(m)}
    tree.map(lambda a: a * 0, m)
    tree.map(lambda a, b: a * 0, m, m)
    for path, a in tree.walk(m):
        assert a is kept[path][0]
        np.testing.assert_array_equal(a, kept[path][1])


# destructure


shapes = st.lists(st.sampled_from([(), (0,), (3,), (2, 3), (2, 1, 2)]), min_size=1, max_size=5)


@given(shapes, st.integers(0, 99))
def test_destructure_round_trip(shapes, seed):
    rng = np.random.default_rng(seed)
    m = [{"x": np.asarray(rng.standard_normal(shape)).T} for shape in shapes]
    flat, rebuild = flux.destructure(m)
    assert flat.shape == (flux.parameter_count(m),)
    np.testing.assert_array_equal(flat, np.concatenate([a.reshape(-1) for a in flux.leaves(m)]))
    for a, b in zip(flux.leaves(m), flux.leaves(rebuild(flat)), strict=True):
        assert a.shape == b.shape
        np.testing.assert_array_equal(a, b)


def test_the_gradient_flows_through_destructure():
    m = flux.f64(flux.Chain(flux.Dense(3, 4, flux.tanh), flux.Dense(4, 2)))
    x = np.linspace(-1, 1, 6).reshape(2, 3)
    loss = lambda m: np.sum(m(x) ** 2)  # noqa: E731
    flat, rebuild = flux.destructure(m)
    expected = np.concatenate([a.reshape(-1) for a in flux.leaves(flux.gradient(loss, m))])
    np.testing.assert_allclose(flux.gradient(lambda v: loss(rebuild(v)), flat), expected, rtol=1e-12)
    inner = flux.gradient(lambda m: np.sum(flux.destructure(m)[0] ** 2), m)
    for a, b in zip(flux.leaves(inner), flux.leaves(m), strict=True):
        np.testing.assert_allclose(a, 2 * b)


def test_destructure_keeps_what_is_no_parameter():
    m = {"layer": Buffered(), "count": np.arange(2), "w": np.ones(3)}
    flat, rebuild = flux.destructure(m)
    assert flat.shape == (5,)
    new = rebuild(flat * 3)
    np.testing.assert_array_equal(new["layer"].mean, 7)
    np.testing.assert_array_equal(new["count"], [0, 1])
    np.testing.assert_array_equal(new["layer"].scale, 3)


def test_destructure_counts_tied_arrays_once():
    w = np.array([1.0, 2.0])
    flat, rebuild = flux.destructure([w, {"again": w}, np.array([3.0])])
    np.testing.assert_array_equal(flat, [1, 2, 3])
    new = rebuild(flat * 10)
    assert new[0] is new[1]["again"]
    np.testing.assert_array_equal(new[0], [10, 20])
    np.testing.assert_array_equal(new[2], [30])


def test_rebuild_after_setup():
    """setup moves the arrays; what destructure gave before still fits."""
    m = flux.f64(flux.Chain(flux.Dense(2, 2), flux.Dense(2, 1)))
    flat, rebuild = flux.destructure(m)
    flux.setup(flux.Adam(), m)
    for a, b in zip(flux.leaves(rebuild(flat * 2)), flux.leaves(m), strict=True):
        np.testing.assert_array_equal(a, 2 * b)


@pytest.mark.parametrize("length", [7, 9, 0])
def test_rebuild_from_another_length(length):
    _, rebuild = flux.destructure(flux.Dense(3, 2))
    with pytest.raises(ValueError, match=rf"rebuild: expected a vector of shape \(8,\), got shape \({length},\)"):
        rebuild(np.ones(length))
    with pytest.raises(ValueError, match=r"got shape \(8, 1\)"):
        rebuild(np.ones((8, 1)))


def test_destructure_refuses():
    with pytest.raises(ValueError, match="got parameters of dtypes float32, float64"):
        flux.destructure([np.ones(1), np.ones(1, np.float32)])
    with pytest.raises(ValueError, match="got no parameters"):
        flux.destructure([np.arange(3)])


# f32, f64


@pytest.mark.parametrize(("convert", "dtype"), [(flux.f32, np.float32), (flux.f64, np.float64)])
def test_conversion(convert, dtype):
    m = model()
    new = convert(m)
    for (path, a), b in zip(tree.walk(m), flux.leaves(new), strict=True):
        assert b.dtype == (dtype if a.dtype.kind == "f" else a.dtype)
        np.testing.assert_array_equal(a, b)
        if a.dtype.kind == "f":
            assert not np.shares_memory(a, b), path
    assert m["pair"].left.dtype == np.float32


@pytest.mark.parametrize("convert", [flux.f32, flux.f64])
def test_conversion_keeps_ties(convert):
    layer = flux.Dense(2, 2)
    new = convert(flux.Chain(layer, flux.Dense(2, 2), layer))
    assert new[0].weight is new[2].weight
    assert new[0].weight is not new[1].weight
    assert flux.parameter_count(new) == 12


@dataclasses.dataclass(frozen=True)
class Frozen:
    w: object
    f: object = np.tanh


def test_a_frozen_dataclass_is_differentiated_and_stepped():
    model = Frozen(np.array([1.0, 2.0]))
    grads = flux.gradient(lambda m: np.sum(m.w**2), model)
    assert (type(grads), grads.w.tolist(), grads.f) == (Frozen, [2.0, 4.0], np.tanh)
    flux.update(flux.setup(flux.Descent(0.5), model), model, grads)
    assert model.w.tolist() == [0.0, 0.0]


class Space(types.SimpleNamespace):
    pass


@pytest.mark.parametrize("kind", [types.SimpleNamespace, Space])
def test_a_namespace_is_differentiated(kind):
    grads = flux.gradient(lambda m: np.sum(m.w**2), kind(w=np.array([1.0, 2.0]), n=3))
    assert (type(grads), grads.w.tolist(), grads.n) == (kind, [2.0, 4.0], 3)


class Single:
    """There is one, which is made with an argument."""

    one = None

    def __new__(cls, value):
        cls.one = cls.one or super().__new__(cls)
        return cls.one

    def __init__(self, value):
        self.w = np.full(2, value)


def test_copies_of_a_class_with_a_new_of_its_own_are_others():
    model = Single(3.0)
    gradient = flux.gradient(lambda m: np.sum(m.w**2), model)
    assert gradient is not model
    np.testing.assert_array_equal(gradient.w, [6, 6])
    np.testing.assert_array_equal(flux.tree.map(np.negative, model).w, [-3, -3])
    np.testing.assert_array_equal(model.w, [3, 3])
