"""What the optimisers have in common: each is a small record of hyperparameters that knows nothing of models.

A rule has two methods on one array. `init(x)` gives its state for the parameter x: arrays like x first, then plain
numbers. `apply(state, x, g)` gives the next state and the step Δ for the gradient g; whoever called it then sets
x ← x − Δ. Both are pure NumPy expressions. Numbers in the state are Python's, so that they stay exact in float64 and
leave a float32 array float32.

`update` calls `apply` on pieces of many parameters that lie side by side. A rule that brings elements together, as a
norm does, says so: `whole = "array"` has it called on one parameter at a time, `whole = "model"` on all at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import on_gpu

State = tuple[Any, ...]

_ELSEWHERE = {  # where PyTorch's hyperparameters are found
    "lr": "the learning rate is eta",
    "betas": "the decay rates are beta",
    "eps": "it is epsilon",
    "momentum": "momentum is rho in flux.Momentum and flux.Nesterov",
    "nesterov": "that is the rule flux.Nesterov",
    "weight_decay": "decay is flux.AdamW(lambda_=…), or flux.OptimiserChain(flux.WeightDecay(…), rule)",
    "amsgrad": "that is the rule flux.AMSGrad",
    "maximize": "to go uphill, flux.OptimiserChain(flux.Maximize(), rule)",
    "centered": "it is centred in flux.RMSProp",
}


class Rule:
    """The rules of the library: a keyword that a rule doesn't have is refused by name."""

    whole: str | None = None

    def __new__(cls, *args: Any, **hyperparameters: Any) -> Any:
        known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        for name in hyperparameters:
            if name not in known:
                raise TypeError(unknown(cls.__name__, name, known))
        return super().__new__(cls)


def unknown(rule: str, name: str, known: Sequence[str]) -> str:
    """What to say of a hyperparameter that a rule doesn't have."""
    has = f"it has {', '.join(known)}" if known else "it has none"
    hint = f" ({_ELSEWHERE[name]})" if name in _ELSEWHERE else ""
    return f"{rule} has no {name}; {has}{hint}."


def is_rule(x: Any) -> bool:
    """Whether `x` is a rule, of the library or a user's own."""
    return hasattr(x, "init") and hasattr(x, "apply") and not isinstance(x, type)


def check_rule(caller: str, rule: Any) -> None:
    """Refuse what is no rule: a class in the place of a rule, say."""
    if not is_rule(rule):
        raise TypeError(f"{caller}: expected a rule such as flux.Adam(0.001), got {rule!r}.")


def check_rates(rule: Any, name: str, count: int | None = None) -> None:
    """Refuse decay rates outside [0, 1): one number where `count` is None, else so many; schedules pass."""
    given = getattr(rule, name)
    rates = (given,) if count is None else given
    fits = count is None or (isinstance(given, (tuple, list)) and len(given) == count)
    if not fits or not all(callable(rate) or 0 <= rate < 1 for rate in rates):
        wanted = "a number" if count is None else "two numbers" if count == 2 else f"{count} numbers"
        raise ValueError(f"{type(rule).__name__}: expected {name} to be {wanted} in [0, 1), got {given!r}.")


def check_form(rule: Any, *known: str) -> None:
    """Refuse a form of a rule that there is not."""
    if rule.form not in known:
        raise ValueError(f"{type(rule).__name__}: expected form to be one of {', '.join(known)}; got {rule.form!r}.")


def number(x: Any) -> Any:
    """A Python number for what NumPy made of Python numbers: its own would turn a float32 array into float64."""
    return x.item() if isinstance(x, (np.generic, np.ndarray)) or on_gpu(x) else x


def plain(x: Any) -> Any:
    """A rule with Python numbers for NumPy's, which would promote float32, and which a file would not give back."""
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, (tuple, list)):
        return tuple([plain(item) for item in x])
    return with_fields(x, {name: plain(value) for name, value in fields(x).items()})


def fields(rule: Any) -> dict[str, Any]:
    """The hyperparameters of a rule, by name."""
    if not dataclasses.is_dataclass(rule) or isinstance(rule, type):
        return {}
    return {field.name: getattr(rule, field.name) for field in dataclasses.fields(rule)}


def with_fields(rule: Any, values: dict[str, Any]) -> Any:
    """A rule with others in the place of its hyperparameters, if they are others; nothing checks them."""
    if all(getattr(rule, name) is value for name, value in values.items()):
        return rule
    new = object.__new__(type(rule))
    for name, value in {**vars(rule), **values}.items():
        object.__setattr__(new, name, value)
    return new


def inner_rules(rule: Any) -> list[Any]:
    """The rules that a rule is made of: those of a chain."""
    values = fields(rule).values()
    return [part for value in values for part in (value if isinstance(value, tuple) else (value,)) if is_rule(part)]


def kind_of(rule: Any) -> str:
    """What kind of rule it is, without its numbers: OptimiserChain(ClipNorm, Adam)."""
    inside = ", ".join(map(kind_of, inner_rules(rule)))
    return f"{type(rule).__name__}({inside})" if inside else type(rule).__name__
