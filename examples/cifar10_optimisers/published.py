"""The two texts: what they trained, for how long, and the figures that they and others give."""

from typing import NamedTuple


class Text(NamedTuple):
    """What a text trained.

    Attributes:
        name: what it is called in sentences.
        models: those that it trained.
        epochs: how long.
        batchsize: images in a mini-batch.
        before: what the first weights were, where they were not random.
    """

    name: str
    models: tuple[str, ...]
    epochs: int
    batchsize: int
    before: str = ""


TUTORIAL = Text("the tutorial", ("resnet18",), 50, 64, "weights pretrained on ImageNet")
REPRODUCTION = Text("the reproduction of Padam", ("wide_resnet-16-4", "vgg16", "resnet18"), 100, 128)


class Figures(NamedTuple):
    """Published accuracies on the test images, in percent.

    Attributes:
        source: who gives them, and how the training differed.
        model: the model.
        percent: of an optimiser, by epoch.
    """

    source: str
    model: str
    percent: dict[str, dict[int, float]]


def _figures(source: str, model: str, epochs: tuple[int, ...], **rows: tuple[float, ...]) -> Figures:
    return Figures(source, model, {name: dict(zip(epochs, row)) for name, row in rows.items()})


WIDE_RESNET = _figures(
    "the reproduction: 100 epochs, the rate constant",
    "wide_resnet-16-4",
    (25, 50, 75, 100),
    Padam=(88.07, 87.66, 87.68, 88.43),
    SGDM=(81.39, 82.13, 78.46, 81.78),
    Adam=(84.59, 87.75, 87.51, 88.65),
    AMSGrad=(86.83, 88.08, 88.88, 89.18),
)
OTHERS = [
    _figures(
        "Padam's own implementation: 200 epochs, the rate falls in steps",
        "vgg16",
        (50, 100, 150, 200),
        Padam=(67.9, 90.9, 93.1, 93.1),
        SGDM=(68.7, 87.9, 92.9, 93.0),
        Adam=(84.6, 91.5, 92.3, 92.4),
        AMSGrad=(87.9, 91.8, 92.3, 92.2),
    ),
    _figures(
        "another comparison: 200 epochs (it gives errors)",
        "resnet18",
        (200,),
        Padam=(100 - 5.12,),
        SGDM=(100 - 5.01,),
        Adam=(100 - 6.53,),
        AMSGrad=(100 - 6.16,),
        AdamW=(100 - 5.08,),
    ),
]
