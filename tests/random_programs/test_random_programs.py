"""Random programs: what NumPy, the gradient and the compiler make of them agrees.

`python -m tests.random_programs --count 20000 --seed 1` runs as many as one likes.
"""

import numpy as np
import pytest

from tests.random_programs import recipes
from tests.random_programs.drawing import Draw
from tests.random_programs.fuzz import run
from tinyflux.compile.backends.c.build import available

MANY, SOME = 700, 240  # programs
PART = 60  # compiled by one test, so that two workers can share them


def told(report):
    return "\n\n".join(f"# {failure}\n{program}" for program, failure in report.failures)


@pytest.mark.slow
def test_eager():
    report = run(MANY, seed=1, native=False)
    assert not report.failures, told(report)
    assert report.counts["agree eagerly"] > 0.9 * MANY, report


@pytest.mark.slow
@pytest.mark.skipif(not available(), reason="there is no C compiler here")
@pytest.mark.parametrize("first", range(0, SOME, PART))
def test_compiled(first):
    report = run(PART, seed=2, first=first)
    assert not report.failures, told(report)
    assert report.counts["agree compiled"] > 0.8 * PART, report


def test_every_function_of_the_table_has_a_recipe():
    """A rule that is added needs one in recipes.py: how calls of the function are drawn."""
    missing = [name for name in recipes.table() if name not in recipes.RECIPES]
    assert not missing, f"add to recipes.py how calls of these are drawn: {', '.join(missing)}"


@pytest.mark.parametrize("name", [name for name in recipes.RECIPES if name in {*recipes.table(), *recipes.GENERAL}])
def test_recipes_can_be_drawn(name):
    """In most tries, from nothing, a recipe makes something that NumPy can run."""
    drawn = 0
    for seed in range(30):
        draw = Draw(np.random.default_rng(seed))
        drawn += draw.statement(recipes.RECIPES[name])
    assert drawn >= 18
