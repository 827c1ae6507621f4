"""The time of a training step on the GPU, tinyflux beside its peers: `python -m benchmarks.device`.

The same cells, checks and rounds as in `benchmarks.step`, all contenders on one GPU: tinyflux with the steps that
`train` makes, by kernels made for them, and eager, by CuPy's operations; PyTorch eager and as a CUDA graph, and JAX's
lax.scan. It prints a table for docs/speed.md, with the day and the GPU's name.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import sys
from collections.abc import Iterable, Sequence

import tinyflux as flux

from .device_peers import PEERS, on_gpu
from .models import BATCHSIZES, MODELS, OPTIMISERS, POOL, Cell, data
from .step import line, measure, row
from .worker import Worker

USABLE = "The GPU can be used: "


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=__doc__.split(":")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batchsizes", nargs="+", type=count, default=list(BATCHSIZES))
    parser.add_argument("--optimisers", nargs="+", choices=OPTIMISERS, default=list(OPTIMISERS))
    add_common(parser, PEERS)
    parser.add_argument("--seconds", type=float, default=0.2, help="the length of a stretch")
    options = parser.parse_args(arguments)
    names = peers_there(PEERS, options.peers)
    x, y, source = data(max(POOL, *options.batchsizes))
    print(f"data: {source}\n")
    workers = {name: Worker(PEERS[name][1], x, y) for name in names}
    head(["model", "batch", "rule", *names])
    for model in options.models:
        for batchsize in options.batchsizes:
            for optimiser in options.optimisers:
                cell = Cell(model, batchsize, optimiser)
                times = measure(workers, cell, options.rounds, options.seconds)
                print(line(row(cell, times), markdown=True), flush=True)
    for worker in workers.values():
        worker.close()


# What the benchmarks of the GPU share.


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def add_common(parser: argparse.ArgumentParser, peers: Iterable[str]) -> None:
    """The options of every benchmark of the GPU."""
    parser.add_argument(
        "--peers", nargs="*", choices=peers, help="beside tinyflux; by default all that can use the GPU"
    )
    parser.add_argument("--rounds", type=count, default=5, help="in which the contenders take turns (default: 5)")


def peers_there(peers: dict[str, tuple[str, object]], chosen: Sequence[str] | None) -> list[str]:
    """tinyflux and the chosen contenders that can use the GPU, having said which GPU that is, and who can't."""
    gpu = gpu_there()
    wanted = [name for name in peers if name == "tinyflux" or chosen is None or name in chosen]
    packages = dict.fromkeys(peers[name][0] for name in wanted if peers[name][0] not in ("cupy", "numpy"))
    able = {package for package in packages if on_gpu(package)}
    versions = [f"{package} {importlib.metadata.version(package)}" for package in packages if package in able]
    print(f"{datetime.date.today()}, {', '.join([gpu, *versions])}")
    missing = [name for name in wanted if peers[name][0] in packages and peers[name][0] not in able]
    if missing:
        print(f"can't use the GPU here, left out: {', '.join(missing)}")
    return [name for name in wanted if name not in missing]


def gpu_there() -> str:
    """The name of the GPU and the versions of CuPy and CUDA. Without a GPU it ends the program, and says why."""
    status = flux.gpu_status()
    if not status.startswith(USABLE):
        sys.exit(f"benchmarks: {status} These benchmarks need an NVIDIA GPU.")
    return status.removeprefix(USABLE).rstrip(".")


def head(names: Sequence[str]) -> None:
    """The first two lines of a table."""
    print(line(names, markdown=True), line(["---"] * len(names), markdown=True), sep="\n")


if __name__ == "__main__":
    main()
