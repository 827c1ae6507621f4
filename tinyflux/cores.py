"""Work for all cores: threads of our own, each of which calls OpenBLAS for itself.

OpenBLAS' own threads wait for work by spinning, on the cores that ours need; so it is set to one thread meanwhile.
"""

from __future__ import annotations

import _thread
import ctypes
import functools
import itertools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .interrupts import for_thread

_here = threading.local()  # `busy` while a thread works through its share: it then shares nothing out itself
_lock = threading.RLock()
_blas_threads: int | None = None  # what OpenBLAS is to be set back to


def exclusively(work: Callable[[], Any]) -> Any:
    """Call `work`, which may `share` what it does, while no other thread does so and OpenBLAS uses one thread."""
    global _blas_threads
    blas = _blas()
    if blas is None or getattr(_here, "busy", False):
        return work()
    get, set_to = blas
    with _lock:
        if _blas_threads is None:  # otherwise an interrupt came in the way of setting it back
            _blas_threads = get()
        try:
            set_to(1)
            return work()
        finally:
            if _blas_threads is not None:
                set_to(_blas_threads)
                _blas_threads = None


def share(work: Callable[[Sequence[Any]], Any], items: Sequence[Any]) -> list[Any]:
    """Call `work` on stretches of `items`, one for each core: always the same ones, and so with the same roundings."""
    count = 1 if getattr(_here, "busy", False) else min(available_cores(), len(items))
    bounds = [len(items) * i // count for i in range(count + 1)]
    own, *others = [items[a:b] for a, b in itertools.pairwise(bounds)]
    helpers = [_start(work, stretch) for stretch in others]
    try:
        results = [_busily(work, own)]
    finally:
        results_of_others = [helper() for helper in helpers]
    return results + results_of_others


def _busily(work: Callable[[Sequence[Any]], Any], stretch: Sequence[Any]) -> Any:
    before = getattr(_here, "busy", False)
    try:
        _here.busy = True
        return work(stretch)
    finally:
        _here.busy = before


def _start(work: Callable[[Sequence[Any]], Any], stretch: Sequence[Any]) -> Callable[[], Any]:
    """Have another thread do the work; returns the function that waits for what it gives.

    A new thread each time, by the lowest means: those of `threading` and `concurrent.futures` can hang or fail when
    Ctrl-C comes while they wait.
    """
    done = _thread.allocate_lock()
    done.acquire()
    run, result = for_thread(lambda: _busily(work, stretch), done.release)
    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:  # the interpreter is shutting down, or the system has no more threads
        return lambda: _busily(work, stretch)
    return lambda: done.acquire() and result()


def _after_fork() -> None:
    """A child has no threads but its own, whatever those of its parent were doing."""
    global _lock, _blas_threads
    _lock = threading.RLock()
    if _blas_threads is not None:
        _blas()[1](_blas_threads)  # type: ignore[index]
        _blas_threads = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def available_cores() -> int:
    """As many threads as BLAS would use: the cores of this process, or fewer where the user says so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")]
    return min([cores, *(int(n) for n in limits if n.isdigit() and int(n) > 0)])


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


@functools.cache
def keep_memory() -> None:
    """Let the C library keep what is freed, up to half a gigabyte, for the next step.

    By default it hands large arrays back to the system at once, and the system clears every page of the next one: a
    fifth of the time of a step over 60,000 images, and more than half of an update of 50,000 parameters.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold = -1, -3
        mallopt(m_trim_threshold, 1 << 29)
        mallopt(m_mmap_threshold, 1 << 25)
