"""Runs of examples/flux_mnist that were stopped, killed or disturbed: they come to the same, or are refused."""

import os
import signal

import pytest

import tinyflux as flux
from examples.common import datasets
from examples.common.command import Refused
from examples.common.folder import Folder
from examples.common.lock import Busy, lock
from examples.common.signals import Stopped, stop_on_signals
from examples.flux_mnist import grid, training
from tests.support.flux_mnist import (
    DATASET,
    GOAL,
    NO_COMPILER,
    PATIENCE,
    Clock,
    after,
    came_to,
    count,
    events,
    finish,
    kill,
    needs_compiler,
    never,
    result,
    scores,
    small,
    start,
    train,
    undisturbed,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("few_images")

EVERY_KIND = [(variant, rule) for variant in grid.VARIANTS for rule in grid.OPTIMISERS]


# Stopped, and gone on with


@pytest.mark.parametrize(("variant", "rule"), EVERY_KIND)
def test_stopping_changes_nothing(how, variant, rule, tmp_path):
    run = small(variant=variant, optimiser=rule, batchsize=12)
    whole, parts = Folder(tmp_path / "whole", run), Folder(tmp_path / "parts", run)
    train(whole, GOAL)
    for calls in (1, 4, 6, 3):
        with pytest.raises(Stopped, match=r"2LR .* seed 0 was stopped after [\d,]+ iterations"):
            train(parts, GOAL, after(calls))
        assert parts.told() is None
    train(parts, GOAL)
    begun, *gone_on = events(parts)
    assert begun == ("begun", 0)
    assert [event for event, _ in gone_on] == ["gone on"] * 4
    stops = [at for _, at in gone_on]
    assert 0 < stops[0] < stops[1] < stops[2] < stops[3] < GOAL
    assert result(parts) == result(whole)
    assert len(scores(whole)) == 3


def test_it_can_be_made_longer(tmp_path):
    parts, whole = Folder(tmp_path / "parts", small()), Folder(tmp_path / "whole", small())
    train(parts, 1_000)
    assert parts.ended(1_000)
    assert not parts.ended(1_001)
    train(parts, 3_000)
    train(whole, 3_000)
    assert result(parts) == result(whole)
    assert [entry["iteration"] for entry in whole.checkpoints()] == [500, 1000, 2000, 3000]


def test_what_is_done_is_not_repeated(tmp_path, monkeypatch):
    folder = Folder(tmp_path, small())
    train(folder, 600)
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.path.glob("*.*")}
    assert {path.name for path in files} == {"settings.json", "metrics.jsonl", "state.npz"}
    monkeypatch.setattr(datasets, "load", None)  # not even the images are needed
    train(folder, 600)
    train(folder, 550)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.path.glob("*.*")} == files


@pytest.fixture(name="whole")
def _whole(tmp_path):
    """The results of a run that nothing has disturbed."""
    folder = Folder(tmp_path / "whole", small())
    train(folder, GOAL)
    return result(folder)


class Died(BaseException):
    """As if the process had ended here."""


@pytest.mark.parametrize("checkpoint", [500, 1000, 1100])
def test_ended_between_the_state_and_the_line(checkpoint, whole, tmp_path, monkeypatch):
    def append(self, entry):
        if entry.get("iteration") == checkpoint:
            raise Died
        real(self, entry)

    real, folder = Folder.append, Folder(tmp_path, small())
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "append", append)
        with pytest.raises(Died):
            train(folder, GOAL)
    assert count(folder) == checkpoint  # a line tells of what is saved
    assert not came_to(folder, checkpoint)
    train(folder, GOAL)
    assert result(folder) == whole


def test_the_state_is_saved_between_checkpoints(whole, tmp_path, monkeypatch):
    def stop():
        if folder.state.exists() and count(folder) == 8:
            raise Died
        return False

    folder = Folder(tmp_path, small())
    with monkeypatch.context() as patch:
        Clock(patch, tick=10.0)
        with pytest.raises(Died):
            train(folder, GOAL, stop)
    assert training.SAVE == 30  # after 4 iterations of 10 seconds, and after 8
    train(folder, GOAL)
    assert events(folder) == [("begun", 0), ("gone on", 8)]
    assert result(folder) == whole


def test_ended_before_anything_was_saved(whole, tmp_path, monkeypatch):
    def save(*arguments):
        raise Died

    folder = Folder(tmp_path, small())
    with monkeypatch.context() as patch:
        patch.setattr(flux, "save", save)
        with pytest.raises(Died):
            train(folder, GOAL)
    train(folder, GOAL)
    assert events(folder) == [("begun", 0), ("begun", 0)]
    assert result(folder) == whole


@pytest.mark.parametrize(
    "left", [b'{"iteration": 1000, "accur', b'{"iteration": 1000, "accuracy": 0.125}', b"\xe2\x82"]
)
def test_a_line_that_was_not_written_to_its_end(left, whole, tmp_path):
    folder = Folder(tmp_path, small())
    train(folder, 500)
    with open(folder.path / "metrics.jsonl", "ab") as file:
        file.write(left)
    assert not folder.ended(1000)
    assert len(folder.checkpoints()) == 1
    train(folder, GOAL)
    assert result(folder) == whole
    assert len(folder.metrics()) == len((folder.path / "metrics.jsonl").read_text().splitlines()) == 5


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"", bytes.upper])
def test_a_damaged_state(damage, tmp_path):
    folder = Folder(tmp_path, small())
    train(folder, 500)
    folder.state.write_bytes(damage(folder.state.read_bytes()))
    metrics = folder.metrics()
    with pytest.raises(
        Refused, match=r"state\.npz is damaged.* Remove .*2LR-stochastic-ADAM-seed0, and the run begins"
    ):
        train(folder, GOAL)
    assert folder.metrics() == metrics


# What is refused


def test_another_batchsize_than_it_was_begun_with(tmp_path):
    train(Folder(tmp_path, small(variant="minibatch", batchsize=32)), 1)
    with pytest.raises(Refused, match="was begun with the batchsize 32, not 16; name another folder by --output"):
        train(Folder(tmp_path, small(variant="minibatch", batchsize=16)), 2)


def test_a_goal_that_was_passed_is_noted_where_the_run_stands(tmp_path):
    folder = Folder(tmp_path, small())
    with pytest.raises(Stopped):
        train(folder, 400, stop=after(3))
    stands = count(folder)
    assert 1 < stands < 400
    train(folder, 1)
    assert [entry["iteration"] for entry in folder.checkpoints()] == [stands]
    assert folder.ended(1)
    before = folder.metrics()
    train(folder, 1)
    assert folder.metrics() == before


def test_what_a_killed_process_left_behind_is_removed_and_a_damaged_word_on_progress_is_none(tmp_path):
    folder = Folder(tmp_path, small())
    folder.path.mkdir(parents=True)
    (folder.path / "progress.json").write_text("")
    (folder.path / ".state.npz.0123").write_bytes(b"half")
    assert folder.told() is None
    train(folder, 1)
    assert {path.name for path in folder.path.iterdir()} == {"lock", "settings.json", "metrics.jsonl", "state.npz"}


def test_damaged_settings_are_refused(tmp_path):
    folder = Folder(tmp_path, small())
    train(folder, 1)
    (folder.path / "settings.json").write_text("")
    with pytest.raises(Refused, match=r"settings\.json is damaged \(.*\); remove .*, and the run begins anew"):
        train(folder, 2)


def test_a_process_with_other_threads_than_the_run_was_begun_with_leaves_it(tmp_path):
    folder = Folder(tmp_path, small())
    train(folder, 1, threads=2)
    with pytest.raises(Busy, match="began 2LR stochastic ADAM seed 0 with 2 threads"):
        train(folder, 2, threads=1)
    assert count(folder) == 1


@pytest.mark.parametrize("name", ["dataset", "data_sha256"])
def test_another_dataset_than_it_was_begun_with(name, tmp_path):
    folder = Folder(tmp_path, small())
    train(folder, 1)
    with pytest.raises(Refused, match=f"was begun with the {name} '{DATASET[name]}', not 'other'"):
        train(folder, 2, dataset={**DATASET, name: "other"})


@needs_compiler
def test_native_code_is_not_gone_on_with_without_a_compiler(tmp_path, monkeypatch):
    folder = Folder(tmp_path, small())
    train(folder, 500)
    before = result(folder)
    with monkeypatch.context() as patch:
        patch.setenv("CC", NO_COMPILER)
        with pytest.raises(Refused, match=r"was begun with native code.*no/compiler"):
            train(folder, GOAL)
    assert result(folder) == before
    train(folder, GOAL)
    assert came_to(folder, GOAL)


def test_numpy_is_gone_on_with_by_numpy(tmp_path, monkeypatch):
    whole, parts = Folder(tmp_path / "whole", small()), Folder(tmp_path / "parts", small())
    with monkeypatch.context() as patch:
        patch.setenv("CC", NO_COMPILER)
        train(whole, GOAL)
        train(parts, 500)
    monkeypatch.setattr(flux, "compile_training", lambda *arguments: pytest.fail("it is begun with NumPy"))
    train(parts, GOAL)
    assert result(parts) == result(whole)


def test_a_run_that_another_process_holds(tmp_path):
    folder = Folder(tmp_path, small())
    with lock(folder.path), pytest.raises(Busy, match="trains 2LR stochastic ADAM"):
        train(folder, 1)
    assert folder.settings() is None
    train(folder, 1)
    assert came_to(folder, 1)


def test_waiting_for_another_process_can_be_stopped(tmp_path):
    def stop():
        asked.append(1)
        assert len(asked) < 5, "it waits all the same"
        return len(asked) > 1

    folder, asked = Folder(tmp_path, small()), []
    with lock(folder.path), pytest.raises(Stopped, match="while another process"):
        training.train(folder, 1, DATASET, 1, stop, wait=True)
    training.train(folder, 1, DATASET, 1, never, wait=True)
    assert came_to(folder, 1)


# Processes that are killed


LONG = 300_000  # long enough that not both runs are done before the command is killed
ARGUMENTS = ["run", "quick", "--dataset", "digits", "--optimisers", "ADAM", "--models", "4LS", "--workers", 2]
ARGUMENTS += ["--variants", "stochastic", "minibatch", "--batchsize", 8, "--iterations", LONG, "--output"]
RUNS = [small("4LS", variant, batchsize=8) for variant in ("stochastic", "minibatch")]


@needs_compiler
def test_a_command_that_is_killed_goes_on(tmp_path):
    output = tmp_path / "results"
    folders = [Folder(output, run) for run in RUNS]

    def noted():
        """Of both runs: on a busy machine one may be done before the other has begun."""
        return sum(len(folder.metrics()) for folder in folders)

    for folder, iteration in ((folders[0], 0), (folders[1], 500), (folders[0], 4_000)):
        process = start(tmp_path, *ARGUMENTS, output)
        begun = noted()
        wait_for(lambda f=folder, i=iteration, n=begun: noted() > n and (not i or came_to(f, i)), process)
        kill(process)
    finish(start(tmp_path, *ARGUMENTS, output))
    for folder in folders:
        assert result(folder) == result(undisturbed(tmp_path / "undisturbed", folder.run, LONG))
    assert max(at for folder in folders for _, at in events(folder)) >= 500


@needs_compiler
def test_children_of_a_command_that_is_killed_end(tmp_path):
    folder = Folder(tmp_path, RUNS[0])
    arguments = [*ARGUMENTS[:-1], "--variants", "stochastic", "--iterations", grid.LONGEST, "--output", tmp_path]
    process = start(tmp_path, *arguments)
    wait_for(lambda: came_to(folder, 500), process)
    os.kill(process.pid, signal.SIGKILL)  # the parent alone
    process.communicate(timeout=PATIENCE)  # until nobody holds the pipes
    with lock(folder.path).acquire(timeout=PATIENCE):
        last = count(folder)
    assert 500 <= last < grid.LONGEST
    assert folder.told() is None
    assert not folder.ended(grid.LONGEST)


@pytest.mark.parametrize(("handler", "stopped"), [(signal.SIG_IGN, False), (signal.default_int_handler, True)])
def test_ctrl_c_is_ignored_where_the_command_ignores_it(handler, stopped):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, handler)  # ignored, as a shell has it for what it runs in the background
    try:
        stop = stop_on_signals()
        signal.raise_signal(signal.SIGINT)
        assert stop() is stopped
        signal.raise_signal(signal.SIGTERM)
        assert stop()
    finally:
        for number, found in before.items():
            signal.signal(number, found)
