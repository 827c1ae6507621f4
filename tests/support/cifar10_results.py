"""Results of examples/cifar10_optimisers made up for tests: what runs would have left, without a training."""

import math
from typing import Any

from examples.cifar10_optimisers.contest import PRESETS, Entry, Preset
from examples.cifar10_optimisers.published import WIDE_RESNET
from examples.cifar10_optimisers.results import Result

TUTORIAL = ("SGD", "Adam", "AdaDelta", "AdaGrad", "AdamW", "AdaMax", "ASGD")
PADAM = ("Padam", "SGDM", "Adam", "AMSGrad")
GRID = tuple(f"Padam p=1/{n} η={rate}" for n in (4, 8, 16) for rate in (0.1, 0.01, 0.001))
EVENT = {
    "event": "begun",
    "time": "2026-01-02T03:04:05+00:00",
    "versions": {"tinyflux": "1.2.3"},
    "machine": {"processor": "Abacus", "cores": 2, "memory_gib": 3, "system": "Wood"},
}
# How fast each of the tutorial's learns, and how far: its conclusions hold of these.
SPEEDS = {"AdaMax": 0.50, "SGD": 0.45, "Adam": 0.36, "AdamW": 0.37, "ASGD": 0.20, "AdaGrad": 0.0, "AdaDelta": 0.0}


def preset(text: str = "tutorial", **models: tuple[str, ...]) -> Preset:
    """That of a night on two cores, or of the reproduction; or one of other models, with their optimisers' names."""
    made = PRESETS["cpu" if text == "tutorial" else "padam"]
    entries = {
        name: made.entries.get(name, Entry(name, lambda length: None)) for some in models.values() for name in some
    }
    cells = tuple((model, tuple(entries[name] for name in names)) for model, names in models.items())
    return made._replace(cells=cells or made.cells)


def epoch(train: float, test: float, train_loss: float, test_loss: float, seconds: float = 10.0) -> dict[str, float]:
    """What is noted after an epoch, of accuracies in percent."""
    return {
        "train_loss": train_loss,
        "train_accuracy": train / 100,
        "test_loss": test_loss,
        "test_accuracy": test / 100,
        "augmented_loss": test_loss + 0.1,
        "augmented_accuracy": (test - 1) / 100,
        "seconds": seconds,
    }


def learning(entry: str, n: int, worse: float = 0.0) -> list[dict[str, float]]:
    """The epochs of an optimiser of the tutorial, as its conclusions have them."""
    history = []
    for e in range(1, n + 1):
        if SPEEDS.get(entry):
            far = 1 - math.exp(-SPEEDS[entry] * e**0.6)
            test = 10 + 75 * min(1, far * 1.06) - 0.3 * list(SPEEDS).index(entry) * (entry != "ASGD")
            rising = 0.012 * e if entry in ("AdaMax", "SGD") else 0.0
            test_loss = 2.2 * (1 - far) + 0.5 + rising
        else:
            far, test, test_loss = 0.1 + 0.006 * e, 15 + 0.5 * e, 2.2 - 0.01 * e
        history.append(epoch(10 + 88 * far - worse, test - worse, 2.3 * (1 - far) + worse / 100, test_loss))
    return history


def result(model: str, entry: str, history: list[dict[str, float]], seed: int = 0, **changes: Any) -> Result:
    """A run with a history."""
    settings = {"batchsize": 64, "images": 50_000, "test_images": 10_000, "device": "cpu", "rule": f"{entry}(…)"}
    settings |= changes.pop("settings", {})
    made = Result(model, entry, seed, 50, 272_474, 1_089_896, None, settings, history, [EVENT])
    return made._replace(**changes)


def tutorial(n: int = 50, seeds: tuple[int, ...] = (0,), model: str = "resnet20", **histories: Any) -> list[Result]:
    """The runs of the tutorial's seven optimisers; some with other histories, by name."""
    return [
        result(model, name, histories.get(name) or learning(name, n, 0.4 * seed), seed)
        for seed in seeds
        for name in TUTORIAL
    ]


def constant(model: str, n: int, **percents: float) -> list[Result]:
    """Runs whose test accuracies are the same after every epoch, by the optimiser's name."""
    return [result(model, name, [epoch(p, p, 1 - p / 100, 1.0)] * n) for name, p in percents.items()]


# Test accuracies of the grid with which the reproduction's conclusions hold, by the divisor in p and the rate.
CELLS = {(4, 0.1): 70.0, (4, 0.01): 85.0, (4, 0.001): 86.0}
CELLS |= {(8, 0.1): 84.0, (8, 0.01): 87.0, (8, 0.001): 80.0}
CELLS |= {(16, 0.1): 88.0, (16, 0.01): 83.0, (16, 0.001): 70.0}


def grid(n: int, cells: dict[tuple[int, float], float] = CELLS, falling: float = 89.0) -> list[Result]:
    """The runs of Padam's powers and rates, on VGG16."""
    percents = {f"Padam p=1/{power} η={rate}": percent for (power, rate), percent in cells.items()}
    return constant("vgg16", n, **percents, **{"Padam falling": falling})


def wide(n: int, losses: tuple[float, ...] = (0.1, 0.4, 0.2, 0.3), **changes: dict[int, float]) -> list[Result]:
    """The four optimisers on the Wide ResNet, with the published test accuracies at their epochs."""
    results = []
    for name, loss in zip(PADAM, losses):
        marks = {**WIDE_RESNET.percent[name], **changes.get(name, {})}
        percents = [next(marks[mark] for mark in sorted(marks) if e <= mark) for e in range(1, n + 1)]
        results.append(result("wide_resnet-16-4", name, [epoch(99, p, loss, 1.0) for p in percents], epochs=100))
    return results


def padam(n: int) -> list[Result]:
    """All runs of the preset, as the reproduction's conclusions have them."""
    others = [constant(model, n, **dict.fromkeys(PADAM, 80.0)) for model in ("vgg16", "resnet18")]
    return [r._replace(epochs=100) for r in [*wide(n), *others[0], *grid(n), *others[1]]]
