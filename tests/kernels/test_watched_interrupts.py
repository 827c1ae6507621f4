"""Interrupts in training on the GPU: an update by kernels is launched whole or not at all."""

import math

import numpy as np
import pytest

import tinyflux as flux
from tests.support.interruptions import interrupted, state_of
from tinyflux import device
from tinyflux.training.compiled_gradient import CompiledGradient
from tinyflux.training.gpu import GpuEngine

RULES = [
    flux.Adam(flux.schedules.Step(0.1, every=1, gamma=0.5)),
    flux.OptimiserChain(flux.ClipNorm(0.1, over="model"), flux.Adam(0.1)),
]


@pytest.fixture(autouse=True)
def _gpu(cupy):
    device._fault.cache_clear()
    flux.gpu_status()
    yield
    device._fault.cache_clear()


class Counting:
    buffers = ("seen",)

    def __init__(self):
        self.seen = flux.gpu(np.zeros(1, np.float32))

    def __call__(self, x):
        self.seen = self.seen + np.ones_like(self.seen)
        return x


def loss(m, x):
    return np.mean((m[1](m[0](x)) * m[2] - 1) ** 2)


@pytest.mark.parametrize(("rule", "compiled"), [(RULES[0], False), (RULES[1], False), (RULES[0], True)])
@pytest.mark.usefixtures("compiling")
def test_every_line_of_an_update(rule, compiled):
    """Two groups of parameters, as the bias in between is frozen, and a layer with a state."""
    x = flux.gpu(np.linspace(-1, 1, 6).reshape(2, 3).astype(np.float32))

    def make():
        flux.seed(0)
        model = [flux.gpu(flux.Dense(3, 3, flux.tanh)), Counting(), flux.gpu(np.ones(3, np.float32))]
        opt = flux.setup(rule, model)
        flux.freeze(opt[0].bias)
        return model, opt

    def go(model, opt):
        engine = GpuEngine(loss, model, opt)
        engine.gradient = CompiledGradient(loss, model, opt, math.inf) if compiled else None
        list(engine.updates([x], lambda: 1))

    model, opt = make()
    expected = []
    for _ in range(3):
        go(model, opt)
        expected.append(state_of(model, opt))
    at = 1
    while True:
        model, opt = make()
        go(model, opt)
        stopped = interrupted(lambda: go(model, opt), at)  # noqa: B023
        found = state_of(model, opt)
        assert found in expected[:2], f"split at line {at}"
        if not stopped:
            break
        if found == expected[0]:
            go(model, opt)
        go(model, opt)
        assert state_of(model, opt) == expected[2], f"line {at}"
        at += 3 if compiled else 1
    assert at > 60
