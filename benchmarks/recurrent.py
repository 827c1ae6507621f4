"""A training step of a recurrent network, tinyflux beside its peers: `python -m benchmarks.recurrent`.

64 features, 128 hidden, 32 sequences, tanh, the mean squared error of the last state, gradient descent, float32. All
begin with the same weights and are given the same sequences; that they agree is checked before anything is measured.
Each contender has a process of its own, and they take turns for several rounds; the medians are shown, and how long it
took to build each program.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from examples.common.machine import processor

from .step import take_turns
from .worker import Worker

FEATURES, HIDDEN, BATCH, ETA = 64, 128, 32, 0.01
Run = tuple[Callable[[int], float], Callable[[], list[Any]]]


@dataclasses.dataclass
class Sequences:
    """What the contenders are given: the number of steps."""

    steps: int

    def batches(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Sequences for the benchmark, with the batch along the second axis, and what the last state is to be."""
        rng = np.random.default_rng(0)
        xs = rng.standard_normal((self.steps, BATCH, FEATURES), np.float32)
        return xs, np.tanh(rng.standard_normal((BATCH, HIDDEN), np.float32))


def weights() -> list[Any]:
    rng = np.random.default_rng(1)
    shapes = (HIDDEN, FEATURES), (HIDDEN, HIDDEN), (HIDDEN,)
    return [rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(HIDDEN**0.5) for shape in shapes]


def repeated(step: Callable[[], Any]) -> Callable[[int], float]:
    """A run of n steps, that returns the last loss; the first one is built here."""

    def run(n: int) -> float:
        for _ in range(n):
            loss = step()
        return float(loss)

    return run


def tinyflux(cell: Sequences, batches: tuple[Any, Any]) -> Run:
    import tinyflux as flux

    xs, y = batches
    model = weights()
    opt = flux.setup(flux.Descent(ETA), model)

    def loss(m: Any, xs: Any, y: Any) -> Any:
        w, u, b = m

        def step(h: Any, x: Any) -> Any:
            return np.tanh(x @ w.T + h @ u.T + b), None

        h, _ = flux.scan(step, np.zeros_like(y), np.swapaxes(xs, 0, 1))
        return flux.mse(h, y)

    data = np.ascontiguousarray(np.swapaxes(xs, 0, 1)), y  # samples are rows
    step = flux.compile_training(loss, model, opt, batchsize=BATCH)
    start = time.perf_counter()
    step(data, np.zeros((0, BATCH), int))
    print(f"tinyflux, {cell.steps} steps: built in {time.perf_counter() - start:.1f} s", flush=True)
    order = np.arange(BATCH)
    return lambda n: float(step(data, np.tile(order, n))[-1]), lambda: model


def pytorch(cell: Sequences, batches: tuple[Any, Any], around: Callable[[Any], Any] = lambda f: f) -> Run:
    import torch

    torch.set_flush_denormal(True)
    xs, y = map(torch.from_numpy, batches)
    rnn = torch.nn.RNN(FEATURES, HIDDEN)
    with torch.no_grad():
        for mine, given in zip(rnn.parameters(), [*weights(), np.zeros(HIDDEN, np.float32)]):
            mine.copy_(torch.from_numpy(given))
    rnn.bias_hh_l0.requires_grad_(False)  # one bias, as the others have it
    own = [p for p in rnn.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(own, lr=ETA)

    @around
    def forward() -> Any:
        return torch.nn.functional.mse_loss(rnn(xs)[1][0], y)

    def step() -> Any:
        optimiser.zero_grad()
        loss = forward()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return repeated(step), lambda: [p.detach().numpy() for p in own]


def pytorch_compiled(cell: Sequences, batches: tuple[Any, Any]) -> Run:
    import torch

    return pytorch(cell, batches, torch.compile)


def jax(cell: Sequences, batches: tuple[Any, Any]) -> Run:
    import jax
    import jax.numpy as jnp

    xs, y = map(jnp.asarray, batches)

    def loss(m: Any) -> Any:
        w, u, b = m
        h, _ = jax.lax.scan(lambda h, x: (jnp.tanh(x @ w.T + h @ u.T + b), None), jnp.zeros_like(y), xs)
        return jnp.mean((h - y) ** 2)

    @jax.jit
    def update(m: Any) -> Any:
        value, slopes = jax.value_and_grad(loss)(m)
        return value, [x - ETA * d for x, d in zip(m, slopes)]

    model = list(map(jnp.asarray, weights()))

    def step() -> Any:
        nonlocal model
        value, model = update(model)
        return value

    start = time.perf_counter()
    update.lower(model).compile()
    print(f"JAX, {cell.steps} steps: built in {time.perf_counter() - start:.1f} s", flush=True)
    return repeated(step), lambda: model


PEERS = {
    "tinyflux": ("tinyflux", tinyflux),
    "PyTorch": ("torch", pytorch),
    "PyTorch compiled": ("torch", pytorch_compiled),
    "JAX": ("jax", jax),
}


def compare(workers: dict[str, Worker], cell: Any, label: str, rounds: int, seconds: float) -> None:
    """Check that all contenders do the same, have them take turns, and print the medians."""
    results = {name: worker.prepare(cell) for name, worker in workers.items()}
    (losses, arrays), *others = results.values()
    for their_losses, their_arrays in others:
        np.testing.assert_allclose(their_losses, losses, rtol=1e-4)
        for mine, theirs in zip(arrays, their_arrays, strict=True):
            np.testing.assert_allclose(theirs, mine, rtol=1e-3, atol=1e-5)
    medians = {name: statistics.median(taken) for name, taken in take_turns(workers, rounds, seconds).items()}
    own = next(iter(medians.values()))
    print(f"{label}: " + ", ".join(f"{n} {t * 1e3:.2f} ms ({t / own:.2f}×)" for n, t in medians.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recurrent", description=__doc__.split(":")[0])
    parser.add_argument("--steps", nargs="+", type=int, default=[20, 200])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["tinyflux", "PyTorch", "JAX"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="the length of a stretch")
    options = parser.parse_args()
    names = [name for name in options.peers if importlib.util.find_spec(PEERS[name][0])]
    versions = [
        f"{needed} {importlib.metadata.version(needed)}" for needed in ("numpy", *(PEERS[n][0] for n in names[1:]))
    ]
    print(f"{os.cpu_count()} cores of {processor()}, {', '.join(versions)}", flush=True)
    workers = {name: Worker(PEERS[name][1], None, None) for name in names}
    for steps in options.steps:
        compare(workers, Sequences(steps), f"{steps} steps", options.rounds, options.seconds)
    for worker in workers.values():
        worker.close()


if __name__ == "__main__":
    main()
