"""gradient, withgradient, pullback."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

import numpy as np

from .. import tree
from ..arrays import MOVE, MixedDevices, device_of, is_array, on_gpu
from ..checks import RETURN, shown, type_of, was_setting_an_element, without_call
from ..elsewhere import no_attribute
from ..nodes import Slopes, branches
from .operands import REAL, foreign, is_foreign, thread
from .state import Undo, keep_state, opened
from .tape import NotReal, Tape, Tracked, plain, sweep

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
Value = TypeVar("Value")


def pullback(f: Callable[..., Value], *args: Any) -> tuple[Value, Callable[[Any], Any]]:
    """Evaluate `f(*args)` and keep the way back: y = f(x), g ↦ gᵀ ∂y/∂x.

    Arguments:
        f: a function written in NumPy, of arrays or trees (models, lists, dicts …), that returns an array.
        args: what it is evaluated at and differentiated for: real floating-point arrays, Python floats, or trees of
            arrays.

    Returns: (y, back). `back(cotangent)` takes a cotangent of y's shape and returns the gradient for the argument, or a
    tuple of them for several. Each has the shape of its argument, with None where f doesn't depend on an array. `back`
    may be called many times, and also after the arrays have changed: it holds copies of what it needs.

    Errors: TypeError for an argument of integers or complex numbers or without any floating-point array, and where f
    returns something else than an array; ValueError for a cotangent of another shape.

    >>> import numpy as np, tinyflux as flux
    >>> y, back = flux.pullback(lambda x: x ** 2, np.array([1.0, 2.0]))
    >>> y, back(np.array([1.0, 10.0]))
    (array([1., 4.]), array([ 2., 40.]))
    >>> x = np.array([1.0, 2.0])
    >>> y, back = flux.pullback(lambda x: x ** 2, x)
    >>> x[:] = 0
    >>> back(np.ones(2))
    array([2., 4.])
    """
    return recorded_pullback(f, args, Tape(copies={}))


def recorded_pullback(f: Callable[..., Any], args: tuple[Any, ...], tape: Tape) -> tuple[Any, Callable[[Any], Any]]:
    """`pullback` without copies of the arguments, which must not change."""
    recorded: tuple[Any, Callable[[Any], Any]] = _recorded("pullback", f, args, tape, _with_way_back, None)
    return recorded


def _with_way_back(tape: Tape, boxes: list[Any], y: Any) -> tuple[Any, Callable[[Any], Any]]:
    value = opened(y, tape)
    if not is_array(value) and not isinstance(value, (np.generic, float, complex)):
        got, fix = type_of(value), ""
        if value is None:
            got, fix = "None", RETURN
        elif isinstance(value, (list, tuple)):
            fix = " Join its parts by np.stack."
        raise TypeError(f"pullback: expected f to return an array, got {got}.{fix}")
    _refuse_complex("pullback: f returned", value)
    one = np.ones_like(value)

    def back(cotangent: Any) -> Any:
        if is_foreign(cotangent):
            raise TypeError(f"back: {foreign(type(cotangent))}")
        if np.shape(cotangent) != np.shape(one):
            raise ValueError(f"back: expected a cotangent of shape {np.shape(one)}, got {np.shape(cotangent)}.")
        _refuse_complex("back: got", cotangent)
        return _gradients(tape, y, cotangent * one, boxes, keep=True)

    return value if tape.copies is None or type(value) is not np.ndarray else value.copy(), back


@overload
def withgradient(f: Callable[..., Value], a: A, /) -> tuple[Value, A]: ...
@overload
def withgradient(f: Callable[..., Value], a: A, b: B, /) -> tuple[Value, tuple[A, B]]: ...
@overload
def withgradient(f: Callable[..., Value], a: A, b: B, c: C, /) -> tuple[Value, tuple[A, B, C]]: ...
@overload
def withgradient(f: Callable[..., Value], *args: Any) -> tuple[Value, Any]: ...
def withgradient(f: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """The value of a scalar function together with its gradient.

    Arguments: as for `gradient`; f may return a tuple (loss, further results …): the first is differentiated.

    Returns: (value, gradient), where value is all that f returned, as plain arrays.

    Errors: as for `gradient`.

    >>> import numpy as np, tinyflux as flux
    >>> flux.withgradient(lambda x: (np.sum(x ** 2), x + 1), np.array([3.0]))
    ((np.float64(9.0), array([4.])), array([6.]))
    """
    return evaluated(f, args, None)


def evaluated(f: Callable[..., Any], args: tuple[Any, ...], undo: Undo) -> tuple[Any, Any]:
    """`withgradient(f, *args)`, which also notes how to put the state of layers back.

    Arguments:
        undo: an empty list, or None. Before f is called it is filled with calls for `interrupts.commit`.
    """
    recorded: tuple[Any, Any] = _recorded("gradient", f, args, Tape(), _with_gradient, undo)
    return recorded


def _with_gradient(tape: Tape, boxes: list[Any], result: Any) -> tuple[Any, Any]:
    value = opened(result, tape)
    loss, scalar = (result[0], value[0]) if type(result) is tuple else (result, value)
    other = isinstance(loss, (list, tuple, dict, str, type(None)))
    shape = () if other else scalar.shape if hasattr(scalar, "shape") else np.shape(scalar)
    if other or shape != ():
        got = shown(loss) if other else f"an array of shape {shape}"
        fix = " Reduce it, with np.sum or np.mean; for all derivatives of an array use flux.jacobian."
        raise ValueError(f"gradient: expected f to return a scalar, got {got}.{RETURN if loss is None else fix}")
    if isinstance(scalar, np.floating):
        one: Any = type(scalar)(1)
    else:
        _refuse_complex("gradient: f returned", scalar)
        one = np.ones_like(scalar)
    return value, _gradients(tape, loss, one, boxes, keep=False)


def _refuse_complex(what: str, x: Any) -> None:
    if isinstance(x, complex) or getattr(getattr(x, "dtype", None), "kind", "") == "c":
        raise TypeError(f"{what} {getattr(x, 'dtype', 'complex')} numbers, but {REAL}")


@overload
def gradient(f: Callable[..., Any], a: A, /) -> A: ...
@overload
def gradient(f: Callable[..., Any], a: A, b: B, /) -> tuple[A, B]: ...
@overload
def gradient(f: Callable[..., Any], a: A, b: B, c: C, /) -> tuple[A, B, C]: ...
@overload
def gradient(f: Callable[..., Any], *args: Any) -> Any: ...
def gradient(f: Callable[..., Any], *args: Any) -> Any:
    """The gradient of a scalar function written in NumPy: ∂f/∂x for every array of every argument.

    Arguments:
        f: returns a scalar, computed with NumPy functions and operators that have a rule (see `rule`).
        args: real floating-point arrays, Python floats, or trees of arrays: models, lists, dicts.

    Returns: for one argument its gradient, for several a tuple. A gradient has the shape of its argument: an array for
    an array, a tree for a tree. None stands for an array that f does not depend on, and for integers, booleans and
    buffers. The gradient of a model prints as the model, with the norm of each layer's part; so does a part of it.

    Floats in lists, tuples and dicts are differentiated like arrays. Floats in an object's attributes, such as the p of
    a Dropout, and in the lists and dicts that it holds, are its configuration: in the gradient they are None.
    Functions, strings, and an object's integers stay in the gradient as they are.

    What f assigns to an attribute, such as a counter, is there afterwards, as always in Python. An array that is being
    differentiated can't be replaced in this way.

    Complex numbers and arrays of other classes than NumPy's own (masked arrays, np.matrix) are an error wherever f
    meets them. A cast to integers or booleans passes no gradient. A copy of a model, as by copy.deepcopy, is
    differentiated like the model.

    The gradient belongs to the values that f used, even if f changes arrays in place later. So f's own small arrays are
    copied when they are used. Large ones (above 256 elements) are read-only until the gradient has been taken: NumPy
    then refuses to change them. CuPy's arrays have no such flag, and the arguments' own arrays are not watched: f must
    not change these.

    Errors: ValueError for a loss that is no scalar; TypeError for an argument of integers or complex numbers, or
    without any floating-point array; NotImplementedError, with the remedy, for an operation without a rule;
    MixedDevices where arrays in NumPy and on the GPU meet.

    At a kink the slope is a convention. |x| has slope 0 at 0, as have a norm, std and hypot at the origin (their second
    derivatives there are NaN). Elements that are equally large share the gradient of their maximum. clip passes the
    gradient at its bounds.

    >>> import numpy as np, tinyflux as flux
    >>> flux.gradient(lambda x: np.sum(np.sin(x) ** 2), np.array([0.0, np.pi / 4]))
    array([0., 1.])
    >>> flux.gradient(lambda p, x: np.sum(p["w"] * x), {"w": np.ones(2), "b": np.ones(1)}, np.array([1.0, 2.0]))
    ({'w': array([1., 2.]), 'b': None}, array([1., 1.]))
    >>> flux.gradient(lambda p: np.sum(p["w"]) * p["b"], {"w": np.ones(2), "b": 0.5, "n": 3})
    {'w': array([0.5, 0.5]), 'b': np.float64(2.0), 'n': None}
    >>> def f(x, buffer=np.ones(1000)):
    ...     y = np.sum(x * buffer)
    ...     buffer[:] = 2  # what flows back to x is the buffer as it was
    ...     return y
    >>> try:
    ...     flux.gradient(f, np.ones(1000))
    ... except ValueError as error:
    ...     print(error)
    assignment destination is read-only
    """
    return withgradient(f, *args)[1]


_unlock = operator.methodcaller("setflags", write=True)
READ_ONLY = (
    "While a gradient is being taken, large arrays that the function has calculated with are read-only: the way back "
    "looks at them again. Put the new values into another array, x = x + 1, or calculate with a copy, x.copy()."
)


def _recorded(
    caller: str,
    f: Callable[..., Any],
    args: tuple[Any, ...],
    tape: Tape,
    finish: Callable[[Tape, list[Any], Any], Any],
    undo: Undo,
) -> Any:
    """Evaluate f at the arguments in boxes, and `finish` with what it returned.

    No function is called where the thread's state is put back: Ctrl-C can't come in between.
    """
    within, thread.busy = thread.busy, True
    try:
        boxes, stateful = _boxed(args, tape)
        if undo is not None:
            for _, inside, own, before in stateful:
                if own is inside:
                    undo += [(inside.clear,), (tree.filler(inside), before)]
        y = _called(caller, f, boxes, tape, stateful, undo)
        return finish(tape, boxes, y)
    finally:
        thread.busy = within
        if not within and thread.locked:
            locked, thread.locked = thread.locked, {}
            list(map(_unlock, locked.values()))


def _boxed(args: tuple[Any, ...], tape: Tape) -> tuple[list[Any], tree.Stateful]:
    """The arguments with boxes in the place of what is differentiated, and what f may change in them."""
    if not args:
        raise TypeError("gradient: expected f and its arguments, got f alone. Write lambda x: flux.gradient(f, x).")
    boxes = []
    stateful: tree.Stateful = []
    for i, x in enumerate(args):
        before = len(tape)
        try:
            box, nodes = tree.map_differentiated(tape.leaf, x)
        except NotReal as error:
            path = next(path for path, array in tree.walk(x) if array is error.args[0])
            raise TypeError(_undifferentiable(f"argument {i}{path}", error.args[0])) from None
        boxes.append(box)
        stateful += nodes
        if len(tape) == before:
            raise TypeError(_undifferentiable(f"argument {i}", x))
    tape.leaf_count = len(tape)
    return boxes, stateful


def _called(
    caller: str, f: Callable[..., Any], boxes: list[Any], tape: Tape, stateful: tree.Stateful, undo: Undo
) -> Any:
    """`f(*boxes)`; where arrays of two devices meet in it, the error names the parameter."""
    depth = thread.depth
    try:
        thread.depth = depth + 1
        y = f(*boxes)
    except MixedDevices as error:
        if error.arrays:
            error.args = (f"{caller}: {_meeting(error.arrays, boxes)}. {MOVE}",)
            error.arrays = ()
        raise
    except AttributeError as error:
        if type(error.obj) is Tracked:
            error.args = no_attribute("an array that is being differentiated", str(error.name)).args
        raise
    except TypeError as error:
        if not callable(f):
            raise TypeError(f"{caller}: expected a function, got {shown(f)}. Write lambda m: loss(m, x, y).") from None
        if str(error).endswith("object is not callable"):
            nodes = [node for box in boxes for _, node in branches(box) if not callable(node)]
            for fix in {without_call(node) for node in nodes if f"'{type(node).__name__}'" in str(error)} - {""}:
                error.add_note(fix[1:])
        raise
    except ValueError as error:
        if was_setting_an_element(error) and "being differentiated" in str(error.__cause__):
            error.args = (f"{caller}: {_ELEMENT}",)
        if thread.locked and ("read-only" in str(error) or "writable" in str(error)):
            error.add_note(READ_ONLY)
        raise
    finally:
        thread.depth = depth
        tape.ended = True
        refused = keep_state(stateful, tape, undo)
    if refused:
        raise ValueError(f"{caller}: {refused}")
    return y


_ELEMENT = (
    "a number that is being differentiated was written into a plain array, z[0] = x[0], in which the gradient would be "
    "lost. Build the array of its elements: np.stack([x[0], …]), np.concatenate or np.where."
)


def _meeting(arrays: Sequence[Any], args: Sequence[Any]) -> str:
    """Which arrays met, and where they lie; a parameter by its path."""
    named = {
        id(plain(x)): f"the parameter {path} of argument {i}" if path else f"argument {i}"
        for i, arg in enumerate(args)
        for path, x in tree.walk(arg, buffers=False)
    }
    other = next(x for x in arrays if on_gpu(x) != on_gpu(arrays[0]))
    met = [arrays[0], other]
    if not any(id(x) in named for x in met):  # results that were calculated from the parameters
        met = [next(plain(x) for arg in args for x in tree.parameters(arg)), *met]
    return ", ".join(f"{named.get(id(x), f'an array of shape {x.shape}')} is {device_of(x)}" for x in met)


def _undifferentiable(which: str, x: Any) -> str:
    if is_foreign(x):
        return f"gradient: {which}: {foreign(type(x))}"
    remedy = "Give floating-point numbers, for example x.astype(float), or take the argument into the function."
    if is_array(x) or isinstance(x, (int, complex, np.generic)):
        kind = getattr(x, "dtype", type(x).__name__)
        return f"gradient: {which} is of {kind}; only real floating-point numbers can be differentiated. {remedy}"
    return f"gradient: {which}, {type_of(x)}, holds no floating-point array to differentiate. {remedy}"


def _gradients(tape: Tape, y: Any, cotangent: Any, boxes: list[Any], keep: bool) -> Any:
    """Sweep, and put the cotangents of the leaves into the places of the boxes."""
    found: list[Any] = [None] * tape.leaf_count
    if type(y) is Tracked and y.tape is tape and y.dtype.kind == "f":
        found = sweep(tape, y.index, cotangent, keep)
        _separate(found)

    def take(box: Any) -> Any:
        return found[box.index] if type(box) is Tracked and box.tape is tape else None

    try:
        gradients = tuple([tree.map_derivatives(take, box) for box in boxes])
    except IndexError:
        raise TypeError(_replaced(boxes, tape)) from None
    return gradients if len(gradients) > 1 else gradients[0]


def _replaced(boxes: list[Any], tape: Tape) -> str:
    """What to say of an array that f has calculated and put into its argument, in the place of one of its own."""
    where = next(
        f"argument {i}{path}"
        for i, box in enumerate(boxes)
        for path, x in tree.walk(box)
        if type(x) is Tracked and x.tape is tape and x.index >= tape.leaf_count
    )
    unknown = [
        f" {type(node).__name__}.buffers names {name!r}, which no attribute is called."
        for box in boxes
        for _, node in branches(box)
        for name in getattr(type(node), "buffers", ())
        if not hasattr(node, name)
    ]
    return (
        f"gradient: the function replaces {where}, which is differentiated, by what it has calculated. An "
        'array that a layer replaces is state: name it in its class, as in buffers = ("mean",); '
        f"help(flux.is_training) has an example.{''.join(unknown[:1])}"
    )


def is_gradient(x: Any) -> bool:
    """Whether the layer `x` is a gradient of a model, or a part of one: it has the model's class."""
    return type(getattr(x, "__dict__", None)) is Slopes


def _separate(gradients: list[Any]) -> None:
    """Copy gradients that share memory with another, so that changing one never changes two."""
    owners = [id(g if getattr(g, "base", None) is None else g.base) for g in gradients if g is not None]
    if len(set(owners)) < len(owners):
        seen: set[int] = set()
        for i, g in enumerate(gradients):
            if g is not None and type(g) is not Tracked:
                owner = id(g if getattr(g, "base", None) is None else g.base)
                if owner in seen:
                    gradients[i] = g.copy()
                seen.add(owner)
