"""Faults of the example's runs: their folders, and how they go on."""

import shutil
from pathlib import Path

import numpy as np

from examples.common import datasets
from examples.common.command import Refused
from examples.common.folder import Folder
from examples.flux_mnist import training
from examples.flux_mnist.grid import Run
from tests.faults.fault import Fault, that


def flux_mnist_run(goal=600, seed=0):
    """The folder of a run on the digits, trained for a moment."""
    rng = np.random.default_rng(0)
    data = datasets.Data("digits", "made up", *[(rng.random((20, 784), np.float32), np.arange(20) % 10)] * 2)
    whole, datasets.load = datasets.load, lambda name: data

    def train(folder, goal):
        datasets.load = lambda name: data
        try:
            training.train(folder, goal, {"dataset": "digits", "data_sha256": "none"}, 1, lambda: False)
        finally:
            datasets.load = whole

    folder = Folder(Path.cwd(), Run("2LR", "stochastic", "Descent", seed, None))
    train(folder, goal)
    return types_of(folder, train, Refused)


def types_of(folder, train, refused):
    """A run, what goes on with it, and the name of the error it is refused by."""

    def go_on(goal=1_000):
        lines = folder._metrics.read_bytes()
        try:
            train(folder, goal)
        except refused as error:
            return f"Refused, {'nothing cut' if folder._metrics.read_bytes() == lines else 'CUT'}: {error}"
        return "gone on with"

    folder.go_on = go_on
    return folder


REFUSED_RUN = that("Refused, nothing cut: …", lambda text: text.startswith("Refused, nothing cut"))


HELPERS = {"flux_mnist_run": flux_mnist_run, "shutil": shutil}
ENTRIES = [
    Fault(
        "a run with the state of another",
        """
        run, other = flux_mnist_run(), flux_mnist_run(seed=1)
        shutil.copy(other.state, run.state)
        run.go_on()
        """,
        REFUSED_RUN,
        HELPERS,
    ),
    Fault(
        "a run with settings of another rate",
        """
        run = flux_mnist_run()
        text = run._settings.read_text()
        run._settings.write_text(text.replace('"eta": 0.1', '"eta": 0.2'))
        ('"eta": 0.1' in text, run.go_on())
        """,
        that("(True, 'Refused, nothing cut: …')", lambda x: x[0] and x[1].startswith("Refused, nothing cut")),
        HELPERS,
    ),
    *[
        Fault(
            f"a run whose metrics hold {what}",
            f"run = flux_mnist_run()\nlines = run._metrics.read_bytes()\nrun._metrics.write_bytes({how})\nrun.go_on()",
            REFUSED_RUN,
            HELPERS,
        )
        for what, how in (
            ("nothing", 'b""'),
            ("a line that is no JSON", 'b"{oh\\n" + lines'),
            ("a NUL", "lines[:-3] + bytes(1) + lines[-3:]"),
            ("ends of lines of Windows", 'lines.replace(b"\\n", b"\\r\\n")'),
        )
    ],
]
