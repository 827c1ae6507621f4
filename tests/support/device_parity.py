"""What has to come out on the device as it does in NumPy; for the stand-in, and for a GPU where there is one."""

import numpy as np

import tinyflux as flux
from tests.support import cases_elementwise, cases_linalg, cases_reductions, cases_shapes, cases_special

FILES = (cases_elementwise, cases_reductions, cases_shapes, cases_linalg, cases_special)
SIZES = [{"i": 2, "j": 3, "k": 4, "m": 1, "n": 3}, {"i": 3, "j": 2, "k": 1, "m": 4, "n": 2}]

# Cases that calculate with a NumPy array or a list of their own, beside the argument: an error on the device.
MIXED = {"ndarray op x", "list op x", "negative base", "plain @ x", "einsum with plain", "concatenate with a list"}
MIXED |= {f"interp {how}" for how in (
    "in a list", "in a list of one point", "in a list, its ends", "at a number, in a list", "in a list, periodic",
)}  # fmt: skip
ZETA = "NumPy calls scipy.special.zeta _zeta, which CuPy does not know"
BROADCASTS = "cupy.linalg.solve does not broadcast stacks of matrices"
NO_AXIS = "CuPy knows no axis 0 of an array without axes"
REDUCE = "CuPy has ufunc.reduce for add and multiply alone"
ACCUMULATE = "CuPy has ufunc.accumulate for add and multiply alone"
MISSING = "CuPy has no such function"
LIMITS = {  # the library writes nothing else than what CuPy lacks here
    "psi": ZETA,
    "slope of psi": ZETA,
    "dawsn": MISSING,
    "solve inn nk": BROADCASTS,
    "solve nn ink": BROADCASTS,
    "solve i1nn jnk": BROADCASTS,
    **{f"{name}.accumulate": ACCUMULATE for name in ("maximum", "minimum", "logaddexp")},
}
SECOND_ORDER_LIMITS = dict.fromkeys(("gammaln", "gamma", "loggamma", "rgamma", "beta", "betaln"), ZETA)
CASES = [c for file in FILES for c in file.CASES]

UNRECORDED_LIMITS = {  # within a gradient they work, being composed of others there
    **{f"{name} axis=0 of a number": NO_AXIS for name in ("sum", "max", "prod")},
    "dot with a float": "cupy.dot takes no numbers",
    "clip below": "cupy.clip does not know min=",
    "full, like": "cupy.full does not know device=, which NumPy hands on",
    "slogdet": "the result of cupy.linalg.slogdet has no names",
    **{f"nanquantile {method}": MISSING for method in cases_reductions.METHODS_OF_QUANTILES},
    **{f"nanpercentile axis={axis}": MISSING for axis in (None, 1, (0, 1))},
    "maximum.reduce": REDUCE,
    "minimum.reduce": REDUCE,
    **{
        c.name: reason
        for names, reason in (
            (("geomspace", "block", "unstack", "insert"), "CuPy lacks the function"),
            (("linalg's", "linalg.tensordot", "linalg.diagonal", "multi_dot", "svdvals"), "CuPy lacks the function"),
            (("vecdot", "matvec", "vecmat", "matrix_norm", "vector_norm"), "CuPy lacks the function"),
            (("pad {", "pad by", "take by", "sort, stable", "upper"), "CuPy lacks the option"),
            (("x.mT", "compress"), "CuPy's arrays lack the method"),
            (("extract", "choose", "delete [ True"), "the case gives it an array of NumPy's"),
        )
        for c in CASES
        if c.name.startswith(names)
    },
}


def limit(case, limits):
    """The reason for which CuPy can't calculate a case, or None."""
    own = next((reason for name, reason in limits.items() if case.name.split(" {")[0] == name), None)
    return own or limits.get(case.name) or (REDUCE if case.name.startswith("logaddexp.reduce") else None)


def identity(x):
    """np.eye for arrays of the device as well."""
    return np.tril(np.triu(np.ones_like(x)))


def without_numpy_arrays(monkeypatch):
    """The helpers of the cases make NumPy arrays; the same, made of their argument."""
    monkeypatch.setattr(cases_linalg, "well", lambda x: x + 8 * identity(x))
    monkeypatch.setattr(cases_linalg, "definite", lambda x: x @ np.swapaxes(x, -1, -2) + 2 * identity(x))


def weights(y):
    """Different numbers in the shape of y, where y lies."""
    return np.cos(np.cumsum(np.ones_like(y)).reshape(np.shape(y)))


def first_order(case, arguments):
    value, back = flux.pullback(case.f, *arguments)
    return [value, back(weights(value))]


def second_order(case, arguments):
    """The gradients of a weighted sum of the gradients."""

    def slope(*arguments):
        value, back = flux.pullback(case.f, *arguments)
        found = back(0.7 * weights(value))
        found = found if isinstance(found, tuple) else (found,)
        return sum(np.sum(weights(d) * d) for d in found if d is not None) + 0 * np.sum(arguments[0])

    return flux.gradient(slope, *arguments)


def check_same(got, expected, kind, tolerance, name):
    """The same numbers, shapes and dtypes, in arrays of the device throughout."""
    if expected is None or isinstance(expected, (tuple, list)):
        assert (got is None) == (expected is None), name
        assert expected is None or len(got) == len(expected), name
        for g, e in zip(got or (), expected or (), strict=True):
            check_same(g, e, kind, tolerance, name)
        return
    expected = np.asarray(expected)
    assert type(got) is kind, f"{name}: expected an array of the device, got a {type(got)}"
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype), name
    scale = tolerance * max(1, np.max(np.abs(expected), initial=0))
    np.testing.assert_allclose(got.get(), expected, rtol=tolerance, atol=scale, err_msg=name)


def check_case(case, calculate, to_device, kind, tolerances=(1e-12, 1e-5)):
    """One case on both, at two sizes, in float64 and in float32."""
    for dtype, tolerance in zip((np.float64, np.float32), tolerances, strict=True):
        for seed, sizes in enumerate(SIZES):
            arguments = [x.astype(dtype) for x in case.arguments(sizes, seed)]
            expected = calculate(case, arguments)
            got = calculate(case, [to_device(x) for x in arguments])
            check_same(got, expected, kind, tolerance, f"{case.name} [{case.shapes}] {dtype.__name__} {sizes}")


def trained(rule, move):
    """Losses of a short training of every kind of layer, and the model, moved before anything happens."""
    flux.seed(0)
    model = flux.Chain(
        flux.flatten,
        flux.Dense(6, 8, flux.gelu),
        flux.Dropout(0.25, seed=3),
        flux.SkipConnection(flux.Dense(8, 8, flux.tanh), np.add),
        flux.Parallel(np.add, flux.Dense(8, 3, bias=False), flux.Dense(8, 3)),
    )
    rng = np.random.default_rng(1)
    x = rng.standard_normal((20, 2, 3), dtype=np.float32)
    y = flux.onehotbatch(rng.integers(3, size=20), range(3))
    model, (x, y) = move(model, (x, y))
    opt = flux.setup(rule, model)
    data = flux.DataLoader((x, y), batchsize=6)  # shuffled, it would come in another order on the device
    losses = flux.train(lambda m, x, y: flux.logitcrossentropy(m(x), y), model, data, opt, epochs=3, compile=False)
    return losses, model, opt
