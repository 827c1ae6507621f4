"""Runs on the workers of a Dask cluster: these were started in any folder, but see the clone and the results."""

import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tinyflux as flux
from examples.common import machine
from examples.common.command import Refused, require
from examples.common.process import ROOT, Ended, runner
from examples.common.workers import REFUSED, Submit
from tinyflux.installed import pip_install

PATIENCE = 10.0  # seconds for a scheduler to answer
PYTHON = platform.python_version()


@contextmanager
def cluster(address: str, results: Path) -> Iterator[Submit]:
    """The workers of a Dask cluster, after seeing that all of them can train; Refused where one can't.

    Where a worker is lost, Dask itself has another one go on with the run: by its defaults three times.
    """
    with _client(address) as client:
        if not client.scheduler_info()["workers"]:
            raise Refused(f"the scheduler {address} has no workers; start some by: dask worker {address}")
        _check_folders(client, results)
        _check_python(client, address)
        _check_software(client)
        run = runner()

        def train(*arguments: Any) -> Ended:
            from dask.distributed import get_worker

            code, words = run(*arguments)
            return code, words and f"{words}, on the worker {get_worker().address}"

        executor = client.get_executor(retries=0)
        yield lambda job: executor.submit(train, *job.call())


def _client(address: str) -> Any:
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise Refused(f"dask.distributed cannot be imported ({error}); {pip_install('cluster')}") from error
    try:
        return Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise Refused(f"--scheduler {address}: no Dask scheduler answers there ({error})") from error


def _check_folders(client: Any, results: Path) -> None:
    for worker, sees in client.run(os.path.isdir, str(ROOT / "examples" / "flux_mnist")).items():
        if not sees:
            raise Refused(
                f"the worker {worker} doesn't see this clone, {ROOT}; put it into a folder that all machines share, "
                "under the same path, and start from there"
            )
    token = results / f".seen-{os.urandom(8).hex()}"
    token.touch()
    try:
        for worker, sees in client.run(os.path.exists, str(token)).items():
            if not sees:
                raise Refused(
                    f"the worker {worker} doesn't see the folder {results}; name one by --output that all share"
                )
    finally:
        token.unlink()


def _check_python(client: Any, address: str) -> None:
    """Functions can be sent as code between Pythons of the same minor version alone."""
    scheduler = {f"scheduler {address}": client.run_on_scheduler(platform.python_version)}
    workers = {f"worker {worker}": found for worker, found in client.run(platform.python_version).items()}
    for place, theirs in {**scheduler, **workers}.items():
        if theirs.split(".")[:2] != PYTHON.split(".")[:2]:
            raise Refused(f"the {place} has Python {theirs}, expected {PYTHON} as here; start it with the same Python")


def _check_software(client: Any) -> None:
    """Have each worker start a process as it would for a run, to see what that can import."""
    expected = versions()
    for worker, (code, words) in client.run(runner(), str(ROOT), __name__, json.dumps(expected), 1).items():
        if code != 0:
            reason = words.rpartition("\n")[2]  # the last line of a traceback says what is wrong
            raise Refused(
                f"the worker {worker} can't train runs: {reason}. Start it with a Python that has what the one here "
                f"has: {', '.join(f'{name} {version}' for name, version in expected.items())}"
            )


def versions() -> dict[str, str]:
    """Those of what the numbers of a run depend on."""
    packages = machine.versions("numpy", "scipy")
    return {"tinyflux": flux.__version__, "numpy": packages["numpy"], "scipy": packages["scipy"]}


def main(expected: str) -> int:
    """The process of a worker that is to say whether a run could be trained there; it has imported what a run does."""
    found = versions()
    wrong = [f"{name} {found[name]}, expected {v}" for name, v in json.loads(expected).items() if found[name] != v]
    try:
        require("filelock")
    except Refused as error:
        wrong.append(str(error))
    print("; ".join(wrong), file=sys.stderr)
    return REFUSED if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[-1]))
