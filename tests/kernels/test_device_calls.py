"""Sorting, matrices and special functions in kernels made for them, run on the CPU by g++: the numbers of NumPy."""

import re

import numpy as np
import pytest

import tinyflux as flux
from tests.kernels.test_device_programs import check
from tests.support import cuda_shim
from tests.support.call_cases import CASES, FAILING
from tests.support.program_cases import arrays
from tinyflux.compile.backends.cuda import calls

pytestmark = pytest.mark.usefixtures("compiling")


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name):
    f, shape = CASES[name]
    p, x = arrays(shape, shape, dtype=np.float64)
    check(lambda m, x: f(m["p"], x), {"p": p}, x, dtype=np.float64)


@pytest.mark.parametrize("name", ["sort", "argsort", "argsort, NaN", "inv", "cholesky", "digamma", "zeta"])
def test_in_float32(name):
    f, shape = CASES[name]
    p, x = arrays(shape, shape)
    check(lambda m, x: f(m["p"], x), {"p": p}, x)


@pytest.mark.parametrize("order", cuda_shim.ORDERS)
@pytest.mark.parametrize("name", FAILING)
def test_what_fails(name, order):
    """As on the CPU: the same error, with the same message; the next call is as ever."""
    cuda_shim.order = order
    f, bad, said = FAILING[name]
    compiled, good = flux.compile(f), np.zeros_like(bad) + 2 * np.eye(3)
    for _ in range(2):
        for x in (bad, flux.gpu(bad)):
            with pytest.raises(np.linalg.LinAlgError, match=f"^{said}$"):
                compiled(x)
        np.testing.assert_allclose(compiled(flux.gpu(good)).get(), compiled(good), rtol=1e-13)


def test_what_is_too_large(monkeypatch):
    monkeypatch.setattr(calls, "LARGEST", 5)
    monkeypatch.setattr(calls, "COMPARISONS", 100)
    monkeypatch.setattr(calls, "SMALL", 100)
    x = flux.gpu(np.eye(6))
    for f, said in (
        (np.linalg.inv, "np.linalg.solve, inv or det of so large matrices can't be compiled for the GPU"),
        (np.linalg.cholesky, "np.linalg.cholesky of so large"),
        (np.linalg.pinv, "np.linalg.svd of so large"),
        (np.sort, r"sorting so many numbers \(np.argsort, np.sort\)"),
    ):
        with pytest.raises(flux.NotCompilable, match=said):
            flux.compile(lambda x: f(x) * 2)(x)  # noqa: B023
    assert flux.compile(lambda x: np.sort(x) * 2)(flux.gpu(np.eye(3))).shape == (3, 3)


FAULTS = [
    ("j < i && !comes_after", "!comes_after"),
    ("a != a && b == b", "false"),
    ("int64_t p = k;", "int64_t p = 0;"),
    (r"\(int64_t\)swaps\[i\]", "i"),
    (r"TF_BARRIER;(\W*const int64_t p\b)", r"\1"),
    (r"TF_BARRIER;(\W*for \(int64_t i = k \+ 1 \+ TF_THREAD / TF_WARP)", r"\1"),
    (r"j <= i; j", "j < i; j"),
    (r"power \*= x \* x", "power *= x"),
]


@pytest.mark.parametrize(("old", "new"), FAULTS)
def test_a_fault_is_found(old, new, monkeypatch):
    changed = cuda_shim.plant(monkeypatch, lambda code: re.sub(old, new, code))
    for name in ("argsort", "argsort, NaN", "inv", "solve", "cholesky", "digamma"):
        try:
            test_values_and_gradients(name)
        except (AssertionError, cuda_shim.ShimError, np.linalg.LinAlgError):
            assert all(changed)
            return
    pytest.fail("it was not found")
