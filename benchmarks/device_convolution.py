"""A training step of ResNet18 on the GPU, tinyflux beside its peers: `python -m benchmarks.device_convolution`.

Images of 32×32 pixels, Adam on the cross-entropy; in float32 throughout, and with TF32, where products are taken of
numbers that were rounded to ten bits. All begin with the same weights and have the same images on the GPU; that their
losses agree is checked before anything is measured. Each contender has a process of its own, and they take turns for
several rounds. The table shows the medians, and in brackets how many times that of tinyflux they are.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyflux.nn import cudnn

from . import device_peers
from .convolution import NETWORKS, Images, arrays, jax_loss, torch_network
from .device import add_common, count, head, peers_there
from .device_peers import prepare_jax, torch_step, trained
from .peers import Contender, jax_jitted, jax_step
from .recurrent import repeated
from .step import format_times, line, take_turns
from .worker import Failed, Worker

NETWORK, ETA = "ResNet18", 0.001
PRECISIONS = {"float32": 1e-4, "TF32": 1e-3}  # how far the first losses may be apart, relatively
DRIFT = 0.1  # the same for the losses after it: Adam turns the rounding of small gradients into steps

Batch = tuple[Any, Any]


@dataclasses.dataclass
class Training(Images):
    """What the contenders are given: images of so many, and a precision."""

    precision: str


def tinyflux(cell: Training, batch: Batch) -> Contender:
    """Steps as `train` makes them."""
    import tinyflux as flux

    flux.allow_tf32(cell.precision == "TF32")
    model = tinyflux_network()
    return trained(flux.logitcrossentropy, model, flux.setup(flux.Adam(ETA), model), [batch])


def tinyflux_network() -> Any:
    import tinyflux as flux

    model = flux.models.resnet18(classes=10, size=32)
    for mine, given in zip(flux.parameters(model), arrays(NETWORKS[NETWORK]), strict=True):
        mine[...] = given
    return model


def pytorch(cell: Training, batch: Batch) -> Contender:
    _, loss, optimiser = torch_training(cell, batch, channels_last=False)
    return repeated(torch_step(loss, optimiser)), list


def pytorch_channels_last(cell: Training, batch: Batch) -> Contender:
    _, loss, optimiser = torch_training(cell, batch, channels_last=True)
    return repeated(torch_step(loss, optimiser)), list


def pytorch_graphs(cell: Training, batch: Batch) -> Contender:
    """The whole step, channels last, captured as a CUDA graph."""
    return repeated(device_peers.captured(*torch_training(cell, batch, channels_last=True))), list


def torch_training(cell: Training, batch: Batch, channels_last: bool) -> tuple[Any, Callable[[], Any], Any]:
    """The model, the loss of the batch, and the optimiser. cuDNN tries its algorithms, and takes the fastest."""
    import torch

    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = cell.precision == "TF32"
    form = torch.channels_last if channels_last else torch.contiguous_format
    model = torch_network(NETWORKS[NETWORK]).to(device_peers.TORCH_DEVICE, memory_format=form)
    x, y = (torch.tensor(a, device=device_peers.TORCH_DEVICE) for a in batch)
    x = x.permute(0, 3, 1, 2).contiguous(memory_format=form)
    optimiser = torch.optim.Adam(model.parameters(), lr=ETA)
    return model, lambda: torch.nn.functional.cross_entropy(model(x), y), optimiser


def jax(cell: Training, batch: Batch) -> Contender:
    """One jitted call a step."""
    prepare_jax("highest" if cell.precision == "float32" else "tensorfloat32")
    import jax.numpy as jnp

    layers = NETWORKS[NETWORK]
    return jax_jitted(jax_step(jax_loss(layers), list(map(jnp.asarray, arrays(layers))), "ADAM", ETA), [batch])


PEERS: dict[str, tuple[str, Callable[[Training, Batch], Contender]]] = {
    "tinyflux": ("cupy", tinyflux),
    "PyTorch": ("torch", pytorch),
    "PyTorch, channels last": ("torch", pytorch_channels_last),
    "PyTorch CUDA graphs": ("torch", pytorch_graphs),
    "JAX jit": ("jax", jax),
}


def agree(losses: dict[str, list[float]], precision: str) -> bool:
    """Whether all contenders calculated nearly the same losses; if not, all losses are shown."""
    found = np.array(list(losses.values()))
    apart = np.abs(found / found[:1] - 1)
    agreed = bool((apart[:, :1] <= PRECISIONS[precision]).all() and (apart <= DRIFT).all())
    if not agreed:
        print(f"benchmarks: in {precision} these losses disagree:", *losses.items(), sep="\n", file=sys.stderr)
    return agreed


def prepare(workers: dict[str, Worker], cell: Training) -> dict[str, list[float]]:
    """The first losses of each contender, which build their programs by turns. One that fails takes no further part."""
    losses = {}
    for name, worker in list(workers.items()):
        try:
            losses[name], _ = worker.prepare(cell)
        except Failed:
            print(f"benchmarks: {name} failed; its error stands above.", file=sys.stderr, flush=True)
            del workers[name]
    return losses


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device_convolution", description=__doc__.split(":")[0])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--batchsize", type=count, default=128, help="(default: %(default)s)")
    add_common(parser, PEERS)
    parser.add_argument("--seconds", type=float, default=0.2, help="the length of a stretch")
    options = parser.parse_args(arguments)
    names = peers_there(PEERS, options.peers)
    size = sum(a.size for a in arrays(NETWORKS[NETWORK]))
    print(
        f"{NETWORK} with {size:,} parameters, {options.batchsize} images of 32×32, Adam", cudnn.status(), "", sep="\n"
    )
    head(["precision", *names])
    workers = {name: Worker(PEERS[name][1], None, None, PEERS[name][0]) for name in names}
    agreed = True
    for precision in options.precisions:
        cell = Training(NETWORK, options.batchsize, precision)
        agreed &= agree(prepare(workers, cell), precision)
        times = take_turns(workers, options.rounds, options.seconds)
        shown = dict(zip(times, format_times(times)))
        print(line([precision, *(shown.get(name, "failed") for name in names)], markdown=True), flush=True)
    for worker in workers.values():
        worker.close()
    if not agreed or len(workers) < len(names):
        sys.exit("benchmarks: the table is not to be relied on, as said above.")


if __name__ == "__main__":
    main()
