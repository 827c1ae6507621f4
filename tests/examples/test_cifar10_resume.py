"""Runs of examples/cifar10.py that are killed go on when the command is given again, to the same numbers."""

import signal
import subprocess
import sys

import pytest

from examples import cifar10
from examples.common import epochs
from tests.support.cifar10_files import install, made_up, outcome
from tests.support.flux_mnist import NO_COMPILER, needs_compiler
from tests.support.mnist_files import digests
from tests.support.scripts import ROOT

OPTIONS = ["--epochs", "3", "--batchsize", "36", "--augment", "cutout", "--optimiser", "adam"]
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
MOMENTS = {
    "within the second epoch": f"""
def call(training, progress, call=epochs.Training.__call__):
    call(training, progress)
    if training.epoch == 1 and progress.losses and not progress.epoch_ended:
        {KILL}
epochs.Training.__call__ = call
""",
    "between the files of the second epoch": f"""
def write(path, text, write=epochs.write):
    if len(json.loads(text)["history"]) == 2:
        {KILL}
    write(path, text)
epochs.write = write
""",
    "after the second epoch": f"""
def write(path, text, write=epochs.write):
    write(path, text)
    if len(json.loads(text)["history"]) == 2:
        {KILL}
epochs.write = write
""",
}
MADE = dict(zip(MOMENTS, (1, 1, 2), strict=True))  # how many epochs are kept then


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Small files in the place of the data set's, in the folder `data`."""
    return install(tmp_path / "data", made_up(24), monkeypatch)


def run(folder, model):
    assert cifar10.main([*OPTIONS, "--model", model, "--output", str(folder)]) == 0


def kill(folder, model, files, moment):
    """Run the command in a process that ends itself by SIGKILL, in this environment: NumPy's roundings depend on it."""
    head = "import importlib, json, os, signal; from examples import cifar10; from examples.common import epochs"
    known = f"importlib.import_module('tinyflux.data.cifar10').CIFAR10.sha256 = {digests(files)!r}"
    arguments = [*OPTIONS, "--model", model, "--output", str(folder)]
    code = f"{head}\n{known}\n{moment}\ncifar10.main({arguments!r})"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL, timeout=300)
    assert ended.returncode == -signal.SIGKILL


def test_a_training_is_looked_at_ten_times_a_second(monkeypatch):
    training = object.__new__(epochs.Training)
    training._begun = 5.0
    monkeypatch.setattr(epochs.time, "perf_counter", lambda: 7.0)
    assert [training.due(made) for made in (0, 10, 1000)] == [0, 10, 1047]


@needs_compiler
@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path, files, capsys, monkeypatch):
    """With running statistics, the optimiser's averages, a learning rate that changes, and augmentation."""
    monkeypatch.setattr(cifar10, "show", lambda training, data, options: None)
    run(tmp_path / "whole", "wide_resnet-10-1")
    for moment, code in MOMENTS.items():
        folder = tmp_path / moment
        kill(folder, "wide_resnet-10-1", files, code)
        capsys.readouterr()
        run(folder, "wide_resnet-10-1")
        assert f"{MADE[moment]} of 3 epochs are made" in capsys.readouterr().out
        assert outcome(folder) == outcome(tmp_path / "whole")


def test_a_killed_run_goes_on_without_a_compiler(tmp_path, files, capsys, monkeypatch):
    monkeypatch.setenv("CC", NO_COMPILER)
    monkeypatch.setattr(cifar10, "show", lambda training, data, options: None)
    kill(tmp_path / "killed", "lenet5", files, MOMENTS["within the second epoch"])
    for name in ("killed", "whole"):
        run(tmp_path / name, "lenet5")
    assert "1 of 3 epochs are made" in capsys.readouterr().out
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
