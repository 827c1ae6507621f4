"""What has no rule of its own: operators, methods, constants, casts, and the library's own functions."""

import tinyflux as flux
from tests.random_programs.registry import recipe


@recipe("operators")
def _(d, f):
    x = d.x()
    y = d.beside(x)
    simple = [f"{x} + {y}", f"{x} - {y}", f"{x} * {y}", f"{y} * 0.5 - {x}", f"-{x}", f"abs({x})", f"1.5 - {x}"]
    simple += [f"{x} / ({y} * {y} + 1)", f"{x} ** 2", f"{x} ** 3", f"2.0 ** {d.between(x, -3, 3)}", f"3 * {x} + 1"]
    simple += [
        f"{d.between(x, 0.5, 2)} ** {d.pick(-1, 0.5, -1.5)}",
        f"{x} % 0.7",
        f"{x} // 0.6",
        f"2 / ({x} * {x} + 1)",
    ]
    return d.pick(*simple)


@recipe("methods")
def _(d, f):
    x = d.x(ndim=-1)
    axis = d.axis(x)
    calls = [
        f"sum(axis={axis})",
        f"mean({axis})",
        f"max(axis={axis})",
        "min()",
        f"var(axis={axis})",
        "ravel()",
        "copy()",
    ]
    calls += [
        "flatten()",
        "squeeze()",
        f"cumsum({axis})",
        "clip(-1, 1)",
        "T",
        f"swapaxes(0, {axis})",
        f"repeat(2, {axis})",
    ]
    calls += [
        f"take(0, axis={axis})",
        "dot(2.0)",
        f"sum({axis}, keepdims=True)",
        "astype(f4)",
        "astype(float)",
        "astype(int)",
        "ravel('F')",
    ]
    calls += ["reshape(-1, order='F')", f"std(axis={axis})", f"prod({axis})", "trace()", f"argmax({axis})", "T.copy()"]
    return f"{x}.{d.pick(*calls)}"


@recipe("constants")
def _(d, f):
    x = d.x(ndim=-1)
    return d.pick(
        f"np.{d.pick('floor', 'ceil', 'trunc', 'rint', 'sign')}({x})",
        f"np.{d.pick('argmax', 'argmin')}({x}, axis={d.axis(x, none=True)})",
        f"np.argsort({x}, axis={d.axis(x)})",
        f"{x} * np.{d.pick('sign', 'floor')}({d.beside(x)})",
        f"np.{d.pick('zeros_like', 'ones_like')}({x}) + {d.beside(x)}",
        f"np.{d.pick('any', 'all')}({d.mask(x.shape)}, axis={d.axis(x)})",
        f"np.{d.pick('isnan', 'isfinite', 'signbit')}({x})",
    )


@recipe("integers")
def _(d, f):
    x = d.x()
    kind = d.pick("i8", "i4", "u1", "b1")
    n = d.input(d.rng.integers(0, 4, d.pick(x.shape, x.shape[-1:])).astype(kind), "n")
    words = [f"{x} * {n}", f"{x} + {n}", f"{x} - {n}", f"np.where({n} > 1, {x}, 0)", f"np.maximum({x}, {n})"]
    words += [f"np.sum({n})", f"{n} * 2", f"np.cumsum({n})", f"np.power({d.between(x, 0.5, 2)}, {n})", f"np.mean({n})"]
    return d.pick(*words)


@recipe("nested functions")
def _(d, f):
    x = d.x(ndim=-1, least=1)
    return d.pick(
        f"(lambda a, b: a * b + np.sin(a))({x}, {d.beside(x)})",
        f"sum([row * k for k, row in enumerate({x})])",
        f"np.stack([np.tanh(row) for row in {x}])",
        f"np.sum(np.array([1.0, 2.0]).reshape(2, {', '.join(['1'] * x.ndim)}) * {x}, axis=0)",
    )


FLUX = [
    "relu",
    "elu",
    "gelu",
    "swish",
    "softplus",
    "leakyrelu",
    "sigmoid",
    "tanh",
    "softmax",
    "logsoftmax",
    "logsumexp",
]


@recipe("the library's functions")
def _(d, f):
    name = d.pick(*[name for name in FLUX if hasattr(flux, name)], "mse", "mae", "huber")
    x = d.x(ndim=-1, least=1, whole=0)
    return f"flux.{name}({x}, {d.like(x)})" if name in ("mse", "mae", "huber") else f"flux.{name}({x})"
