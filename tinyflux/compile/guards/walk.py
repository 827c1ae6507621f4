"""A look at all that a function can read, from itself onwards: see `guards`."""

from __future__ import annotations

import collections
import functools
import io
import logging
import operator
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import call
from typing import Any

import numpy as np

from ... import nodes
from ...arrays import is_array
from ...autodiff.operators import ArrayOperators
from ...autodiff.table import name_of, rule_of, rules
from ...checks import a_or_an, type_of
from ...errors import NotCompilable
from ...types import Array
from . import layouts
from .layouts import MAPPINGS, MISSING, NUMBERS, REMEDY, SEQUENCES, SIMPLE, Path, Same, format_path, has_code, in_c
from .reads import BY_NAME, MAKERS, SCOPES, Chain, imported, reads
from .trust import LOOKING, complaint, looks_into, module_of, trusted, walks_trees

MAX_ITEMS = 10_000  # items of a container, which would be looked at one by one in every call
TOO_MANY = 100_000  # places altogether


class Walk:
    """One look at all that can be read.

    Attributes:
        names: the names of attributes that occur in code.
        whole: whether attributes may be read that no code names.
        trees: whether they may be of objects that are nodes of trees, whose classes `nodes.kinds` then knows.
        tokens, paths: what was found, in a form that can be compared, and where.
        reads, values: functions without arguments, and what each has returned.
        items: things to iterate over, and what was in them.
        held: lists, sets, dicts and classes, and copies of what they hold.
        makers, unseeded: NumPy's makers of generators, and the names of what code calls without a seed.
        found: all objects by id.
    """

    def __init__(self, names: Iterable[str], whole: bool, trees: bool) -> None:
        self.names = set(names)
        self.whole = whole
        self.trees = trees
        self.tokens: list[Any] = []
        self.paths: list[Path | None] = []
        self.reads: list[Callable[[], Any]] = []
        self.values: list[Any] = []
        self.items: list[tuple[Any, tuple[Any, ...]]] = []
        self.held: list[tuple[Any, Any]] = []
        self.makers: list[Any] = []
        self.unseeded: set[str] = set()
        self.arrays: list[tuple[Array, Path | None]] = []
        self.generators: list[tuple[Any, Path | None]] = []
        self.found: dict[int, Any] = {}
        self.traced = ""
        self._numbers: dict[int, int] = {}
        self._globals: set[tuple[int, str]] = set()
        self._classes: set[tuple[type, bool]] = set()
        self._todo: list[tuple[Any, Path | None]] = []

    def run(self, roots: Sequence[Any]) -> None:
        for i, x in enumerate(roots):
            path = (None, getattr(x, "__name__", type(x).__name__))
            if i and isinstance(x, type):
                self._class_of(x, path, False)
            else:
                self._look(x, path)
        while self._todo:
            self._visit(*self._todo.pop())
            if len(self.tokens) > TOO_MANY:
                raise NotCompilable(f"{format_path(self.paths[-1])} is too large to look at in every call. {REMEDY}")
        self.whole = self.whole or not LOOKING.isdisjoint(self.names)
        for x in [x for x in self.makers if x.__name__ in self.unseeded]:
            raise NotCompilable(f"{name_of(x)}() can't be compiled: it takes a seed from the system. Give it one.")

    def _put(self, token: Any, path: Path | None) -> None:
        self.tokens.append(token)
        self.paths.append(path)

    def _look(self, x: Any, path: Path | None) -> None:
        self._todo.append((x, path))

    def _watch(self, read: Callable[[], Any]) -> Any:
        """Remember what was read at a place: it has to be the same object in every call."""
        value = read()
        self.reads.append(read)
        self.values.append(value)
        return value

    def _visit(self, x: Any, path: Path | None) -> None:
        kind = type(x)
        if kind in SIMPLE:
            return self._put((kind, x), path)
        if kind is float or kind is complex or (issubclass(kind, np.generic) and not x.dtype.hasobject):
            return self._put((kind, np.asarray(x).dtype.str, np.asarray(x).tobytes()), path)
        if id(x) in self.found:
            return self._put(self._numbers[id(x)], path)
        self.found[id(x)] = x
        self._numbers[id(x)] = len(self._numbers)
        if issubclass(kind, ArrayOperators):
            self.traced = format_path(path)
            return self._put(kind, path)
        if issubclass(kind, np.ndarray) or is_array(x):
            return self._array(x, path)
        for kinds, visit in _VISITS:
            # not isinstance, which might ask x itself
            if issubclass(kind, kinds) and (visit not in _OF_TRUSTED or trusted(kind.__module__)):
                return visit(self, x, path)
        return self._instance(x, path)

    def _array(self, x: Array, path: Path | None) -> None:
        if isinstance(x, np.ndarray) and (type(x) is not np.ndarray or x.dtype.hasobject):
            what = "an array of objects" if x.dtype.hasobject else type_of(x)
            raise NotCompilable(
                f"{format_path(path)}, {what}, can't be compiled; arrays of numbers of NumPy's own can."
            )
        self.arrays.append((x, path))
        self._put((type(x), x.shape, x.dtype.str), path)

    # Code.

    def _function(self, f: Any, path: Path | None) -> None:
        code, cells = f.__code__, dict(zip(f.__code__.co_freevars, f.__closure__ or ()))
        self._watch(partial(getattr, f, "__code__"))
        if trusted(module_of(f)):
            self._trust(f, path)
            for name, cell in cells.items():
                self._cell((name,), cell)
        else:
            self._put((types.FunctionType, Same(code), Same(f.__globals__)), path)
            for name in ("__defaults__", "__kwdefaults__"):
                self._watch(partial(getattr, f, name))
            positional = code.co_varnames[: code.co_argcount]
            for name, x in zip(reversed(positional), reversed(f.__defaults__ or ())):
                self._look(x, (None, name))
            self._look(f.__kwdefaults__, path)
            if f.__dict__:
                self._space(f.__dict__, path, self.whole)
            found = reads(code)
            for name in found.names & SCOPES:
                raise NotCompilable(f"{name} can't be compiled: what is found by it can't be watched. {REMEDY}")
            self.unseeded |= found.unseeded
            self.names |= found.names
            for chain in found.globals:
                self._global(f, chain)
            for chain in found.cells:
                if chain[0] in cells:
                    self._cell(chain, cells[chain[0]])
            for name, dots in found.imports:
                name = imported(name, dots, f.__globals__.get("__package__"))
                self._look(self._watch(partial(sys.modules.get, name, MISSING)), (None, name))

    def _global(self, f: Any, chain: Chain) -> None:
        space, name = f.__globals__, chain[0]
        x = space.get(name, MISSING)
        if (id(space), name) not in self._globals:
            self._globals.add((id(space), name))
            self._watch(partial(space.get, name, MISSING))
        if x is MISSING and name in BY_NAME:
            return  # how it is called is seen in the code
        self._chain(f.__builtins__.get(name, MISSING) if x is MISSING else x, chain)

    def _cell(self, chain: Chain, cell: Any) -> None:
        try:
            x = self._watch(partial(getattr, cell, "cell_contents"))
        except ValueError:  # it is empty
            x = self._watch(partial(layouts.content_of, getattr, cell, "cell_contents"))
        self._chain(x, chain)

    def _chain(self, x: Any, chain: Chain) -> None:
        """Go along attributes as far as they are those of modules."""
        step = 1
        while issubclass(type(x), types.ModuleType) and step < len(chain):
            space, name = vars(x), chain[step]
            step += 1
            if trusted(x.__name__):
                x = getattr(x, name, MISSING)  # some load their parts only now
                continue
            if name not in space and "__getattr__" in space:
                self._look(space["__getattr__"], (None, ".".join(chain[: step - 1])))
            x = self._watch(partial(space.get, name, MISSING))
        self._look(x, (None, ".".join(chain[:step])))

    def _module(self, x: Any, path: Path | None) -> None:
        """A module that is used as a whole: any of its attributes may be read."""
        if not trusted(x.__name__):
            self._put(Same(x), path)
            return self._space(vars(x), path, self.whole)
        self._trust(x, path)
        for name in sorted(self.names & vars(x).keys()):
            self._look(vars(x)[name], (path, f".{name}"))

    def _trust(self, x: Any, path: Path | None) -> None:
        """A function, class or module that stays as it is."""
        why = complaint(x)
        if why:
            raise NotCompilable(f"{_name(x)} can't be compiled: {why}. {REMEDY}")
        self._put(Same(x), path)
        if getattr(x, "__name__", "") in MAKERS and str(getattr(x, "__module__", "")).startswith("numpy.random"):
            self.makers.append(x)
        if isinstance(x, (types.FunctionType, *layouts.C_FUNCTIONS)):
            self._pullbacks(x, path)
        self.whole = self.whole or (not isinstance(x, types.ModuleType) and looks_into(x))
        if not isinstance(x, types.ModuleType) and walks_trees(x):
            self.trees = True
            self.names.add("buffers")

    def _pullbacks(self, f: Any, path: Path | None) -> None:
        """Those of a rule of the user's."""
        rule_of(f)  # which enters those of SciPy's functions
        rule = self._watch(partial(rules.get, f))
        pullbacks = rule.pullbacks if rule is not None and isinstance(rule.pullbacks, tuple) else ()
        self._look(tuple([x for x in pullbacks if not trusted(module_of(x))]), path)

    def _builtin(self, x: Any, path: Path | None) -> None:
        owner = getattr(x, "__self__", None)
        if owner is None or isinstance(owner, types.ModuleType):
            return self._trust(x, path)
        self._put((type(x), x.__name__), path)
        self._look(owner, path)

    def _parts(self, x: Any, path: Path | None) -> None:
        """What is held by a bound method, a partial, a property, compile(f) …"""
        self._put(type(x), path)
        for name in layouts.PARTS:
            part = getattr(x, name, MISSING)
            if part is not MISSING:
                self._look(part, path)

    def _class(self, x: type, path: Path | None) -> None:
        if trusted(x.__module__):
            self._trust(x, path)
        else:
            self._class_of(x, path, True)

    def _class_of(self, cls: type, path: Path | None, constructs: bool) -> None:
        """A class: its methods that can be called; `constructs` says whether new instances can be made, too."""
        self._put(Same(cls), path)
        if trusted(cls.__module__) or (cls, constructs) in self._classes:
            return
        self._classes.add((cls, constructs))
        makers = any(isinstance(x, classmethod) for base in cls.__mro__ for x in vars(base).values())
        constructs = constructs or makers or not self.names.isdisjoint(("type", "__class__"))
        self._watch(partial(getattr, cls, "__mro__"))
        self._class_of(type(cls), path, constructs)
        for base in [base for base in cls.__mro__ if not trusted(base.__module__)]:
            if in_c(base):
                raise NotCompilable(f"{base.__name__}, a class in C, can't be compiled. {REMEDY}")
            found = [
                name for name, x in vars(base).items()
                if name in self.names or (self.whole and not name.startswith("_abc_") and name[:2] != "__")
                or (name[:2] == "__" and (isinstance(x, layouts.METHODS) or hasattr(type(x), "__get__"))
                    and (constructs or name not in layouts.RARE))
            ]  # fmt: skip
            found = [name for name in found if name not in ("__dict__", "__weakref__")]
            self.held.append((base, {name: vars(base)[name] for name in found}))
            self._attributes(vars(base), found, path)

    # Data.

    def _space(self, space: Any, path: Path | None, whole: bool) -> None:
        """Attributes: those that are named, or all of them."""
        self._attributes(space, list(space) if whole else [name for name in space if name in self.names], path)

    def _attributes(self, space: Any, names: Sequence[str], path: Path | None) -> None:
        self.items.append((space, tuple(space)))
        self._put(tuple(names), path)
        for name in names:
            self._look(self._watch(partial(space.get, name, MISSING)), (path, f".{name}"))

    def _sequence(self, x: Any, path: Path | None) -> None:
        base = next(base for base in SEQUENCES if isinstance(x, base))
        self._count(x, base, path)
        items = tuple(x)
        if base not in (tuple, frozenset):
            self.items.append((x, items))
            self.held.append((x, items))
        self._put((base, len(items)), path)
        for i, item in enumerate(items):
            self._look(item, (path, f"[{i}]"))
        if type(x) is not base:
            self._instance(x, path)

    def _mapping(self, x: Any, path: Path | None) -> None:
        base = next(base for base in reversed(MAPPINGS) if isinstance(x, base))
        self._count(x, base, path)
        self.items += [(x.keys(), tuple(x.keys())), (x.values(), tuple(x.values()))]
        if isinstance(x, dict):
            self.held.append((x, dict(x)))
        self._put((base, len(x)), path)
        for key, value in list(x.items()):
            self._look(key, path)
            self._look(value, (path, f"[{key!r}]" if type(key) in SIMPLE else "[…]"))
        if base is collections.defaultdict:
            self._look(self._watch(partial(getattr, x, "default_factory")), path)
        if type(x) is not base:
            self._instance(x, path)

    def _count(self, x: Any, base: type, path: Path | None) -> None:
        if any(getattr(type(x), name) is not getattr(base, name) for name in layouts.ITERATING if hasattr(base, name)):
            raise NotCompilable(f"{format_path(path)}, {type_of(x)}, iterates in its own way. {REMEDY}")
        if len(x) > MAX_ITEMS:
            raise NotCompilable(
                f"{format_path(path)}, {type_of(x)} of {len(x):,} items, is too long to be looked at in every "
                "call: make an array of it, or give it as an argument."
            )

    def _instance(self, x: Any, path: Path | None) -> None:
        """An object by its attributes."""
        cls = type(x)
        if trusted(cls.__module__) and cls.__dictoffset__ and "__wrapped__" in x.__dict__:
            return self._parts(x, path)
        if cls.__name__ in layouts.CYTHON:
            return self._builtin(x, path)
        layout = next(base for base in cls.__mro__ if in_c(base))
        if layout not in layouts.LAYOUTS:
            raise NotCompilable(
                f"{format_path(path)}, {a_or_an(cls.__name__)}, can't be compiled: {layouts.complaint_of(cls)}"
            )
        if layout in NUMBERS:
            self._put(layout.__repr__(x), path)
        self._watch(partial(type, x))
        self._class_of(cls, path, False)
        bases = [base for base in cls.__mro__ if base is not layout]
        whole = self.whole or (self.trees and nodes.kinds.get(cls) == nodes.OBJECT) or any(map(has_code, bases))
        if cls.__dictoffset__:
            self._space(self._watch(partial(object.__getattribute__, x, "__dict__")), path, whole)
        for name, slot in [(name, slot) for base in bases for name, slot in vars(base).items()]:
            if isinstance(slot, types.MemberDescriptorType) and (whole or name in self.names):
                self._look(self._watch(partial(layouts.content_of, slot.__get__, x)), (path, f".{name}"))

    def _reference(self, x: Any, path: Path | None) -> None:
        self._put(type(x), path)
        self._look(self._watch(partial(call, x)), path)

    def _generator(self, x: Any, path: Path | None) -> None:
        """A generator of random numbers: that none are drawn is seen while a function is recorded."""
        self._put(Same(x), path)
        self.generators.append((x, path))
        if "bit_generator" in self.names:
            self._look(x.bit_generator, (path, ".bit_generator"))

    def _getter(self, x: Any, path: Path | None) -> None:
        """`operator.attrgetter` and its kin: they hold names and values."""
        self._put(type(x), path)
        held = x.__reduce__()[1]
        self.names |= {name for x in held if isinstance(x, str) for name in x.split(".")}
        self._look(held, path)

    def _as_written(self, x: Any, path: Path | None) -> None:
        self._put((type(x), repr(x)), path)

    def _logger(self, x: Any, path: Path | None) -> None:
        """What is logged is an effect, as printing is; whether it is logged can be read."""
        settings = (x.getEffectiveLevel, partial(getattr, x, "disabled"), partial(getattr, x.manager, "disable"))
        self._put((Same(x), *[self._watch(read) for read in settings]), path)

    def _stream(self, x: Any, path: Path | None) -> None:
        """A file: nothing comes from one that is only written to."""
        standard = x is sys.stdout or x is sys.stderr
        if not standard and (not trusted(type(x).__module__) or x.closed or x.readable()):
            return self._instance(x, path)
        self._put(Same(x), path)


def _name(x: Any) -> str:
    return f"the module {x.__name__}" if isinstance(x, types.ModuleType) else name_of(x)


_VISITS: list[tuple[Any, Callable[[Walk, Any, Path | None], None]]] = [
    (types.FunctionType, Walk._function),
    (type, Walk._class),
    (types.ModuleType, Walk._module),
    (SEQUENCES, Walk._sequence),
    (MAPPINGS, Walk._mapping),
    (layouts.C_FUNCTIONS, Walk._trust),
    ((types.BuiltinFunctionType, types.MethodWrapperType), Walk._builtin),
    ((types.MethodType, partial, slice, functools.cached_property, type(functools.cache(len))), Walk._parts),
    (layouts.METHODS, Walk._parts),
    (np.random.Generator, Walk._generator),
    (weakref.ref, Walk._reference),
    ((operator.itemgetter, operator.attrgetter, operator.methodcaller), Walk._getter),
    (layouts.AS_WRITTEN, Walk._as_written),
    (logging.Logger, Walk._logger),
    (io.IOBase, Walk._stream),
]
_OF_TRUSTED = (Walk._as_written, Walk._logger)  # for objects of classes that stay as they are
