"""Train a small network to read handwritten digits, and see what it learned.

    python examples/mnist.py                                        # the defaults: a few seconds
    python examples/mnist.py --model 3LS --optimiser Descent --iterations 100000
    python examples/mnist.py --variant batch --dataset digits

The heart of it is `fit`: everything before makes its ingredients, everything after shows its results.
"""

import argparse
import importlib
import itertools
import json
import math
import os
import platform
import sys
import tempfile
import time
from bisect import bisect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

if not __package__:  # run as a file, in a folder that may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tinyflux as flux
from examples import models, pictures

ITERATIONS = {"batch": 300, "stochastic": 64_000, "minibatch": 4_000}
ETA = {"Descent": 0.1, "ADAM": 0.01}
RULES = {"Descent": flux.Descent, "ADAM": flux.ADAM}
CURVE_POINTS = 1_000  # of the loss curve that are kept, however long the run


class Data(NamedTuple):
    name: str
    note: str
    train: tuple[np.ndarray, np.ndarray]  # pixels (N, 784), labels (N,)
    test: tuple[np.ndarray, np.ndarray]


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        run(options)
    except KeyboardInterrupt as stop:
        print(f"mnist: {stop or 'stopped by Ctrl-C; nothing was written'}", file=sys.stderr)
        return 130
    except (OSError, ImportError, flux.data.DataError, flux.NonFiniteLoss, UsageError) as error:
        print(f"mnist: {error}", file=sys.stderr)
        return 1
    return 0


class UsageError(ValueError):
    """Options that don't fit the data."""


def run(options: argparse.Namespace) -> None:
    require("matplotlib", "tqdm")
    check_folder(options.output)
    data = load(options.dataset)
    if options.variant == "minibatch" and options.batchsize > len(data.train[0]):
        raise UsageError(f"--batchsize {options.batchsize} is more than the {len(data.train[0]):,} training images")
    flux.seed(options.seed)
    model = models.build(options.model)
    opt = flux.setup(RULES[options.optimiser](options.eta), model)
    print(f"{model}\n{describe(options)}, {options.iterations:,} iterations, on {data.note}")
    record = fit(model, opt, data, options)
    write(model, opt, data, options, record)


# ---- the command line


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train a small network to read handwritten digits.",
        epilog="An iteration is one update of the parameters. Pictures, figures and the trained model go to --output, "
        "in the place of those of an earlier run.",
    )
    add = parser.add_argument
    add("--model", choices=models.LOSSES, default="2LR", help="4LS: 784-16-16-16-10, sigmoid, mse. 3LS: 784-60-60-10, "
        "sigmoid, mse. 2LR: 784-32 relu, 32-10, softmax, crossentropy. (default: %(default)s)")  # fmt: skip
    add("--variant", choices=ITERATIONS, default="minibatch", help="what an update looks at. batch: all training images. "
        "stochastic: one image. minibatch: --batchsize images. Images are drawn without repetition until all have had "
        "their turn, then in a new random order. (default: %(default)s)")  # fmt: skip
    add("--optimiser", choices=RULES, default="ADAM", help="the rule that makes a step of a gradient (default: %(default)s)")
    defaults = ", ".join(f"{n:,} for {variant}" for variant, n in ITERATIONS.items())
    add("--iterations", type=count, metavar="N", help=f"how many updates to make (default: {defaults})")
    add("--batchsize", type=count, metavar="N", help="images in a mini-batch (default: 128)")
    defaults = ", ".join(f"{eta} for {rule}" for rule, eta in ETA.items())
    add("--eta", type=rate, help=f"the learning rate (default: {defaults})")
    add("--seed", type=natural, default=0, metavar="N", help="of all that is random (default: %(default)s)")
    add("--dataset", choices=("auto", "mnist", "digits"), default="auto", help="mnist: 60,000 images of 28 × 28 pixels, from the "
        "folder in the environment variable TINYFLUX_DATA, or downloaded. digits: the 1,797 of 8 × 8 pixels in scikit-learn, "
        "enlarged. auto: mnist where it can be had, else digits. (default: %(default)s)")  # fmt: skip
    add("--output", type=Path, default=Path("results", "mnist"), metavar="FOLDER", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.batchsize and options.variant != "minibatch":
        parser.error(f"argument --batchsize: goes with --variant minibatch, not {options.variant}")
    if options.variant == "minibatch":
        options.batchsize = options.batchsize or 128
    options.iterations = options.iterations or ITERATIONS[options.variant]
    options.eta = options.eta or ETA[options.optimiser]
    return options


def natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, got {text!r}")
    return int(text)


def count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def describe(options: argparse.Namespace) -> str:
    batches = f"minibatch of {options.batchsize}" if options.batchsize else options.variant
    return f"{options.model}, {batches}, {options.optimiser}({options.eta:g}), seed {options.seed}"


def require(*packages: str) -> None:
    """See at once, not after the training, whether everything is there."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ImportError(f'{package} is missing ({error}); pip install "tinyflux[examples]"') from error


def check_folder(folder: Path) -> None:
    """See at once, not after the training, whether the results can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"--output {folder} cannot be written to: {error.strerror}") from error


# ---- the data


def load(dataset: str) -> Data:
    """The images and labels to learn from and to test with, and a note in plain words of which they are."""
    if dataset == "digits":
        return from_source("digits", flux.data.digits, "scikit-learn's digits, not MNIST")
    try:
        return from_source("mnist", flux.data.mnist, "MNIST")
    except flux.data.DataUnavailable as error:
        if dataset == "mnist":
            raise
        print(f"{error}\nSo this run takes scikit-learn's digits instead: fewer images, and easier ones.")
    return from_source("digits", flux.data.digits, "scikit-learn's digits, as MNIST could not be had")


def from_source(name: str, source: Any, title: str) -> Data:
    (images, labels), (test_images, test_labels) = source("train"), source("test")
    note = f"{title} ({len(labels):,} training and {len(test_labels):,} test images)"
    return Data(name, note, (flux.flatten(images), labels), (flux.flatten(test_images), test_labels))


def batches(data: Any, options: argparse.Namespace) -> Iterator[Any]:
    """What each update looks at, without end."""
    if options.variant == "batch":
        return itertools.repeat(data)
    # A pass leaves out what does not fill a batch; the next shuffle brings others to its end.
    loader = flux.DataLoader(data, options.batchsize or 1, shuffle=True, partial=False)
    return itertools.chain.from_iterable(itertools.repeat(loader))


# ---- the training


def fit(model: Any, opt: Any, data: Data, options: argparse.Namespace) -> "Record":
    """Train the model, and return what was seen on the way."""
    loss = models.LOSSES[options.model]
    pixels, labels = data.train
    items = batches((pixels, flux.onehotbatch(labels, range(10))), options)
    record = Record(data.test, options.iterations)
    try:
        with np.errstate(all="ignore"):  # what comes of an overflow is a loss that train refuses
            flux.train(
                lambda model, x, y: loss(model(x), y),
                model,
                itertools.islice(items, options.iterations),
                opt,
                callbacks=[record],
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped by Ctrl-C after {record.iteration:,} iterations; nothing was written") from None
    except flux.NonFiniteLoss as error:
        message = f"stopped after {record.iteration:,} iterations; nothing was written. {error}"
        raise flux.NonFiniteLoss(message) from None
    finally:
        record.bar.close()
    return record


class Record:
    """A callback of `flux.train` that keeps the loss curve, tests at checkpoints, and shows how far training is."""

    def __init__(self, test: tuple[np.ndarray, np.ndarray], iterations: int) -> None:
        from tqdm import tqdm

        self.test = test
        self.iterations = iterations
        self.iteration = 0
        self.curve: dict[str, list[float]] = {"iteration": [], "loss": [], "mean": []}
        self.checkpoints: list[dict[str, float]] = []
        self._total = 0.0  # the sum of all losses so far
        self._totals: list[float] = []  # and what it was at the points of the curve
        # Evenly spread on a logarithmic axis, the last first.
        self._points = sorted({round(i) for i in np.geomspace(1, iterations, CURVE_POINTS)}, reverse=True)
        doubling = itertools.takewhile(lambda i: i < iterations, (500 * 2**k for k in itertools.count()))
        self._tests = {*doubling, iterations}
        self._lines = max(iterations // 10, 1)
        self.bar = tqdm(total=iterations, unit="it", disable=None)  # None: no bar where stderr is no terminal
        self._start = time.perf_counter()  # later by what testing took

    def __call__(self, progress: flux.Progress) -> None:
        if progress.epoch_ended:
            return
        self.iteration = i = progress.iteration
        self._total += progress.loss
        if self.bar.update():
            self.bar.set_postfix(loss=f"{self._mean():.4f}", refresh=False)
        if i == self._points[-1]:
            self._points.pop()
            self._points = self._points or [0]
            for values, value in zip(self.curve.values(), (i, progress.loss, self._mean())):
                values.append(value)
            self._totals.append(self._total)
        if i in self._tests:
            self._check(progress)
        elif self.bar.disable and i % self._lines == 0:
            print(f"iteration {i:>9,}: loss {self._mean():.4f}", flush=True)

    def _check(self, progress: flux.Progress) -> None:
        before = time.perf_counter()
        accuracy = float(np.mean(flux.onecold(progress.model(self.test[0])) == self.test[1]))
        point = {"iteration": progress.iteration, "loss": self._mean(), "accuracy": accuracy, "seconds": before - self._start}
        self.checkpoints.append(point)
        line = f"iteration {progress.iteration:>9,}: loss {self._mean():.4f}, test accuracy {accuracy:.2%}"
        self.bar.write(line)
        sys.stdout.flush()
        self._start += time.perf_counter() - before

    def _mean(self) -> float:
        """The mean loss of the last fifth of the iterations so far: as smooth early as late on a logarithmic axis."""
        k = bisect(self.curve["iteration"], 0.8 * self.iteration)
        start, total = (self.curve["iteration"][k - 1], self._totals[k - 1]) if k else (0, 0.0)
        return (self._total - total) / (self.iteration - start)


# ---- the results


def write(model: Any, opt: Any, data: Data, options: argparse.Namespace, record: Record) -> None:
    """Put the model, the figures and the pictures into the folder: all of them, or none."""
    predictions = flux.onecold(model(data.test[0]))
    text = conclusion(model, data, options, record)
    with tempfile.TemporaryDirectory(dir=options.output, prefix=".unfinished-") as name:
        folder = Path(name)
        flux.save(folder / "model.npz", model, opt)
        (folder / "results.json").write_text(json.dumps(results(model, data, options, record), indent=1) + "\n")
        (folder / "summary.txt").write_text(text + "\n", encoding="utf-8")
        draw(folder, data, options, record, predictions)
        for file in folder.iterdir():
            os.replace(file, options.output / file.name)
    print(f"\n{text}")


def results(model: Any, data: Data, options: argparse.Namespace, record: Record) -> dict[str, Any]:
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    return {
        "dataset": {"name": data.name, "note": data.note},
        "settings": settings,
        "parameters": flux.parameter_count(model),
        "accuracy": record.checkpoints[-1]["accuracy"],
        "checkpoints": record.checkpoints,  # losses: means of the last fifth of the iterations; seconds: of training, without testing
        "curve": record.curve,
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }


def conclusion(model: Any, data: Data, options: argparse.Namespace, record: Record) -> str:
    last = record.checkpoints[-1]
    right = round(last["accuracy"] * len(data.test[1]))
    files = "model.npz, results.json, summary.txt, learning.png, digits.png"
    return "\n".join(
        [
            f"Trained: {describe(options)}; {flux.parameter_count(model):,} parameters",
            f"Data:    {data.note}",
            f"Effort:  {options.iterations:,} iterations in {last['seconds']:.1f} s",
            f"Result:  {last['accuracy']:.2%} of the test images are read correctly ({right:,} of {len(data.test[1]):,})",
            f"Files:   {options.output}: {files}",
        ]
    )


def draw(folder: Path, data: Data, options: argparse.Namespace, record: Record, predictions: np.ndarray) -> None:
    title = f"{describe(options)}\non {data.note}"
    curve = dict(record.curve)
    if options.variant == "batch":
        del curve["mean"]  # the loss over all images is smooth as it is
    pictures.learning_curve(folder / "learning.png", title, curve, record.checkpoints)
    images, labels, shown = data.test[0][:50].reshape(-1, 28, 28), data.test[1][:50], predictions[:50]
    wrong = int(np.sum(shown != labels))
    title += f"\nthe first {len(labels)} test images, with the digit that each was read as: {wrong} wrong"
    pictures.digit_grid(folder / "digits.png", title, images, labels, shown)


if __name__ == "__main__":
    sys.exit(main())
