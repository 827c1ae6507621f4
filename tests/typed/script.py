"""A script as people write it, with types: `mypy --strict` finds nothing in it. See tests/test_typed.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import tinyflux as flux

Floats = NDArray[np.float32]


class Scale:
    """A layer of one's own, with a buffer."""

    buffers = ("seen",)

    def __init__(self, features: int) -> None:
        self.scale: Floats = np.ones(features, np.float32)
        self.seen: Floats = np.zeros(features, np.float32)
        self.active: bool | None = None

    def __call__(self, x: Floats) -> Floats:
        if flux.is_training(self):
            self.seen = self.seen + 1
        return x * self.scale


@dataclass(frozen=True)
class Signum:
    """A rule of one's own."""

    eta: float = 0.01

    def init(self, x: Floats) -> tuple[Any, ...]:
        return (np.zeros_like(x),)

    def apply(self, state: tuple[Any, ...], x: Floats, g: Floats) -> tuple[tuple[Any, ...], Any]:
        return state, self.eta * np.sign(g)


def loss(model: flux.Chain, x: Floats, y: Floats) -> Any:
    return flux.logitcrossentropy(model(x), y)


class Regularised:
    """A loss with a number of its own."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def __call__(self, model: flux.Chain, x: Floats, y: Floats) -> Any:
        return loss(model, x, y) + self.decay * sum(np.sum(w**2) for w in flux.parameters(model))


def report(progress: flux.Progress) -> bool:
    return progress.epoch_ended and progress.loss < 0.01


@flux.compile
def norm(x: Floats) -> Floats:
    y: Floats = np.sqrt(np.sum(x * x, axis=-1))
    return y


flux.seed(0)
rng = np.random.default_rng(0)
x: Floats = rng.normal(size=(64, 4)).astype(np.float32)
labels = rng.integers(3, size=64)
y = flux.onehotbatch(labels, range(3))

model = flux.Chain(flux.Dense(4, 8, flux.relu), Scale(8), flux.Dropout(0.1), flux.Dense(8, 3))
loader = flux.DataLoader((x, y), batchsize=16, shuffle=True, rng=rng)
eta = flux.schedules.Cosine(0.01, over=100)
opt = flux.setup(flux.OptimiserChain(flux.ClipNorm(1.0), flux.Adam(eta, beta=(0.9, 0.99))), model)
for rule in (Signum(), flux.Descent(lambda t: 0.1 / (1 + t)), flux.Momentum(0.1, rho=0.9)):
    flux.setup(rule, flux.f64(model))

history = flux.train(Regularised(1e-4), model, loader, opt, epochs=2, callbacks=[report], compile=False)
last: float = history[-1]
value, gradient = flux.withgradient(lambda m: loss(m, x, y), model)
assert_type(gradient, flux.Chain)
assert_type(flux.gradient(lambda a, b: np.sum(a * b), x, 2.0), tuple[Floats, float])
flux.update(opt, model, gradient)
flux.adjust(opt, eta=0.001)
flux.freeze(opt[0])

assert_type(flux.f32(model), flux.Chain)
assert_type(flux.testmode(model), flux.Chain)
assert_type(flux.cpu(model, x), tuple[flux.Chain, Floats])
assert_type(flux.cpu(Scale(3)), Scale)
assert_type(flux.tree.map(np.zeros_like, Scale(3)), Scale)
assert_type(norm(x), Floats)
assert_type(flux.parameter_count(model), int)
for batch, targets in loader:
    assert_type(batch, Floats)
    assert_type(targets, Floats)
step = flux.compile_training(loss, model, opt, batchsize=16)
print(last, value, step, flux.summary(model), flux.accuracy(model(x), labels), report)
