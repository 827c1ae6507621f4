"""What stands in several places of a tree stays one thing in its copies."""

import weakref

import numpy as np
import pytest

import tinyflux as flux
from tests.support.interruptions import no_collections


class Counting:
    """A layer with a state that it counts on."""

    buffers = ("seen",)

    def __init__(self):
        self.scale, self.seen = np.ones(2), np.zeros(2)

    def __call__(self, x):
        self.seen = self.seen + 1
        return self.scale * x


def rebuilt(model):
    flat, rebuild = flux.destructure(model)
    return rebuild(flat * 2)


def averaged(model):
    return flux.averaged(model, flux.setup(flux.OptimiserChain(flux.Descent(), flux.EMA(0.9)), model))


COPIES = [flux.f32, flux.f64, rebuilt, averaged, flux.stop_gradient]


@pytest.mark.parametrize("copied", COPIES)
def test_a_layer_in_two_places_stays_one(copied):
    layer, together = Counting(), [np.ones(2)]
    model = flux.Chain(layer, layer, flux.Chain(layer))
    new = copied({"model": model, "pair": (together, together)})
    assert new["model"][0] is new["model"][1] is new["model"][2][0] is not layer
    assert new["pair"][0] is new["pair"][1] is not together
    new["model"][0](new["model"][1](np.ones(2)))
    assert new["model"][0].seen.tolist() == [2, 2]
    assert layer.seen.tolist() == [0, 0]


def test_the_state_of_a_layer_in_two_places_is_one():
    layer = flux.Dense(2, 2)
    opt = flux.setup(flux.Descent(), flux.Chain(layer, flux.Dense(2, 2), layer))
    assert opt[0] is opt[2]
    assert opt[0] is not opt[1]


def test_a_copy_of_layers_that_are_alike_has_as_many():
    one = np.ones(2)
    new = flux.f64([[one], [one]])
    assert new[0] is not new[1]
    assert new[0][0] is new[1][0] is not one


@pytest.mark.parametrize("copied", [flux.f32, flux.f64, rebuilt, flux.stop_gradient])
def test_a_copy_holds_nothing_fast(copied):
    """What was copied is let go at once, and not when garbage is collected next."""
    model = [Counting(), np.ones(2)]
    new = copied(model)
    seen = [weakref.ref(x) for x in (*flux.leaves(model), *flux.leaves(new))]
    with no_collections():
        del model, new
        assert all(x() is None for x in seen)
