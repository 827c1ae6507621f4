"""C is compiled and loaded once, by any number of threads and processes."""

import ctypes
import math
import shlex
import shutil
import subprocess
import sys
import threading

import pytest

from tests.support.building import (
    OTHER,
    REPOSITORY,
    SOURCE,
    answer,
    assert_clean,
    libraries,
    needs_compiler,
    start,
    twice,
)
from tests.support.building import _cache as _cache  # a fixture
from tests.support.building import _fresh as _fresh  # a fixture
from tests.support.building import _wrap as _wrap  # a fixture
from tinyflux.compile.backends.c import build as module
from tinyflux.compile.backends.c import compiler as compilers
from tinyflux.compile.backends.c.build import build


@needs_compiler
def test_the_same_text_gives_the_same_library_and_is_kept_with_its_source(cache):
    library = build(SOURCE)
    assert twice(library) == 3.0
    assert build(SOURCE) is library
    assert twice(build(OTHER)) == 666.0
    assert len(libraries(cache)) == 2
    assert sorted(path.read_text() for path in cache.glob("*.c")) == sorted([SOURCE, OTHER])
    assert_clean(cache)


@needs_compiler
@pytest.mark.parametrize("name", ["gcc", "clang", "ziglang"])
def test_each_compiler_gives_right_numbers(name, monkeypatch):
    if name == "ziglang":
        pytest.importorskip("ziglang")
    elif shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    monkeypatch.setenv("CC", name if name != "ziglang" else shlex.join([sys.executable, "-m", "ziglang", "cc"]))
    library = build(
        "#include <math.h>\n"
        "int is_nan(double x) { return isnan(x) && x != x; }\n"
        "int is_infinite(double x) { return isinf(x) && x == x; }\n"
        "double sine(double x) { return sin(x); }\n"
        "double sum(const double *x, long n) {\n"
        "    double s = 0;\n"
        "    #pragma omp simd reduction(+ : s)\n"
        "    for (long i = 0; i < n; i++) s += x[i];\n"
        "    return s;\n"
        "}\n"
    )
    library.sine.restype = library.sum.restype = ctypes.c_double
    assert library.is_nan(ctypes.c_double(math.nan)) == 1
    assert library.is_infinite(ctypes.c_double(-math.inf)) == 1
    assert library.sine(ctypes.c_double(1.0)) == pytest.approx(math.sin(1.0), rel=1e-15)
    for last, expected in [(1.0, 5050.0), (math.inf, math.inf)]:
        numbers = (ctypes.c_double * 100)(*range(2, 101), last)
        assert library.sum(numbers, ctypes.c_long(100)) == expected
    numbers[50] = math.nan
    assert math.isnan(library.sum(numbers, ctypes.c_long(100)))


@needs_compiler
def test_a_second_process_rebuilds_nothing(wrap):
    calls = wrap()
    assert answer(start()) == "3.0"
    assert answer(start()) == "3.0"
    assert len(calls()) == 1
    assert "-ffast-math" not in calls()[0]
    assert calls()[0].endswith(" -lm")  # Python itself brings the functions along, but not everywhere


@needs_compiler
def test_processes_that_build_the_same_at_once_all_succeed(cache, wrap):
    calls = wrap("sleep 1")
    processes = [start() for _ in range(4)]
    assert [answer(process) for process in processes] == ["3.0"] * 4
    assert len(calls()) > 1
    assert libraries(cache)
    assert_clean(cache)


@needs_compiler
def test_threads_that_build_the_same_at_once_build_it_once(wrap):
    calls = wrap("sleep 0.3")
    found = []
    threads = [threading.Thread(target=lambda: found.append(build(SOURCE))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(map(id, found))) == len(calls()) == 1


@needs_compiler
def test_a_child_forked_while_a_thread_builds_can_build(wrap, tmp_path):
    wrap(f"echo > {shlex.quote(str(tmp_path))}/begun; sleep 1")
    script = f"""
import os, signal, sys, threading, time
from tinyflux.compile.backends.c.build import build
thread = threading.Thread(target=build, args=(sys.argv[1],))
thread.start()
while not os.path.exists({str(tmp_path / "begun")!r}):
    time.sleep(0.01)
child = os.fork()
if child == 0:
    signal.alarm(30)
    build("int other;")
    os._exit(0)
thread.join()
print(os.waitpid(child, 0)[1])
"""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, SOURCE],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.stdout.strip() == "0", process.stderr


def test_a_library_is_known_by_all_that_it_depends_on(monkeypatch):
    compiler = compilers.Compiler(("cc",), "1.0")
    keys = {
        module._key(SOURCE, compiler),
        module._key(OTHER, compiler),
        module._key(SOURCE, compilers.Compiler(("gcc",), "1.0")),
        module._key(SOURCE, compilers.Compiler(("cc",), "1.1")),
        module._key(SOURCE, compilers.Compiler(("cc",), "1.0", ("-O2",))),
    }
    assert module._key(SOURCE, compilers.Compiler(("cc",), "1.0")) in keys
    assert module._cpu() == sorted(module._cpu()[:1]) + sorted(module._cpu()[1:])
    monkeypatch.setattr(module, "_cpu", lambda: ["another"])
    keys.add(module._key(SOURCE, compiler))
    monkeypatch.setattr(module, "FORMAT", -1)
    keys.add(module._key(SOURCE, compiler))
    assert len(keys) == 7
