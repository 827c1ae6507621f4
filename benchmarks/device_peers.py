"""The contenders on the GPU, made as those of `peers` are: `make(cell, batches) -> (run, weights)`.

All calculate in float32 throughout, without TF32: CuPy and PyTorch do by default, JAX is told to. The data lies on the
GPU before anything is measured.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np

import tinyflux as flux

from .models import Cell
from .peers import Batches, Contender, _tinyflux, _torch, jax_scan, joined, looped

TORCH_DEVICE = "cuda"
WARMUP = 3  # steps before a capture, as PyTorch's documentation has it


def tinyflux(cell: Cell, batches: Batches) -> Contender:
    """Steps as `train` makes them there."""
    return trained(getattr(flux, cell.loss), *_tinyflux(cell), batches)


def trained(loss: Callable[[Any, Any], Any], model: Any, opt: Any, batches: Batches) -> Contender:
    """The same for any loss, model and state of an optimiser."""
    from tinyflux.training.engines import choose_engines
    from tinyflux.training.loop import make_updates

    model, opt = flux.gpu(model, opt)
    x, y = (flux.gpu(a) for a in joined(batches))
    loader = InTurn((x, y), len(batches[0][0]))
    engines = choose_engines(lambda m, x, y: loss(m(x), y), model, loader, opt, "auto", None)

    def run(n: int) -> float:
        loader.taken = n * loader.batchsize
        data: Any = loader if len(batches) > 1 else repeat((x, y), n)
        return [loss for losses in make_updates(engines, data, lambda: n) for loss in losses][-1]

    return run, lambda: flux.leaves(flux.cpu(model))


class InTurn(flux.DataLoader[Any]):
    """The batches in turn: a pass takes `taken` samples, and goes on where the one before has ended."""

    shuffle = property(lambda self: True, lambda self, value: None)  # so that `order` says which
    begin = 0

    def order(self) -> Any:
        first, self.begin = self.begin, self.begin + self.taken
        return np.arange(first, self.begin, like=self.data[0]) % (len(self.data[0]) // self.batchsize * self.batchsize)


def tinyflux_eager(cell: Cell, batches: Batches) -> Contender:
    model, opt = flux.gpu(*_tinyflux(cell))
    loss = getattr(flux, cell.loss)

    def step(x: Any, y: Any) -> Any:
        value, grads = flux.withgradient(lambda m: loss(m(x), y), model)
        flux.update(opt, model, grads)
        return value

    return looped(step, moved(batches, flux.gpu)), lambda: flux.leaves(flux.cpu(model))


def moved(batches: Batches, move: Callable[[Any], Any]) -> list[tuple[Any, Any]]:
    """The batches as views of one array there."""
    size = len(batches[0][0])
    x, y = (move(a) for a in joined(batches))
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def torch_model(cell: Cell) -> tuple[Any, Callable[[Any, Any], Any], Any]:
    """As `peers._torch`, on the GPU."""
    model, loss, optimiser = _torch(cell)
    model.to(TORCH_DEVICE)  # in place: the optimiser holds the same parameters
    return model, loss, optimiser


def torch_batches(batches: Batches) -> list[tuple[Any, Any]]:
    import torch

    return moved(batches, lambda a: torch.tensor(a, device=TORCH_DEVICE))


def torch_weights(model: Any) -> list[Any]:
    return [p.detach().cpu().numpy() for p in model.parameters()]


def pytorch(cell: Cell, batches: Batches) -> Contender:
    """The loop of PyTorch's tutorials."""
    model, loss, optimiser = torch_model(cell)
    return looped(torch_step(loss, optimiser), torch_batches(batches)), lambda: torch_weights(model)


def torch_step(loss: Callable[..., Any], optimiser: Any) -> Callable[..., Any]:
    """A step with what the loss is called with; it returns the loss, which stays on the GPU."""

    def step(*batch: Any) -> Any:
        optimiser.zero_grad()
        value = loss(*batch)
        value.backward()
        optimiser.step()
        return value.detach()

    return step


def pytorch_graphs(cell: Cell, batches: Batches) -> Contender:
    """The whole step captured as a CUDA graph, into whose input every batch is copied, unless there is only one."""
    model, loss, optimiser = torch_model(cell)
    data = torch_batches(batches)
    x, y = (a.clone() for a in data[0]) if len(data) > 1 else data[0]
    replay = captured(model, lambda: loss(x, y), optimiser)

    def step(*batch: Any) -> Any:
        if len(data) > 1:
            x.copy_(batch[0])
            y.copy_(batch[1])
        return replay()

    return looped(step, data), lambda: torch_weights(model)


def captured(model: Any, loss: Callable[[], Any], optimiser: Any) -> Callable[[], Any]:
    """A step as a CUDA graph: a function that runs it and returns the loss, which stays on the GPU."""
    import torch

    start = [p.detach().clone() for p in model.parameters()]
    for group in optimiser.param_groups:
        group["capturable"] = True
    step = torch_step(loss, optimiser)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARMUP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    optimiser.zero_grad()
    with torch.cuda.graph(graph):
        value = step()
    as_before(model, optimiser, start)

    def replay() -> Any:
        graph.replay()
        return value

    return replay


def as_before(model: Any, optimiser: Any, start: list[Any]) -> None:
    """Take the steps back that a capture needed, in place: the graph reads and writes these very tensors."""
    import torch

    with torch.no_grad():
        for p, first in zip(model.parameters(), start):
            p.copy_(first)
        for state in optimiser.state.values():
            for tensor in state.values():
                tensor.zero_()


def jax(cell: Cell, batches: Batches) -> Contender:
    """`lax.scan`, as on the CPU."""
    prepare_jax()
    return jax_scan(cell, batches)


def prepare_jax(precision: str = "highest") -> None:
    """The precision, and no claim to most of the GPU's memory, which others need as well."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    import jax

    jax.config.update("jax_default_matmul_precision", precision)


PEERS: dict[str, tuple[str, Callable[[Cell, Batches], Contender]]] = {  # by name: the package, and `make`
    "tinyflux": ("cupy", tinyflux),
    "tinyflux eager": ("cupy", tinyflux_eager),
    "PyTorch": ("torch", pytorch),
    "PyTorch CUDA graphs": ("torch", pytorch_graphs),
    "JAX lax.scan": ("jax", jax),
}
PROBES = {  # end well where a package can use the GPU
    "torch": "import torch; assert torch.cuda.is_available()",
    "jax": "import jax; assert jax.default_backend() == 'gpu'",
}


def on_gpu(package: str) -> bool:
    """Whether a package is installed and can use the GPU; tried in another process, lest it occupy memory in this."""
    command = [sys.executable, "-c", PROBES[package]]
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
