"""What the optimisers have in common: each is a small record of hyperparameters that knows nothing of models.

A rule has two methods on one array. `init(x)` gives its state for the parameter x: arrays like x first, then plain
numbers. `apply(state, x, g)` gives the next state and the step Δ for the gradient g; whoever called it then sets
x ← x − Δ. Both are pure NumPy expressions. Numbers in the state are Python's, so that they stay exact in float64 and
leave a float32 array float32.

`update` calls `apply` on flat pieces of many parameters that lie side by side. A rule that brings elements together, as
a norm does, or looks at x.ndim, says so: `whole = "array"` has it called on one parameter at a time, in its own shape,
`whole = "model"` on all at once, in one line. A rule for one parameter at a time may have state arrays of any shapes.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import types
from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from ..arrays import on_gpu
from ..checks import check_call, is_integer, is_number, shown, type_of
from ..elsewhere import NamedArguments
from ..nodes import rebuild
from ..types import Array

State = tuple[Any, ...]

KINDS = {
    "float": "a finite number",
    "Number": "a finite number",
    "Number | None": "a finite number or None",
    "float | None": "a finite number or None",
    "int": "an integer",
    "bool": "True or False",
}
_LEAST = {
    **dict.fromkeys(("eta", "lambda_", "epsilon", "delta", "omega", "p", "alpha", "t0", "psi", "initial"), 0),
    **dict.fromkeys(("gamma", "decay", "power", "max_size"), 0),
    **dict.fromkeys(("n", "k", "window", "over", "every", "factor"), 1),
}
_MOST = 1 << 53  # steps: up to there a float counts, too


def check_fields(record: Any, kinds: dict[str, str]) -> None:
    """Refuse what a field of a rule or a schedule can't be, by the kind that is declared; ValueError.

    A function in the place of a rule's number is asked for its first value.
    """
    for field in dataclasses.fields(record):
        wanted, value = kinds.get(str(field.type), ""), getattr(record, field.name)
        given = shown(value)
        if wanted == KINDS["float"] and callable(value) and isinstance(record, Rule):
            value, given = _first_value(value)
        if wanted and not _is(wanted, value, _LEAST.get(field.name, -math.inf)):
            least = f", at least {_LEAST[field.name]}" if field.name in _LEAST else ""
            uphill = field.name == "eta" and is_number(value)
            raise ValueError(
                f"{type(record).__name__}: expected {field.name} to be {wanted}{least}, got {given}."
                f"{' To go uphill, chain flux.Maximize() with the rule.' if uphill else ''}"
            )


def _is(wanted: str, x: Any, least: float) -> bool:
    if wanted == KINDS["bool"]:
        return isinstance(x, (bool, np.bool_))
    if x is None:
        return wanted == KINDS["float | None"]
    return is_number(x) and x >= least and (wanted != KINDS["int"] or is_integer(number(x)))


def first_value(x: Any) -> Any:
    """A hyperparameter, or what its schedule gives for step 0; None if it fails."""
    return _first_value(x)[0] if callable(x) else x


def _first_value(schedule: Any) -> tuple[Any, str]:
    """What a function of the step gives for step 0, and how a message shows that."""
    if isinstance(schedule, type):
        return None, f"the class {schedule.__name__}. Make one: {schedule.__name__}(…)"
    name = getattr(schedule, "__name__", type(schedule).__name__)
    try:
        value = schedule(0)
    except Exception as error:
        return None, f"{name}, which fails for step 0 ({type(error).__name__}: {error})"
    return number(value), f"{shown(value)} from {name} for step 0"


class Rule(NamedArguments):
    """The rules of the library: a keyword that a rule doesn't have is refused by name, a value by what was expected."""

    whole: str | None = None
    last: ClassVar[bool] = False  # whether it looks at the step, and so stands after all that changes it
    averages: ClassVar[int] = 0  # how many arrays its state begins with, all of them zeros at first
    squares: ClassVar[tuple[int, ...]] = ()  # which of the arrays in its state are never below 0
    form: str
    forms: ClassVar[tuple[str, ...]] = ()  # what its hyperparameter `form` can be, if it has one

    def __post_init__(self) -> None:
        check_fields(self, KINDS)
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if field.name in ("rho", "beta"):  # decay rates
                check_rates(self, field.name)
        if self.forms and self.form not in self.forms:
            known = ", ".join(self.forms)
            raise ValueError(f"{type(self).__name__}: expected form to be one of {known}; got {self.form!r}.")

    def init(self, x: Array) -> State:
        """The state of a rule that keeps nothing but averages."""
        return tuple([np.zeros_like(x) for _ in range(self.averages)])

    def rule_for(self, x: Array) -> Any:
        """The rule that steps the parameter x: this one, or another that it leaves x to. `setup` asks for it."""
        return self

    def average(self, state: State, x: Array) -> Array | None:
        """The average of the parameter x that the state holds; None where it holds none."""
        return None

    def check_state(self, arrays: State, numbers: State) -> None:
        """Refuse, by ValueError, arrays and numbers that steps can't have left in the state: those of a file, say.

        Averages are never NaN, and those of squares never below 0. Where `init` starts with an integer, steps are
        counted; any other number is finite. A rule of which more is true says so in `accepts`.
        """
        start = [x for x in self.init(np.zeros(0)) if not isinstance(x, np.ndarray)]
        for x, first in zip(numbers, start, strict=True):
            check_number(x, type(first) is int)
        if not self.accepts(numbers):
            raise ValueError(f"its state can't hold the numbers {', '.join(map(repr, numbers))}")
        for i, array in enumerate(arrays):
            if np.isnan(array).any():
                raise ValueError("expected numbers in the averages of the state, got NaN")
            if i in self.squares and (array < 0).any():
                raise ValueError("expected averages of squares in the state, got numbers below 0")

    def accepts(self, given: State) -> bool:
        """Whether steps can have left these numbers in the state."""
        return True


def check_number(x: Any, count: bool = False) -> None:
    """Refuse, by ValueError, what is no finite number, or no count."""
    fits = type(x) is int and 0 <= x <= _MOST if count else type(x) is float and math.isfinite(x)
    if not fits:
        raise ValueError(f"expected {'a count of steps' if count else 'a finite number'} in the state, got {x!r}")


def check_state(rule: Any, arrays: State, numbers: State) -> None:
    """Refuse, by ValueError, a state that can't have come about by steps; a user's rule may have any numbers.

    Arguments:
        arrays: the state's arrays, or none, to look at the numbers alone.
    """
    if isinstance(rule, Rule):
        rule.check_state(arrays, numbers)
    elif not all(isinstance(x, Real) and x == x for x in numbers):
        raise ValueError(f"expected numbers in the state, got {numbers!r}")


def is_rate(x: Any) -> bool:
    """Whether `x` is a share of 1 such as a product of decay rates, which may have faded to 0."""
    return bool(0 <= x <= 1)


def is_rule(x: Any) -> bool:
    """Whether `x` is a rule, of the library or a user's own."""
    return hasattr(x, "init") and hasattr(x, "apply") and not isinstance(x, type)


def check_rule(caller: str, rule: Any) -> None:
    """Refuse what is no rule: a class in the place of a rule, say."""
    if is_rule(rule):
        if not isinstance(rule, Rule):
            check_call(caller, f"{type(rule).__name__}.init", rule.init, "x", "", None)
            check_call(caller, f"{type(rule).__name__}.apply", rule.apply, "state, x and g", "", None, None, None)
        return
    fix = ""
    if isinstance(rule, type):
        fix = f" Make one: {rule.__name__}(…)."
    elif isinstance(rule, (list, tuple)) and rule and all(map(is_rule, rule)):
        fix = " Chain them: flux.OptimiserChain(*rules)."
    elif callable(rule) and dataclasses.is_dataclass(rule):
        fix = " A schedule stands in a rule: flux.Adam(eta=schedule)."
    elif isinstance(rule, types.FunctionType) and caller == "OptimiserChain":
        fix = " A function that chooses rules belongs to setup: flux.setup(lambda x: flux.OptimiserChain(…), model)."
    elif hasattr(rule, "apply") != hasattr(rule, "init"):
        missing = "init(self, x)" if hasattr(rule, "apply") else "apply(self, state, x, g)"
        fix = f" A rule has two methods, init and apply; write {missing} as well."
    raise TypeError(f"{caller}: expected a rule such as flux.Adam(0.001), got {shown(rule)}.{fix}")


def is_ours(rule: Any) -> bool:
    """Whether a rule and all rules in it are the library's: a user's own may do anything, and fail at any time."""
    return type(rule).__module__.partition(".")[0] == "tinyflux" and all(map(is_ours, inner_rules(rule)))


def rule_for(rule: Any, x: Array) -> Any:
    """The rule that steps the parameter x where this one was given; a user's own steps all itself."""
    return rule.rule_for(x) if isinstance(rule, Rule) else rule


def average_of(rule: Any, state: State, x: Array) -> Array | None:
    """The average of the parameter x that a rule's state holds, or None."""
    return rule.average(state, x) if isinstance(rule, Rule) else None


def initial(rule: Any, x: Array) -> State:
    """`rule.init(x)`, or a TypeError that names the rule if that is no tuple."""
    state = rule.init(x)
    if type(state) is not tuple:
        raise TypeError(
            f"{type(rule).__name__}.init: expected a tuple of arrays and numbers, got {_shown(state)}. "
            "Return (np.zeros_like(x),), say, or () for no state."
        )
    return state


@dataclasses.dataclass(frozen=True)
class Pending:
    """A step of a recorded update that is made only if a condition holds, which is known when the update runs.

    Attributes:
        due: the condition, a number that is being compiled.
        step: the step, 0 where none is made.
    """

    due: Any
    step: Any


def pending(due: Any, step: Any) -> Pending:
    """A step that is made only if a condition holds; without it nothing comes of what the step would be, of NaN say."""
    return Pending(due, np.where(due, step, 0))


def applied(rule: Any, state: State, x: Array, g: Any) -> tuple[State, Any]:
    """`rule.apply(state, x, g)`; the step has the shape of x, or is a number, or None where the rule makes none yet.

    In a recorded update it may be Pending. Where g is, the state stays as it is until g is due.

    Errors: TypeError that names the rule if what it gives is no state and step; ValueError for a step that doesn't fit.
    """
    if isinstance(g, Pending):
        after, step = applied(rule, state, x, g.step)
        due, step = (g.due & step.due, step.step) if isinstance(step, Pending) else (g.due, step)
        return tuple([np.where(g.due, new, old) for new, old in zip(after, state)]), pending(due, step)
    result = rule.apply(state, x, g)
    if type(result) is not tuple or len(result) != 2 or not _fits(result, state):
        raise TypeError(
            f"{type(rule).__name__}.apply: expected (state, step), a tuple of {len(state)} as init gives and an array, "
            f"got {_shown(result)}."
        )
    new, delta = result
    if getattr(delta, "shape", ()) not in (x.shape, ()):
        try:
            delta = np.broadcast_to(delta, x.shape)
        except ValueError as error:
            raise doesnt_fit(rule, error) from error
    return new, delta


def step_of(delta: Any) -> Any:
    """What is taken from x: the step of a rule, 0 where a recorded one is not made, None where the rule makes none."""
    return delta.step if isinstance(delta, Pending) else delta


def stepped(rule: Any, state: State, x: Array, g: Array) -> tuple[State, Array]:
    """The state and x after a step of a rule on one array: x − Δ, or x itself where the rule makes no step yet."""
    new, delta = applied(rule, state, x, g)
    return new, x if delta is None else x - step_of(delta)


def _fits(result: tuple[Any, Any], state: State) -> bool:
    new, delta = result
    return type(new) is tuple and len(new) == len(state) and not isinstance(delta, (tuple, list))


def doesnt_fit(rule: Any, error: Exception) -> ValueError:
    """An error that names the rule whose `apply` gave what can't be written into its arrays."""
    return ValueError(f"{type(rule).__name__}.apply gives what doesn't fit an array like x: {error}")


def _shown(x: Any) -> str:
    inside = ", ".join(map(_shown, x)) if isinstance(x, (tuple, list)) else ""
    return f"({inside})" if isinstance(x, tuple) else f"[{inside}]" if isinstance(x, list) else type_of(x)


_PAIRS = ("tuple[Number, Number]", "tuple[float, float]")


def check_rates(rule: Any, name: str, below: float = 1) -> None:
    """Refuse decay rates outside [0, 1), as many as the field declares; of schedules the first value is looked at.

    Arguments:
        below: what the numbers have to be less than.
    """
    given = getattr(rule, name)
    kind = next(str(field.type) for field in dataclasses.fields(rule) if field.name == name)
    rates = given if kind.startswith("tuple") else (given,)
    fits = isinstance(rates, (tuple, list)) and len(rates) > 0 and (kind not in _PAIRS or len(rates) == 2)
    rates = [first_value(rate) for rate in rates] if fits else []
    if not fits or not all(is_number(rate) and 0 <= rate < below for rate in rates):
        wanted = "two numbers" if kind in _PAIRS else "numbers" if kind.startswith("tuple") else "a number"
        where = "in [0, 1)" if below == 1 else "of at least 0"
        raise ValueError(f"{type(rule).__name__}: expected {name} to be {wanted} {where}, got {shown(given)}.")


def number(x: Any) -> Any:
    """A Python number for what NumPy made of Python numbers: its own would turn a float32 array into float64."""
    if isinstance(x, (np.generic, np.ndarray)) or on_gpu(x):
        return x.item()
    return x.as_number() if hasattr(x, "as_number") else x  # of what is recorded


def number_like(old: Any, x: float) -> Any:
    """A number of the state that native code gives back as a float: an integer again where it was one and is."""
    return int(x) if isinstance(old, int) and float(x).is_integer() else x


def plain(x: Any) -> Any:
    """A rule with Python numbers for NumPy's, which would promote float32, and which a file would not give back."""
    if isinstance(x, np.generic) or (isinstance(x, np.ndarray) and x.shape == ()):
        return x.item()
    if isinstance(x, (tuple, list)):
        return rebuild(x if isinstance(x, tuple) else (), [plain(item) for item in x])
    lists = () if isinstance(x, Rule) else (list,)  # a user's rule may go on writing into its own
    changed = {name: plain(value) for name, value in fields(x).items() if not isinstance(value, lists)}
    return with_fields(x, changed)


def fields(rule: Any) -> dict[str, Any]:
    """The hyperparameters of a rule, by name."""
    declared = dataclasses.fields(rule) if dataclasses.is_dataclass(rule) and not isinstance(rule, type) else ()
    return {field.name: getattr(rule, field.name) for field in declared}


def with_fields(rule: Any, values: dict[str, Any]) -> Any:
    """A rule with others in the place of its hyperparameters, if they are others; nothing checks them."""
    if all(getattr(rule, name) is value for name, value in values.items()):
        return rule
    new = copy.copy(rule)
    for name, value in values.items():
        object.__setattr__(new, name, value)
    return new


def remembered(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of a rule that remembers what it gave for the rules seen last: it is asked in every compiled call."""
    seen: dict[int, tuple[Any, Any]] = {}

    @functools.wraps(f)
    def known(rule: Any) -> Any:
        before, result = seen.get(id(rule), (None, None))
        if before is not rule:
            result = f(rule)
            if len(seen) > 100:
                seen.clear()
            seen[id(rule)] = rule, result
        return result

    return known


def inner_rules(rule: Any) -> list[Any]:
    """The rules that a rule is made of: those of a chain."""
    values = fields(rule).values()
    return [part for value in values for part in (value if isinstance(value, tuple) else (value,)) if is_rule(part)]


def kind_of(rule: Any) -> str:
    """What kind of rule it is, without its numbers: OptimiserChain(ClipNorm, Adam)."""
    inside = ", ".join(map(kind_of, inner_rules(rule)))
    return f"{type(rule).__name__}({inside})" if inside else type(rule).__name__
