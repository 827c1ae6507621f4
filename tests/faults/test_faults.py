"""The table of faults: each entry comes to what is expected; `python -m tests.faults` prints it."""

import pytest

from tests.faults import faults_compiled
from tests.faults.entries import ENTRIES
from tinyflux.compile.backends.c.build import available


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.name) for entry in ENTRIES])
def test_entry(entry):
    if entry in faults_compiled.ENTRIES and not available():
        pytest.skip("there is no C compiler here")
    agrees, got = entry.run()
    assert agrees, f"expected {entry.expected.text}, got {got}"


def test_names_are_different():
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
