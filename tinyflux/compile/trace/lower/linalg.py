"""Products of arrays, each a sum of a product of two views, `einsum` in general; systems of linear equations."""

from __future__ import annotations

import string
from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from ....autodiff.rules.decompositions import singular
from ....autodiff.rules.linalg import SlogdetResult
from ....autodiff.rules.products import letters_of, spelled, tensordot_axes
from ....errors import NotCompilable
from ....types import Array
from ...ir import program
from ...ir.node import Node
from ..symbolic import Symbolic, lower, node_of, refused, to_symbolic
from .elementwise import cast, eye, loop
from .shapes import view


def contract(inputs: Sequence[str], operands: Sequence[Node], output: str) -> Node:
    """Einstein's summation over the letters that the output doesn't have, two operands at a time."""
    terms = [_diagonal(letters, x) for letters, x in zip(inputs, operands)]
    letters, x = terms[0]
    for k, (other, y) in enumerate(terms[1:], 2):
        later = set(output).union(*(s for s, _ in terms[k:]))
        letters, x = _sum_out(letters, x, later.union(other))
        other, y = _sum_out(other, y, later.union(letters))
        union = "".join(dict.fromkeys(letters + other))
        sizes = {c: n for s, a in ((other, y), (letters, x)) for c, n in zip(s, a.shape) if n != 1}
        kept = output if k == len(terms) else "".join(c for c in union if c in later)
        full = kept + "".join(c for c in union if c not in kept and c in sizes)
        shape = tuple(sizes.get(c, 1) for c in full)
        pair = [_broadcast_letters(letters, x, full, shape), _broadcast_letters(other, y, full, shape)]
        product = program.elementwise("multiply", pair, x.dtype)
        letters, x = kept, program.reduce("sum", product, range(len(kept), len(full)))
    letters, x = _sum_out(letters, x, output)
    return view(x, lambda a: a.transpose([letters.index(c) for c in output]))


def _diagonal(letters: str, x: Node) -> tuple[str, Node]:
    """A letter that stands twice takes the diagonal."""
    unique = "".join(dict.fromkeys(letters))
    axes = tuple((0, ((unique.index(c), 1),)) for c in letters)
    return unique, program.view(x, axes, [x.shape[letters.index(c)] for c in unique])


def _sum_out(letters: str, x: Node, kept: Container[str]) -> tuple[str, Node]:
    """The sum over the letters that are not kept."""
    reduced = [i for i, c in enumerate(letters) if c not in kept]
    return "".join(c for c in letters if c in kept), program.reduce("sum", x, reduced)


def _broadcast_letters(letters: str, x: Node, full: str, shape: tuple[int, ...]) -> Node:
    axes = tuple((0, ((full.index(c), 1),) if n != 1 else ()) for c, n in zip(letters, x.shape))
    return program.view(x, axes, shape)


def _check_lengths(name: str, pairs: Sequence[tuple[int, int]], a: Node, b: Node) -> None:
    for m, n in pairs:
        if m != n:
            raise ValueError(f"{name}: the shapes {a.shape} and {b.shape} don't fit: {m} is not {n}")


@lower(np.matmul)
def _matmul(a: Array, b: Array) -> Node:
    x, y = node_of(a), node_of(b)
    if not (x.ndim and y.ndim):
        raise ValueError("np.matmul: expected arrays with axes, got a number; multiply by *")
    kind = loop(np.matmul, [x, y])[-1]
    _check_lengths("np.matmul", [(x.shape[-1], y.shape[-2] if y.ndim > 1 else y.shape[0])], x, y)
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    stack = string.ascii_lowercase[: len(batch)]
    left = stack[len(stack) - max(x.ndim - 2, 0) :] + ("XK" if x.ndim > 1 else "K")
    right = stack[len(stack) - max(y.ndim - 2, 0) :] + ("KY" if y.ndim > 1 else "K")
    return contract([left, right], [cast(x, kind), cast(y, kind)], stack + "X" * (x.ndim > 1) + "Y" * (y.ndim > 1))


@lower(np.tensordot)
def _tensordot(a: Array, b: Array, axes: Any = 2) -> Node:
    x, y = node_of(a), node_of(b)
    kind = loop(np.multiply, [x, y])[-1]
    left, right, rows, columns = tensordot_axes(x, y, axes)
    _check_lengths("np.tensordot", [(x.shape[i], y.shape[j]) for i, j in zip(left, right)], x, y)
    own = string.ascii_letters[: x.ndim]
    shared = dict(zip(right, left))
    others = [own[shared[j]] if j in shared else string.ascii_letters[26 + j] for j in range(y.ndim)]
    output = "".join([*(own[i] for i in rows), *(others[j] for j in columns)])
    return contract([own, "".join(others)], [cast(x, kind), cast(y, kind)], output)


@lower(np.einsum)
def _einsum(*operands: Array, optimize: Any = False) -> Node:
    subscripts, arrays = spelled(operands)
    nodes = [node_of(x) for x in arrays]
    inputs, output = letters_of(subscripts, nodes)
    kind = np.result_type(*[x.dtype for x in nodes])
    for c in dict.fromkeys("".join(inputs)):
        sizes = {n for s, x in zip(inputs, nodes) for d, n in zip(s, x.shape) if d == c}
        if len(sizes - {1}) > 1:
            raise ValueError(f"np.einsum: the letter {c} stands for axes of lengths {sorted(sizes)}")
    return contract(inputs, [cast(x, kind) for x in nodes], output)


# numpy.linalg. What has to do with A comes from its factors, L U = P A: see linalg.h.


def _real(*nodes: Node) -> list[Array]:
    """The arrays in the dtype that numpy.linalg calculates in: float64 as soon as one is of integers, however short."""
    single = all(x.dtype == np.float32 for x in nodes)
    return [to_symbolic(cast(x, np.float32 if single else np.float64)) for x in nodes]


def _square(name: str, a: Array) -> Node:
    x = node_of(a)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise np.linalg.LinAlgError(f"np.linalg.{name}: expected square matrices, got an array of shape {x.shape}")
    return x


def _lu(x: Symbolic) -> Array:
    n = x.shape[-1]
    return Symbolic(program.call("factors", [x.node], (*x.shape[:-2], n + 1, n), x.dtype, n))


def _solve_with_lu(x: Symbolic, right: Symbolic) -> Array:
    """What `right`, a stack of matrices, is when x is divided out of it on the left."""
    stack = np.broadcast_shapes(x.shape[:-2], right.shape[:-2])
    args = [program.broadcast(m.node, (*stack, *m.shape[-2:])) for m in (_lu(x), right)]
    return Symbolic(program.call("solve", args, args[1].shape, x.dtype, *right.shape[-2:]))


def _diagonal_and_sign(name: str, a: Array) -> tuple[Array, Array]:
    """The diagonal of U, and the determinant of P."""
    (x,) = _real(_square(name, a))
    factors, n = _lu(x), x.shape[-1]
    stays = factors[..., n, :] == Symbolic(program.iota((n,), 0))
    return np.diagonal(factors[..., :n, :], 0, -2, -1), np.prod(np.where(stays, 1, -1).astype(x.dtype), axis=-1)


@lower(np.linalg.inv)
def _inv(a: Array) -> Array:
    (x,) = _real(_square("inv", a))
    return _solve_with_lu(x, to_symbolic(eye(x.shape[-1], dtype=x.dtype)))


@lower(np.linalg.solve)
def _solve(a: Array, b: Array) -> Array:
    x, y = _square("solve", a), node_of(b)
    _check_lengths("np.linalg.solve", [(x.shape[-1], y.shape[-1 if y.ndim == 1 else -2])], x, y)
    matrix, right = _real(x, y)
    return _solve_with_lu(matrix, right[:, None])[..., 0] if y.ndim == 1 else _solve_with_lu(matrix, right)


@lower(np.linalg.det)
def _det(a: Array) -> Array:
    diagonal, sign = _diagonal_and_sign("det", a)
    return sign * np.prod(diagonal, axis=-1)


@lower(np.linalg.slogdet)
def _slogdet(a: Array) -> Array:
    diagonal, sign = _diagonal_and_sign("slogdet", a)
    return SlogdetResult(sign * np.prod(np.sign(diagonal), axis=-1), np.sum(np.log(np.abs(diagonal)), axis=-1))


@lower(np.linalg.cholesky)
def _cholesky(a: Array, *, upper: bool = False) -> Array:
    (x,) = _real(_square("cholesky", a))
    x = (x.mT if upper else x).node
    y = Symbolic(program.call("cholesky", [x], x.shape, x.dtype, x.shape[-1]))
    return y.mT if upper else y


@lower(singular)
def _singular(a: Array) -> Array:
    """A matrix with more columns than rows has the decomposition of its transpose, with U and V exchanged."""
    (x,) = _real(node_of(a))
    m, n = x.shape[-2:]
    if m < n:
        both = _singular(x.mT)
        return np.concatenate([both[..., n + 1 :, :], both[..., n : n + 1, :], both[..., :n, :]], axis=-2)
    return Symbolic(program.call("singular", [x.node], (*x.shape[:-2], m + 1 + n, n), x.dtype, m, n))


@lower(np.linalg.svd)
def _svd(a: Array, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Array:
    if compute_uv:
        raise NotCompilable(f"np.linalg.svd can't be compiled: {_SIGNS}")
    return _singular(a)[..., node_of(a).shape[-2], :]


@lower(np.linalg.pinv)
def _pinv(a: Array, rcond: Any = None, hermitian: bool = False, *, rtol: Any = np._NoValue) -> Array:
    usv, rows = _singular(a), node_of(a).shape[-2]
    u, s, v = usv[..., :rows, :], usv[..., rows : rows + 1, :], usv[..., rows + 1 :, :]
    limit = rcond if rcond is not None else 1e-15 if rtol is np._NoValue else rtol
    if limit is None:
        limit = np.finfo(usv.dtype).eps * max(node_of(a).shape[-2:])
    kept = s > limit * s[..., :1]
    return (v * np.where(kept, 1 / np.where(kept, s, 1), 0)) @ u.mT


_SIGNS = (
    "the signs of its vectors are up to the library that calculates them. Call it outside of the compiled function."
)
refused.update({np.linalg.eigh: _SIGNS, np.linalg.qr: _SIGNS})
