"""Train a network of flux.models to tell what is on the small photographs of CIFAR-10, and see what it learned.

    python examples/cifar10.py                                  # ResNet-20, 16 epochs: half an hour on two cores
    python examples/cifar10.py --model lenet5 --epochs 5        # some minutes
    python examples/cifar10.py --model wide_resnet-16-4 --augment cutout --schedule cosine --device gpu
    python examples/cifar10.py --recipe fast                    # 8 epochs by Muon: see examples/common/fast.py

A run that was stopped goes on after its last whole epoch when the same command is given again.

Of the 50,000 training images the last 5,000 are held back. After every epoch the model is tried on these; the 10,000
test images are looked at once, in the end. The recipe trains with all 50,000.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

if not __package__:  # run as a file: its neighbours, and a tinyflux that was not installed, lie one folder up
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tinyflux as flux
from examples.common import fast, machine, models, photographs, pictures
from examples.common.command import MOVES, Refused, count, device, exit_code, natural, rate, require
from examples.common.epochs import Training
from examples.common.files import check_folder, write
from examples.common.photographs import Part, Predictor, judged

HELD_BACK = 1 / 10  # of the training images
PARTS = 20  # of an epoch: the mean loss of each is noted
ETA = {"nesterov": 0.1, "momentum": 0.1, "adam": 0.003, "adamw": 0.003}
SCHEDULES = {
    "constant": lambda eta, steps: flux.schedules.Constant(eta),
    "cosine": lambda eta, steps: flux.schedules.Cosine(eta, over=steps),
    "onecycle": lambda eta, steps: flux.schedules.OneCycle(eta, over=steps),
    "step": lambda eta, steps: flux.schedules.MultiStep(eta, (steps // 2, 3 * steps // 4)),
}


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    stopped = "stopped by Ctrl-C; the same command goes on after the last whole epoch"
    return exit_code("cifar10", stopped, lambda: run(options))


def run(options: argparse.Namespace) -> None:
    require("matplotlib", "tqdm")
    check_folder(options.output)
    options.device = device(options.device)
    data = load(0 if options.recipe else HELD_BACK)
    training = prepared(options, data)
    text = f"{options.model}: {flux.parameter_count(training.model):,} parameters"
    print(f"{text}; {training.epoch} of {options.epochs} epochs are made", flush=True)
    training.fit(options.epochs)
    show(training, data, options)


# The command line


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a network on the photographs of CIFAR-10.")
    add = parser.add_argument
    text = "a network and all that belongs to its training, after the record of 94 %% in seconds; of the other options "
    text += "only --epochs, --batchsize, --device, --seed and --output go with it"
    add("--recipe", choices=("fast",), help=text)
    text = f"{', '.join(models.CONVOLUTIONAL)}, or wide_resnet-DEPTH-WIDTH (default: %(default)s)"
    add("--model", default="resnet20", help=text)
    add("--epochs", type=count, default=16, metavar="N", help="passes over the training images (default: %(default)s)")
    add("--batchsize", type=count, default=128, metavar="N", help="images in a mini-batch (default: %(default)s)")
    add("--optimiser", choices=ETA, default="nesterov", help="how a gradient becomes a step (default: %(default)s)")
    text = f"the largest learning rate (default: {', '.join(f'{eta} for {name}' for name, eta in ETA.items())})"
    add("--eta", type=rate, help=text)
    text = "weight decay: λ times the parameters is added to the gradient, or by adamw to the step; 0 for none "
    text += "(default: %(default)s)"
    add("--decay", type=decay, default=5e-4, metavar="λ", help=text)
    text = "what becomes of the learning rate. cosine: falls to 0. onecycle: rises for 30 %% of the time, then falls. "
    text += "step: a tenth of it after half of the time, a hundredth after three quarters. (default: %(default)s)"
    add("--schedule", choices=SCHEDULES, default="onecycle", help=text)
    text = "what is done to training images. standard: shifted by up to 4 pixels, half of them mirrored. cutout: the "
    text += "same, and a square of 16 × 16 pixels blanked. (default: %(default)s)"
    add("--augment", choices=("none", "standard", "cutout"), default="standard", help=text)
    add("--device", choices=("auto", *MOVES), default="cpu", help="where to train (default: %(default)s)")
    add("--seed", type=natural, default=0, metavar="N", help="of all that is drawn (default: %(default)s)")
    add("--output", type=Path, metavar="FOLDER", help="(default: results/cifar10/MODEL)")
    options = parser.parse_args(arguments)
    if options.recipe:
        parser.set_defaults(**fast.VALUES)
        options = parser.parse_args(arguments)
        for name, value in fast.VALUES.items():
            if name not in ("epochs", "batchsize") and getattr(options, name) != value:
                parser.error(f"argument --{name}: --recipe {options.recipe} has its own; leave out one of them")
    options.output = options.output or Path("results", "cifar10", options.model)
    options.eta = options.eta or ETA[options.optimiser]
    return options


def decay(text: str) -> float:
    return 0.0 if text == "0" else rate(text)


def schedule(options: argparse.Namespace, steps: int) -> Any:
    """The learning rate, for so many steps in all."""
    return (fast.linear if options.recipe else SCHEDULES[options.schedule])(options.eta, steps)


def rule(options: argparse.Namespace, steps: int) -> Any:
    """The rule to train by, for so many steps in all."""
    eta = schedule(options, steps)
    if options.optimiser == "adamw":
        return flux.AdamW(eta, lambda_=options.decay)
    kind = {"nesterov": flux.Nesterov, "momentum": flux.Momentum, "adam": flux.Adam}[options.optimiser]
    return flux.OptimiserChain(flux.WeightDecay(options.decay), kind(eta))


# The images


class Data(NamedTuple):
    """Images (N, 32, 32, 3) as bytes, and labels (N,)."""

    train: Part
    held_back: Part
    test: Part


def load(held_back: float) -> Data:
    """CIFAR-10, with a share of the training images held back."""
    images, labels = flux.data.cifar10("train")
    n = len(labels) - round(held_back * len(labels))
    return Data((images[:n], labels[:n]), (images[n:], labels[n:]), flux.data.cifar10("test"))


# The training


def prepared(options: argparse.Namespace, data: Data) -> Training:
    """The training, as far as its folder has it."""
    flux.seed(options.seed)
    loader, model, opt = (by_recipe if options.recipe else by_options)(options, data.train)
    images, labels = data.held_back
    model, opt, loader, images = MOVES[options.device](model, opt, loader, images)
    predict = Predictor(options.device)

    def measure(losses: list[float]) -> dict[str, Any]:
        noted = {
            "loss": math.fsum(losses) / len(losses),
            "losses": [float(np.mean(part)) for part in np.array_split(losses, PARTS) if part.size],
        }
        if options.recipe:
            fast.mirror(loader)
        else:
            noted["held_back_loss"], noted["held_back_accuracy"] = judged(predict(model, images), labels)
        return noted

    settings = {name: x for name, x in vars(options).items() if name != "output"}
    of_model = fast.loss if options.recipe else loss
    training = Training(options.output, settings, model, opt, loader, of_model, measure, words)
    if options.recipe and training.epoch % 2:
        fast.mirror(loader)
    return training


def by_options(options: argparse.Namespace, train: Part) -> tuple[Any, Any, Any]:
    """Loader, model and optimiser as the options have them."""
    loader = photographs.loader(train, options.batchsize, options.seed, options.augment)
    try:
        model = models.build_convolutional(options.model)
    except ValueError as error:
        raise Refused(str(error)) from error
    return loader, model, flux.setup(rule(options, options.epochs * len(loader)), model)


def by_recipe(options: argparse.Namespace, train: Part) -> tuple[Any, Any, Any]:
    """Loader, model and optimiser of the recipe."""
    loader = fast.loader(train, options.batchsize, options.seed)
    model = fast.network(flux.data.normalise(train[0][:5000], *photographs.STANDARD))
    return loader, model, fast.setup(model, options.batchsize, len(loader), options.epochs)


def loss(model: Any, x: Any, y: Any) -> Any:
    return flux.logitcrossentropy(model(x), y)


def words(noted: dict[str, Any]) -> str:
    """What was noted after an epoch, in a line."""
    text = f"loss {noted['loss']:.4f}"
    if "held_back_loss" not in noted:
        return text
    return f"{text}; images held back: loss {noted['held_back_loss']:.4f}, accuracy {noted['held_back_accuracy']:.2%}"


# The results


def show(training: Training, data: Data, options: argparse.Namespace) -> None:
    """Try the trained model on the test images, and put figures and pictures into the folder."""
    model, (images, labels) = flux.cpu(training.model), data.test
    predict = Predictor("cpu")
    scores = fast.predict(predict, model, images) if options.recipe else predict(model, images)
    confusion = flux.metrics.confusion_matrix(scores, labels)
    accuracy = flux.accuracy(scores, labels)
    results = {
        "settings": training.settings,
        "parameters": flux.parameter_count(model),
        "test_accuracy": accuracy,
        "confusion": confusion.tolist(),  # a row for what is shown, a column for what it was taken for
        "history": training.history,
        "machine": {"processor": machine.processor(), "cores": machine.cores()},
        "versions": machine.versions("numpy", "tinyflux"),
    }
    write(options.output / "results.json", json.dumps(results) + "\n")
    title, names = "\n".join(describe(options)), flux.data.CIFAR10_CLASSES
    right = f"{100 * accuracy:.2f} % right: {confusion.trace():,} of {len(labels):,} test images"
    steps = len(training.loader)
    eta = schedule(options, options.epochs * steps)
    rates = [eta(t) for t in np.linspace(0, options.epochs * steps - 1, 200)]
    pictures.epochs(options.output / "learning.png", title, training.history, rates, accuracy)
    pictures.confusion(options.output / "confusion.png", f"{title}\n{right}", confusion, names)
    pictures.filters(options.output / "filters.png", title, model[0].weight)
    pictures.mistakes(options.output / "mistakes.png", title, images, labels, flux.softmax(scores), names)
    seconds = sum(entry["seconds"] for entry in training.history)
    print(f"\nTrained: {', '.join(describe(options))}; {seconds / 60:.1f} minutes of training")
    print(f"Result:  {right}")
    files = "results.json, learning.png, confusion.png, filters.png, mistakes.png"
    print(f"Files:   in {options.output}: epoch-{options.epochs}.npz (the model), {files}")


def describe(options: argparse.Namespace) -> tuple[str, str]:
    """Two lines on how the network was trained."""
    if options.recipe:
        first = f"recipe {options.recipe} on CIFAR-10: {options.epochs} epochs, batch {options.batchsize}, Muon("
        second = f"images shifted and mirrored in turn, label smoothing {fast.SMOOTHING:g}, seed {options.seed}"
        return f"{first}{options.eta:g}, {options.schedule})", second
    first = f"{options.model} on CIFAR-10: {options.epochs} epochs, batch {options.batchsize}, augmentation: "
    second = f"{options.optimiser}({options.eta:g}, {options.schedule}), decay {options.decay:g}, seed {options.seed}"
    return first + options.augment, second


if __name__ == "__main__":
    sys.exit(main())
