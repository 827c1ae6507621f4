"""Fixtures of the tests of the examples."""

import pytest

from examples.common import datasets
from tests.support.flux_mnist import LABELS, NO_COMPILER, PIXELS, TEST_PIXELS
from tinyflux.compile.backends.c.build import available


@pytest.fixture(name="few_images")
def _few_images(monkeypatch):
    """The runs of a test learn from forty images."""
    data = datasets.Data("digits", "made up", (PIXELS, LABELS), (TEST_PIXELS, LABELS))
    monkeypatch.setattr(datasets, "load", {"digits": data}.__getitem__)


@pytest.fixture(name="how", params=["native code", "NumPy"])
def _how(request, monkeypatch):
    """Both ways to train."""
    if request.param == "NumPy":
        monkeypatch.setenv("CC", NO_COMPILER)
    elif not available():
        pytest.skip("there is no C compiler here")
    return request.param
