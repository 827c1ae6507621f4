"""A built program, ready to be called: its library, the memory it calculates in."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ....cores import available_cores
from ....types import Array
from .build import build
from .source import Source, header, with_header

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
        library = build(with_header(source.text))
        for name, arguments in _SIGNATURES.items():
            with contextlib.suppress(ValueError):  # not all sources have all of them
                setattr(self, name, _function(library, name, arguments))
        if source.context.blas:
            _function(library, "link_blas", "pp")(*_blas())
        if source.context.threads:
            _function(library, "link_pool", "pp")(
                *(ctypes.cast(f, ctypes.c_void_p) for f in (_pool().parallel, _pool().workspace))
            )
        for name in source.context.shared:
            _function(library, f"link_{name}", "p")(ctypes.c_void_p.in_dll(_shared(name), "address"))
        self._arenas: list[Array] = []

    def arena(self) -> Array:
        """Memory to calculate in; to be given back by `done`."""
        try:
            return self._arenas.pop()
        except IndexError:
            return aligned(self.source.arena)

    def done(self, arena: Array) -> None:
        self._arenas.append(arena)


def _function(library: ctypes.CDLL, name: str, arguments: str) -> Callable[..., int]:
    """A function of a library, which it keeps loaded; ValueError where there is none of this name.

    One that the library itself gives refers to itself, too: it would wait for the garbage collector.
    """
    kinds = {"p": ctypes.c_void_p, "n": ctypes.c_int64}
    prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *[kinds[kind] for kind in arguments])
    function: Callable[..., int] = prototype(ctypes.addressof(ctypes.c_char.in_dll(library, name)))
    function.library = library  # type: ignore[attr-defined]
    return function


def aligned(size: int) -> Array:
    """An array of zeros, of bytes, that begins at a multiple of 64: with a cache line."""
    raw = np.zeros(size + 64, np.uint8)
    start = -address(raw) % 64
    return raw[start : start + size]


def address(array: Array) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


def pointers(arrays: Iterable[Array]) -> ctypes.Array[ctypes.c_void_p]:
    """A C array of the addresses of arrays."""
    addresses = [address(a) for a in arrays]
    return (ctypes.c_void_p * max(len(addresses), 1))(*addresses)


@functools.cache
def _blas() -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
    """The addresses of sgemm and dgemm, which SciPy hands on in capsules."""
    from scipy.linalg import cython_blas

    # Prototypes of our own: types set on the functions of `ctypes.pythonapi` would hold for every other library, too.
    api = ctypes.pythonapi
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))
    capsules = [cython_blas.__pyx_capi__[name] for name in ("sgemm", "dgemm")]
    sgemm, dgemm = (ctypes.c_void_p(pointer_of(x, name_of(x))) for x in capsules)
    return sgemm, dgemm


@functools.cache
def _pool() -> ctypes.CDLL:
    """The threads that share the loops of all programs."""
    library = build((Path(__file__).parent / "pool.c").read_text(encoding="utf-8"))
    library.set_threads(ctypes.c_int64(available_cores()))
    return library


@functools.cache
def _shared(name: str) -> ctypes.CDLL:
    """A library of functions that programs share as they take a second or two to compile; see TF_SHARED."""
    return build(f"{header()}\nconst void *const address = shared_{name};\n")


def contiguous(x: Array) -> Array:
    """The array itself where C code can read it, or a copy."""
    return x if type(x) is np.ndarray and x.flags.carray else np.ascontiguousarray(x)
