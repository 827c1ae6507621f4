"""The tape: what NumPy was asked to do with tracked arrays, and the sweep back over it.

While a gradient is being taken, arrays travel in boxes (`Tracked`). NumPy hands every operation on a box to `apply`,
which runs it on the arrays inside and writes a record on the tape. The sweep reads the records backwards.

Gradients nest: each has its own tape, and a box holds the value of the next outer level, which may be a box
again. `apply` always opens the boxes of the innermost (youngest) tape first; what it then calls on their contents is
plain NumPy, and so is recorded by the outer tapes in turn. Pullbacks are NumPy expressions too: the same holds for
them.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays import MOVE, MixedDevices, differ, is_array, on_gpu
from .cotangents import Pieces, fitted, warn_of_pairs
from .large import LARGE, backward, forward, is_plain
from .operands import REAL, SIMPLE, is_foreign, kept, thread
from .operators import CREATING, ArrayOperators, changes
from .table import GradientRule, by_name, compositions, constants, name_of, rule_of, rules, signature_of, unknown_option

_ages = itertools.count()


class Tape(list[Any]):
    """Records of operations, oldest first; the first ones are None and stand for the leaves.

    Attributes:
        age: tapes that were begun later have a higher one.
        ended: whether the function that is differentiated has returned.
        copies: of large arrays, by their ids, where the sweep may come at any time; else None.
        leaf_count: how many leaves there are.
    """

    __slots__ = ("age", "copies", "ended", "leaf_count")

    def __init__(self, copies: dict[int, Any] | None = None) -> None:
        self.age = next(_ages)
        self.ended = False
        self.copies = copies
        self.leaf_count = 0

    def leaf(self, value: Any) -> Any:
        """A box for an array or number with respect to which this tape will be swept; integers stay as they are."""
        if type(value) is not np.ndarray or value.dtype.kind != "f" or self.copies is not None:
            value = np.float64(value) if type(value) is float else value
            if value.dtype.kind in "cO" or (value.dtype.kind == "f" and is_foreign(value)):
                raise NotReal(value)
            if value.dtype.kind != "f":
                return value
            if self.copies is not None and not isinstance(value, ArrayOperators):
                value = value.copy()
        self.append(None)
        return Tracked(value, self, len(self) - 1)


class NotReal(TypeError):
    """An array among the arguments that can't be differentiated; `args[0]` is it."""


def is_recording() -> bool:
    """Whether a gradient is being taken in this thread; layers such as Dropout are active then."""
    return thread.depth > 0


_NO_OPTIONS: dict[str, Any] = {}


def apply(function: Any, args: Sequence[Any], kwargs: dict[str, Any] = _NO_OPTIONS) -> Any:
    """Call `function` on the arrays inside the innermost boxes among `args`, and record the call."""
    rule = rules.get(function) or rule_of(function)
    if rule is None:
        return _apply_unlisted(function, args, kwargs)
    given = args, kwargs
    if kwargs or len(args) > rule.arity:
        args, kwargs = _bind(function, rule, args, kwargs)
    tape = None
    nested = False
    links: list[tuple[int, int]] = []
    others: list[int] = []
    values = list(args)
    k = 0
    for x in args:
        cls = type(x)
        if cls is Tracked:
            if x.tape is not tape:
                if tape is not None:
                    nested = True
                    if x.tape.age < tape.age:
                        k += 1
                        continue
                    values = list(args)
                    links = []
                tape = x.tape
            links.append((k, x.index))
            values[k] = x = x.value
            if type(x) is Tracked:
                nested = True
        elif cls not in SIMPLE:
            others.append(k)
        k += 1
    if tape is not None and tape.ended:
        return apply(function, [unboxed(x) for x in given[0]], given[1])
    try:
        if kwargs or nested:
            y = rule.call(*values, **kwargs)
        elif rule.rows and getattr(values[0], "size", 0) > LARGE and is_plain(values):
            y = forward(rule.function, rule.rows, values)
        else:
            y = rule.function(*values)
    except TypeError as error:
        _refuse_mixture(values, error)
        raise
    if tape is None:
        return y
    if others:
        eager = type(y) is np.ndarray or isinstance(plain(y), (np.ndarray, np.generic)) or on_gpu(plain(y))
        for k in others:
            x = values[k]
            if type(x) in (list, tuple) and k < len(rule.pullbacks) and rule.pullbacks[k]:
                x = np.array(x)  # which NumPy made of it; the pullbacks ask for its shape
            values[k] = kept(rule.name, x, tape.copies, eager)
    tape.append((rule, links, y, values, kwargs))
    return Tracked(y, tape, len(tape) - 1)


def _bind(
    function: Any, rule: GradientRule, args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Arrays by position and options by name, however the caller wrote them; an unknown option is an error."""
    if rule.signature is not None and not rule.sequence and len(args) != rule.arity != float("inf"):
        bound = list(by_name(rule.signature, args, kwargs).items())
        args, kwargs = [x for _, x in bound[: len(rule.pullbacks)]], dict(bound[len(rule.pullbacks) :])
    elif rule.sequence and len(args) > 1:
        args, kwargs = args[:1], {**dict(zip(rule.keywords, args[1:], strict=False)), **kwargs}
    kwargs = {
        name: x for name, x in kwargs.items() if name in rule.keywords or (x is not None and x is not np._NoValue)
    }
    for name, option in kwargs.items():
        if name not in rule.keywords:
            raise unknown_option(function, name, option, rule.keywords)
        if type(option) is Tracked:
            raise TypeError(f"{name_of(function)}: no gradient flows through the option {name}; give it a plain value.")
    return (list(args[0]) if rule.sequence else args), kwargs


def _apply_unlisted(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A function without pullbacks: one written in others, one without a gradient, or an error."""
    if function in compositions:
        return compose(function, compositions[function], args, kwargs)
    if function not in constants:
        name = name_of(function)
        if changes(function):
            raise TypeError(_IN_PLACE.format(name))
        raise NotImplementedError(
            f"{name} has no gradient rule. Write it in functions that have one, or add a rule: "
            f"flux.rule({name}, lambda g, y, x: …), with the cotangent g of the result y, for each array argument."
        )
    values = [plain(x) for x in args]
    try:
        return function(*values, **{name: plain(x) for name, x in kwargs.items()})
    except TypeError as error:
        _refuse_mixture(values, error)
        raise


def _refuse_mixture(values: Sequence[Any], error: TypeError) -> None:
    """Raise MixedDevices if an operation failed because its arrays lie on different devices."""
    arrays = [plain(x) for x in values if is_array(x)]
    if differ(arrays) and not isinstance(error, MixedDevices):
        raise MixedDevices(
            f"arrays in NumPy and on the GPU can't be calculated with together. {MOVE}", arrays
        ) from error


def compose(function: Any, definition: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Call the definition of a function in others; an option that it lacks must be None."""
    try:
        return definition(*args, **kwargs)
    except TypeError:
        parameters = inspect.signature(definition).parameters
        try:
            inspect.signature(definition).bind(*args, **kwargs)
        except TypeError:
            pass
        else:
            raise
    signature = signature_of(function)
    given = by_name(signature, args, kwargs) if signature else kwargs
    for name, option in given.items():
        if name not in parameters and option is not None and option is not np._NoValue:
            raise unknown_option(
                function, name, option, [p.name for p in parameters.values() if p.default is not p.empty]
            )
    return definition(**{name: option for name, option in given.items() if name in parameters})


def plain(x: Any) -> Any:
    """The array inside all boxes; lists and tuples of boxes are opened as well."""
    while type(x) is Tracked:
        x = x.value
    if type(x) in (list, tuple):
        return type(x)(plain(item) for item in x)
    return x


def unboxed(x: Any) -> Any:
    """The value of a box whose gradient has been taken; by now it is a constant."""
    while type(x) is Tracked and x.tape.ended:
        x = x.value
    return type(x)([unboxed(item) for item in x]) if type(x) in (list, tuple) else x


def sweep(tape: Tape, output: int, cotangent: Any, keep: bool = False) -> list[Any]:
    """Carry `cotangent` of the record `output` back to the leaves.

    Arguments:
        keep: leave the records for another sweep; otherwise each is dropped as soon as it has been used.

    Returns: the cotangents of the leaves, None where none arrived.
    """
    cotangents: list[Any] = [None] * (output + 1)
    cotangents[output] = cotangent
    for i in range(output, tape.leaf_count - 1, -1):
        g = cotangents[i]
        if g is None:
            continue
        cotangents[i] = None
        if type(g) is Pieces:
            g = g.whole()
        rule, links, y, values, kwargs = tape[i]
        together = rule.together and iter(rule.together([k for k, _ in links], g, y, *values, **kwargs))
        for k, parent in links:
            pullback = together or rule.pullbacks[k]
            if pullback is None:
                continue
            x = values[k]
            if together:
                d = next(together)
                if d is None:
                    continue
            elif kwargs:
                d = pullback(g, y, *values, **kwargs)
            elif y.size > LARGE and rule.rows and is_plain((g, *values)):
                d = backward(rule, k, g, y, values)
            else:
                d = pullback(g, y, *values)
            try:
                fits = d.shape == x.shape and d.dtype is x.dtype
            except AttributeError:  # it is no array
                fits = False
            if not fits:
                if rule.function is np.subtract and len(links) == 1 and tape[parent]:
                    warn_of_pairs(tape[parent][0].name, x, values[1 - k])
                d = fitted(rule.name, k, d, x, y)
                if d is None:
                    continue
            before = cotangents[parent]
            cotangents[parent] = d if before is None else d.added_to(before) if type(d) is Pieces else before + d
        if not keep:
            tape[i] = None
    return [g.whole() if type(g) is Pieces else g for g in cotangents[: tape.leaf_count]]


class Tracked(ArrayOperators):
    """An array whose operations are recorded; it behaves as the NumPy array inside it, and cannot be changed.

    Once its gradient has been taken it is a constant: a layer outside of the model may have kept it.

    Attributes:
        value: the array (or the box of the next outer level).
        tape, index: where it is recorded.
    """

    __slots__ = ("index", "tape", "value")
    _apply = staticmethod(apply)
    _in_place = staticmethod(lambda what: TypeError(_IN_PLACE.format(what)))
    __hash__ = None  # type: ignore[assignment]  # as arrays are

    def __init__(self, value: Any, tape: Tape, index: int) -> None:
        self.value = value
        self.tape = tape
        self.index = index

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in CREATING and not any(type(x) is Tracked for x in (*args, *kwargs.values())):
            return function(*args, **kwargs, like=plain(self))
        return apply(function, args, kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        if self.tape.ended:
            return np.asarray(unboxed(self)).__array__(*args, **kwargs)
        name = _caller_in_library(sys._getframe(1))
        if name:
            raise TypeError(
                f"{name} makes plain arrays of what it is given, and the gradient would be lost. "
                f"{INSTEAD.get(name, 'Give it np.stack(list), or take functions that have a gradient rule.')}"
            )
        raise TypeError(
            "an array that is being differentiated cannot become a plain one: the gradient would be lost. Call NumPy's "
            "functions on it as it is; build arrays of such values with np.stack or np.concatenate, not np.array; "
            "return what you want to look at from the function given to flux.withgradient."
        )

    # Shape, and conversions.

    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    dtype = property(lambda self: self.value.dtype)

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __repr__(self) -> str:
        return f"Tracked({self.value!r})"

    def __format__(self, spec: str) -> str:
        return format(plain(self), spec)

    def _constant(self, conversion: str) -> Any:
        """The value, for a conversion that would lose the gradient while one is being taken."""
        if self.tape.ended:
            return unboxed(self)
        raise TypeError(_TO_NUMBER.format(conversion))

    def __float__(self) -> float:
        return float(self._constant("float"))

    def __int__(self) -> int:
        return int(self._constant("int"))

    def __complex__(self) -> complex:
        return complex(self._constant("complex"))

    __index__ = __int__

    def item(self, *args: Any) -> Any:
        return self._constant("item").item(*args)

    def tolist(self) -> Any:
        return self._constant("tolist").tolist()

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        kind = np.dtype(dtype).kind
        if kind == "c":
            raise TypeError(f"astype: complex numbers were asked for, but {REAL}")
        if kind == "f":
            return super().astype(dtype)
        return plain(self).astype(dtype)  # to integers and booleans: steps, of slope 0

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._constant("pickle").__reduce_ex__(protocol)


# Functions that are written in Python, and ask nobody.
INSTEAD = {
    "scipy's softmax": "Take flux.softmax.",
    "scipy's log_softmax": "Take flux.logsoftmax.",
    "scipy's logsumexp": "Take flux.logsumexp.",
    "scipy's polygamma": "It is the derivative of order n of scipy.special.psi: take the gradient of that.",
    "numpy's full": "Take np.broadcast_to(number, shape).",
    "numpy's vectorize": "Write its function for whole arrays, in NumPy's.",
    "numpy's AxisConcatenator": "For np.r_ and np.c_ take np.concatenate.",
    "numpy's select": "It doesn't ask its default: write np.where(condition, choice, default).",
}


def _caller_in_library(frame: Any) -> str:
    """The function of NumPy's or SciPy's, written in Python, that the user has called, or nothing."""
    name = ""
    while frame is not None and (module := frame.f_globals.get("__name__", "")).startswith(("numpy.", "scipy.")):
        owner, _, called = frame.f_code.co_qualname.rpartition(".")
        called = owner if called in ("__call__", "__getitem__", "__new__") else called
        name, frame = f"{module.partition('.')[0]}'s {called}", frame.f_back
    return name


_TO_NUMBER = (
    "{}() of an array that is being differentiated would lose the gradient. Keep it an array, and build arrays of such "
    "values with np.stack; to look at its value, print it, or return it as a second result of the function given to "
    "flux.withgradient."
)
_IN_PLACE = (
    "{} would change an array in place, and an array that is being differentiated cannot be changed. "
    "Make a new one: np.where, np.concatenate, np.stack, or x = x + …"
)
