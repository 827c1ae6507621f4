"""Roundabout ways of reading something are seen, and what can't be watched is refused by name."""

import copy
import datetime
import logging
import operator
import sys
import threading
import types
import warnings
from decimal import Decimal
from operator import call

import numpy as np
import pytest

import tinyflux as flux
from tests.support.compiling import same
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.guards.reads import reads
from tinyflux.compile.guards.trust import LOOKING

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


# What never changes, and what is only written to, may stand in a function or beside what it reads.

log = logging.getLogger("test_guards_limits")


class Run:
    """A training's object, of which a loss reads the rate alone."""

    def __init__(self):
        self.rate, self.chosen = 2.0, "rate"
        self.lock, self.rows, self.generator = threading.Lock(), iter([1.0]), np.random.RandomState(0)

    def by_relu(self, x):
        return flux.relu(x) * self.rate

    def by_hasattr(self, x):
        return x * (self.rate if hasattr(self, "rate") else 1.0) * getattr(self, "absent", 1.0)

    def by_logging(self, x):
        log.debug("an array of shape %s", x.shape)
        warnings.warn(f"{x.shape}", stacklevel=2) if x.ndim > 8 else None
        return x * self.rate

    def by_name(self, x):
        return x * getattr(self, self.chosen)


@pytest.mark.parametrize("name", ["by_relu", "by_hasattr", "by_logging"])
def test_what_is_not_read_may_be_anything(name):
    run = Run()
    f = getattr(run, name)
    compiled = flux.compile(f)
    for run.rate in (2.0, 3.0):
        same(compiled(X), f(X), 1e-15)
    with pytest.raises(flux.NotCompilable, match="can't be compiled"):  # any attribute may be meant there
        flux.compile(run.by_name)(X)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, n: getattr(x, n),
        lambda x, n: getattr(x, "a" + n),
        lambda x, n: getattr(x, n, "a"),
        lambda x, n: getattr(x, n or "a"),
        lambda x, n: [*map(getattr, [x], [n])],
        lambda x, n: call(getattr(*x), "a"),
        lambda x, n: call(getattr(x, n), "a"),
        lambda x, n: getattr(x if n else n, "a", 0),
        lambda x, n: getattr(x, "a b"),
        lambda x, n: [hasattr(x, f"{n}_a") for _ in x],
    ],
)
def test_names_of_attributes_that_are_not_words(call):
    assert not LOOKING.isdisjoint(reads(call.__code__).names)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: getattr(x, "a"),  # noqa: B009
        lambda x: getattr(x, "a", None),
        lambda x: hasattr(call(x, "a"), "b") and getattr(x[0].c, "b", x),
        lambda x: call(getattr(getattr(x, "a"), "b"), "c"),  # noqa: B009
    ],
)
def test_names_of_attributes_that_are_words(call):
    assert LOOKING.isdisjoint(reads(call.__code__).names)


def test_a_file_that_is_only_written_to_and_a_logger_with_handlers(tmp_path):
    with open(tmp_path / "log", "w") as file:
        logger = logging.getLogger(f"{__name__}.own")
        logger.setLevel(logging.INFO)
        logger.addHandler(logging.StreamHandler(file))
        settings = {
            "file": file, "path": tmp_path, "when": datetime.datetime(2020, 1, 1), "rate": 2.0, "price": Decimal(1),
        }  # fmt: skip

        def f(x):
            logger.info("%s", x.shape)
            print(x.shape, file=sys.stderr)
            return x * settings["rate"] if logger.isEnabledFor(logging.INFO) else x

        compiled = flux.compile(f)
        same(compiled(X), X * 2, 0)
        settings["rate"] = 3.0
        same(compiled(X), X * 3, 0)
        logger.setLevel(logging.ERROR)
        same(compiled(X), X, 0)
        logger.setLevel(logging.INFO)
        logging.disable(logging.CRITICAL)
        same(compiled(X), X, 0)
        logging.disable(logging.NOTSET)
        same(compiled(X), X * 3, 0)
    with open(tmp_path / "log") as settings["file"], pytest.raises(flux.NotCompilable, match=r"settings\['file'\]"):
        flux.compile(f)(X)


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
