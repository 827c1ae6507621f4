"""Functions that rearrange, join, cut and index arrays."""

from tests.random_programs.registry import recipe


@recipe("np.reshape")
def _(d, f):
    x = d.x()
    shape = d.factors(x.size)
    return d.pick(
        f"{f}({x}, {shape})", f"{f}({x}, {shape}, order='F')", f"{x}.reshape({shape})", f"{x}.reshape(*{shape})"
    )


@recipe("np.ravel", "np.copy", "np.atleast_1d", "np.atleast_2d", "np.atleast_3d", "np.squeeze")
def _(d, f):
    return f"{f}({d.x()})"


@recipe("np.transpose")
def _(d, f):
    x = d.x()
    return d.pick(f"{f}({x})", f"{x}.T", f"{f}({x}, {d.permutation(x.ndim)})")


@recipe("np.matrix_transpose", "np.fliplr")
def _(d, f):
    return f"{f}({d.x(ndim=-2)})"


@recipe("np.flipud")
def _(d, f):
    return f"{f}({d.x(ndim=-1)})"


@recipe("np.swapaxes", "np.moveaxis")
def _(d, f):
    x = d.x(ndim=-1)
    return f"{f}({x}, {d.axis(x)}, {d.axis(x)})"


@recipe("np.expand_dims")
def _(d, f):
    x = d.x()
    return f"{f}({x}, {d.integer(-x.ndim - 1, x.ndim)})"


@recipe("np.broadcast_to")
def _(d, f):
    x = d.x()
    shape = tuple(d.integer(1, 3) if n == 1 else n for n in x.shape)
    return f"{f}({x}, {d.pick((), (2,), (1, 3)) + shape})"


@recipe("np.flip")
def _(d, f):
    x = d.x()
    return f"{f}({x}, axis={d.axes(x)})"


@recipe("np.roll")
def _(d, f):
    x = d.x()
    return f"{f}({x}, {d.integer(-3, 3)}, axis={d.axis(x, none=True)})"


@recipe("np.tril", "np.triu", "np.diag", "np.diagflat")
def _(d, f):
    return f"{f}({d.x(ndim=-1)}, {d.integer(-2, 2)})"


@recipe("np.tile")
def _(d, f):
    return f"{f}({d.x()}, {d.pick(2, (2, 1), (1, 2), (1, 1, 2), [2])})"


@recipe("np.repeat")
def _(d, f):
    x = d.x()
    axis = d.axis(x, none=True)
    n = x.size if axis is None else x.shape[axis]
    return f"{f}({x}, {d.pick(2, [d.integer(0, 2) for _ in range(n)])}, axis={axis})"


@recipe("np.pad")
def _(d, f):
    x = d.x(ndim=-1)
    widths = tuple((d.integer(0, 2), d.integer(0, 1)) for _ in range(x.ndim))
    modes = "", ", constant_values=0.5", ", mode='edge'", ", mode='reflect'", ", mode='wrap'", ", mode='symmetric'"
    return f"{f}({x}, {d.pick(1, (0, 1), widths)}{d.pick(*modes)})"


# Joining and cutting.


@recipe("np.concatenate")
def _(d, f):
    x = d.x(ndim=-1)
    axis = d.axis(x, none=True)
    shape = list(x.shape)
    if axis is not None:
        shape[axis] = d.integer(0, 2)
    parts = [x, d.x(shape=tuple(shape)), *[d.like(x)] * d.flag()]
    return f"{f}([{', '.join(d.permuted(parts))}], axis={axis})"


@recipe("np.stack")
def _(d, f):
    x = d.x()
    return f"{f}([{x}, {d.like(x)}{d.pick('', f', {d.like(x)}')}], axis={d.integer(-x.ndim - 1, x.ndim)})"


@recipe("np.hstack", "np.vstack")
def _(d, f):
    x = d.x()
    return f"{f}([{x}, {d.like(x)}])"


@recipe("np.split")
def _(d, f):
    x = d.x(ndim=-1)
    axis = d.axis(x)
    n = x.shape[axis]
    ways = d.pick([d.integer(0, n)], sorted([d.integer(0, n), d.integer(0, n)]), n or 1)
    return f"{f}({x}, {ways}, axis={axis})[{d.pick(0, -1)}]"


@recipe("np.array_split")
def _(d, f):
    x = d.x(ndim=-1)
    return f"{f}({x}, {d.integer(1, 3)}, axis={d.axis(x)})[{d.pick(0, -1)}]"


# Indices.


@recipe("np.take")
def _(d, f):
    x = d.x()
    axis = d.axis(x, none=True)
    n = x.size if axis is None else x.shape[axis]
    mode = d.pick("", "", ", mode='wrap'", ", mode='clip'")
    return f"{f}({x}, {d.indices(d.pick((), (2,), (2, 2)), n)}, axis={axis}{mode})"


@recipe("np.take_along_axis")
def _(d, f):
    x = d.x(ndim=-1)
    axis = d.axis(x)
    if d.chance(0.3):
        return f"{f}({x}, np.argsort({d.like(x)}, axis={axis}), axis={axis})"
    shape = list(x.shape)
    shape[axis] = d.integer(1, 3)
    return f"{f}({x}, {d.indices(tuple(shape), x.shape[axis])}, axis={axis})"


@recipe("getitem")
def _(d, f):
    x = d.x(ndim=-1)
    n = x.shape[0]
    way = d.pick("basic", "basic", "array", "two", "list", "mask", "mixed")
    if way == "basic":
        items = [d.item(n) for n in x.shape[: d.integer(0, x.ndim)]]
        items.insert(d.integer(0, len(items)), d.pick("...", "None"))
        return f"{x}[{', '.join(items)}]"
    if way == "mask":
        return f"{x}[{d.mask(x.shape[: d.integer(1, x.ndim)])}]"
    if way == "list":
        return f"{x}[{[d.integer(-n, n - 1) for _ in range(d.integer(1, 3))]}]"
    if way == "array" or x.ndim == 1:
        return f"{x}[{d.indices(d.pick((), (3,), (2, 2)), n)}]"
    other = d.indices((2,), x.shape[-1])
    return f"{x}[{d.indices((2,), n) if way == 'two' else d.item(n)}, ..., {other}]"


@recipe("np.lib.stride_tricks.sliding_window_view")
def _(d, f):
    x = d.x(ndim=-1, least=1)
    axis = d.axis(x)
    return f"{f}({x}, {d.integer(1, x.shape[axis])}, axis={axis})"


@recipe("np.permute_dims")
def _(d, f):
    x = d.x()
    return f"{f}({x}, {d.permutation(x.ndim)})"


@recipe("np.rollaxis")
def _(d, f):
    x = d.x(ndim=-1)
    return f"{f}({x}, {d.axis(x)})"


@recipe("np.rot90")
def _(d, f):
    return f"{f}({d.x(ndim=-2)}, {d.integer(-1, 3)})"


@recipe("np.column_stack", "np.dstack")
def _(d, f):
    x = d.x()
    return f"{f}([{x}, {d.like(x)}])"


@recipe("np.concat")
def _(d, f):
    x = d.x(ndim=-1)
    return f"{f}([{x}, {d.like(x)}], axis={d.axis(x)})"


@recipe("np.block")
def _(d, f):
    x = d.x(ndim=-1)
    return f"{f}([{x}, {d.like(x)}])"


@recipe("np.append")
def _(d, f):
    x = d.x(ndim=-1)
    return f"{f}({x}, {d.like(x)}, axis={d.axis(x, none=True)})"


@recipe("np.insert", "np.delete")
def _(d, f):
    x = d.x(ndim=-1, least=1)
    axis = d.axis(x)
    index = d.pick(d.integer(0, x.shape[axis] - 1), [0])
    return (
        f"{f}({x}, {index}, axis={axis})"
        if f == "np.delete"
        else f"{f}({x}, {index}, {d.pick('0.5', 'np.sum(' + d.x() + ')')}, axis={axis})"
    )


@recipe("np.meshgrid")
def _(d, f):
    return f"{f}({d.x(ndim=1)}, {d.x(ndim=1)}{d.pick('', ', indexing=' + repr('ij'))})[{d.pick(0, 1)}]"


@recipe("np.broadcast_arrays")
def _(d, f):
    x = d.x()
    return f"{f}({x}, {d.beside(x)})[{d.pick(0, 1)}]"


@recipe("np.linspace", "np.geomspace", "np.logspace")
def _(d, f):
    low, high = d.x(ndim=d.pick(0, 0, 1), low=0.5, high=1, whole=0), d.x(ndim=0, low=1, high=2, whole=0)
    return f"{f}({low}, {high}, {d.integer(1, 4)}{d.pick('', ', endpoint=False')})"


@recipe("np.vander")
def _(d, f):
    return f"{f}({d.x(ndim=1)}, {d.pick('None', 2, 3)}, increasing={d.flag()})"


@recipe("np.hsplit", "np.vsplit", "np.dsplit")
def _(d, f):
    x = d.x(ndim=-3)
    return f"{f}({x}, [1])[{d.pick(0, -1)}]"


@recipe("np.unstack")
def _(d, f):
    x = d.x(ndim=-1, least=1)
    return f"{f}({x}, axis={d.axis(x)})[{d.pick(0, -1)}]"


@recipe("np.choose", "np.compress", "np.extract")
def _(d, f):
    x = d.x(ndim=1, least=1)
    if f == "np.choose":
        return f"{f}({d.indices(x.shape, 2)} % 2, [{x}, {d.like(x)}])"
    return f"{f}({d.mask(x.shape)}, {x})"


@recipe("np.resize")
def _(d, f):
    return f"{f}({d.x(least=1)}, {d.shape(least=1)})"


@recipe("np.trim_zeros")
def _(d, f):
    return f"{f}({d.x(ndim=1)})"


@recipe("np.astype")
def _(d, f):
    return f"{f}({d.x()}, {d.pick('f4', 'float', 'int')})"
