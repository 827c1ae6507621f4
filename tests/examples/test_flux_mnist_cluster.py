"""Runs of examples/flux_mnist on a Dask cluster: the same results, and what is said where it can't be used."""

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flux_mnist_helpers import PATIENCE, came_to, events, needs_compiler, result, small, start, train, wait_for

from examples.flux_mnist import workers
from examples.flux_mnist.__main__ import main
from examples.flux_mnist.folder import Folder, Refused

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
psutil = pytest.importorskip("psutil", reason="psutil, a part of dask.distributed, is not installed")

LONG = 400_000


@pytest.fixture(name="cluster", scope="module")
def _cluster():
    """Two workers, in processes of their own, which are started anew when they die."""
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(n_workers=2, **options) as cluster:
        cluster.wait_for_workers(2, timeout=PATIENCE)
        yield cluster


def arguments(address, folder, *more):
    common = ["run", "quick", "--dataset", "digits", "--optimisers", "ADAM", "--batchsize", 32, "--output", folder]
    return [str(a) for a in [*common, "--scheduler", address, *more]]


def on_this_machine(folder, run, goal):
    train(Folder(folder, run), goal)
    return result(Folder(folder, run))


@needs_compiler
def test_results_are_those_of_this_machine(cluster, tmp_path, capsys):
    more = ["--models", "2LR", "4LS", "--variants", "stochastic", "--iterations", 1_000]
    assert main(arguments(cluster.scheduler_address, tmp_path, *more)) == 0
    out = capsys.readouterr().out
    assert f"on {cluster.scheduler_address}, 1 thread each; results in {tmp_path}" in out
    assert "[2/2]" in out
    for name in ("2LR", "4LS"):
        folder = Folder(tmp_path, small(name))
        assert result(folder) == on_this_machine(tmp_path / "here", folder.run, 1_000)
        assert folder.settings()["threads"] == 1
    assert not list(tmp_path.glob(".seen*"))


def at_work(cluster):
    """The worker whose child trains a run."""
    for worker in cluster.workers.values():
        process = psutil.Process(worker.process.pid)
        if any("examples.flux_mnist.workers" in child.cmdline() for child in process.children()):
            return process
    return None


@needs_compiler
def test_a_worker_that_is_killed(cluster, tmp_path):
    folder = Folder(tmp_path, small("4LS"))
    more = ["--models", "4LS", "--variants", "stochastic", "--iterations", LONG]
    with ThreadPoolExecutor(1) as beside:
        done = beside.submit(main, arguments(cluster.scheduler_address, tmp_path, *more))
        wait_for(lambda: done.done() or came_to(folder, 500))
        os.kill(at_work(cluster).pid, signal.SIGKILL)
        assert done.result(PATIENCE) == 0
    (begun, gone_on) = events(folder)
    assert begun == ("begun", 0)
    assert ("gone on", 500) <= gone_on < ("gone on", LONG)
    assert result(folder) == on_this_machine(tmp_path / "here", folder.run, LONG)


def test_workers_that_do_not_see_the_folder(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the workers are not
    with pytest.raises(Refused, match=r"the worker tcp://.* doesn't see the folder .*--output"):
        workers.cluster(cluster.scheduler_address, Path()).__enter__()
    assert not list(tmp_path.iterdir())


def test_no_workers(tmp_path):
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0", processes=False) as cluster,
        pytest.raises(Refused, match=r"has no workers; start some by: dask worker "),
    ):
        workers.cluster(cluster.scheduler_address, tmp_path).__enter__()


def test_no_scheduler_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
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
    assert 'pip install "tinyflux[cluster]"' in capsys.readouterr().err
