"""Functions that reduce or accumulate along axes."""

from tests.random_programs.registry import recipe


def more(d, f, x):
    """Options of reductions that are seldom given."""
    options = []
    if d.chance(0.2):
        options.append(f"where={d.mask(x.shape)}")
        if "max" in f or "min" in f:
            options.append("initial=-3.0" if "max" in f else "initial=3.0")
    elif f in ("np.sum", "np.prod", "np.max", "np.min", "np.amax", "np.amin") and d.chance(0.15):
        options.append(f"initial={d.pick(0.5, 1, -0.5)}")
    if f in ("np.sum", "np.prod", "np.mean", "np.var", "np.std") and d.chance(0.15):
        options.append(f"dtype={d.pick('float', 'f4')}")
    return "".join(f", {option}" for option in options)


@recipe("np.sum", "np.mean", "np.max", "np.min", "np.amax", "np.amin")
def _(d, f):
    x = d.x()
    return f"{f}({x}{d.reduced(x)}{more(d, f, x)})"


@recipe("np.prod")
def _(d, f):
    x = d.x(low=-1.5, high=1.5)
    return f"{f}({x}{d.reduced(x)}{more(d, f, x)})"


@recipe("np.var", "np.std")
def _(d, f):
    x = d.x()
    return f"{f}({x}{d.reduced(x)}{d.pick(', ddof=0', ', ddof=1', ', correction=1', '')}{more(d, f, x)})"


@recipe("np.ptp")
def _(d, f):
    x = d.x()
    return f"{f}({x}, axis={d.axis(x, none=True)})"


@recipe("np.add.reduce", "np.multiply.reduce", "np.maximum.reduce", "np.minimum.reduce", "np.logaddexp.reduce")
def _(d, f):
    x = d.x(ndim=-1, whole=0)
    return f"{f}({x}, axis={d.axes(x)}, keepdims={d.flag()})"


@recipe("np.cumsum", "np.cumprod", "np.nancumsum", "np.nancumprod")
def _(d, f):
    x = d.x()
    return f"{f}({x}, axis={d.axis(x, none=True)}{d.pick('', '', ', dtype=float')})"


@recipe(
    "np.add.accumulate",
    "np.multiply.accumulate",
    "np.maximum.accumulate",
    "np.minimum.accumulate",
    "np.logaddexp.accumulate",
)
def _(d, f):
    x = d.x(ndim=-1)
    return f"{f}({x}, axis={d.axis(x)})"


@recipe("np.diff")
def _(d, f):
    x = d.x(ndim=-1)
    ends = d.pick("", "", ", prepend=0.5", f", append={x}", ", prepend=1, append=2")
    return f"{f}({x}, n={d.pick(0, 1, 1, 2)}, axis={d.axis(x)}{ends})"


@recipe("np.sort")
def _(d, f):
    x = d.x(ndim=-1)
    return f"{f}({x}, axis={d.axis(x, none=True)})"


@recipe("np.cumulative_sum", "np.cumulative_prod")
def _(d, f):
    x = d.x(ndim=-1)
    return f"{f}({x}, axis={d.axis(x)}, include_initial={d.flag()})"


@recipe(
    "np.nansum",
    "np.nanmean",
    "np.nanmax",
    "np.nanmin",
    "np.nanprod",
    "np.nanvar",
    "np.nanstd",
    "np.nanmedian",
    "np.median",
)
def _(d, f):
    x = d.x(ndim=-1, least=1, low=-2, high=2, whole=0)
    if "nan" in f and d.chance(0.5):
        x = f"np.where({d.input(d.rng.random(x.shape) < 0.3, 'b')}, np.nan, {x})"
        return f"{f}({x}{d.pick('', ', keepdims=True')})"
    return f"{f}({x}, axis={d.axes(x)}, keepdims={d.flag()})"


@recipe("np.quantile", "np.percentile", "np.nanquantile", "np.nanpercentile")
def _(d, f):
    x = d.x(ndim=-1, least=1, whole=0)
    q = d.pick("0.3", "0.5", "[0.25, 0.9]", "1.0")
    return f"{f}({x}, {f'100 * np.array({q})' if 'percent' in f else q}, axis={d.axis(x, none=True)})"


@recipe("np.average")
def _(d, f):
    x = d.x(ndim=-1, least=1)
    axis = d.axis(x)
    weights = d.x(shape=(x.shape[axis],), low=0.2, high=2)
    return d.pick(f"{f}({x}, axis={axis})", f"{f}({x}, axis={axis}, weights={weights})")


@recipe("np.trapezoid")
def _(d, f):
    x = d.x(ndim=-1, least=1)
    return f"{f}({x}, dx=0.5, axis={d.axis(x)})"


@recipe("np.gradient")
def _(d, f):
    x = d.x(ndim=1, least=2)
    return f"{f}({x}{d.pick('', ', 0.5')})"


@recipe("np.bincount")
def _(d, f):
    x = d.x(ndim=1, least=1)
    return f"{f}({d.indices(x.shape, 3)} % 3, weights={x}, minlength={d.integer(0, 4)})"


@recipe("np.apply_along_axis")
def _(d, f):
    x = d.x(ndim=-1, least=1)
    return f"{f}({d.pick('np.sum', 'np.cumsum', 'lambda row: row * row[0]')}, {d.axis(x)}, {x})"


@recipe("np.ediff1d")
def _(d, f):
    return f"{f}({d.x()})"


@recipe("np.cov", "np.corrcoef")
def _(d, f):
    x = d.x(ndim=2, least=2, whole=0)
    return f"{f}({x} + np.arange({x.size}.0).reshape({x.shape}) ** 2)"


@recipe("np.partition")
def _(d, f):
    x = d.x(ndim=-1, least=1)
    return f"np.sort({f}({x}, 0, axis=-1)[..., 1:], axis=-1)"
