"""flux.compile: a function written in NumPy, recorded once and run as native code."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import tree
from ..arrays import on_gpu
from ..autodiff import pullback, rule
from ..autodiff.operators import ArrayOperators
from ..autodiff.tape import Tracked, plain
from .library import Library, address, contiguous, pointers
from .program import Node, Recording, needed, written
from .schedule import Result, planned
from .source import Source
from .surroundings import generators_kept, watched
from .symbolic import ON_GPU, NotCompilable, Symbolic, supported


class Shown:
    """Something compiled, of which the latest program can be looked at.

    Attributes:
        program: what was recorded in the last new kind of call, as text: print it.
        source: the C source that was made of it.
    """

    _last: Any = None

    @property
    def program(self) -> str:
        return self._latest().program

    @property
    def source(self) -> str:
        return self._latest().source.text

    def _latest(self) -> Any:
        if self._last is None:
            raise ValueError(f"{self!r} was not called yet; what is compiled depends on what it is called with.")
        return self._last


class Compiled(Shown):
    """What `compile` returns: called as the function is."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self._f = f
        self._constants = watched(f)
        self._variants: dict[Any, _Variant] = {}
        self._rules: dict[Any, Any] = {}
        functools.update_wrapper(self, f, updated=())

    def __call__(self, *args: Any) -> Any:
        leaves: list[Any] = []
        key = (self._constants(), *[signature(x, leaves) for x in args])
        kinds = {type(x) for x in leaves}
        if Symbolic in kinds:
            return self._f(*args)
        if Tracked in kinds:
            return self._tracked(key, args, leaves)
        if any(map(on_gpu, kinds)):
            raise NotCompilable(ON_GPU)
        variant = self._variants.get(key)
        if variant is None or variant.outdated():
            variant = self._last = self._variants[key] = _Variant(self._f, self._constants, args, leaves)
        return variant(leaves)

    def __repr__(self) -> str:
        return f"flux.compile({getattr(self._f, '__name__', self._f)})"

    def _tracked(self, key: Any, args: tuple[Any, ...], leaves: list[Any]) -> Any:
        """The call while a gradient is being taken: recorded as one operation for each array of the result."""
        if key not in self._rules:
            self._rules[key] = _Differentiable(self._f, args, leaves)
        return self._rules[key](leaves)


def compile(f: Callable[..., Any]) -> Compiled:  # noqa: A001
    """A function written in NumPy as native code: it is recorded in its first call, and run as C from then on.

    Arguments:
        f: a function of arrays, numbers and trees of arrays (models, lists, dicts …) that returns arrays, or trees of
            them. It may take gradients. What it does must not depend on the values of arrays; Python's integers,
            strings and the like in its arguments are taken as constants.

    Returns: a function that is called like f. A call with other shapes, dtypes or constants than before compiles anew.
    It can be differentiated, and be called in other compiled functions. `print(g.program)` shows what was recorded in
    the last compilation, `print(g.source)` the C source made of it.

    Errors: NotCompilable, in a call, with the name of an operation that can't be compiled; CompilerNotFound where there
    is no C compiler; IndexError for an index that is out of bounds.

    Arrays that f takes from its surroundings are read anew in every call, where they were when f was recorded; but what
    is calculated of such arrays alone stays as it was then. A model is better given as an argument.

    >>> import numpy as np, tinyflux as flux
    >>> f = flux.compile(lambda x: np.sum(np.sin(x) ** 2))
    >>> f(np.array([0.0, np.pi / 2]))
    np.float64(1.0)
    >>> slope = flux.compile(lambda x: flux.gradient(lambda x: np.sum(x**3), x))
    >>> slope(np.array([1.0, 2.0]))
    array([ 3., 12.])
    """
    return Compiled(f)


class _Variant:
    """A function compiled for arguments of one kind."""

    def __init__(self, f: Callable[..., Any], surroundings: watched, args: tuple[Any, ...], leaves: list[Any]) -> None:
        with generators_kept(surroundings, args):
            once = _recorded(f, args, leaves)
            recording, self.result, found = _recorded(f, args, leaves)
        refuse_change(once[0], once[2], recording, found)
        self._captured = [array for _, array in recording.captured]
        self._frozen = recording.frozen
        self._outputs = [(n.shape, n.dtype, n.weak) for n in found]
        first = len(recording.inputs)
        self.program = "\n".join(written(needed(found), found))
        self.source = Source(planned([Result(n, first + i) for i, n in enumerate(found)]), recording.trusted)
        self._library = Library(self.source)

    def outdated(self) -> bool:
        """Whether a mask that the function was recorded with is another one now."""
        return any(not np.array_equal(array, copy) for array, copy in self._frozen)

    def __call__(self, leaves: list[Any]) -> Any:
        arrays = [contiguous(x) for x in (*leaves, *self._captured)]
        outputs = [np.empty(shape, dtype) for shape, dtype, _ in self._outputs]
        arena = self._library.arena()
        code = self._library.call(pointers([*arrays, *outputs]), address(arena))
        self._library.done(arena)
        if code:
            kind, message = self.source.checks[code - 1]
            raise kind(message)
        results = iter([_given_back(x, weak) for x, (_, _, weak) in zip(outputs, self._outputs)])
        return tree.map(lambda x: next(results) if type(x) is Symbolic else x, self.result)


def _recorded(f: Callable[..., Any], args: tuple[Any, ...], leaves: list[Any]) -> tuple[Recording, Any, list[Node]]:
    """A recording of f, what f returned, and the nodes in it."""
    with Recording() as recording:
        result = _called(f, args, [_input(recording, x) for x in leaves])
    found: list[Node] = []
    tree.map(lambda x: found.append(x.node) if type(x) is Symbolic else None, result)
    return recording, result, found


def refuse_change(one: Recording, ends: Sequence[Node], other: Recording, other_ends: Sequence[Node]) -> None:
    """NotCompilable where a function does not do twice the same: a program would do for ever what it did once."""
    same = [*written(needed(ends))] == [*written(needed(other_ends))] and len(one.captured) == len(other.captured)
    for (_, a), (_, b) in zip(one.captured, other.captured):
        same = same and (a is b or (a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")))
    if not same:
        raise NotCompilable(
            "the function is not the same in two calls: it draws random numbers, or counts, which can't be compiled. "
            "Draw them beforehand and give them as arguments or data; an active Dropout belongs into the model that "
            "flux.compile_training is given."
        )


def _given_back(x: Any, weak: bool) -> Any:
    """An array, or the number in one without axes, as NumPy has it."""
    return x.item() if weak else x[()]


def _input(recording: Recording, x: Any) -> Symbolic:
    if type(x) is float:
        return Symbolic(recording.input((), np.float64, weak=True))
    return Symbolic(recording.input(x.shape, supported(x.dtype)))


def _called(f: Callable[..., Any], args: tuple[Any, ...], leaves: Sequence[Any]) -> Any:
    """What f returns for other arrays in the places of those of its arguments."""
    rest = iter(leaves)
    given = [_replaced(x, rest) for x in args]
    before = tree.leaves(given)
    result = f(*given)
    if list(map(id, tree.leaves(given))) != list(map(id, before)):
        raise NotCompilable(
            "the function puts other arrays into its arguments, as an active Dropout does, which would be lost: return "
            "them, or compile the whole step by flux.compile_training."
        )
    return result


def _replaced(x: Any, leaves: Iterator[Symbolic]) -> Any:
    """An argument with symbolic arrays in the place of its arrays."""
    if isinstance(x, (float, np.generic)):
        return next(leaves)
    return tree.map(lambda _: next(leaves), x)


def signature(x: Any, leaves: list[Any], inside: bool = False) -> Any:
    """What a compiled program depends on besides the values of arrays; these are gathered in `leaves`.

    A number of Python's or NumPy's is a leaf as an argument of its own, and a constant inside a tree.
    """
    if tree.is_array(x) or (not inside and isinstance(x, (float, np.generic))):
        leaves.append(x)
        return (x.shape, x.dtype.str) if hasattr(x, "dtype") else float
    children = tree.children(x)
    if children or not isinstance(x, Hashable):
        return (type(x), *[(step, signature(child, leaves, True)) for step, child in children])
    return type(x), x


class _Differentiable:
    """A compiled function that a gradient flows through: an operation of its own for each array of the result."""

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], leaves: list[Any]) -> None:
        def whole(*values: Any) -> Any:
            return _called(f, args, values)

        def output(k: int, *values: Any) -> Any:
            return _calculated(whole(*values))[k]

        compiled = Compiled(whole)
        compiled(*[plain(x) for x in leaves])
        self._form = compiled._latest().result
        count = len(_calculated(self._form))
        self._outputs = [_differentiable(functools.partial(output, k), len(leaves)) for k in range(count)]

    def __call__(self, leaves: list[Any]) -> Any:
        results = iter([output(*leaves) for output in self._outputs])
        return tree.map(lambda x: next(results) if isinstance(x, ArrayOperators) else x, self._form)


def _calculated(result: Any) -> list[Any]:
    """The arrays in what a function returned that were calculated from its arguments."""
    return [x for x in tree.leaves(result) if isinstance(x, ArrayOperators)]


def _differentiable(f: Callable[..., Any], count: int) -> Any:
    """A function of `count` arrays that returns one, compiled, with compiled pullbacks."""

    def back(k: int, g: Any, y: Any, *values: Any) -> Any:
        slope = pullback(lambda x: f(*values[:k], x, *values[k + 1 :]), values[k])[1](g)
        return np.zeros_like(values[k]) if slope is None else slope

    return rule(Compiled(f), *[Compiled(functools.partial(back, k)) for k in range(count)])
