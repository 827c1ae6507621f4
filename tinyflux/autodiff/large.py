"""Large arrays are worked through in blocks of rows, on all cores.

Most functions treat every row (along the first axis) by itself: all elementwise ones, softmax, a Dense layer. What
such a function gives for many rows can be put together from blocks of rows: temporaries then stay in the cache, and
the blocks can be shared between threads, for NumPy lets go of the interpreter while it calculates. The same is true
of their pullbacks, except that the cotangent of an argument that all rows share (a weight, a bias) is the sum over
the blocks.
"""

from __future__ import annotations

import contextvars
import ctypes
import functools
import itertools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

LARGE = 1 << 17  # elements; below this, blocks cost more than they save
BLOCK = 1 << 15  # elements of a block: with a few temporaries it stays in a core's cache

_thread = threading.local()
_pool: tuple[int, ThreadPoolExecutor] | None = None  # with the process it belongs to: threads don't survive a fork


def is_plain(values: Sequence[Any]) -> bool:
    """Whether all arrays among `values` are NumPy's own, and so can be worked through here."""
    return all(type(x) is np.ndarray or isinstance(x, (int, float, np.generic)) for x in values)


def aligned(rows: Any, values: Sequence[Any], shape: tuple[int, ...]) -> list[int]:
    """The arguments with a row for each row of the result: as declared, or by broadcasting where `rows` is True."""
    if rows is not True:
        return list(rows)
    return [k for k, x in enumerate(values) if np.ndim(x) == len(shape) and np.shape(x)[0] == shape[0]]


@functools.cache
def keep_memory() -> None:
    """Let the C library keep what is freed, up to half a gigabyte, for the next step.

    By default it hands large arrays back to the system at once, and the system clears every page of the next one: a
    fifth of the time of a step over 60,000 images.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold = -1, -3
        mallopt(m_trim_threshold, 1 << 29)
        mallopt(m_mmap_threshold, 1 << 25)


def forward(function: Callable[..., Any], rows: Any, values: Sequence[Any]) -> Any:
    """`function(*values)` in blocks of rows."""
    keep_memory()
    if rows is True:
        shape = np.broadcast_shapes(*[np.shape(x) for x in values])
        blocks = _blocks(shape)
    else:
        shape = values[rows[0]].shape
        blocks = _blocks(shape, at_least=BLOCK // 64)  # what may be a matrix product wants more rows
    cut = aligned(rows, values, shape)
    if len(blocks) < 2 or not cut:
        return function(*values)
    with _SINGLE:
        first = function(*_pieces(values, cut, blocks[0]))
    y = np.empty((shape[0], *first.shape[1:]), first.dtype)
    y[blocks[0]] = first
    is_ufunc = isinstance(function, np.ufunc)

    def work(some: Sequence[slice]) -> None:
        for block in some:
            pieces = _pieces(values, cut, block)
            if is_ufunc:
                function(*pieces, out=y[block])
            else:
                y[block] = function(*pieces)

    _in_parallel(work, blocks[1:])
    return y


def backward(pullback: Callable[..., Any], k: int, rows: Any, g: Any, y: Any, values: Sequence[Any]) -> Any:
    """`pullback(g, y, *values)`, the cotangent of argument k, in blocks of rows."""
    blocks = _blocks(y.shape)
    cut = aligned(rows, values, y.shape)
    if len(blocks) < 2 or not cut:
        return pullback(g, y, *values)
    if k in cut:
        return forward(pullback, [0, 1, *(i + 2 for i in cut)], (g, y, *values))
    shape = np.shape(values[k])

    def work(some: Sequence[slice]) -> Any:
        total = None
        for block in some:
            d = unbroadcast(pullback(g[block], y[block], *_pieces(values, cut, block)), shape)
            total = d if total is None else total + d
        return total

    return sum(_in_parallel(work, blocks))


def unbroadcast(d: Any, shape: tuple[int, ...]) -> Any:
    """Sum a cotangent over the axes along which an array of `shape` was broadcast."""
    if d.shape == shape:
        return d
    extra = d.ndim - len(shape)
    if d.ndim == 2 and extra == 1 and shape[0] == d.shape[1]:
        return np.dot(np.ones_like(d[:, 0]), d)  # the sum over the rows of a batch, by BLAS
    axes = tuple(range(extra)) + tuple(i for i, n in enumerate(shape, extra) if n == 1 and d.shape[i] != 1)
    return np.sum(d, axis=axes).reshape(shape)


def _pieces(values: Sequence[Any], cut: list[int], block: slice) -> list[Any]:
    return [x[block] if k in cut else x for k, x in enumerate(values)]


def _blocks(shape: tuple[int, ...], at_least: int = 0) -> list[slice]:
    """The rows of an array of `shape` in blocks; none where there are no rows of several elements to speak of."""
    if len(shape) < 2:
        return []
    size = max(1, at_least, BLOCK // max(1, int(np.prod(shape[1:]))))
    return [slice(i, min(i + size, shape[0])) for i in range(0, shape[0], size)]


def _in_parallel(work: Callable[[Sequence[slice]], Any], blocks: Sequence[slice]) -> list[Any]:
    """Share the blocks out, a stretch for each thread: who does what, and so every rounding, is always the same."""
    count = min(_cores(), len(blocks))
    bounds = [len(blocks) * i // count for i in range(count + 1)]
    stretches = [blocks[a:b] for a, b in itertools.pairwise(bounds)]
    with _SINGLE:
        helpers = [_threads().submit(contextvars.copy_context().run, work, stretch) for stretch in stretches[1:]]
        try:
            own = work(stretches[0])
        finally:
            others = [helper.result() for helper in helpers]
    return [own, *others]


class _SingleThreadedBLAS:
    """While blocks are being worked through, each thread calls OpenBLAS for itself.

    OpenBLAS' own threads would wait for work by spinning, on the cores that ours need.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.before = 1

    def __enter__(self) -> None:
        blas = _blas()
        with self.lock:
            if blas and not self.users:
                self.before = blas[0]()
                blas[1](1)
            self.users += 1

    def __exit__(self, *exception: object) -> None:
        blas = _blas()
        with self.lock:
            self.users -= 1
            if blas and not self.users:
                blas[1](self.before)


_SINGLE = _SingleThreadedBLAS()


@functools.cache
def _blas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """How many threads NumPy's OpenBLAS uses, and how to change that; None where NumPy was built with another BLAS."""
    for path in Path(np.__file__).parent.parent.glob("numpy.libs/libscipy_openblas*"):
        library = ctypes.CDLL(str(path))
        for suffix in ("64_", ""):
            names = [f"scipy_openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
            if all(hasattr(library, name) for name in names):
                return getattr(library, names[0]), getattr(library, names[1])
    return None


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None or _pool[0] != os.getpid():
        workers = max(1, _cores() - 1)
        _pool = (os.getpid(), ThreadPoolExecutor(workers, "tinyflux", setattr, (_thread, "is_worker", True)))
    return _pool[1]


def _cores() -> int:
    """As many threads as BLAS would use: the cores of this process, or fewer where the user says so."""
    if getattr(_thread, "is_worker", False):
        return 1  # a worker that waits for other workers could wait for ever
    limits = [os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")]
    return min([len(os.sched_getaffinity(0)), *(int(n) for n in limits if n.isdigit() and int(n) > 0)])
