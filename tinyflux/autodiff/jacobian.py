"""jacobian, hessian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import is_array
from ..checks import type_of
from ..types import Array
from .gradient import gradient, pullback


def jacobian(f: Callable[..., Any], *args: Any) -> Any:
    """All first derivatives of an array-valued function.

    Arguments:
        f: a function of arrays that returns an array.
        args: real floating-point arrays or Python floats.

    Returns: for each argument x an array of shape y.shape + x.shape; one argument: its Jacobian, several: a tuple.

    Errors: as for `pullback`; TypeError for an argument that is a tree.

    >>> import numpy as np, tinyflux as flux
    >>> flux.jacobian(lambda x: x ** 2, np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    for i, x in enumerate(args):
        if not is_array(x) and not isinstance(x, (float, np.floating)):
            raise TypeError(f"jacobian: argument {i} is {type_of(x)}; expected an array. See flux.destructure.")
    y, back = pullback(f, *args)
    rows = []
    for i in range(np.size(y)):
        zeros = np.zeros_like(y)
        unit = (np.arange(np.size(y), like=zeros) == i).astype(zeros.dtype)
        found = back(unit.reshape(np.shape(y)))
        rows.append(found if len(args) > 1 else (found,))
    columns = []
    for k, x in enumerate(args):
        found = [row[k] if row[k] is not None else np.zeros_like(x) for row in rows]
        shape = np.shape(y) + np.shape(x)
        columns.append(np.stack(found).reshape(shape) if found else np.zeros(shape, like=np.zeros_like(x)))
    return tuple(columns) if len(args) > 1 else columns[0]


def hessian(f: Callable[[Any], Any], x: Array) -> Any:
    """All second derivatives of a scalar function of one array.

    Arguments:
        f: returns a scalar.
        x: a real floating-point array, or a Python float.

    Returns: an array of shape x.shape + x.shape.

    Errors: as for `gradient` and `jacobian`.

    >>> import numpy as np, tinyflux as flux
    >>> flux.hessian(lambda x: x[0] ** 2 * x[1], np.array([1.0, 3.0]))
    array([[6., 2.],
           [2., 0.]])
    """

    def slope(x: Array) -> Any:
        found = gradient(f, x)
        return np.zeros_like(x) if found is None else found

    return jacobian(slope, x)
