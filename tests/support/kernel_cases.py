"""Steps with a kernel beside steps with the NumPy form of the rule, its reference."""

import dataclasses

import numpy as np

from tests.support import cuda_shim
from tests.support.device_standin import DeviceArray
from tinyflux.interrupts import commit
from tinyflux.optimise import adam, adaptive, averages, modifiers, momentum
from tinyflux.optimise.kernels import kernel_step, source

RULES = [
    adam.Adam(0.01),
    adam.AdaBelief(0.01),
    adam.AdaMax(0.01),
    adam.AdamW(0.01, lambda_=0.1),
    adam.AdamW(0.01, lambda_=0.1, couple=False),
    adam.NAdam(0.01),
    adam.NAdam(0.01, psi=4e-3),
    adam.OAdam(0.01),
    adam.QHAdam(0.01, nu=(0.6, 0.9)),
    adam.RAdam(0.01),
    adaptive.AdaDelta(),
    adaptive.AdaGrad(),
    adaptive.AdaGrad(initial=0.1),
    adaptive.RMSProp(),
    adaptive.RMSProp(centred=True),
    adam.AMSGrad(0.01),
    adam.AMSGrad(0.01, form="torch"),
    adam.AMSGrad(0.01, form="optax"),
    adam.Padam(),
    adam.Padam(form="code"),
    momentum.AggMo(),
    momentum.AggMo(beta=(0.5,)),
    momentum.ASGD(t0=4, lambda_=0.1),
    momentum.Descent(),
    momentum.Lion(),
    momentum.Momentum(),
    momentum.Momentum(form="torch"),
    momentum.Nesterov(),
    momentum.QHM(),
]
CHAINS = [
    modifiers.OptimiserChain(modifiers.ClipGrad(1.5), modifiers.WeightDecay(0.1), adam.Adam(0.01)),
    modifiers.OptimiserChain(modifiers.SignDecay(0.1), modifiers.Maximize(), adam.AMSGrad(0.01, form="torch")),
    modifiers.OptimiserChain(adam.AdaMax(), adaptive.AdaGrad(), modifiers.OptimiserChain(adam.QHAdam())),
    modifiers.OptimiserChain(averages.Lookahead(4, 0.3), averages.EMA(0.9)),
]
STEPS = 12
CANARY = 0.75  # around the group: a number that a step would change


def halved(rule):
    """The rule with half its learning rate, for a chain that of its last rule; AdaDelta has none."""
    if isinstance(rule, modifiers.OptimiserChain):
        return modifiers.OptimiserChain(*rule.rules[:-1], halved(rule.rules[-1]))
    return dataclasses.replace(rule, eta=rule.eta / 2) if hasattr(rule, "eta") else rule


def gradient(shape, dtype, step, seed):
    """What tells the variants of a rule apart: a spike, tiny coordinates, exact zeros, changing signs."""
    g = np.random.default_rng((seed, step)).normal(size=shape).reshape(-1)
    g[::2] *= 50 if step == 4 else 1
    g[1::5] *= 1e-6
    g[2::5] = 0
    g[3::5] = np.abs(g[3::5]) * (-1) ** step
    return g.reshape(shape).astype(dtype)


def make_step(kernel, gradients):
    """Step the parameters once."""
    commit(kernel.calls_for(gradients))


class Comparison:
    """A group of leaves of these sizes within a larger buffer, stepped by NumPy and by a kernel.

    Attributes:
        x, arrays, numbers: as NumPy has them.
        there: the same buffers on the device; around the group they hold canaries.
    """

    def __init__(self, rule, dtype, sizes, before=0, after=5):
        self.rule, self.dtype, self.sizes = rule, np.dtype(dtype), sizes
        self.starts = [before + sum(sizes[:i]) for i in range(len(sizes) + 1)]
        self.x = np.random.default_rng(sum(sizes)).normal(size=sum(sizes)).astype(dtype)
        self.x[::4] = 0
        self.travelled = np.abs(self.x)
        state = rule.init(self.x)
        self.arrays = [s for s in state if isinstance(s, np.ndarray)]
        self.numbers = state[len(self.arrays) :]
        self.there = [DeviceArray(np.full(self.starts[-1] + after, CANARY, dtype)) for _ in range(1 + len(self.arrays))]
        for buffer, values in zip(self.there, [self.x, *self.arrays], strict=True):
            buffer._host[before : self.starts[-1]] = values
        self.bind()

    def bind(self):
        self.kernel = kernel_step(self.rule, self.there[0], self.there[1:], self.starts, self.numbers)

    def halve(self):
        """Another rule, for which a new kernel takes over the numbers of the old one."""
        self.rule, self.numbers = halved(self.rule), self.kernel.numbers
        self.bind()

    def step(self, t):
        gradients = [gradient(size, self.dtype, t, seed) for seed, size in enumerate(self.sizes)]
        state, delta = self.rule.apply((*self.arrays, *self.numbers), self.x, np.concatenate(gradients))
        self.arrays, self.numbers = state[: len(self.arrays)], state[len(self.arrays) :]
        self.x = self.x - delta
        self.travelled += np.abs(delta)
        make_step(self.kernel, [DeviceArray(g.copy()) for g in gradients])

    def check(self):
        """The operations are the same, in the same order; powers alone may be rounded otherwise, and so steps of x."""
        inside = slice(self.starts[0], self.starts[-1])
        expected = [(self.x, self.travelled), *((a, np.abs(a)) for a in self.arrays)]
        for i, (buffer, (values, scale)) in enumerate(zip(self.there, expected, strict=True)):
            error = np.abs(buffer._host[inside] - values)
            bound = 16 * np.finfo(self.dtype).eps * scale
            assert (error <= bound).all(), f"{self.rule}, array {i}: off by up to {error.max()}"
            assert (buffer._host[: inside.start] == CANARY).all(), (
                f"{self.rule}, array {i}: written before its beginning"
            )
            assert (buffer._host[inside.stop :] == CANARY).all(), f"{self.rule}, array {i}: written beyond its end"
        np.testing.assert_allclose(self.kernel.numbers, self.numbers, rtol=1e-14)
        assert list(map(type, self.kernel.numbers)) == list(map(type, self.numbers))


def compare(rule, dtype, sizes, before=0, steps=STEPS):
    """Step by step, η halved at step 7, in every order of threads and blocks in turn."""
    comparison = Comparison(rule, dtype, sizes, before)
    for t in range(steps):
        if t == 6:
            comparison.halve()
        cuda_shim.order = list(cuda_shim.ORDERS)[t % len(cuda_shim.ORDERS)]
        comparison.step(t)
        comparison.check()


def compare_nonfinite(rule, dtype):
    """One step with gradients that are not finite."""
    comparison = Comparison(rule, dtype, [8])
    g = np.array([np.nan, np.inf, -np.inf, 0, 1, -1, 2, -2], dtype)
    with np.errstate(invalid="ignore"):
        state, delta = rule.apply((*comparison.arrays, *comparison.numbers), comparison.x, g)
        expected = [comparison.x - delta, *state]
    make_step(comparison.kernel, [DeviceArray(g)])
    for buffer, values in zip(comparison.there, expected):
        np.testing.assert_allclose(buffer._host[:8], values, rtol=1e-6)


def plant(monkeypatch, name, old, new):
    """Change a source file of the kernels for a test."""
    text = source._text
    assert text(name).count(old) == 1, f"{old!r} does not stand in {name} once"
    monkeypatch.setattr(source, "_text", lambda asked: text(asked).replace(old, new if asked == name else old))
