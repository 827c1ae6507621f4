"""Schedules: functions of the step that stand in the place of a rule's number.

Any hyperparameter can be one: `flux.Adam(eta=flux.schedules.Cosine(0.01, over=1000))`. A schedule is called with the
number t of steps made so far, 0 in the first step, and gives the number for the step to come. Those here are records,
which are saved and loaded with the optimiser's state.

In the library's rules any other function will do, `lambda t: 0.1 / (1 + t)`, but a file can't hold it: the state that
is loaded into keeps its own. Such a function is recorded and compiled with the rule: np.minimum, not min; np.where, not
if.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import is_number, shown
from ..elsewhere import NamedArguments
from .rule import KINDS, check_fields, check_rates, number

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Demon",
    "Exponential",
    "InverseTime",
    "MultiStep",
    "OneCycle",
    "Polynomial",
    "Schedule",
    "Sequence",
    "Step",
    "Warmup",
]


class Schedule(NamedArguments):
    """The base of all schedules, for those of your own, too: they work in every rule, and `save` keeps their numbers.

    Make it a frozen dataclass with a method __call__(self, t), for t steps made. It is recorded and compiled with the
    rule: write np.minimum, not min, and np.where, not if.

    >>> from dataclasses import dataclass
    >>> import tinyflux as flux
    >>> @dataclass(frozen=True)
    ... class SquareRoot(flux.schedules.Schedule):
    ...     start: float
    ...
    ...     def __call__(self, t):
    ...         return self.start / (1 + t) ** 0.5
    >>> rule = flux.Adam(eta=SquareRoot(0.01))
    >>> rule.eta(3)
    0.005
    """

    def __post_init__(self) -> None:
        check_fields(self, _KINDS)


_KINDS = dict.fromkeys(("float", "int"), KINDS["float"])  # steps may be written as 1e4


@dataclass(frozen=True)
class Constant(Schedule):
    """The same number in every step.

    >>> import tinyflux as flux
    >>> flux.schedules.Constant(0.1)(1000)
    0.1
    """

    value: float

    def __call__(self, t: Any) -> Any:
        return self.value


@dataclass(frozen=True)
class Step(Schedule):
    """Smaller by the factor γ after every `every` steps: start·γⁿ, n being how often these were made.

    Arguments:
        start, gamma: the number at first, and the factor γ.
        every: after how many steps it becomes smaller.

    >>> import tinyflux as flux
    >>> schedule = flux.schedules.Step(0.8, every=10, gamma=0.5)
    >>> schedule(0), schedule(9), schedule(10), schedule(25)
    (0.8, 0.8, 0.4, 0.2)
    """

    start: float
    every: int
    gamma: float = 0.1

    def __call__(self, t: Any) -> Any:
        return self.start * self.gamma ** (t // self.every)


@dataclass(frozen=True)
class MultiStep(Schedule):
    """Smaller by the factor γ at each milestone: start·γⁿ, n being how many were reached.

    Arguments:
        start, gamma: the number at first, and the factor γ.
        milestones: the numbers of steps, in rising order.

    >>> import tinyflux as flux
    >>> schedule = flux.schedules.MultiStep(0.8, milestones=(10, 15), gamma=0.5)
    >>> schedule(9), schedule(10), schedule(15)
    (0.8, 0.4, 0.2)
    """

    start: float
    milestones: tuple[int, ...]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_steps(self, "milestones")

    def __call__(self, t: Any) -> Any:
        reached = sum([number(np.where(t >= milestone, 1, 0)) for milestone in self.milestones])
        return self.start * self.gamma**reached


@dataclass(frozen=True)
class Exponential(Schedule):
    """Smaller by the factor γ in every step: start·γᵗ.

    >>> import tinyflux as flux
    >>> flux.schedules.Exponential(0.8, gamma=0.5)(2)
    0.2
    """

    start: float
    gamma: float

    def __call__(self, t: Any) -> Any:
        return self.start * self.gamma**t


@dataclass(frozen=True)
class InverseTime(Schedule):
    """Smaller as one over the time, from `start`, fast at first and then slowly: start/(1 + decay·t).

    >>> import tinyflux as flux
    >>> flux.schedules.InverseTime(0.8, decay=0.5)(2)
    0.4
    """

    start: float
    decay: float

    def __call__(self, t: Any) -> Any:
        return self.start / (1 + self.decay * t)


@dataclass(frozen=True)
class Polynomial(Schedule):
    """Down to `stop` along a power: stop + (start − stop)·(1 − t/over)ᵖ; p = 1 is a straight line.

    From the step `over` on it is `stop`.

    Arguments:
        start, stop: the number at first and in the end.
        over: in how many steps it comes to `stop`.
        power: p.

    >>> import tinyflux as flux
    >>> schedule = flux.schedules.Polynomial(0.8, over=10, power=2)
    >>> schedule(0), schedule(5), schedule(11)
    (0.8, 0.2, 0.0)
    """

    start: float
    over: int
    power: float = 1.0
    stop: float = 0.0

    def __call__(self, t: Any) -> Any:
        return self.stop + (self.start - self.stop) * _remaining(t, self.over) ** self.power


@dataclass(frozen=True)
class Cosine(Schedule):
    """Down to `stop` along half a cosine: stop + (start − stop)·(1 + cos(πt/over))/2.

    From the step `over` on it is `stop`.

    Arguments:
        start, stop: the number at first and in the end.
        over: in how many steps it comes to `stop`.

    Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, without restarts.

    >>> import tinyflux as flux
    >>> schedule = flux.schedules.Cosine(0.8, over=10)
    >>> schedule(0), round(schedule(5), 12), schedule(10)
    (0.8, 0.4, 0.0)
    """

    start: float
    over: int
    stop: float = 0.0

    def __call__(self, t: Any) -> Any:
        return self.stop + (self.start - self.stop) * _cosine(_remaining(t, self.over))


@dataclass(frozen=True)
class CosineRestarts(Schedule):
    """Cosine, over and over: each turn is `factor` times as long as the one before, the first one `over` steps.

    Arguments:
        start, stop: the number at the beginning and at the end of each turn.
        over, factor: how many steps the first turn takes, and the growth of the turns.

    Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.

    >>> import tinyflux as flux
    >>> schedule = flux.schedules.CosineRestarts(0.8, over=10, factor=2)
    >>> schedule(0), round(schedule(5), 12), schedule(10), round(schedule(20), 12), schedule(30)
    (0.8, 0.4, 0.8, 0.4, 0.8)
    """

    start: float
    over: int
    factor: int = 1
    stop: float = 0.0

    def __call__(self, t: Any) -> Any:
        if self.factor == 1:
            share = t % self.over / self.over
        else:
            longer = self.factor - 1
            turn = np.floor(np.log(1 + t * longer / self.over) / np.log(self.factor) + 1e-9)  # logarithms are rounded
            length = self.over * self.factor**turn
            share = (t - (length - self.over) / longer) / length
        return self.stop + (self.start - self.stop) * _cosine(1 - share)


@dataclass(frozen=True)
class Warmup(Schedule):
    """A straight line up to `value`, reached in the step number `over`, and `value` from then on: value·(t + 1)/over.

    Arguments:
        value, over: the number in the end, and in how many steps it is reached.

    >>> import tinyflux as flux
    >>> schedule = flux.schedules.Warmup(0.8, over=4)
    >>> schedule(0), schedule(1), schedule(3), schedule(100)
    (0.2, 0.4, 0.8, 0.8)
    """

    value: float
    over: int

    def __call__(self, t: Any) -> Any:
        return self.value * number(np.minimum(1.0, (t + 1) / self.over))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up from peak/divide to the peak along a cosine, then down to (peak/divide)/final by the step `over`.

    Arguments:
        peak: the largest value.
        over: how many steps the cycle takes.
        rise: the share of them that goes up.
        divide: the peak over the first value.
        final: the first value over the last.

    The peak is at step rise·over, the last value at step `over`. PyTorch's, for `total_steps` n, are one step earlier:
    rise·n − 1 and n − 1.

    Smith & Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2018; the
    defaults of torch.optim.lr_scheduler.OneCycleLR.

    >>> import tinyflux as flux
    >>> schedule = flux.schedules.OneCycle(1.0, over=100)
    >>> round(schedule(0), 12), schedule(30), round(schedule(100), 12)
    (0.04, 1.0, 4e-06)
    """

    peak: float
    over: int
    rise: float = 0.3
    divide: float = 25.0
    final: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rise < 1:
            raise ValueError(f"OneCycle: expected rise to be a share between 0 and 1, got {self.rise!r}.")
        if not (self.divide > 0 and self.final > 0):
            given = f"{self.divide!r} and {self.final!r}"
            raise ValueError(f"OneCycle: expected divide and final to be above 0, got {given}.")

    def __call__(self, t: Any) -> Any:
        first, top = self.peak / self.divide, self.rise * self.over
        up = first + (self.peak - first) * (1 - _cosine(_remaining(t, top)))
        last = first / self.final
        down = last + (self.peak - last) * _cosine(_remaining(t - top, self.over - top))
        return number(np.where(t < top, up, down))


@dataclass(frozen=True)
class Demon(Schedule):
    """A momentum that decays to nothing: β₀(1 − t/over)/((1 − β₀) + β₀(1 − t/over)), for Momentum's ρ or Adam's β₁.

    Arguments:
        start, over: the momentum β₀ at first, in [0, 1), and in how many steps it comes to 0.

    Chen, Wolfe, Li & Kyrillidis, "Demon: improved neural network training with momentum decay", 2022.

    >>> import tinyflux as flux
    >>> schedule = flux.schedules.Demon(0.9, over=100)
    >>> round(schedule(0), 12), round(schedule(50), 3), schedule(100)
    (0.9, 0.818, 0.0)
    >>> rule = flux.Momentum(0.01, rho=schedule)
    """

    start: float
    over: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rates(self, "start")

    def __call__(self, t: Any) -> Any:
        remaining = self.start * _remaining(t, self.over)
        return remaining / ((1 - self.start) + remaining)


@dataclass(frozen=True)
class Sequence(Schedule):
    """Schedules one after another, each counting from its own start.

    Arguments:
        schedules: the schedules.
        steps: how many steps each of them but the last is for.

    Errors: ValueError where there is not one schedule more than steps.

    >>> from tinyflux import schedules
    >>> schedule = schedules.Sequence((schedules.Warmup(0.8, over=4), schedules.Cosine(0.8, over=10)), steps=(4,))
    >>> schedule(0), schedule(3), schedule(4), round(schedule(9), 12)
    (0.2, 0.8, 0.8, 0.4)
    """

    schedules: tuple[Any, ...]
    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        given = self.schedules if isinstance(self.schedules, (tuple, list)) else (None,)
        if not all(callable(schedule) and not isinstance(schedule, type) for schedule in given):
            raise TypeError(
                f"Sequence: expected a tuple of schedules, such as Constant(0.1), got {shown(self.schedules)}."
            )
        _check_steps(self, "steps")
        if len(self.schedules) != len(self.steps) + 1:
            raise ValueError(
                "Sequence: expected one schedule more than steps, for the last one goes on; got "
                f"{len(self.schedules)} schedules, and steps {self.steps!r}."
            )

    def __call__(self, t: Any) -> Any:
        start, value = 0, self.schedules[0](number(np.minimum(t, self.steps[0])) if self.steps else t)
        for schedule, before, steps in zip(self.schedules[1:], self.steps, (*self.steps[1:], math.inf)):
            start += before
            inside = number(np.clip(t - start, 0, steps))  # what is over, or yet to come, is not asked far outside
            value = np.where(t < start, value, schedule(inside))
        return number(value)


def _check_steps(schedule: Schedule, name: str) -> None:
    """Refuse anything but a tuple or a list of numbers of steps."""
    given = getattr(schedule, name)
    if not isinstance(given, (tuple, list)) or not all(is_number(n) and n >= 0 for n in given):
        owner = type(schedule).__name__
        raise ValueError(
            f"{owner}: expected {name} to be a tuple of numbers of steps, such as (10,), got {shown(given)}."
        )


def _remaining(t: Any, over: Any) -> Any:
    """The share of the way that is still to go: 1 at 0, 0 from `over` on."""
    return number(np.maximum(1 - t / over, 0.0))


def _cosine(share: Any) -> Any:
    """Half a cosine: 1 where the whole way is still to go, 0 at its end."""
    return number(0.5 * (1 - np.cos(np.pi * share)))
