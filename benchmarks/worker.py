"""A process for each contender, so that no thread of one is awake while another is being measured."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .models import Cell

STEPS = 5  # after which the contenders are compared
WARMUP = 1000  # steps, or half a second, before measuring: ADAM's averages of unlit pixels fade in that time


class Failed(SystemExit):
    """A contender's process has ended."""


class Worker:
    """A contender in a process of its own, which sleeps until it is told what to do.

    A package may be named that it imports at once, while others import theirs.
    """

    def __init__(self, make: Callable[..., Any], x: Any, y: Any, package: str | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, x, y, package), daemon=True)
        self._process.start()
        theirs.close()

    def prepare(self, cell: Cell) -> tuple[list[float], list[Any]]:
        """Begin a cell: the losses of its first STEPS steps, and the weights after them."""
        return self._ask(cell)

    def measure(self, seconds: float, patience: float = 0) -> float:
        """The seconds that a step takes, over a stretch of about `seconds`.

        For up to `patience` seconds a stretch in which other programs were running is repeated.
        """
        begin = time.monotonic()
        while True:
            start, busy = time.monotonic(), busy_elsewhere()
            duration = self._ask(float(seconds))
            now = time.monotonic()
            if now - begin > patience or busy_elsewhere() - busy < 0.05 * (now - start):
                return duration
            time.sleep(0.5)

    def close(self) -> None:
        self._pipe.close()
        self._process.join()

    def _ask(self, question: Any) -> Any:
        self._pipe.send(question)
        try:
            return self._pipe.recv()
        except EOFError:
            raise Failed("benchmarks: a contender failed; its error stands above.") from None


def busy_elsewhere() -> float:
    """How many seconds the cores have worked for others than this process and its children (Linux; elsewhere 0)."""
    if not os.path.exists("/proc/stat"):
        return 0.0
    own = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    busy = -sum(sum(map(int, _words(f"/proc/{pid}/stat")[-39:-37])) for pid in own)  # user and system time
    user, nice, system, _, _, irq, softirq = map(int, _words("/proc/stat")[1:8])
    return (busy + user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _words(path: str) -> list[str]:
    with open(path) as file:
        return file.readline().split()


def _serve(pipe: Any, make: Callable[..., Any], x: Any, y: Any, package: str | None) -> None:
    """Answer until the pipe is closed: a cell is prepared, a number is the length of a stretch to measure."""
    if package:
        importlib.import_module(package)
    run: Any = None
    duration = 0.0  # of a step
    while True:
        try:
            question = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        if not isinstance(question, float):
            run = weights = None  # lets go of the cell before
            run, weights = make(question, question.batches(x, y))
            pipe.send(([run(1) for _ in range(STEPS)], [np.array(w) for w in weights()]))
            duration = _timed(run, 1)
            duration = _timed(run, min(WARMUP, _count(0.5, duration)))
        else:
            # The first run is not counted: it fills the cache, and meanwhile the other contenders' threads fall asleep.
            duration = _timed(run, _count(question / 2, duration))
            duration = _timed(run, _count(question, duration))
            pipe.send(duration)


def _count(seconds: float, duration: float) -> int:
    return max(1, round(seconds / duration))


def _timed(run: Callable[[int], float], n: int) -> float:
    start = time.perf_counter()
    loss = run(n)
    duration = (time.perf_counter() - start) / n
    if not np.isfinite(loss):
        raise ArithmeticError(f"the loss became {loss}")
    return duration
