"""Products and linear algebra."""

import numpy as np

import tinyflux as flux
from tests.support.cases import Case

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


def symmetric(x):
    """A symmetric matrix, whose eigenvalues are apart, made from any."""
    return x + np.swapaxes(x, -1, -2) + 8 * spread(x)


def apart(x):
    """A matrix whose singular values are apart, made from any."""
    return x + 8 * spread(x)


def spread(x):
    """A diagonal of 1, 2, 3 …"""
    return np.tril(np.triu(np.cumsum(np.ones_like(x), -1)))


def whole(parts):
    """A number that all parts of a decomposition have a share in, whatever the signs of vectors."""
    return sum((k + 1) * np.sum(part * part / (9 + part * part)) for k, part in enumerate(parts))


def together(u, s, vh):
    """The matrix of which these are the parts, with other singular values."""
    return (u * np.exp(s / 9)) @ vh


PRODUCTS = [
    *[Case(f"cross {shapes}", np.cross, shapes) for shapes in ("3 3", "i3 3", "ij3 j3")],
    Case("cross along other axes", lambda a, b: np.cross(a, b, axisa=0, axisb=1, axisc=0), "3i i3"),
    Case("cross along an axis", lambda a, b: np.cross(a, b, axis=0) * np.linalg.cross(a, b, axis=0), "3i 3i"),
    *[Case(f"kron {shapes}", np.kron, shapes) for shapes in ("i j", "ij mk", "i jk", ". ij", "ijk mn")],
    *[Case(f"convolve {mode} {shapes}", lambda a, v, m=mode: np.convolve(a, v, m), shapes)
      for mode in ("full", "same", "valid") for shapes in ("5 3", "2 5", "4 4", "1 3", "6 2")],
    *[Case(f"correlate {mode} {shapes}", lambda a, v, m=mode: np.correlate(a, v, m), shapes)
      for mode in ("full", "same", "valid") for shapes in ("5 3", "2 5", "4 4", "3 4", "6 2")],
    Case("linalg's products", lambda a, b: np.linalg.matmul(a, b) * np.linalg.outer(a[:, 0], b[0]), "mn nk", least=1),
    Case("linalg.tensordot", lambda a, b: np.linalg.tensordot(a, b, axes=1), "ij jk"),
    Case("linalg.diagonal, trace", lambda x: np.linalg.diagonal(x, offset=1) * np.linalg.trace(x)[:, None], "ijk"),
    Case("linalg.matrix_transpose", np.linalg.matrix_transpose, "ijk"),
    Case("vecdot", lambda a, b: np.vecdot(a, b) * np.linalg.vecdot(a, b), "ij j"),
    Case("vecdot along an axis", lambda a, b: np.linalg.vecdot(a, b, axis=0), "ij ij"),
    *[Case(f"{f.__name__}.outer", lambda a, b, f=f: f.outer(a, b), "ij k", 0.5)
      for f in (np.multiply, np.subtract, np.divide, np.power, np.maximum)],
    Case("add.outer of a number", lambda a, b: np.add.outer(a, b) * np.multiply.outer(b, a), ". i"),
    *[Case(f"matrix_power {k}", lambda x, k=k: np.linalg.matrix_power(well(x) / 8, k), "inn")
      for k in (0, 1, 3, 6, -2)],
    *[Case(f"multi_dot {shapes}", lambda *a: np.linalg.multi_dot(a), shapes)
      for shapes in ("ij jk", "ij jk km mn", "i ij jk", "ij jk k", "i ij j", "m1 1n nk")],
    Case("tensorinv", lambda x: np.linalg.tensorinv(well(x).reshape(2, 2, 4)), "44"),
    Case("tensorsolve", lambda a, b: np.linalg.tensorsolve(well(a).reshape(2, 3, 3, 2), b), "66 23"),
    Case("tensorsolve axes",
         lambda a, b: np.linalg.tensorsolve(np.moveaxis(well(a).reshape(2, 3, 6), 2, 1), b, axes=(1,)), "66 23"),
]  # fmt: skip

DECOMPOSED = [
    *[Case(f"singular values {s}", lambda x: np.linalg.svd(apart(x), compute_uv=False), s)
      for s in ("nn", "imn", "32")],
    Case("svdvals", lambda x: np.linalg.svdvals(apart(x)) * x[..., 0, 0], "nn", least=1),
    *[Case(f"svd {shapes}", lambda x: whole(np.linalg.svd(apart(x), full_matrices=False)), shapes)
      for shapes in ("nn", "32", "23", "imn")],
    Case("svd with all vectors", lambda x: whole(np.linalg.svd(apart(x))), "nn"),
    Case("svd put together", lambda x: together(*np.linalg.svd(apart(x), full_matrices=False)), "43"),
    *[Case(f"eigvalsh {shapes}", lambda x: np.linalg.eigvalsh(symmetric(x)), shapes) for shapes in ("nn", "inn")],
    *[Case(f"eigh {shapes}", lambda x: whole(np.linalg.eigh(symmetric(x))), shapes) for shapes in ("nn", "inn")],
    Case("eigh of the upper triangle", lambda x: whole(np.linalg.eigh(symmetric(x), UPLO="U")), "nn"),
    Case("eigh put together", lambda x: (lambda w, v: together(v, w, v.T))(*np.linalg.eigh(symmetric(x))), "33"),
    *[Case(f"qr {shapes}", lambda x: whole(np.linalg.qr(apart(x))), shapes) for shapes in ("nn", "32", "23", "i32")],
    Case("r of qr", lambda x: np.linalg.qr(apart(x), "r") ** 2, "43"),
    *[Case(f"pinv {shapes}", lambda x: np.linalg.pinv(apart(x)), shapes) for shapes in ("nn", "32", "23", "i42")],
    Case("pinv of a product", lambda a, b: np.linalg.pinv(apart(a) @ apart(b), rcond=1e-5), "42 23"),
    Case("lstsq", lambda a, b: np.sum(np.linalg.lstsq(apart(a), b)[0]) * np.linalg.lstsq(apart(a), b)[1], "42 43"),
    Case("lstsq of a vector", lambda a, b: np.concatenate(np.linalg.lstsq(apart(a), b)[:2]), "42 4"),
    Case("lstsq of too few", lambda a, b: np.linalg.lstsq(apart(a), b, rcond=None)[0], "23 2"),
    *[Case(f"cond {p}", lambda x, p=p: np.linalg.cond(apart(x), p), "33") for p in (None, 2, -2, "fro", 1)],
    *[Case(f"norm {o} of matrices", lambda x, o=o: np.linalg.norm(apart(x), o, axis=(2, 1), keepdims=o == 2), "i32")
      for o in (2, -2, "nuc")],
    Case("matrix_norm", lambda x: np.linalg.matrix_norm(x) * np.linalg.matrix_norm(x, ord=1), "i32", 0.1, 2),
    *[Case(f"vector_norm {o}", lambda x, o=o: np.linalg.vector_norm(x, **o), "23k", 0.1, 2, 1)
      for o in ({}, {"axis": 1}, {"axis": (0, 2), "keepdims": True}, {"ord": 3}, {"ord": np.inf, "axis": (1, 0)})],
    Case("upper cholesky", lambda x: np.linalg.cholesky(definite(x), upper=True), "inn"),
]  # fmt: skip

MATVEC = [
    *[Case(f"matvec {shapes}", lambda a, b: np.matvec(a, b), shapes) for shapes in ("mn n", "imn n", "mn in")],
    *[Case(f"vecmat {shapes}", lambda a, b: np.vecmat(a, b), shapes) for shapes in ("m mn", "m imn", "im mn")],
]

CASES = [
    *MATVEC,
    *PRODUCTS,
    *DECOMPOSED,
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
