"""Flags in $CC can't change results, nor how the process calculates."""

import ctypes
import math
import shlex
import shutil
import threading

import pytest

from tests.support.building import _cache as _cache  # a fixture
from tests.support.building import _fresh as _fresh  # a fixture
from tests.support.building import _wrap as _wrap  # a fixture
from tests.support.building import needs_compiler
from tinyflux.compile.backends.c.build import build, find_compiler
from tinyflux.errors import CompilationFailed, CompilerNotFound

NUMBERS = """#include <math.h>
int is_nan(double x) { return isnan(x) && x != x; }
int is_infinite(double x) { return isinf(x); }
double minus(double x) { return 0.0 - x; }
double plus_zero(double x) { return x + 0.0; }
double lost(double x, double y) { return (x + y) - x; }
double thirds(double x) { return x / 3.0; }
double half(double x) { return x / 2; }
"""


def numbers():
    """What the functions give, in a thread of its own: how it calculates ends with it."""
    found = {}

    def work():
        library = build(NUMBERS)
        for name in ("minus", "plus_zero", "lost", "thirds", "half"):
            getattr(library, name).restype = ctypes.c_double
        double = ctypes.c_double
        found["nan"] = library.is_nan(double(math.nan)), library.is_infinite(double(math.inf))
        found["zeros"] = [math.copysign(1, f(double(x))) for f, x in ((library.minus, 0.0), (library.plus_zero, -0.0))]
        found["lost"] = library.lost(double(1e16), double(0.5))
        found["thirds"] = library.thirds(double(5.0))
        found["half"] = library.half(double(2.0**-1073)), float("4e-323") * float("0.5")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found


EXPECTED = {"nan": (1, 1), "zeros": [1.0, 1.0], "lost": 0.0, "thirds": 5.0 / 3.0, "half": (2.0**-1074, 2e-323)}
FLAGS = [
    "-ffast-math",
    "-Ofast",
    "-Ofast -ffast-math -funsafe-math-optimizations -fno-signed-zeros",
    "-funsafe-math-optimizations",
    "-ffinite-math-only",
    "-fno-signed-zeros",
    "-fassociative-math -fno-signed-zeros -fno-trapping-math",
    "-freciprocal-math",
    "-O0",
]


@needs_compiler
@pytest.mark.parametrize("name", ["gcc", "clang"])
@pytest.mark.parametrize("flags", FLAGS)
def test_fast_math_is_undone(name, flags, monkeypatch):
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    monkeypatch.setenv("CC", f"{name} {flags}")
    assert numbers() == EXPECTED


@needs_compiler
def test_flags_that_a_script_adds_behind_ours_are_refused(tmp_path, monkeypatch):
    script = tmp_path / "fast"
    for flag in ("-ffast-math", "-ffinite-math-only", "-funsafe-math-optimizations"):
        script.write_text(f'#!/bin/sh\nexec {shlex.join(find_compiler().command)} "$@" {flag}\n')
        script.chmod(0o700)
        monkeypatch.setenv("CC", str(script))
        with pytest.raises(CompilationFailed, match=r"-ffast-math, or a part of it, which changes results; set \$CC"):
            build(NUMBERS)
        monkeypatch.delenv("CC")


@needs_compiler
@pytest.mark.parametrize("flag", ["-mdaz-ftz", "-fsingle-precision-constant", "-fdenormal-fp-math=preserve-sign,x"])
def test_flags_that_not_all_compilers_can_undo_are_refused(flag, monkeypatch):
    monkeypatch.setenv("CC", f"{shlex.join(find_compiler().command)} {flag}")
    with pytest.raises(CompilerNotFound, match=f"{flag} changes results; leave it out"):
        find_compiler()
