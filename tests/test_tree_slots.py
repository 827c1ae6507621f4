"""Attributes in slots are walked, differentiated, stepped, saved and switched as those in a dict are."""

from dataclasses import dataclass

import numpy as np

import tinyflux as flux
from tinyflux import tree


class Base:
    __slots__ = ("weight",)

    def __init__(self, weight=None):
        if weight is not None:
            self.weight = weight


class Slotted(Base):
    __slots__ = ("__hidden", "mean", "name", "unset")
    buffers = ("mean",)

    def __init__(self, weight):
        super().__init__(weight)
        self.mean, self.name, self.__hidden = np.zeros(2), "text", [np.ones(1)]


class Mixed(Base):
    def __init__(self, weight, more):
        super().__init__(weight)
        self.more = more


@dataclass(frozen=True, slots=True)
class Frozen:
    weight: np.ndarray
    bias: np.ndarray


def slotted():
    return [Slotted(np.full(2, 3.0)), Mixed(np.ones(3), np.ones(4)), Frozen(np.ones(5), np.ones(6))]


def test_slots_are_attributes():
    m = slotted()
    paths = ["[0].weight", "[0]._Slotted__hidden[0]", "[0].mean", "[1].weight", "[1].more", "[2].weight", "[2].bias"]
    assert [path for path, _ in tree.walk(m)] == paths
    assert [path for path, _ in tree.walk(m, buffers=False)] == [p for p in paths if p != "[0].mean"]
    for new in (tree.map(lambda a: a * 2, m), tree.map(lambda a, b: a + b, m, m)):
        assert [type(x) for x in new] == [Slotted, Mixed, Frozen]
        for a, b in zip(flux.leaves(m), flux.leaves(new), strict=True):
            np.testing.assert_array_equal(2 * a, b)
        assert new[0].name == "text"
        assert not hasattr(new[0], "unset")


def test_slots_are_differentiated_stepped_saved_and_switched(tmp_path):
    m = slotted()
    g = flux.gradient(lambda m: np.sum(m[0].weight ** 2) + np.sum(m[1].weight * m[1].more[:3] + m[2].bias[0]), m)
    np.testing.assert_array_equal(g[0].weight, [6, 6])
    assert g[0].mean is None
    np.testing.assert_array_equal(g[1].more, [1, 1, 1, 0])
    np.testing.assert_array_equal(g[2].bias, [3, 0, 0, 0, 0, 0])  # 3 sums hold it
    opt = flux.setup(flux.Descent(0.5), m)
    flux.update(opt, m, g)
    np.testing.assert_array_equal(m[0].weight, [0, 0])
    np.testing.assert_array_equal(m[1].more, [0.5, 0.5, 0.5, 1])
    flux.save(tmp_path / "m.npz", m)
    other = slotted()
    flux.load(tmp_path / "m.npz", other)
    np.testing.assert_array_equal(other[2].bias, [-0.5, 1, 1, 1, 1, 1])


def test_a_buffer_in_a_slot_is_written_back():
    class Counting:
        __slots__ = ("count", "weight")
        buffers = ("count",)

        def __init__(self):
            self.weight, self.count = np.ones(2), np.zeros(())

        def __call__(self, x):
            self.count = self.count + np.sum(x)
            return self.weight * x

    layer = Counting()
    flux.gradient(lambda m: np.sum(m(np.ones(2))), layer)
    assert layer.count == 2
    flux.gradcheck(lambda m: m(np.ones(2)), layer)
    assert layer.count == 2


def test_the_mode_in_a_slot_is_switched():
    class Switch:
        __slots__ = ("active",)

        def __init__(self):
            self.active = "auto"

    m = flux.testmode([Switch()])
    assert m[0].active is False
