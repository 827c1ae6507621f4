"""The functions that people test optimisers on: two variables, lowest value 0, and something that makes each hard.

Each takes an array of points, of shape (..., 2), and returns their values, of shape (...), so that one definition gives
a picture's grid and the value that `flux.gradient` differentiates.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Point = tuple[float, float]


def ackley(points: np.ndarray) -> np.ndarray:
    """20 + e − 20·exp(−0.2·√((x² + y²)/2)) − exp((cos 2πx + cos 2πy)/2)."""
    distance = np.linalg.norm(points, axis=-1) / np.sqrt(2)  # unlike sqrt's, its derivative is a number at 0
    ripples = np.mean(np.cos(2 * np.pi * points), axis=-1)
    return 20 + np.e - 20 * np.exp(-0.2 * distance) - np.exp(ripples)


def rosenbrock(points: np.ndarray) -> np.ndarray:
    """(1 − x)² + 100·(y − x²)²."""
    x, y = points[..., 0], points[..., 1]
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def beale(points: np.ndarray) -> np.ndarray:
    """(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²."""
    x, y = points[..., 0], points[..., 1]
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def himmelblau(points: np.ndarray) -> np.ndarray:
    """(x² + y − 11)² + (x + y² − 7)²."""
    x, y = points[..., 0], points[..., 1]
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def rastrigin(points: np.ndarray) -> np.ndarray:
    """20 + x² + y² − 10·(cos 2πx + cos 2πy)."""
    return 20 + np.sum(points**2 - 10 * np.cos(2 * np.pi * points), axis=-1)


def booth(points: np.ndarray) -> np.ndarray:
    """(x + 2y − 7)² + (2x + y − 5)²."""
    x, y = points[..., 0], points[..., 1]
    return (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2


def three_hump_camel(points: np.ndarray) -> np.ndarray:
    """2x² − 1.05x⁴ + x⁶/6 + xy + y²."""
    x, y = points[..., 0], points[..., 1]
    return 2 * x**2 - 1.05 * x**4 + x**6 / 6 + x * y + y**2


class Landscape(NamedTuple):
    """A function, and how it is shown.

    Attributes:
        title: its name, as a picture has it.
        function: points (..., 2) to values (...).
        minima: every point at which it has its lowest value, 0.
        region: the picture's x from and to, and y from and to.
        start: where the paths begin, if nothing else is said.
        rules: the optimisers whose paths are shown, if nothing else is said, with rates that suit them.
        trait: what makes it hard, in a few words.
        steep: whether its values span so many powers of ten that its height is better drawn as a logarithm.
    """

    title: str
    function: Callable[[np.ndarray], np.ndarray]
    minima: tuple[Point, ...]
    region: tuple[Point, Point]
    start: Point
    rules: tuple[str, ...]
    trait: str
    steep: bool = False


HIMMELBLAU_MINIMA = (
    (3.0, 2.0),
    (-2.805118086952745, 3.131312518250573),
    (-3.779310253377747, -3.283185991286170),
    (3.584428340330492, -1.848126526964404),
)


def _rules(descent: float, momentum: float, nesterov: float, adagrad: float, rmsprop: float, adam: float) -> Any:
    return (
        f"Descent({descent})",
        f"Momentum({momentum}, 0.9)",
        f"Nesterov({nesterov}, 0.9)",
        f"AdaGrad({adagrad})",
        f"RMSProp({rmsprop}, 0.9)",
        f"Adam({adam})",
    )


LANDSCAPES = {
    "ackley": Landscape(
        "Ackley",
        ackley,
        minima=((0, 0),),
        region=((-4, 4), (-4, 4)),
        start=(-2.5, 1.5),
        rules=_rules(0.005, 0.007, 0.007, 0.5, 0.01, 0.3),
        trait="a hollow near every pair of whole numbers, in a funnel that is nearly flat far out",
    ),
    "rosenbrock": Landscape(
        "Rosenbrock",
        rosenbrock,
        minima=((1, 1),),
        region=((-2, 2), (-1, 3)),
        start=(-1.2, 1),
        rules=_rules(0.001, 0.001, 0.001, 1, 0.01, 0.2),
        trait="a bent valley with steep sides and a floor that hardly slopes",
        steep=True,
    ),
    "beale": Landscape(
        "Beale",
        beale,
        minima=((3, 0.5),),
        region=((-4.5, 4.5), (-4.5, 4.5)),
        start=(1, 1.5),
        rules=_rules(0.01, 0.01, 0.005, 0.5, 0.01, 0.1),
        trait="flat in the middle, very steep in the corners",
        steep=True,
    ),
    "himmelblau": Landscape(
        "Himmelblau",
        himmelblau,
        minima=HIMMELBLAU_MINIMA,
        region=((-5, 5), (-5, 5)),
        start=(0, -1),
        rules=_rules(0.01, 0.003, 0.003, 1, 0.02, 0.1),
        trait="four minima, all equally low: which one is reached depends on the rule",
    ),
    "rastrigin": Landscape(
        "Rastrigin",
        rastrigin,
        minima=((0, 0),),
        region=((-3.5, 3.5), (-3.5, 3.5)),
        start=(-2.2, 1.3),
        rules=_rules(0.002, 0.007, 0.002, 2, 0.01, 0.5),
        trait="a bowl full of deep hollows, one near every pair of whole numbers",
    ),
    "booth": Landscape(
        "Booth",
        booth,
        minima=((1, 3),),
        region=((-10, 10), (-10, 10)),
        start=(-8, 6),
        rules=_rules(0.05, 0.02, 0.02, 2, 0.1, 0.5),
        trait="a plain bowl, nine times as curved one way as the other",
    ),
    "three-hump-camel": Landscape(
        "Three-hump camel",
        three_hump_camel,
        minima=((0, 0),),
        region=((-2.5, 2.5), (-2.5, 2.5)),
        start=(2, 1.5),
        rules=_rules(0.02, 0.02, 0.02, 0.5, 0.02, 0.1),
        trait="the lowest of three hollows lies between the other two",
    ),
}
