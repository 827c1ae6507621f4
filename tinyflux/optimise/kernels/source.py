"""From a rule, or a chain of rules, to the CUDA source of its kernel, and to the numbers that the kernel takes."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import adam, adaptive, averages, modifiers, momentum
from ..rule import fields

FOLDER = Path(__file__).parent
TYPES = {"float32": "float", "float64": "double"}  # by the name of NumPy's dtype

# The rules that have a kernel, and the file it is in; the struct there has the name of the rule.
FILES: dict[type, str] = {
    kind: name.lower()
    for module in (adam, adaptive, averages, modifiers, momentum)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and (FOLDER / f"{name.lower()}.cu").exists()
}

# What a rule has apart from hyperparameters is the parameter of its template: its form, an option, how many velocities.
OPTIONS: dict[type, Callable[[Any], str]] = {
    adam.AdamW: lambda rule: "true" if rule.couple else "false",
    adam.NAdam: lambda rule: "false" if rule.psi is None else "true",
    adaptive.RMSProp: lambda rule: "true" if rule.centred else "false",
    adam.AMSGrad: lambda rule: rule.form.upper(),
    adam.Padam: lambda rule: rule.form.upper(),
    momentum.AggMo: lambda rule: str(len(rule.beta)),
    momentum.Momentum: lambda rule: rule.form.upper(),
}

_SOURCE = """using T = {type};
{texts}
using Stepped = Chain<{rules}>;
static_assert(Stepped::ARRAYS == {arrays} && Stepped::RATES == {rates} && Stepped::NUMBERS == {numbers});

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS<Stepped>)
step(T* x, {parameters}const T* const* gradients, const long long* starts, int count, const double* rates,
     double* numbers, unsigned* ticket, const T* loss, T* losses, int place, unsigned* stopped) {{
    if (!admitted(loss, losses, place, stopped)) return;
    T* const state[] = {{{names}}};
    step_all<Stepped>(x, state, gradients, starts, count, rates, numbers, ticket);
}}
"""


def parts(rule: Any) -> list[Any]:
    """The rules that a rule does one after another; none where one of them has no kernel."""
    if type(rule) is modifiers.OptimiserChain:
        inside = [parts(inner) for inner in rule.rules]
        return [part for each in inside for part in each] if all(inside) else []
    return [rule] if type(rule) in FILES else []


def rates_of(rules: list[Any]) -> list[float]:
    """The hyperparameters of rules in the order of their fields, options left out; NaN stands for None."""
    flat: list[float] = []
    for rule in rules:
        for value in fields(rule).values():
            for x in value if isinstance(value, (tuple, list)) else (value,):
                if not isinstance(x, (bool, str)):
                    flat.append(math.nan if x is None else float(x))
    return flat


def source_of(rules: list[Any], dtype: str, arrays: int, numbers: int, scheduled: bool = False) -> str:
    """The source of a kernel named `step`.

    Arguments:
        rules: what the kernel does, one after another.
        dtype: "float32" or "float64".
        arrays, numbers: how many arrays and numbers the state of these rules has.
        scheduled: whether the last of the numbers counts the steps, for schedules.
    """
    files = dict.fromkeys(f"{FILES[type(rule)]}.cu" for rule in rules)
    names = [f"s{i}" for i in range(arrays)]
    return _SOURCE.format(
        type=TYPES[dtype],
        texts="\n".join(_text(name) for name in ("rule.cuh", *files, "step.cuh")),
        rules=", ".join([*map(_struct, rules), *["Steps"] * scheduled]),
        arrays=arrays,
        rates=len(rates_of(rules)),
        numbers=numbers,
        parameters="".join(f"T* {name}, " for name in names),
        names=", ".join(names) or "nullptr",
    )


def _struct(rule: Any) -> str:
    """The rule's type in C++."""
    kind = type(rule)
    return f"{kind.__name__}<{OPTIONS[kind](rule)}>" if kind in OPTIONS else kind.__name__


@functools.cache
def _text(name: str) -> str:
    """A file without its comments: CuPy writes the source to disk, where not every locale has their letters."""
    return re.sub(r" *//.*", "", (FOLDER / name).read_text(encoding="utf-8"))
