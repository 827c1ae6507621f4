"""Products of arrays, each a sum of a product of two views, `einsum` in general; systems of linear equations."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....autodiff.rules.decompositions import singular
from ....autodiff.rules.linalg import SlogdetResult
from ....autodiff.rules.products import letters_of, spelled, tensordot_axes
from ....errors import NotCompilable
from ...ir import program
from ...ir.program import Node
from ..symbolic import lower, node_of, to_symbolic
from .elementwise import cast, eye, loop, result_type
from .shapes import part, view


def contract(inputs: Sequence[str], operands: Sequence[Node], output: str) -> Node:
    """Einstein's summation over the letters that the output doesn't have, two operands at a time."""
    terms = [_diagonal(letters, x) for letters, x in zip(inputs, operands)]
    while True:
        letters, x = terms.pop(0)
        later = set(output).union(*(other for other, _ in terms))
        if len(terms) == 0:
            return _sum_out(letters, x, output)
        only = [c for c in letters if c not in later]
        if only:
            letters, x = (kept := "".join(c for c in letters if c in later)), _sum_out(letters, x, kept)
        other, y = terms.pop(0)
        beyond = set(output).union(letters, *(rest for rest, _ in terms))
        kept = "".join(c for c in other if c in beyond)
        other, y = kept, _sum_out(other, y, kept)
        after = set(output).union(*(rest for rest, _ in terms))
        union = "".join(dict.fromkeys(letters + other))
        result = output if not terms else "".join(c for c in union if c in after)
        sizes = {c: n for s, a in ((other, y), (letters, x)) for c, n in zip(s, a.shape) if n != 1}
        full = result + "".join(c for c in union if c not in result and c in sizes)
        shape = tuple(sizes.get(c, 1) for c in full)
        pair = [_broadcast_letters(letters, x, full, shape), _broadcast_letters(other, y, full, shape)]
        product = program.elementwise("multiply", pair, x.dtype)
        terms.insert(0, (result, program.reduce("sum", product, tuple(range(len(result), len(full))))))


def _diagonal(letters: str, x: Node) -> tuple[str, Node]:
    """A letter that stands twice takes the diagonal."""
    unique = "".join(dict.fromkeys(letters))
    if unique == letters:
        return letters, x
    axes = tuple((0, ((unique.index(c), 1),)) for c in letters)
    return unique, program.view(x, axes, [x.shape[letters.index(c)] for c in unique])


def _sum_out(letters: str, x: Node, kept: str) -> Node:
    """The sum over the letters that are not kept, the axes in the order of those that are."""
    y = program.reduce("sum", x, tuple(i for i, c in enumerate(letters) if c not in kept))
    left = [c for c in letters if c in kept]
    axes = tuple((0, ((kept.index(c), 1),)) for c in left)
    return program.view(y, axes, [y.shape[left.index(c)] for c in kept])


def _broadcast_letters(letters: str, x: Node, full: str, shape: tuple[int, ...]) -> Node:
    axes = tuple((0, ((full.index(c), 1),) if n != 1 else ()) for c, n in zip(letters, x.shape))
    return program.view(x, axes, shape)


def _check_lengths(name: str, pairs: Sequence[tuple[int, int]], a: Node, b: Node) -> None:
    for m, n in pairs:
        if m != n:
            raise ValueError(f"{name}: the shapes {a.shape} and {b.shape} don't fit: {m} is not {n}")


@lower(np.matmul)
def _matmul(a: Any, b: Any) -> Node:
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
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Node:
    x, y = node_of(a), node_of(b)
    kind = loop(np.multiply, [x, y])[-1]
    left, right, rows, columns = tensordot_axes(x, y, axes)
    _check_lengths("np.tensordot", [(x.shape[i], y.shape[j]) for i, j in zip(left, right)], x, y)
    names = {i: string.ascii_letters[i] for i in range(x.ndim)}
    others = {j: string.ascii_letters[26 + j] for j in range(y.ndim)}
    others.update({j: names[i] for i, j in zip(left, right)})
    output = "".join([*(names[i] for i in rows), *(others[j] for j in columns)])
    inputs = ["".join(names[i] for i in range(x.ndim)), "".join(others[j] for j in range(y.ndim))]
    return contract(inputs, [cast(x, kind), cast(y, kind)], output)


@lower(np.einsum)
def _einsum(*operands: Any, optimize: Any = False) -> Node:
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


def _real(*nodes: Node) -> Any:
    """The dtype that numpy.linalg calculates in."""
    return np.dtype(np.float32 if result_type(nodes) == np.float32 else np.float64)


def _square(name: str, a: Any) -> Node:
    x = node_of(a)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise np.linalg.LinAlgError(f"np.linalg.{name}: expected square matrices, got an array of shape {x.shape}")
    return x


def _lu(x: Node) -> Node:
    n = x.shape[-1]
    return program.call("factors", [x], (*x.shape[:-2], n + 1, n), x.dtype, n)


def _solve_with_lu(x: Node, right: Node) -> Node:
    """What `right`, a stack of matrices, is when x is divided out of it on the left."""
    factors = _lu(x)
    stack = np.broadcast_shapes(x.shape[:-2], right.shape[:-2])
    args = [program.broadcast(m, (*stack, *m.shape[-2:])) for m in (factors, right)]
    return program.call("solve", args, args[1].shape, x.dtype, *right.shape[-2:])


def _diagonal_and_sign(x: Node) -> tuple[Node, Node]:
    """The diagonal of U, and the determinant of P."""
    factors, n, stack = _lu(x), x.shape[-1], x.shape[:-2]
    lead = tuple((0, ((i, 1),)) for i in range(len(stack)))
    place = (0, ((len(stack), 1),))
    diagonal = program.view(factors, (*lead, place, place), (*stack, n))
    swaps = program.view(factors, (*lead, (n, ()), place), (*stack, n))
    stays = program.elementwise("equal", [swaps, cast(program.iota(swaps.shape, len(stack)), x.dtype)], np.bool_)
    signs = program.elementwise("where", [stays, program.literal(1, x.dtype), program.literal(-1, x.dtype)], x.dtype)
    return diagonal, program.reduce("product", signs, (len(stack),))


@lower(np.linalg.inv)
def _inv(a: Any) -> Node:
    x = _square("inv", a)
    x = cast(x, _real(x))
    return _solve_with_lu(x, program.broadcast(eye(x.shape[-1], dtype=x.dtype), x.shape))


@lower(np.linalg.solve)
def _solve(a: Any, b: Any) -> Node:
    x, y = _square("solve", a), node_of(b)
    vector = y.ndim == 1
    _check_lengths("np.linalg.solve", [(x.shape[-1], y.shape[-1 if vector else -2])], x, y)
    right = cast(program.reshape(y, (*y.shape, 1)) if vector else y, _real(x, y))
    found = _solve_with_lu(cast(x, _real(x, y)), right)
    return program.reshape(found, found.shape[:-1]) if vector else found


@lower(np.linalg.det)
def _det(a: Any) -> Node:
    x = _square("det", a)
    diagonal, sign = _diagonal_and_sign(cast(x, _real(x)))
    product = program.reduce("product", diagonal, (diagonal.ndim - 1,))
    return program.elementwise("multiply", [sign, product], product.dtype)


@lower(np.linalg.slogdet)
def _slogdet(a: Any) -> Any:
    x = _square("slogdet", a)
    diagonal, sign = _diagonal_and_sign(cast(x, _real(x)))
    kind, last = diagonal.dtype, (diagonal.ndim - 1,)
    signs = program.reduce("product", program.elementwise("sign", [diagonal], kind), last)
    logarithms = program.elementwise("log", [program.elementwise("absolute", [diagonal], kind)], kind)
    return SlogdetResult(program.elementwise("multiply", [sign, signs], kind), program.reduce("sum", logarithms, last))


@lower(np.linalg.cholesky)
def _cholesky(a: Any, *, upper: bool = False) -> Node:
    x = _square("cholesky", a)
    x = cast(_transposed(x) if upper else x, _real(x))
    y = program.call("cholesky", [x], x.shape, x.dtype, x.shape[-1])
    return _transposed(y) if upper else y


@lower(singular)
def _singular(a: Any) -> Node:
    """A matrix with more columns than rows has the decomposition of its transpose, with U and V exchanged."""
    x = node_of(a)
    if x.shape[-2] < x.shape[-1]:
        both, rows, axis = _singular(_transposed(x)), x.shape[-1], x.ndim - 2
        cuts = [(rows + 1, both.shape[-2]), (rows, rows + 1), (0, rows)]
        return program.join([part(both, axis, start, stop) for start, stop in cuts], axis)
    m, n = x.shape[-2:]
    x = cast(x, _real(x))
    return program.call("singular", [x], (*x.shape[:-2], m + 1 + n, n), x.dtype, m, n)


def _transposed(x: Node) -> Node:
    return view(x, np.matrix_transpose)


@lower(np.linalg.svd)
def _svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    if compute_uv:
        raise NotCompilable(_SIGNS.format("svd"))
    usv, row = to_symbolic(_singular(a)), node_of(a).shape[-2]
    return usv[..., row, :]


@lower(np.linalg.pinv)
def _pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = np._NoValue) -> Any:
    usv, rows = to_symbolic(_singular(a)), node_of(a).shape[-2]
    u, s, v = usv[..., :rows, :], usv[..., rows : rows + 1, :], usv[..., rows + 1 :, :]
    limit = rcond if rcond is not None else 1e-15 if rtol is np._NoValue else rtol
    if limit is None:
        limit = np.finfo(usv.dtype).eps * max(node_of(a).shape[-2:])
    kept = s > limit * s[..., :1]
    return (v * np.where(kept, 1 / np.where(kept, s, 1), 0)) @ np.matrix_transpose(u)


def _of_other_signs(name: str) -> Any:
    def refuse(*args: Any, **options: Any) -> Any:
        raise NotCompilable(_SIGNS.format(name))

    return refuse


_SIGNS = (
    "np.linalg.{}: the signs of its vectors are up to the library that calculates them, so that it can't be compiled. "
    "Call it outside of the compiled function."
)
lower(np.linalg.eigh)(_of_other_signs("eigh"))
lower(np.linalg.qr)(_of_other_signs("qr"))
