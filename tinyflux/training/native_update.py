"""A rule's step as native code, for blocks of large parameters: see `optimise.kernels.native`."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..compile.backends.c.library import Library, address
from ..compile.backends.c.source import Source
from ..compile.ir.program import Recording
from ..compile.schedule.fuse import make_schedule
from ..compile.trace.symbolic import Symbolic, check_dtype, node_of
from ..errors import CompilationFailed, CompilerNotFound, NotCompilable
from ..optimise.hyperparameters import constants, floats, with_numbers
from ..optimise.rule import stepped
from ..types import Array, DType, Rule
from .layer_state import overwriting

_built: dict[Any, NativeStep | None] = {}  # by what the code depends on


def native_step(rule: Rule, arrays: int, numbers: int, dtype: DType, size: int) -> NativeStep | None:
    """A rule's step of blocks of `size` elements; None where it can't be compiled or there is no compiler.

    Arguments:
        arrays, numbers: how many of them the rule's state has.
    """
    key = repr(constants(rule)), dtype, size, arrays, numbers
    if key not in _built:
        _built[key] = None
        with contextlib.suppress(CompilationFailed, CompilerNotFound, NotCompilable, OSError):
            _built[key] = NativeStep(rule, arrays, numbers, dtype, size)
    return _built[key]


class NativeStep:
    """A rule's step of blocks of `size` elements, in one pass: x and the arrays of the state are changed in place."""

    def __init__(self, rule: Any, arrays: int, numbers: int, dtype: DType, size: int) -> None:
        with Recording() as recording:
            x, g, *state = [Symbolic(recording.input((size,), check_dtype(dtype))) for _ in range(arrays + 2)]
            rates = [Symbolic(recording.input((), np.float64, weak=True)) for _ in floats(rule)]
            own = [Symbolic(recording.input((), np.float64, weak=True)) for _ in range(numbers)]
            after, new = stepped(with_numbers(rule, iter(rates)), (*state, *own), x, g)
            results = [overwriting(old.node, node_of(now)) for old, now in zip((x, *state), (new, *after))]
            if recording.captured:
                raise NotCompilable("an array among the hyperparameters of a rule is left to NumPy.")
            self.source = Source(make_schedule(results, recording.trusted))
        self._library = Library(self.source)
        self.size = size

    def __call__(self, x: Array, arrays: Sequence[Array], g: Array, numbers: Array) -> None:
        """Step a block by the gradient g; `numbers` are those of the rule, then those of the state, in float64."""
        first = address(numbers)
        addresses = [*map(address, (x, g, *arrays)), *range(first, first + 8 * numbers.size, 8)]
        arena = self._library.arena()
        self._library.call((ctypes.c_void_p * len(addresses))(*addresses), address(arena))
        self._library.done(arena)
