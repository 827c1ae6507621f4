"""Rules that change a gradient on its way to another rule, and the chain that joins them."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from ..arrays import is_array
from ..types import Array, Number
from .rule import (
    Rule,
    State,
    applied,
    average_of,
    check_rule,
    check_state,
    initial,
    inner_rules,
    is_ours,
    kind_of,
    number,
    pending,
    remembered,
    rule_for,
)
from .scheduled import Scheduled, at, scheduled

__all__ = ["AccumGrad", "ClipGrad", "ClipNorm", "Maximize", "OptimiserChain", "SignDecay", "WeightDecay"]
__all__ += ["NonFiniteNorm"]


@dataclass(frozen=True, init=False)
class OptimiserChain(Rule):
    """Rules one after another: the step of each is the gradient of the next.

    Arguments:
        rules: the modifiers, then the rule; after it Lookahead or EMA.

    A rule that measures each array (ClipNorm, Muon) and one that measures the whole model (YellowFin) can't be in one
    chain, except that `ClipNorm(…, over="model")` may stand before one that measures each array.

    Errors: TypeError for anything but rules; ValueError for rules that can't be in one chain, and for Lookahead or EMA
    before the rule.

    >>> import numpy as np, tinyflux as flux
    >>> model = [np.array([1.0, 2.0])]
    >>> opt = flux.setup(flux.OptimiserChain(flux.ClipGrad(0.5), flux.WeightDecay(0.1), flux.Descent(0.1)), model)
    >>> flux.update(opt, model, [np.array([9.0, 0.0])])  # 9 counts as 0.5, and a tenth of the parameter is added
    >>> model[0]
    array([0.94, 1.98])
    """

    rules: tuple[Any, ...]
    _counts: ClassVar[list[tuple[int, int]]]  # of each rule: how many arrays its state has, and how many numbers

    def __init__(self, *rules: Any) -> None:
        for rule in rules:
            check_rule("OptimiserChain", rule)
        head, tail = map(_scopes, _parted(rules))
        if len(head | tail) > 1 and (head, tail) != ({"model"}, {"array"}):
            raise ValueError(
                "OptimiserChain: expected rules that measure each array, or rules that measure the model, got both: "
                f'{", ".join(map(kind_of, rules))}. Take ClipNorm(…, over="model").'
            )
        for rule, after in itertools.pairwise(_flat(rules)):
            if getattr(rule, "last", False) and not getattr(after, "last", False):
                raise ValueError(
                    f"OptimiserChain: {kind_of(rule)} averages what a step leads to, and can't stand before "
                    f"{kind_of(after)}. Put it last."
                )
        object.__setattr__(self, "rules", rules)
        object.__setattr__(self, "_counts", [size_of_state(at(rule, 0)) for rule in rules])

    def __repr__(self) -> str:
        return f"OptimiserChain({', '.join(map(repr, self.rules))})"

    @property
    def whole(self) -> str | None:  # type: ignore[override]
        scopes = [getattr(rule, "whole", None) for rule in self.rules]
        return next((scope for scope in ("model", "array") if scope in scopes), None)

    def rule_for(self, x: Array) -> Any:
        rules = [rule_for(rule, x) for rule in self.rules]
        return self if all(map(operator.is_, rules, self.rules)) else OptimiserChain(*rules)

    def init(self, x: Array) -> State:
        states = [initial(rule, x) for rule in self.rules]
        for rule, state, counts in zip(self.rules, states, self._counts):
            if _sizes(state) != counts and not is_ours(rule):
                (one, its), (other, others) = counts, _sizes(state)
                raise ValueError(
                    f"OptimiserChain: {kind_of(rule)}.init gives a state of {one} arrays and {its} numbers for one "
                    f"parameter, and of {other} and {others} for one of shape {x.shape}. In a chain it has to give as "
                    "many for each: empty arrays, np.zeros_like(x, shape=(0,)), where there is nothing to keep."
                )
        arrays = [s for state, (count, _) in zip(states, self._counts) for s in state[:count]]
        return (*arrays, *[s for state, (count, _) in zip(states, self._counts) for s in state[count:]])

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        after: tuple[list[Any], list[Any]] = [], []
        for rule, (count, _), own in zip(self.rules, self._counts, self._states(state)):
            if g is not None:
                own, g = applied(rule, own, x, g)
            after[0].extend(own[:count])
            after[1].extend(own[count:])
        return (*after[0], *after[1]), g

    def average(self, state: State, x: Array) -> Array | None:
        found = [average_of(rule, own, x) for rule, own in zip(self.rules, self._states(state))]
        return next((a for a in reversed(found) if a is not None), None)

    def _states(self, state: State) -> Iterator[State]:
        """The state of each rule."""
        arrays, numbers = iter(state), iter(state[sum(count for count, _ in self._counts) :])
        for count, more in self._counts:
            yield (*[next(arrays) for _ in range(count)], *[next(numbers) for _ in range(more)])

    def check_state(self, arrays: State, numbers: State) -> None:
        for rule, (count, more) in zip(self.rules, self._counts):
            check_state(rule, arrays[:count], numbers[:more])
            arrays, numbers = arrays[count:], numbers[more:]


def size_of_state(rule: Any, shapes: Sequence[tuple[int, ...]] = ((0,), (1, 1), (1, 1, 1, 1))) -> tuple[int, int]:
    """How many arrays a rule's state has, and how many numbers.

    Arguments:
        shapes: those of parameters to try; a user's rule may be for matrices or kernels alone.
    """
    try:
        return _sizes(initial(rule, np.zeros(shapes[0])))
    except Exception:
        if getattr(rule, "whole", None) != "array" or len(shapes) == 1:
            raise
        return size_of_state(rule, shapes[1:])


def _sizes(state: State) -> tuple[int, int]:
    arrays = sum(map(is_array, state))
    return arrays, len(state) - arrays


def shapes_of_state(rule: Any, x: Array) -> list[Any]:
    """The shapes of the arrays in a rule's state, and () for its numbers; x matters where the arrays aren't like it."""
    return [np.shape(s) for s in initial(rule, x if measures_arrays(rule) else np.zeros(0))]


@dataclass(frozen=True)
class WeightDecay(Rule):
    """Weight decay as a part of the gradient: g + λx, the gradient of λ‖x‖²/2. Decoupled from it: see AdamW.

    Arguments:
        lambda_: the decay λ.

    >>> import numpy as np, tinyflux as flux
    >>> flux.WeightDecay(0.5).apply((), np.array([2.0]), np.array([4.0]))
    ((), array([5.]))
    """

    lambda_: Number = 5e-4

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        return (), g + self.lambda_ * x


@dataclass(frozen=True)
class SignDecay(Rule):
    """A decay of the same size for all parameters, which takes some to zero: g + λ·sign(x), the gradient of λ‖x‖₁.

    Arguments:
        lambda_: the decay λ.

    >>> import numpy as np, tinyflux as flux
    >>> flux.SignDecay(0.5).apply((), np.array([2.0, -3.0]), np.array([4.0, 4.0]))
    ((), array([4.5, 3.5]))
    """

    lambda_: Number = 1e-3

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        return (), g + self.lambda_ * np.sign(x)


@dataclass(frozen=True)
class ClipGrad(Rule):
    """Every element of the gradient brought into [−δ, δ].

    Arguments:
        delta: the bound δ.

    >>> import numpy as np, tinyflux as flux
    >>> flux.ClipGrad(1.0).apply((), np.zeros(3), np.array([4.0, -0.5, -2.0]))
    ((), array([ 1. , -0.5, -1. ]))
    """

    delta: Number = 10.0

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        return (), np.clip(g, -self.delta, self.delta)


class NonFiniteNorm(FloatingPointError):
    """The norm of a gradient that was to be clipped is NaN or infinite."""


_NON_FINITE = (
    "ClipNorm: the norm of the gradient is {}; no parameter was changed. Look for NaN in the data, or take a smaller "
    "learning rate."
)


@dataclass(frozen=True)
class ClipNorm(Rule):
    """A gradient whose norm is above ω, shortened to ω: g·min(1, ω/‖g‖).

    Arguments:
        omega: the largest norm ω.
        over: "array" for the norm of each parameter's gradient, as in Flux; "model" for that of the whole model, as in
            PyTorch's clip_grad_norm_: of all parameters whose chains begin with the same ClipNorm. Behind a rule that
            keeps a state, such as AccumGrad, and before AccumGrad where ω is a schedule, these are only parameters that
            have made the same number of steps.

    Errors: NonFiniteNorm for a norm that is NaN or infinite; nothing is changed then.

    Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks", 2013.

    >>> import numpy as np, tinyflux as flux
    >>> flux.ClipNorm(1.0).apply((), np.zeros(2), np.array([3.0, -4.0]))
    ((), array([ 0.6, -0.8]))
    """

    omega: Number = 10.0
    over: str = "array"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.over not in ("array", "model"):
            raise ValueError(f'ClipNorm: expected over to be "array" or "model", got {self.over!r}.')

    @property
    def whole(self) -> str:  # type: ignore[override]
        return self.over

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        norm = number(np.sqrt(np.sum(g.astype(np.float64) ** 2)))
        if isinstance(norm, float) and not math.isfinite(norm):
            raise NonFiniteNorm(_NON_FINITE.format(norm))
        if hasattr(norm, "demand_finite"):
            norm.demand_finite(NonFiniteNorm, _NON_FINITE.format("NaN or infinite"))
        shortened = np.where(norm > self.omega, self.omega / np.where(norm > 0, norm, 1.0), 1.0)
        return (), number(np.where(np.isfinite(norm), shortened, np.nan)) * g


@dataclass(frozen=True)
class AccumGrad(Rule):
    """The mean of n gradients, every n steps; in between the parameters stay, and the states of later rules.

    A NaN among them makes the mean NaN: a ClipNorm that is to refuse it stands before, not after.

    Arguments:
        n: how many gradients to gather.

    Errors: ValueError for an n below 1.

    >>> import numpy as np, tinyflux as flux
    >>> model = [np.array([1.0])]
    >>> opt = flux.setup(flux.OptimiserChain(flux.AccumGrad(2), flux.Descent(0.1)), model)
    >>> flux.update(opt, model, [np.array([2.0])]); model[0]
    array([1.])
    >>> flux.update(opt, model, [np.array([4.0])]); model[0]
    array([0.7])
    """

    n: int = 4

    def init(self, x: Array) -> State:
        return np.zeros_like(x), 0

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        gathered, count = state
        gathered, count = gathered + g, count + 1
        if not isinstance(count, Real):  # of a compiled step, known when it runs
            due = count >= self.n
            return (np.where(due, 0, gathered), np.where(due, 0, count)), pending(due, gathered / count)
        if count < self.n:
            return (gathered, count), None
        return (np.zeros_like(x), 0), gathered / count


@dataclass(frozen=True)
class Maximize(Rule):
    """The gradient turned round: the rules after it go uphill.

    >>> import numpy as np, tinyflux as flux
    >>> flux.Maximize().apply((), np.zeros(1), np.array([4.0]))
    ((), array([-4.]))
    """

    def apply(self, state: State, x: Array, g: Array) -> tuple[State, Array]:
        return (), -g


@remembered
def split(rule: Any) -> tuple[Any, Any]:
    """A rule in two: what brings elements together without keeping a state, as ClipNorm does, and what follows.

    The first is done to all gradients before any parameter is stepped; it is None where there is no such part.
    """
    if getattr(rule, "whole", None) is None:
        return None, rule
    if isinstance(rule, Scheduled):
        head, tail = split(rule.rule)
        waits = any(isinstance(part, AccumGrad) for part in inner_rules(tail))  # then t doesn't count the head's steps
        return (None, rule) if head is None or (waits and scheduled(head)) else (head, Scheduled(tail))
    first, rest = _parted([rule])
    return (OptimiserChain(*first), OptimiserChain(*rest)) if first else (None, rule)


def measures_arrays(rule: Any) -> bool:
    """Whether a rule steps one parameter at a time, so that its state belongs to it, in shapes of its own.

    That is so with schedules or without: `adjust` may bring them, and take them away.
    """
    return getattr(split(rule.rule if isinstance(rule, Scheduled) else rule)[1], "whole", None) == "array"


def _parted(rules: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """The rules of a chain, and of chains in it, in two parts: those of a head, and the others; see `split`."""
    flat = list(_flat(rules))
    stateless = list(itertools.takewhile(lambda part: size_of_state(at(part, 0)) == (0, 0), flat))
    count = max([i for i, part in enumerate(stateless, 1) if _scopes([part])], default=0)
    return flat[:count], flat[count:]


def _flat(rules: Sequence[Any]) -> Iterator[Any]:
    for rule in rules:
        yield from _flat(rule.rules) if isinstance(rule, OptimiserChain) else [rule]


def _scopes(rules: Sequence[Any]) -> set[str]:
    """What rules measure: "array", "model", or nothing."""
    return {rule.whole for rule in rules if getattr(rule, "whole", None) is not None}
