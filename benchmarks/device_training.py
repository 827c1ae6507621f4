"""The whole of a stochastic training on the GPU: `python -m benchmarks.device_training`.

An image an update, for so many updates: from data and first weights in the memory of the CPU to the losses of all
updates there. Each contender draws its own shuffled passes, and has trained once before it is measured, so that what it
compiles is compiled. Beside the contenders on the GPU stands tinyflux on the CPU, as it trains there: compiled, if
there is a compiler.
"""

from __future__ import annotations

import argparse
import functools
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from .device import add_common, count, head, peers_there
from .device_peers import TORCH_DEVICE, captured, prepare_jax, torch_model
from .models import MODELS, OPTIMISERS, Cell, data
from .peers import _jax, _tinyflux
from .step import line

SAMPLES = 60_000
APART = 2.0  # how many times the least mean loss of the last tenth of the updates the largest may be

Training = Callable[[], Any]  # trains from the first weights on, and returns the losses


def tinyflux(cell: Cell, x: Any, y: Any, iterations: int, where: str = "gpu") -> Training:
    import tinyflux as flux

    loss = getattr(flux, cell.loss)
    move = getattr(flux, where)

    def train() -> Any:
        losses: list[float] = []

        def keep(progress: Any) -> bool:
            losses.extend(progress.losses)
            return progress.iteration == iterations

        keep.due = lambda iteration: iterations  # type: ignore[attr-defined]
        model, opt = move(*_tinyflux(cell))
        batches = move(flux.DataLoader((x, y), shuffle=True))
        epochs = math.ceil(iterations / len(x))
        flux.train(lambda m, x, y: loss(m(x), y), model, batches, opt, epochs, callbacks=[keep])
        return losses

    return train


def tinyflux_cpu(cell: Cell, x: Any, y: Any, iterations: int) -> Training:
    return tinyflux(cell, x, y, iterations, where="cpu")


def drawn(samples: int, iterations: int) -> Iterator[int]:
    """The numbers of the samples, from shuffled passes that PyTorch draws."""
    import torch

    for done in range(0, iterations, samples):
        yield from torch.randperm(samples, device=TORCH_DEVICE)[: iterations - done].tolist()


def pytorch(cell: Cell, x: Any, y: Any, iterations: int) -> Training:
    import torch

    def train() -> Any:
        _, loss, optimiser = torch_model(cell)
        xs, ys = (torch.tensor(a, device=TORCH_DEVICE) for a in (x, y))
        losses = torch.empty(iterations, device=TORCH_DEVICE)
        for k, i in enumerate(drawn(len(xs), iterations)):
            optimiser.zero_grad()
            value = loss(xs[i : i + 1], ys[i : i + 1])
            value.backward()
            optimiser.step()
            losses[k] = value.detach()
        return losses.cpu().numpy()

    return train


def pytorch_graphs(cell: Cell, x: Any, y: Any, iterations: int) -> Training:
    import torch

    def train() -> Any:
        model, loss, optimiser = torch_model(cell)
        xs, ys = (torch.tensor(a, device=TORCH_DEVICE) for a in (x, y))
        losses = torch.empty(iterations, device=TORCH_DEVICE)
        image, label = xs[:1].clone(), ys[:1].clone()
        replay = captured(model, lambda: loss(image, label), optimiser)
        for k, i in enumerate(drawn(len(xs), iterations)):
            image.copy_(xs[i : i + 1])
            label.copy_(ys[i : i + 1])
            losses[k] = replay()
        return losses.cpu().numpy()

    return train


def jax(cell: Cell, x: Any, y: Any, iterations: int) -> Training:
    prepare_jax()
    import jax
    import jax.numpy as jnp

    step, params, state = _jax(cell)
    passes = math.ceil(iterations / len(x))

    def whole(params: Any, state: Any, key: Any, xs: Any, ys: Any) -> Any:
        def body(carry: Any, i: Any) -> Any:
            value, *carry = step(*carry, xs[i][None], ys[i][None])
            return tuple(carry), value

        order = [jax.random.permutation(k, len(xs)) for k in jax.random.split(key, passes)]
        return jax.lax.scan(body, (params, state), jnp.concatenate(order)[:iterations])[1]

    compiled = jax.jit(whole)
    return lambda: np.asarray(compiled(params, state, jax.random.key(0), jnp.array(x), jnp.array(y)))


PEERS: dict[str, tuple[str, Callable[[Cell, Any, Any, int], Training]]] = {
    "tinyflux": ("cupy", tinyflux),
    "PyTorch": ("torch", pytorch),
    "PyTorch CUDA graphs": ("torch", pytorch_graphs),
    "JAX lax.scan": ("jax", jax),
    "tinyflux on the CPU": ("numpy", tinyflux_cpu),
}


def timed(name: str, cell: Cell, iterations: int) -> tuple[float, float]:
    """In a contender's process: the seconds of a training, and the mean loss of its last tenth."""
    train = _prepared(name, cell, iterations)
    start = time.perf_counter()
    losses = train()
    seconds = time.perf_counter() - start
    assert len(losses) == iterations, f"{name} made {len(losses):,} updates"
    return seconds, float(np.mean(losses[-math.ceil(iterations / 10) :]))


@functools.lru_cache(maxsize=1)
def _prepared(name: str, cell: Cell, iterations: int) -> Training:
    x, y, _ = data(SAMPLES)
    train = PEERS[name][1](cell, x, y, iterations)
    train()
    return train


def check(means: dict[str, float]) -> None:
    """AssertionError unless the contenders learned about as much."""
    least, most = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    differ = f"{most} ended at a mean loss of {means[most]:.3g}, {least} at {means[least]:.3g}"
    assert means[most] <= APART * means[least], differ


def row(cell: Cell, times: dict[str, list[float]]) -> list[str]:
    """A row of the table: the medians, and in brackets how many times that of tinyflux they are."""
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    entries = [cell.model, cell.optimiser]
    for name, seconds in medians.items():
        ratio = f" ({seconds / medians['tinyflux']:.2f}×)" * (name != "tinyflux")
        entries.append(f"{seconds:.2f} s{ratio}")
    return entries


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device_training", description=__doc__.split(":")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--optimisers", nargs="+", choices=OPTIMISERS, default=list(OPTIMISERS))
    parser.add_argument("--iterations", type=count, default=64_000, help="(default: %(default)s)")
    add_common(parser, PEERS)
    options = parser.parse_args(arguments)
    names = peers_there(PEERS, options.peers)
    print(f"{options.iterations:,} updates, data: {data(1)[2]}\n")
    head(["model", "rule", *names])
    context = multiprocessing.get_context("spawn")
    places = {name: ProcessPoolExecutor(1, context) for name in names}
    for model in options.models:
        for optimiser in options.optimisers:
            cell = Cell(model, 1, optimiser)
            times: dict[str, list[float]] = {name: [] for name in names}
            for _ in range(options.rounds):
                results = {n: place.submit(timed, n, cell, options.iterations).result() for n, place in places.items()}
                check({name: mean for name, (_, mean) in results.items()})
                for name, (seconds, _) in results.items():
                    times[name].append(seconds)
            print(line(row(cell, times), markdown=True), flush=True)
    for place in places.values():
        place.shutdown()


if __name__ == "__main__":
    main()
