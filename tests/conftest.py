"""Settings shared by all tests."""

import gc
import importlib.util
import os
import sys
import tempfile

import pytest

try:
    from hypothesis import settings
except ModuleNotFoundError:  # tests/gpu do without
    settings = None

# What the tests compile is kept for the time of the tests, not in the user's cache.
# The workers of pytest-xdist inherit the variable: what one has compiled, the others need not.
if "TINYFLUX_CACHE" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="tinyflux-tests-")
    os.environ["TINYFLUX_CACHE"] = _cache.name

# Processes with a home of their own would otherwise look for fonts, each of them again.
if "MPLCONFIGDIR" not in os.environ:
    _fonts = tempfile.TemporaryDirectory(prefix="tinyflux-tests-")
    os.environ["MPLCONFIGDIR"] = _fonts.name

# The processes that tests start would otherwise compile all modules of the package, each of them again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The same examples in every run, so that a failure can be repeated; no deadline, as machines differ.
if settings:
    settings.register_profile("tinyflux", derandomize=True, deadline=None, max_examples=10, database=None)
    settings.load_profile("tinyflux")


def pytest_configure(config):
    """Workers of pytest-xdist take a core each: threads of BLAS would fight for them, and they wait by spinning."""
    if getattr(config.option, "numprocesses", None):
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(name, "1")


def pytest_collection_modifyitems(items):
    """Slow tests come first, so that no worker is left with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish(session):
    """Thousands of tests live until the end: the garbage collector need not look at them each time."""
    gc.collect()
    gc.freeze()


def pytest_itemcollected(item):
    """A test has the same name in every process: with an address in it, pytest-xdist can't share it out."""
    if " at 0x" in item.nodeid:
        raise ValueError(f"{item.nodeid}: give this parameter a name, pytest.param(…, id=…).")


@pytest.fixture(autouse=True)
def _as_in_a_new_process():
    """Each test finds what a process does, whichever came before: the same random numbers, and nothing said yet.

    Only a slow compiler says nothing, as that depends on the machine.
    """
    import tinyflux as flux
    from tinyflux.compile.backends.c import compiler
    from tinyflux.training import report

    flux.seed(0)
    report.report_once.cache_clear()
    compiler.UNNOTICED = 3600.0


if importlib.util.find_spec("cudnn"):

    @pytest.fixture(autouse=True)
    def _without_cudnn(request, monkeypatch):
        """The one that is installed here is for a GPU, and for no stand-in's arrays."""
        if not request.node.get_closest_marker("gpu"):
            from tinyflux.nn import cudnn

            monkeypatch.setitem(sys.modules, "cudnn", None)
            cudnn.fault.cache_clear()
            yield
            cudnn.fault.cache_clear()
        else:
            yield
