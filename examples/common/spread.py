"""What runs that differ in their seeds alone have come to: mean and standard deviation."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Spread(NamedTuple):
    """Mean and standard deviation over seeds, of the runs that came to their end."""

    mean: float
    deviation: float
    diverged: int

    def __str__(self) -> str:
        return self.text(2)

    def text(self, digits: int) -> str:
        """As in 96.12 ± 0.10, with so many digits after the point; without the deviation for a single run."""
        lost = f"{self.diverged} diverged" if self.diverged else ""
        if math.isnan(self.mean):
            return lost
        deviation = "" if math.isnan(self.deviation) else f" ± {self.deviation:.{digits}f}"
        return f"{self.mean:.{digits}f}{deviation}" + (f" ({lost})" if lost else "")


def spread(values: Iterable[float]) -> Spread:
    """That of numbers of which those that are NaN stand for runs that diverged.

    >>> print(spread([95.0, 97.0, math.nan]))
    96.00 ± 1.41 (1 diverged)
    """
    values = np.array(list(values))
    ended = values[~np.isnan(values)]
    mean = float(ended.mean()) if len(ended) else math.nan
    deviation = float(ended.std(ddof=1)) if len(ended) > 1 else math.nan
    return Spread(mean, deviation, len(values) - len(ended))
