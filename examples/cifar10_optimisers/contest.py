"""Who takes part: the rules with the numbers that the texts give them, and the presets that say how far to train."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tinyflux as flux
from examples.common.photographs import STANDARD, Scaling


class Entry(NamedTuple):
    """A rule that takes part.

    Attributes:
        name: what it is called in tables.
        rule: makes the rule, of `Length`.
    """

    name: str
    rule: Callable[["Length"], Any]


class Length(NamedTuple):
    """How long a training is, for what follows it.

    Attributes:
        steps: updates in an epoch.
        epochs: that the preset was made for, whatever was asked for.
        original: whether the numbers are those of Padam's paper, not of its reproduction.
    """

    steps: int
    epochs: int
    original: bool = False

    def rate(self, eta: float) -> Any:
        """The learning rate: constant, or in the paper a tenth of it after 50 epochs, and a hundredth after 75."""
        return flux.schedules.MultiStep(eta, (50 * self.steps, 75 * self.steps)) if self.original else eta

    def decayed(self, rule: Any, adaptive: bool) -> Any:
        """A rule whose gradients have weight decay."""
        decay = (1e-4 if adaptive else 5e-4) if self.original else 5e-3
        return flux.OptimiserChain(flux.WeightDecay(decay), rule)


class Images(NamedTuple):
    """How the images are scaled, and how many are taken, or None."""

    scaling: Scaling
    train: int | None = None
    test: int | None = None


class Preset(NamedTuple):
    """What is trained, and how far.

    Attributes:
        text: "tutorial" or "padam": which text's conclusions are looked at.
        cells: pairs of a model and the entries that train it.
        length: about how long it takes, in words.
    """

    text: str
    cells: tuple[tuple[str, tuple[Entry, ...]], ...]
    epochs: int
    seeds: tuple[int, ...]
    batchsize: int
    images: Images
    length: str

    @property
    def entries(self) -> dict[str, Entry]:
        """All that take part, by name."""
        return {entry.name: entry for _, entries in self.cells for entry in entries}


# The tutorial's, which are PyTorch's defaults.
TUTORIAL = (
    Entry("SGD", lambda length: flux.Momentum(0.01, rho=0.9)),
    Entry("Adam", lambda length: flux.Adam(0.001)),
    Entry("AdaDelta", lambda length: flux.AdaDelta(rho=0.9, epsilon=1e-6)),
    Entry("AdaGrad", lambda length: flux.AdaGrad(0.01, epsilon=1e-10, initial=0.0)),
    Entry("AdamW", lambda length: flux.AdamW(0.001, lambda_=0.01)),
    Entry("AdaMax", lambda length: flux.AdaMax(0.002)),
    Entry("ASGD", lambda length: flux.ASGD(0.01, lambda_=1e-4, alpha=0.75, t0=1e6)),
)


def _padam(eta: Any, length: Length, p: Any = 1 / 8) -> Any:
    return length.decayed(flux.Padam(eta, p=p, form="code"), adaptive=False)


def _falling(length: Length) -> Any:
    """What the reproduction suggests and doesn't try: p falls from 1/4 to 1/16, and the rate rises from 0.01 to 0.1."""

    def over(start: float, end: float) -> Any:
        return flux.schedules.Exponential(start, gamma=(end / start) ** (1 / (length.epochs * length.steps)))

    return _padam(over(0.01, 0.1), length, over(1 / 4, 1 / 16))


# Table 1 of the reproduction.
PADAM = (
    Entry("Padam", lambda length: _padam(length.rate(0.1), length)),
    Entry("SGDM", lambda length: length.decayed(flux.Momentum(length.rate(0.1), rho=0.9, form="torch"), False)),
    Entry("Adam", lambda length: length.decayed(flux.Adam(length.rate(0.001)), True)),
    Entry("AMSGrad", lambda length: length.decayed(flux.AMSGrad(length.rate(0.001), form="torch"), True)),
)
POWERS = {"1/4": 1 / 4, "1/8": 1 / 8, "1/16": 1 / 16}
RATES = (0.1, 0.01, 0.001)


def _cell(power: str, eta: float) -> Entry:
    return Entry(f"Padam p={power} η={eta:g}", lambda length: _padam(length.rate(eta), length, POWERS[power]))


GRID = tuple([_cell(power, eta) for power in POWERS for eta in RATES])
FALLING = Entry("Padam falling", _falling)

_TUTORIAL_IMAGES = Images(Scaling((129.3, 124.1, 112.4), (68.2, 65.4, 70.4)))  # as the tutorial has it
_PADAM_IMAGES = Images(STANDARD)

PRESETS = {
    "quick": Preset(
        "tutorial",
        (("resnet20-narrow", TUTORIAL),),
        epochs=5,
        seeds=(0,),
        batchsize=64,
        images=_TUTORIAL_IMAGES._replace(train=10_000, test=2_000),
        length="some minutes on two cores",
    ),
    "cpu": Preset(
        "tutorial",
        (("resnet20", TUTORIAL),),
        epochs=10,
        seeds=(0, 1, 2),
        batchsize=64,
        images=_TUTORIAL_IMAGES,
        length="a night on two cores",
    ),
    "tutorial": Preset(
        "tutorial",
        (("resnet18", TUTORIAL),),
        epochs=50,
        seeds=(0,),
        batchsize=64,
        images=_TUTORIAL_IMAGES,
        length="for a GPU",
    ),
    "padam": Preset(
        "padam",
        (("wide_resnet-16-4", PADAM), ("vgg16", (*PADAM, *GRID, FALLING)), ("resnet18", PADAM)),
        epochs=100,
        seeds=(0,),
        batchsize=128,
        images=_PADAM_IMAGES,
        length="for a GPU",
    ),
}
