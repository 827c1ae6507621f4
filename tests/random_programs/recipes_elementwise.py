"""Functions of numbers."""

from tests.random_programs.registry import RECIPES, recipe, text_of
from tests.support import cases_elementwise, cases_special


def _unary(f, low, high):
    return lambda d: f"{f}({d.x(low=low, high=high)})"


def _binary(f, low, high):
    def made(d):
        a = d.x(low=low, high=high)
        b = d.beside(a, low=low, high=high)
        return f"{f}({a}, {b})" if d.flag() else f"{f}({b}, {a})"

    return made


for cases in (cases_elementwise, cases_special):
    RECIPES |= {text_of(f): _unary(text_of(f), *between) for f, between in cases.UNARY.items()}
    RECIPES |= {text_of(f): _binary(text_of(f), *between) for f, between in cases.BINARY.items()}


@recipe("np.copysign", "np.nextafter", "np.heaviside")
def _(d, f):
    x = d.x(low=0.1, high=2)
    y = d.beside(x, low=0.1, high=2)
    return f"{f}({x}, {y})" if d.flag() else f"{f}(-{x}, -{y})"  # apart from where it jumps


@recipe("np.divmod")
def _(d, f):
    x = d.x()
    return f"{f}({x}, {d.beside(x, low=0.5, high=2)})[{d.pick(0, 1)}]"


@recipe("np.modf")
def _(d, f):
    return f"{f}({d.x()})[{d.pick(0, 1)}]"


@recipe("special.boxcox", "special.boxcox1p", "special.inv_boxcox")
def _(d, f):
    return f"{f}({d.x(low=0.5, high=2)}, {d.pick(0.5, -0.5, 0.0, 1.5)})"


@recipe("special.huber")
def _(d, f):
    x = d.x()
    return f"{f}({d.pick('0.7', d.beside(x, low=0.3, high=2))}, {x})"


@recipe("special.zeta")
def _(d, f):
    x = d.x(low=0.8, high=3)
    return f"{f}({d.pick(2, 3.5)}, {x})"


# Choosing.


@recipe("np.where")
def _(d, f):
    x = d.x()
    return f"{f}({d.mask(d.beside(x).shape)}, {x}, {d.beside(x)})"


@recipe("np.clip")
def _(d, f):
    x = d.x()
    low, high = d.pick("None", "-0.8", "np.float32(-1)", d.beside(x)), d.pick("None", "1", "0.9")
    return f"{f}({x}, {low}, {high})"


@recipe("np.select")
def _(d, f):
    x = d.x()
    y = d.like(x)
    return f"{f}([{d.mask(x.shape)}, {d.mask(x.shape)}], [{x}, {y}], {d.pick('0', '0.5', d.like(x))})"


@recipe("np.interp")
def _(d, f):
    x = d.x(low=-2, high=2, whole=0)
    n = d.integer(2, 4)
    return f"{f}({x}, np.linspace(-1.3, 1.1, {n}), {d.x(shape=(n,), whole=0)})"


@recipe("np.nan_to_num", "np.real_if_close", "np.real", "np.imag", "np.conjugate")
def _(d, f):
    return f"{f}({d.x()})"


@recipe("np.unwrap")
def _(d, f):
    x = d.x(ndim=-1)
    return f"{f}({x} * 3, axis={d.axis(x)})"


@recipe("np.full_like")
def _(d, f):
    fill = d.x(ndim=0)
    return f"{f}({d.x()} * {fill}, {fill})"


@recipe("np.full")
def _(d, f):
    x = d.x(ndim=-1)
    return f"{f}({(d.integer(1, 3), *x.shape)}, {x}, like={x})"


@recipe("np.array", "np.asarray", "np.asanyarray", "np.ascontiguousarray", "np.asfortranarray")
def _(d, f):
    x = d.x(ndim=-1)
    return f"{f}({x}, like={x})"


@recipe("np.ldexp")
def _(d, f):
    return f"{f}({d.x()}, {d.integer(-2, 2)})"


@recipe("special.polygamma")
def _(d, f):
    return f"{f}({d.integer(0, 2)}, {d.x(low=0.8, high=4)})"


@recipe("special.gammainc", "special.gammaincc")
def _(d, f):
    return f"{f}({d.pick('0.8', '2.5')}, {d.x(low=0.3, high=3, whole=0)})"


@recipe("special.betainc")
def _(d, f):
    return f"{f}(0.8, {d.pick('1.5', '2.5')}, {d.x(low=0.1, high=0.9, whole=0)})"


@recipe("special.logsumexp")
def _(d, f):
    x = d.x(ndim=-1, least=1, whole=0)
    return f"{f}({x}, axis={d.axes(x)}, keepdims={d.flag()})"


@recipe("special.softmax", "special.log_softmax")
def _(d, f):
    x = d.x(ndim=-1, least=1, whole=0)
    return f"{f}({x}, axis={d.axis(x, none=True)})"
