"""The networks that the examples train, each with its loss: three multilayer perceptrons, and LeNet-5."""

import tinyflux as flux

PERCEPTRONS = ("4LS", "3LS", "2LR")
LOSSES = {"4LS": flux.mse, "3LS": flux.mse, "2LR": flux.crossentropy, "lenet5": flux.logitcrossentropy}


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
