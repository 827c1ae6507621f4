"""The contenders: how each of them makes the training step of a cell.

A contender is a function `make(cell, batches) -> (run, weights)`. `run(n)` makes the next n steps, each the gradient
of the loss for one batch and the update with it, waits until all is calculated, and returns the loss of the last step,
from before its update. `weights()` returns the parameters as they are, NumPy arrays in the order of `cell.weights()`.
To add a contender, write its function and enter it in PEERS.

Each is written as its users write it, with its defaults: float32, and all cores.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np

from .models import EPSILON, Cell

Batches = Sequence[tuple[Any, Any]]
Contender = tuple[Callable[[int], float], Callable[[], list[Any]]]


def looped(step: Callable[[Any, Any], Any], batches: Batches) -> Callable[[int], float]:
    """`run` for a contender that is called once a step: `step(x, y) -> loss`."""
    source = cycle(batches)

    def run(n: int) -> float:
        for x, y in islice(source, n):
            loss = step(x, y)
        return loss.item()

    return run


def tinyflux_eager(cell: Cell, batches: Batches) -> Contender:
    import tinyflux as flux

    layers = []
    for (weight, bias), activation in zip(cell.weights(), cell.activations):
        nout, nin = weight.shape
        layers.append(flux.Dense(nin, nout, getattr(flux, activation)))
        layers[-1].weight, layers[-1].bias = weight, bias
    model = flux.Chain(*layers)
    loss = getattr(flux, cell.loss)
    opt = flux.setup(getattr(flux, cell.optimiser)(cell.eta), model)

    def step(x: Any, y: Any) -> Any:
        value, grads = flux.withgradient(lambda m: loss(m(x), y), model)
        flux.update(opt, model, grads)
        return value

    return looped(step, batches), lambda: flux.leaves(model)


def pytorch(cell: Cell, batches: Batches) -> Contender:
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
    loss = losses[cell.loss]
    optimiser = {"Descent": torch.optim.SGD, "ADAM": torch.optim.Adam}[cell.optimiser](model.parameters(), lr=cell.eta)

    def step(x: Any, y: Any) -> Any:
        optimiser.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimiser.step()
        return value

    run = looped(step, [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches])
    return run, lambda: [p.detach().numpy() for p in model.parameters()]


def jax_jit(cell: Cell, batches: Batches) -> Contender:
    """One jitted call a step, which may write into the memory of the old parameters and state."""
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

    def descent(params: Any, state: Any, grads: Any) -> Any:
        return jax.tree.map(lambda p, g: p - cell.eta * g, params, grads), state

    def adam(params: Any, state: Any, grads: Any) -> Any:
        m, v, t = state
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        rate, correction = cell.eta / (1 - 0.9**t), 1 / (1 - 0.999**t)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v * correction) + 1e-8), params, m, v)
        return params, (m, v, t)

    update = {"Descent": descent, "ADAM": adam}[cell.optimiser]

    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(params, x, y)
        return value, *update(params, state, grads)

    params = jax.tree.map(jnp.array, cell.weights())
    zeros = lambda: jax.tree.map(jnp.zeros_like, params)  # noqa: E731
    state = (zeros(), zeros(), jnp.zeros(())) if cell.optimiser == "ADAM" else ()
    compiled = jax.jit(step, donate_argnums=(0, 1))
    source = cycle([(jnp.array(x), jnp.array(y)) for x, y in batches])

    def run(n: int) -> float:
        nonlocal params, state
        for x, y in islice(source, n):
            value, params, state = compiled(params, state, x, y)
        jax.block_until_ready((params, state))
        return float(value)

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


PEERS: dict[str, tuple[str, Callable[[Cell, Batches], Contender]]] = {  # by name: what is to be installed, and `make`
    "tinyflux": ("tinyflux", tinyflux_eager),
    "PyTorch": ("torch", pytorch),
    "JAX jit": ("jax", jax_jit),
    "autograd": ("autograd", autograd_numpy),
}


def installed(name: str) -> bool:
    """Whether the contender called `name` can take part."""
    return importlib.util.find_spec(PEERS[name][0]) is not None
