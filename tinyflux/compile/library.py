"""A built program, ready to be called: its library, the memory it calculates in."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .build import build
from .source import Source, header

_SIGNATURES = {"call": "pp", "run": "ppnp", "share": "ppnn", "merge": "pp", "conclude": "ppp"}  # pointers, numbers


class Library:
    """The functions of a source, loaded, with arenas for as many threads as call them at once."""

    call: Callable[..., int]
    run: Callable[..., int]
    share: Callable[..., int]
    merge: Callable[..., int]
    conclude: Callable[..., int]

    def __init__(self, source: Source) -> None:
        self.source = source
        library = build(header() + source.text)
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        for name, arguments in _SIGNATURES.items():
            if hasattr(library, name):
                function = getattr(library, name)
                function.restype = number
                function.argtypes = [{"p": pointer, "n": number}[kind] for kind in arguments]
                setattr(self, name, function)
        if source.unit.blas:
            library.link_blas(*_blas())
        self._arenas: list[Any] = []

    def arena(self) -> Any:
        """Memory to calculate in; to be given back by `done`."""
        try:
            return self._arenas.pop()
        except IndexError:
            return aligned(self.source.arena)

    def done(self, arena: Any) -> None:
        self._arenas.append(arena)


def aligned(size: int) -> Any:
    """An array of bytes that begins at a multiple of 64: with a cache line."""
    raw = np.empty(size + 64, np.uint8)
    start = -address(raw) % 64
    return raw[start : start + size]


def address(array: Any) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


def pointers(arrays: Iterable[Any]) -> Any:
    """A C array of the addresses of arrays."""
    addresses = [address(a) for a in arrays]
    return (ctypes.c_void_p * max(len(addresses), 1))(*addresses)


@functools.cache
def _blas() -> tuple[Any, Any]:
    """The addresses of sgemm and dgemm, which SciPy hands on in capsules."""
    from scipy.linalg import cython_blas

    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    capsules = [cython_blas.__pyx_capi__[name] for name in ("sgemm", "dgemm")]
    sgemm, dgemm = (ctypes.c_void_p(api.PyCapsule_GetPointer(x, api.PyCapsule_GetName(x))) for x in capsules)
    return sgemm, dgemm


def contiguous(x: Any) -> Any:
    """The array itself where C code can read it, or a copy."""
    return x if type(x) is np.ndarray and x.flags.carray else np.ascontiguousarray(x)
