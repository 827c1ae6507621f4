"""Changes that an interrupt can't split: an update of a model is made as a whole, or not at all.

Ctrl-C, other signals, and `_thread.interrupt_main` raise their exceptions between two steps of Python code in the main
thread: never within a call of a function written in C, and never in another thread. So what has to be whole is prepared
first, and done in one such call.
"""

from __future__ import annotations

import _thread
import collections
import contextvars
import ctypes
import functools
import itertools
import operator
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

# As pythonapi, except that other threads run meanwhile; its locks wait without a look at signals.
_interpreter = ctypes.CDLL(None, handle=ctypes.pythonapi._handle)
_acquire, _release = _interpreter.PyThread_acquire_lock, _interpreter.PyThread_release_lock
_interpreter.PyThread_allocate_lock.restype = ctypes.c_void_p
_acquire.argtypes, _release.argtypes, _release.restype = [ctypes.c_void_p, ctypes.c_int], [ctypes.c_void_p], None
_ended = _interpreter.PyThread_allocate_lock()  # held while the main thread waits for another


def commit(changes: Iterable[tuple[Any, ...]]) -> None:
    """Call functions one after another, in one call of C.

    Arguments:
        changes: tuples of a function and its arguments; all of them are written in C, and none of them fails.

    >>> found = []
    >>> commit([(found.append, 1), (found.extend, [2, 3])])
    >>> found
    [1, 2, 3]
    """
    exhaust(calls(changes))


def calls(changes: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """The calls that `commit` makes, to be made by `exhaust` later: in a `finally`, which no interrupt can prevent."""
    return itertools.starmap(operator.call, changes)


exhaust: Callable[[Iterable[Any]], Any] = functools.partial(collections.deque, maxlen=0)


def uninterrupted(work: Callable[[], Any]) -> Any:
    """Call `work` in a thread of its own, where no interrupt comes; the main thread's interrupts wait for its end.

    >>> uninterrupted(lambda: 1 + 2)
    3
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    run, result = for_thread(work, lambda: _release(_ended))
    try:
        commit([(_acquire, _ended, 1), (_thread.start_new_thread, run, ()), (_acquire, _ended, 1), (_release, _ended)])
    except RuntimeError:  # the interpreter is shutting down, or the system has no more threads
        _release(_ended)
        return work()
    return result()


def for_thread(work: Callable[[], Any], ended: Callable[[], None]) -> tuple[Callable[[], None], Callable[[], Any]]:
    """What another thread is to run, which calls `ended` at its end; and then what `work` gave, or its error raised."""
    context = contextvars.copy_context()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.extend((context.run(work), None))
        except BaseException as error:
            outcome.extend((None, error))
        finally:
            ended()

    def result() -> Any:
        value, error = outcome
        if error is not None:
            raise error
        return value

    return run, result


def _after_fork() -> None:
    """A child's lock is its own, whatever its parent's main thread was waiting for."""
    global _ended
    _ended = _interpreter.PyThread_allocate_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
