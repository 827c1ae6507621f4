"""A process that runs a module of this clone: a thread of this program starts it, or a worker of a Dask cluster."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]  # the folder of the clone
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

Ended = tuple[int, str]  # the code with which a process ended, a signal's below 0, and its last words
Runner = Callable[..., Ended]


def runner() -> Runner:
    """The function that runs a module in a process of its own, and waits for its end.

    It uses the standard library alone, and is made within another function: Dask sends such a one as code. Of one that
    stands in a module it sends the name, which scheduler and workers can't import: this clone isn't on their path.
    """

    def run(
        root: str,
        module: str,
        argument: str,
        threads: int,
        beside: Callable[["subprocess.Popen[str]"], AbstractContextManager[Any]] = nullcontext,
    ) -> Ended:
        """Run a module.

        Arguments:
            root: the folder of the clone, from which it is imported.
            module: its name.
            argument: what it gets, after the number of the process that started it.
            threads: how many its arithmetic may use.
            beside: makes of the process what is entered as long as it runs.
        """
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        env = {**os.environ, "PYTHONPATH": path, **dict.fromkeys(THREADS, str(threads))}
        command = [sys.executable, "-P", "-m", module, str(os.getpid()), argument]  # -P: not from the current folder
        options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
        with subprocess.Popen(command, env=env, **options) as process, beside(process):
            _, words = process.communicate()
        if process.returncode < 0:
            return process.returncode, signal.Signals(-process.returncode).name
        return process.returncode, words.strip()[-2000:]

    return run
