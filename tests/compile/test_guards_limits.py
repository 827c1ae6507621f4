"""Roundabout ways of reading something are seen, and what can't be watched is refused by name."""

import copy
import operator
import threading
import types

import numpy as np
import pytest
from compile_helpers import same

import tinyflux as flux
from tinyflux.compile.build import available

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

X = np.array([-1.0, 0.5, 2.0])


class Holder:
    __match_args__ = ("v",)

    def __init__(self, v=0.0):
        self.v = v
        self.made = SOURCE["v"]

    def __format__(self, spec):
        return str(self.v)

    @classmethod
    def new(cls):
        return cls()

    def get(self):
        return self.v


class Hidden:
    def __getattribute__(self, name):
        return SOURCE[name]


class Descriptor:
    def __get__(self, x, cls=None):
        return SOURCE["v"]


class Meta(type):
    @property
    def v(cls):
        return SOURCE["v"]


class Described(metaclass=Meta):
    w = Descriptor()

    def __enter__(self):
        return SOURCE["v"]

    def __exit__(self, *error):
        pass

    def __float__(self):
        return SOURCE["v"]


SOURCE = {"v": 2.0}


def by_with(h, x):
    with Described() as v:
        return x * v


def by_match(h, x):
    match h:
        case Holder(v):
            return x * v


def by_import(h, x):
    import sys

    return x * sys.modules[__name__].SOURCE["v"]


ROUNDABOUT = {
    "vars": lambda h, x: x * vars(h)["v"],
    "__dict__": lambda h, x: x * next(iter(h.__dict__.values())),
    "copy": lambda h, x: x * next(iter(vars(copy.copy(h)).values())),
    "format": lambda h, x: x * float("{.v}".format(h)),  # noqa: UP032
    "f-string": lambda h, x: x * float(f"{h}"),
    "match": by_match,
    "with": by_with,
    "methodcaller": lambda h, x: x * operator.methodcaller("get")(h),
    "class method": lambda h, x: x * h.new().made,
    "type": lambda h, x: x * type(h)().made,
    "__getattribute__": lambda h, x: x * Hidden().v,
    "descriptor": lambda h, x: x * Described().w,
    "metaclass": lambda h, x: x * Described.v,
    "__float__": lambda h, x: x * float(Described()),
    "map": lambda h, x: x * sum(map(operator.attrgetter("v"), [h])),
    "leaves": lambda h, x: x * flux.leaves({"a": [np.array(h.v)]})[0],
}  # fmt: skip


@pytest.mark.parametrize("name", ROUNDABOUT)
def test_roundabout_ways(name, monkeypatch):
    h, use = Holder(2.0), ROUNDABOUT[name]
    compiled = flux.compile(lambda x: use(h, x))
    for v in (2.0, 3.0, 2.0):
        monkeypatch.setitem(SOURCE, "v", v)
        h.v = v
        same(compiled(X), X * v, 1e-15)


def test_frames_and_globals_by_name_are_refused():
    import sys

    for f in (lambda x: x * sys._getframe().f_globals["VALUE"], lambda x: x * same.__globals__["np"]):
        with pytest.raises(flux.NotCompilable, match="what is found by it can't be watched"):
            flux.compile(f)(1.0)


@pytest.mark.parametrize(
    "read",
    [
        lambda net: flux.leaves(net)[0][0],
        lambda net: next(iter(net.__dict__.values()))[0],
        lambda net: next(iter(vars(net).values()))[0],
        lambda net: next(iter(copy.copy(net).__dict__.values()))[0],
        lambda net: next(getattr(net, name) for name in dir(net) if name.startswith("un"))[0],
    ],
    ids=["leaves", "dict", "vars", "copy", "getattr"],
)
def test_attributes_that_no_code_names(read):
    class Net:
        def __init__(self):
            self.unnamed = np.ones(1)

    net = Net()
    compiled = flux.compile(lambda x: x * read(net))
    same(compiled(X), X, 0)
    net.unnamed[0] = 3
    same(compiled(X), X * 3, 0)
    net.unnamed = np.array([4.0])
    same(compiled(X), X * 4, 0)


# What can't be watched.


def generate():
    yield 1.0


UNWATCHED = {
    "an iterator": (iter([1.0]), r"thing, a list_iterator, can't be compiled: what it holds can't be watched"),
    "a generator": (generate(), "thing, a generator, can't be compiled"),
    "a long list": ([0.0] * 20_000, r"thing, a list of 20,000 items, is too long.*make an array"),
    "a lock": (threading.Lock(), "thing, a lock"),
    "a masked array": (np.ma.array([1.0]), "thing, a MaskedArray, can't be compiled"),
    "np.matrix": (np.ones((1, 1)).view(np.matrix), "thing, a matrix, can't be compiled"),
    "objects": (np.array([None]), "thing, an array of objects"),
    "deep": ([{"a": iter(())}], r"thing\[0\]\['a'\], a tuple_iterator"),
}


@pytest.mark.parametrize("name", UNWATCHED)
def test_what_cannot_be_watched_is_named(name):
    thing, words = UNWATCHED[name]
    with pytest.raises(flux.NotCompilable, match=words):
        flux.compile(lambda x: x if thing is None else x * 2)(1.0)


def test_what_looks_elsewhere_is_named(tmp_path):
    import time

    np.save(tmp_path / "a.npy", X)
    for f, words in (
        (lambda x: x * np.load(tmp_path / "a.npy"), r"np\.load can't be compiled"),
        (lambda x: x * time.time(), r"time\.time can't be compiled"),
        (lambda x: x * globals()["X"], "globals can't be compiled"),
        (lambda x: x * eval("2"), "eval can't be compiled"),
        (lambda x: x * len(open("a").read()), r"open can't be compiled"),  # noqa: SIM115
    ):
        with pytest.raises(flux.NotCompilable, match=words):
            flux.compile(f)(X)


COUNT = 0


def test_a_function_that_changes_what_it_reads_is_refused():
    seen, holder = [], types.SimpleNamespace(n=0, w=np.zeros(2))

    def counts(x):
        global COUNT
        COUNT += 1
        return x * 2

    def appends(x):
        seen.append(1)
        return x * 2

    def adds(x):
        holder.n += 1
        return x * 2

    def writes(x):
        holder.w += 1
        return x * 2

    for f, where in ((counts, "COUNT"), (appends, "seen"), (adds, r"holder\.n"), (writes, r"holder\.w")):
        with pytest.raises(flux.NotCompilable, match=rf"the function changes {where}.*which it reads"):
            flux.compile(f)(1.0)


def test_what_is_remembered_once_is_no_change():
    known = {}

    def f(x):
        if x.shape not in known:
            known[x.shape] = 2.0
        return x * known[x.shape]

    compiled = flux.compile(f)
    same(compiled(X), X * 2, 0)
    same(compiled(X), X * 2, 0)
    known[3,] = 3.0
    same(compiled(X), X * 3, 0)
