"""Who takes part: every rule with the values it is tried with, Padam's powers, and Adam's numbers one at a time.

SOAP alone doesn't: with a matrix for 784 inputs, a step takes it as long as two hundred of Adam's.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tinyflux as flux

SERIES = tuple([float(f"{digit}e{power}") for power in range(-5, 3) for digit in (1, 3)])  # of learning rates


class Entry(NamedTuple):
    """A rule and the values that one of its numbers takes.

    Attributes:
        name: what it is called in tables.
        family: "momentum", "adaptive" or "Adam".
        rule: makes the rule of a value and of the number of iterations.
        values: those that are tried.
        varied: the name of what is varied.
    """

    name: str
    family: str
    rule: Callable[[float, int], Any]
    values: tuple[float, ...]
    varied: str = "η"


class Preset(NamedTuple):
    """How long each run is, and with which seeds: some to choose a value by, others to report what it comes to."""

    iterations: int
    choosing: tuple[int, ...]
    reporting: tuple[int, ...]


PRESETS = {
    "quick": Preset(1_000, choosing=(100, 101), reporting=(0, 1, 2)),
    "full": Preset(4_000, choosing=(100, 101, 102), reporting=tuple(range(10))),
}


def around(middle: float) -> tuple[float, ...]:
    """Five learning rates.

    >>> around(0.1)
    (0.01, 0.03, 0.1, 0.3, 1.0)
    """
    place = SERIES.index(middle)
    return SERIES[place - 2 : place + 3]


def _entry(family: str, rule: Any, middle: float) -> Entry:
    return Entry(rule.__name__, family, lambda eta, iterations: rule(eta), around(middle))


def _demon(beta: float, iterations: int) -> Any:
    return flux.schedules.Demon(beta, over=iterations)


CONTESTANTS = [
    *[_entry("momentum", rule, 0.3) for rule in (flux.Descent, flux.ASGD)],
    *[_entry("momentum", rule, 0.1) for rule in (flux.Momentum, flux.Nesterov)],
    Entry("Demon Momentum", "momentum", lambda eta, n: flux.Momentum(eta, rho=_demon(0.9, n)), around(0.1)),
    _entry("momentum", flux.QHM, 1.0),
    _entry("momentum", flux.AggMo, 0.01),
    _entry("momentum", flux.Lion, 0.001),
    _entry("momentum", flux.YellowFin, 0.3),
    _entry("momentum", flux.Muon, 0.03),
    _entry("adaptive", flux.RMSProp, 0.003),
    Entry("RMSProp centred", "adaptive", lambda eta, n: flux.RMSProp(eta, centred=True), around(0.003)),
    _entry("adaptive", flux.AdaGrad, 0.03),
    Entry(
        "AdaDelta", "adaptive", lambda epsilon, n: flux.AdaDelta(epsilon=epsilon), (1e-7, 1e-6, 1e-5, 1e-4, 1e-3), "ε"
    ),
    *[_entry("Adam", rule, 0.003) for rule in (flux.Adam, flux.AdamW, flux.NAdam, flux.OAdam, flux.AdaBelief)],
    *[_entry("Adam", rule, 0.01) for rule in (flux.AdaMax, flux.RAdam)],
    *[_entry("Adam", rule, 0.003) for rule in (flux.QHAdam, flux.AMSGrad)],
    _entry("Adam", flux.Padam, 0.1),
    Entry("Demon Adam", "Adam", lambda eta, n: flux.Adam(eta, beta=(_demon(0.9, n), 0.999)), around(0.003)),
]

POWERS = {1 / 4: "1/4", 1 / 8: "1/8", 1 / 16: "1/16"}


def _padam(p: float) -> Entry:
    return Entry(f"Padam p={p:g}", "Adam", lambda eta, n: flux.Padam(eta, p=p), (0.1, 0.01, 0.001))


PADAM = [_padam(p) for p in POWERS]

ADAM = [
    Entry("Adam eta", "Adam", lambda x, n: flux.Adam(x), (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)),
    Entry("Adam beta1", "Adam", lambda x, n: flux.Adam(beta=(x, 0.999)), (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999), "β₁"),
    Entry(
        "Adam beta2", "Adam", lambda x, n: flux.Adam(beta=(0.9, x)), (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999), "β₂"
    ),
    Entry("Adam epsilon", "Adam", lambda x, n: flux.Adam(epsilon=x), (1e-12, 1e-8, 1e-6, 1e-4, 1e-2, 1e-1, 1.0), "ε"),
]
DEFAULTS = {"η": 0.001, "β₁": 0.9, "β₂": 0.999, "ε": 1e-8}  # of Adam

ENTRIES = {entry.name: entry for entry in [*CONTESTANTS, *PADAM, *ADAM]}
