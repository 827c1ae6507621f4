"""Trainings on the device by graphs, beside the plain path in NumPy; on the stand-in, and on a GPU if there is one."""

import math

import numpy as np
import pytest

import tinyflux as flux
from examples.common import models
from tests.support.program_cases import InOrder, arrays, data, loss, network

STEP = flux.schedules.Step(0.1, every=7, gamma=0.5)
RULES = [
    flux.Descent(0.1),
    flux.Adam(0.01),
    flux.OptimiserChain(flux.WeightDecay(0.01), flux.Adam(STEP)),
    flux.OptimiserChain(flux.ClipNorm(0.5), flux.Momentum(0.01)),
    flux.Muon(),
]


class Stop(Exception):
    pass


def stopping(at):
    """A callback that fails after so many updates."""

    def stop(progress):
        if progress.iteration == at:
            raise Stop

    stop.due = lambda iteration: at if iteration < at else math.inf
    return stop


def batchnormed():
    flux.seed(0)
    return flux.Chain(
        flux.Dense(6, 8, bias=False), flux.BatchNorm(8, flux.relu), flux.Dropout(0.2, seed=1), flux.Dense(8, 3)
    )


def trained(move, batches, *, make=network, rule=RULES[1], epochs=2, callbacks=(), option=True, error=None):
    """What a training leaves behind: losses, with the error at their end, and all arrays."""
    flux.seed(0)
    model = move(make())
    opt = flux.setup(rule, model)
    kept = []

    def keep(progress):
        kept.extend(progress.losses)

    keep.due = lambda iteration: math.inf
    called = [keep, *[make_callback() for make_callback in callbacks]]
    with np.errstate(all="ignore"):
        if error is None:
            flux.train(loss, model, batches(move), opt, epochs, called, compile=option)
        else:
            with pytest.raises(error) as found:
                flux.train(loss, model, batches(move), opt, epochs, called, compile=option)
            kept.append(str(found.value))
    return kept, [np.asarray(x) for x in flux.cpu([*flux.leaves(model), *(s for f in opt._leaves for s in f.state)])]


def check_as_one_by_one(batches, **options):
    """As on the plain path in NumPy."""
    found = trained(flux.gpu, batches, **options)
    expected = trained(lambda x: x, batches, **options, option=False)
    if options.get("error") is Stop:
        del found[0][-1], expected[0][-1]
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)


def check_4ls():
    """With ADAM, image by image: a kernel that makes all steps has its state of 159 KB in shared memory."""
    batch, results = arrays((25, 784), (25, 10)), []
    for move, option in ((lambda x: x, False), (flux.gpu, True)):
        flux.seed(0)
        model = move(models.build("4LS"))
        opt = flux.setup(flux.Adam(0.001), model)
        value = lambda m, x, y: flux.mse(m(x), y)  # noqa: E731
        losses = flux.train(value, model, InOrder(move(tuple(batch)), 1), opt, 2, compile=option)
        results.append([losses, *flux.cpu(flux.leaves(model))])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def one_by_one(n=50, size=1):
    """A loader whose passes take samples in the order of the CPU."""
    return lambda move: InOrder(move(data(n)), size)
