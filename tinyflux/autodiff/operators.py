"""NumPy's operators and methods for an array that is not one: each is a call of the NumPy function it stands for."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def transposed(x: Any) -> Any:
    """`x.T`, as a function that can have a gradient rule."""
    return x.T


def reshaped(x: Any, shape: Any = -1) -> Any:
    """`x.reshape(shape)`, as a function that can have a gradient rule."""
    return x.reshape(shape)


def cast(x: Any, dtype: Any = None) -> Any:
    """`x.astype(dtype)`, as a function that can have a gradient rule."""
    return x.astype(dtype)


CREATING: set[Any] = {  # functions that make an array beside another one, `like=x`
    *(np.array, np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray),
    *(np.zeros, np.ones, np.empty, np.full, np.arange, np.eye, np.identity, np.tri),
}
_CHANGING = {np.copyto, np.fill_diagonal, np.place, np.put, np.put_along_axis, np.putmask}


def changes(function: Any) -> bool:
    """Whether a NumPy function, or the method of a ufunc, changes an array in place."""
    is_method = isinstance(getattr(function, "__self__", None), np.ufunc)
    return function in _CHANGING or (is_method and function.__name__ == "at")


def _binary(function: Callable[..., Any]) -> Any:
    return lambda self, other: self._apply(function, (self, other))


def _reflected(function: Callable[..., Any]) -> Any:
    return lambda self, other: self._apply(function, (other, self))


def _unary(function: Callable[..., Any]) -> Any:
    return lambda self: self._apply(function, (self,))


def _method(function: Any) -> Any:
    return lambda self, *args, **options: self._apply(function, (self, *args), options)


class ArrayOperators:
    """The operators and methods of NumPy arrays, each a call of `_apply(function, args, kwargs)`.

    What would change an array is refused, by the error that `_in_place` makes.
    """

    __slots__ = ()
    _apply: Callable[..., Any]
    _in_place: Callable[[str], Exception]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is not None:
            raise self._in_place(f"np.{ufunc.__name__}(…, out=…) or an operator such as +=")
        if method == "__call__":
            return self._apply(ufunc, inputs, kwargs)
        if method == "outer":  # every element of a meets every element of b
            a, b = inputs
            return self._apply(ufunc, (np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b), kwargs)
        return self._apply(getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self._apply(function, args, kwargs)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise self._in_place("x[…] = …")

    __add__, __radd__ = _binary(np.add), _reflected(np.add)
    __sub__, __rsub__ = _binary(np.subtract), _reflected(np.subtract)
    __mul__, __rmul__ = _binary(np.multiply), _reflected(np.multiply)
    __truediv__, __rtruediv__ = _binary(np.divide), _reflected(np.divide)
    __floordiv__, __rfloordiv__ = _binary(np.floor_divide), _reflected(np.floor_divide)
    __mod__, __rmod__ = _binary(np.remainder), _reflected(np.remainder)
    __divmod__, __rdivmod__ = _binary(np.divmod), _reflected(np.divmod)
    __matmul__, __rmatmul__ = _binary(np.matmul), _reflected(np.matmul)
    __rpow__ = _reflected(np.power)
    __neg__, __pos__, __abs__ = _unary(np.negative), _unary(np.positive), _unary(np.absolute)
    __lt__, __le__ = _binary(np.less), _binary(np.less_equal)
    __gt__, __ge__ = _binary(np.greater), _binary(np.greater_equal)
    __eq__, __ne__ = _binary(np.equal), _binary(np.not_equal)
    __and__, __rand__ = _binary(np.bitwise_and), _reflected(np.bitwise_and)
    __or__, __ror__ = _binary(np.bitwise_or), _reflected(np.bitwise_or)
    __xor__, __rxor__ = _binary(np.bitwise_xor), _reflected(np.bitwise_xor)
    __lshift__, __rshift__ = _binary(np.left_shift), _binary(np.right_shift)
    __invert__ = _unary(np.invert)

    def __pow__(self, exponent: Any) -> Any:
        if type(exponent) is int and exponent == 2:
            return self._apply(np.square, (self,))
        return self._apply(np.power, (self, exponent))

    def __getitem__(self, index: Any) -> Any:
        return self._apply(operator.getitem, (self, index))

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))  # type: ignore[arg-type]

    sum, mean, prod, max, min = map(_method, (np.sum, np.mean, np.prod, np.max, np.min))
    var, std, cumsum, cumprod = map(_method, (np.var, np.std, np.cumsum, np.cumprod))
    argmax, argmin, all, any = map(_method, (np.argmax, np.argmin, np.all, np.any))
    argsort, nonzero, searchsorted, round = map(_method, (np.argsort, np.nonzero, np.searchsorted, np.round))
    swapaxes, squeeze, trace, diagonal = map(_method, (np.swapaxes, np.squeeze, np.trace, np.diagonal))
    dot, repeat, take = map(_method, (np.dot, np.repeat, np.take))
    T = property(_unary(transposed))
    mT = property(_unary(np.matrix_transpose))

    def reshape(self, *shape: Any, order: str = "C", copy: Any = None) -> Any:
        wanted = shape[0] if len(shape) == 1 else shape
        if order != "C":
            return self._apply(np.reshape, (self, wanted), {"order": order})
        return self._apply(reshaped, (self,), {"shape": wanted})

    def ravel(self, order: str = "C") -> Any:
        return self.reshape(-1, order=order)

    flatten = ravel

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        return self._apply(cast, (self,), {"dtype": dtype})

    def copy(self) -> Any:
        return self._apply(np.positive, (self,))

    def conj(self, *memo: Any) -> Any:
        return self  # real, and it can't be changed

    conjugate = __copy__ = __deepcopy__ = conj
    real, imag = property(conj), property(_unary(np.zeros_like))

    def transpose(self, *axes: Any) -> Any:
        order = axes[0] if len(axes) == 1 else axes or None
        return self._apply(np.transpose, (self,), {"axes": order})

    def clip(self, min: Any = None, max: Any = None) -> Any:  # noqa: A002
        return self._apply(np.clip, (self, min, max))

    def compress(self, condition: Any, axis: Any = None) -> Any:
        return self._apply(np.compress, (condition, self), {"axis": axis})


def recorded(function: Callable[..., Any]) -> Any:
    """A decorator of a function of arrays: where one of them records what is done to it, it records the call."""

    @functools.wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        for x in args:
            if isinstance(x, ArrayOperators):
                return x._apply(called, args, options)
        return function(*args, **options)

    return called
