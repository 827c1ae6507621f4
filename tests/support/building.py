"""What the tests of building share: sources, processes that build, a cache and a compiler that can be spoilt."""

import ctypes
import hashlib
import shlex
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest

import tinyflux
from tinyflux.compile.backends.c import build as module
from tinyflux.compile.backends.c import compiler as compilers
from tinyflux.compile.backends.c.build import available, find_compiler

REPOSITORY = Path(tinyflux.__file__).parents[1]
SOURCE = "double twice(double x) { return 2 * x; }\n"
OTHER = "double twice(double x) { return 666; }\n"
SCRIPT = """
import ctypes, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job lacks
from tinyflux.compile.backends.c.build import build
twice = build(sys.argv[1]).twice
twice.argtypes, twice.restype = [ctypes.c_double], ctypes.c_double
print(twice(1.5))
"""

needs_compiler = pytest.mark.skipif(not available(), reason="there is no C compiler here")


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    """A process that has built nothing yet, with folders of its own."""
    monkeypatch.setenv("TINYFLUX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(module, "_loaded", weakref.WeakValueDictionary())
    monkeypatch.setattr(module, "_warned", False)
    monkeypatch.setattr(compilers, "_accepted", {})


@pytest.fixture(name="cache")
def _cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture(name="wrap")
def _wrap(tmp_path, monkeypatch):
    """Put a shell script before the compiler; what it returns tells the compilations that went through it."""
    real = shlex.join(find_compiler().command)
    script, log = tmp_path / "wrapper", tmp_path / "log"

    def install(body=""):
        script.write_text(
            f'#!/bin/sh\ncase "$*" in *source.c*) ;; *) exec {real} "$@";; esac\n'
            f'echo "$*" >> {shlex.quote(str(log))}\n{body}\nexec {real} "$@"\n'
        )
        script.chmod(0o700)
        monkeypatch.setenv("CC", shlex.quote(str(script)))
        return lambda: log.read_text().splitlines() if log.exists() else []

    return install


def twice(library):
    function = library.twice
    function.argtypes, function.restype = [ctypes.c_double], ctypes.c_double
    return function(1.5)


def start(source=SOURCE, script=SCRIPT, **options):
    """Another process that builds, and for which any warning is an error."""
    command = [sys.executable, "-W", "error", "-c", script, source]
    return subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def answer(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()


def wait_for(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def libraries(folder):
    return sorted(folder.glob("*.so"))


def assert_clean(folder):
    """Only whole files under final names."""
    assert not list(folder.glob("building-*"))
    for path in libraries(folder):
        assert path.name.split(".")[1] == hashlib.sha256(path.read_bytes()).hexdigest()


def world_writable(cache):
    cache.mkdir()
    cache.chmod(0o707)
