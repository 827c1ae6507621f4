"""`python -m tinyflux.doctor`: what is there, and for what isn't the line that installs it."""

import importlib.metadata
import os

import pytest

import tinyflux as flux
from tinyflux import doctor, installed
from tinyflux.installed import pip_install


@pytest.fixture
def without(monkeypatch):
    """Have packages be missing."""

    def hide(*names):
        version = importlib.metadata.version

        def missing(name):
            if name in names:
                raise importlib.metadata.PackageNotFoundError(name)
            return version(name)

        monkeypatch.setattr(importlib.metadata, "version", missing)

    return hide


def line_of(word):
    (line,) = [line for line in doctor.report().splitlines() if word in line]
    return line


def test_which_version_and_where():
    assert line_of("tinyflux 0") == f"tinyflux {flux.__version__}, in {installed.FOLDER}"


@pytest.mark.parametrize(
    ("name", "extra"),
    [("matplotlib", "plot"), ("tqdm", "examples"), ("pooch", "examples"), ("scikit-learn", "examples"),
     ("safetensors", "interop"), ("distributed", "cluster")],
)  # fmt: skip
def test_what_is_missing_is_named_with_the_line_that_installs_it(without, name, extra):
    without(name)
    line = line_of(f"{name} not installed")
    assert line.endswith(f": {pip_install(extra)}")


def test_what_is_there_takes_one_line(monkeypatch, without):
    names = ["matplotlib", "tqdm", "pooch", "scikit-learn", "safetensors", "distributed"]
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.2")
    assert line_of("matplotlib") == ", ".join(f"{name} 1.2" for name in names)
    without(*names)
    assert doctor.report().count("not installed, for") >= len(names)


def test_the_extras_are_those_of_the_package():
    from tests.support.clone import CLONE

    config = (CLONE / "setup.cfg").read_text()
    for name, (extra, _) in doctor._OPTIONAL.items():
        section = config.partition(f"\n{extra} =")[2]
        assert name in section.partition("\n\n")[0]


@pytest.mark.parametrize(
    ("load", "threads", "busy"), [(7.5, None, True), (0.2, None, False), (7.5, "1", False), (7.5, "2", True)]
)
def test_a_busy_machine(monkeypatch, load, threads, busy):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0, 0), raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    used = int(threads or 8)
    line = line_of("Cores")
    assert line.startswith(f"Cores: {used} of 8 are used" + (f" (OMP_NUM_THREADS={threads})" if threads else ""))
    assert ("set OMP_NUM_THREADS=1" in line) == busy
