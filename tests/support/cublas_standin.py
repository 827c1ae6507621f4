"""A stand-in for cuBLAS' library: products of matrices by NumPy.

It looks at what it is told: a handle that CuPy has, the stream that is CuPy's current one, a workspace that was given
after the stream, leading dimensions, and scalars. While it calculates, the workspace has to be there, and to come from
CuPy in the same stream: what runs in another one may have the same memory.
"""

import ctypes
import sys
import threading
import types
import weakref

import numpy as np

from tests.support import graphs
from tests.support.device_standin import DeviceArray
from tinyflux.compile.backends.cuda import cublas

products = []  # m, n and k
handles = {}  # each with its stream and the address of its workspace
_allocated = {}  # workspaces by their addresses, each with the stream that it was asked for in
_own = threading.local()


class CublasError(Exception):
    """What cuBLAS would not report: it would calculate with wrong numbers, or at the wrong time."""


def expect(condition, message):
    if not condition:
        raise CublasError(message)


class Handle:
    """CuPy's, which destroys it with the thread."""

    def __init__(self):
        self.number = id(self)
        handles[self.number] = 0, None

    def __del__(self):
        handles.pop(self.number, None)


def get_cublas_handle():
    if not hasattr(_own, "handle"):
        _own.handle = Handle()
    return _own.handle.number


class Library:
    def cublasSetStream_v2(self, handle, stream):
        handles[handle] = stream, None

    def cublasSetWorkspace_v2(self, handle, address, size):
        expect(_allocated[address][0]().nbytes >= size >= 32 << 20, f"a workspace of {size} bytes")
        handles[handle] = handles[handle][0], address

    def cublasSgemm_v2(self, *arguments):
        product(np.float32, *arguments)

    def cublasDgemm_v2(self, *arguments):
        product(np.float64, *arguments)


def workspaces():
    """Those that somebody has."""
    return [address for address, (found, _) in _allocated.items() if found() is not None]


def product(dtype, handle, turn_a, turn_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """cuBLAS' product of matrices that lie column by column: c = α op(a) op(b) + β c."""
    stream, memory = handles[handle]
    current = sys.modules["cupy"].cuda.get_current_stream().ptr
    expect(stream == current, f"the stream is {stream}, not {current}")
    expect(memory, "no workspace was given for this stream")
    graphs.now_or_later(lambda: calculate(memory, dtype, turn_a, turn_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc))


def calculate(memory, dtype, turn_a, turn_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    expect(memory in workspaces(), "the workspace is no longer there")
    expect(_allocated[memory][1] is graphs.current_stream(), "the workspace comes from another stream")

    def matrix(address, rows, columns, ld):
        expect(ld >= max(1, rows), f"a leading dimension of {ld} for {rows} rows")
        size = ((columns - 1) * ld + rows) * np.dtype(dtype).itemsize
        memory = np.frombuffer((ctypes.c_char * size).from_address(address), dtype)
        strides = (memory.itemsize, ld * memory.itemsize)
        return np.lib.stride_tricks.as_strided(memory, (rows, columns), strides)

    def number(address):
        return matrix(address, 1, 1, 1).item()

    left = matrix(a, k, m, lda).T if turn_a else matrix(a, m, k, lda)
    right = matrix(b, n, k, ldb).T if turn_b else matrix(b, k, n, ldb)
    expect((number(alpha), number(beta)) == (1, 0), "scalars other than 1 and 0")
    products.append((m, n, k))
    matrix(c, m, n, ldc)[...] = left @ right


def install(monkeypatch, cupy):
    monkeypatch.setattr(cublas, "_library", Library)
    cupy.cuda.device = types.SimpleNamespace(get_cublas_handle=get_cublas_handle)
    empty = cupy.empty

    def allocated(shape, dtype):
        if shape != cublas.WORKSPACE:
            return empty(shape, dtype)
        x = DeviceArray(np.empty(shape, dtype))
        _allocated[x.data.ptr] = weakref.ref(x._host), graphs.current_stream()
        return x

    cupy.empty = allocated
    products.clear()
    handles.clear()
    _allocated.clear()
    vars(_own).clear()
