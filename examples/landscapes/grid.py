"""The paths that the interactive page shows: all of them, by tinyflux, from a grid of starts, at a ladder of rates."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

import tinyflux as flux

from .functions import Landscape
from .paths import FAR

LADDER = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
RATES = 5  # of the ladder, for each rule and function: the best one, and its neighbours
PLACES = (0.06, 0.27, 0.48, 0.69, 0.9)  # of the starts, as shares of the region's width; its middle is often a minimum
STEPS = 500
LOWEST, HIGHEST = 1e-10, 1e6  # where values count as nothing, and as run away


class Walked(NamedTuple):
    """The paths of a rule over a function.

    Attributes:
        rates: RATES numbers, rising.
        best: the place among them of the one that brings the value lowest, and soonest, and keeps it there.
        points: (RATES, starts, STEPS + 1, 2).
    """

    rates: tuple[float, ...]
    best: int
    points: np.ndarray


def rules() -> dict[str, Any]:
    """For each rule's name a function of the learning rate that gives the rule, with its other defaults.

    First the six of the pictures, then what else treats each number by itself. Muon, SOAP and YellowFin don't: the two
    step matrices, and leave a point to AdamW and Adam; the last tunes its rate by the noise of a whole model's
    gradient, of which there is none here. AdaDelta has no rate: its step is multiplied by one.
    """
    first = (flux.Descent, flux.Momentum, flux.Nesterov, flux.AdaGrad, flux.RMSProp, flux.Adam)
    others = [rule for rule in flux.optimise.RULES if rule.whole is None and rule not in first]
    found: dict[str, Any] = {rule.__name__: rule for rule in (*first, *others)}
    found["AdaDelta"] = lambda rate: flux.OptimiserChain(flux.AdaDelta(), flux.Descent(rate))
    found["Adam, Lookahead"] = lambda rate: flux.OptimiserChain(flux.Adam(rate), flux.Lookahead())
    return found


def starts(landscape: Landscape) -> np.ndarray:
    """The start of the pictures, then a grid of others: (26, 2)."""
    x, y = ([low + place * (high - low) for place in PLACES] for low, high in landscape.region)
    return np.array([landscape.start, *((a, b) for b in y for a in x)], float)


def walk_all(landscape: Landscape) -> dict[str, Walked]:
    """The paths of every rule over a function, from every start, at the rates that suit."""
    found = {}
    for name, make in rules().items():
        points = walk_together([make(rate) for rate in LADDER], landscape)
        best = int(np.argmin([_cost(paths, landscape) for paths in points]))
        first = min(max(best - RATES // 2, 0), len(LADDER) - RATES)
        shown = slice(first, first + RATES)
        found[name] = Walked(LADDER[shown], best - first, points[shown])
    return found


def walk_together(rules: list[Any], landscape: Landscape, steps: int = STEPS) -> np.ndarray:
    """The paths of rules from all starts: (rules, starts, steps + 1, 2).

    An update steps all of them at once: as a rule treats each number by itself, the points of its paths can be the rows
    of one parameter. What has run away stays where it is.
    """
    begin = starts(landscape)
    model = [begin.copy() for _ in rules]
    rule_of = dict(zip(map(id, model), rules))
    opt = flux.setup(lambda array: rule_of[id(array)], model)
    walked = np.empty((steps + 1, len(rules), *begin.shape))
    walked[0] = begin
    with np.errstate(all="ignore"):
        for before, after in itertools.pairwise(walked):
            slopes = flux.gradient(lambda p: np.sum(landscape.function(p)), before)
            flux.update(opt, model, list(slopes))
            gone = ~(np.abs(before - begin).max(axis=-1, keepdims=True) < FAR)
            after[:] = np.where(gone, before, np.stack(model))
    return np.moveaxis(walked, 0, 2)


def values(landscape: Landscape, points: np.ndarray) -> np.ndarray:
    """The function at points, from LOWEST to HIGHEST; the latter, too, where a point is nowhere."""
    with np.errstate(all="ignore"):
        return np.clip(np.nan_to_num(landscape.function(points), nan=HIGHEST), LOWEST, HIGHEST)


def _cost(paths: np.ndarray, landscape: Landscape) -> float:
    """The mean logarithm, over all starts and steps, of the highest value that is still to come.

    So a path that finds the minimum and leaves it again is as bad as one that never finds it.
    """
    to_come = np.maximum.accumulate(values(landscape, paths)[:, ::-1], axis=1)
    return float(np.log(to_come).mean())
