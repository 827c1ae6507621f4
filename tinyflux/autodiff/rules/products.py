"""Rules of products of arrays."""

import inspect
import string
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.lib.stride_tricks import sliding_window_view

from ...types import Array
from ..rule import composed, rule, variadic
from ..tape import apply


def t(x: Array) -> Array:
    """The transposed matrix (or stack of matrices)."""
    return x.T if x.ndim == 2 else np.swapaxes(x, -1, -2)


def product(a: Array, b: Array) -> Array:
    """a @ b for matrices or stacks of them; `dot` starts faster, and is quick at outer products where BLAS is not."""
    return np.dot(a, b) if a.ndim == 2 and b.ndim == 2 and (a.shape[0] == 1 or a.shape[1] == 1) else a @ b


def _matmul_left(g: Array, y: Array, a: Array, b: Array) -> Array:
    if b.ndim == 1:
        return np.expand_dims(g, -1) * b
    if a.ndim == 1:
        return np.sum(np.expand_dims(g, -2) * b, axis=-1)
    return product(g, t(b))


def _matmul_right(g: Array, y: Array, a: Array, b: Array) -> Array:
    if a.ndim == 1:
        return a * g if b.ndim == 1 else np.expand_dims(a, -1) * np.expand_dims(g, -2)
    if b.ndim == 1:
        return np.sum(np.expand_dims(g, -1) * a, axis=tuple(range(a.ndim - 1)))
    # The transposed product, transposed: for b = weight.T the weight's own gradient is then contiguous.
    return t(product(t(g), a))


rule(np.matmul, _matmul_left, _matmul_right)


def _strong(x: Array) -> Array:
    """Python's numbers as NumPy's: np.dot and np.inner take them for float64, ufuncs for the dtype beside them."""
    return np.array(x)[()] if isinstance(x, (int, float)) else x


def _dot(a: Array, b: Array) -> Array:
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return _strong(a) * _strong(b)
    if np.ndim(a) <= 2 and np.ndim(b) <= 2:
        return a @ b
    return np.tensordot(a, b, axes=([-1], [max(np.ndim(b) - 2, 0)]))


def tensordot_axes(a: Array, b: Array, axes: Any) -> tuple[tuple[int, ...], ...]:
    """The axes that are summed over, of a and of b, and those that are left."""
    if isinstance(axes, int):
        axes = range(a.ndim - axes, a.ndim), range(axes)
    left, right = (normalize_axis_tuple(s, x.ndim) for s, x in zip(axes, (a, b)))
    return left, right, _without(left, a.ndim), _without(right, b.ndim)


def _without(axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    return tuple(i for i in range(ndim) if i not in axes)


def _tensordot_left(g: Array, y: Array, a: Array, b: Array, axes: Any = 2) -> Array:
    left, right, rows, columns = tensordot_axes(a, b, axes)
    summed = tuple(range(len(rows), g.ndim))
    d = np.tensordot(g, b, axes=(summed, columns))  # its axes: rows, then what is left of b, in order
    return np.transpose(d, np.argsort([*rows, *(left[i] for i in np.argsort(right))]).tolist())


def _tensordot_right(g: Array, y: Array, a: Array, b: Array, axes: Any = 2) -> Array:
    left, right, rows, columns = tensordot_axes(a, b, axes)
    summed = tuple(range(len(rows)))
    d = np.tensordot(a, g, axes=(rows, summed))  # its axes: what is left of a, in order, then columns
    return np.transpose(d, np.argsort([*(right[i] for i in np.argsort(left)), *columns]).tolist())


rule(np.tensordot, _tensordot_left, _tensordot_right)
composed(np.dot, _dot)
composed(np.vdot, lambda a, b: np.reshape(a, -1) @ np.reshape(b, -1))
composed(np.inner, lambda a, b: np.tensordot(a, b, axes=(-1, -1)) if np.ndim(a) and np.ndim(b) else _dot(a, b))
composed(np.outer, lambda a, b: np.reshape(a, (-1, 1)) * np.reshape(b, (1, -1)))


def _contracted(subscripts: str, *operands: Any, optimize: Any = False) -> Array:
    return np.einsum(subscripts, *operands, optimize=optimize)


def _contracted_back(
    positions: Sequence[int], g: Array, y: Array, subscripts: str, *operands: Any, optimize: Any = False
) -> Iterator[Any]:
    return (_einsum_of(k, g, subscripts, operands, optimize) for k in positions)


def _einsum_of(k: int, g: Array, subscripts: str, operands: Sequence[Any], optimize: Any) -> Array:
    """Swap the roles of the result and operand k.

    Letters that operand k alone has are broadcast back; those along which it was broadcast are summed over.
    """
    inputs, output = letters_of(subscripts, operands)
    mine, x = inputs[k - 1], operands[k - 1]
    others = [(s, o) for i, (s, o) in enumerate(zip(inputs, operands)) if i != k - 1]
    for i, letter in enumerate(mine):
        if letter in mine[:i]:  # xᵢᵢ is xᵢⱼ δᵢⱼ
            new = next(c for c in string.ascii_letters if c not in "".join([output, *inputs, *(s for s, _ in others)]))
            mine = mine[:i] + new + mine[i + 1 :]
            others.append((letter + new, identity_like(x, x.shape[i])))
    reachable = set(output).union(*(s for s, _ in others))
    alone = [i for i, letter in enumerate(mine) if letter not in reachable or x.shape[i] == 1]
    kept = "".join(letter for i, letter in enumerate(mine) if i not in alone)
    swapped = ",".join([output, *(s for s, _ in others)]) + "->" + kept
    d = np.einsum(swapped, g, *(o for _, o in others), optimize=optimize)
    return d if d.shape == x.shape else np.expand_dims(d, tuple(alone)) * np.ones_like(x)


def identity_like(x: Array, n: int) -> Array:
    """The identity matrix with n rows, of x's dtype; CuPy doesn't know np.eye(like=…)."""
    return np.tril(np.triu(np.ones_like(x, shape=(n, n))))


def letters_of(subscripts: str, operands: Any) -> tuple[list[str], str]:
    """The subscripts of every operand and of the result, with an ellipsis written out in letters of its own."""
    subscripts = subscripts.replace(" ", "")
    left, arrow, output = subscripts.partition("->")
    inputs = left.split(",")
    free = [c for c in string.ascii_letters if c not in subscripts]
    widths = [np.ndim(o) - len(s) + 3 if "..." in s else 0 for s, o in zip(inputs, operands)]
    dots = free[: max(widths, default=0)]
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        output = "..." * ("..." in left) + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    inputs = [s.replace("...", "".join(dots[len(dots) - w :])) for s, w in zip(inputs, widths)]
    return inputs, output.replace("...", "".join(dots))


def spelled(operands: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """The subscripts and operands of np.einsum; lists of axes between the operands are written in letters."""
    if isinstance(operands[0], str):
        return operands[0], operands[1:]
    count = len(operands) // 2
    lists = ["".join(map(_letter, axes)) for axes in operands[1 : 2 * count : 2]]
    output = ["->" + "".join(map(_letter, operands[-1]))] if len(operands) % 2 else []
    return ",".join(lists) + "".join(output), operands[: 2 * count : 2]


def _letter(axis: Any) -> str:
    if axis is Ellipsis:
        return "..."
    if not 0 <= axis < 52:
        raise ValueError(f"np.einsum: expected axes to have numbers from 0 to 51, got {axis}.")
    return (string.ascii_uppercase + string.ascii_lowercase)[axis]


def _einsum(*operands: Any, optimize: Any = False) -> Array:
    subscripts, arrays = spelled(operands)
    return apply(_contracted, (subscripts, *arrays), {"optimize": optimize})


variadic(_contracted, _contracted_back)
composed(np.einsum, _einsum)


def _diagonal(a: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    a = np.moveaxis(a, (axis1, axis2), (-2, -1))
    count = max(min(a.shape[-2] + min(offset, 0), a.shape[-1] - max(offset, 0)), 0)
    steps = np.arange(count)
    return a[..., steps - min(offset, 0), steps + max(offset, 0)]


composed(np.diagonal, _diagonal)
composed(np.trace, lambda a, offset=0, axis1=0, axis2=1: np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1))


def _cross(a: Array, b: Array, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Array:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError(f"np.cross: expected vectors of 3 numbers, got {a.shape[-1]} and {b.shape[-1]}.")
    turned = [np.roll(x, -k, axis=-1) for x in (a, b) for k in (1, 2)]
    return np.moveaxis(turned[0] * turned[3] - turned[1] * turned[2], -1, axisc)


def _kron(a: Array, b: Array) -> Array:
    ndim = max(np.ndim(a), np.ndim(b))
    one, other = ((1,) * (ndim - np.ndim(x)) + np.shape(x) for x in (a, b))
    a = np.reshape(a, [n for m in one for n in (m, 1)])
    b = np.reshape(b, [n for m in other for n in (1, m)])
    return np.reshape(a * b, [m * n for m, n in zip(one, other)])


def _correlate(a: Array, v: Array, mode: str = "valid") -> Array:
    """Products of v with the windows of a that are as long, or of a with those of v, backwards."""
    if len(a) < len(v):
        return np.flip(_correlate(v, a, mode))
    before = {"valid": 0, "same": len(v) // 2, "full": len(v) - 1}[mode]
    after = len(v) - 1 - before if mode == "same" else before
    return sliding_window_view(np.pad(a, (before, after)), len(v)) @ v


def _convolve(a: Array, v: Array, mode: str = "full") -> Array:
    a, v = np.atleast_1d(a), np.atleast_1d(v)
    return _correlate(a, np.flip(v), mode) if len(a) >= len(v) else _correlate(v, np.flip(a), mode)


composed(np.cross, _cross)
composed(np.kron, _kron)
composed(np.correlate, _correlate)
composed(np.convolve, _convolve)
composed(np.linalg.outer, lambda x1, x2, /: np.outer(x1, x2))
composed(np.linalg.cross, lambda x1, x2, /, *, axis=-1: np.cross(x1, x2, axis=axis))
for _name in ("matmul", "tensordot", "diagonal", "trace", "matrix_transpose", "vecdot"):  # NumPy writes them in others
    composed(getattr(np.linalg, _name), inspect.unwrap(getattr(np.linalg, _name)))
composed(np.vecdot, lambda x1, x2, /, *, axis=-1: np.sum(x1 * x2, axis=axis))
composed(np.matvec, lambda x1, x2, /: (x1 @ np.expand_dims(x2, -1))[..., 0])
composed(np.vecmat, lambda x1, x2, /: (np.expand_dims(x1, -2) @ x2)[..., 0, :])
