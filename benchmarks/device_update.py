"""The update on the GPU against a copy of as many bytes: `python -m benchmarks.device_update`.

An update reads parameter, gradient and state once, and writes parameter and state once, if it is written well: then it
takes as long as a copy from device to device that moves as many bytes. Beside each time stands what part of the copy's
bandwidth it is. The parameters lie in ten arrays; tinyflux, torch.optim with fused=True and with foreach=True, and the
copy take turns, each for a stretch of updates that nothing waits for but the end.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .device import add_common, count, head, peers_there
from .models import OPTIMISERS
from .step import check, line

ARRAYS = 10
SIZES = tuple(10**k for k in range(4, 9))
MOVED = {"Descent": 3, "ADAM": 7}  # the arrays that an update reads and writes: x, g, x; and twice the two averages
UPDATES = 3  # after which the contenders are compared
TORCH_DEVICE = "cuda"

Update = tuple[Callable[[], Any], Callable[[], list[Any]]]  # makes an update; the parameters as they are, in NumPy


def tinyflux(rule: str, start: list[Any], slopes: list[Any]) -> Update:
    import tinyflux as flux

    model, grads = flux.gpu(start, slopes)
    opt = flux.setup(getattr(flux, rule)(OPTIMISERS[rule]), model)
    return lambda: flux.update(opt, model, grads), lambda: flux.leaves(flux.cpu(model))


def pytorch(rule: str, start: list[Any], slopes: list[Any], **options: bool) -> Update:
    import torch

    params = [torch.tensor(x, device=TORCH_DEVICE, requires_grad=True) for x in start]
    for p, slope in zip(params, slopes):
        p.grad = torch.tensor(slope, device=TORCH_DEVICE)
    kind = {"Descent": torch.optim.SGD, "ADAM": torch.optim.Adam}[rule]
    return kind(params, lr=OPTIMISERS[rule], **options).step, lambda: [p.detach().cpu().numpy() for p in params]


def fused(rule: str, start: list[Any], slopes: list[Any]) -> Update:
    return pytorch(rule, start, slopes, fused=True)


def foreach(rule: str, start: list[Any], slopes: list[Any]) -> Update:
    return pytorch(rule, start, slopes, foreach=True)


PEERS = {"tinyflux": ("cupy", tinyflux), "torch fused": ("torch", fused), "torch foreach": ("torch", foreach)}


def copying(size: int) -> Callable[[], None]:
    """A copy that moves so many bytes, read and written ones together."""
    import cupy

    source, target = cupy.zeros(size // 2, np.uint8), cupy.empty(size // 2, np.uint8)
    return lambda: target.data.copy_from_device_async(source.data, source.nbytes)


def wait() -> None:
    import cupy

    cupy.cuda.Device().synchronize()


def measure(names: Sequence[str], rule: str, parameters: int, rounds: int, seconds: float) -> dict[str, float]:
    """The seconds that a copy and an update of each contender take: medians, once they were seen to agree."""
    rng = np.random.default_rng(0)
    start, slopes = (np.array_split(rng.standard_normal(parameters, np.float32), ARRAYS) for _ in range(2))
    made = {name: PEERS[name][1](rule, start, slopes) for name in names}
    for update, _ in made.values():
        for _ in range(UPDATES):
            update()
    check({name: ([0.0], weights()) for name, (_, weights) in made.items()}, start)
    turns = {"copy": copying(4 * MOVED[rule] * parameters), **{name: update for name, (update, _) in made.items()}}
    counts = {name: max(1, round(seconds / timed(update, 10))) for name, update in turns.items()}
    times = [{name: timed(update, counts[name]) for name, update in turns.items()} for _ in range(rounds)]
    return {name: statistics.median(each[name] for each in times) for name in turns}


def timed(update: Callable[[], Any], n: int) -> float:
    wait()
    start = time.perf_counter()
    for _ in range(n):
        update()
    wait()
    return (time.perf_counter() - start) / n


def row(rule: str, parameters: int, times: dict[str, float]) -> list[str]:
    """A row of the table: for each its time and bandwidth, and what part of the copy's that is."""
    moved = 4 * MOVED[rule] * parameters
    entries = [rule, f"{parameters:,}"]
    for name, seconds in times.items():
        part = f" ({times['copy'] / seconds:.0%})" * (name != "copy")
        entries.append(f"{seconds * 1e6:,.1f} µs, {moved / seconds / 1e9:,.0f} GB/s{part}")
    return entries


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device_update", description=__doc__.split(":")[0])
    parser.add_argument("--sizes", nargs="+", type=count, default=SIZES, help="how many parameters")
    parser.add_argument("--optimisers", nargs="+", choices=OPTIMISERS, default=list(OPTIMISERS))
    add_common(parser, PEERS)
    parser.add_argument("--seconds", type=float, default=0.2, help="the length of a stretch")
    options = parser.parse_args(arguments)
    names = peers_there(PEERS, options.peers)
    print(f"float32, {ARRAYS} arrays\n")
    head(["rule", "parameters", "copy", *names])
    for rule in options.optimisers:
        for size in options.sizes:
            times = measure(names, rule, size, options.rounds, options.seconds)
            print(line(row(rule, size, times), markdown=True), flush=True)


if __name__ == "__main__":
    main()
