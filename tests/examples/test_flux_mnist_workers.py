"""Runs of examples/flux_mnist in processes: some at a time, dying, held by others, and with threads of their own."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from examples.common import workers
from examples.common.folder import Folder
from examples.common.lock import lock
from examples.flux_mnist.grid import LONGEST
from tests.support.flux_mnist import (
    PATIENCE,
    came_to,
    count,
    events,
    finish,
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

LONG = 400_000  # iterations that take a second or more
SLOW = small("4LS")


class Died(Exception):
    """Something went wrong."""


@pytest.fixture(name="beside")
def _beside():
    """Do something beside the test."""
    with ThreadPoolExecutor(1) as executor:
        yield executor.submit


def in_this_process(folder, run, goal):
    """What the run comes to without any of what is tested here. (NumPy's sums may depend on the number of threads.)"""
    train(Folder(folder, run), goal)
    return result(Folder(folder, run))


@needs_compiler
def test_more_runs_than_workers(tmp_path, capsys):
    jobs = [job(tmp_path, small(variant=variant), 20) for variant in ("stochastic", "minibatch", "batch")]
    with workers.local(2) as submit:
        assert train_all(jobs, submit) == []
    lines = [line for line in capsys.readouterr().out.splitlines() if " of the work; " not in line]
    assert [line.partition("]")[0] for line in lines] == ["[1/3", "[2/3", "[3/3"]
    for each in jobs:
        assert result(each.folder) == in_this_process(tmp_path / "other", each.run, 20)
        last = each.folder.checkpoints()[-1]
        (line,) = [line for line in lines if str(each.run) in line]
        assert f"{last['accuracy']:.2%} right after 20 iterations, {last['seconds']:.1f} s of training" in line


@needs_compiler
def test_a_process_that_is_killed_is_replaced(beside, tmp_path, capsys):
    with workers.local(1) as submit:
        done = beside(train_all, [job(tmp_path, SLOW, LONG)], submit)
        folder = Folder(tmp_path, SLOW)
        wait_for(lambda: done.done() or came_to(folder, 500))
        (process,) = workers._at_work
        os.kill(process.pid, signal.SIGKILL)
        assert done.result(PATIENCE) == []
    assert f"{SLOW}: its process died (SIGKILL); it is tried again" in capsys.readouterr().out
    begun, gone_on = events(folder)
    assert begun == ("begun", 0)
    assert gone_on >= ("gone on", 500)
    assert result(folder) == in_this_process(tmp_path / "other", SLOW, LONG)


def test_a_process_that_dies_again_and_again(tmp_path, monkeypatch, capsys):
    path, starts = record_of_starts(tmp_path / "starts")
    monkeypatch.setenv("PYTHONPATH", path)
    (tmp_path / "starts" / "kill").write_text("3LS")
    dying, well = job(tmp_path, small("3LS"), 500), job(tmp_path, small("2LR"), 500)
    with workers.local(2) as submit:
        assert train_all([dying, well], submit) == ["3LS stochastic ADAM seed 0: SIGKILL"]
    assert [given["tries"] for given, _ in starts() if given["run"][0] == "3LS"] == [0, 1, 2]
    assert well.folder.ended(500)
    assert not dying.folder.ended(500)
    assert capsys.readouterr().out.count("it is tried again") == 2


def test_a_run_that_is_refused_leaves_the_others_alone(tmp_path):
    refused, well = job(tmp_path, small("4LS"), 500), job(tmp_path, small("2LR"), 500)
    train(refused.folder, 1, dataset={"dataset": "digits", "data_sha256": "other"})
    with workers.local(1) as submit:
        (problem,) = train_all([refused, well], submit)
    assert problem.startswith("4LS stochastic ADAM seed 0: ")
    assert "was begun with the data_sha256 'other', not 'of no matter here'" in problem
    assert "Traceback" not in problem
    assert well.folder.ended(500)


def test_a_run_that_another_process_holds_is_waited_for(beside, tmp_path, monkeypatch):
    path, starts = record_of_starts(tmp_path / "starts")
    monkeypatch.setenv("PYTHONPATH", path)
    held, free = job(tmp_path, small("4LS"), 500), job(tmp_path, small("2LR"), 500)
    with workers.local(1) as submit:
        with lock(held.folder.path):
            done = beside(train_all, [held, free], submit)
            wait_for(lambda: done.done() or any(given["wait"] for given, _ in starts()))
            assert free.folder.ended(500)  # the other was left for later
            assert held.folder.settings() is None
            assert not done.done()
        assert done.result(PATIENCE) == []
    assert held.folder.ended(500)
    assert [(given["run"][0], given["wait"]) for given, _ in starts()] == [
        ("4LS", False),
        ("2LR", False),
        ("4LS", True),
    ]


@needs_compiler
def test_two_commands_on_one_folder(tmp_path):
    results = tmp_path / "results"
    arguments = ["run", "quick", "--models", "4LS", "--optimisers", "ADAM", "--variants", "stochastic", "--seeds", 0, 1]
    arguments += ["--dataset", "digits", "--iterations", 15_000, "--batchsize", 32, "--output", results, "--workers", 1]
    both = [start(tmp_path, *arguments), start(tmp_path, *arguments)]
    for process in both:
        assert "[2/2]" in finish(process)
    for seed in (0, 1):
        folder = Folder(results, small("4LS", seed=seed))
        assert events(folder) == [("begun", 0)]
        assert result(folder) == in_this_process(tmp_path / "other", folder.run, 15_000)


def test_leaving_early_ends_the_processes(tmp_path):
    def leave():
        with workers.local(1) as submit:
            for each in jobs:
                submit(each)
            wait_for(lambda: came_to(begun, 500))
            raise Died

    jobs = [job(tmp_path, SLOW, LONGEST), job(tmp_path, small("3LS"), LONGEST)]
    begun, queued = (each.folder for each in jobs)
    with pytest.raises(Died):
        leave()
    assert not workers._at_work
    with lock(begun.path).acquire(timeout=0):
        assert 500 <= count(begun) < LONGEST
    assert queued.settings() is None


def test_the_threads_of_a_process(tmp_path, monkeypatch):
    path, starts = record_of_starts(tmp_path / "starts")
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "5")
    run = small()
    assert workers.in_a_process(job(tmp_path, run, 1, threads=3)) == (workers.DONE, "")
    assert Folder(tmp_path, run).settings()["threads"] == 3
    (tmp_path / "starts" / "kill").write_text("")  # what follows is known as soon as the processes start
    workers.in_a_process(job(tmp_path, run, 2, threads=1))  # it goes on as it was begun
    workers.in_a_process(job(tmp_path, small(seed=1), 1, threads=1))
    assert [given["threads"] for given, _ in starts()] == [3, 3, 1]
    assert [env["OPENBLAS_NUM_THREADS"] for _, env in starts()] == ["3", "3", "1"]
    assert [env["OMP_NUM_THREADS"] for _, env in starts()[:3]] == ["3", "3", "1"]
