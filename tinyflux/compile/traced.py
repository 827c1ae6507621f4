"""flux.compile: a function written in NumPy, recorded once and run as native code."""

from __future__ import annotations

import collections
import copy
import functools
import itertools
import math
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from .. import nodes, tree
from ..arrays import on_gpu
from ..autodiff import pullback, rule
from ..autodiff.operators import ArrayOperators
from ..autodiff.tape import Tracked, plain
from ..checks import a_or_an, type_of
from ..display import careful
from ..errors import NotCompilable
from ..nn.layers.show import as_code
from ..types import Array, Tree
from .backends.c.library import Library, address, contiguous, pointers
from .backends.c.source import Source
from .guards.contents import Contents
from .guards.guards import Snapshot
from .ir.node import Node
from .ir.program import format_program, reachable
from .schedule.fuse import Result, make_schedule
from .signature import array_place, constants, first_change, signature
from .trace.programs import Inspectable, Program, Programs
from .trace.record import Trace
from .trace.symbolic import Symbolic, symbolic_input

P = ParamSpec("P")
R = TypeVar("R")


class Compiled(Inspectable, Generic[P, R]):
    """What `compile` returns: called as the function is."""

    def __init__(self, f: Callable[P, R]) -> None:
        self._f = f
        self._programs = Programs()
        self._rules = Programs(self._programs.guards)  # of calls that a gradient flows through
        functools.update_wrapper(self, f, updated=())
        self.__wrapped__ = f

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        leaves: list[Array] = []
        others: list[Any] = []
        form = [signature(x, leaves, others) for x in args]
        for name, x in kwargs.items():
            form += [name, signature(x, leaves, others)]
        kinds = {type(x) for x in leaves}
        if Symbolic in kinds or (Tracked in kinds and any(type(plain(x)) is Symbolic for x in leaves)):
            return self._f(*args, **kwargs)
        surroundings = self._programs.guards(self._f, *others)
        if surroundings.traced:
            return self._f(*args, **kwargs)
        if not kinds <= _KINDS:
            form.append(array_place([plain(x) for x in leaves]))
        key = tuple(form)
        if Tracked in kinds:
            rules = self._rules.find(key, surroundings, _Differentiable, self._f, (args, kwargs), leaves, surroundings)
            differentiable: R = rules(leaves)
            return differentiable
        result: R = self._programs.find(key, surroundings, self._compiled, (args, kwargs), leaves, others)(leaves)
        return result

    def _compiled(self, args: Arguments, leaves: list[Array], others: list[Any], before: Function | None) -> Function:
        look = functools.partial(self._programs.guards, self._f, *others)
        kind = Function
        if any(map(on_gpu, leaves)):
            from .traced_on_gpu import DeviceFunction as kind
        return kind(self._f, args, leaves, look, before)

    @careful
    def __repr__(self) -> str:
        return f"flux.compile({as_code(self._f)})"

    def __reduce__(self) -> Any:
        """Pickle it by name where that name leads to it, as functions are; otherwise with the function."""
        found: Any = sys.modules.get(getattr(self._f, "__module__", None) or "")
        for step in getattr(self._f, "__qualname__", "").split("."):
            found = getattr(found, step, None)
        return self._f.__qualname__ if found is self else (Compiled, (self._f,))


_KINDS = {float, np.ndarray, *np.sctypeDict.values()}
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def compile(f: Callable[P, R]) -> Compiled[P, R]:  # noqa: A001
    """A function written in NumPy as native code: it is recorded in its first call, and run as C from then on.

    Arguments:
        f: a function of arrays, numbers and trees of arrays (models, lists, dicts …) that returns arrays, or trees of
            them. It may take gradients. What it does must not depend on the values of arrays among its arguments.

    Returns: a function that is called like f. A call with other shapes, dtypes or constants than before compiles anew.
    It can be differentiated, and be called in other compiled functions. `print(g.program)` shows what was recorded in
    the last compilation, `print(g.source)` the source made of it: C, or CUDA where arrays in the call lie on the GPU.

    Errors: NotCompilable, in a call, with the name of what can't be compiled and the line of f that asks for it;
    CompilerNotFound where there is no C compiler; MixedDevices for arrays in NumPy and on the GPU in one call;
    IndexError for an index that is out of bounds.

    **What a call means.** A call returns what f itself would return now:

    *   The inputs of the program are all arrays in the arguments, and arguments that are floats or NumPy's numbers. A
        call with other values of these runs the same program. Everything else is fixed in the program: integers, bools,
        strings, and numbers inside lists, dicts and models. A call with another value of these compiles anew.
    *   Every call checks what f reads from its surroundings: globals, closures, defaults, attributes, items, functions
        that it calls and what these read, and the contents of arrays. If something differs, f is recorded again, which
        takes milliseconds, and compiled again if the program has changed. So pass as arguments what changes often,
        large arrays, and models.
    *   f can't be compiled if it reads what can't be checked: random numbers, clocks, files, iterators, objects of C
        classes that tinyflux doesn't know, containers of more than 10,000 items. Nor can an f that changes what it
        reads. Python itself, NumPy, SciPy and tinyflux are not checked.
    *   Every call returns new arrays, lists and dicts. Other effects of f, such as printing, happen only while it is
        recorded.

    >>> import numpy as np, tinyflux as flux
    >>> f = flux.compile(lambda x: np.sum(np.sin(x) ** 2))
    >>> f(np.array([0.0, np.pi / 2]))
    np.float64(1.0)
    >>> slope = flux.compile(lambda x: flux.gradient(lambda x: np.sum(x**3), x))
    >>> slope(np.array([1.0, 2.0]))
    array([ 3., 12.])
    """
    return Compiled(f)


class Function(Program):
    """A function compiled for arguments of one kind, and surroundings of one kind.

    Arguments:
        look: takes a snapshot of the surroundings.
        before: the program for other contents of the arrays in them: if this one is the same, so is the library.
        limit: how many nodes it may have.

    Attributes:
        captured: the arrays in its surroundings that it calculates with.
    """

    gpu = False  # whether it runs there

    def __init__(
        self, f: Callable[..., Any], args: Arguments, leaves: list[Array], look: Callable[[], Snapshot],
        before: Function | None, limit: float = math.inf,
    ) -> None:  # fmt: skip
        trace = Trace(lambda: _trace(f, args, leaves), look, self.gpu, limit)
        super().__init__(trace.surroundings, trace.contents)
        self.result, ends = trace.value, list(trace.ends)
        self.captured = trace.captured
        self._outputs = [(n.shape, n.dtype, n.weak) for n in ends]
        self.program = "\n".join(format_program(reachable(ends), ends))
        self._make(trace, ends, leaves, before)

    def _make(self, trace: Trace, ends: list[Node], leaves: list[Array], before: Function | None) -> None:
        """Compile what was recorded."""
        if before is not None and before.program == self.program:
            self._library: Library = before._library
        else:
            first = len(trace.recording.inputs)
            results = [Result(n, first + i) for i, n in enumerate(ends)]
            self._library = Library(Source(make_schedule(results, trace.recording.trusted)))
        self.source: Any = self._library.source

    def __call__(self, leaves: list[Array]) -> Any:
        outputs = self._calculate(leaves)
        found = [self._unwrap(x, weak) for x, (_, _, weak) in zip(outputs, self._outputs)]
        return _with_results(self.result, iter(found))

    def _calculate(self, leaves: list[Array]) -> list[Array]:
        """The results, in new arrays."""
        arrays = [contiguous(x) for x in (*leaves, *self.captured)]
        outputs = [np.empty(shape, dtype) for shape, dtype, _ in self._outputs]
        arena = self._library.arena()
        code = self._library.call(pointers([*arrays, *outputs]), address(arena))
        self._library.done(arena)
        if code:
            kind, message = self.source.checks[code - 1]
            raise kind(message)
        return outputs

    def _unwrap(self, x: Array, weak: bool) -> Any:
        """An array, or the number in one without axes, as NumPy has it."""
        return x.item() if weak else x[()]


def _trace(f: Callable[..., Any], args: Arguments, leaves: list[Array]) -> tuple[Any, list[Node]]:
    """What f returns for symbolic arrays, and the nodes in it."""
    result = _call_with(f, args, [symbolic_input(x) for x in leaves])
    try:
        _with_results(result, itertools.repeat(None))  # refuses what can't be given anew in every call: an iterator
    except RecursionError:
        nodes.refuse(result)
        raise
    ends: list[Node] = []
    tree.map(lambda x: ends.append(x.node) if type(x) is Symbolic else None, result)
    return result, ends


_KEPT = (
    bool, int, float, complex, str, bytes, type(None), type(...), np.generic, np.dtype, np.ufunc, range, slice, type,
    types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type(np.sum),
)  # fmt: skip
_COPIED = (set, frozenset, collections.deque, bytearray)


def _with_results(x: Tree, calculated: Iterator[Array]) -> Tree:
    """A result with the arrays that were calculated in their places, and all else that could be changed copied.

    Errors: NotCompilable for what can't be copied.
    """
    if isinstance(x, ArrayOperators):
        return next(calculated)
    if tree.is_array(x):
        return x.copy()
    if isinstance(x, _KEPT):
        return x
    kind, name = nodes.node_kind(type(x)), type(x).__name__
    if kind in (nodes.OPAQUE, nodes.CLOSED):
        if not isinstance(x, _COPIED):
            raise NotCompilable(f"{a_or_an(name)} in what a function returns can't be compiled. Return arrays.")
        for child in x:
            if not isinstance(child, _KEPT):
                raise NotCompilable(f"{type_of(child)} in {a_or_an(name)} can't be compiled. Return it in a list.")
        return copy.copy(x)
    items = [_with_results(child, calculated) for _, child in tree.children(x)]
    return nodes.rebuild(x, items if kind == nodes.SEQUENCE else dict(zip(tree.entries(x)[1], items)))


def _call_with(f: Callable[..., Any], args: Arguments, leaves: Sequence[Array]) -> Any:
    """What f returns for other arrays in the places of those of its arguments."""
    rest = iter(leaves)
    given = [_substitute(x, rest) for x in args[0]]
    named = {name: _substitute(x, rest) for name, x in args[1].items()}

    def look() -> dict[str, tuple[Any, Any]]:
        return {**dict(constants(given, "args")), **dict(constants(named, "kwargs"))}

    before, form = tree.leaves([given, named]), look()
    result = f(*given, **named)
    if list(map(id, tree.leaves([given, named]))) != list(map(id, before)):
        raise NotCompilable(
            "the function puts other arrays into its arguments, as an active Dropout does, which would be lost: return "
            "them, or compile the whole step by flux.compile_training."
        )
    change = first_change(form, look())
    if change:
        raise NotCompilable(f"the function changes its arguments, which would be lost: {change}. Return what changes.")
    return result


def _substitute(x: Tree, leaves: Iterator[Symbolic]) -> Tree:
    """An argument with symbolic arrays in the place of its arrays."""
    if isinstance(x, (float, np.generic)):
        return next(leaves)
    return tree.map(lambda _: next(leaves), x)


class _Differentiable(Program):
    """A compiled function that a gradient flows through: an operation of its own for each array of the result."""

    def __init__(
        self, f: Callable[..., Any], args: Arguments, leaves: list[Array], surroundings: Snapshot, before: Any
    ) -> None:
        super().__init__(surroundings, Contents(surroundings.arrays))
        form = tuple(tree.map(lambda _: _PLACE, x) for x in args[0])
        named = {name: tree.map(lambda _: _PLACE, x) for name, x in args[1].items()}

        def whole(*values: Array) -> Any:
            return _call_with(f, (form, named), values)

        def output(k: int, *values: Array) -> Any:
            return _array_results(whole(*values))[k]

        compiled = Compiled(whole)
        compiled(*[plain(x) for x in leaves])
        self._form = compiled._latest().result
        count = len(_array_results(self._form))
        self._outputs = [_differentiable(functools.partial(output, k), len(leaves)) for k in range(count)]

    def __call__(self, leaves: list[Array]) -> Any:
        return _with_results(self._form, iter([output(*leaves) for output in self._outputs]))


_PLACE = np.zeros(0)  # where an argument has an array


def _array_results(result: Tree) -> list[Array]:
    """The arrays in what a function returned that were calculated from its arguments."""
    return [x for x in tree.leaves(result) if isinstance(x, ArrayOperators)]


def _differentiable(f: Callable[..., Any], count: int) -> Any:
    """A function of `count` arrays that returns one, compiled, with compiled pullbacks."""

    def back(k: int, g: Array, y: Array, *values: Array) -> Any:
        slope = pullback(lambda x: f(*values[:k], x, *values[k + 1 :]), values[k])[1](g)
        return np.zeros_like(values[k]) if slope is None else slope

    return rule(Compiled(f), *[Compiled(functools.partial(back, k)) for k in range(count)])
