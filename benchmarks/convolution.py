"""A training step of convolutional networks, tinyflux beside its peers: `python -m benchmarks.convolution`.

Gradient descent on the cross-entropy, float32, all cores. All begin with the same weights and have the same images;
that their losses agree is checked before anything is measured. Each contender has a process of its own, and they take
turns for several rounds; the medians are shown, and how long it took to build tinyflux' program.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from examples.common.machine import processor

from .recurrent import Run, compare, repeated
from .worker import Worker

ETA = 0.001
Layers = list[tuple[Any, ...]]


def conv(k: int, nin: int, nout: int, stride: int = 1, bias: bool = True, pad: int | None = None) -> tuple[Any, ...]:
    """A convolution with filters of k × k; by default it keeps the size of images, apart from the stride."""
    return "conv", k, nin, nout, stride, k // 2 if pad is None else pad, bias


def vgg(norm: bool) -> Layers:
    layers: Layers = []
    for nin, nout in ((3, 32), (32, 64), (64, 128)):
        for n in (nin, nout):
            layers += [conv(3, n, nout, bias=not norm), *[("norm", nout)] * norm, ("relu",)]
        layers.append(("maxpool",))
    return [*layers, ("flatten",), ("dense", 4 * 4 * 128, 10)]


def resnet(widths: tuple[int, ...], blocks: int) -> Layers:
    """Two convolutions a block; where the size changes, the shortcut is one of 1 × 1."""
    layers: Layers = [conv(3, 3, widths[0], bias=False), ("norm", widths[0]), ("relu",)]
    nin = widths[0]
    for stage, nout in enumerate(widths):
        for i in range(blocks):
            stride = 2 if stage and not i else 1
            inside = [
                conv(3, nin, nout, stride, False), ("norm", nout), ("relu",),
                conv(3, nout, nout, 1, False), ("norm", nout),
            ]  # fmt: skip
            shortcut = [] if nin == nout else [conv(1, nin, nout, stride, False), ("norm", nout)]
            layers += [("block", inside, shortcut), ("relu",)]
            nin = nout
    return [*layers, ("mean",), ("dense", nin, 10)]


# As in the paper, whose images have 32 × 32 pixels: MNIST's, and two zeros around.
LENET = [
    conv(5, 1, 6), ("relu",), ("maxpool",), conv(5, 6, 16, pad=0), ("relu",), ("maxpool",), ("flatten",),
    ("dense", 5 * 5 * 16, 120), ("relu",), ("dense", 120, 84), ("relu",), ("dense", 84, 10),
]  # fmt: skip
NETWORKS = {
    "LeNet-5": LENET,
    "VGG": vgg(False),
    "VGG, BatchNorm": vgg(True),
    "ResNet20": resnet((16, 32, 64), 3),
    "ResNet18": resnet((64, 128, 256, 512), 2),
}
CELLS = [("LeNet-5", 1), ("LeNet-5", 128), ("VGG", 128), ("VGG, BatchNorm", 128), ("ResNet20", 128), ("ResNet18", 32)]


@dataclasses.dataclass
class Images:
    """What the contenders are given: a network, and how many images a step takes."""

    network: str
    batchsize: int

    def batches(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Images and one-hot answers."""
        rng = np.random.default_rng(0)
        shape = (28, 28, 1) if self.network == "LeNet-5" else (32, 32, 3)
        answers = rng.integers(0, 10, self.batchsize)
        return rng.standard_normal((self.batchsize, *shape), np.float32), np.eye(10, dtype=np.float32)[answers]


def arrays(layers: Layers) -> Iterator[Any]:
    """The initial arrays of a network: of each layer the weight, then the bias."""
    rng = np.random.default_rng(1)

    def of(layers: Layers) -> Iterator[Any]:
        for kind, *args in layers:
            if kind == "conv":
                k, nin, nout, _, _, bias = args
                yield rng.standard_normal((nout, k, k, nin), np.float32) * np.float32((2 / (nin * k * k)) ** 0.5)
                yield from [np.zeros(nout, np.float32)] * bias
            elif kind == "dense":
                nin, nout = args
                yield rng.standard_normal((nout, nin), np.float32) * np.float32((1 / nin) ** 0.5)
                yield np.zeros(nout, np.float32)
            elif kind == "norm":
                yield np.ones(args[0], np.float32)
                yield np.zeros(args[0], np.float32)
            elif kind == "block":
                yield from of(args[0])
                yield from of(args[1])

    return of(layers)


def tinyflux(cell: Images, batches: tuple[Any, Any]) -> Run:
    import tinyflux as flux

    initial = arrays(NETWORKS[cell.network])

    def chain(layers: Layers) -> Any:
        return flux.Chain(*(build(*layer) for layer in layers))

    def build(kind: str, *args: Any) -> Any:
        if kind == "conv":
            k, nin, nout, stride, pad, bias = args
            return filled(flux.Conv((k, k), nin, nout, stride=stride, pad=pad, bias=bias))
        if kind == "dense":
            return filled(flux.Dense(*args))
        if kind == "norm":
            layer = flux.BatchNorm(*args)
            next(initial), next(initial)
            return layer
        if kind == "block":
            inside = chain(args[0])
            return flux.Parallel(np.add, inside, chain(args[1]) if args[1] else flux.identity)
        if kind == "mean":
            return flux.Chain(flux.global_meanpool, flux.flatten)
        return {"relu": flux.relu, "flatten": flux.flatten, "maxpool": flux.MaxPool((2, 2))}[kind]

    def filled(layer: Any) -> Any:
        layer.weight = next(initial)
        layer.bias = None if layer.bias is None else next(initial)
        return layer

    model = chain(NETWORKS[cell.network])
    opt = flux.setup(flux.Descent(ETA), model)
    step = flux.compile_training(
        lambda m, x, y: flux.logitcrossentropy(m(x), y), model, opt, batchsize=cell.batchsize
    )  # fmt: skip
    start = time.perf_counter()
    step(batches, np.zeros((0, cell.batchsize), int))
    print(f"tinyflux, {cell.network} at {cell.batchsize}: built in {time.perf_counter() - start:.1f} s", flush=True)
    order = np.arange(cell.batchsize)
    return lambda n: float(step(batches, np.tile(order, (n, 1)).reshape(-1))[-1]), list


def torch_network(layers: Layers) -> Any:
    """The module with the initial arrays. It takes images with their channels first, as PyTorch's layers do."""
    import torch

    initial = arrays(layers)

    class Block(torch.nn.Module):
        def __init__(self, inside: Layers, shortcut: Layers) -> None:
            super().__init__()
            self.inside, self.shortcut = chain(inside), chain(shortcut)

        def forward(self, x: Any) -> Any:
            return self.inside(x) + self.shortcut(x)

    class Flatten(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.permute(0, 2, 3, 1).flatten(1)  # so that Dense' weights mean the same

    def chain(layers: Layers) -> Any:
        return torch.nn.Sequential(*(build(*layer) for layer in layers))

    def build(kind: str, *args: Any) -> Any:
        if kind == "conv":
            k, nin, nout, stride, pad, bias = args
            return filled(torch.nn.Conv2d(nin, nout, k, stride, pad, bias=bias))
        if kind == "dense":
            return filled(torch.nn.Linear(*args))
        if kind == "norm":
            return filled(torch.nn.BatchNorm2d(*args))
        if kind == "block":
            return Block(*args)
        return {"relu": torch.nn.ReLU(), "flatten": Flatten(), "maxpool": torch.nn.MaxPool2d(2), "mean": Mean()}[kind]

    class Mean(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.mean((2, 3))

    def filled(layer: Any) -> Any:
        with torch.no_grad():
            for mine in layer.parameters():
                given = torch.from_numpy(next(initial))
                mine.copy_(given.permute(0, 3, 1, 2) if given.ndim == 4 else given)
        return layer

    return chain(layers)


def pytorch(cell: Images, batches: tuple[Any, Any], channels_last: bool = False) -> Run:
    import torch

    torch.set_flush_denormal(True)
    torch.set_num_threads(os.cpu_count() or 1)
    model = torch_network(NETWORKS[cell.network])
    x, y = map(torch.from_numpy, batches)
    x = x.permute(0, 3, 1, 2)
    form = torch.channels_last if channels_last else torch.contiguous_format
    x, model = x.contiguous(memory_format=form), model.to(memory_format=form)
    optimiser = torch.optim.SGD(model.parameters(), lr=ETA)

    def step() -> Any:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()
        return loss.detach()

    return repeated(step), list


def pytorch_channels_last(cell: Images, batches: tuple[Any, Any]) -> Run:
    return pytorch(cell, batches, channels_last=True)


def jax_loss(layers: Layers) -> Callable[[Any, Any, Any], Any]:
    """The loss of a list of arrays, images and answers."""
    import jax
    import jax.numpy as jnp

    def run(layers: Layers, x: Any, given: Iterator[Any]) -> Any:
        for kind, *args in layers:
            if kind == "conv":
                _, _, _, stride, pad, bias = args
                names = ("NHWC", "OHWI", "NHWC")
                x = jax.lax.conv_general_dilated(
                    x, next(given), (stride, stride), [(pad, pad)] * 2, dimension_numbers=names
                )
                x = x + next(given) if bias else x
            elif kind == "dense":
                x = x @ next(given).T + next(given)
            elif kind == "norm":
                mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
                x = (x - mean) / jnp.sqrt(variance + 1e-5) * next(given) + next(given)
            elif kind == "block":
                x = run(args[0], x, given) + run(args[1], x, given)
            elif kind == "relu":
                x = jax.nn.relu(x)
            elif kind == "maxpool":
                x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            else:
                x = x.mean((1, 2)) if kind == "mean" else x.reshape(len(x), -1)
        return x

    def loss(m: Any, x: Any, y: Any) -> Any:
        return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(run(layers, x, iter(m))), axis=-1))

    return loss


def jax(cell: Images, batches: tuple[Any, Any]) -> Run:
    import jax
    import jax.numpy as jnp

    layers = NETWORKS[cell.network]
    loss = jax_loss(layers)
    x, y = map(jnp.asarray, batches)

    @jax.jit
    def update(m: Any) -> Any:
        value, slopes = jax.value_and_grad(loss)(m, x, y)
        return value, [w - ETA * d for w, d in zip(m, slopes)]

    model = list(map(jnp.asarray, arrays(layers)))

    def step() -> Any:
        nonlocal model
        value, model = update(model)
        return value

    return repeated(step), list


PEERS: dict[str, tuple[str, Callable[..., Run]]] = {
    "tinyflux": ("tinyflux", tinyflux),
    "PyTorch": ("torch", pytorch),
    "PyTorch, channels last": ("torch", pytorch_channels_last),
    "JAX": ("jax", jax),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convolution", description=__doc__.split(":")[0])
    cells = [f"{network}/{n}" for network, n in CELLS]
    parser.add_argument("--cells", nargs="+", choices=cells, default=cells)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="the length of a stretch")
    options = parser.parse_args()
    names = [name for name in options.peers if importlib.util.find_spec(PEERS[name][0])]
    needed = dict.fromkeys(PEERS[name][0] for name in names if name != "tinyflux")
    versions = [f"{package} {importlib.metadata.version(package)}" for package in ("numpy", *needed)]
    print(f"{os.cpu_count()} cores of {processor()}, {', '.join(versions)}", flush=True)
    workers = {name: Worker(PEERS[name][1], None, None) for name in names}
    for cell in options.cells:
        network, n = cell.rsplit("/", 1)
        compare(workers, Images(network, int(n)), cell, options.rounds, options.seconds)
    for worker in workers.values():
        worker.close()


if __name__ == "__main__":
    main()
