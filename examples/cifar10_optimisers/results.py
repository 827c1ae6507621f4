"""What the runs have come to, read from their folders."""

from pathlib import Path
from typing import Any, NamedTuple

from examples.common import epochs

from .contest import Preset

SETTINGS = {
    **dict.fromkeys(("rule", "device"), (str,)),
    **dict.fromkeys(("batchsize", "images", "test_images", "parameters", "state"), (int,)),
}
NOTED = [f"{of}_{what}" for of in ("train", "test", "augmented") for what in ("loss", "accuracy")]


class Run(NamedTuple):
    """A network, what trains it, and the seed of its first weights and of the order and augmentation of the images."""

    model: str
    entry: str
    seed: int

    def __str__(self) -> str:
        return f"{self.model}, {self.entry}, seed {self.seed}"

    def folder(self, output: Path) -> Path:
        """Where its results are."""
        name = self.entry.replace("η=", "").replace("/", "_").replace(" ", "-")
        return output / f"{self.model}-{name}-seed{self.seed}"


class Result(NamedTuple):
    """A run, as far as it is.

    Attributes:
        epochs: to how many it is to be trained; the length of `history` tells how far it is.
        parameters: of the model.
        state: bytes that the optimiser keeps beside the parameters.
        diverged: how many updates were made when a loss wasn't finite, or None; the run ends there.
        settings: what it depends on.
        history: for every epoch "train_loss" and "train_accuracy", means over the mini-batches while training;
            "test_loss", "test_accuracy", of the test images after it; "augmented_loss", "augmented_accuracy", of the
            test images augmented as the training images are; and "seconds" of training alone. Accuracies are shares
            of 1.
        events: when, where and with what it was begun and gone on with.
    """

    model: str
    entry: str
    seed: int
    epochs: int
    parameters: int
    state: int
    diverged: int | None
    settings: dict[str, Any]
    history: list[dict[str, float]]
    events: list[dict[str, Any]]

    @property
    def run(self) -> Run:
        return Run(self.model, self.entry, self.seed)

    @property
    def left(self) -> int:
        """How many epochs are to be made."""
        return 0 if self.diverged is not None else max(0, self.epochs - len(self.history))


def planned(preset: Preset, seeds: tuple[int, ...], only: tuple[str, ...] = ()) -> list[Run]:
    """The runs of a preset, seed by seed; `only` of these entries, if any are named."""
    return [
        Run(model, entry.name, seed)
        for seed in seeds
        for model, entries in preset.cells
        for entry in entries
        if not only or entry.name in only
    ]


def read(output: Path, runs: list[Run], goal: int) -> list[Result]:
    """The runs that were begun. Refused where a file is damaged."""
    results = []
    for run in runs:
        saved = epochs.read(run.folder(output) / "run.json", SETTINGS, NOTED)
        if saved is not None:
            settings = saved["settings"]
            fixed = settings["parameters"], settings["state"], saved["diverged"], settings
            results.append(Result(*run, goal, *fixed, saved["history"], saved["events"]))
    return results
