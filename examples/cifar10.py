"""Train a network of flux.models to tell what is on the small photographs of CIFAR-10, and see what it learned.

    python examples/cifar10.py                                  # ResNet-20, 16 epochs: half an hour on two cores
    python examples/cifar10.py --model lenet5 --epochs 5        # some minutes
    python examples/cifar10.py --model wide_resnet-16-4 --augment cutout --schedule cosine --device gpu

A run that was stopped goes on after its last whole epoch when the same command is given again: see `Run`.

Of the 50,000 training images the last 5,000 are held back. After every epoch the model is tried on these; the 10,000
test images are looked at once, in the end.
"""

import argparse
import functools
import json
import math
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

if not __package__:  # run as a file: its neighbours, and a tinyflux that was not installed, lie one folder up
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tinyflux as flux
from examples.common import machine, models, pictures
from examples.common.command import MOVES, Refused, count, device, exit_code, natural, rate, require
from examples.common.files import check_folder, write
from tinyflux.compile.backends.c.build import available

BLOCK = 100  # images that go through the model at once outside of training
PARTS = 20  # of an epoch: the mean loss of each is noted
MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)  # of the training images' channels
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
    training = Run(options, load())
    text = f"{options.model}: {flux.parameter_count(training.model):,} parameters"
    print(f"{text}; {training.epoch} of {options.epochs} epochs are made", flush=True)
    training.fit()
    show(training, options)


# The command line


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a network on the photographs of CIFAR-10.")
    add = parser.add_argument
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
    options.output = options.output or Path("results", "cifar10", options.model)
    options.eta = options.eta or ETA[options.optimiser]
    return options


def decay(text: str) -> float:
    return 0.0 if text == "0" else rate(text)


def rule(options: argparse.Namespace, steps: int) -> Any:
    """The rule to train by, for so many steps in all."""
    eta = SCHEDULES[options.schedule](options.eta, steps)
    if options.optimiser == "adamw":
        return flux.AdamW(eta, lambda_=options.decay)
    kind = {"nesterov": flux.Nesterov, "momentum": flux.Momentum, "adam": flux.Adam}[options.optimiser]
    return flux.OptimiserChain(flux.WeightDecay(options.decay), kind(eta))


# The images


class Data(NamedTuple):
    """Images (N, 32, 32, 3) as bytes, and labels (N,)."""

    train: tuple[np.ndarray, np.ndarray]
    held_back: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def load() -> Data:
    """CIFAR-10, a tenth of whose training images is held back."""
    images, labels = flux.data.cifar10("train")
    n = len(labels) * 9 // 10
    return Data((images[:n], labels[:n]), (images[n:], labels[n:]), flux.data.cifar10("test"))


def augment(batch: Any, rng: np.random.Generator, how: str) -> Any:
    """What becomes of a batch of training images: the loader's `transform`."""
    images, labels = batch
    if how != "none":
        images = flux.data.random_flip(flux.data.random_crop(images, rng, padding=4), rng)
    images = flux.data.normalise(images, MEAN, STD)
    return (flux.data.cutout(images, rng, size=16) if how == "cutout" else images), labels


def predict(model: Any, images: Any) -> Any:
    """The scores (N, 10) of images that lie where the model does, as a NumPy array."""
    blocks = [images[i : i + BLOCK] for i in range(0, len(images), BLOCK)]
    return np.concatenate([flux.cpu(model(flux.data.normalise(block, MEAN, STD))) for block in blocks])


# The training


class Run:
    """A training in a folder, and the callback of `flux.train` that notes its epochs there.

    After each epoch model and optimiser are saved in epoch-N.npz, and what else the rest of the training depends on,
    with what was measured so far, in run.json. This names the former, so that the two belong together whenever the
    process ends.
    """

    def __init__(self, options: argparse.Namespace, data: Data) -> None:
        self.data, self.folder, self.epochs = data, options.output, options.epochs
        self.settings = {name: x for name, x in vars(options).items() if name != "output"}
        self.history: list[dict[str, Any]] = []
        self.losses: list[float] = []
        move = MOVES[options.device]
        self.loader, self.held_back = move(make_loader(options, data.train), data.held_back[0])
        flux.seed(options.seed)
        try:
            self.model = move(models.build_convolutional(options.model))
        except ValueError as error:
            raise Refused(str(error)) from error
        self.opt = flux.setup(rule(options, self.epochs * len(self.loader)), self.model)
        self.resume()

    @property
    def epoch(self) -> int:
        return len(self.history)

    def resume(self) -> None:
        """Go on after the last epoch that the folder holds, if any."""
        path = self.folder / "run.json"
        if not path.exists():
            return
        remedy = "name another folder by --output, or remove that file to begin anew"
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            settings, self.history = dict(saved["settings"]), list(saved["history"])
            self.loader.rng.bit_generator.state = saved["generator"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"{path} is damaged; {remedy}") from error
        if settings != self.settings:
            names = [name for name, x in self.settings.items() if settings.get(name) != x]
            was = " ".join(f"--{name} {settings.get(name)}" for name in names)
            raise Refused(f"{path} is of a run with {was}; {remedy}")
        flux.load(self.folder / f"epoch-{self.epoch}.npz", self.model, self.opt)

    def save(self) -> None:
        """Keep all that the rest of the training depends on."""
        kept = self.folder / f"epoch-{self.epoch}.npz"
        flux.save(kept, self.model, self.opt)
        state = self.loader.rng.bit_generator.state
        saved = {"settings": self.settings, "history": self.history, "generator": state}
        write(self.folder / "run.json", json.dumps(saved) + "\n")
        for path in self.folder.glob("epoch-*.npz"):
            if path != kept:
                path.unlink()

    def fit(self) -> None:
        """Make the epochs that are left."""
        if self.epoch == self.epochs:
            return
        from tqdm import tqdm

        # Not "auto", which leaves a training to NumPy that is short: the rest of one that was stopped, say.
        compiled = available() if self.settings["device"] == "cpu" else "auto"
        total, made = (n * len(self.loader) for n in (self.epochs, self.epoch))
        self.bar = tqdm(total=total, initial=made, unit="it", disable=None)  # None: not where stderr is no terminal
        self.start = time.perf_counter()
        with np.errstate(all="ignore"):  # an overflow ends in a loss that train refuses
            flux.train(loss, self.model, self.loader, self.opt, self.epochs - self.epoch, [self], compiled)

    def close(self) -> None:
        self.bar.close()

    def __call__(self, progress: flux.Progress) -> None:
        self.losses += progress.losses
        if self.bar.update(len(progress.losses)):
            self.bar.set_postfix(loss=f"{np.mean(self.losses[-50:]):.4f}", refresh=False)
        if progress.epoch_ended:
            self.note()

    def note(self) -> None:
        """Try the model on the images held back, and keep both."""
        seconds = time.perf_counter() - self.start
        scores, labels = predict(self.model, self.held_back), self.data.held_back[1]
        entry = {
            "loss": math.fsum(self.losses) / len(self.losses),
            "losses": [float(np.mean(part)) for part in np.array_split(self.losses, PARTS) if part.size],
            "held_back_loss": float(flux.logitcrossentropy(scores, flux.onehotbatch(labels, range(10)))),
            "held_back_accuracy": float(np.mean(scores.argmax(axis=1) == labels)),
            "seconds": seconds,
        }
        self.history.append(entry)
        self.losses = []
        self.save()
        text = (
            f"epoch {self.epoch:>3}: loss {entry['loss']:.4f}; images held back: loss {entry['held_back_loss']:.4f}, "
        )
        self.bar.write(f"{text}accuracy {entry['held_back_accuracy']:.2%}; {seconds:.0f} s")
        sys.stdout.flush()
        self.start = time.perf_counter()


def make_loader(options: argparse.Namespace, train: tuple[np.ndarray, np.ndarray]) -> flux.DataLoader[Any]:
    images, labels = train
    if options.batchsize > len(images):
        raise Refused(f"--batchsize {options.batchsize:,} is more than the {len(images):,} training images; take fewer")
    return flux.DataLoader(
        (images, flux.onehotbatch(labels, range(10))),
        options.batchsize,
        shuffle=True,
        partial=False,
        transform=functools.partial(augment, how=options.augment),
        rng=np.random.default_rng(options.seed),
    )


def loss(model: Any, x: Any, y: Any) -> Any:
    return flux.logitcrossentropy(model(x), y)


# The results


def show(training: Run, options: argparse.Namespace) -> None:
    """Try the trained model on the test images, and put figures and pictures into the folder."""
    model, (images, labels) = flux.cpu(training.model), training.data.test
    scores = predict(model, images)
    guesses = scores.argmax(axis=1)
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (labels, guesses), 1)
    accuracy = float(np.mean(guesses == labels))
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
    right = f"{100 * accuracy:.2f} % right: {np.sum(guesses == labels):,} of {len(labels):,} test images"
    steps = len(training.loader)
    schedule = SCHEDULES[options.schedule](options.eta, options.epochs * steps)
    rates = [schedule(t) for t in np.linspace(0, options.epochs * steps - 1, 200)]
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
    first = f"{options.model} on CIFAR-10: {options.epochs} epochs, batch {options.batchsize}, augmentation: "
    second = f"{options.optimiser}({options.eta:g}, {options.schedule}), decay {options.decay:g}, seed {options.seed}"
    return first + options.augment, second


if __name__ == "__main__":
    sys.exit(main())
