"""What the table of faults is made of: code that once gave something else than it should, and what it should give."""

import ast
import collections
import contextlib
import copy
import io
import pickle
import re
import tempfile
import textwrap
import traceback
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import special

import tinyflux as flux


@dataclass(frozen=True)
class Expected:
    """What is expected, in words, and the check of what came out: a value, or the exception that was raised.

    `a | b` is either of them.
    """

    text: str
    holds: Callable[[object], bool]

    def __or__(self, other):
        return Expected(f"{self.text}, or {other.text}", lambda x: self.holds(x) or other.holds(x))


@dataclass(frozen=True)
class Fault:
    """An entry of the table.

    Attributes:
        name: what the entry is about.
        code: what is run, in a folder of its own; its last line is an expression, the result. `np`, `flux` and the
            names in `NAMES` are there.
        expected: what it should come to.
        names: more names for the code: helpers of the file that the entry stands in.
        before: code that is run before, the same for many entries.
    """

    name: str
    code: str
    expected: Expected
    names: dict | None = None
    before: str = ""

    def result(self):
        """What the code comes to: its value, or the exception that it raises; a warning counts as one."""
        tree = ast.parse(self.before + textwrap.dedent(self.code).strip())
        *rest, last = tree.body
        names = {"__name__": "entry", **NAMES, **(self.names or {})}
        flux.seed(0)
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.chdir(folder),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("error")
            names["folder"] = Path(folder)
            try:
                exec(compile(ast.Module(rest, []), f"<{self.name}>", "exec"), names)
                return eval(compile(ast.Expression(last.value), f"<{self.name}>", "eval"), names)
            except Exception as error:
                traceback.clear_frames(error.__traceback__)
                return error

    def run(self):
        """Whether what came out is as expected, and its text."""
        got = self.result()
        try:
            agrees = bool(self.expected.holds(got))
        except Exception:  # something of another kind altogether
            agrees = False
        return agrees, shown(got)


NAMES = {
    "np": np, "flux": flux, "special": special, "copy": copy, "pickle": pickle, "types": types, "io": io,
    "contextlib": contextlib, "deque": collections.deque, "Path": Path,
}  # fmt: skip


def shown(x):
    """A result in one line of not too many letters."""
    text = f"{type(x).__name__}: {x}" if isinstance(x, BaseException) else repr(x)
    return textwrap.shorten(text, 300, placeholder=" …")


# What may be expected.


def exactly(*wanted):
    """One value, or several in a tuple: of the same types."""
    value = wanted if len(wanted) > 1 else wanted[0]
    return Expected(repr(value), lambda x: type(x) is type(value) and x == value)


def near(value, rtol=1e-6, text=None):
    """Numbers in arrays, tuples, lists and dicts, of the same structure, up to roundings; NaN equals NaN."""
    return that(text or shown(value), lambda x: _near(x, value, rtol))


def _near(x, value, rtol):
    if isinstance(value, dict):
        return x.keys() == value.keys() and all(_near(x[name], value[name], rtol) for name in value)
    if isinstance(value, tuple):
        return type(x) is tuple and len(x) == len(value) and all(map(lambda a, b: _near(a, b, rtol), x, value))
    if value is None or isinstance(value, (str, bool)):
        return x is value or x == value
    return (
        x is not None
        and np.shape(x) == np.shape(value)
        and bool(np.all(np.isclose(np.asarray(x, float), np.asarray(value, float), rtol, rtol, equal_nan=True)))
    )


def error(kinds, *patterns):
    """An exception of a kind (or one of several) whose message matches all the patterns."""
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    named = " or ".join(kind.__name__ for kind in kinds)
    said = " and ".join(pattern.replace("\\", "") for pattern in patterns)

    def holds(x):
        return isinstance(x, kinds) and all(re.search(pattern, str(x), re.IGNORECASE) for pattern in patterns)

    return Expected(named + (f" that says {said}" if said else ""), holds)


def that(text, holds):
    """Anything of which a function is true."""
    return Expected(text, lambda x: not isinstance(x, BaseException) and holds(x))


def same(text="both the same"):
    """Two values in a tuple that are equal up to roundings."""
    return that(text, lambda x: _near(x[0], x[1], 1e-6))
