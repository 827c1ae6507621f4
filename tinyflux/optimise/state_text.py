"""How an optimiser's state prints: each rule once, with what its schedules are at, and the parameters that it steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..display import Line, html_table
from .plan import Leaf
from .rule import fields, inner_rules, is_rule
from .scheduled import Scheduled, at

_FEW = 8  # names; of more the first ones and the last are shown
_COLUMN = 40  # where the notes begin


def state_text(leaves: Sequence[Leaf]) -> str:
    """A state in some lines.

    >>> import tinyflux as flux
    >>> flux.setup(flux.Momentum(flux.schedules.Warmup(0.1, over=10)), flux.Dense(3, 2))
    OptimiserState(
      Momentum(eta=Warmup(value=0.1, over=10), rho=0.9, form='flux'):
        eta=0.01 after 0 steps
        .weight
        .bias
    )                                       # 8 parameters in 2 arrays
    """
    lines = []
    for rule, stepped in _by_rule(leaves).items():
        lines += [f"  {rule}:", *[f"    {line}" for line in (*_schedules_now(stepped), *_names(stepped))]]
    return "\n".join(["OptimiserState(", *lines, f"{')':{_COLUMN}}# {_contents(leaves)}"])


def state_html(leaves: Sequence[Leaf]) -> str:
    """The same as a table."""
    lines = []
    for rule, stepped in _by_rule(leaves).items():
        first, *rest = [*_schedules_now(stepped), *_names(stepped)]
        lines.append(Line([rule, first, _contents(stepped)]))
        lines += [Line(["", line, ""]) for line in rest]
    return html_table(["rule", "its parameters", "in all"], "<<<", lines)


def _by_rule(leaves: Sequence[Leaf]) -> dict[str, list[Leaf]]:
    """The leaves that each rule steps, by its text."""
    found: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        found.setdefault(repr(leaf.rule), []).append(leaf)
    return found


def _contents(leaves: Sequence[Leaf]) -> str:
    count, arrays = sum(leaf.view.size for leaf in leaves), len(leaves)
    return f"{count:,} parameter{'s' * (count != 1)} in {arrays:,} array{'s' * (arrays != 1)}"


def _names(leaves: Sequence[Leaf]) -> Iterator[str]:
    """Where the parameters stand in the model; of many the first ones and the last."""
    names = [f"{leaf.path or 'array'}{' (frozen)' * leaf.frozen}" for leaf in leaves]
    if len(names) <= _FEW:
        yield from names
        return
    left_out = leaves[_FEW - 2 : -1]
    frozen = sum(leaf.frozen for leaf in left_out)
    yield from names[: _FEW - 2]
    yield f"... {len(left_out)} more{f', {frozen} of them frozen' if frozen else ''}"
    yield names[-1]


def _schedules_now(leaves: Sequence[Leaf]) -> Iterator[str]:
    """What each schedule in the rule that the leaves share gives for the step to come, and how many steps were made."""
    rule = leaves[0].rule
    if isinstance(rule, Scheduled):
        steps = leaves[0].numbers[-1]
        values = ", ".join(f"{name}={value:.4g}" for name, value in _scheduled_values(rule.rule, at(rule.rule, steps)))
        yield f"{values} after {steps:,} step{'s' * (steps != 1)}"


def _scheduled_values(rule: Any, now: Any) -> Iterator[tuple[str, float]]:
    """The numbers that stand in `now` in the place of schedules, by the names of their fields."""
    for inner, inner_now in zip(inner_rules(rule), inner_rules(now)):
        yield from _scheduled_values(inner, inner_now)
    for name, value in fields(rule).items():
        many = isinstance(value, tuple)
        for part, part_now in zip(value if many else (value,), fields(now)[name] if many else (fields(now)[name],)):
            if part is not part_now and not is_rule(part):
                yield name, float(part_now)
