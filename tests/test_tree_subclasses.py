"""Lists, tuples and dicts of classes of one's own: their attributes are settings, which are neither lost nor frozen."""

from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest

import tinyflux as flux
from tinyflux import tree


class Layers(list):
    pass


class Slotted(list):
    __slots__ = ("calls", "scale")


class Table(dict):
    pass


class Row(tuple):
    pass


class Pair(tuple):
    def __new__(cls, left, right):
        return super().__new__(cls, (left, right))


class Point(namedtuple("Point", "x y")):
    pass


class Counts(defaultdict):
    pass


class Ordered(OrderedDict):
    pass


W = np.array([1.0, 2.0])
MAKERS = {
    "list": lambda: Layers([W]),
    "list with slots": lambda: Slotted([W]),
    "dict": lambda: Table(w=W),
    "tuple": lambda: Row([W]),
    "tuple with a signature": lambda: Pair(W, "text"),
    "namedtuple": lambda: Point(W, "text"),
    "defaultdict": lambda: Counts(list, w=W),
    "OrderedDict": lambda: Ordered(w=W),
}


@pytest.fixture(params=MAKERS)
def node(request):
    made = MAKERS[request.param]()
    made.scale = 3.0
    return made


def first(node):
    return next(iter(node.values() if isinstance(node, dict) else node))


def scaled(node):
    return np.sum(first(node)) * node.scale


COPIERS = {
    "map": lambda m: tree.map(lambda x: x * 2, m),
    "map of two": lambda m: tree.map(lambda x, y: x + y, m, m),
    "gradient": lambda m: flux.gradient(lambda m: np.sum(first(m) ** 2), m),
    "compile": lambda m: flux.compile(lambda m: tree.map(lambda x: x * 2, m))(m),
}


@pytest.mark.parametrize("copier", COPIERS)
def test_copies_keep_attributes(node, copier):
    new = COPIERS[copier](node)
    assert (type(new), new.scale, first(new).tolist()) == (type(node), 3.0, [2.0, 4.0])
    new.scale = 7.0
    assert (node.scale, first(node).tolist()) == (3.0, [1.0, 2.0])
    assert len(new) == len(node)


def test_a_defaultdict_keeps_its_function():
    counts = Counts(list, w=W)
    assert flux.f32(counts)["missing"] == []


def test_a_function_reads_and_counts_attributes(node):
    def loss(m):
        m.calls = m.scale + 1
        return scaled(m)

    assert first(flux.gradient(loss, node)).tolist() == [3.0, 3.0]
    assert node.calls == 4.0
    node.scale = 10.0
    assert first(flux.gradient(loss, node)).tolist() == [10.0, 10.0]
    assert node.calls == 11.0


def test_a_compiled_function_looks_at_attributes(node):
    f = flux.compile(scaled)
    assert f(node) == 9.0
    node.scale = 5.0
    assert f(node) == 15.0


def test_a_compiled_function_that_changes_an_attribute_is_refused():
    layers = Layers([W])
    layers.scale = 3.0

    def f(m):
        m.scale += 1.0
        return scaled(m)

    with pytest.raises(flux.NotCompilable, match=r"changes its arguments.*args\[0\]\.scale changes from 3\.0 to 4\.0"):
        flux.compile(f)(layers)


def test_a_compiled_function_looks_at_attributes_of_what_it_reads(node):
    f = flux.compile(lambda x: x * node.scale)
    assert f(2.0) == 6.0
    node.scale = 5.0
    assert f(2.0) == 10.0


@pytest.mark.parametrize("compiled", [False, True])
def test_training_looks_at_attributes(node, compiled):
    opt = flux.setup(flux.Descent(0.0), node)
    data = [np.zeros(1)]
    losses = [*flux.train(lambda m, x: scaled(m), node, data, opt, compile=compiled)]
    node.scale = 5.0
    losses += flux.train(lambda m, x: scaled(m), node, data, opt, compile=compiled)
    assert losses == [9.0, 15.0]


@pytest.mark.parametrize("compiled", [False, "auto"])
def test_training_counts_in_attributes(compiled, capsys):
    layers = Layers([W.copy()])
    layers.steps = 0

    def loss(m, x):
        m.steps += 1
        return np.sum(m[0] * x)

    flux.train(loss, layers, [np.ones(2)] * 3, flux.setup(flux.Descent(), layers), compile=compiled)
    assert layers.steps == 3


def test_arrays_in_slots_of_a_list_are_refused():
    layers = Slotted([W])
    layers.scale = np.ones(2)
    with pytest.raises(TypeError, match=r"arrays in the attributes of the Slotted at \[0\] would be neither trained"):
        flux.setup(flux.Descent(), [layers])
