"""The contenders: how each of them makes the training step of a cell.

A contender is a function `make(cell, batches) -> (run, weights)`. `run(n)` makes the next n steps, each the gradient
of the loss for one batch and the update with it, waits until all is calculated, and returns the loss of the last step,
from before its update. `weights()` returns the parameters as they are, NumPy arrays in the order of `cell.weights()`.
To add a contender, write its function and enter it in PEERS.

Each is written as its users write it, with its defaults: float32, and all cores. What a contender compiles, it compiles
in `make`, or in the first few steps, which nobody measures.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from .models import EPSILON, MODELS, Cell

Batches = Sequence[tuple[Any, Any]]
Contender = tuple[Callable[[int], float], Callable[[], list[Any]]]
LONGEST_SCAN = 512  # steps
CFLAGS = ["-O3", "-march=native", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]


def looped(step: Callable[[Any, Any], Any], batches: Batches) -> Callable[[int], float]:
    """`run` for a contender that is called once a step: `step(x, y) -> loss`."""
    source = cycle(batches)

    def run(n: int) -> float:
        for x, y in islice(source, n):
            loss = step(x, y)
        return loss.item()

    return run


def joined(batches: Batches) -> tuple[Any, Any]:
    """The samples of all batches, for a contender that takes a stretch of steps at once."""
    x, y = (np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*batches))
    return x, y


def _tinyflux(cell: Cell) -> tuple[Any, Any]:
    """The model with the cell's weights, and the optimiser's state."""
    import tinyflux as flux

    layers = []
    for (weight, bias), activation in zip(cell.weights(), cell.activations):
        nout, nin = weight.shape
        layers.append(flux.Dense(nin, nout, getattr(flux, activation)))
        layers[-1].weight, layers[-1].bias = weight, bias
    model = flux.Chain(*layers)
    return model, flux.setup(getattr(flux, cell.optimiser)(cell.eta), model)


def tinyflux_eager(cell: Cell, batches: Batches) -> Contender:
    import tinyflux as flux

    model, opt = _tinyflux(cell)
    loss = getattr(flux, cell.loss)

    def step(x: Any, y: Any) -> Any:
        value, grads = flux.withgradient(lambda m: loss(m(x), y), model)
        flux.update(opt, model, grads)
        return value

    return looped(step, batches), lambda: flux.leaves(model)


def tinyflux_compiled(cell: Cell, batches: Batches) -> Contender:
    """Many steps in one call, over samples that are named by their numbers, as those of a shuffled epoch would be."""
    import tinyflux as flux

    model, opt = _tinyflux(cell)
    loss = getattr(flux, cell.loss)
    step = flux.compile_training(lambda m, x, y: loss(m(x), y), model, opt, batchsize=cell.batchsize)
    data = joined(batches)
    stretch = max(1, 2**20 // cell.batchsize)  # steps of one call at most
    samples = np.arange(len(batches) * cell.batchsize).reshape(len(batches), cell.batchsize)
    order = np.concatenate([samples] * (-(-stretch // len(batches)) + 1))
    done = 0

    def run(n: int) -> float:
        nonlocal done
        while n > 0:
            start, count = done % len(batches), min(n, stretch)
            losses = step(data, order[start : start + count])
            done, n = done + count, n - count
        return float(losses[-1])

    return run, lambda: flux.leaves(model)


def _torch(cell: Cell) -> tuple[Any, Callable[[Any, Any], Any], Any]:
    """The model with the cell's weights, the loss of a batch, and the optimiser."""
    import torch
    from torch import nn

    activations = {"sigmoid": nn.Sigmoid(), "relu": nn.ReLU(), "softmax": nn.Softmax(dim=1)}
    losses = {
        "mse": nn.functional.mse_loss,
        "crossentropy": lambda p, y: -(y * torch.log(p + EPSILON)).sum(dim=1).mean(),
    }
    layers: list[Any] = []
    for (weight, bias), activation in zip(cell.weights(), cell.activations):
        layers += [nn.Linear(*weight.shape[::-1]), activations[activation]]
        with torch.no_grad():
            layers[-2].weight.copy_(torch.from_numpy(weight))
            layers[-2].bias.copy_(torch.from_numpy(bias))
    model = nn.Sequential(*layers)
    optimiser = {"Descent": torch.optim.SGD, "ADAM": torch.optim.Adam}[cell.optimiser](model.parameters(), lr=cell.eta)
    return model, lambda x, y: losses[cell.loss](model(x), y), optimiser


def pytorch(cell: Cell, batches: Batches, compiled: Callable[[Any], Any] = lambda f: f) -> Contender:
    """The loop of PyTorch's tutorials; `compiled` is put around the loss and around the optimiser's step."""
    import torch

    model, loss, optimiser = _torch(cell)
    loss, update = compiled(loss), compiled(optimiser.step)

    def step(x: Any, y: Any) -> Any:
        optimiser.zero_grad()
        value = loss(x, y)
        value.backward()
        update()
        return value

    run = looped(step, [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches])
    return run, lambda: [p.detach().numpy() for p in model.parameters()]


def torch_compile(cell: Cell, batches: Batches) -> Contender:
    """As PyTorch's documentation has it: forward and backward pass are compiled, and the optimiser's step is."""
    import torch

    torch._dynamo.reset()  # forgets the cell before, as a new process would
    return pytorch(cell, batches, torch.compile)


def _jax(cell: Cell) -> tuple[Callable[..., Any], Any, Any]:
    """`step(params, state, x, y) -> (loss, params, state)`, and the first params and state."""
    import jax
    import jax.numpy as jnp

    activations = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "softmax": jax.nn.softmax}
    losses = {
        "mse": lambda p, y: jnp.mean((p - y) ** 2),
        "crossentropy": lambda p, y: -jnp.mean(jnp.sum(y * jnp.log(p + EPSILON), axis=1)),
    }

    def loss(params: Any, x: Any, y: Any) -> Any:
        for (weight, bias), activation in zip(params, cell.activations):
            x = activations[activation](x @ weight.T + bias)
        return losses[cell.loss](x, y)

    params = jax.tree.map(jnp.array, cell.weights())
    return jax_step(loss, params, cell.optimiser, cell.eta)


def jax_step(loss: Callable[..., Any], params: Any, rule: str, eta: float) -> tuple[Callable[..., Any], Any, Any]:
    """As `_jax`, for any loss(params, x, y)."""
    import jax
    import jax.numpy as jnp

    def descent(params: Any, state: Any, grads: Any) -> Any:
        return jax.tree.map(lambda p, g: p - eta * g, params, grads), state

    def adam(params: Any, state: Any, grads: Any) -> Any:
        m, v, t = state
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        rate, correction = eta / (1 - 0.9**t), 1 / (1 - 0.999**t)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v * correction) + 1e-8), params, m, v)
        return params, (m, v, t)

    update = {"Descent": descent, "ADAM": adam}[rule]

    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(params, x, y)
        return value, *update(params, state, grads)

    zeros = lambda: jax.tree.map(jnp.zeros_like, params)  # noqa: E731
    return step, params, (zeros(), zeros(), jnp.zeros(())) if rule == "ADAM" else ()


def jax_jit(cell: Cell, batches: Batches) -> Contender:
    """One jitted call a step, which may write into the memory of the old parameters and state."""
    return jax_jitted(_jax(cell), batches)


def jax_jitted(start: tuple[Callable[..., Any], Any, Any], batches: Batches) -> Contender:
    """The same for any step, with its first params and state."""
    import jax
    import jax.numpy as jnp

    step, params, state = start
    compiled = jax.jit(step, donate_argnums=(0, 1))
    source = cycle([(jnp.array(x), jnp.array(y)) for x, y in batches])

    def run(n: int) -> float:
        nonlocal params, state
        for x, y in islice(source, n):
            value, params, state = compiled(params, state, x, y)
        jax.block_until_ready((params, state))
        return float(value)

    return run, lambda: [np.asarray(p) for p in jax.tree.leaves(params)]


def jax_scan(cell: Cell, batches: Batches) -> Contender:
    """Many steps in one jitted call: lax.scan over the numbers of the batches, which lie in one array.

    A scan has a fixed length; those of a few lengths are compiled beforehand, and a run is put together from them.
    """
    import jax
    import jax.numpy as jnp

    step, params, state = _jax(cell)
    xs, ys = (jnp.array(a.reshape(len(batches), cell.batchsize, -1)) for a in joined(batches))

    def steps(params: Any, state: Any, numbers: Any, xs: Any, ys: Any) -> Any:
        def body(carry: Any, i: Any) -> Any:
            x, y = (xs[i], ys[i]) if len(batches) > 1 else (xs[0], ys[0])  # a single batch needn't be copied
            value, *carry = step(*carry, x, y)
            return tuple(carry), value

        return jax.lax.scan(body, (params, state), numbers)

    order = np.arange(LONGEST_SCAN + len(batches), dtype=np.int32) % len(batches)
    jitted = jax.jit(steps, donate_argnums=(0, 1))
    lengths = [k for k in (LONGEST_SCAN, 64, 8, 1) if k * cell.batchsize <= 2**19]
    scans = {k: jitted.lower(params, state, order[:k], xs, ys).compile() for k in lengths}
    done = 0

    def run(n: int) -> float:
        nonlocal params, state, done
        for k in lengths:
            for _ in range(n // k):
                start = done % len(batches)
                (params, state), values = scans[k](params, state, order[start : start + k], xs, ys)
                done += k
            n %= k
        jax.block_until_ready((params, state))
        return float(values[-1])

    return run, lambda: [np.asarray(p) for p in jax.tree.leaves(params)]


def autograd_numpy(cell: Cell, batches: Batches) -> Contender:
    """HIPS autograd, with the update that one writes in NumPy for a list of arrays."""
    import autograd.numpy as anp
    from autograd import value_and_grad
    from autograd.scipy.special import expit

    def softmax(x: Any) -> Any:
        e = anp.exp(x - anp.max(x, axis=1, keepdims=True))
        return e / anp.sum(e, axis=1, keepdims=True)

    activations = {"sigmoid": expit, "relu": lambda x: anp.maximum(x, 0), "softmax": softmax}
    losses = {
        "mse": lambda p, y: anp.mean((p - y) ** 2),
        "crossentropy": lambda p, y: -anp.mean(anp.sum(y * anp.log(p + EPSILON), axis=1)),
    }

    def loss(params: Any, x: Any, y: Any) -> Any:
        for i, activation in enumerate(cell.activations):
            x = activations[activation](anp.dot(x, params[2 * i].T) + params[2 * i + 1])
        return losses[cell.loss](x, y)

    params = [p for layer in cell.weights() for p in layer]
    m, v = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    t = 0
    gradient = value_and_grad(loss)

    def descent(grads: Any) -> None:
        for p, g in zip(params, grads):
            p -= cell.eta * g

    def adam(grads: Any) -> None:
        nonlocal t
        t += 1
        for i, g in enumerate(grads):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g * g
            params[i] -= cell.eta / (1 - 0.9**t) * m[i] / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)

    update = {"Descent": descent, "ADAM": adam}[cell.optimiser]

    def step(x: Any, y: Any) -> Any:
        value, grads = gradient(params, x, y)
        update(grads)
        return value

    return looped(step, batches), lambda: params


def hand_written(cell: Cell, batches: Batches) -> Contender:
    """The step in C, on one core: step.c, compiled for the cell, runs all n steps."""
    constants = {
        "SIZES": ",".join(map(str, MODELS[cell.model][0])),
        "ACTIVATIONS": ",".join(cell.activations).upper(),
        "LOSS": cell.loss.upper(),
        "EPSILON": f"{EPSILON!r}f",
        "BATCH": cell.batchsize,
        "RULE": cell.optimiser.upper(),
        "ETA": cell.eta,
    }
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "step.so")
        defined = [f"-D{name}={value}" for name, value in constants.items()]
        source = Path(__file__).with_name("step.c")
        subprocess.run(["cc", *CFLAGS, *defined, "-shared", "-fPIC", source, "-o", library, "-lm"], check=True)
        steps = ctypes.CDLL(str(library)).run
    array = np.ctypeslib.ndpointer(np.float32, flags="C")
    steps.argtypes = [ctypes.c_long, ctypes.c_long, array, array, ctypes.c_long, array, array, array, array]
    steps.restype = ctypes.c_float
    layers = [p for layer in cell.weights() for p in layer]
    x, y = joined(batches)
    params = np.concatenate([p.ravel() for p in layers])
    m, v, store = (np.zeros_like(params) for _ in range(3))
    ends = np.cumsum([p.size for p in layers])[:-1]
    done = 0

    def run(n: int) -> float:
        nonlocal done
        loss = steps(n, done, x, y, len(batches), params, m, v, store)
        done += n
        return loss

    return run, lambda: [p.reshape(first.shape) for p, first in zip(np.split(params, ends), layers)]


PEERS: dict[str, tuple[str, Callable[[Cell, Batches], Contender]]] = {  # by name: what is to be installed, and `make`
    "tinyflux": ("tinyflux", tinyflux_eager),
    "tinyflux compiled": ("tinyflux", tinyflux_compiled),
    "PyTorch": ("torch", pytorch),
    "torch.compile": ("torch", torch_compile),
    "JAX jit": ("jax", jax_jit),
    "JAX lax.scan": ("jax", jax_scan),
    "autograd": ("autograd", autograd_numpy),
    "hand-written C": ("cc", hand_written),
}


class Before:
    """tinyflux as it is in another folder, a checkout of an earlier commit, say; for a process of its own."""

    def __init__(self, name: str, folder: str) -> None:
        self.name, self.folder = name, os.path.abspath(folder)

    def __call__(self, cell: Cell, batches: Batches) -> Contender:
        if sys.path[0] != self.folder:
            sys.path.insert(0, self.folder)
        import tinyflux

        if not tinyflux.__file__.startswith(self.folder):
            raise ImportError(f"expected a package tinyflux in {self.folder}, got the one of {tinyflux.__file__}.")
        return PEERS[self.name][1](cell, batches)


def _has_compiler() -> Any:
    from tinyflux.compile.backends.c.build import available

    return available()


COMPILERS: dict[str, Callable[[], Any]] = {  # who needs one besides, and whether it is there
    "tinyflux compiled": _has_compiler,
    "torch.compile": lambda: shutil.which("g++"),
}


def installed(name: str) -> bool:
    """Whether the contender called `name` can take part: it needs a Python package, or a program, or both."""
    needed = PEERS[name][0]
    found = importlib.util.find_spec(needed) is not None or shutil.which(needed) is not None
    return found and bool(COMPILERS.get(name, lambda: True)())
