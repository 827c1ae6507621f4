"""Reductions and accumulations over every kind of axis."""

import numpy as np

from tests.support.cases import Case

AXES = [None, 0, -1, 1, (0, 1), (-1, 0), ()]
REDUCTIONS = {np.sum: 0, np.prod: 0, np.mean: 1, np.max: 1, np.min: 1, np.amax: 1, np.amin: 1, np.var: 1, np.std: 2}
METHODS = ["sum", "prod", "mean", "max", "min", "var", "std"]
CUMULATIVE = [np.cumulative_sum, np.cumulative_prod]
UFUNCS = {np.add: 0, np.multiply: 0, np.maximum: 1, np.minimum: 1, np.logaddexp: 1}


def _reduction(f, axis, keepdims):
    return lambda x: f(x, axis=axis, keepdims=keepdims)


NAN_REDUCTIONS = {
    np.nansum: 0, np.nanprod: 0, np.nanmean: 1, np.nanmax: 1, np.nanmin: 1, np.nanvar: 1, np.nanstd: 2, np.median: 1,
    np.nanmedian: 1,
}  # fmt: skip
QUANTILES = [np.quantile, np.nanquantile]
METHODS_OF_QUANTILES = [
    "linear", "weibull", "hazen", "interpolated_inverted_cdf", "median_unbiased", "normal_unbiased", "lower", "higher",
    "nearest", "midpoint",
]  # fmt: skip

CASES = [
    *[
        Case(f"{f.__name__} axis={axis}", lambda x, f=f, axis=axis: f(x, axis=axis, keepdims=axis == 1), "ij", least=n)
        for f, n in NAN_REDUCTIONS.items()
        for axis in (None, 0, 1)
    ],
    *[
        Case(f"{f.__name__} {method}", lambda x, f=f, m=method: f(x, [0.1, 0.45, 1], axis=0, method=m), "ij", least=1)
        for f in QUANTILES
        for method in METHODS_OF_QUANTILES
    ],
    *[
        Case(f"{f.__name__} axis={axis}", lambda x, f=f, axis=axis: f(x, 30, axis=axis, keepdims=True), "ij", least=1)
        for f in (np.percentile, np.nanpercentile)
        for axis in (None, 1, (0, 1))
    ],
    Case("average", lambda x: np.average(x) * np.average(x, axis=1), "ij", least=1),
    Case("average by weights", lambda x, w: np.average(x, axis=0, weights=w), "ij i", 0.5, least=1),
    Case("average by all weights", lambda x, w: np.average(x, weights=w, keepdims=True), "ij ij", 0.5, least=1),
    *[
        Case(f"{f.__name__} axis={axis} keepdims={keepdims}", _reduction(f, axis, keepdims), "ijk", least=least)
        for f, least in REDUCTIONS.items()
        for axis in AXES
        for keepdims in (False, True)
        if not (f is np.std and axis == ())
    ],
    *[Case(f"{f.__name__} of a number", f, ".") for f in REDUCTIONS if f is not np.std],
    *[Case(f"{f.__name__} axis=0 of a number", lambda x, f=f: f(x, axis=0), ".") for f in (np.sum, np.max, np.prod)],
    *[Case(f"{f.__name__} to size 0", lambda x, f=f: f(x, axis=1), "03k", least=1) for f in REDUCTIONS],
    *[Case(f"x.{name}()", lambda x, name=name: getattr(x, name)(), "ij", least=2) for name in METHODS],
    *[Case(f"x.{name}(1)", lambda x, name=name: getattr(x, name)(1, keepdims=True), "ij", least=2) for name in METHODS],
    *[
        Case(f"{f.__name__} axis by position", lambda x, f=f: f(x, 1), "ij", least=least)
        for f, least in REDUCTIONS.items()
    ],
    *[
        Case(f"{f.__name__}.reduce {options}", lambda x, f=f, o=options: f.reduce(x, **o), "ijk", least=least)
        for f, least in UFUNCS.items()
        for options in ({}, {"axis": 1}, {"axis": -1, "keepdims": True}, {"axis": None}, {"axis": (0, 2)})
    ],
    *[
        Case(f"{f.__name__} ddof=1 axis={axis}", lambda x, f=f, axis=axis: f(x, axis=axis, ddof=1), "ij", least=2)
        for f in (np.var, np.std)
        for axis in (None, 0)
    ],
    *[
        Case(f"{f.__name__} axis={axis}", lambda x, f=f, axis=axis: f(x, axis=axis), "ijk", least=least)
        for f, least in ((np.cumsum, 0), (np.cumprod, 0), (np.nancumsum, 0), (np.nancumprod, 0), (np.ptp, 1))
        for axis in (None, 0, 1, -1)
    ],
    *[
        Case(f"{f.__name__}.accumulate {options}", lambda x, f=f, o=options: f.accumulate(x, **o), "ijk", least=least)
        for f, least in UFUNCS.items()
        for options in ({}, {"axis": 1}, {"axis": -1})
    ],
    *[
        Case(f"{f.__name__} {options}", lambda x, f=f, o=options: f(x, **o), "ij")
        for f in CUMULATIVE
        for options in ({"axis": 0}, {"axis": -1, "include_initial": True})
    ],
    *[Case(f"{f.__name__} of a line", lambda x, f=f: f(x, include_initial=True), "i") for f in CUMULATIVE],
    Case("x.cumsum()", lambda x: x.cumsum() * x.cumsum(axis=None), "ij"),
    Case("x.cumprod(0)", lambda x: x.cumprod(0) ** 2, "ij"),
    Case("cumsum of a number", np.cumsum, "."),
    Case("cumprod of a number", np.cumprod, "."),
    Case("add.accumulate", lambda x: np.add.accumulate(x) * np.add.accumulate(x, axis=0), "ij"),
    Case("diff", lambda x: np.diff(x), "ij", least=1),
    Case("diff twice along 0", lambda x: np.diff(x, 2, axis=0), "ij", least=2),
    Case("diff 0 times", lambda x: np.diff(x, n=0), "ij"),
    Case("diff with ends", lambda x, a: np.diff(x, prepend=a, append=1.5), "ij i1"),
    Case("diff with ends along 0", lambda x, a: np.diff(x, 2, 0, a, a * a), "ij ."),
]
