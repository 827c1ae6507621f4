"""Functions that rearrange, join, cut and index."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tests.support.cases import Case

MASK = np.array([[True, False, True], [False, False, True]])
ROWS, COLUMNS = np.array([0, 1, 1, 0]), np.array([2, -1, -1, 0])

INDICES = {
    "an integer": 1,
    "a negative integer": -1,
    "a NumPy integer": np.int64(1),
    "a slice": slice(0, 2),
    "a slice backwards": slice(None, None, -1),
    "integer and slice": (1, slice(1, None)),
    "Ellipsis": Ellipsis,
    "Ellipsis and integer": (Ellipsis, 0),
    "newaxis": (None, slice(None), None),
    "a number": (1, 2),
    "nothing": (),
    "no rows": slice(2, 1),
    "a mask": MASK,
    "a mask of rows": np.array([True, False]),
    "a mask that is False": np.zeros((2, 3), bool),
    "repeated rows": np.array([1, 1, 0, 1]),
    "a list": [1, 1],
    "pairs, repeated": (ROWS, COLUMNS),
    "a table": np.array([[0, 1], [1, 1]]),
    "array and slice": (ROWS, slice(1, None)),
    "slice and array": (slice(None), COLUMNS),
    "array and newaxis": (ROWS, None, COLUMNS),
    "array and integer": (ROWS, 1),
    "True": True,
    "a mask without axes": np.array(True),
    "a mask without axes that is False": np.array(False),
    "rows, and a mask without axes": (ROWS, np.array(True)),
    "a mask without axes, and a slice": (np.array(True), None, slice(1, None)),
    "an empty array": np.array([], int),
}

REARRANGED = [
    Case("reshape", lambda x: np.reshape(x, (3, -1)), "i3", least=1),
    Case("reshape to size 0", lambda x: np.reshape(x, (0, 5)), "i0"),
    Case("reshape to a number", lambda x: np.reshape(x, ()), "11"),
    Case("x.reshape", lambda x: x.reshape(3, -1) * x.reshape((3, -1)) * x.reshape(-1, 3).T, "33"),
    Case("ravel", lambda x: np.ravel(x) * x.ravel() * x.flatten(), "ijk"),
    *[Case(f"reshape in order F to {shape}",
            lambda x, s=shape: np.reshape(x, s, order="F") * x.reshape(s, order="F"), "43")
      for shape in ((2, 6), (3, 2, -1), -1, 12)],
    Case("ravel in order F", lambda x: np.ravel(x, order="F") * x.ravel("F") * x.flatten(order="F"), "ijk"),
    Case("x.mT", lambda x: x.mT, "ijk"),
    Case("x.T", lambda x: x.T, "ijk"),
    Case("transpose", np.transpose, "ijk"),
    Case("transpose axes", lambda x: np.transpose(x, (1, -1, 0)), "ijk"),
    Case("x.transpose", lambda x: x.transpose(2, 0, 1) * x.transpose((2, 0, 1)), "ijk"),
    Case("x.transpose()", lambda x: x.transpose(), "ijk"),
    Case("matrix_transpose", np.matrix_transpose, "ijk"),
    Case("swapaxes", lambda x: np.swapaxes(x, 0, -1), "ijk"),
    Case("x.swapaxes", lambda x: x.swapaxes(1, 2), "ijk"),
    Case("moveaxis", lambda x: np.moveaxis(x, 0, -1), "ijk"),
    Case("moveaxis several", lambda x: np.moveaxis(x, (0, 1), (-1, 0)), "ijk"),
    Case("expand_dims", lambda x: np.expand_dims(x, 1), "ij"),
    Case("expand_dims several", lambda x: np.expand_dims(x, (0, -1)), "ij"),
    Case("squeeze", np.squeeze, "i1j1"),
    Case("squeeze one", lambda x: np.squeeze(x, 1) * x.squeeze(axis=1), "i1j1"),
    Case("broadcast_to", lambda x: np.broadcast_to(x, (2, 3, 4)), "31"),
    Case("broadcast_to nothing", lambda x: np.broadcast_to(x, (0, 3)), "1"),
    Case("broadcast_to from nothing", lambda x: np.broadcast_to(x, (4, 0)), "10"),
    Case("broadcast a number", lambda x: np.broadcast_to(x, (2, 3)), "."),
    Case("atleast_1d", lambda x, y: np.atleast_1d(x) + np.atleast_1d(y), ". i"),
    Case("atleast_2d", lambda x, y, z: np.atleast_2d(x) + np.atleast_2d(y) + np.atleast_2d(z), ". j ij"),
    *[Case(f"flip axis={a}", lambda x, a=a: np.flip(x, axis=a), "ijk") for a in (None, 0, -1, (0, 1))],
    *[Case(f"rot90 {k} {axes}", lambda x, k=k, axes=axes: np.rot90(x, k, axes), "ijk")
      for k, axes in ((1, (0, 1)), (2, (0, 1)), (-1, (1, 2)), (4, (0, 2)), (1, (2, -3)))],
    *[Case(f"rollaxis {a} {b}", lambda x, a=a, b=b: np.rollaxis(x, a, b), "ijk")
      for a, b in ((2, 0), (0, 3), (-1, 1), (0, -1), (1, 1))],
    Case("resize", lambda x: np.resize(x, (3, 5)) * np.resize(x, 5), "ij"),
    Case("broadcast_arrays", lambda x, y: np.multiply(*np.broadcast_arrays(x, y)), "i1 1j"),
    Case("atleast of several", lambda x, y: np.concatenate(np.atleast_1d(x, y)) * np.atleast_2d(x, y)[0][0, 0], ". i"),
    Case("atleast_3d", lambda x, y, z: np.atleast_3d(x) * np.atleast_3d(y)[0, 0] * np.atleast_3d(z), ". i ij", least=1),
    Case("fliplr, flipud", lambda x: np.fliplr(x) * np.flipud(x), "ij"),
    *[Case(f"roll {s} axis={a}", lambda x, s=s, a=a: np.roll(x, s, axis=a), "ij")
      for s, a in ((1, None), (-2, 0), (1, -1), ((1, 2), (0, 1)), ([1, -1], [0, 1]))],
    *[Case(f"tril, triu k={k}", lambda x, k=k: np.tril(x, k) - 2 * np.triu(x, k), "ijk") for k in (0, 1, -1)],
    Case("tril of a vector", np.tril, "i"),
    *[Case(f"tile {reps}", lambda x, reps=reps: np.tile(x, reps), "ij")
      for reps in (2, 0, (2, 1), (1, 3), (2, 1, 2), [3], np.array([2, 2]))],
    Case("tile a number", lambda x: np.tile(x, (2, 3)), "."),
    *[Case(f"repeat {n} axis={a}", lambda x, n=n, a=a: np.repeat(x, n, axis=a), "3j")
      for n, a in ((2, None), (2, 0), (3, -1), ([1, 0, 2], 0))],
    Case("x.repeat", lambda x: x.repeat(2) + x.repeat(2, axis=None), "ij"),
    Case("repeat a number", lambda x: np.repeat(x, 3), "."),
    *[Case(f"pad {width}", lambda x, width=width: np.pad(x, width), "ij")
      for width in (1, (1, 2), ((1, 0), (0, 2)), 0, {0: 2}, {-1: (1, 3)})],
    *[Case(f"pad by {mode} {width}", lambda x, m=mode, w=width: np.pad(x, w, m), "34")
      for mode, width in (("edge", 2), ("reflect", (1, 5)), ("symmetric", ((3, 1), (0, 7))),
                          ("wrap", ((0, 4), (2, 0))))],
    Case("pad with a constant", lambda x: np.pad(x, 1, mode="constant", constant_values=3.0), "ij"),
    Case("astype", lambda x: x.astype(x.dtype) * x, "ij"),
    Case("x.copy", lambda x: x.copy() * x, "ij"),
]  # fmt: skip

MADE = [
    Case("linspace", lambda a, b: np.linspace(a, b, 5), "ij j"),
    Case("linspace from a number", lambda a: np.linspace(0, a, 4).astype(a.dtype), "."),
    Case("linspace without its end", lambda a, b: np.linspace(a, b, 4, endpoint=False, axis=-1), "ij ij"),
    *[Case(f"linspace of {n}", lambda a, b, n=n: np.linspace(a, b, n), ". i") for n in (0, 1)],
    Case("linspace and its step", lambda a, b: np.multiply(*np.linspace(a, b, 3, retstep=True)), "i i"),
    Case("logspace", lambda a, b: np.logspace(a, b, 4), ". i", 0.1, 1),
    Case("logspace of base 2", lambda a, b: np.logspace(a, b, 4, base=2.0), "i i", 0.1, 1),
    Case("geomspace", lambda a, b: np.geomspace(a, b, 4), "i .", 0.5, 2),
    *[Case(f"diag {k}", lambda x, k=k: np.diag(x, k), shapes) for k in (0, 1, -2) for shapes in ("i", "ij")],
    Case("diagflat", lambda x: np.diagflat(x, 1) * np.diagflat(x.T, 1), "ii"),
    *[
        Case(f"meshgrid {o}", lambda x, y, z, o=o: np.multiply(*np.meshgrid(x, y, z, **o)[:2]), "i j k")
        for o in ({}, {"indexing": "ij"}, {"sparse": True})
    ],
    Case("meshgrid of one", lambda x: np.meshgrid(x)[0], "i"),
    Case("vander", lambda x: np.vander(x), "i"),
    Case("vander, increasing", lambda x: np.vander(x, 4, increasing=True), "i"),
]

WINDOWS = [
    Case("sliding windows", lambda x: sliding_window_view(x, 2), "i", least=2),
    Case("sliding windows of one", lambda x: sliding_window_view(x, (1, 1)), "ij", least=1),
    Case("sliding windows as long as the array", lambda x: sliding_window_view(x, 3, axis=0), "3j"),
    Case("longer windows than there are places", lambda x: sliding_window_view(x, 3, axis=-1), "i4"),
    Case("sliding windows along both axes", lambda x: sliding_window_view(x, (2, 3)), "45"),
    Case("sliding windows along other axes", lambda x: sliding_window_view(x, (2, 1), axis=(2, 0)), "ijk", least=2),
    Case("sliding windows twice along an axis", lambda x: sliding_window_view(x, (2, 3), axis=(0, 0)), "5j"),
    Case("every second window", lambda x: sliding_window_view(x, 3)[::2] ** 2, "7"),
    Case("a convolution", lambda x, w: np.einsum("nijkab,abko->nijo", sliding_window_view(x, (2, 2), (1, 2)), w),
         "i34k 22km"),
]  # fmt: skip

JOINED = [
    Case("concatenate", lambda a, b: np.concatenate([a, b]), "ij kj"),
    Case("concatenate axis 1", lambda a, b: np.concatenate((a, b, a), axis=1), "ij ik"),
    Case("concatenate axis -1", lambda a, b: np.concatenate((a, b), -1), "ij ik"),
    Case("concatenate flat", lambda a, b: np.concatenate((a, b), axis=None), "ij k"),
    Case("concatenate with plain", lambda a: np.concatenate([np.ones_like(a), a, np.ones_like(a)]), "ij"),
    Case("concatenate with a list", lambda a: np.concatenate([a[:0], [], a]).astype(a.dtype), "i"),
    *[
        Case(f"stack axis={axis}", lambda a, b, axis=axis: np.stack([a, b, a], axis=axis), "ij ij")
        for axis in (0, 1, -1)
    ],
    Case("stack numbers", lambda a, b: np.stack([a, b, a * b]), ". ."),
    Case("hstack", lambda a, b: np.hstack([a, b]), "ij ik"),
    Case("hstack of vectors", lambda a, b: np.hstack([a, b, a[0]]), "i k", least=1),
    Case("hstack of numbers", lambda a, b: np.hstack([a, b]), ". ."),
    Case("vstack", lambda a, b: np.vstack([a, b]), "ij j"),
    Case("vstack of numbers", lambda a, b: np.vstack([a, b]), ". ."),
    Case("dstack", lambda a, b: np.dstack([a, b, a]), "ij ij"),
    Case("dstack of vectors", lambda a, b: np.dstack((a, b)), "i i"),
    Case("column_stack", lambda a, b: np.column_stack([a, b, a]), "i ij"),
    Case("append", lambda a, b: np.append(a, b), "ij k"),
    Case("append along an axis", lambda a, b: np.append(a, b, axis=1), "ij ik"),
    Case("append a number", lambda a: np.append(a, a[0] * 2), "i", least=1),
    Case("block", lambda a, b, c, d: np.block([[a, b], [c, d]]), "ij ik nj nk"),
    Case("block of vectors and a number", lambda a, b: np.block([a, b, a]), "i ."),
    Case("block of rows", lambda a, b: np.block([[a], [b]]), "j ij"),
    Case("block of one", lambda a: np.block(a), "ij"),
    Case("hsplit", lambda x: np.hsplit(x, 2)[1] * np.hsplit(x, [2])[0], "i4"),
    Case("hsplit of a vector", lambda x: np.hsplit(x, 2)[1], "4"),
    Case("vsplit, dsplit", lambda x: np.vsplit(x, 2)[0] * np.dsplit(x, 2)[1], "2j2"),
    Case("unstack", lambda x: np.multiply(*np.unstack(x, axis=1)), "i2k"),
    Case("split", lambda x: np.concatenate([i * p for i, p in enumerate(np.split(x, 3))]), "3j"),
    Case("split at", lambda x: np.concatenate([i * p for i, p in enumerate(np.split(x, [1, 2], axis=1))], 1), "ij"),
    Case("split off nothing", lambda x: np.split(x, [0, 2], axis=-1)[1], "ij"),
    Case("array_split", lambda x: np.concatenate([i * p for i, p in enumerate(np.array_split(x, 2))]), "ij"),
    Case("unpacking", lambda x: np.stack([row * i for i, row in enumerate(x)]), "3j"),
]

SAMPLED = [
    Case("interp in a list", lambda x, f: np.interp(x, [-1.5, -0.4, 0.3, 1.9], f), "ij 4"),
    Case("interp in a list of one point", lambda x, f: np.interp(x, [0.1], f), "i 1"),
    Case("interp in a list, its ends", lambda x, f: np.interp(x, [-0.5, 0.6], f, left=7.0, right=-1.0), "i 2"),
    Case("interp at a number, in a list", lambda x, f: np.interp(x, [-0.5, 0.6], f), ". 2"),
    Case("interp of moving points", lambda x, p, f: np.interp(x, p[0] + np.cumsum(1 + p * p), f), "i 4 4", 0.5, 2),
    Case("interp in a list, periodic", lambda x, f: np.interp(x, [0.5, -0.4, 1.3], f, period=2), "i 3"),
    Case("trapezoid", lambda y: np.trapezoid(y, dx=0.5), "ij"),
    Case("trapezoid over x", lambda y, x: np.trapezoid(y, x, axis=0), "ij i"),
    Case("trapezoid over many x", lambda y, x: np.trapezoid(y, x), "ij ij"),
    *[
        Case(f"np.gradient, edge_order={e}", lambda f, e=e: np.multiply(*np.gradient(f, 0.5, 2, edge_order=e)), "43")
        for e in (1, 2)
    ],
    *[
        Case(
            f"np.gradient over a grid, edge_order={e}",
            lambda f, x, e=e: np.gradient(f, np.cumsum(x), axis=0, edge_order=e),
            "4j 4",
            0.5,
            2,
        )
        for e in (1, 2)
    ],
    Case("np.gradient of a vector", lambda f: np.gradient(f), "2"),
    Case("ediff1d", lambda x, e: np.ediff1d(x, to_begin=e) * np.ediff1d(x, to_end=e), "ij k", least=1),
    Case("ediff1d alone", np.ediff1d, "ij", least=1),
    *[
        Case(f"cov {o}", lambda x, o=o: np.cov(x, **o), "35")
        for o in ({}, {"rowvar": False}, {"bias": True}, {"ddof": 0})
    ],
    Case("cov of two", lambda x, y: np.cov(x, y), "i5 5", least=1),
    Case("cov of one", lambda x: np.cov(x), "5"),
    Case("corrcoef", lambda x, y: np.corrcoef(x, y), "25 5"),
    Case("corrcoef of columns", lambda x: np.corrcoef(x, rowvar=False), "52"),
    Case("polyval", lambda p, x: np.polyval(p, x), "3 ij"),
    Case("polyval of plain coefficients", lambda x: np.polyval([1.0, -2.0, 0.5], x), "i"),
]

COPYING = [np.array, np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray]

CASES = [
    Case("full_like", lambda x, v: x * np.full_like(x, v), "ij j"),
    Case("full, like", lambda x, v: x * np.full((2, 3), v, x.dtype, like=x), "23 3"),
    *[Case(f"{f.__name__}, like", lambda x, f=f: x * f(x, x.dtype, like=x), "ij") for f in COPYING],
    *REARRANGED,
    *SAMPLED,
    *MADE,
    *WINDOWS,
    *JOINED,
    *[Case(f"x[{name}]", lambda x, index=index: x[index], "23") for name, index in INDICES.items()],
    Case("x[()] of a number", lambda x: x[()] * x[...], "."),
    Case("x[None] of a number", lambda x: x[None], "."),
    Case("masks of a number", lambda x: x[np.array(True)] * x[True] * x[None, True] + np.sum(x[np.array(False)]), "."),
    Case("x[x > 0]", lambda x: np.exp(x[x > 0]), "ij"),
    Case("x[argmax]", lambda x: x[np.argmax(x, axis=0), np.arange(3)] * x[np.arange(2), x.argmax(axis=1)][0], "23"),
    Case("x[slice][array][mask]", lambda x: x[1:][[0, 0]][:, 0], "32"),
    Case("take", lambda x: np.take(x, [0, 0, -1]), "ij", least=1),
    Case("take a tuple", lambda x: np.take(x, (0, 0)), "ij", least=1),
    Case("take along 1", lambda x: np.take(x, [[0, 0], [1, 0]], axis=1), "i2k"),
    Case("take an integer", lambda x: np.take(x, 1, axis=-1) * x.take(0, axis=1), "i2"),
    Case("take_along_axis", lambda x: np.take_along_axis(x, np.argsort(x, axis=0), axis=0), "ij"),
    Case("take_along_axis 1", lambda x: np.take_along_axis(x, np.array([[0, 0], [1, 0], [1, 1]]), 1), "32"),
    Case("take_along_axis, broadcast", lambda x: np.take_along_axis(x, np.array([[0, 0, 1]]), axis=1), "i2"),
    Case("take_along_axis flat", lambda x: np.take_along_axis(x, np.array([0, 0]), axis=None), "ij", least=1),
    *[
        Case(
            f"take by {mode}",
            lambda x, m=mode: np.take(x, [-9, 7, 1], axis=1, mode=m) * x.take(5, 1, mode=m)[:, None],
            "i3",
        )
        for mode in ("clip", "wrap")
    ],
    Case("compress", lambda x: np.compress([True, False, True], x, axis=0) * x.compress([0, 1], axis=1)[:2], "32"),
    Case("compress flat", lambda x: np.compress([False, True], x), "ij", least=2),
    Case("extract", lambda x: np.extract(MASK, x), "23"),
    *[
        Case(
            f"choose by {mode}",
            lambda x, y, m=mode: np.choose(ROWS if m == "raise" else 9 * ROWS - 4, [x, y], mode=m),
            "4 i4",
        )
        for mode in ("raise", "clip", "wrap")
    ],
    *[
        Case(f"delete {obj}", lambda x, o=obj: np.delete(x, o, axis=0), "3j")
        for obj in (1, -1, [0, 2], slice(None, None, 2), np.array([True, False, False]))
    ],
    Case("delete flat", lambda x: np.delete(x, 3), "23"),
    *[
        Case(f"insert {obj}", lambda x, y, o=obj: np.insert(x, o, y, axis=0), f"3j {shapes}")
        for obj, shapes in (
            (1, "j"),
            (-1, "."),
            (3, "2j"),
            ([0, 3], "2j"),
            ([1, 1], "j"),
            ([2], "2j"),
            (slice(0, 2), "."),
        )
    ],
    Case("insert along axis 1", lambda x, y: np.insert(x, 1, y, axis=1), "i3 i"),
    Case("insert flat", lambda x, y: np.insert(x, [0, 2], y), "23 ."),
    Case("partition", lambda x: np.partition(x, 1, axis=0), "3j"),
    Case("partition flat", lambda x: np.partition(x, 2, axis=None), "ij", least=2),
    Case("sort, stable", lambda x: np.sort(x, stable=True) * np.sort(x, 0, "mergesort"), "ij"),
    Case("apply_along_axis", lambda x: np.apply_along_axis(lambda row: row * np.sum(row), 1, x), "ijk", least=1),
    Case("apply_along_axis, a number", lambda x: np.apply_along_axis(np.prod, 0, x), "ij", least=1),
    Case("apply_along_axis, a matrix", lambda x: np.apply_along_axis(lambda r: np.outer(r, r), -2, x), "ijk", least=1),
    Case("bincount", lambda w: np.bincount([0, 2, 2, 4], w) * np.bincount([1, 1, 0, 0], weights=w, minlength=5), "4"),
    Case("x.argsort, x.nonzero", lambda x: x[0][x[0].argsort()] * x[x.nonzero()].reshape(x.shape), "ij", 1, 2, 1),
    *[Case(f"sort axis={axis}", lambda x, axis=axis: np.sort(x, axis=axis), "ijk") for axis in (None, 0, 1, -1)],
    Case("sort", np.sort, "ij"),
]
