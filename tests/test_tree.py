"""A model is a tree: walking it, mapping over it, taking it apart and putting it together."""

import datetime
import enum
import inspect
import itertools
import re
import threading
import types
import weakref
from collections import OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from fractions import Fraction
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


# Cycles


def cyclic(kind):
    if kind == "object":
        m = Node(w=np.ones(1))
        m.inner = Node(parent=m)
        return m
    m = [np.ones(1)] if kind == "list" else {"w": np.ones(1)}
    m.append((m,)) if kind == "list" else m.update(me=m)
    return m


WALKERS = [
    flux.leaves,
    flux.parameters,
    flux.parameter_count,
    flux.f32,
    flux.destructure,
    partial(tree.map, lambda a: a * 2),
    partial(flux.setup, flux.Descent()),
    lambda m: flux.gradient(lambda m: 1.0, m),
    lambda m: tree.map(lambda a, b: a, m, m),
]


@pytest.mark.parametrize("kind", ["object", "list", "dict"])
@pytest.mark.parametrize("walker", WALKERS)
def test_a_cycle_is_named(walker, kind):
    place = {"object": r"Node at \.inner\.parent", "list": r"list at \[1\]\[0\]", "dict": r"dict at \['me'\]"}[kind]
    with pytest.raises(ValueError, match=f"a model must be a tree, but the {place} is a node that it stands in itself"):
        walker(cyclic(kind))


def test_deep_is_no_cycle():
    m = np.ones(1)
    for _ in range(150):
        m = [m]
    assert flux.parameter_count(m) == 1
    for _ in range(5000):
        m = [m]
    with pytest.raises(RecursionError):
        flux.leaves(m)


def test_a_node_in_two_places_is_no_cycle():
    shared = Node(w=np.ones(2))
    assert len(flux.leaves([shared, [shared]])) == 2


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


# Slots


class Base:
    __slots__ = ("weight",)

    def __init__(self, weight=None):
        if weight is not None:
            self.weight = weight


class Slotted(Base):
    __slots__ = ("__hidden", "mean", "name", "unset")
    buffers = ("mean",)

    def __init__(self, weight):
        super().__init__(weight)
        self.mean, self.name, self.__hidden = np.zeros(2), "text", [np.ones(1)]


class Mixed(Base):
    def __init__(self, weight, more):
        super().__init__(weight)
        self.more = more


@dataclass(frozen=True, slots=True)
class Frozen:
    weight: np.ndarray
    bias: np.ndarray


def slotted():
    return [Slotted(np.full(2, 3.0)), Mixed(np.ones(3), np.ones(4)), Frozen(np.ones(5), np.ones(6))]


def test_slots_are_attributes():
    m = slotted()
    paths = ["[0].weight", "[0]._Slotted__hidden[0]", "[0].mean", "[1].weight", "[1].more", "[2].weight", "[2].bias"]
    assert [path for path, _ in tree.walk(m)] == paths
    assert [path for path, _ in tree.walk(m, buffers=False)] == [p for p in paths if p != "[0].mean"]
    for new in (tree.map(lambda a: a * 2, m), tree.map(lambda a, b: a + b, m, m)):
        assert [type(x) for x in new] == [Slotted, Mixed, Frozen]
        for a, b in zip(flux.leaves(m), flux.leaves(new), strict=True):
            np.testing.assert_array_equal(2 * a, b)
        assert new[0].name == "text"
        assert not hasattr(new[0], "unset")


def test_slots_are_differentiated_stepped_saved_and_switched(tmp_path):
    m = slotted()
    g = flux.gradient(lambda m: np.sum(m[0].weight ** 2) + np.sum(m[1].weight * m[1].more[:3] + m[2].bias[0]), m)
    np.testing.assert_array_equal(g[0].weight, [6, 6])
    assert g[0].mean is None
    np.testing.assert_array_equal(g[1].more, [1, 1, 1, 0])
    np.testing.assert_array_equal(g[2].bias, [3, 0, 0, 0, 0, 0])  # 3 sums hold it
    opt = flux.setup(flux.Descent(0.5), m)
    flux.update(opt, m, g)
    np.testing.assert_array_equal(m[0].weight, [0, 0])
    np.testing.assert_array_equal(m[1].more, [0.5, 0.5, 0.5, 1])
    flux.save(tmp_path / "m.npz", m)
    other = slotted()
    flux.load(tmp_path / "m.npz", other)
    np.testing.assert_array_equal(other[2].bias, [-0.5, 1, 1, 1, 1, 1])


def test_a_buffer_in_a_slot_is_written_back():
    class Counting:
        __slots__ = ("count", "weight")
        buffers = ("count",)

        def __init__(self):
            self.weight, self.count = np.ones(2), np.zeros(())

        def __call__(self, x):
            self.count = self.count + np.sum(x)
            return self.weight * x

    layer = Counting()
    flux.gradient(lambda m: np.sum(m(np.ones(2))), layer)
    assert layer.count == 2
    flux.gradcheck(lambda m: m(np.ones(2)), layer)
    assert layer.count == 2


def test_the_mode_in_a_slot_is_switched():
    class Switch:
        __slots__ = ("active",)

        def __init__(self):
            self.active = "auto"

    m = flux.testmode([Switch()])
    assert m[0].active is False


# What can't be walked


class Ring(deque):
    pass


class Table(dict):
    pass


def with_attribute(x):
    x.scale = np.ones(2)
    return x


CLOSED = {
    "deque": deque([np.ones(2)]),
    "a subclass of deque": Ring([np.ones(2)]),
    "set": {Node(w=np.ones(2))},
    "frozenset": frozenset([Node(w=np.ones(2))]),
    "values": {"w": np.ones(2)}.values(),
    "proxy": types.MappingProxyType({"w": np.ones(2)}),
    "generator": (np.ones(n) for n in range(3)),
    "map": map(np.ones, range(3)),
    "zip": zip([1]),
    "attributes of a list": with_attribute(type("Layers", (list,), {})()),
    "attributes of a dict": with_attribute(Table(a=1)),
    "attributes of a tuple": with_attribute(type("Row", (tuple,), {})((1, 2))),
}


@pytest.mark.parametrize("walker", WALKERS)
@pytest.mark.parametrize("name", CLOSED)
def test_arrays_where_nothing_finds_them(walker, name):
    m = Node(w=np.ones(3), inner=[1, CLOSED[name]])
    place = rf"arrays in .*the {type(CLOSED[name]).__name__} at \.inner\[1\] would be neither trained nor saved"
    with pytest.raises(TypeError, match=place):
        walker(m)


@pytest.mark.parametrize(
    "configuration",
    [
        {1, 2}, frozenset("ab"), deque([1.0, "x"], maxlen=3), {}.keys(), types.MappingProxyType({"a": 1}),
        itertools.count(), Path("a"), Fraction(1, 3), Colour.RED, weakref.ref(Colour), np.random.default_rng(0),
        threading.Lock(), re.compile("a"), datetime.date(2020, 1, 1), inspect.signature(len), with_attribute.__code__,
        OrderedDict(), Table(a=1), np.dtype("f4"),
    ],
)  # fmt: skip
def test_configuration_without_arrays(configuration):
    m = Node(w=np.ones(2), setting=configuration)
    assert [path for path, _ in tree.walk(m)] == [".w"]
    assert tree.map(lambda a: a + 1, m).setting is configuration
    assert flux.gradient(lambda m: np.sum(m.w), m).w.tolist() == [1, 1]
    flux.setup(flux.Descent(), m)


def test_a_subclass_of_list_keeps_its_attributes():
    class Layers(list):
        scale = 1.0

    layers = Layers([np.ones(2)])
    layers.scale = 10.0
    copy = flux.tree.map(lambda a: a + 1, layers)
    assert (type(copy), copy.scale, copy[0].tolist()) == (Layers, 10.0, [2.0, 2.0])
    assert layers[0].tolist() == [1.0, 1.0]
