"""The three multilayer perceptrons that the examples train, each with its loss."""

import tinyflux as flux


def build(name: str) -> flux.Chain:
    """A new model: rows of 784 pixels to rows of 10 scores, one a digit."""
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
    raise ValueError(f"model: expected one of {', '.join(LOSSES)}, got {name!r}")


LOSSES = {"4LS": flux.mse, "3LS": flux.mse, "2LR": flux.crossentropy}
