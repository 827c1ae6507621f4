"""What the tests of flux.compile share: special numbers, random ones, and a comparison with the function itself."""

import numpy as np

from tinyflux.compile import compile  # noqa: A004

INF, NAN = np.inf, np.nan
SPECIAL = np.array([-INF, -1e4, -750.0, -1.5, -1.0, -1e-300, -0.0, 0.0, 1e-9, 0.5, 1.0, 2.0, 720.0, 1e4, INF, NAN])
rng = np.random.default_rng(0)


def same(got, expected, tolerance, path="result"):
    """Whether two trees of arrays agree: types, shapes, dtypes and numbers, NaN and infinities among them."""
    if isinstance(expected, (tuple, list)):
        assert type(got) is type(expected), path
        assert len(got) == len(expected), path
        for i, (g, e) in enumerate(zip(got, expected, strict=True)):
            same(g, e, tolerance, f"{path}[{i}]")
    elif isinstance(expected, dict):
        assert list(got) == list(expected), path
        for name in expected:
            same(got[name], expected[name], tolerance, f"{path}[{name!r}]")
    elif hasattr(expected, "dtype"):
        assert np.shape(got) == np.shape(expected), path
        assert got.dtype == expected.dtype, path
        np.testing.assert_allclose(
            got, expected, tolerance, 0 if expected.dtype.kind in "biu" else tolerance, err_msg=path
        )
    elif hasattr(expected, "__dict__") and not callable(expected):
        same(vars(got), vars(expected), tolerance, path)
    else:
        assert got == expected, path


def agree(f, *args, tolerance=1e-12):
    """Compare a function with its compiled self; returns the latter."""
    with np.errstate(all="ignore"):
        expected = f(*args)
    compiled = compile(f)
    same(compiled(*args), expected, tolerance)
    return compiled
