"""Subnormal numbers are zero while parameters are stepped.

The averages of a rule fade away wherever the gradient stays zero (pixels that are never lit, saturated units): after
some hundred steps they are subnormal, below 1.2e-38 in float32, where processors calculate up to a hundred times
slower. A step with Adam then takes four times as long for numbers that change nothing. Processors can take them for
zero; compilers' fast-math modes ask for that for a whole process, this module for the duration of a step.
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
import sys
import threading
from typing import Any

_FLUSH_TO_ZERO, _DENORMALS_ARE_ZERO = 0x8000, 0x0040  # bits of the control register MXCSR


class _Environment(ctypes.Structure):
    """glibc's `fenv_t` on x86-64."""

    _fields_ = (("x87", ctypes.c_ubyte * 28), ("mxcsr", ctypes.c_uint32))


_BITS = _FLUSH_TO_ZERO | _DENORMALS_ARE_ZERO
_libm: Any = None
if sys.platform == "linux" and platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc":
    _libm = ctypes.CDLL("libm.so.6")


class _Switch(threading.local):
    """A context in which a thread takes subnormal numbers for zero. It ends at the first exit, whatever was entered."""

    def __init__(self) -> None:
        self.environment = _Environment()
        self.pointer = ctypes.byref(self.environment)
        self.before: int | None = None  # how the bits stood

    def __enter__(self) -> None:
        _libm.fegetenv(self.pointer)
        if self.before is None:  # else an interrupt kept `__exit__` from being called
            self.before = self.environment.mxcsr & _BITS
        self._set_to(_BITS)

    def __exit__(self, *error: Any) -> None:
        if self.before is not None:
            _libm.fegetenv(self.pointer)
            self._set_to(self.before)
            self.before = None

    def _set_to(self, bits: int) -> None:
        self.environment.mxcsr = self.environment.mxcsr & ~_BITS | bits
        _libm.fesetenv(self.pointer)


_nothing = contextlib.nullcontext()
_switch = _Switch() if _libm is not None else _nothing


def flushed(wanted: bool) -> Any:
    """A context in which subnormal numbers are taken for zero in this thread, if that is wanted."""
    return _switch if wanted else _nothing
