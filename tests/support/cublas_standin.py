"""A stand-in for cuBLAS' library: products of matrices by NumPy.

It looks at what it is told: a handle that was made, the stream that is CuPy's current one, a workspace that was given
after the stream, leading dimensions, and scalars.
"""

import ctypes
import sys

import numpy as np

from tests.support import graphs
from tinyflux.compile.backends.cuda import cublas

products = []  # m, n and k
handles = {}  # each with its stream and its workspace


class CublasError(Exception):
    """What cuBLAS would not report: it would calculate with wrong numbers, or at the wrong time."""


def expect(condition, message):
    if not condition:
        raise CublasError(message)


class Library:
    def cublasCreate_v2(self, handle):
        handle._obj.value = len(handles) + 1
        handles[len(handles) + 1] = [0, None]

    def cublasSetStream_v2(self, handle, stream):
        handles[handle.value] = [stream, None]

    def cublasSetWorkspace_v2(self, handle, address, size):
        expect(address and size >= 32 << 20, f"a workspace of {size} bytes")
        handles[handle.value][1] = address

    def cublasSgemm_v2(self, *arguments):
        product(np.float32, *arguments)

    def cublasDgemm_v2(self, *arguments):
        product(np.float64, *arguments)


def product(dtype, handle, turn_a, turn_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """cuBLAS' product of matrices that lie column by column: c = α op(a) op(b) + β c."""
    stream, workspace = handles[handle.value]
    current = sys.modules["cupy"].cuda.get_current_stream().ptr
    expect(stream == current, f"the stream is {stream}, not {current}")
    expect(workspace, "no workspace was given for this stream")
    graphs.now_or_later(lambda: calculate(dtype, turn_a, turn_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc))


def calculate(dtype, turn_a, turn_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
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


def install(monkeypatch):
    monkeypatch.setattr(cublas, "_library", Library)
    monkeypatch.setattr(cublas, "_blas", cublas._Blas())
    products.clear()
    handles.clear()
