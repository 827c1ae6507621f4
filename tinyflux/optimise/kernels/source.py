"""From a rule, or a chain of rules, to the CUDA source of its kernel."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

from ...types import DType
from .compiler import compiler

TYPES = {"float32": "float", "float64": "double"}  # by the name of NumPy's dtype

_SOURCE = """{functions}
using T = {type};
{loop}
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS<{arrays}>)
step(T* x, {parameters}const T* const* gradients, const long long* starts, int count, const double* rates,
     double* numbers, unsigned* ticket, const T* loss, T* losses, int place, unsigned* stopped) {{
    if (!admitted(loss, losses, place, stopped)) return;
    T* const state[] = {{{names}}};
    {before}
    auto step = [&](T x, T g, T* s) {{
        {step}
    }};
    step_all<{arrays}>(x, state, gradients, starts, count, step);
    {after}
}}
"""
_AFTER = """if (is_last(ticket)) {{
        {numbers}
    }}"""


class Statements(NamedTuple):
    """A rule's step in CUDA.

    Attributes:
        functions: what is to stand before the kernel.
        before: statements that calculate, in double, what is the same for all elements, of `rates` and `numbers`.
        step: those of one element: they renew its state `s`, and return what becomes of `x` with the gradient `g`.
        numbers: those that move `numbers` on, once a step.
    """

    functions: str
    before: list[str]
    step: list[str]
    numbers: list[str]


def source_of(rule: Any, dtype: DType, arrays: int, numbers: int, scheduled: bool) -> str:
    """The source of a kernel named `step`.

    Arguments:
        rule: with numbers in the place of schedules.
        arrays, numbers: how many of them the state has.
        scheduled: whether the last of the numbers counts the steps that were made.
    """
    found = compiler().cuda_step(rule, arrays, numbers - scheduled, dtype)
    count = [f"numbers[{numbers - 1}] += 1;"] * scheduled
    names = [f"s{i}" for i in range(arrays)]
    moved = [*found.numbers, *count]
    return _SOURCE.format(
        functions=found.functions,
        type=TYPES[dtype.name],
        loop=_loop(),
        arrays=arrays,
        parameters="".join(f"T* {name}, " for name in names),
        names=", ".join(names) or "nullptr",
        before="\n    ".join(found.before),
        step="\n        ".join(found.step),
        after=_AFTER.format(numbers="\n        ".join(moved)) if moved else "",
    )


@functools.cache
def _loop() -> str:
    """step.cuh without its comments: CuPy writes the source to disk, where not every locale has their letters."""
    return re.sub(r" *//.*", "", (Path(__file__).parent / "step.cuh").read_text(encoding="utf-8"))
