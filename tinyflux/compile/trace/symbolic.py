"""Symbolic arrays: they have a shape and a dtype, and record what NumPy asks of them.

A function that is called with symbolic arrays runs once, as it is written, in Python; every NumPy function that it
calls becomes nodes of the program. `lowerings` says how: it holds, for a NumPy function, one that takes the same
arguments and makes nodes of them. Functions that are differentiated as they are written in others are compiled so, too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...arrays import on_gpu
from ...autodiff.operators import ArrayOperators, changes
from ...autodiff.table import compositions, is_scipys, name_of
from ...autodiff.tape import Tracked, apply, compose
from ...checks import type_of
from ...elsewhere import no_attribute
from ...errors import NotCompilable
from ...types import Array, DType
from ..ir import program
from ..ir.node import Node


class _NoAttribute(NotCompilable, AttributeError):
    pass


lowerings: dict[Callable[..., Any], Callable[..., Any]] = {}
_VALUES = (
    "the shape of its result depends on values. Call it outside of the compiled function, or write what follows with "
    "np.where."
)
refused = dict.fromkeys(  # functions, and why they can't be compiled
    (np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.trim_zeros, np.bincount), _VALUES
)


def lower(*functions: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into `lowerings`: called with what NumPy's is called with, it returns nodes."""

    def enter(lowering: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            lowerings[function] = lowering
        return lowering

    return enter


def record(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any] | None = None) -> Any:
    """What becomes of a call of a NumPy function with symbolic arrays among its arguments."""
    kwargs = {name: x for name, x in (kwargs or {}).items() if x is not np._NoValue}
    if any(type(x) is Tracked or (type(x) in (list, tuple) and any(type(y) is Tracked for y in x)) for x in args):
        return apply(function, args, kwargs)  # a gradient is being taken: it opens its boxes first
    if function not in lowerings and is_scipys(function):
        from .lower import special  # noqa: F401
    if function in refused:
        raise NotCompilable(f"{name_of(function)} can't be compiled: {refused[function]}")
    misfit = None
    for table in (lowerings, compositions):  # with options that its lowering lacks, a function is what it is written in
        definition = table.get(function)
        if definition is None:
            continue
        try:
            return to_symbolic(compose(function, definition, args, kwargs))
        except TypeError:
            try:
                inspect.signature(definition).bind(*args, **kwargs)
            except TypeError as error:
                misfit = error
            else:
                raise
    if misfit is not None:
        raise NotCompilable(f"{name_of(function)} with these options can't be compiled: {misfit}.") from misfit
    if isinstance(function, np.ufunc) and function.signature is None and function.nout == 1:
        from .lower.elementwise import ufunc

        return to_symbolic(ufunc(function, args, kwargs))
    if changes(function):
        raise NotCompilable(_IN_PLACE.format(name_of(function)))
    raise NotCompilable(
        f"{name_of(function)} can't be compiled: there is no way to write it in C. Write it in other NumPy functions, "
        "or call it outside of the compiled function."
    )


def to_symbolic(result: Any) -> Any:
    if isinstance(result, Node):
        return Symbolic(result)
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*map(to_symbolic, result))
    return type(result)(map(to_symbolic, result)) if type(result) in (list, tuple) else result


def node_of(x: Any) -> Node:
    """The node that stands for an array or a number."""
    if isinstance(x, Symbolic):
        return x.node
    if isinstance(x, np.generic):  # np.float64 is a float, too
        return program.literal(x.item(), check_dtype(x.dtype))
    if isinstance(x, (bool, int, float)):
        if isinstance(x, int) and not -(2**63) <= x < 2**64:
            raise NotCompilable(f"the number {x} can't be compiled: it has more than 64 bits. Write it as a float.")
        return program.literal(x, np.bool_ if isinstance(x, bool) else None, weak=not isinstance(x, bool))
    if isinstance(x, Node):
        return x
    there = on_gpu(x)
    if there or type(x) is np.ndarray:
        if there != program.recording().gpu:
            raise NotCompilable(ON_GPU if there else IN_NUMPY)
        check_dtype(x.dtype)
        return program.recording().capture(x)
    if isinstance(x, (list, tuple)) and not any(isinstance(item, Symbolic) for item in x):
        return node_of(np.asarray(x))
    if isinstance(x, (list, tuple)):
        return node_of(np.stack([to_symbolic(node_of(item)) for item in x]))
    raise NotCompilable(f"{type_of(x)} among the arguments of a NumPy function can't be compiled.")


def check_dtype(dtype: DType) -> DType:
    """The dtype, or NotCompilable."""
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype == np.float16:
        raise NotCompilable(f"arrays of {dtype} can't be compiled; real numbers of 4 or 8 bytes and integers can.")
    if not dtype.isnative:
        raise NotCompilable(f"arrays of {dtype}, with swapped bytes, can't be compiled: x.astype(x.dtype.name) can.")
    return dtype


class Symbolic(ArrayOperators):
    """An array of which only shape and dtype are known, and how it is calculated: a node of the program."""

    __slots__ = ("node",)
    _apply = staticmethod(record)
    _in_place = staticmethod(lambda what: NotCompilable(_IN_PLACE.format(what)))
    __hash__ = None  # type: ignore[assignment]  # as arrays are

    def __init__(self, node: Node) -> None:
        self.node = node

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotCompilable(
            "np.asarray of an array that is being compiled: its values are not known yet. Build arrays of "
            "such values with np.stack, not np.array; instead of np.vectorize, take functions of whole arrays."
        )

    shape = property(lambda self: self.node.shape)
    ndim = property(lambda self: self.node.ndim)
    size = property(lambda self: self.node.size)
    dtype = property(lambda self: self.node.dtype)

    def demand_finite(self, kind: type[Exception], message: str) -> None:
        """Have an iteration of training raise an error, and change nothing, where this number is NaN or infinite.

        One within a loop, which has a value for each step, isn't looked at.
        """
        if not any(node.op == "parameter" for node in program.reachable([self.node])):
            program.recording().demands[program.elementwise("isfinite", [self.node], np.bool_)] = kind, message

    def as_number(self) -> Symbolic:
        """The same as a number of Python's, which takes on the dtype of arrays it meets; an array stays one."""
        return self if self.ndim else Symbolic(program.elementwise("cast", [self.node], self.dtype, weak=True))

    def __getattr__(self, name: str) -> Any:
        raise _NoAttribute(f"{no_attribute('an array that is being compiled', name)}.")

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return int(self.shape[0])

    def __format__(self, spec: str) -> str:
        if spec:
            raise NotCompilable(
                "the values of an array that is being compiled can't be formatted. Print in a callback."
            )
        return repr(self)

    def __repr__(self) -> str:
        return f"Symbolic({self.node!r}, {self.dtype}, {self.shape})"

    def __bool__(self) -> bool:
        numbers = not self.shape and all(node.weak for node in self.node.args or [self.node])
        what = "a number's value" if numbers else "an array's values"
        raise NotCompilable(f"a branch that depends on {what} can't be compiled. {_BRANCH}")

    def _changed(self, other: Any) -> Any:
        """x += y and the like: it is x = x + y for numbers, but an array would be changed for all that hold it."""
        if self.ndim:
            raise NotCompilable(_IN_PLACE.format("An operator such as += (write x = x + …)"))
        return NotImplemented

    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ifloordiv__ = __imod__ = __ipow__ = __imatmul__ = _changed
    __iand__ = __ior__ = __ixor__ = __ilshift__ = __irshift__ = _changed

    def _number(self, *args: Any) -> Any:
        raise NotCompilable(_NUMBER if self.node.weak else _ELEMENT)

    __float__ = __int__ = __complex__ = __index__ = item = tolist = _number


def symbolic_input(x: Array) -> Symbolic:
    """An input of the program that is being recorded, for an array or a number like x."""
    if type(x) is float:
        return Symbolic(program.recording().input((), np.float64, weak=True))
    return Symbolic(program.recording().input(x.shape, check_dtype(x.dtype)))


ON_GPU = "an array on the GPU can't be compiled with those in NumPy. Move one of them by flux.gpu(…) or flux.cpu(…)."
IN_NUMPY = (
    "an array in NumPy, of the function or of what it calls, can't be compiled with those on the GPU. Move it by "
    "flux.gpu(…), or write np.asarray(array, like=x)."
)
_BRANCH = "Write it with np.where; for min and max write np.minimum and np.maximum."
_ELEMENT = (
    "float, int or item of an array that is being compiled: its values are not known yet. For z[0] = x[0] write "
    "np.stack([x[0], …]), for math.sqrt(x) np.sqrt(x)."
)
_NUMBER = (
    "float, int or a function of math of a number that is being compiled: its value is not known yet, for each call or "
    "step has another one. For math.sqrt(x) write x**0.5, for math.exp(x) np.exp(x)."
)
_IN_PLACE = "{} changes an array in place, which can't be compiled. Make a new array."

from . import lower as _lowerings  # noqa: E402, F401  (fills the table)
