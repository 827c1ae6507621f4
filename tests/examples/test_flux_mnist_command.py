"""The command of examples/flux_mnist, as a person gives it."""

import os
import pty
import sys
import termios
import threading

import pytest

from examples.common import models
from examples.common.folder import Folder
from examples.flux_mnist.__main__ import main
from examples.flux_mnist.grid import LONGEST
from examples.flux_mnist.state import State
from tests.support.flux_mnist import (
    NO_COMPILER,
    PATIENCE,
    came_to,
    count,
    events,
    finish,
    needs_compiler,
    result,
    small,
    start,
    start_python,
    train,
    wait_for,
)
from tinyflux.installed import pip_install

COMMON = ["run", "quick", "--dataset", "digits", "--optimisers", "ADAM", "--batchsize", "32"]


def test_help(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    text = " ".join(shown.split())
    for word in ("quick ", "article ", "run ", "figures ", "report ", "run quick", "run article", "--output", "Dask"):
        assert word in text
    assert "goes on from where" in text
    assert "python -m examples.flux_mnist quick" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "required: command"),
        ("train", "invalid choice: 'train'"),
        ("run", "run needs one, quick or article"),
        ("run fast", "invalid choice: 'fast'"),
        ("figures quick", "figures and report take none"),
        ("quick article", "goes with run, not quick"),
        ("quick --models 5LS", "--models: invalid choice: '5LS'"),
        ("quick --variants online", "--variants: invalid choice: 'online'"),
        ("quick --optimisers SGD", "--optimisers: invalid choice: 'SGD'"),
        ("quick --dataset cifar", "--dataset: invalid choice: 'cifar'"),
        ("quick --iterations 0", "--iterations: expected a whole number from 1 to 2,048,000, got '0'"),
        ("quick --iterations 2048001", "expected a whole number from 1 to 2,048,000, got '2048001'"),
        ("quick --batchsize 1.5", "--batchsize: expected a whole number from 1 to 2,048,000, got '1.5'"),
        ("quick --workers x", "--workers: expected a whole number"),
        ("quick --seeds 0 -1", "-1"),
        ("quick --seeds half", "--seeds: expected a whole number from 0 on, got 'half'"),
    ],
)
def test_arguments_that_are_wrong(arguments, words, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: python -m examples.flux_mnist")
    assert words in error


def test_mini_batches_of_more_than_there_is(tmp_path, capsys):
    more = ["--batchsize", "1438", "--output", str(tmp_path / "out")]
    assert main([*COMMON, *more]) == 1
    assert "flux_mnist: --batchsize 1,438 is more than the 1,437 training images" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_runs_with_other_settings_are_refused_at_once(tmp_path, capsys):
    train(Folder(tmp_path, small("2LR", "minibatch", batchsize=64)), 1)
    assert main([*COMMON, "--output", str(tmp_path)]) == 1
    assert "2LR-minibatch-ADAM-seed0 was begun with the batchsize 64, not 32" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_package_is_named_before_anything_is_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "markdown", None)
    assert main(["quick", *COMMON[2:], "--output", str(tmp_path / "out")]) == 1
    err = capsys.readouterr().err
    assert "markdown cannot be imported" in err
    assert pip_install("examples") in err
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_does_not_cost_the_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CC", NO_COMPILER)
    more = ["--models", "2LR", "--variants", "stochastic", "--seeds", "0", "1", "--output", str(tmp_path)]
    assert main([*COMMON, *more, "--iterations", "1"]) == 0
    folder = Folder(tmp_path, small(seed=1))
    state, settings = State(folder, models.build("2LR")), folder.path / "settings.json"
    state.load()
    settings.write_text(settings.read_text().replace("NumPy", "native code"))
    state.save(None)  # as if there had been a compiler then
    assert main(["quick", *COMMON[2:], *more, "--iterations", "2"]) == 1
    out, err = capsys.readouterr()
    assert "flux_mnist: 1 runs failed:\n  2LR stochastic ADAM seed 1: " in err
    assert "was begun with native code" in err
    assert f"The report: {tmp_path / 'report' / 'report.html'}" in out


def test_on_a_pipe(tmp_path):
    output = tmp_path / "out"
    arguments = [*COMMON, "--models", "2LR", "--iterations", 3, "--variants", "stochastic", "minibatch"]
    arguments += ["--workers", 2, "--output", output]
    process = start(tmp_path, *arguments)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert not set(map(chr, range(32))) - {"\n"} & set(out)
    about, where, *done = (line for line in out.splitlines() if " of the work; " not in line)
    assert "2 runs on scikit-learn's digits" in about
    assert about.endswith(": 0 done, 0 to go on, 2 to begin")
    assert where.endswith(f"results in {output}")
    assert [line[:6] for line in done] == ["[1/2] ", "[2/2] "]
    for variant in ("stochastic", "minibatch"):
        (checkpoint,) = Folder(output, small(variant=variant)).checkpoints()
        (line,) = [line for line in done if f"2LR {variant} ADAM seed 0: " in line]
        assert f": {checkpoint['accuracy']:.2%} right after 3 iterations" in line
    states = {path: path.stat().st_mtime_ns for path in output.rglob("*.*")}
    assert main(list(map(str, arguments))) == 0
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.*")} == states


IN_THE_FOREGROUND = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job lacks
terminal = os.open(sys.argv.pop(1), os.O_RDWR)  # the first that a session opens controls it
os.dup2(terminal, 0), os.dup2(terminal, 1), os.dup2(terminal, 2)
runpy.run_module("examples.flux_mnist", run_name="__main__", alter_sys=True)
"""


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, tmp_path, *arguments):
        self.ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 100))
        command = [sys.executable, "-c", IN_THE_FOREGROUND, os.ttyname(theirs), *map(str, arguments)]
        self.process = start_python(tmp_path, command)
        self.shown = b""
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.theirs = theirs

    def read(self):
        while True:
            try:
                self.shown += os.read(self.ours, 4096)
            except OSError:  # the other side is closed
                return

    def end(self):
        """Its exit code."""
        code = self.process.wait(timeout=PATIENCE)
        os.close(self.theirs)
        self.reader.join(PATIENCE)
        os.close(self.ours)
        return code


@needs_compiler
def test_bars_on_a_terminal_and_ctrl_c(tmp_path):
    output = tmp_path / "out"
    folder = Folder(output, small("4LS"))
    arguments = [*COMMON, "--models", "4LS", "--variants", "stochastic", "--output", output, "--iterations"]
    terminal = Terminal(tmp_path, *arguments, LONGEST)
    wait_for(lambda: came_to(folder, 500) and b"loss=" in terminal.shown, terminal.process)
    os.write(terminal.ours, b"\x03")  # what the key sends; the terminal makes a signal of it for all in the foreground
    assert terminal.end() == 130
    shown = terminal.shown.decode()
    assert "0 of 1 runs done:   0%|" in shown
    assert "done: :" not in shown
    assert "4LS stochastic ADAM seed 0: " in shown
    assert "flux_mnist: stopped; the same command goes on from here" in shown
    assert "Traceback" not in shown
    stopped = count(folder)
    assert 500 <= stopped < LONGEST
    assert folder.told() is None
    more = stopped + 100
    assert (
        "1 runs on scikit-learn's digits, not MNIST (1,437 training and 360 test images): 0 done, 1 to go on"
        in finish(start(tmp_path, *arguments, more))
    )
    assert events(folder) == [("begun", 0), ("gone on", stopped)]
    whole = Folder(tmp_path / "whole", small("4LS"))
    train(whole, more)
    assert result(folder)[0] == result(whole)[0]
