"""The networks that the examples train: three multilayer perceptrons and LeNet-5 for digits, others for CIFAR-10."""

import tinyflux as flux

PERCEPTRONS = ("4LS", "3LS", "2LR")
LOSSES = {"4LS": flux.mse, "3LS": flux.mse, "2LR": flux.crossentropy, "lenet5": flux.logitcrossentropy}
CONVOLUTIONAL = {
    "lenet5": lambda: flux.models.lenet5(10, shape=(32, 32, 3)),
    "resnet20": lambda: flux.models.resnet20(10),
    "resnet20-narrow": lambda: flux.models.resnet20(10, channels=8),
    "resnet56": lambda: flux.models.resnet56(10),
    "resnet18": lambda: flux.models.resnet18(10, size=32),
    "resnet34": lambda: flux.models.resnet34(10, size=32),
    "vgg11": lambda: flux.models.vgg11(10, size=32),
    "vgg16": lambda: flux.models.vgg16(10, size=32),
}


def build(name: str) -> flux.Chain:
    """A new model: rows of 784 pixels (images (N, 28, 28, 1) for lenet5) to rows of 10 scores, one a digit."""
    if name == "4LS":
        return flux.Chain(
            flux.Dense(784, 16, flux.sigmoid),
            flux.Dense(16, 16, flux.sigmoid),
            flux.Dense(16, 16, flux.sigmoid),
            flux.Dense(16, 10, flux.sigmoid),
        )
    if name == "3LS":
        return flux.Chain(
            flux.Dense(784, 60, flux.sigmoid),
            flux.Dense(60, 60, flux.sigmoid),
            flux.Dense(60, 10, flux.sigmoid),
        )
    if name == "2LR":
        return flux.Chain(flux.Dense(784, 32, flux.relu), flux.Dense(32, 10), flux.softmax)
    if name == "lenet5":
        return flux.models.lenet5()
    raise ValueError(f"model: expected one of {', '.join(LOSSES)}, got {name!r}")


def build_convolutional(name: str) -> flux.Chain:
    """A new model: images (N, 32, 32, 3) to rows of 10 scores. Besides those named, wide_resnet-DEPTH-WIDTH."""
    kind, *numbers = name.split("-")
    if kind == "wide_resnet" and len(numbers) == 2 and all(map(str.isdecimal, numbers)):
        return flux.models.wide_resnet(int(numbers[0]), int(numbers[1]), 10)
    if name not in CONVOLUTIONAL:
        raise ValueError(f"model: expected one of {', '.join(CONVOLUTIONAL)}, wide_resnet-DEPTH-WIDTH, got {name!r}")
    return CONVOLUTIONAL[name]()
