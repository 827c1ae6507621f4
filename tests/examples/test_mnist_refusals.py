"""How examples/mnist.py refuses: a short message, no traceback, nothing half-written, an exit code other than 0."""

import errno
import gzip
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from examples import mnist
from examples.common import datasets, pictures
from examples.common.files import check_folder
from tests.support.scripts import SCRIPT, after, environment, refused, result, script, without_the_word_on_compiling
from tinyflux.installed import pip_install


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--iterations 0", "--iterations: expected a whole number from 1 to 10^12, got '0'"),
        ("--iterations=-3", "--iterations: expected a whole number from 1 to 10^12, got '-3'"),
        ("--iterations -3", "--iterations"),
        ("--iterations abc", "--iterations: expected a whole number from 1 to 10^12, got 'abc'"),
        ("--batchsize 0", "--batchsize: expected a whole number from 1 to 10^12, got '0'"),
        ("--batchsize 8 --variant batch", "--batchsize: goes with --variant minibatch, not batch"),
        ("--eta=-1", "--eta: expected a number above 0, got '-1'"),
        ("--eta nan", "--eta: expected a number above 0, got 'nan'"),
        ("--eta inf", "--eta: expected a number above 0, got 'inf'"),
        ("--seed=-1", "--seed: expected a whole number from 0 on, got '-1'"),
        ("--model 5LS", "--model: invalid choice: '5LS'"),
        ("--device tpu", "--device: invalid choice: 'tpu'"),
    ],
)
def test_bad_options(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        mnist.main(arguments.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_bad_options_in_a_real_process(tmp_path):
    refused(script(tmp_path, "--iterations", "0"), 2, "mnist.py: error: argument --iterations: expected")
    assert not (tmp_path / "results").exists()


def test_a_batchsize_above_the_number_of_images(tmp_path, capsys):
    arguments = ["--dataset", "digits", "--batchsize", "1438", "--output", str(tmp_path)]
    assert mnist.main(arguments) == 1
    assert capsys.readouterr().err == "mnist: --batchsize 1,438 is more than the 1,437 training images; take fewer\n"


NO_GPU = "The GPU can't be used: CuPy is not installed; pip install"
WITHOUT_CUPY = f"import runpy, sys; sys.modules['cupy'] = None; sys.argv[0] = {str(SCRIPT)!r}; "
WITHOUT_CUPY += "runpy.run_path(sys.argv[0], run_name='__main__')"


def test_a_gpu_asked_for_and_not_to_be_had(tmp_path):
    arguments = ["--dataset", "digits", "--device", "gpu", "--output", tmp_path / "out"]
    done = script(tmp_path, *arguments, command=("-c", WITHOUT_CUPY))
    refused(done, 1, f"mnist: --device gpu: {NO_GPU}")
    assert done.stderr.count("\n") == 1
    assert not list((tmp_path / "out").iterdir())


def test_the_cpu_in_the_place_of_a_gpu(tmp_path):
    arguments = ["--dataset", "digits", "--device", "auto", "--iterations", "2", "--output", tmp_path / "out"]
    done = script(tmp_path, *arguments, command=("-c", WITHOUT_CUPY))
    assert done.returncode == 0
    assert done.stdout.count(f"--device auto: cpu. {NO_GPU}") == 1
    assert result(tmp_path / "out")["settings"]["device"] == "cpu"


def test_mnist_asked_for_and_not_to_be_had(tmp_path):
    done = script(tmp_path, "--dataset", "mnist", "--output", tmp_path / "out")
    refused(done, 1, "mnist: MNIST cannot be had here", "TINYFLUX_DATA")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("dataset", ["auto", "mnist"])
def test_a_damaged_file(dataset, tmp_path):
    whole = gzip.compress(b"\0\0\x08\x01\0\0\0\x03abc" * 100)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(whole[:-20])
    env = environment(tmp_path, TINYFLUX_DATA=str(tmp_path))
    done = script(tmp_path, "--dataset", dataset, "--output", tmp_path / "out", env=env)
    refused(done, 1, "train-images-idx3-ubyte.gz: expected a whole gzip file", "unset TINYFLUX_DATA")
    assert not list((tmp_path / "out").iterdir())


def test_a_loss_that_is_no_number(tmp_path):
    arguments = ["--dataset", "digits", "--optimiser", "Descent", "--eta", "1e38", "--output", tmp_path / "out"]
    done = script(tmp_path, *arguments)
    refused(done, 1, "mnist: stopped after 1 iterations, nothing was written", "smaller learning rate")
    assert without_the_word_on_compiling(done.stderr).count("\n") == 1
    assert not list((tmp_path / "out").iterdir())


def test_a_nan_in_the_data(tmp_path, monkeypatch, capsys):
    data = datasets.load("digits")
    data.train[0][:] = np.nan
    monkeypatch.setattr(datasets, "load", lambda name: data)
    assert mnist.main(["--output", str(tmp_path)]) == 1
    assert "stopped after 0 iterations, nothing was written; train: the loss is nan" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        done = script(tmp_path, "--dataset", "digits", "--output", path)
        refused(done, 1, f"mnist: --output {path}: cannot be written to (", "name another folder")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_the_earlier_results(tmp_path):
    out = tmp_path / "out"
    arguments = ["--dataset", "digits", "--iterations", "3", "--output", out]
    assert script(tmp_path, *arguments).returncode == 0
    before = {file.name: file.read_bytes() for file in out.iterdir()}

    limit = after("resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))")
    done = script(tmp_path, *arguments, "--seed", 1, command=limit)
    refused(done, 1, f"mnist: --output {out}: nothing was written (", "File too large")
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_a_disk_that_is_full_at_the_last_picture(tmp_path, monkeypatch, capsys):
    def fail(path, *arguments):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pictures, "digit_grid", fail)
    assert mnist.main(["--dataset", "digits", "--iterations", "2", "--output", str(tmp_path)]) == 1
    message = f"mnist: --output {tmp_path}: nothing was written (No space left on device)\n"
    assert without_the_word_on_compiling(capsys.readouterr().err) == message
    assert not list(tmp_path.iterdir())


def interrupted(tmp_path, line):
    """Start a long run, send it a real Ctrl-C after a line that contains `line`, and return what it left."""
    listening = after("signal.signal(signal.SIGINT, signal.default_int_handler)")  # some parents ignore it
    arguments = [sys.executable, *listening, "--dataset", "digits", "--iterations", "100000000"]
    process = subprocess.Popen(
        [*arguments, "--output", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(tmp_path),
    )
    for shown in process.stdout:
        if line in shown:
            break
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    return process.returncode, error


def test_ctrl_c_while_training(tmp_path):
    code, error = interrupted(tmp_path, "iteration     1,000")
    assert code == 130
    error = without_the_word_on_compiling(error)
    found = re.fullmatch(r"mnist: stopped by Ctrl-C after ([\d,]+) iterations; nothing was written\n", error)
    assert found
    assert int(found[1].replace(",", "")) >= 1000
    assert not list((tmp_path / "out").iterdir())


def test_ctrl_c_while_writing(tmp_path, monkeypatch, capsys):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures, "digit_grid", stop)
    assert mnist.main(["--dataset", "digits", "--iterations", "2", "--output", str(tmp_path)]) == 130
    error = without_the_word_on_compiling(capsys.readouterr().err)
    assert error == "mnist: stopped by Ctrl-C; nothing was written\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["matplotlib", "tqdm", "sklearn"])
def test_a_missing_package(package, tmp_path):
    code = f"import runpy, sys; sys.modules[{package!r}] = None; sys.argv[0] = 'mnist'; "
    code += f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    done = script(tmp_path, "--dataset", "digits", "--output", tmp_path / "out", command=("-c", code))
    refused(done, 1, "mnist: ", pip_install("examples"))
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out" / "model.npz").exists()


def test_what_a_killed_run_left_is_removed_after_an_hour(tmp_path):
    for name in (".unfinished-fresh", ".unfinished-stale", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.npz").write_text("half")
    for name in (".unfinished-stale", "model"):
        os.utime(tmp_path / name, (0, 0))
    check_folder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".unfinished-fresh", "model"]
