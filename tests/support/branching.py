"""Rules whose update can't be recorded, as they branch on a number of their state."""

import dataclasses

import numpy as np

import tinyflux as flux


@dataclasses.dataclass(frozen=True)
class Branching:
    """A user's rule: every third step is made at another rate, and an average is kept."""

    eta: float = 0.1
    third: float = 0.2

    def init(self, x):
        return np.zeros_like(x), 0

    def apply(self, state, x, g):
        average, t = state
        return (0.9 * average + 0.1 * x, t + 1), (self.eta if t % 3 else self.third) * g


# A rule of the library, with kernels of its own, and a schedule that branches.
SCHEDULED = flux.Adam(lambda t: 0.01 if t < 3 else 0.02)
