"""A rule's step as native code, for blocks of large parameters, and as CUDA: see `optimise.kernels`."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..compile.backends.c.library import Library, address
from ..compile.backends.c.source import Source
from ..compile.backends.cuda.kernels import scalar_header
from ..compile.ir.functions import c_literal, c_type, call_expression
from ..compile.ir.node import Node
from ..compile.ir.program import Recording, literal_value, reachable
from ..compile.schedule.fuse import Result, make_schedule
from ..compile.trace.symbolic import Symbolic, check_dtype, node_of
from ..errors import CompilationFailed, CompilerNotFound, NotCompilable
from ..optimise.hyperparameters import constants, floats, with_numbers
from ..optimise.kernels.source import Statements
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
            results = _record(recording, rule, arrays, numbers, dtype, size)[: arrays + 1]
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


def _record(recording: Recording, rule: Any, arrays: int, numbers: int, dtype: DType, size: int) -> list[Result]:
    """What becomes of x, and of the arrays and numbers of the state.

    The inputs are x and the gradient, the arrays of the state, the numbers of the rule, and those of the state.
    """
    x, g, *state = [Symbolic(recording.input((size,), check_dtype(dtype))) for _ in range(arrays + 2)]
    rates = [Symbolic(recording.input((), np.float64, weak=True)) for _ in floats(rule)]
    own = [Symbolic(recording.input((), np.float64, weak=True)) for _ in range(numbers)]
    after, new = stepped(with_numbers(rule, iter(rates)), (*state, *own), x, g)
    if recording.captured:
        raise NotCompilable("an array among the hyperparameters of a rule is left to NumPy.")
    return [overwriting(old.node, node_of(now)) for old, now in zip((x, *state, *own), (new, *after))]


def cuda_step(rule: Rule, arrays: int, numbers: int, dtype: DType) -> Statements:
    """A rule's step of one element in CUDA; `arrays` and `numbers` are how many of them its state has."""
    key = repr(constants(rule)), dtype, arrays, numbers
    if key not in _written:
        with Recording() as recording:
            x, *others = [r.node for r in _record(recording, rule, arrays, numbers, dtype, 2)]
        state, own = others[:arrays], others[arrays:]
        rates = len(recording.inputs) - 2 - arrays - numbers
        given = ["x", "g", *[f"s[{k}]" for k in range(arrays)], *[f"rates[{k}]" for k in range(rates)]]
        names = dict(zip(recording.inputs, [*given, *[f"numbers[{k}]" for k in range(numbers)]]))
        before, step, values = _statements([*state, x], names)
        step += [f"s[{k}] = {value};" for k, value in enumerate(values[:-1])] + [f"return {values[-1]};"]
        moving, _, values = _statements(own, names)
        moving += [f"numbers[{k}] = {value};" for k, value in enumerate(values)]
        _written[key] = Statements(scalar_header(), before, step, moving)
    return _written[key]


_written: dict[Any, Statements] = {}


def _statements(ends: Sequence[Node], inputs: dict[Node, str]) -> tuple[list[str], list[str], list[str]]:
    """Statements that are the same for all elements, those of one, and the expressions of the ends."""
    same: list[str] = []
    each: list[str] = []
    varying: set[Node] = set()
    names: dict[Node, str] = {}
    for node in reachable(ends):
        number = literal_value(node)
        if number is not None:
            names[node] = f"({c_literal(number, node.dtype)})"
            continue
        if node.ndim and (node.op == "input" or not varying.isdisjoint(node.args)):
            varying.add(node)
        if node.op == "view":
            names[node] = names[node.args[0]]
            continue
        kind = node.args[1 if node.params == "where" else 0].dtype if node.args else node.dtype
        text = inputs.get(node) or call_expression(node.params, [names[x] for x in node.args], kind, node.dtype)
        names[node] = f"v{node.number}"
        (each if node in varying else same).append(f"const {c_type(node.dtype)} {names[node]} = {text};")
    return same, each, [names[node] for node in ends]
