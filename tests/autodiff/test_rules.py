"""Every rule of the table: value and derivatives of first and second order, on drawn shapes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyflux as flux
from tests.support import cases_elementwise, cases_linalg, cases_reductions, cases_shapes, cases_special
from tests.support.cases import WatchedRules

CASES = [
    *cases_elementwise.CASES,
    *cases_reductions.CASES,
    *cases_shapes.CASES,
    *cases_linalg.CASES,
    *cases_special.CASES,
]
SIZES = st.fixed_dictionaries({letter: st.integers(0, 3) for letter in "ijkmn"})


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} [{case.shapes}]")
def test_gradient(case):
    @given(sizes=SIZES, seed=st.integers(0, 2**32 - 1))  # made anew: hypothesis wraps the settings of one at each case
    def check(sizes, seed):
        case.check(sizes, seed)

    check()


def test_that_every_entry_of_the_table_is_tested(monkeypatch):
    """A rule that no case above reaches, or a pullback that none calls, fails here."""
    watched = WatchedRules(monkeypatch)
    sizes = dict.fromkeys("ijkmn", 2)
    for case in CASES:
        flux.gradcheck(case.f, *case.arguments(sizes, 0), directions=1)
    assert watched.unused() == []
