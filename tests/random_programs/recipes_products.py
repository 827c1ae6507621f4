"""Products, and linear algebra."""

from tests.random_programs.registry import recipe


@recipe("np.matmul", "np.linalg.matmul")
def _(d, f):
    a = d.x(ndim=-1)
    shapes = [(a.shape[-1],), (a.shape[-1], d.integer(1, 3))]
    if a.ndim > 2:
        shapes.append((*a.shape[:-2], a.shape[-1], 2))
    b = d.x(shape=d.pick(*shapes))
    return d.pick(f"{f}({a}, {b})", f"{a} @ {b}")


@recipe("np.dot")
def _(d, f):
    a = d.x()
    b = d.x(shape=d.pick((a.shape[-1],), (a.shape[-1], 2), (2, a.shape[-1], 2)) if a.ndim else ())
    return f"{f}({a}, {b})"


@recipe("np.inner")
def _(d, f):
    a = d.x(ndim=-1)
    return f"{f}({a}, {d.x(shape=(*d.pick((), (2,)), a.shape[-1]))})"


@recipe("np.vdot")
def _(d, f):
    a = d.x()
    return f"{f}({a}, {d.like(a)})"


@recipe("np.outer", "np.kron")
def _(d, f):
    return f"{f}({d.x()}, {d.x()})"


@recipe("np.tensordot")
def _(d, f):
    a = d.x(ndim=-1)
    axis = d.axis(a)
    n = a.shape[axis]
    b = d.x(shape=d.pick((n,), (n, 2), (2, n)))
    right = b.shape.index(n)
    return f"{f}({a}, {b}, axes={d.pick(([axis], [right]), ((axis,), (right,)))})"


@recipe("np.einsum")
def _(d, f):
    a = d.x(ndim=d.pick(1, 2, 2, 3))
    letters = "ijk"[: a.ndim]
    b = d.x(shape=d.pick(a.shape, a.shape[::-1], a.shape[-1:]))
    others = {a.shape: letters, a.shape[::-1]: letters[::-1], a.shape[-1:]: letters[-1:]}[b.shape]
    result = "".join(d.permuted(letters)[: d.integer(0, len(letters))])
    if d.chance(0.3):
        return f'{f}("...{letters[-1]},{letters[-1]}->...", {a}, {d.x(shape=a.shape[-1:])})'
    if d.chance(0.15):
        return f"{f}({a}, {list(range(a.ndim))}, {list(d.permutation(a.ndim))})"
    return d.pick(f'{f}("{letters},{others}->{result}", {a}, {b})', f'{f}("{letters}->{result}", {a})')


@recipe("np.trace", "np.diagonal")
def _(d, f):
    x = d.x(ndim=-2)
    axes = d.permutation(x.ndim)[:2]
    return f"{f}({x}, {d.integer(-1, 1)}, {axes[0]}, {axes[1]})"


def square(d, plus=0):
    n = d.integer(1, 3)
    x = d.x(shape=(*d.pick((), (), (2,)), n, n), low=-1, high=1, whole=0)
    return f"({x} + {plus} * np.eye({n}, dtype={x}.dtype))" if plus else x


@recipe("np.linalg.inv", "np.linalg.det", "np.linalg.pinv")
def _(d, f):
    return f"{f}({square(d, 3)})"


@recipe("np.linalg.slogdet")
def _(d, f):
    return f"{f}({square(d, 3)})[{d.pick(0, 1, 1)}]"


@recipe("np.linalg.solve")
def _(d, f):
    a = d.evaluated(square(d, 3))
    return f"{f}({a}, {d.x(shape=(*a.shape[:-1], 2))})"


@recipe("np.linalg.cholesky")
def _(d, f):
    a = d.evaluated(square(d))
    n = a.shape[-1]
    return f"{f}({a} @ np.swapaxes({a}, -1, -2) + 2 * np.eye({n}, dtype={a}.dtype))"


@recipe("np.linalg.norm")
def _(d, f):
    x = d.x(ndim=-1)
    return d.pick(
        f"{f}({x})",
        f"{f}({x}, axis={d.axis(x)}, keepdims={d.flag()})",
        f"{f}({x}, {d.pick(1, 2, 3, 'np.inf', '-np.inf')}, axis={d.axis(x)})",
        f"{f}({d.x(ndim=2, least=1, whole=0)}, {d.pick(1, -1, repr('fro'), 'np.inf', '-np.inf')})",
    )


@recipe("special.zeta")
def _(d, f):
    x = d.x(low=0.8, high=3)
    return f"{f}({d.pick(2, 3.5)}, {x})"


@recipe("np.vecdot", "np.linalg.vecdot")
def _(d, f):
    a = d.x(ndim=-1)
    return f"{f}({a}, {d.x(shape=d.pick(a.shape, a.shape[-1:]))})"


@recipe("np.matvec")
def _(d, f):
    a = d.x(ndim=-2)
    return f"{f}({a}, {d.x(shape=a.shape[-1:])})"


@recipe("np.vecmat")
def _(d, f):
    a = d.x(ndim=-2)
    return f"{f}({d.x(shape=a.shape[-2:-1])}, {a})"


@recipe("np.linalg.outer")
def _(d, f):
    return f"{f}({d.x(ndim=1)}, {d.x(ndim=1)})"


@recipe("np.linalg.tensordot")
def _(d, f):
    a = d.x(ndim=-1)
    return f"{f}({a}, {d.x(shape=(a.shape[-1], 2))}, axes=1)"


@recipe("np.linalg.trace", "np.linalg.diagonal")
def _(d, f):
    return f"{f}({d.x(ndim=-2)}, offset={d.integer(-1, 1)})"


@recipe("np.linalg.matrix_transpose")
def _(d, f):
    return f"{f}({d.x(ndim=-2)})"


@recipe("np.linalg.vector_norm")
def _(d, f):
    x = d.x(ndim=-1, least=1, whole=0)
    return f"{f}({x}, axis={d.axes(x)}, keepdims={d.flag()})"


@recipe("np.linalg.matrix_norm")
def _(d, f):
    return f"{f}({d.x(ndim=-2, least=1, whole=0)}, ord={d.pick(repr('fro'), 1, 'np.inf')}, keepdims={d.flag()})"


@recipe("np.cross", "np.linalg.cross")
def _(d, f):
    a = d.x(shape=(*d.pick((), (2,)), 3))
    return f"{f}({a}, {d.like(a)})"


@recipe("np.convolve", "np.correlate")
def _(d, f):
    return f"{f}({d.x(ndim=1, least=1)}, {d.x(ndim=1, least=1)}, mode={d.pick('full', 'same', 'valid')!r})"


@recipe("np.linalg.matrix_power")
def _(d, f):
    return f"{f}({square(d, 3)}, {d.integer(-1, 3)})"


@recipe("np.linalg.multi_dot")
def _(d, f):
    a = d.x(ndim=2, least=1)
    b = d.x(shape=(a.shape[1], 2))
    return f"{f}([{a}, {b}, {d.x(shape=(2, 2))}])"


def symmetric(d):
    """A symmetric matrix whose eigenvalues are apart."""
    x = d.x(shape=(3, 3), low=-0.5, high=0.5, whole=0)
    return f"({x} + {x}.T + np.diag(np.array([0, 3, 7], dtype={x}.dtype)))"


@recipe("np.linalg.eigh")
def _(d, f):
    return f"{f}({symmetric(d)})[0]" if d.flag() else f"{f}({symmetric(d)})[1] ** 2"


@recipe("np.linalg.eigvalsh")
def _(d, f):
    return f"{f}({symmetric(d)})"


@recipe("np.linalg.svd")
def _(d, f):
    a = f"({symmetric(d)} + 20 * np.eye(3, dtype=f4))"
    return f"{f}({a}{d.pick('[:, :2]', '')}, full_matrices=False){d.pick('[0] ** 2', '[1]', '[2] ** 2')}"


@recipe("np.linalg.svdvals")
def _(d, f):
    return f"{f}({symmetric(d)} + 20 * np.eye(3, dtype=f4))"


@recipe("np.linalg.qr")
def _(d, f):
    return f"{f}({symmetric(d)} + 20 * np.eye(3, dtype=f4)){d.pick('[0]', '[1]')}"


@recipe("np.linalg.lstsq")
def _(d, f):
    return f"{f}({symmetric(d)}[:, :2], {d.x(shape=(3, 2), whole=0)})[0]"


@recipe("np.linalg.cond")
def _(d, f):
    return f"{f}({symmetric(d)}{d.pick('', ', 1')})"


@recipe("np.linalg.tensorinv")
def _(d, f):
    return f"{f}({symmetric(d)}.reshape(3, 1, 3), ind=2)"


@recipe("np.linalg.tensorsolve")
def _(d, f):
    return f"{f}(({symmetric(d)} + 20 * np.eye(3, dtype=f4)).reshape(3, 1, 3), {d.x(shape=(3, 1), whole=0)})"


@recipe("np.polyval")
def _(d, f):
    return f"{f}({d.x(ndim=1, whole=0)}, {d.x(low=-1, high=1, whole=0)})"
