"""cuBLAS' products of matrices, called so that a CUDA graph can capture them, which CuPy's own calls can't be.

The handles are CuPy's: it has one for each thread and device, and destroys it when the thread ends. Whatever CuPy does
with one begins with telling it the stream, which takes a workspace away again.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ....types import Array

WORKSPACE = 32 << 20  # bytes: what NVIDIA recommends for the newest GPUs
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int
_GEMM = (_POINTER, *[_INT] * 5, _POINTER, _POINTER, _INT, _POINTER, _INT, _POINTER, _POINTER, _INT)
_FUNCTIONS = {
    "cublasSetStream_v2": (_POINTER, _POINTER),
    "cublasSetWorkspace_v2": (_POINTER, _POINTER, ctypes.c_size_t),
    "cublasSgemm_v2": _GEMM,
    "cublasDgemm_v2": _GEMM,
}
_NAMES = {"float32": "cublasSgemm_v2", "float64": "cublasDgemm_v2"}


def make_workspace() -> Array:
    """Memory for cuBLAS to calculate in, which products that run at the same time can't share."""
    import cupy

    return cupy.empty(WORKSPACE, np.uint8)


def handle(workspace: Array) -> int:
    """CuPy's handle for this thread and the current device, told CuPy's current stream, and where to calculate."""
    import cupy

    found: int = cupy.cuda.device.get_cublas_handle()
    _library().cublasSetStream_v2(found, cupy.cuda.get_current_stream().ptr)
    _library().cublasSetWorkspace_v2(found, workspace.data.ptr, WORKSPACE)
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
