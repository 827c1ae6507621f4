"""cuBLAS' products of matrices, called so that a CUDA graph can capture them, which CuPy's own calls can't be."""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ....types import Array

WORKSPACE = 32 << 20  # bytes: what NVIDIA recommends for the newest GPUs
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int
_GEMM = (_POINTER, *[_INT] * 5, _POINTER, _POINTER, _INT, _POINTER, _INT, _POINTER, _POINTER, _INT)
_FUNCTIONS = {
    "cublasCreate_v2": (_POINTER,),
    "cublasSetStream_v2": (_POINTER, _POINTER),
    "cublasSetWorkspace_v2": (_POINTER, _POINTER, ctypes.c_size_t),
    "cublasSgemm_v2": _GEMM,
    "cublasDgemm_v2": _GEMM,
}
_NAMES = {"float32": "cublasSgemm_v2", "float64": "cublasDgemm_v2"}


class _Blas(threading.local):
    """A thread's handles, by device: each with the stream that it was told, and the memory that it calculates in."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[Any, int | None, Array]] = {}


_blas = _Blas()


def handle() -> Any:
    """The handle for the current device, told CuPy's current stream."""
    import cupy

    device, stream = cupy.cuda.Device().id, cupy.cuda.get_current_stream().ptr
    found, told, memory = _blas.kept.get(device, (None, None, None))
    library = _library()
    if found is None:
        found, memory = ctypes.c_void_p(), cupy.empty(WORKSPACE, np.uint8)
        library.cublasCreate_v2(ctypes.byref(found))
    if told != stream:  # which takes the workspace away
        library.cublasSetStream_v2(found, stream)
        library.cublasSetWorkspace_v2(found, memory.data.ptr, WORKSPACE)
        _blas.kept[device] = found, stream, memory
    return found


def gemm(dtype: str) -> Callable[..., None]:
    """c = op(a) op(b) for matrices that lie column by column; arguments as in cuBLAS, addresses as integers."""
    found: Callable[..., None] = getattr(_library(), _NAMES[dtype])
    return found


@functools.cache
def _library() -> Any:
    """The library that CuPy has loaded."""
    import cupy

    major = cupy.cuda.runtime.runtimeGetVersion() // 1000
    cupy.cuda.device.get_cublas_handle()  # which loads it
    name = f"cublas64_{major}.dll" if sys.platform == "win32" else f"libcublas.so.{major}"
    library = ctypes.CDLL(name)
    for function, arguments in _FUNCTIONS.items():
        found = getattr(library, function)
        found.argtypes, found.restype, found.errcheck = arguments, _INT, _check
    return library


def _check(status: int, function: Any, arguments: Any) -> None:
    if status:
        raise RuntimeError(f"cuBLAS: {function.__name__} failed with status {status}.")
