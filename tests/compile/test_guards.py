"""A compiled function means what the function means now: whatever it reads, and however it changes."""

import collections
import copy
import dataclasses
import enum
import functools
import operator
import struct
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyflux as flux
from tests.support.compiling import same
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.guards.contents import Contents
from tinyflux.compile.guards.guards import Guards

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

X = np.array([-1.0, 0.5, 2.0])


class Color(enum.Enum):
    RED = 1.0
    BLUE = 2.0


class Slotted:
    __slots__ = ("v",)


@dataclasses.dataclass
class Record:
    v: object


class Float(float):
    pass


# What is read: a value, another one, and how the function makes use of it.
KINDS = {
    "float": (2.0, 3.0, lambda v, x: v * x),
    "sign of zero": (0.0, -0.0, lambda v, x: np.arctan2(x * 0, v)),
    "type of number": (1, 1.0, lambda v, x: np.arange(3) * v),
    "bool or int": (True, 1, lambda v, x: np.where(isinstance(v, bool), x, -x)),
    "NumPy's number": (np.float32(2), np.float64(2), lambda v, x: x.astype(np.float32) * v),
    "string": ("plus", "minus", lambda v, x: x + 1 if v == "plus" else x - 1),
    "slice": (slice(0, 2), slice(1, 3), lambda v, x: x[v] * 1),
    "range": (range(2), range(3), lambda v, x: x * sum(v)),
    "dtype": (np.dtype("f4"), np.dtype("f8"), lambda v, x: x.astype(v) / 3),
    "class": (np.float32, np.float64, lambda v, x: x.astype(v) / 3),
    "set": ({0}, {0, 1}, lambda v, x: x * len(v)),
    "frozenset": (frozenset({1.0}), frozenset({2.0}), lambda v, x: x * sum(v)),
    "long list": ([0.0] * 200, [0.0] * 199 + [1.0], lambda v, x: x * v[199]),
    "deep": ({"a": [{"b": ({"c": 2.0},)}]}, {"a": [{"b": ({"c": 3.0},)}]}, lambda v, x: x * v["a"][0]["b"][0]["c"]),
    "order of a dict": ({"a": 1, "b": 2}, {"b": 2, "a": 1}, lambda v, x: x * next(iter(v.values()))),
    "deque": (collections.deque([2.0]), collections.deque([3.0]), lambda v, x: x * v[0]),
    "enum": (Color.RED, Color.BLUE, lambda v, x: x * v.value),
    "float of one's own": (Float(2), Float(3), lambda v, x: x * float(v)),
    "record": (Record(2.0), Record(3.0), lambda v, x: x * v.v),
    "function": (lambda x: 2 * x, lambda x: 3 * x, lambda v, x: v(x)),
    "ufunc": (np.sin, np.cos, lambda v, x: v(x)),
    "partial": (functools.partial(pow, 2), functools.partial(pow, 3), lambda v, x: x * v(2)),
    "array": (np.array([1.0, 2.0]), np.array([3.0, 2.0]), lambda v, x: 5 * x if v[0] > 2 else x * v[1]),
    "indices": (np.array([0, 1]), np.array([2, 2]), lambda v, x: x[v]),
    "mask": (np.array([True, False, True]), np.array([False, False, True]), lambda v, x: x[v]),
    "what an array comes to": (np.array([1.0, 2.0]), np.array([1.0, 3.0]), lambda v, x: x * np.prod(v * 2)),
    "attrgetter": (operator.attrgetter("real"), operator.attrgetter("imag"), lambda v, x: x * v(3)),
}  # fmt: skip

VALUE = None
MODULE = types.ModuleType("some_module_of_the_user")


def closure(use, v):
    def change(new):
        nonlocal v
        v = new

    return lambda x: use(v, x), change


def space(use, v):
    globals()["VALUE"] = v
    return lambda x: use(VALUE, x), lambda new: globals().__setitem__("VALUE", new)


def module(use, v):
    MODULE.v = v
    return lambda x: use(MODULE.v, x), lambda new: setattr(MODULE, "v", new)


def default(use, v):
    cfg = types.SimpleNamespace(v=v)
    return lambda x, cfg=cfg: use(cfg.v, x), lambda new: setattr(cfg, "v", new)


def replaced_default(use, v):
    def f(x, *, v=v):
        return use(v, x)

    return f, lambda new: f.__kwdefaults__.__setitem__("v", new)


def class_attribute(use, v):
    class Options:
        pass

    Options.v = v
    return lambda x: use(Options.v, x), lambda new: setattr(Options, "v", new)


def shadowed(use, v):
    class Options:
        pass

    Options.v, options = v, Options()
    return lambda x: use(options.v, x), lambda new: setattr(options, "v", new)


def slots(use, v):
    options = Slotted()
    options.v = v
    return lambda x: use(options.v, x), lambda new: setattr(options, "v", new)


def record(use, v):
    options = [Record(v)]
    return lambda x: use(options[0].v, x), lambda new: setattr(options[0], "v", new)


def by_name(use, v):
    options, name = types.SimpleNamespace(v=v), "".join(["v"])
    return lambda x: use(getattr(options, name), x), lambda new: setattr(options, "v", new)


def by_getter(use, v):
    options, get = types.SimpleNamespace(inner=types.SimpleNamespace(v=v)), operator.attrgetter("inner.v")
    return lambda x: use(get(options), x), lambda new: setattr(options.inner, "v", new)


def nested_dict(use, v):
    options = collections.defaultdict(dict, a={"b": {"c": v}})
    return lambda x: use(options["a"]["b"]["c"], x), lambda new: options["a"]["b"].update(c=new)


def helper_of_helper(use, v):
    def inner(x):
        return use(v, x)

    def helper(x):
        return [inner][0](x)

    def change(new):
        nonlocal v
        v = new

    return lambda x: helper(x), change


def defined_later(use, v):
    def f(x):
        return later(x)

    def later(x):
        return use(v, x)

    def change(new):
        nonlocal later
        later = lambda x: use(new, x)  # noqa: E731

    return f, change


def method(use, v):
    class Base:
        @property
        def chosen(self):
            return self.settings[0]

    class Loss(Base):
        def __init__(self):
            self.settings = [v]

        def __call__(self, x):
            return self.value(x)

        def value(self, x):
            return use(self.chosen, x)

    loss = Loss()
    return loss, lambda new: loss.settings.__setitem__(0, new)


def wrapped(use, v):
    def twice(f):
        @functools.wraps(f)
        def g(x):
            return f(x) * 2

        return g

    @twice
    def f(x):
        return use(v, x)

    def change(new):
        nonlocal v
        v = new

    return functools.partial(f), change


def compiled_helper(use, v):
    inner, change = closure(use, v)
    inner = flux.compile(inner)
    return lambda x: inner(x) * 1, change


PLACES = [closure, space, module, default, replaced_default, class_attribute, shadowed, slots, record, by_name,
          by_getter, nested_dict, helper_of_helper, defined_later, method, wrapped, compiled_helper]  # fmt: skip


def check(place, kind):
    before, after, use = KINDS[kind]
    f, change = place(use, before)
    compiled = flux.compile(f)
    for value in (before, after, before):
        change(value)
        same(compiled(X), f(X), 1e-15)
        same(compiled(X), f(X), 1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read(kind):
    check(closure, kind)


@pytest.mark.parametrize("place", PLACES)
def test_where_it_is_read(place):
    for kind in ("float", "slice", "array"):
        check(place, kind)


def state_of(guards, *roots):
    found = guards(*roots)
    return found, Contents(found.arrays)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_read_anywhere(place):
    """The whole table, without a compiler: what was seen before isn't what is seen now, and is when it comes back."""
    for before, after, use in KINDS.values():
        f, change = place(use, before)
        guards = Guards()
        one, held = state_of(guards, f)
        assert guards(f) is one
        change(after)
        two = guards(f)
        assert two.key != one.key or not held.same(two.arrays)
        change(before)
        if place not in (shadowed, defined_later):
            assert guards(f).key == one.key
            assert held.same(guards(f).arrays)


# Changes inside.


@pytest.mark.parametrize(
    ("x", "change"),
    [
        ([1.0], lambda x: x.append(2.0)),
        ({"a": 1}, lambda x: x.update(b=1)),
        ({1, 2}, lambda x: x.discard(1)),
        (collections.deque([1]), lambda x: x.appendleft(1)),
        (bytearray(b"ab"), lambda x: x.__setitem__(0, 0)),
        (np.zeros(3), lambda x: x.__setitem__(0, -0.0)),
        (np.zeros(5000), lambda x: x.__setitem__(4000, np.nan)),
        (np.zeros((100, 100))[::2, ::3], lambda x: x.__setitem__((4, 5), 1)),
        (np.zeros(1000, complex), lambda x: x.__setitem__(999, 1j)),
        pytest.param(
            np.zeros(4), lambda x: setattr(x, "shape", (2, 2)),
            marks=pytest.mark.filterwarnings("ignore:Setting the shape"),  # deprecated by NumPy 2.5
        ),
        ([np.zeros(1)] * 2, lambda x: x.__setitem__(1, np.zeros(1))),
        (Record([0]), lambda x: setattr(x, "__class__", type("Other", (Record,), {}))),
        (collections.OrderedDict(a=1, b=2), lambda x: x.move_to_end("a")),
        (collections.defaultdict(int), lambda x: setattr(x, "default_factory", float)),
        (types.SimpleNamespace(x=1), lambda x: x.__dict__.update(append=2) or x.__dict__.update(x=2)),
    ],
)  # fmt: skip
def test_changes_in_place(x, change):
    def read():
        return x.append, x.x, x.v, x

    guards = Guards()
    before, held = state_of(guards, read)
    change(x)
    after = guards(read)
    assert after.key != before.key or not held.same(after.arrays)


def test_a_function_that_becomes_another():
    f = lambda x: 2 * x  # noqa: E731
    compiled = flux.compile(lambda x: f(x))
    assert compiled(1.5) == 3.0
    f.__code__ = (lambda x: 3 * x).__code__
    assert compiled(1.5) == 4.5


def test_a_global_that_hides_a_builtin(monkeypatch):
    compiled = flux.compile(lambda x: x * abs(-2.0))
    assert compiled(1.5) == 3.0
    monkeypatch.setitem(globals(), "abs", lambda x: 3.0)
    assert compiled(1.5) == 4.5


def test_a_rule_of_the_users():
    slope = 2.0
    triple = flux.rule(lambda x: 3 * x, lambda g, y, x: g * slope)
    compiled = flux.compile(lambda x: flux.gradient(triple, x))
    assert compiled(1.0) == 2.0
    slope = 5.0
    assert compiled(1.0) == 5.0


# What stays, costs nothing.


def test_equal_values_are_no_change():
    cfg = types.SimpleNamespace(a=[1.5], w=np.ones(2), seen=0)
    compiled = flux.compile(lambda x: x * cfg.a[0] * cfg.w)
    compiled(X[:2])
    first = compiled._latest()
    cfg.a, cfg.seen = [float("1.5")], 1
    compiled(X[:2])
    assert compiled._latest() is first
    cfg.w = np.ones(2)
    compiled(X[:2])
    assert compiled._latest()._library is first._library
    assert compiled._latest() is not first


# Structures of all kinds.

SCALARS = st.one_of(
    st.booleans(), st.integers(-3, 3), st.sampled_from([0.0, -0.0, 1.0, float("nan"), 2.5]), st.sampled_from("ab"),
    st.none(), st.builds(slice, st.integers(0, 2), st.integers(0, 2)), st.sampled_from([np.int32(1), np.float32(1)]),
)  # fmt: skip
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from("abc"), inner),
        st.builds(Record, inner), st.lists(st.integers(0, 5), max_size=3).map(set), st.builds(Color, st.just(1.0)),
        st.lists(st.sampled_from([0.0, -0.0, 1.0]), max_size=2).map(np.array),
    ),
    max_leaves=8,
)  # fmt: skip


def text(x):
    """What a tree is, to the bits, apart from which objects are in several places."""
    if isinstance(x, float):
        return type(x).__name__ + struct.pack("d", x).hex()
    if isinstance(x, np.ndarray):
        return f"array{x.shape}{x.tobytes().hex()}"
    if isinstance(x, (list, tuple)):
        return type(x).__name__ + str([text(i) for i in x])
    if isinstance(x, dict):
        return str([(k, text(v)) for k, v in x.items()])
    if isinstance(x, Record):
        return f"Record({text(x.v)})"
    if isinstance(x, np.generic):
        return f"{x.dtype}{x}"
    return f"{type(x).__name__}{x!r}"


@given(TREES, TREES)
def test_every_difference_is_seen(one, two):
    holder = types.SimpleNamespace(v=[one])
    guards = Guards()
    f = lambda: holder.v  # noqa: E731
    before, held = state_of(guards, f)
    holder.v[0] = two
    after = guards(f)
    if text(one) != text(two):
        assert after.key != before.key or not held.same(after.arrays)
    holder.v[0] = copy.deepcopy(one)
    assert guards(f).key == before.key
