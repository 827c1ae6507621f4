"""The grid of trainings: three models, three variants of gradient descent, two optimisers, and seeds."""

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

MODELS = ("4LS", "3LS", "2LR")
VARIANTS = ("batch", "stochastic", "minibatch")
OPTIMISERS = ("Descent", "ADAM")
ETA = {"Descent": 0.1, "ADAM": 0.01}  # inferred: see the settings of the report
BATCHSIZE = 128  # of a mini-batch; the article's is not known
LONGEST = 2_048_000  # iterations, the article's most

PARAMETERS = {"4LS": 13_274, "3LS": 51_370, "2LR": 25_450}


class Preset(NamedTuple):
    """How far each variant is trained, in iterations, and with which seeds."""

    iterations: dict[str, int]
    seeds: tuple[int, ...]


PRESETS = {
    "quick": Preset({"batch": 500, "stochastic": LONGEST, "minibatch": 8_000}, (0,)),
    "article": Preset({"batch": 4_000, "stochastic": LONGEST, "minibatch": LONGEST}, (0, 1, 2)),
}


class Run(NamedTuple):
    """One training: what its numbers depend on, but for the data. How far it goes is not part of it."""

    model: str
    variant: str
    optimiser: str
    seed: int
    batchsize: int | None  # images in a mini-batch; None for the other variants

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.model}-{self.variant}-{self.optimiser}-seed{self.seed}"

    def settings(self) -> dict[str, Any]:
        """What has to be the same where a run is gone on with."""
        return {**self._asdict(), "eta": ETA[self.optimiser]}

    def __str__(self) -> str:
        return f"{self.model} {self.variant} {self.optimiser} seed {self.seed}"


def grid(
    models: Iterable[str] = MODELS,
    variants: Iterable[str] = VARIANTS,
    optimisers: Iterable[str] = OPTIMISERS,
    seeds: Iterable[int] = (0,),
    batchsize: int = BATCHSIZE,
) -> list[Run]:
    """All combinations.

    >>> [run.name for run in grid(models=["2LR"], variants=["batch"], seeds=[7])]
    ['2LR-batch-Descent-seed7', '2LR-batch-ADAM-seed7']
    """
    return [
        Run(*choice, batchsize if choice[1] == "minibatch" else None)
        for choice in itertools.product(models, variants, optimisers, seeds)
    ]


def checkpoints(goal: int) -> list[int]:
    """The iterations after which a run is tested: 500, 1,000, 2,000 … doubling, and its last one.

    >>> checkpoints(3000)
    [500, 1000, 2000, 3000]
    """
    doubling = itertools.takewhile(lambda n: n < goal, (500 * 2**k for k in itertools.count()))
    return [*doubling, goal]


def cost(run: Run, iterations: int, images: int) -> float:
    """About how long iterations take, in a unit of its own: for the order of runs, and the time left.

    Arguments:
        run: the training.
        iterations: how many.
        images: how many there are to train with.

    A pass through the layers costs as much for each image; an update as much as that for a few images.
    """
    update = {"Descent": 2, "ADAM": 12}[run.optimiser]
    return iterations * PARAMETERS[run.model] * (size(run, images) + update)


def size(run: Run, images: int) -> int:
    """How many images an iteration takes, of so many that there are."""
    return run.batchsize if run.batchsize is not None else {"batch": images, "stochastic": 1}[run.variant]
