"""Which objects can be looked at: those of Python's own containers, and of classes written in Python."""

from __future__ import annotations

import collections
import datetime
import decimal
import functools
import pathlib
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from .reads import PRINTING, Reads
from .trust import trusted

SEQUENCES = (list, tuple, set, frozenset, collections.deque, bytearray)
MAPPINGS = (dict, collections.OrderedDict, collections.defaultdict, types.MappingProxyType)
NUMBERS = (int, float, complex, str, bytes)  # classes of one's own may be built on them
LAYOUTS = (object, types.SimpleNamespace, *SEQUENCES, *MAPPINGS, *NUMBERS)
MISSING = type("MISSING", (), {"__repr__": lambda self: "MISSING"})()
SIMPLE = (bool, int, str, bytes, type(None), type(...), type(NotImplemented), type(MISSING))
AS_WRITTEN = (
    range, np.dtype, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, pathlib.PurePath,
)  # never change, and their text says all  # fmt: skip
METHODS = (types.FunctionType, staticmethod, classmethod, property)
C_FUNCTIONS = (np.ufunc, type(np.sum), types.MethodDescriptorType, types.WrapperDescriptorType,
               types.ClassMethodDescriptorType, types.MemberDescriptorType, types.GetSetDescriptorType,
               types.GenericAlias, types.UnionType, type(Reads.names))  # fmt: skip
ITERATING = ("__iter__", "__len__", "keys", "values", "items")
RARE = {"__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__", *PRINTING}  # of special methods
PARTS = (
    "__self__", "__func__", "__wrapped__", "func", "args", "keywords", "fget", "fset", "start", "stop", "step"
)  # fmt: skip
CYTHON = ("cython_function_or_method", "fused_cython_function", "fortran")  # a type of its own in each library


class Same:
    """An object that equals itself alone. It is held, so that no other one can get its id."""

    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.x is self.x

    def __hash__(self) -> int:
        return id(self.x)


@functools.lru_cache(4096)
def in_c(cls: type) -> bool:
    """Whether a class is written in C: it may hold what can't be seen."""
    return any(
        (isinstance(x, (types.MethodDescriptorType, types.WrapperDescriptorType)) and x.__objclass__ is cls)
        or (isinstance(x, types.BuiltinFunctionType) and x.__self__ is cls)
        for x in vars(cls).values()
    )


@functools.lru_cache(4096)
def has_code(cls: type) -> bool:
    """Whether a class belongs to a trusted package and has methods in Python, which may read any attribute."""
    return trusted(cls.__module__) and any(isinstance(x, types.FunctionType) for x in vars(cls).values())


def content_of(get: Callable[..., Any], *args: Any) -> Any:
    """What a cell or a slot holds, got by a function; MISSING where it is empty."""
    try:
        return get(*args)
    except (AttributeError, ValueError):
        return MISSING


Path = tuple[Any, str]  # the path before, and a step


def format_path(path: Path | None) -> str:
    steps = []
    while path is not None:
        path, step = path
        steps.append(step)
    return "".join(reversed(steps))


REMEDY = "Give what is needed of it as an argument."
_DRAWING = ("RandomState", "Random", "SystemRandom", "PCG64", "MT19937")


def complaint_of(cls: type) -> str:
    if cls.__name__ in _DRAWING:
        return "it draws random numbers. Draw them beforehand and give them as arguments or data."
    return f"what it holds can't be watched. {REMEDY}"
