"""Runs spread over processes: each is trained by a process of its own, started here or by a Dask worker elsewhere."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import tinyflux as flux

from . import training
from .folder import Folder, Refused
from .grid import Run
from .progress import Display

TRIES = 3  # of a run whose process dies
PATIENCE = 10.0  # seconds for a scheduler to answer
DONE, FAILED, REFUSED, BUSY, STOPPED = 0, 1, 2, 75, 130  # how a process ends
ROOT = Path(__file__).resolve().parents[2]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_at_work: set["subprocess.Popen[str]"] = set()  # the processes of runs that were started here
_leaving = threading.Event()  # set when they are to end


@dataclasses.dataclass
class Job:
    """What a process needs to know to train a run.

    Attributes:
        results: the folder of all results.
        goal: the iteration to train to.
        dataset: the images' name and hash.
        images: how many there are to train with.
        threads: how many its arithmetic may use.
        wait: whether to wait for another process that is at work on the run.
        tries: how many processes have died of it.
    """

    results: str
    run: Run
    goal: int
    dataset: dict[str, str]
    images: int
    threads: int
    wait: bool = False
    tries: int = 0

    @property
    def folder(self) -> Folder:
        return Folder(Path(self.results), Run(*self.run))


def train_all(jobs: list[Job], executor: Executor, display: Display) -> list[str]:
    """Train runs, as many at a time as the executor has workers; returns what went wrong, a line a run.

    A run whose process dies is tried again, TRIES times in all. One that another process is at work on is waited for in
    the end.
    """
    waiting = {executor.submit(in_a_process, job): job for job in jobs}
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
            waiting[executor.submit(in_a_process, job)] = job
        display.update()
    return problems


def _outcome(future: "Future[tuple[int, str]]") -> tuple[int, str]:
    try:
        return future.result()
    except Exception as error:  # a cluster has its own ways to lose a task
        return -1, f"{type(error).__name__}: {error}"


def in_a_process(job: Job) -> tuple[int, str]:
    """Train a run in a process of its own; returns how that ended, and its last words."""
    settings = job.folder.settings()
    threads = settings["threads"] if settings else job.threads  # the roundings of large sums depend on it
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    env |= dict.fromkeys(THREADS, str(threads))
    arguments = json.dumps({**dataclasses.asdict(job), "threads": threads, "parent": os.getpid()})
    command = [sys.executable, "-m", __name__, arguments]
    options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
    with subprocess.Popen(command, env=env, **options) as process:
        _at_work.add(process)
        if _leaving.is_set():
            process.terminate()
        _, words = process.communicate()
        _at_work.discard(process)
    if process.returncode < 0:
        return process.returncode, signal.Signals(-process.returncode).name
    return process.returncode, words.strip()[-2000:]


def main(arguments: str) -> int:
    """The process of a run."""
    given = json.loads(arguments)
    parent, stopped = given.pop("parent"), training.stop_on_signals()
    job = Job(**given)
    folder = job.folder

    def stop() -> bool:
        orphaned = os.name != "nt" and os.getppid() != parent  # nobody would see what it does
        return stopped() or orphaned

    try:
        training.train(folder, job.goal, job.dataset, job.threads, stop, job.wait)
    except training.Busy as error:
        return _say(error, BUSY)
    except training.Stopped as error:
        return _say(error, STOPPED)
    except (Refused, OSError, flux.data.DataError) as error:
        return _say(error, REFUSED)
    return DONE


def _say(error: Exception, code: int) -> int:
    print(error, file=sys.stderr)
    return code


@contextmanager
def local(workers: int) -> Iterator[Executor]:
    """Workers on this machine."""
    executor = ThreadPoolExecutor(workers)
    try:
        yield executor
    finally:
        _leaving.set()
        executor.shutdown(wait=False, cancel_futures=True)
        for process in list(_at_work):  # where this is left early: they save their states, and end
            process.terminate()
        executor.shutdown()
        _leaving.clear()


@contextmanager
def cluster(address: str, results: Path) -> Iterator[Executor]:
    """The workers of a Dask cluster, which were started in a copy of this folder and see the results' folder."""
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise Refused(f'dask.distributed cannot be imported ({error}); pip install "tinyflux[cluster]"') from error
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise Refused(f"--scheduler {address}: no Dask scheduler answers there ({error})") from error
    with client:
        token = results / f".seen-{os.urandom(8).hex()}"
        token.touch()
        try:
            blind = [worker for worker, sees in client.run(os.path.exists, str(token)).items() if not sees]
        finally:
            token.unlink()
        if blind:
            raise Refused(
                f"the worker {blind[0]} doesn't see the folder {results}; name one by --output that all share"
            )
        if not client.scheduler_info()["workers"]:
            raise Refused(f"the scheduler {address} has no workers; start some by: dask worker {address}")
        yield client.get_executor(retries=0)  # `train_all` tries again


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
