"""Functions that pick by indices in arrays, of a parameter and of whole numbers that lie in the data."""

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Picking:
    """A function f(p, k) of a parameter of `shape` and of indices of shape `indices`, from `low` up to below `high`."""

    f: Callable
    shape: tuple
    indices: tuple
    high: int
    low: int = 0

    def inputs(self, dtype):
        """The parameter, the indices, and weights for what is picked."""
        rng = np.random.default_rng(0)
        p = rng.uniform(-1, 1, self.shape).astype(dtype)
        k = rng.integers(self.low, self.high, self.indices)
        return p, k, rng.uniform(-1, 1, self.f(p, k).shape).astype(dtype)

    def loss(self, m, k, w):
        return np.sum(np.sin(self.f(m["p"], k)) * w)


MASK = np.array([True, False, True, True, False, True, False])
PICKINGS = {
    "rows": Picking(lambda p, k: p[k], (7, 5), (30,), 7, -7),
    "rows of few": Picking(lambda p, k: p[k], (7, 5), (3,), 7),
    "rows for sequences": Picking(lambda p, k: p[k], (50, 33), (9, 11), 50, -50),
    "rows that many name": Picking(lambda p, k: p[k], (3, 40), (9_000,), 2),
    "rows, positions shared out": Picking(lambda p, k: p[k], (5, 3), (20_000,), 5),
    "rows, more than are marked at once": Picking(lambda p, k: p[k], (2_200, 2), (9_000,), 2_200),
    "numbers": Picking(lambda p, k: p[k], (300,), (500,), 300),
    "columns": Picking(lambda p, k: p[:, k], (4, 9), (80,), 9),
    "columns in the middle": Picking(lambda p, k: p[:, k, 1:], (3, 9, 4), (6, 20), 9, -9),
    "backwards": Picking(lambda p, k: p[::-2, k], (6, 9), (70,), 9),
    "twice": Picking(lambda p, k: p[k] * np.sum(p[k[::-1]], axis=1, keepdims=True), (7, 5), (90,), 7),
    "indices of indices": Picking(lambda p, k: p[k[k]], (90, 5), (90,), 90),
    "calculated indices": Picking(lambda p, k: p[(k * k) % 7], (7, 5), (90,), 90),
    "both axes": Picking(lambda p, k: p[k, k[::-1] // 2], (9, 5), (100,), 9),
    "both axes, crossed": Picking(lambda p, k: p[k[:, None], k // 2], (9, 5), (12,), 9),
    "axes apart": Picking(lambda p, k: p[k, :, k // 2], (9, 3, 5), (70,), 9),
    "one of each row": Picking(lambda p, k: p[np.arange(70), k], (70, 6), (70,), 6, -6),
    "one of each column": Picking(lambda p, k: p[k, np.arange(6)], (70, 6), (6,), 70),
    "the diagonal": Picking(lambda p, k: p[np.arange(70), np.arange(70)] * p[k, k], (70, 70), (70,), 70),
    "one of some rows": Picking(lambda p, k: p[np.arange(50), k], (70, 6), (50,), 6),
    "some of each row": Picking(lambda p, k: p[np.arange(70)[:, None], k], (70, 6), (70, 80), 6),
    "take": Picking(lambda p, k: np.take(p, k, axis=1), (4, 9), (5, 17), 9),
    "take, clipped": Picking(lambda p, k: np.take(p, k, axis=0, mode="clip"), (4, 9), (77,), 9, -5),
    "take along rows": Picking(lambda p, k: np.take_along_axis(p, k, 1), (6, 90), (6, 90), 90),
    "take along columns": Picking(lambda p, k: np.take_along_axis(p, k, 0), (90, 6), (90, 6), 90),
    "take along the middle": Picking(lambda p, k: np.take_along_axis(p, k, 1), (3, 90, 4), (3, 70, 4), 90),
    "an index and a number": Picking(lambda p, k: p[k, 2], (9, 5), (70,), 9),
    "a list": Picking(lambda p, k: p[[0, 3, -1, 3]] * k[0], (9, 5), (1,), 9),
    "a list of one": Picking(lambda p, k: p[[3]] + p[:, [2]] * k[0], (9, 5), (1,), 9),
    "a mask": Picking(lambda p, k: p[MASK] * k[0], (7, 5), (1,), 9),
    "an array in NumPy": Picking(lambda p, k: p[np.array([[4, 1], [1, -2]])] * k[0], (7, 5), (1,), 9),
    "short": Picking(lambda p, k: p[k.astype(np.uint8)] + p[k.astype(np.int16)], (7, 5), (70,), 7),
    "none": Picking(lambda p, k: p[k[:0]], (7, 5), (3,), 7),
    "none of nothing": Picking(lambda p, k: p[:0][k[:0]], (7, 5), (3,), 7),
    "of rows without elements": Picking(lambda p, k: p[k], (7, 0), (90,), 7),
    "repeated": Picking(lambda p, k: np.repeat(p, 3, axis=1) + np.sum(k), (7, 5), (1,), 7),
}
