"""flux.compile: a function written in NumPy, recorded once and run as native code."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import tree
from ..autodiff import pullback, rule
from ..autodiff.operators import ArrayOperators
from ..autodiff.tape import Tracked, plain
from ..checks import was_setting_an_element
from ..errors import NotCompilable
from .backends.c.library import Library, address, contiguous, pointers
from .backends.c.source import Source
from .guards.contents import Contents
from .guards.guards import Guards, Snapshot
from .ir.program import Node, Recording, needed, written
from .schedule.fuse import Result, planned
from .trace.draws import no_draws
from .trace.results import check_result, renewed
from .trace.symbolic import ON_GPU, Symbolic, supported


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
        self._guards = Guards()
        self._variants: dict[Any, _Variant] = {}
        self._rules: dict[Any, _Differentiable] = {}
        functools.update_wrapper(self, f, updated=())
        self.__wrapped__ = f

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves: list[Any] = []
        others: list[Any] = []
        form = [signature(x, leaves, others) for x in args]
        for name, x in kwargs.items():
            form += [name, signature(x, leaves, others)]
        kinds = {type(x) for x in leaves}
        if Symbolic in kinds or (Tracked in kinds and any(type(plain(x)) is Symbolic for x in leaves)):
            return self._f(*args, **kwargs)
        surroundings = self._guards(self._f, *others)
        if surroundings.traced:
            return self._f(*args, **kwargs)
        key = (surroundings.key, *form)
        if Tracked in kinds:
            return self._tracked(key, surroundings, (args, kwargs), leaves)
        if not kinds <= _KINDS:
            _refuse(kinds - _KINDS)
        variant = self._variants.get(key)
        if variant is None or not variant.contents.same(surroundings.arrays):
            roots = (self._f, *others)
            variant = _Variant(self._f, (args, kwargs), leaves, lambda: self._guards(*roots), variant)
            self._variants[(variant.key, *form)] = self._last = variant
        return variant(leaves)

    def __repr__(self) -> str:
        return f"flux.compile({getattr(self._f, '__name__', self._f)})"

    def __reduce__(self) -> Any:
        """Pickle it by name where that name leads to it, as functions are; otherwise with the function."""
        found = sys.modules.get(getattr(self._f, "__module__", None) or "")
        for step in getattr(self._f, "__qualname__", "").split("."):
            found = getattr(found, step, None)
        return self._f.__qualname__ if found is self else (Compiled, (self._f,))

    def _tracked(self, key: Any, surroundings: Snapshot, args: Arguments, leaves: list[Any]) -> Any:
        """The call while a gradient is being taken: recorded as one operation for each array of the result."""
        function = self._rules.get(key)
        if function is None or not function.contents.same(surroundings.arrays):
            function = self._rules[key] = _Differentiable(self._f, args, leaves, surroundings)
        return function(leaves)


_KINDS = {float, np.ndarray}
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def _refuse(kinds: set[type]) -> None:
    """NotCompilable for leaves among the arguments that are no arrays of NumPy's own, and no numbers."""
    for kind in kinds:
        if hasattr(kind, "__cuda_array_interface__"):
            raise NotCompilable(ON_GPU)
        if not issubclass(kind, (np.generic, float)):
            raise NotCompilable(f"a {kind.__name__} can't be compiled; NumPy's own arrays can: np.array(x).")


def compile(f: Callable[..., Any]) -> Compiled:  # noqa: A001
    """A function written in NumPy as native code: it is recorded in its first call, and run as C from then on.

    Arguments:
        f: a function of arrays, numbers and trees of arrays (models, lists, dicts …) that returns arrays, or trees of
            them. It may take gradients. What it does must not depend on the values of arrays among its arguments.

    Returns: a function that is called like f. A call with other shapes, dtypes or constants than before compiles anew.
    It can be differentiated, and be called in other compiled functions. `print(g.program)` shows what was recorded in
    the last compilation, `print(g.source)` the C source made of it.

    Errors: NotCompilable, in a call, with the name of what can't be compiled; CompilerNotFound where there is no C
    compiler; IndexError for an index that is out of bounds.

    **What a call means.** It returns what f would return now:

    *   Numbers that are arguments, and arrays in arguments, are what the program calculates with. All else in the
        arguments is a constant of the program: another one compiles anew.
    *   What f takes from its surroundings is looked at in every call: globals, closures, defaults, attributes, items,
        functions that it calls, whatever these take, and what arrays hold. Where something differs, f is recorded
        again, and compiled if the program is another one. That takes milliseconds, or as long as the C compiler:
        what changes often, and large arrays, are better given as arguments, and so is a model.
    *   What can't be looked at makes f not compilable, by its name: random numbers, clocks, files, iterators, objects
        of classes in C that tinyflux doesn't know, containers of more than 10,000 items. So does an f that changes what
        it reads. Python itself, NumPy, SciPy and tinyflux are taken as they are.
    *   The results are new arrays, and new lists and dicts, in every call. Other effects of f, such as printing, happen
        while it is recorded only.

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
    """A function compiled for arguments of one kind, and surroundings of one kind.

    Arguments:
        look: takes a snapshot of the surroundings.
        before: the variant for other contents of the arrays in them: if the program is the same, so is the library.
    """

    def __init__(
        self, f: Any, args: Arguments, leaves: list[Any], look: Callable[[], Snapshot], before: _Variant | None
    ) -> None:
        with no_draws(look().generators):
            once = _recorded(f, args, leaves)
            surroundings = look()
            self.key, self.contents = surroundings.key, Contents(surroundings.arrays)
            recording, self.result, found = _recorded(f, args, leaves)
        refuse_change(once[0], once[2], recording, found)
        refuse_effects(surroundings, self.contents, look())
        self._captured = [array for _, array in recording.captured]
        self._outputs = [(n.shape, n.dtype, n.weak) for n in found]
        self.program = "\n".join(written(needed(found), found))
        if before is not None and before.program == self.program:
            self._library: Library = before._library
        else:
            first = len(recording.inputs)
            results = [Result(n, first + i) for i, n in enumerate(found)]
            self._library = Library(Source(planned(results), recording.trusted))
        self.source: Source = self._library.source

    def __call__(self, leaves: list[Any]) -> Any:
        arrays = [contiguous(x) for x in (*leaves, *self._captured)]
        outputs = [np.empty(shape, dtype) for shape, dtype, _ in self._outputs]
        arena = self._library.arena()
        code = self._library.call(pointers([*arrays, *outputs]), address(arena))
        self._library.done(arena)
        if code:
            kind, message = self.source.checks[code - 1]
            raise kind(message)
        return renewed(self.result, iter([_given_back(x, weak) for x, (_, _, weak) in zip(outputs, self._outputs)]))


def _recorded(f: Callable[..., Any], args: Arguments, leaves: list[Any]) -> tuple[Recording, Any, list[Node]]:
    """A recording of f, what f returned, and the nodes in it."""
    try:
        with Recording() as recording:
            result = _called(f, args, [_input(recording, x) for x in leaves])
    except ValueError as error:
        if was_setting_an_element(error) and isinstance(error.__cause__, NotCompilable):
            raise error.__cause__ from error
        raise
    check_result(result)
    found: list[Node] = []
    tree.map(lambda x: found.append(x.node) if type(x) is Symbolic else None, result)
    return recording, result, found


def refuse_effects(before: Snapshot, contents: Contents, after: Snapshot) -> None:
    """NotCompilable where recording a function has changed what it reads."""
    array = contents.changed(after.arrays) if after.key == before.key else None
    if after.traced or after.key != before.key or array is not None:
        where = after.traced or (before.difference(after) if array is None else after.path(array))
        raise NotCompilable(
            f"the function changes {where}, which it reads: "
            "run as native code it would not. Return what is new, and take it as an argument."
        )


def refuse_change(one: Recording, ends: Sequence[Node], other: Recording, other_ends: Sequence[Node]) -> None:
    """NotCompilable where a function does not do twice the same: a program would do for ever what it did once."""
    same = [*written(needed(ends))] == [*written(needed(other_ends))] and len(one.captured) == len(other.captured)
    if one.has_overwritten() or other.has_overwritten():
        raise NotCompilable(
            "an array is changed in place after the function has calculated with it, which can't be compiled. Make a "
            "new array."
        )
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


def _called(f: Callable[..., Any], args: Arguments, leaves: Sequence[Any]) -> Any:
    """What f returns for other arrays in the places of those of its arguments."""
    rest = iter(leaves)
    given = [_replaced(x, rest) for x in args[0]]
    named = {name: _replaced(x, rest) for name, x in args[1].items()}
    before = tree.leaves([given, named])
    result = f(*given, **named)
    if list(map(id, tree.leaves([given, named]))) != list(map(id, before)):
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


def signature(x: Any, leaves: list[Any], others: list[Any], inside: bool = False) -> Any:
    """What a compiled program depends on besides the values of arrays; these are gathered in `leaves`.

    A number of Python's or NumPy's is a leaf as an argument of its own, and a constant inside a tree. `others` gathers
    what is for guards to look at: functions, classes of nodes, and constants other than numbers and words.
    """
    kind = type(x)
    if tree.is_array(x) or (not inside and isinstance(x, (float, np.generic))):
        leaves.append(x)
        return (x.shape, x.dtype.str) if hasattr(x, "dtype") else float
    if kind in (bool, int, str, bytes, type(None)):
        return kind, x
    if kind is float:
        return x.hex()  # 0 is not −0, and NaN is NaN
    children = tree.children(x)
    if children and kind not in (tuple, list, dict):
        others.append(kind)
    if children:
        return (kind, *[(step, signature(child, leaves, others, True)) for step, child in children])
    others.append(x)
    return len(others)


class _Differentiable:
    """A compiled function that a gradient flows through: an operation of its own for each array of the result."""

    def __init__(self, f: Callable[..., Any], args: Arguments, leaves: list[Any], surroundings: Snapshot) -> None:
        self.contents = Contents(surroundings.arrays)
        form = tuple(tree.map(lambda _: _PLACE, x) for x in args[0])
        named = {name: tree.map(lambda _: _PLACE, x) for name, x in args[1].items()}

        def whole(*values: Any) -> Any:
            return _called(f, (form, named), values)

        def output(k: int, *values: Any) -> Any:
            return _calculated(whole(*values))[k]

        compiled = Compiled(whole)
        compiled(*[plain(x) for x in leaves])
        self._form = compiled._latest().result
        count = len(_calculated(self._form))
        self._outputs = [_differentiable(functools.partial(output, k), len(leaves)) for k in range(count)]

    def __call__(self, leaves: list[Any]) -> Any:
        return renewed(self._form, iter([output(*leaves) for output in self._outputs]))


_PLACE = np.zeros(0)  # where an argument has an array


def _calculated(result: Any) -> list[Any]:
    """The arrays in what a function returned that were calculated from its arguments."""
    return [x for x in tree.leaves(result) if isinstance(x, ArrayOperators)]


def _differentiable(f: Callable[..., Any], count: int) -> Any:
    """A function of `count` arrays that returns one, compiled, with compiled pullbacks."""

    def back(k: int, g: Any, y: Any, *values: Any) -> Any:
        slope = pullback(lambda x: f(*values[:k], x, *values[k + 1 :]), values[k])[1](g)
        return np.zeros_like(values[k]) if slope is None else slope

    return rule(Compiled(f), *[Compiled(functools.partial(back, k)) for k in range(count)])
