"""Without a C compiler the examples in docstrings that need one are skipped, as these tests are."""

import pytest

from tinyflux.compile.backends.c.build import available

NEED_A_COMPILER = ("tinyflux.compile.traced.compile", "tinyflux.training.compiled.compile_training")


def pytest_collection_modifyitems(items):
    if not available():
        for item in items:
            if item.name in NEED_A_COMPILER:
                item.add_marker(pytest.mark.skip(reason="there is no C compiler here"))
