"""The peak memory of training: `python -m benchmarks.memory`, of convolutional networks with `--cells ResNet18/32`.

A process of its own loads the 60,000 training images (188 MB as float32), trains a model on all of them at once for a
few iterations, through the public names alone, and tells the largest amount of memory it occupied meanwhile. Steps of a
convolutional network are made beside PyTorch's, each in a process of its own; what the imports take is subtracted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence


def run(model: str, optimiser: str, iterations: int) -> None:
    """Train, and print where the data came from, the losses, and the peak after and before."""
    import tinyflux as flux

    from .models import MODELS, OPTIMISERS, data

    flux.seed(0)
    x, y, source = data(60_000)
    loaded = peak()
    sizes, activations, loss = MODELS[model]
    layers = [flux.Dense(m, n, getattr(flux, f)) for m, n, f in zip(sizes[:-1], sizes[1:], activations)]
    chain = flux.Chain(*layers)
    opt = flux.setup(getattr(flux, optimiser)(OPTIMISERS[optimiser]), chain)
    batches = flux.DataLoader((x, y), batchsize=len(x))
    losses = flux.train(lambda m, x, y: getattr(flux, loss)(m(x), y), chain, batches, opt, epochs=iterations)
    print(f"{model}, {optimiser}, {iterations} iterations of {len(x):,} samples of {source}: ", end="")
    print(f"loss {losses[0]:.4f} to {losses[-1]:.4f}, peak {peak():.0f} MB ({loaded:.0f} MB with the data loaded)")


def run_cell(cell: str, peer: str) -> None:
    """Make steps of a convolutional network, and print by how much the peak is above what the imports take."""
    import importlib

    from . import convolution

    network, n = cell.rsplit("/", 1)
    images = convolution.Images(network, int(n))
    package, make = convolution.PEERS[peer]
    importlib.import_module(package)
    batches = images.batches(None, None)
    imported = peak()
    step, _ = make(images, batches)
    step(3)
    print(f"{cell}, {peer}: {peak() - imported:.0f} MB beyond {imported:.0f} with everything imported", flush=True)


def peak() -> float:
    """The largest amount of memory that this process has occupied, in MB."""
    import resource

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 1e6 if sys.platform == "darwin" else size * 1024 / 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.split(":")[0])
    parser.add_argument("--model", choices=["4LS", "3LS", "2LR"], default="4LS")
    parser.add_argument("--optimiser", choices=["Descent", "ADAM"], default="ADAM")
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--cells", nargs="+", help="steps of convolutional networks instead, such as ResNet18/32")
    parser.add_argument("--peers", nargs="+", default=["tinyflux", "PyTorch", "PyTorch, channels last"])
    options = parser.parse_args(arguments)
    calls = [f"run_cell({cell!r}, {peer!r})" for cell in options.cells or [] for peer in options.peers]
    calls = calls or [f"run({options.model!r}, {options.optimiser!r}, {options.iterations})"]
    for call in calls:
        # A process inherits the peak of the one that started it; this one has imported nothing large.
        script = f"from benchmarks.memory import run, run_cell; {call}"
        process = subprocess.run([sys.executable, "-c", script], check=False)
        if process.returncode:
            sys.exit(process.returncode)


if __name__ == "__main__":
    main()
