"""Trainings in which parameters tell what an active Dropout has dropped."""

import numpy as np

import tinyflux as flux


class Twice:
    """Calls one layer two times."""

    def __init__(self):
        self.layer = flux.Dropout(0.5, seed=7)

    def __call__(self, x):
        return self.layer(self.layer(x))


LAYERS = {
    "half": lambda: flux.Dropout(0.5, seed=2**63 + 5),
    "most": lambda: flux.Dropout(0.75, seed=1),
    "all": lambda: flux.Dropout(1, seed=1),
    "whole channels": lambda: flux.Dropout(0.5, seed=3, dims=(0, -1)),
    "whole rows": lambda: flux.Dropout(0.5, seed=3, dims=0),
    "two, one behind the other": lambda: flux.Chain(flux.Dropout(0.5, seed=1), flux.Dropout(0.5, seed=2)),
    "one, called twice": Twice,
}
SHAPE = (9, 3, 5)


def loss(model, x):
    return np.sum(model["layer"](model["p"]) * x)


def build(name, move, dtype=np.float32):
    """Parameters that become minus the sum of all masks, exactly, as all factors are powers of two."""
    model = move({"p": np.zeros(SHAPE, dtype), "layer": LAYERS[name]()})
    return model, flux.setup(flux.Descent(1.0), model)


def update(model, opt, move, count, option):
    """Items in their order, each with another weight."""
    items = [move(np.full(SHAPE, 2.0**k, np.float32)) for k in range(count)]
    flux.train(loss, model, items, opt, compile=option)


def check(name, path):
    """Three updates on the device, a checkpoint, and three more in another model: what the CPU has after six."""
    here, opt = build(name, lambda x: x)
    update(here, opt, lambda x: x, 3, False)
    update(here, opt, lambda x: x, 3, False)
    first, opt = build(name, flux.gpu)
    update(first, opt, flux.gpu, 3, True)
    flux.save(path, first, opt)
    there, opt = build(name, flux.gpu)
    flux.load(path, there, opt)
    update(there, opt, flux.gpu, 3, True)
    for a, b in zip(flux.leaves(flux.cpu(there)), flux.leaves(here), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    return here
