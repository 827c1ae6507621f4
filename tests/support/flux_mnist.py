"""What the tests of examples/flux_mnist share: small runs, their results, and processes to end."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from examples.common import workers
from examples.common.folder import Folder
from examples.common.progress import Display
from examples.flux_mnist import training
from examples.flux_mnist.grid import Run
from examples.flux_mnist.job import Job
from tests.support.scripts import ROOT, environment
from tinyflux.compile.backends.c.build import available

DATASET = {"dataset": "digits", "data_sha256": "of no matter here"}
PATIENCE = 300.0  # seconds for what takes a few, on a machine that is busy
NO_COMPILER = "/no/compiler"  # a value for $CC
RANDOM = np.random.default_rng(7)
LABELS = np.arange(40) % 10
PATTERNS = RANDOM.random((10, 784)) < 0.1  # little ink, as on real images
PIXELS, TEST_PIXELS = ((PATTERNS[LABELS] * RANDOM.random((40, 784))).astype(np.float32) for _ in range(2))
GOAL = 1_100  # with checkpoints at 500, 1000 and 1100

needs_compiler = pytest.mark.skipif(not available(), reason="there is no C compiler here")


def never():
    return False


def after(calls):
    """A `stop` that is True when it is asked for the n-th time."""
    count = itertools.count(1)
    return lambda: next(count) >= calls


class Clock:
    """In the place of `time`: tells the time that the test says has passed."""

    def __init__(self, monkeypatch, tick):
        self.now, self.tick = 0.0, tick
        monkeypatch.setattr(training, "time", self)

    def perf_counter(self):
        self.now += self.tick
        return self.now


def small(model="2LR", variant="stochastic", optimiser="ADAM", seed=0, batchsize=32):
    return Run(model, variant, optimiser, seed, batchsize if variant == "minibatch" else None)


def train(folder, goal, stop=never, dataset=DATASET, threads=1):
    training.train(folder, goal, dataset, threads, stop)


def state(folder):
    """All that was saved, as bits, but for the time, and the mark of the images."""
    with np.load(folder.state) as file:
        arrays = {name: (file[name].dtype, file[name].shape, file[name].tobytes()) for name in file.files}
    del arrays["model['seconds']"], arrays["model['run']"]
    return arrays


def count(folder):
    """The iteration that the saved state has come to."""
    with np.load(folder.state) as file:
        return int(file["model['curve'].count"])


def scores(folder):
    """The entries of checkpoints, but for the time."""
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in folder.checkpoints()]


def result(folder):
    return state(folder), scores(folder)


def events(folder):
    return [(entry["event"], entry["at"]) for entry in folder.metrics() if "event" in entry]


def job(results, run, goal, threads=1):
    return Job(str(results), run, goal, DATASET, 1_437, threads)


def train_all(jobs, submit):
    return workers.train_all(jobs, submit, Display(jobs, len(jobs)))


def undisturbed(results, run, goal):
    """The folder of a run that one process has trained in one go."""
    assert workers.in_a_process(job(results, run, goal)) == (workers.DONE, "")
    return Folder(results, run)


def start(tmp_path, *arguments):
    """The command, in a session of its own, so that all of its processes can be ended at once."""
    command = [sys.executable, "-m", "examples.flux_mnist", *map(str, arguments)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    return start_python(tmp_path, command, **pipes)


def start_python(tmp_path, command, **options):
    return subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path), start_new_session=True, **options)


def kill(process):
    """End the command and the processes it has started, as a power cut would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)


def finish(process):
    """What the command wrote, after it has ended well."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out


def wait_for(condition, process=None):
    """Wait until a condition holds, while the process that is to bring it about is alive."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None, f"it ended: {process.communicate()}"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def came_to(folder, iteration):
    """Whether a run's checkpoint has been noted."""
    return any(entry["iteration"] >= iteration for entry in folder.checkpoints())


def record_of_starts(folder):
    """Have each process of a run note how it was started; returns $PYTHONPATH, and the function that reads the notes.

    Where a file `kill` names the run, the process kills itself.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import json, os, pathlib, signal, sys\n"
        "folder, last = pathlib.Path(__file__).parent, sys.orig_argv[-1]\n"
        "if last.startswith('{'):\n"
        "    with open(folder / 'starts', 'a') as file:\n"
        "        file.write(json.dumps([json.loads(last), dict(os.environ)]) + '\\n')\n"
        "    if (folder / 'kill').exists() and (folder / 'kill').read_text() in last:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    starts = folder / "starts"
    starts.touch()
    return str(folder), lambda: [json.loads(line) for line in starts.read_text().splitlines()]
