"""Runs spread over processes: each is trained by a process of its own, started here or by a Dask worker elsewhere."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import tinyflux as flux

from .command import Refused
from .folder import Folder
from .lock import Busy
from .process import ROOT, Ended, runner
from .progress import Display
from .signals import Stopped, stop_on_signals

TRIES = 3  # of a run whose process dies
DONE, FAILED, REFUSED, BUSY, STOPPED = 0, 1, 2, 75, 130  # how a process ends
_at_work: set["subprocess.Popen[str]"] = set()  # the processes of runs that were started here
_leaving = threading.Event()  # set when they are to end


@dataclasses.dataclass
class Job:
    """What a process needs to know to train a run; the module that holds a class of jobs is what it runs.

    Attributes:
        results: the folder of all results.
        run: as a tuple, when it has come to the process.
        goal: how far to train.
        dataset: the images' name and hash.
        images: how many there are to train with.
        threads: how many its arithmetic may use.
        wait: whether to wait for another process that is at work on the run.
        tries: how many processes have died of it.
    """

    results: str
    run: Any
    goal: int
    dataset: dict[str, str]
    images: int
    threads: int
    wait: bool = False
    tries: int = 0

    plural, unit = "runs", "it"  # what a display calls jobs, and what a goal counts

    @property
    def folder(self) -> Folder:
        """The run's folder."""
        raise NotImplementedError

    def call(self) -> tuple[str, str, str, int]:
        """The arguments with which `process.runner` does this."""
        settings = self.folder.settings()
        threads = settings["threads"] if settings else self.threads  # the roundings of large sums depend on it
        argument = json.dumps({**dataclasses.asdict(self), "threads": threads})
        return str(ROOT), type(self).__module__, argument, threads

    def reached(self) -> int:
        """How far the run has come, by what was noted."""
        raise NotImplementedError

    def cost(self, made: int) -> float:
        """About how long it takes to come so far, in a unit of its own."""
        return made

    def outcome(self) -> str:
        """What came of the run, in words."""
        raise NotImplementedError


Submit = Callable[[Job], "Future[Ended]"]  # has a worker train a run


def train_all(jobs: list[Job], submit: Submit, display: Display) -> list[str]:
    """Train runs, as many at a time as there are workers; returns what went wrong, a line a run.

    A run whose process dies is tried again, TRIES times in all. One that another process is at work on is waited for in
    the end.
    """
    waiting = {submit(job): job for job in jobs}
    problems = []
    while waiting:
        ended, _ = wait(waiting, timeout=0.25, return_when=FIRST_COMPLETED)
        for future in ended:
            job = waiting.pop(future)
            code, words = _outcome(future)
            if code == BUSY:
                job.wait = True
            elif code == DONE:
                display.done(job)
                continue
            elif code < 0 and job.tries + 1 < TRIES:
                job.tries += 1
                display.say(f"{job.run}: its process died ({words}); it is tried again")
            else:
                problems.append(f"{job.run}: {words}")
                display.say(problems[-1])
                continue
            waiting[submit(job)] = job
        display.update()
    return problems


def _outcome(future: "Future[Ended]") -> Ended:
    try:
        return future.result()
    except CancelledError:
        return FAILED, "the cluster's scheduler is gone; once one answers, the same command goes on from here"
    except Exception as error:  # no process was started, or a cluster gives the run up
        return FAILED, f"{type(error).__name__}: {error}"


def in_a_process(job: Job) -> Ended:
    """Train a run in a process that is started here; returns how that ended, and its last words."""
    return runner()(*job.call(), _known)


@contextmanager
def _known(process: "subprocess.Popen[str]") -> Iterator[None]:
    """While a process is at work, `local` knows it."""
    _at_work.add(process)
    try:
        if _leaving.is_set():
            process.terminate()
        yield
    finally:
        _at_work.discard(process)


def serve(parent: str, work: Callable[[Callable[[], bool]], None]) -> int:
    """Do the work of a process; returns the code with which it is to end.

    Arguments:
        parent: the number of the process that started this one.
        work: takes a function that tells whether it is to stop.
    """
    stopped = stop_on_signals()

    def stop() -> bool:
        orphaned = os.name != "nt" and os.getppid() != int(parent)  # nobody would see what it does
        return stopped() or orphaned

    try:
        work(stop)
    except Busy as error:
        return _say(error, BUSY)
    except Stopped as error:
        return _say(error, STOPPED)
    except (Refused, OSError, flux.data.DataError) as error:
        return _say(error, REFUSED)
    return DONE


def _say(error: Exception, code: int) -> int:
    print(error, file=sys.stderr)
    return code


@contextmanager
def local(workers: int) -> Iterator[Submit]:
    """Workers on this machine."""
    executor = ThreadPoolExecutor(workers)
    try:
        yield lambda job: executor.submit(in_a_process, job)
    finally:
        _leaving.set()
        executor.shutdown(wait=False, cancel_futures=True)
        for process in list(_at_work):  # where this is left early: they save their states, and end
            process.terminate()
        executor.shutdown()
        _leaving.clear()
