"""Train a small network to read handwritten digits, and see what it learned.

    python examples/mnist.py                                        # the defaults: a few seconds
    python examples/mnist.py --model 3LS --optimiser Descent --iterations 100000
    python examples/mnist.py --variant batch --dataset digits
    python examples/mnist.py --model lenet5                         # LeNet-5: 99 % of MNIST in a minute or so
    python examples/mnist.py --device gpu                           # on an NVIDIA GPU, by CuPy

The heart of it is `fit`: everything before makes its ingredients, everything after shows its results.
"""

import argparse
import json
import math
import sys
import time
from bisect import bisect
from pathlib import Path
from typing import Any

import numpy as np

if not __package__:  # run as a file: its neighbours, and a tinyflux that was not installed, lie one folder up
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tinyflux as flux
from examples.common import datasets, machine, models, pictures
from examples.common.command import MOVES, Refused, count, device, exit_code, natural, rate, require
from examples.common.files import all_or_none, check_folder

ITERATIONS = {"batch": 200, "stochastic": 64_000, "minibatch": 4_000}
RULES = {"Descent": flux.Descent, "ADAM": flux.ADAM}
ETA = {"Descent": 0.1, "ADAM": 0.01}
LENET5_ETA = ETA | {"ADAM": 0.003}
BLOCK = 500  # test images that go through the model at once: what convolutions make of them stays in the cache
CURVE_POINTS = 1_000  # that are kept of the loss curve, however long the run


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    return exit_code("mnist", "stopped by Ctrl-C; nothing was written", lambda: run(options))


def run(options: argparse.Namespace) -> None:
    require("matplotlib", "tqdm")
    check_folder(options.output)
    options.device = device(options.device)
    data = datasets.load(options.dataset)
    if options.model not in models.PERCEPTRONS:
        data = data.as_images()
    images = len(data.train[0])
    if options.variant == "minibatch" and options.batchsize > images:
        raise Refused(f"--batchsize {options.batchsize:,} is more than the {images:,} training images; take fewer")
    flux.seed(options.seed)
    model = MOVES[options.device](models.build(options.model))
    opt = flux.setup(rule(options), model)
    print(f"{model}\n{describe(options)}: {options.iterations:,} iterations\non {data.note}\n", flush=True)
    record = fit(model, opt, data, options)
    model, opt = flux.cpu(model, opt)
    write(model, opt, data, options, record)


def rule(options: argparse.Namespace) -> Any:
    """The rule to train by. LeNet-5's last tenths of a percent come while the learning rate falls."""
    eta = options.eta
    if options.model == "lenet5":
        eta = flux.schedules.Cosine(eta, over=options.iterations)
    return RULES[options.optimiser](eta)


# The command line


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train a small network to read handwritten digits.",
        epilog="An iteration is one update of the parameters. The trained model, figures and pictures go to the folder "
        "--output, in the place of those of an earlier run.",
    )
    add = parser.add_argument
    text = "4LS: 784-16-16-16-10, sigmoid, mse. 3LS: 784-60-60-10, sigmoid, mse. "
    text += "2LR: 784-32 relu, 32-10, softmax, crossentropy. lenet5: two convolutions of 5 × 5, each with relu and "
    text += "maxima of 2 × 2, then 256-120-84-10, relu, logitcrossentropy. (default: %(default)s)"
    add("--model", choices=models.LOSSES, default="2LR", help=text)
    text = "what an update learns from. batch: all training images. stochastic: one image. minibatch: --batchsize "
    text += "images. They are drawn from shuffled passes: none comes again before the others had their turn, but the "
    text += "few that fill no mini-batch sit a pass out. (default: %(default)s)"
    add("--variant", choices=ITERATIONS, default="minibatch", help=text)
    text = "how a gradient becomes a step (default: %(default)s)"
    spelling = {name.lower(): name for name in RULES}
    add("--optimiser", type=lambda s: spelling.get(s.lower(), s), choices=RULES, default="ADAM", help=text)
    text = ", ".join(f"{n:,} for {variant}" for variant, n in ITERATIONS.items())
    add("--iterations", type=count, metavar="N", help=f"how many updates to make (default: {text})")
    add("--batchsize", type=count, metavar="N", help="images in a mini-batch (default: 128)")
    text = ", ".join(f"{eta} for {rule}" for rule, eta in ETA.items())
    text += f"; for lenet5, {LENET5_ETA['ADAM']} for ADAM, and either falls to 0 along a cosine"
    add("--eta", type=rate, help=f"the learning rate (default: {text})")
    text = "of the first parameters and the shuffling; the same seed gives the same results (default: %(default)s)"
    add("--seed", type=natural, default=0, metavar="N", help=text)
    text = "mnist: 60,000 images of 28 × 28 pixels and 10,000 to test with, from the folder that the environment "
    text += "variable TINYFLUX_DATA names, or downloaded once. digits: the 1,797 of 8 × 8 pixels that come with "
    text += "scikit-learn, enlarged. auto: mnist where it can be had, else digits. (default: %(default)s)"
    add("--dataset", choices=datasets.DATASETS, default="auto", help=text)
    text = "where to train. gpu: by CuPy on an NVIDIA GPU, where images are drawn in another order than on the cpu. "
    text += "auto: there if it can be used, else on the cpu. (default: %(default)s)"
    add("--device", choices=("auto", *MOVES), default="cpu", help=text)
    add("--output", type=Path, default=Path("results", "mnist"), metavar="FOLDER", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.variant == "minibatch":
        options.batchsize = options.batchsize or 128
    elif options.batchsize:
        parser.error(f"argument --batchsize: goes with --variant minibatch, not {options.variant}")
    options.iterations = options.iterations or ITERATIONS[options.variant]
    options.eta = options.eta or (LENET5_ETA if options.model == "lenet5" else ETA)[options.optimiser]
    return options


def describe(options: argparse.Namespace) -> str:
    variant = f"minibatch of {options.batchsize:,}" if options.batchsize else options.variant
    falling = " falling to 0" * (options.model == "lenet5")
    where = ", on the GPU" * (options.device == "gpu")
    return f"{options.model}, {variant}, {options.optimiser}({options.eta:g}{falling}), seed {options.seed}{where}"


# The training


def fit(model: Any, opt: Any, data: datasets.Data, options: argparse.Namespace) -> "Record":
    """Train the model, and return what was seen on the way."""
    pixels, labels = data.train
    whole = options.variant == "batch"
    batches = flux.DataLoader(
        (pixels, flux.onehotbatch(labels, range(10))),
        batchsize=len(pixels) if whole else options.batchsize or 1,
        shuffle=not whole,
        partial=False,
    )
    batches, test = MOVES[options.device](batches, data.test)
    loss = models.LOSSES[options.model]
    record = Record(test, options.iterations)
    epochs = math.ceil(options.iterations / len(batches))
    try:
        with np.errstate(all="ignore"):  # an overflow ends in a loss that train refuses
            flux.train(lambda model, x, y: loss(model(x), y), model, batches, opt, epochs, callbacks=[record])
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped by Ctrl-C after {record.iteration:,} iterations; nothing was written"
        ) from None
    except flux.NonFiniteLoss as error:
        raise Refused(f"stopped after {record.iteration:,} iterations, nothing was written; {error}") from None
    finally:
        record.bar.close()
    return record


class Record:
    """A callback of `flux.train`: it thins the loss curve, tests at checkpoints, shows the progress, and stops.

    Checkpoints are each tenth of the run, and 500, 1,000, 2,000 … iterations, doubling.
    """

    def __init__(self, test: tuple[Any, Any], iterations: int) -> None:
        from tqdm import tqdm

        self.iteration = 0
        self._iterations = iterations
        self.curve: dict[str, list[float]] = {"iteration": [], "loss": [], "mean": []}
        self.checkpoints: list[dict[str, float]] = []
        self.bar = tqdm(total=iterations, unit="it", disable=None)  # None: no bar where stderr is no terminal
        self._test = test
        self._total = 0.0  # the sum of all losses so far
        self._totals: list[float] = []  # and what it was at the points of the curve
        # The points lie evenly; the next one is the last of the list.
        self._points = sorted({round(i) for i in np.linspace(1, iterations, CURVE_POINTS)}, reverse=True)
        doubling = (500 * 2**k for k in range(32) if 500 * 2**k < iterations)
        tenths = range(iterations // 10, iterations, iterations // 10) if iterations >= 10 else ()
        self._tests = {iterations, *doubling, *tenths}
        self._start = time.perf_counter()  # moved on by the time that tests take

    def due(self, iteration: int) -> int:
        """The next iteration at which there is something to do; the bar wants to be drawn now and then."""
        events = [*self._points[-1:], *(i for i in self._tests if i > iteration)]
        frame = int(iteration * 0.05 / (time.perf_counter() - self._start + 0.05))
        return min([*events, iteration + max(frame, 1)])

    def __call__(self, progress: flux.Progress) -> bool:
        self.iteration = i = progress.iteration
        self._total += sum(progress.losses)
        if self.bar.update(len(progress.losses)):
            self.bar.set_postfix(loss=f"{self._mean():.4f}", refresh=False)
        if self._points and i == self._points[-1]:
            self._keep(self._points.pop(), progress.loss)
        if i in self._tests and progress.losses:
            self._check(progress.model)
        return i == self._iterations

    def _keep(self, iteration: int, loss: float) -> None:
        for values, value in zip(self.curve.values(), (iteration, loss, self._mean())):
            values.append(value)
        self._totals.append(self._total)

    def _check(self, model: Any) -> None:
        before = time.perf_counter()
        pixels, labels = self._test
        scores = [model(pixels[i : i + BLOCK]) for i in range(0, len(labels), BLOCK)]
        accuracy = flux.accuracy(np.concatenate(scores), labels)
        point = {"iteration": self.iteration, "mean": self._mean(), "accuracy": accuracy}
        self.checkpoints.append({**point, "seconds": before - self._start})
        self.bar.write(f"iteration {self.iteration:>9,}: loss {self._mean():.4f}, test accuracy {accuracy:.2%}")
        sys.stdout.flush()
        self._start += time.perf_counter() - before

    def _mean(self) -> float:
        """The mean loss of the last fifth of the iterations so far: it follows early, and is smooth late."""
        k = bisect(self.curve["iteration"], 0.8 * self.iteration)
        start, total = (self.curve["iteration"][k - 1], self._totals[k - 1]) if k else (0, 0.0)
        return (self._total - total) / (self.iteration - start)


# The results


def write(model: Any, opt: Any, data: datasets.Data, options: argparse.Namespace, record: Record) -> None:
    """Put the model, the figures and the pictures into the folder: all of them, or none."""
    text = summary(model, data, options, record)
    try:
        with all_or_none(options.output) as folder:
            flux.save(folder / "model.npz", model, opt)
            (folder / "results.json").write_text(json.dumps(results(model, data, options, record)) + "\n")
            (folder / "summary.txt").write_text(text + "\n", encoding="utf-8")
            draw(folder, model, data, options, record)
    except OSError as error:
        raise Refused(f"--output {options.output}: nothing was written ({error.strerror or error})") from error
    print(f"\n{text}")


def results(model: Any, data: datasets.Data, options: argparse.Namespace, record: Record) -> dict[str, Any]:
    return {
        "dataset": {"name": data.name, "note": data.note},
        "settings": {**vars(options), "output": str(options.output)},
        "parameters": flux.parameter_count(model),
        "accuracy": record.checkpoints[-1]["accuracy"],
        "checkpoints": record.checkpoints,
        "curve": record.curve,
        "notes": {
            "mean": "the mean loss of the last fifth of the iterations so far",
            "seconds": "of training, without the tests",
        },
        "versions": machine.versions("numpy", "scipy", "tinyflux"),
    }


def summary(model: Any, data: datasets.Data, options: argparse.Namespace, record: Record) -> str:
    last, images = record.checkpoints[-1], len(data.test[1])
    return "\n".join(
        [
            f"Trained: {describe(options)}; {flux.parameter_count(model):,} parameters",
            f"Data:    {data.note}",
            f"Effort:  {options.iterations:,} iterations in {last['seconds']:.1f} s",
            f"Result:  {last['accuracy']:.2%} right: {round(last['accuracy'] * images):,} of {images:,} test images",
            f"Files:   in {options.output}: model.npz, results.json, summary.txt, learning.png, digits.png",
        ]
    )


def draw(folder: Path, model: Any, data: datasets.Data, options: argparse.Namespace, record: Record) -> None:
    title = f"{describe(options)}\non {data.note}"
    curve = dict(record.curve)
    if options.variant == "batch":  # the loss over all images is smooth as it is
        del curve["mean"]
    pictures.learning_curve(folder / "learning.png", title, curve, record.checkpoints)
    pixels, labels = data.test[0][:50], data.test[1][:50]
    predictions = flux.onecold(model(pixels))
    title += f"\nthe first 50 test images and what each was read as: {np.sum(predictions != labels)} wrong"
    pictures.digit_grid(folder / "digits.png", title, pixels.reshape(-1, 28, 28), labels, predictions)


if __name__ == "__main__":
    sys.exit(main())
