"""Every rule of the table: value and derivatives of first and second order, on drawn shapes."""

import copy

import cases_elementwise
import cases_linalg
import cases_reductions
import cases_shapes
import pytest
from cases import Watched
from hypothesis import given
from hypothesis import strategies as st

import tinyflux as flux
from tinyflux.autodiff import tape

CASES = [*cases_elementwise.CASES, *cases_reductions.CASES, *cases_shapes.CASES, *cases_linalg.CASES]
# The table as it is before any test adds to it; the rules of nn are tested with nn.
RULES = {f: r for f, r in tape.rules.items() if "tinyflux.nn" not in str(getattr(f, "__module__", ""))}
SIZES = st.fixed_dictionaries({letter: st.integers(0, 3) for letter in "ijkmn"})


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} [{case.shapes}]")
@given(sizes=SIZES, seed=st.integers(0, 2**32 - 1))
def test_gradient(case, sizes, seed):
    case.check(sizes, seed)


def test_that_every_entry_of_the_table_is_tested(monkeypatch):
    """A rule that no case above reaches, or a pullback that none calls, fails here."""
    called = set()

    def noting(pullback, key):
        return pullback and (lambda *args, **options: called.add(key) or pullback(*args, **options))

    rules, expected = {}, set()
    for function, rule in RULES.items():
        rules[function] = new = copy.copy(rule)
        if isinstance(rule.pullbacks, tape.Indexed):
            new.pullbacks = tape.Indexed(noting(rule.pullbacks.pullback, (function, None)))
            expected.add((function, None))
        else:
            new.pullbacks = [noting(p, (function, k)) for k, p in enumerate(rule.pullbacks)]
            expected.update((function, k) for k, p in enumerate(rule.pullbacks) if p)
    compositions = Watched(tape.compositions)
    monkeypatch.setattr(tape, "rules", rules)
    monkeypatch.setattr(tape, "compositions", compositions)
    sizes = dict.fromkeys("ijkmn", 2)
    for case in CASES:
        flux.gradcheck(case.f, *case.arguments(sizes, 0), directions=1)
    assert sorted(f"{tape.name_of(f)}, argument {k}" for f, k in expected - called) == []
    assert sorted(tape.name_of(f) for f in set(compositions) - compositions.used) == []
