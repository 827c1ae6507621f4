"""Runs of examples/flux_mnist on a Dask cluster: the same results, and what is said where it can't be used."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from examples.common.command import Refused
from examples.common.folder import Folder
from examples.flux_mnist import cluster
from examples.flux_mnist.__main__ import main
from tests.support.flux_mnist import (
    PATIENCE,
    came_to,
    events,
    job,
    needs_compiler,
    record_of_starts,
    result,
    small,
    start,
    train,
    train_all,
    wait_for,
)
from tinyflux.installed import pip_install

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
psutil = pytest.importorskip("psutil", reason="psutil, a part of dask.distributed, is not installed")

LONG = 400_000
OTHER = "raise ImportError('this is another package, of the folder in which the cluster was started')"


class Cluster:
    """A scheduler and its workers, started as by hand: in a folder that is not the clone, and has an `examples`, too.

    Attributes:
        address: the scheduler's.
    """

    def __init__(self, folder):
        self.folder, self.started = folder, []
        (folder / "examples").mkdir()
        (folder / "examples" / "__init__.py").write_text(OTHER)
        self.log = open(folder / "log", "w")  # noqa: SIM115
        about = folder / "scheduler.json"
        self.dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", about)
        wait_for(lambda: about.exists() and about.read_text().endswith("}"), self.started[0])
        self.address = json.loads(about.read_text())["address"]

    def dask(self, *arguments, path=None):
        """Start a process of the command `dask`; `path` is its $PYTHONPATH, which is not set otherwise."""
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        env |= {"PYTHONPATH": str(path)} if path else {}
        command = [sys.executable, "-m", "dask", *map(str, arguments), "--no-dashboard"]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": self.log, "stderr": self.log}
        self.started.append(subprocess.Popen(command, cwd=self.folder, env=env, start_new_session=True, **pipes))

    def worker(self, processes=1, **options):
        """Start workers, and wait until the scheduler knows them."""
        here = ["--host", "127.0.0.1", "--nworkers", processes, "--nthreads", 1, "--local-directory", self.folder]
        self.dask("worker", self.address, *here, **options)
        with distributed.Client(self.address, timeout=PATIENCE) as client:
            client.wait_for_workers(processes, timeout=PATIENCE)

    def close(self):
        for each in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)
            each.wait(PATIENCE)
        self.log.close()


@pytest.fixture(name="new_cluster")
def _new_cluster(tmp_path_factory):
    """A scheduler of the test's own, without workers."""
    with contextlib.closing(Cluster(tmp_path_factory.mktemp("cluster"))) as new:
        yield new


@pytest.fixture(name="two_workers", scope="module")
def _two_workers(tmp_path_factory):
    """A cluster of two workers, which are started anew when they die."""
    with contextlib.closing(Cluster(tmp_path_factory.mktemp("cluster"))) as new:
        new.worker(processes=2)
        yield new


def arguments(address, folder, *more):
    common = ["run", "quick", "--dataset", "digits", "--optimisers", "ADAM", "--batchsize", 32, "--output", folder]
    return [str(a) for a in [*common, "--scheduler", address, *more]]


def on_this_machine(folder, run, goal):
    train(Folder(folder, run), goal)
    return result(Folder(folder, run))


def refused(message, address, folder):
    with pytest.raises(Refused, match=message):
        cluster.cluster(address, folder).__enter__()
    assert not list(folder.iterdir())


@needs_compiler
def test_results_are_those_of_this_machine(two_workers, tmp_path, capsys):
    more = ["--models", "2LR", "4LS", "--variants", "stochastic", "--iterations", 1_000]
    assert main(arguments(two_workers.address, tmp_path, *more)) == 0
    out = capsys.readouterr().out
    assert f"on {two_workers.address}, 1 thread each; results in {tmp_path}" in out
    assert "[2/2]" in out
    for name in ("2LR", "4LS"):
        folder = Folder(tmp_path, small(name))
        assert result(folder) == on_this_machine(tmp_path / "here", folder.run, 1_000)
        assert folder.settings()["threads"] == 1
    assert not list(tmp_path.glob(".seen*"))


# What goes wrong with runs


def at_work(cluster):
    """The worker whose child trains a run."""
    for each in cluster.started:
        for child in psutil.Process(each.pid).children(recursive=True):
            if "examples.flux_mnist.job" in child.cmdline():
                return child.parent()
    return None


@needs_compiler
def test_a_worker_that_is_killed(two_workers, tmp_path):
    folder = Folder(tmp_path, small("4LS"))
    more = ["--models", "4LS", "--variants", "stochastic", "--iterations", LONG]
    with ThreadPoolExecutor(1) as beside:
        done = beside.submit(main, arguments(two_workers.address, tmp_path, *more))
        wait_for(lambda: done.done() or came_to(folder, 500))
        at_work(two_workers).kill()
        assert done.result(PATIENCE) == 0
    (begun, gone_on) = events(folder)
    assert begun == ("begun", 0)
    assert ("gone on", 500) <= gone_on < ("gone on", LONG)
    assert result(folder) == on_this_machine(tmp_path / "here", folder.run, LONG)


def test_a_run_that_is_refused(two_workers, tmp_path, capsys):
    refused = job(tmp_path, small(), 500)
    train(refused.folder, 1, dataset={"dataset": "digits", "data_sha256": "other"})
    with cluster.cluster(two_workers.address, tmp_path) as submit:
        (problem,) = train_all([refused], submit)
    assert "was begun with the data_sha256 'other', not 'of no matter here'" in problem
    assert ", on the worker tcp://127.0.0.1:" in problem


def test_an_error_in_a_worker_is_no_death(two_workers, tmp_path, monkeypatch, capsys):
    def runner():
        def run(root, module, *arguments):
            if module.endswith("job"):
                raise ValueError("something is wrong here")
            return 0, ""

        return run

    monkeypatch.setattr(cluster, "runner", runner)
    with cluster.cluster(two_workers.address, tmp_path) as submit:
        problems = train_all([job(tmp_path, small(), 500)], submit)
    assert problems == ["2LR stochastic ADAM seed 0: ValueError: something is wrong here"]
    assert "tried again" not in capsys.readouterr().out


def test_a_process_that_dies_again_and_again(new_cluster, tmp_path, capsys):
    path, starts = record_of_starts(tmp_path / "starts")
    (tmp_path / "starts" / "kill").write_text("2LR")
    new_cluster.worker(path=path)
    with cluster.cluster(new_cluster.address, tmp_path) as submit:
        (problem,) = train_all([job(tmp_path, small(), 500)], submit)
    assert problem.startswith("2LR stochastic ADAM seed 0: SIGKILL, on the worker tcp://127.0.0.1:")
    assert [given["tries"] for given, _ in starts() if "tries" in given] == [0, 1, 2]
    assert capsys.readouterr().out.count("its process died (SIGKILL, on the worker tcp://127.0.0.1:") == 2


@needs_compiler
def test_a_scheduler_that_is_killed(new_cluster, tmp_path):
    new_cluster.worker()
    folder = Folder(tmp_path, small("4LS"))
    more = ["--models", "4LS", "--variants", "stochastic", "--iterations", 2_048_000]
    process = start(tmp_path, *arguments(new_cluster.address, tmp_path, *more))
    wait_for(lambda: came_to(folder, 500), process)
    new_cluster.started[0].kill()
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "flux_mnist: 1 runs failed:\n  4LS stochastic ADAM seed 0: the cluster's scheduler is gone" in error


# Clusters that can't be used


def test_workers_that_do_not_see_the_folder(two_workers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the workers are not
    refused(r"the worker tcp://.* doesn't see the folder .*--output", two_workers.address, Path())


def test_workers_that_do_not_see_the_clone(two_workers, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ROOT", tmp_path / "clone")
    refused(r"the worker tcp://.* doesn't see this clone, .*/clone; put it into", two_workers.address, tmp_path)


@pytest.mark.parametrize("name", ["tinyflux", "numpy", "scipy"])
def test_workers_of_another_version(name, two_workers, tmp_path, monkeypatch):
    found = cluster.versions()
    monkeypatch.setattr(cluster, "versions", lambda: {**found, name: "0.0.1"})
    message = rf"the worker tcp://.* can't train runs: {name} {found[name]}, expected 0\.0\.1\. Start it with"
    refused(message, two_workers.address, tmp_path)


def test_a_scheduler_of_another_python(two_workers, tmp_path, monkeypatch):
    found = cluster.PYTHON
    monkeypatch.setattr(cluster, "PYTHON", "3.99.1")
    refused(rf"the scheduler tcp://.* has Python {found}, expected 3\.99\.1", two_workers.address, tmp_path)


def test_a_worker_of_another_python():
    client = SimpleNamespace(run_on_scheduler=lambda f: f(), run=lambda f: {"tcp://a": f(), "tcp://b": "3.99.1"})
    with pytest.raises(Refused, match=rf"the worker tcp://b has Python 3\.99\.1, expected {cluster.PYTHON} as here"):
        cluster._check_python(client, "tcp://head")


@pytest.mark.parametrize("package", ["numpy", "filelock"])
def test_workers_without_what_a_run_needs(package, new_cluster, tmp_path):
    """Their own Python may have it: what counts is that of the processes that they start."""
    path, output = tmp_path / "path", tmp_path / "output"
    path.mkdir()
    output.mkdir()
    text = f"import sys\nif 'examples.flux_mnist.cluster' in sys.orig_argv:\n    sys.modules[{package!r}] = None\n"
    (path / "sitecustomize.py").write_text(text)
    new_cluster.worker(path=path)
    message = rf"the worker tcp://.* can't train runs: .*{package}.*\. Start it with a Python that has what the one"
    refused(message, new_cluster.address, output)


def test_no_workers(new_cluster, tmp_path):
    refused("has no workers; start some by: dask worker ", new_cluster.address, tmp_path)


def test_no_scheduler_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    assert main(arguments("tcp://127.0.0.1:1", tmp_path, "--models", "2LR", "--variants", "batch")) == 1
    error = capsys.readouterr().err
    assert error.startswith("flux_mnist: --scheduler tcp://127.0.0.1:1: no Dask scheduler answers there (Timed out")


def test_no_address_of_a_scheduler(tmp_path):
    process = start(tmp_path, *arguments("nonsense", tmp_path, "--models", "2LR", "--variants", "batch"))
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert error.startswith("flux_mnist: --scheduler nonsense: no Dask scheduler answers there (missing port")
    assert error.count("\n") == 1


def test_without_dask(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    assert main(arguments("tcp://127.0.0.1:1", tmp_path, "--models", "2LR", "--variants", "batch")) == 1
    assert pip_install("cluster") in capsys.readouterr().err
