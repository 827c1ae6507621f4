"""Arguments that are not boxes: they must be real numbers, and keep their values until the sweep.

A pullback reads the arguments of its operation long after the operation was done. By then an array could have been
changed in place. So the tape copies small ones, and makes large ones read-only until the gradient has been taken.
"""

from __future__ import annotations

import mmap
import threading
import types
from typing import Any

import numpy as np

from ..arrays import on_gpu

SMALL = 256  # elements; a copy costs no more than locking does, and a loop over time may keep thousands
REAL = "tinyflux differentiates real numbers. Write the real and the imaginary part as two arrays."

# The owners whose memory NumPy can make writeable again: itself, and Python; not a torch tensor or a pickle.
_LENDERS = (type(None), memoryview, mmap.mmap)

# Classes of arguments that need no check: numbers, indices and options.
SIMPLE = frozenset(
    {float, int, bool, str, type(None), slice, types.EllipsisType, np.dtype, type, np.bool_}
    | {cls for cls in np.sctypeDict.values() if issubclass(cls, (np.floating, np.integer))}
)


class _Thread(threading.local):
    """The state of a thread.

    Attributes:
        depth: how many functions are being recorded, one inside the other.
        busy: whether a gradient is being taken: a function is recorded, or its tape swept.
        locked: the arrays that are read-only meanwhile, in the order of locking.
    """

    def __init__(self) -> None:
        self.depth = 0
        self.busy = False
        self.locked: dict[int, Any] = {}


thread = _Thread()


def is_foreign(x: Any) -> bool:
    """Whether an array is of a class that isn't NumPy's own, whose operations may mean something else."""
    return isinstance(x, np.ndarray) and type(x) is not np.ndarray and type(x) is not np.memmap


def foreign(cls: type) -> str:
    """Why an array of such a class is refused, and what to do."""
    fix = "x.filled(…), with numbers for what is masked" if issubclass(cls, np.ma.MaskedArray) else "np.asarray(x)"
    return f"only NumPy's own arrays can be differentiated, got a {cls.__module__}.{cls.__qualname__}. Give {fix}."


def kept(name: str, x: Any, copies: dict[int, Any] | None, eager: bool) -> Any:
    """An argument that is no box, as the tape keeps it.

    Arguments:
        name: the operation's name, for errors.
        x: the argument.
        copies: None, or the copies of large arrays by their ids, where the sweep may come at any time.
        eager: False where the operation is only recorded for a compiler, which needs the arrays themselves.

    Errors: TypeError for complex numbers, and arrays of other classes than NumPy's.
    """
    cls = type(x)
    if cls is np.ndarray and eager and x.dtype.kind != "c":
        if x.size <= SMALL:
            return x.copy("K")
        if copies is not None:
            return _copied(x, copies)
        return x if _locked(x) else x.copy("K")
    if cls is tuple or cls is list:
        return cls([item if type(item) in SIMPLE else kept(name, item, copies, eager) for item in x])
    if is_foreign(x):
        raise TypeError(f"{name}: {foreign(cls)}")
    if isinstance(x, complex) or getattr(getattr(x, "dtype", None), "kind", "") == "c":
        raise TypeError(f"{name}: got {getattr(x, 'dtype', 'complex')} numbers, but {REAL}")
    if eager and isinstance(x, np.memmap):
        return kept(name, x.view(np.ndarray), copies, eager)
    if eager and on_gpu(x) and (x.size <= SMALL or copies is not None):  # a large one can't be locked
        return x.copy()
    return x


def _copied(x: Any, copies: dict[int, Any]) -> Any:
    """A copy of a large array: the earlier copy, if the array hasn't changed since."""
    known = copies.get(id(x))
    if known is None or known[1].tobytes() != x.tobytes():
        copies[id(x)] = known = x, x.copy("K")
    return known[1]


def _locked(x: Any) -> bool:
    """Make a large array read-only until the thread's outermost gradient has been taken, and what it is a view of.

    Returns: whether it is read-only now. It stays writeable where NumPy could not undo it.
    """
    locked = thread.locked
    flags, base = x.flags, x.base
    if isinstance(base, np.ndarray):
        _locked(base)
    if flags.writeable and (id(base) in locked or isinstance(base, _LENDERS)):
        locked[id(x)] = x
        flags.writeable = False
    return not flags.writeable
