"""Which code is taken as it is: Python's, NumPy's, SciPy's, ours; and what can't be said of some of it."""

from __future__ import annotations

import builtins
import functools
import os
import sys
import sysconfig
import types
from typing import Any

_STDLIB = tuple(os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib"))
_INSTALLED = tuple(os.path.join(sysconfig.get_path(name), "") for name in ("purelib", "platlib"))


def trusted(module: Any) -> bool:
    """Whether a module, by its name, belongs to Python, NumPy, SciPy or tinyflux: what these hold stays as it is."""
    return isinstance(module, str) and _trusted(module.partition(".")[0])


@functools.cache
def _trusted(root: str) -> bool:
    if root in ("numpy", "scipy", __name__.partition(".")[0]):
        return True
    if root not in sys.stdlib_module_names or root == "__main__":
        return False
    file = getattr(sys.modules.get(root), "__file__", None)  # a user's module may be called like one of Python's
    return file is None or (file.startswith(_STDLIB) and not file.startswith(_INSTALLED))


def module_of(x: Any) -> Any:
    """The name of the module in which a function, class or module was written, or the class of something else."""
    if isinstance(x, types.FunctionType):
        return x.__globals__.get("__name__")
    if isinstance(x, types.ModuleType):
        return x.__name__
    own = getattr(x, "__module__", None) if isinstance(x, (type, types.BuiltinFunctionType)) else None
    return own or type(x).__module__


_OUTSIDE = {
    "random", "secrets", "time", "datetime", "uuid", "os", "posix", "nt", "io", "socket", "subprocess", "urllib",
}  # fmt: skip
_OUTSIDE_OF_NUMPY = {
    "load", "loadtxt", "genfromtxt", "fromfile", "fromregex", "memmap", "geterr", "geterrcall", "get_printoptions",
}  # fmt: skip
_OUTSIDE_BUILTINS = {"open", "input"}
_FINDING = {"globals", "locals", "eval", "exec", "compile", "__import__", "breakpoint"}
_ON_VALUES = {
    "abs", "all", "any", "bin", "bool", "bytearray", "bytes", "callable", "chr", "classmethod", "complex", "dict",
    "divmod", "enumerate", "filter", "float", "frozenset", "hash", "hex", "id", "int", "isinstance", "issubclass",
    "iter", "len", "list", "map", "max", "memoryview", "min", "next", "object", "oct", "ord", "pow", "print",
    "property", "range", "repr", "reversed", "round", "set", "slice", "sorted", "staticmethod", "str", "sum", "super",
    "tuple", "type", "zip", "__build_class__",
}  # fmt: skip
_PACKAGES_ON_VALUES = {
    "numpy", "scipy", "math", "cmath", "itertools", "functools", "operator", "collections", "abc", "typing", "enum",
    "contextlib", "logging", "warnings",
}  # fmt: skip


def complaint(x: Any) -> str:
    """Why a function, class or module of a trusted package can't be compiled, or nothing."""
    module, name = str(module_of(x)), getattr(x, "__name__", "")
    root = module.partition(".")[0]
    if (root.lstrip("_") in _OUTSIDE and name != "sleep") or (root == "numpy" and name in _OUTSIDE_OF_NUMPY):
        return "clocks, files, settings and random numbers can't be watched"
    if root == "builtins" and name in _OUTSIDE_BUILTINS:
        return "files can't be watched"
    if (root == "builtins" and name in _FINDING) or root in ("inspect", "gc", "importlib"):
        return "what is found by it can't be watched"
    return ""


def looks_into(x: Any) -> bool:
    """Whether a trusted function may read attributes of its arguments that its caller doesn't name."""
    module, name = str(module_of(x)), getattr(x, "__name__", "")
    root = module.partition(".")[0]
    if root == "builtins":
        is_exception = isinstance(x, type) and issubclass(x, BaseException)
        return name in vars(builtins) and name not in _ON_VALUES and not is_exception
    ours = module.startswith((f"{_PACKAGE}.nn", f"{_PACKAGE}.compile", f"{_PACKAGE}.autodiff", f"{_PACKAGE}.tree"))
    return name in LOOKING or not (ours or root.lstrip("_") in _PACKAGES_ON_VALUES)


def walks_trees(x: Any) -> bool:
    """Whether a trusted function reads all attributes of the trees among its arguments: `flux.parameters`, say."""
    return str(module_of(x)).startswith((f"{_PACKAGE}.tree", f"{_PACKAGE}.autodiff"))


_PACKAGE = __name__.partition(".")[0]
LOOKING = {"__dict__", "__getattribute__", "__getstate__", "__reduce__", "__reduce_ex__", "attrgetter", "methodcaller"}
