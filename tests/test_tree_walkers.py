"""Everything that walks a tree names a cycle, and arrays that it could not find again."""

import datetime
import enum
import inspect
import itertools
import re
import threading
import types
import weakref
from collections import OrderedDict, deque
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from tinyflux import tree


class Colour(enum.Enum):
    RED = 1


class Node:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


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


MORE_WALKERS = {
    "trainmode": flux.trainmode,
    "testmode": flux.testmode,
    "summary": flux.summary,
    "cpu": flux.cpu,
    "save": lambda m: flux.save("never-written.npz", m),
    "state_dict": flux.interop.state_dict,
    "load_state_dict": lambda m: flux.interop.load_state_dict(m, {}),
    "scan": lambda m: flux.scan(lambda state, x: (state, x), m, np.ones(3)),
    "scan over": lambda m: flux.scan(lambda state, x: (state, x), 0.0, m),
    "compile": lambda m: flux.compile(lambda m, x: x)(m, np.ones(3)),
    "compile by name": lambda m: flux.compile(lambda x, m: x)(np.ones(3), m=m),
    "a compiled result": lambda m: flux.compile(lambda x: m)(np.ones(3)),
    "update": lambda m: flux.update(flux.setup(flux.Descent(), {"other": np.ones(1)}), m, {}),
    "freeze": flux.freeze,
}


@pytest.mark.parametrize("kind", ["object", "list", "dict"])
@pytest.mark.parametrize("walker", [*WALKERS, *MORE_WALKERS.values()], ids=[*map(str, range(9)), *MORE_WALKERS])
def test_a_cycle_is_named(walker, kind):
    place = {"object": r"Node at \.inner\.parent", "list": r"list at \[1\]\[0\]", "dict": r"dict at \['me'\]"}[kind]
    with pytest.raises(ValueError, match=f"a model must be a tree, but the {place} is a node that it stands in itself"):
        walker(cyclic(kind))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_cycle_that_is_closed_after_setup(compiled):
    x = np.ones((4, 2), np.float32)
    model = flux.Chain(flux.Dense(2, 2))
    opt = flux.setup(flux.Descent(), model)
    model[0].owner = model
    with pytest.raises(ValueError, match=r"Chain at \.layers\[0\]\.owner is a node that it stands in itself"):
        flux.train(lambda m, x, y: flux.mse(m(x), y), model, [(x, x)], opt, compile=compiled)


def test_data_with_a_cycle():
    data = {"x": np.ones((4, 2), np.float32)}
    data["again"] = (data,)
    with pytest.raises(ValueError, match=r"dict at \['again'\]\[0\] is a node that it stands in itself"):
        flux.DataLoader(data)


def test_the_mode_of_a_model_with_a_cycle_stays():
    model = flux.Chain(flux.Dropout(0.5), flux.Dense(2, 2))
    model.me = model
    with pytest.raises(ValueError, match=r"Chain at \.me "):
        flux.testmode(model)
    assert model[0].active is None
    assert "Dropout(0.5)" in repr(model)


def test_a_set_with_its_own_owner():
    m = Node()
    m.seen, m.w = {m}, np.ones(1)
    with pytest.raises(TypeError, match=r"arrays in the set at \.seen would be neither trained nor saved"):
        flux.leaves(m)


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
