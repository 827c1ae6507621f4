"""Describe handwritten digits by a few numbers each, and draw new ones: a variational autoencoder.

    python examples/vae.py                                             # 2, 5, 10, 20 and 50 numbers: some minutes
    python examples/vae.py --latents 20 --epochs 50 --output longer    # one of them, trained for longer
    python examples/vae.py --dataset digits --epochs 50                # without MNIST: a minute

After Kingma and Welling, "Auto-Encoding Variational Bayes" (2013, arXiv 1312.6114). A run that was stopped goes on
after its last whole epoch when the same command is given again.
"""

import argparse
import functools
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, ndtr, ndtri

if not __package__:  # run as a file: its neighbours, and a tinyflux that was not installed, lie one folder up
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tinyflux as flux
from examples.common import datasets, machine, pictures
from examples.common.command import MOVES, Refused, count, device, exit_code, natural, rate, require
from examples.common.epochs import Training
from examples.common.files import check_folder, write

PIXELS, HIDDEN = 784, 500
USED = 0.1  # nats of divergence from which on a latent number counts as used
BLOCK = 1000  # images that go through a model at once outside of training
COLOURS = (pictures.BLUE, pictures.ORANGE, "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")


# The model


class VAE:
    """A digit's pixels as a few latent numbers, and back.

    The encoder gives q(z|x) = N(μ, σ²). The decoder gives p(x|z): the probability of ink
    in each pixel, as a logit.
    """

    def __init__(self, latents: int) -> None:
        self.hidden = flux.Dense(PIXELS, HIDDEN, flux.tanh)
        self.mean = flux.Dense(HIDDEN, latents)
        self.log_variance = flux.Dense(HIDDEN, latents)
        self.decode = flux.Chain(  # z (N, latents) to logits (N, 784)
            flux.Dense(latents, HIDDEN, flux.tanh),
            flux.Dense(HIDDEN, PIXELS),
        )

    def encode(self, x: Any) -> tuple[Any, Any]:
        """μ and log σ², each (N, latents), for images (N, 784)."""
        h = self.hidden(x)
        return self.mean(h), self.log_variance(h)


def costs(model: VAE, x: Any, epsilon: Any) -> tuple[Any, Any]:
    """The two parts of minus the lower bound on log p(x), in nats.

    Arguments:
        x: images (N, 784), from 0 to 1.
        epsilon: standard normal noise (N, latents).

    Returns: −log p(x|z), (N,), and D(q(z|x) ‖ p(z)) of each latent number, (N, latents).
    """
    mu, log_variance = model.encode(x)
    z = mu + np.exp(log_variance / 2) * epsilon  # μ + σ·ε: a draw from q(z|x)
    errors = flux.logitbinarycrossentropy(model.decode(z), x, flux.identity)
    divergence = (mu**2 + np.exp(log_variance) - 1 - log_variance) / 2  # the paper's appendix B
    return np.sum(errors, axis=1), divergence


def loss(model: VAE, x: Any, epsilon: Any) -> Any:
    """Minus the lower bound on log p(x), the mean over images."""
    reconstruction, divergence = costs(model, x, epsilon)
    return np.mean(reconstruction + np.sum(divergence, axis=1))


def with_noise(x: Any, rng: np.random.Generator, latents: int) -> tuple[Any, Any]:
    """A batch of images and its ε, where the images lie: a loader's `transform`."""
    return x, np.asarray(rng.standard_normal((len(x), latents), np.float32), like=x)


# The command


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    stopped = "stopped by Ctrl-C; the same command goes on after the last whole epoch"
    return exit_code("vae", stopped, lambda: run(options))


def run(options: argparse.Namespace) -> None:
    require("matplotlib", "tqdm")
    check_folder(options.output)
    options.device = device(options.device)
    data = datasets.load(options.dataset)
    images = len(data.train[0])
    if options.batchsize > images:
        raise Refused(f"--batchsize {options.batchsize:,} is more than the {images:,} training images; take fewer")
    print(f"On {data.note}")
    trainings = {}
    for latents in options.latents:
        training = trainings[latents] = prepared(options, data, latents)
        text = f"{latents} latent numbers, {flux.parameter_count(training.model):,} parameters"
        print(f"{text}; {training.epoch} of {options.epochs} epochs are made", flush=True)
        training.fit(options.epochs)
    show(trainings, data, options)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a variational autoencoder on handwritten digits.")
    add = parser.add_argument
    text = "how many numbers describe an image: a model is trained for each (default: 2 5 10 20 50)"
    add("--latents", type=count, nargs="+", default=[2, 5, 10, 20, 50], metavar="N", help=text)
    add("--epochs", type=count, default=10, metavar="N", help="passes over the training images (default: %(default)s)")
    add("--batchsize", type=count, default=100, metavar="N", help="images in a mini-batch (default: %(default)s)")
    text = "the first learning rate of Adam, which falls to 0 along a cosine (default: %(default)s)"
    add("--eta", type=rate, default=0.004, help=text)
    text = "mnist, the small digits of scikit-learn, or auto: mnist where it can be had (default: %(default)s)"
    add("--dataset", choices=datasets.DATASETS, default="auto", help=text)
    add("--device", choices=("auto", *MOVES), default="cpu", help="where to train (default: %(default)s)")
    add("--seed", type=natural, default=0, metavar="N", help="of all that is drawn (default: %(default)s)")
    add("--output", type=Path, default=Path("results", "vae"), metavar="FOLDER", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    options.latents = sorted(set(options.latents))
    return options


# The training


def prepared(options: argparse.Namespace, data: datasets.Data, latents: int) -> Training:
    """The training of a model with so many latent numbers, as far as its folder has it."""
    flux.seed(options.seed)
    model = VAE(latents)
    loader: Any = flux.DataLoader(
        data.train[0],
        options.batchsize,
        shuffle=True,
        partial=False,
        transform=functools.partial(with_noise, latents=latents),
        rng=np.random.default_rng(options.seed),
    )
    rule = flux.Adam(flux.schedules.Cosine(options.eta, over=options.epochs * len(loader)))
    opt = flux.setup(rule, model)
    model, opt, loader = MOVES[options.device](model, opt, loader)
    test = MOVES[options.device](with_noise(data.test[0], np.random.default_rng(options.seed), latents))

    def measure(losses: list[float]) -> dict[str, Any]:
        reconstruction, divergence = mean_costs(model, *test)
        return {
            "loss": math.fsum(losses) / len(losses),
            "test_bound": -reconstruction - math.fsum(divergence),
            "test_reconstruction": reconstruction,
            "test_divergence": divergence,  # of each latent number
        }

    names = ("epochs", "batchsize", "eta", "device", "seed")
    settings = {"latents": latents, **{name: getattr(options, name) for name in names}, **data.identity()}
    return Training(options.output / f"latents-{latents}", settings, model, opt, loader, loss, measure, words)


def mean_costs(model: VAE, x: Any, epsilon: Any) -> tuple[float, list[float]]:
    """The mean over images of both costs."""
    parts = [flux.cpu(costs(model, x[i : i + BLOCK], epsilon[i : i + BLOCK])) for i in range(0, len(x), BLOCK)]
    reconstruction, divergence = (np.concatenate(part).mean(axis=0, dtype=np.float64) for part in zip(*parts))
    return float(reconstruction), divergence.tolist()


def words(noted: dict[str, Any]) -> str:
    """What was noted after an epoch, in a line."""
    return f"loss {noted['loss']:.2f}; test images: lower bound {noted['test_bound']:.2f} nats"


# The results


def show(trainings: dict[int, Training], data: datasets.Data, options: argparse.Namespace) -> None:
    """Put figures and pictures of the trained models into the folder, and print what came out."""
    results = {
        "dataset": {"name": data.name, "note": data.note},
        "settings": {name: x for name, x in vars(options).items() if name != "output"},
        "runs": [summary(latents, training) for latents, training in trainings.items()],
        "notes": {"used": f"latent numbers whose mean divergence is above {USED} nats"},
        "machine": {"processor": machine.processor(), "cores": machine.cores()},
        "versions": machine.versions("numpy", "scipy", "tinyflux"),
    }
    write(options.output / "results.json", json.dumps(results) + "\n")
    models = {latents: flux.cpu(training.model) for latents, training in trainings.items()}
    draw_bounds(options.output / "bounds.png", results["runs"])
    draw_digits(options.output / "digits.png", models, data.test, options.seed)
    if 2 in models:
        draw_plane(options.output / "plane.png", models[2])
    print("\nnumbers    used   lower bound = −reconstruction − divergence, in nats, over the test images")
    for found in results["runs"]:
        numbers = f"{found['latents']:>7} {found['used']:>7}   {found['test_bound']:>11.2f}"
        print(f"{numbers}   {found['test_reconstruction']:>14.2f}   {found['test_divergence']:>10.2f}")
    files = "results.json, bounds.png, digits.png" + ", plane.png" * (2 in models)
    print(f"Files:   in {options.output}: {files}; and a folder for each model")


def summary(latents: int, training: Training) -> dict[str, Any]:
    """What a model has come to, and its history."""
    last = training.history[-1]
    return {
        "latents": latents,
        "parameters": flux.parameter_count(training.model),
        "used": sum(nats > USED for nats in last["test_divergence"]),
        "test_bound": last["test_bound"],
        "test_reconstruction": last["test_reconstruction"],
        "test_divergence": math.fsum(last["test_divergence"]),
        "test_divergence_of_each": sorted(last["test_divergence"], reverse=True),
        "seconds": math.fsum(noted["seconds"] for noted in training.history),
        "history": [{name: noted[name] for name in ("loss", "test_bound", "seconds")} for noted in training.history],
    }


def draw_bounds(path: Path, runs: list[dict[str, Any]]) -> None:
    """Draw the lower bound of each model against the epoch."""
    drawn, axes = pictures.figure(7, 4)
    for i, found in enumerate(runs):
        bounds = [noted["test_bound"] for noted in found["history"]]
        label = f"{found['latents']}: {bounds[-1]:.1f} in the end".replace("-", "−")
        axes.plot(range(1, len(bounds) + 1), bounds, "o-", color=COLOURS[i % len(COLOURS)], label=label)
    axes.set_title("Lower bound on log p(x) of test images, the higher the better", loc="left", fontsize=10)
    axes.set_ylabel("nats an image")
    axes.set_xlabel("epoch (one pass over the training images)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    drawn.legend(title="latent numbers", loc="outside right center", fontsize=9)
    axes.spines[["right", "top"]].set_visible(False)
    axes.grid(alpha=0.3)
    drawn.savefig(path, dpi=160)


def draw_digits(path: Path, models: dict[int, VAE], test: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    """Draw a test image of each digit, what each model makes of it, and below what it makes of random numbers."""
    x, labels = test
    originals = x[[np.flatnonzero(labels == digit)[0] for digit in range(10)]]
    encoded = [expit(model.decode(model.encode(originals)[0])) for model in models.values()]
    rng = np.random.default_rng(seed)
    drawn_at_random = [expit(m.decode(rng.standard_normal((10, n), np.float32))) for n, m in models.items()]
    rows = len(models)
    sizes = {"height_ratios": (rows + 1, rows)}
    drawn, (above, below) = pictures.figure(6, 0.75 + 0.515 * (2 * rows + 1), nrows=2, gridspec_kw=sizes)
    names = [f"{n} numbers" if n > 1 else "1 number" for n in models]
    pictures.sheet(above, [originals, *encoded], ["test image", *names])
    above.set_title("Test images, and what is drawn from their numbers", loc="left", fontsize=10)
    pictures.sheet(below, drawn_at_random, names)
    below.set_title("What is drawn from random numbers", loc="left", fontsize=10)
    drawn.savefig(path, dpi=160)


def draw_plane(path: Path, model: VAE, side: int = 20) -> None:
    """Draw what a model of two latent numbers makes of them, at the quantiles of N(0, 1)."""
    z = ndtri((np.arange(side) + 0.5) / side).astype(np.float32)
    rows = [expit(model.decode(np.stack([z, np.full_like(z, second)], axis=1))) for second in z[::-1]]
    drawn, axes = pictures.figure(6, 6.2)
    image = np.reshape(rows, (side, side, 28, 28)).swapaxes(1, 2).reshape(28 * side, 28 * side)
    axes.imshow(image, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    marks = np.array([-2, -1, -0.5, 0, 0.5, 1, 2])
    names = [f"{mark:g}".replace("-", "−") for mark in marks]
    axes.set_xticks(28 * side * ndtr(marks) - 0.5, names)
    axes.set_yticks(28 * side * ndtr(-marks) - 0.5, names)
    axes.set_xlabel("first number")
    axes.set_ylabel("second number")
    axes.set_title("The digits that two numbers can tell", loc="left", fontsize=10)
    drawn.savefig(path, dpi=160)


if __name__ == "__main__":
    sys.exit(main())
