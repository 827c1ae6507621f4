"""Products and linear algebra."""

import numpy as np
from cases import Case

import tinyflux as flux

MATMUL = ["n n", "mn n", "n nm", "mn nk", "1n nk", "m1 1k", "imn nk", "imn ink", "i1mn jnk", "n ink", "imn n", "mn ink"]
DOT = [". .", ". ij", "ij .", "n n", "mn n", "n nk", "mn nk", "imn n", "n ink", "imn jnk"]
EINSUM = [
    ("ij,jk->ik", "ij jk"),
    ("ij,jk", "ij jk"),
    ("ji,jk", "ji jk"),
    ("ij->ji", "ij"),
    ("ij", "ij"),
    ("ba", "ij"),
    ("ij->", "ij"),
    ("ij->j", "ij"),
    ("ij,ij->", "ij ij"),
    ("i,j->ij", "i j"),
    ("i,i", "i i"),
    (",i->i", ". i"),
    ("i, ij ,j -> ", "i ij j"),
    ("ijk,jl,kl->il", "ijk jn kn"),
    ("...i,i->...", "jki i"),
    ("...i,i", "jki i"),
    ("...ij,...jk->...ik", "mij mjk"),
    ("...ij,...jk->...ik", "nmij jk"),
    ("...ij,...jk->...ik", "1mij n1jk"),
    ("i...->...", "ijk"),
    ("i...,i...->i...", "ij i"),
    ("ij,j->i", "ij 1"),
    ("ij,ij->ij", "1j i1"),
    ("ij,j->", "i1 j"),
    ("ii->i", "ii"),
    ("ii", "ii"),
    ("iij->j", "iij"),
    ("iii->", "iii"),
    ("ijij->ij", "ijij"),
    ("ii,i->i", "ii i"),
    ("ii,jj->ij", "ii jj"),
    ("...ii->...", "kii"),
]


def interleaved(operands, sublists):
    """np.einsum's other form: each operand is followed by the numbers of its axes, and at last those of the result."""
    pairs = [x for pair in zip(operands, sublists, strict=False) for x in pair]
    return [*pairs, *sublists[len(operands) :]]


def slope_twice(f, x, e):
    """The gradient of e times the gradient of f."""
    return flux.gradient(lambda x: np.sum(flux.gradient(f, x) * e), x)


def definite(x):
    """A symmetric positive definite matrix made from any."""
    return x @ np.swapaxes(x, -1, -2) + 2 * np.eye(x.shape[-1], dtype=x.dtype)


def well(x):
    """A well-conditioned matrix made from any."""
    return x + 8 * np.eye(x.shape[-1], dtype=x.dtype)


CASES = [
    *[Case(f"matmul {shapes}", lambda a, b: a @ b, shapes) for shapes in MATMUL],
    Case("np.matmul", np.matmul, "mn nk"),
    Case("plain @ x", lambda x: np.ones((2, 3), x.dtype) @ x, "3k"),
    *[Case(f"dot {shapes}", np.dot, shapes) for shapes in DOT],
    Case("x.dot", lambda a, b: a.dot(b), "mn nk"),
    Case("dot with a float", lambda a: np.dot(a, a.dtype.type(2)) + np.dot(a.dtype.type(3), a), "ij"),
    *[
        Case(f"tensordot {axes} {shapes}", lambda a, b, axes=axes: np.tensordot(a, b, axes=axes), shapes)
        for axes, shapes in [
            (2, "ijk jkm"), (1, "ij jk"), (0, "ij k"), (0, ". ij"), (2, "ij ij"), ((1, 0), "ij jk"),
            (([0, 2], [1, 0]), "ijk kim"), (([2, 0], [0, 1]), "ijk kim"), (([-1, 0], [-3, 1]), "ijk kim"),
            (([0, 1, 2], [2, 0, 1]), "ijk jki"), (([0], [1]), "ij ki"),
        ]
    ],
    Case("vdot", np.vdot, "ij ij"),
    *[Case(f"inner {shapes}", np.inner, shapes) for shapes in ("n n", "mn kn", "imn n", ". ij", "ij .")],
    *[Case(f"outer {shapes}", np.outer, shapes) for shapes in ("m n", "ij n", ". n", ". .")],
    *[Case(f"einsum {s!r} {shapes}", lambda *o, s=s: np.einsum(s, *o), shapes) for s, shapes in EINSUM],
    *[
        Case(f"einsum {sublists} {shapes}", lambda *o, s=sublists: np.einsum(*interleaved(o, s)), shapes)
        for sublists, shapes in [
            (([0], [0]), "i i"), (([0, 1], [1, 0]), "ij"), (([1, 0],), "ij"), (([0, 1], [2, 1]), "ij kj"),
            (((0, 1), (1, 2), ()), "ij jk"), (([0, ...], [..., 0]), "ijk"), (([0, 0],), "ii"), (([26, 2], [2]), "ij"),
            (([..., 0, 1], [..., 1, 2], [..., 0, 2]), "mij jk"),
        ]
    ],
    Case("einsum optimize", lambda a, b, c: np.einsum("ij,jk,kl->il", a, b, c, optimize=True), "ij jk km", least=1),
    Case("einsum with plain", lambda a: np.einsum("ij,jk->ik", np.ones((2, 3), a.dtype), a), "3k"),
    Case("trace", lambda x: np.trace(x) * x.trace(1), "ij"),
    Case("trace of others", lambda x: np.trace(x, offset=1, axis1=-1, axis2=0), "ijk"),
    Case("diagonal", lambda x: np.diagonal(x) * x.diagonal(), "ij"),
    *[
        Case(f"diagonal {o} {p} {q}", lambda x, o=o, p=p, q=q: np.diagonal(x, o, axis1=p, axis2=q), "ijk")
        for o, p, q in ((1, 0, 1), (-1, 0, 1), (0, 2, 0), (-2, -1, 1), (5, 0, 1))
    ],
    Case("inv", lambda x: np.linalg.inv(well(x)), "nn"),
    Case("inv of many", lambda x: np.linalg.inv(well(x)), "ijnn"),
    *[
        Case(f"solve {shapes}", lambda a, b: np.linalg.solve(well(a), b), shapes)
        for shapes in ("nn n", "nn nk", "inn nk", "nn ink", "inn ink", "inn n", "i1nn jnk")
    ],
    Case("det", lambda x: np.linalg.det(well(x) / 8), "nn"),
    Case("det of many", lambda x: np.linalg.det(well(x) / 8), "inn"),
    Case("det of a singular matrix", lambda a, b: np.linalg.det(a @ b), "nm mn"),
    Case("slopes of det, twice", lambda x, e: slope_twice(np.linalg.det, well(x) / 8, e), "nn nn", least=1),
    Case("slogdet", lambda x: np.linalg.slogdet(well(x)).logabsdet, "nn"),
    Case("slogdet of many", lambda x: np.prod(np.stack(np.linalg.slogdet(-well(x))), axis=0), "inn"),
    Case("cholesky", lambda x: np.linalg.cholesky(definite(x)), "nn"),
    Case("cholesky of many", lambda x: np.linalg.cholesky(definite(x)), "inn"),
    Case("norm", np.linalg.norm, "ij"),
    Case("norm of a tensor", np.linalg.norm, "ijk"),
    *[
        Case(f"norm {o}", lambda x, o=o: np.linalg.norm(x, **o), "ijk", 0.1, 2, least=1)
        for o in (
            {"axis": 1}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}, {"ord": "fro", "axis": (0, 1)},
            {"ord": 1, "axis": 0}, {"ord": 2, "axis": 0}, {"ord": 3, "axis": 0}, {"ord": 1.5, "axis": 2},
            {"ord": np.inf, "axis": 1, "keepdims": True}, {"ord": -np.inf, "axis": 1}, {"ord": -2, "axis": 1},
        )
    ],
    *[Case(f"norm {o} of a vector", lambda x, o=o: np.linalg.norm(x, o), "i", least=1) for o in (1, 2, 3, np.inf)],
]  # fmt: skip
