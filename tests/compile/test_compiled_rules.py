"""Every rule of the table, compiled: values and derivatives of both orders are those that NumPy calculates.

A compilation costs much more than what is compiled, so many cases are compiled as one function.
"""

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

import tinyflux as flux
from tests.support import cases_elementwise, cases_linalg, cases_reductions, cases_shapes, cases_special
from tests.support.cases import WatchedRules
from tinyflux.autodiff import tape
from tinyflux.compile import compile  # noqa: A004
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.ir.program import Recording
from tinyflux.compile.trace.symbolic import Symbolic
from tinyflux.errors import NotCompilable

needs_compiler = pytest.mark.skipif(not available(), reason="there is no C compiler here")

VALUES = "the shape of its result depends on values"
NO_C = "there is no way to write it in C"
NOT_IN_C = {
    "i0", "ldexp", "erfcx", "erfinv", "erfcinv", "dawsn", "log_ndtr", "ndtri", "rgamma", "expi", "exp1", "i1", "i0e",
    "i1e", "j0", "j1", "kl_div", "pseudo_huber", "beta", "betaln", "boxcox", "boxcox1p", "gammainc", "gammaincc",
    "betainc",
}  # fmt: skip
NOT_COMPILED = {
    **dict.fromkeys(sorted(NOT_IN_C), NO_C),
    "x[x > 0]": "indexing by a mask that is being compiled",
    "x.argsort, x.nonzero": VALUES,
    "bincount": VALUES,
    "partition": "np.argpartition can't be compiled",
    "partition flat": "np.argpartition can't be compiled",
    **{
        case.name: reason
        for names, reason in (
            (("svd ", "eigh", "qr", "r of qr"), "the signs of its vectors"),
            (("eigvalsh",), "np.linalg.eigvalsh can't be compiled"),
            (("lstsq",), "depends on an array's values"),
        )
        for case in cases_linalg.CASES
        if case.name.startswith(names)
    },
}
FILES = (cases_elementwise, cases_reductions, cases_shapes, cases_linalg, cases_special)
CASES = [case for file in FILES for case in file.CASES if case.name not in NOT_COMPILED]
MANY = 20  # a compiler's time grows faster than a function: 40 cases on axes of sizes 1 and 2 can take it 27 s
PARTS = {f"{i}, {CASES[i].name}": CASES[i : i + MANY] for i in range(0, len(CASES), MANY)}

SIZES = st.fixed_dictionaries({letter: st.integers(0, 3) for letter in "ijkmn"})
DIFFERENT = {"i": 2, "j": 3, "k": 4, "m": 1, "n": 3}  # no two axes can be taken for each other
OTHERS = {"i": 3, "j": 2, "k": 1, "m": 4, "n": 2}

# All arguments and weights are of order 1. So a result is a sum of terms about as large as the largest of the result's
# array, or as 1 where they cancel each other; each has the rounding errors of a few operations.
TOLERANCES = {np.float64: 1e-12, np.float32: 1e-5}


def weights(y):
    return np.cos(np.arange(np.size(y))).reshape(np.shape(y)).astype(y.dtype)


def first_order(case, arguments):
    """The value, as f alone gives it and beside a gradient, and the gradients."""
    value, back = flux.pullback(case.f, *arguments)
    return [case.f(*arguments), value, back(weights(value))]


def second_order(case, arguments):
    """The gradients of a weighted sum of the gradients."""

    def slope(*arguments):
        value, back = flux.pullback(case.f, *arguments)
        found = back(np.sin(1 + np.arange(np.size(value))).reshape(np.shape(value)).astype(value.dtype))
        found = found if isinstance(found, tuple) else (found,)
        return sum(np.sum(weights(d) * d) for d in found if d is not None) + 0 * np.sum(arguments[0])

    return flux.gradient(slope, *arguments)


def all_of(cases, calculate):
    """The results of all cases, with the name of the case in an error."""

    def results(arguments):
        found = []
        for case, own in zip(cases, arguments, strict=True):
            try:
                found.append(calculate(case, own))
            except Exception as error:
                error.add_note(f"in the case {case.name} [{case.shapes}]")
                raise
        return found

    return results


def laid_out(x, how):
    """The same numbers, lying in memory in another way."""
    if how == 1 and x.ndim:
        return np.asfortranarray(x)
    return np.repeat(np.flip(x, -1), 2, axis=-1)[..., ::-2] if how == 2 and x.ndim else x


def same(got, expected, tolerance):
    if expected is None:
        return got is None
    if isinstance(expected, (tuple, list)):
        return len(got) == len(expected) and all(same(g, e, tolerance) for g, e in zip(got, expected, strict=True))
    if np.shape(got) != np.shape(expected) or np.asarray(got).dtype != np.asarray(expected).dtype:
        return False
    floor = tolerance * max(1, np.max(np.abs(expected), initial=0))
    return np.allclose(got, expected, rtol=tolerance, atol=floor)


def compare(cases, calculate, sizes, seed, dtype):
    arguments = [[x.astype(dtype) for x in case.arguments(sizes, seed)] for case in cases]
    given = [[laid_out(x, (i + k) % 3) for k, x in enumerate(own)] for i, own in enumerate(arguments)]
    results = all_of(cases, calculate)
    expected, got = results(arguments), compile(results)(given)
    wrong = [(c, g, e) for c, g, e in zip(cases, got, expected, strict=True) if not same(g, e, TOLERANCES[dtype])]
    shown = [f"{case.name} [{case.shapes}]: {g} instead of {e}" for case, g, e in wrong]
    assert not wrong, "\n".join(shown)


@needs_compiler
@pytest.mark.parametrize("part", PARTS)
@example(sizes=DIFFERENT, seed=0, dtype=np.float64)
@example(sizes=OTHERS, seed=1, dtype=np.float32)
@given(sizes=SIZES, seed=st.integers(0, 2**32 - 1), dtype=st.just(np.float64))
@settings(max_examples=2, phases=[Phase.explicit, Phase.generate])
def test_values_and_gradients(part, sizes, seed, dtype):
    compare(PARTS[part], first_order, sizes, seed, dtype)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("part", PARTS)
def test_second_derivatives(part):
    compare(PARTS[part], second_order, OTHERS, 2, np.float64)


@pytest.mark.parametrize("name", NOT_COMPILED)
def test_what_cannot_be_compiled(name):
    case = next(c for file in FILES for c in file.CASES if c.name == name)
    with pytest.raises(NotCompilable, match=NOT_COMPILED[name]):
        compile(case.f)(*case.arguments(DIFFERENT, 0))


def test_that_every_entry_of_the_table_is_compiled(monkeypatch):
    """A rule that no case above has recorded, or a pullback, fails here."""

    def recorded(g):
        assert isinstance(g, (Symbolic, tape.Tracked))

    watched = WatchedRules(monkeypatch, recorded)
    for case in CASES:
        with Recording() as recording:
            arrays = [Symbolic(recording.input(x.shape, x.dtype)) for x in case.arguments(dict.fromkeys("ijkmn", 2), 0)]
            second_order(case, arrays)
    unused = {name.split(",")[0].rpartition(".")[2] for name in watched.unused()}
    assert unused - NOT_IN_C == {
        "_packed_eigh", "_packed_qr", "_packed_svd", "eigvalsh", "bincount", "eigh", "lstsq", "qr", "partition",
        "_ratio",  # of log_ndtr
    }  # fmt: skip
