"""How many blocks are stepped on the CPU: in their places, shared out between cores, by native code if there is some.

Native code makes one pass over the memory for all that a rule does, and doesn't wait for the interpreter between its
operations. It needs the compiler, which is not known here: `use_compiler` is told of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import cores
from ...types import Array
from .. import subnormal
from ..hyperparameters import floats
from ..rule import stepped
from ..scheduled import Scheduled, at

NATIVE = 64  # blocks, 16 MB; from so many on, compiling the step is soon made up for

Native = Callable[[Any, Sequence[Any], Any, Any], None]  # of x, the arrays of the state, the gradient, all numbers
Compiler = Callable[[Any, int, int, Any, int], "Native | None"]

_compiler: Compiler = lambda *kind: None  # noqa: E731


def use_compiler(compiler: Compiler) -> None:
    """Have steps of large parameters compiled by a function of a rule, its counts of arrays and numbers, dtype, size.

    It returns a function that steps a block of this size in its place, or None where there is none for this rule.
    """
    global _compiler
    _compiler = compiler


class BlockwiseStep:
    """A rule of the library at work on many blocks on the CPU. It changes them before it is known that all goes well.

    Attributes:
        numbers: the numbers of the rule's state.
    """

    def __init__(self, rule: Any, numbers: tuple[Any, ...], blocks: Sequence[Any]) -> None:
        self.numbers = numbers
        self._rule = rule
        self._blocks = blocks
        self._sample = max(blocks, key=lambda block: block[0].size)

    def numbers_afterwards(self) -> tuple[Any, ...]:
        """The numbers of the state after a step, by a step of no elements."""
        x, arrays, _ = self._sample
        none = x[:0]
        state, _ = self._rule.apply((*[none for _ in arrays], *self.numbers), none, none)
        return tuple(state[len(arrays) :])

    def work(self, gradients: Sequence[Any], native: bool) -> Callable[[], Any]:
        """A function that makes a step, and hardly ever fails.

        Arguments:
            native: whether native code may be used.
        """
        rule, numbers = self._rule, self.numbers
        if isinstance(rule, Scheduled):  # a schedule may be any function
            rule, numbers = at(rule.rule, numbers[-1]), numbers[:-1]
        code = self._native(rule, numbers) if native and len(self._blocks) >= NATIVE else None
        gradients = [g if g is None else g.reshape(-1) for g in gradients]  # once: a transposed gradient is copied here
        return functools.partial(cores.share, functools.partial(_step, rule, numbers, gradients, code), self._blocks)

    def _native(self, rule: Any, own: tuple[Any, ...]) -> Callable[..., bool] | None:
        """A function that steps a block by native code where it can, and returns whether it has."""
        x, arrays, _ = self._sample
        code = _compiler(rule, len(arrays), len(own), x.dtype, x.size)
        if code is None:
            return None
        numbers = np.array([*floats(rule), *own], np.float64)
        size = x.size

        def step(x: Array, arrays: Sequence[Array], g: Array) -> bool:
            fits = x.size == size and g.dtype == x.dtype and g.flags.carray
            if fits:
                code(x, arrays, g, numbers)
            return bool(fits)

        return step


def _step(
    rule: Any,
    numbers: tuple[Any, ...],
    gradients: Sequence[Any],
    native: Callable[..., bool] | None,
    blocks: Sequence[Any],
) -> None:
    """Step some blocks; where overflows are to be errors, they are raised when all is done."""
    late: Exception | None = None
    with subnormal.flushed(bool(blocks[0][1])):
        for x, arrays, gather in blocks:
            g = gather(gradients)
            if native is not None and native(x, arrays, g):
                continue
            try:
                state, new = stepped(rule, (*arrays, *numbers), x, g)
            except (FloatingPointError, Warning) as error:
                late = error
                with np.errstate(all="ignore"):
                    state, new = stepped(rule, (*arrays, *numbers), x, g)
            for old, value in zip((*arrays, x), (*state[: len(arrays)], new)):
                old[...] = value
    if late is not None:
        raise late
