"""A network of capsules reads handwritten digits: does routing help, and what does a capsule's number mean?

    python examples/capsules.py                                # 1 and 3 iterations: 20 epochs of half a minute
    python examples/capsules.py --routing 3 --epochs 2         # one network: a minute or so
    python examples/capsules.py --channels 256 --capsules 32   # the paper's size: hours

The network is that of Sabour, Frosst and Hinton, "Dynamic Routing Between Capsules" (2017, arXiv 1710.09829). A capsule
is a group of numbers, a vector: its length says how sure the network is that a thing is there, its direction how the
thing looks. A run that was stopped goes on after its last whole epoch when the same command is given again.
"""

import argparse
import itertools
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

if not __package__:  # run as a file: its neighbours, and a tinyflux that was not installed, lie one folder up
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tinyflux as flux
from examples.common import datasets, machine, pictures
from examples.common.command import MOVES, Refused, count, device, exit_code, natural, require
from examples.common.epochs import Training
from examples.common.files import check_folder, write
from tinyflux.compile.backends.c.build import available

ETA, LAST = 0.001, 0.05  # Adam's learning rate, and which part of it is left in the end
PARTS = 20  # of an epoch: the mean loss of each is noted
BLOCK = 100  # images that go through a model at once outside of training
STEPS = np.linspace(-0.25, 0.25, 11, dtype=np.float32)  # by which a capsule's number is moved, in a picture

# The model. Shapes: N images, I primary capsules of 8 numbers, J = 10 digits,
# D = 16 numbers for each.

I_NUMBERS, J, D = 8, 10, 16
# Added below roots. The slope of a root is infinite at 0, and infinity times 0 is NaN:
# so would be the gradient of a capsule of zeros.
EPSILON = 1e-9


def squash(s: Any) -> Any:
    """v = s·|s| / (1 + |s|²), of each capsule: the direction of s, a length below 1."""
    square = np.sum(s * s, axis=-1, keepdims=True)
    return s * np.sqrt(square + EPSILON) / (1 + square)


def length(v: Any) -> Any:
    """|v| of every capsule."""
    return np.sqrt(np.sum(v * v, axis=-1) + EPSILON)


class PrimaryCaps:
    """Channels of a convolution: each eight of them, at each place, are a capsule."""

    def __init__(self, channels: int, types: int) -> None:
        self.conv = flux.Conv((9, 9), channels, types * I_NUMBERS, stride=2)

    def __call__(self, x: Any) -> Any:
        s = self.conv(x)  # (N, 6, 6, 8·types)
        return squash(s.reshape(len(x), -1, I_NUMBERS))  # (N, I, 8)


class DigitCaps:
    """A capsule for each digit, which hears those primary capsules that agree with it.

    û_ji = W_ij u_i is what primary capsule i predicts of digit j. Capsule i shares itself
    out among the digits by c_i = softmax(b_i). What a digit gets is s_j = Σ_i c_ij û_ji,
    and v_j = squash(s_j). Then b_ij grows by û_ji · v_j, by how well prediction and result
    agree, and all is shared out anew. The gradient flows through all iterations.
    """

    def __init__(self, inputs: int, iterations: int) -> None:
        matrices = [flux.glorot_uniform((J * D, I_NUMBERS)) for _ in range(inputs)]
        self.weight = np.stack(matrices).reshape(inputs, J, D, I_NUMBERS)
        self.iterations = iterations

    def __call__(self, u: Any) -> Any:
        u_hat = np.einsum("ijdk,nik->nijd", self.weight, u)  # (N, I, J, D)
        b = np.zeros_like(u_hat[..., 0])  # (N, I, J)
        for _ in range(self.iterations):
            c = flux.softmax(b, axis=-1)
            v = squash(np.sum(c[..., None] * u_hat, axis=1))  # (N, J, D)
            b = b + np.sum(u_hat * v[:, None], axis=-1)
        return v


class CapsNet:
    """Images (N, 28, 28, 1) to capsules v (N, J, D), and a decoder of these to pixels."""

    def __init__(self, channels: int, types: int, iterations: int) -> None:
        self.conv = flux.Conv((9, 9), 1, channels, flux.relu)
        self.primary = PrimaryCaps(channels, types)
        self.digits = DigitCaps(6 * 6 * types, iterations)
        self.decoder = flux.Chain(
            flux.Dense(J * D, 512, flux.relu),
            flux.Dense(512, 1024, flux.relu),
            flux.Dense(1024, 784, flux.sigmoid),
        )

    def __call__(self, x: Any) -> Any:
        return self.digits(self.primary(self.conv(x)))

    def decode(self, v: Any, y: Any) -> Any:
        """Pixels (N, 784) from the capsule where y (N, J) is 1; the others are masked."""
        return self.decoder((v * y[..., None]).reshape(len(v), J * D))


def margin_loss(v: Any, y: Any) -> Any:
    """Σ_j y_j max(0, 0.9 − |v_j|)² + 0.5 (1 − y_j) max(0, |v_j| − 0.1)², image by image."""
    present = np.maximum(0, 0.9 - length(v)) ** 2
    absent = np.maximum(0, length(v) - 0.1) ** 2
    return np.sum(y * present + 0.5 * (1 - y) * absent, axis=-1)


def squared_errors(model: Any, v: Any, x: Any, y: Any) -> Any:
    """Of the pixels that a digit's capsule is decoded to: their sum, image by image."""
    return np.sum((model.decode(v, y) - flux.flatten(x)) ** 2, axis=-1)


def loss(model: Any, x: Any, y: Any) -> Any:
    v = model(x)
    return np.mean(margin_loss(v, y) + 0.0005 * squared_errors(model, v, x, y))


# The command


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    stopped = "stopped by Ctrl-C; the same command goes on after the last whole epoch"
    return exit_code("capsules", stopped, lambda: run(options))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train networks of capsules on handwritten digits.")
    add = parser.add_argument
    text = "how often the capsules' agreement is looked at, a network for each number (default: 1 3)"
    add("--routing", type=count, nargs="+", default=[1, 3], metavar="N", help=text)
    add("--channels", type=count, default=32, metavar="N", help="of the first layer; the paper has 256 (default: 32)")
    text = "kinds of primary capsules; the paper has 32 (default: %(default)s)"
    add("--capsules", type=count, default=8, metavar="N", help=text)
    add("--epochs", type=count, default=10, metavar="N", help="passes over the training images (default: %(default)s)")
    add("--batchsize", type=count, default=128, metavar="N", help="images in a mini-batch (default: %(default)s)")
    add("--dataset", choices=datasets.DATASETS, default="auto", help="auto: MNIST if it can be had, else the digits")
    add("--device", choices=("auto", *MOVES), default="cpu", help="where to train (default: %(default)s)")
    add("--seed", type=natural, default=0, metavar="N", help="of all that is drawn (default: %(default)s)")
    add("--output", type=Path, default=Path("results", "capsules"), metavar="FOLDER", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    options.routing = sorted(set(options.routing))
    return options


def run(options: argparse.Namespace) -> None:
    require("matplotlib", "tqdm")
    check_folder(options.output)
    options.device = device(options.device)
    data = datasets.load(options.dataset).as_images()
    trainings = {}
    for iterations in options.routing:
        trainings[iterations] = training = prepared(options, data, iterations)
        text = f"{routing(iterations)}: {flux.parameter_count(training.model):,} parameters"
        print(f"{text}; {training.epoch} of {options.epochs} epochs are made", flush=True)
        training.fit(options.epochs)
    show(trainings, data, options)


def routing(iterations: int) -> str:
    return f"{iterations} iteration{'s' * (iterations > 1)} of routing"


# The training


def shifted(batch: Any, rng: np.random.Generator) -> Any:
    """Images shifted by up to 2 pixels: what a loader does with every batch."""
    x, y = batch
    return flux.data.random_crop(x, rng, padding=2), y


def prepared(options: argparse.Namespace, data: datasets.Data, iterations: int) -> Training:
    """The training of a network, as far as its folder has it. All begin with the same weights, and see the same."""
    (x, labels), (test_x, test_labels) = data.train, data.test
    if options.batchsize > len(x):
        raise Refused(f"--batchsize {options.batchsize:,} is more than the {len(x):,} training images; take fewer")
    flux.seed(options.seed)
    loader: Any = flux.DataLoader(
        (x, flux.onehotbatch(labels, range(J))),
        options.batchsize,
        shuffle=True,
        partial=False,
        transform=shifted,
        rng=np.random.default_rng(options.seed),
    )
    model: Any = CapsNet(options.channels, options.capsules, iterations)
    eta = flux.schedules.Exponential(ETA, gamma=LAST ** (1 / (options.epochs * len(loader))))
    opt: Any = flux.setup(flux.Adam(eta), model)
    model, opt, loader, test_x = MOVES[options.device](model, opt, loader, test_x)
    read = reader(options.device)

    def measure(losses: list[float]) -> dict[str, Any]:
        return {
            "loss": math.fsum(losses) / len(losses),
            "losses": [float(np.mean(part)) for part in np.array_split(losses, PARTS) if part.size],
            "wrong": int(np.sum(answers(read(model, test_x)) != test_labels)),
        }

    def words(noted: dict[str, Any]) -> str:
        return f"loss {noted['loss']:.4f}; {noted['wrong']:,} of {len(test_labels):,} test images wrong"

    settings = {name: x for name, x in vars(options).items() if name not in ("output", "dataset")}
    settings |= {"routing": iterations, **data.identity()}
    folder = options.output / f"routing-{iterations}"
    return Training(folder, settings, model, opt, loader, loss, measure, words)


def reader(where: str) -> Callable[[Any, Any], np.ndarray]:
    """A function of a model and images that gives their capsules v; native code where there is a C compiler."""
    forward = flux.compile(CapsNet.__call__) if where == "cpu" and available() else CapsNet.__call__

    def read(model: Any, images: Any) -> np.ndarray:
        blocks = [images[i : i + BLOCK] for i in range(0, len(images), BLOCK)]
        return np.concatenate([flux.cpu(forward(model, block)) for block in blocks])

    return read


def answers(v: np.ndarray) -> np.ndarray:
    """The digit of the longest capsule."""
    return np.argmax(length(v), axis=-1)


# The results


def show(trainings: dict[int, Training], data: datasets.Data, options: argparse.Namespace) -> None:
    """Try the trained networks on the test images, and put results and pictures into the folder."""
    x, labels = data.test
    y, read, networks = flux.onehotbatch(labels, range(J)), reader("cpu"), {}
    for iterations, training in trainings.items():  # the pictures are of the last one, that with most routing
        model = flux.cpu(training.model)
        v = read(model, x)
        networks[iterations] = {
            "parameters": flux.parameter_count(model),
            "seconds": math.fsum(epoch["seconds"] for epoch in training.history),
            "wrong": int(np.sum(answers(v) != labels)),
            "wrong_images": np.flatnonzero(answers(v) != labels).tolist(),  # their numbers among the test images
            "margin_loss": float(np.mean(margin_loss(v, y))),
            "squared_errors": float(np.mean(squared_errors(model, v, x, y))),
            "history": training.history,
        }
    results = {
        "settings": {name: value for name, value in vars(options).items() if name != "output"},
        "data": {"note": data.note, **data.identity()},
        "networks": networks,
        "correlations": {name: correlations(v, of(x), labels).round(3).tolist() for name, of in LOOKS.items()},
        "machine": {"processor": machine.processor(), "cores": machine.cores()},
        "versions": machine.versions("numpy", "tinyflux"),
    }
    write(options.output / "results.json", json.dumps(results) + "\n")
    size = f"{options.channels} channels, {options.capsules} kinds of capsules"
    title = f"CapsNet on {data.name}: {size}, {options.epochs} epochs, seed {options.seed}"
    draw_learning(options.output / "learning.png", title, networks, len(labels))
    draw_numbers(options.output / "numbers.png", title, model, v, labels)
    draw_reconstructions(options.output / "reconstructions.png", title, model, v, x, labels)
    print(f"\nData:    {data.note}")
    for iterations, found in networks.items():
        wrong, minutes = f"{found['wrong']:,} of {len(labels):,}", f"{found['seconds'] / 60:.1f} minutes"
        print(f"Result:  {routing(iterations)}: {wrong} test images wrong after {minutes} of training")
    print(f"Files:   in {options.output}: results.json, learning.png, numbers.png, reconstructions.png")


# What a number of a capsule goes with, image by image


def slant(x: np.ndarray) -> np.ndarray:
    """How far the ink (N, 28, 28, 1) leans to the right: pixels to the right for each pixel upwards."""
    ink = x[..., 0] / x.sum((1, 2, 3))[:, None, None]
    up, right = 13.5 - np.arange(28)[:, None], np.arange(28) - 13.5
    up = up - np.sum(ink * up, (1, 2), keepdims=True)
    return np.sum(ink * up * right, (1, 2)) / np.sum(ink * up**2, (1, 2))


def ink(x: np.ndarray) -> np.ndarray:
    """How much of the paper is black."""
    return np.mean(x, (1, 2, 3))


LOOKS = {"slant": slant, "ink": ink}


def correlations(v: np.ndarray, look: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(J, D): of each number of a digit's capsule with a look (N,), over the images that show the digit."""
    shown = [labels == j for j in range(J)]
    return np.array([np.corrcoef(v[i, j].T, look[i])[-1, :-1] for j, i in enumerate(shown)])


# The pictures


def draw_learning(path: Path, title: str, networks: dict[int, Any], images: int) -> None:
    """The loss in training, and how many test images are read wrong, by epochs."""
    drawn, (above, below) = pictures.figure(6, 5.25, nrows=2, sharex=True)
    drawn.suptitle(title, fontsize=8.5)
    colors = itertools.cycle((pictures.BLUE, pictures.ORANGE, pictures.GREY))
    for color, (iterations, found) in zip(colors, networks.items()):
        name, epochs = routing(iterations), found["history"]
        losses = [part for epoch in epochs for part in epoch["losses"]]
        above.plot((np.arange(len(losses)) + 0.5) / len(losses) * len(epochs), losses, color=color, label=name)
        wrong, label = [epoch["wrong"] for epoch in epochs], f"{name}: {found['wrong']:,} in the end"
        below.plot(range(1, len(epochs) + 1), wrong, "o-", color=color, label=label)
    above.set_title("Training loss", loc="left", fontsize=10)
    above.set_yscale("log")
    above.yaxis.set_major_locator(pictures.one_two_five())
    above.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    above.minorticks_off()
    below.set_title(f"Test images read wrong, of {images:,}", loc="left", fontsize=10)
    below.set_ylim(bottom=0)
    below.set_xlabel("epoch (one pass over the training images)")
    below.xaxis.get_major_locator().set_params(integer=True)
    for axes in (above, below):
        axes.spines[["right", "top"]].set_visible(False)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9)
    drawn.savefig(path, dpi=160)


def draw_numbers(path: Path, title: str, model: Any, v: np.ndarray, labels: np.ndarray) -> None:
    """Three digits, decoded while one number of their capsule is moved: the three that change most, of each."""
    rows, names = [], []
    for digit in (2, 4, 5):
        moved = np.tile(v[np.argmax(labels == digit)], (D, len(STEPS), 1, 1))  # (D, steps, J, D)
        moved[range(D), :, digit, range(D)] += STEPS
        images = decoded(model, moved.reshape(-1, J, D), [digit] * D * len(STEPS)).reshape(D, -1, 28, 28)
        change = np.sum((images[:, -1] - images[:, 0]) ** 2, axis=(1, 2))
        for number in np.argsort(-change, kind="stable")[:3]:
            rows.append(images[number])
            names.append(f"{digit}, number {number}")
    drawn, axes = pictures.figure(6.5, 5.4)
    drawn.suptitle(f"{title}\ndigits decoded from their capsule, of which one number is moved", fontsize=8.5)
    pictures.sheet(axes, rows, names, [f"{step:+.2f}" for step in STEPS])
    drawn.savefig(path, dpi=150)


def draw_reconstructions(path: Path, title: str, model: Any, v: np.ndarray, x: np.ndarray, labels: np.ndarray) -> None:
    """Digits, and what their capsules are decoded to: ten that are read right, and ten that are read wrong."""
    said = answers(v)
    right = [i for j in range(J) for i in np.flatnonzero((labels == j) & (said == j))[:1]]
    wrong = np.flatnonzero(said != labels)
    drawn, (above, below) = pictures.figure(6.5, 4.1, nrows=2, gridspec_kw={"height_ratios": (2, 3)})
    text = f"above: read right; below: the first of {len(wrong):,} that are read wrong, of {len(labels):,} test images"
    drawn.suptitle(f"{title}\n{text}", fontsize=8.5)
    for axes, chosen in ((above, right), (below, wrong[:J])):
        if not len(chosen):  # a network that reads all of them right, or none
            axes.set_axis_off()
            continue
        rows, names = [x[chosen, ..., 0], decoded(model, v[chosen], said[chosen])], ["image", "capsule, decoded"]
        heads = [f"{a}" if a == b else f"{a}, is {b}" for a, b in zip(said[chosen], labels[chosen])]
        if axes is below:
            rows.append(decoded(model, v[chosen], labels[chosen]))
            names[1:] = ["answer, decoded", "truth, decoded"]
        pictures.sheet(axes, rows, names, heads)
    drawn.savefig(path, dpi=150)


def decoded(model: Any, v: np.ndarray, digits: Any) -> np.ndarray:
    """Images (N, 28, 28) from capsules (N, J, D), in each from that of one digit alone."""
    return np.asarray(model.decode(v, flux.onehotbatch(digits, range(J)))).reshape(-1, 28, 28)


if __name__ == "__main__":
    sys.exit(main())
