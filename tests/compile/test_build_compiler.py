"""A compiler that fails leaves nothing behind but a clear error; the compiler is the one that was asked for."""

import importlib.util
import os
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support.building import (
    OTHER,
    SOURCE,
    assert_clean,
    libraries,
    needs_compiler,
    start,
    twice,
    wait_for,
    world_writable,
)
from tests.support.building import _cache as _cache  # a fixture
from tests.support.building import _fresh as _fresh  # a fixture
from tests.support.building import _wrap as _wrap  # a fixture
from tinyflux.compile.backends.c import compiler as compilers
from tinyflux.compile.backends.c.build import available, build, find_compiler
from tinyflux.errors import CompilationFailed, CompilerNotFound
from tinyflux.installed import pip_install

# Compilers that fail


@needs_compiler
def test_an_error_in_the_source_is_shown_with_the_command_and_the_file(cache):
    with pytest.raises(CompilationFailed) as caught:
        build("int f(void) { return 1; }\nint g(void) { return nothing; }\n")
    message = str(caught.value)
    assert "source.c:2:" in message
    assert "nothing" in message
    assert f"command: {find_compiler().command[0]}" in message
    path = Path(message.rsplit("source: ")[-1])
    assert path.parent == cache.resolve()
    assert "return nothing" in path.read_text()
    assert list(cache.iterdir()) == [path]


@needs_compiler
def test_an_error_in_the_source_says_where_to_keep_it_if_the_cache_cannot_be_used(cache):
    world_writable(cache)
    with pytest.raises(CompilationFailed, match=r"nothing(.|\n)*temporary and is gone.*set \$TINYFLUX_CACHE"):
        build("int g(void) { return nothing; }\n")


@needs_compiler
def test_a_library_that_cannot_be_loaded_is_a_failure():
    with pytest.raises(CompilationFailed, match="nowhere_defined"):
        build("double nowhere_defined(double); double f(double x) { return nowhere_defined(x); }\n")


@needs_compiler
def test_a_compiler_that_is_killed_leaves_nothing_under_a_final_name(cache, wrap):
    wrap("printf half > library.so; kill -9 $$")
    with pytest.raises(CompilationFailed, match="signal 9"):
        build(SOURCE)
    assert not libraries(cache)
    assert_clean(cache)
    wrap()
    assert twice(build(SOURCE)) == 3.0
    assert_clean(cache)


@needs_compiler
def test_a_compiler_that_writes_nothing_is_a_failure(wrap):
    wrap("exit 0")
    with pytest.raises(CompilationFailed, match="left no library"):
        build(SOURCE)


@needs_compiler
def test_an_interrupt_stops_the_compiler_and_leaves_nothing(cache, wrap, tmp_path):
    wrap(f"printf half > library.so; sleep 100 & echo $! > {shlex.quote(str(tmp_path))}/begun; wait")
    process = start()
    begun = tmp_path / "begun"
    wait_for(lambda: begun.exists() and begun.read_text().strip())
    sleeper = int(begun.read_text())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in err
    assert not libraries(cache)
    assert_clean(cache)

    def gone():
        try:
            os.kill(sleeper, 0)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{sleeper}/status")  # an orphan that nobody waits for
        return status.exists() and "zombie" in status.read_text()

    wait_for(gone)


@needs_compiler
def test_what_a_killed_process_left_is_removed_after_an_hour(cache, wrap, tmp_path):
    wrap(f"printf half > library.so; echo > {shlex.quote(str(tmp_path))}/begun; sleep 5")
    process = start()
    wait_for((tmp_path / "begun").exists)
    process.kill()
    process.communicate()
    (left,) = cache.glob("building-*")
    assert not libraries(cache)
    wrap()
    assert twice(build(SOURCE)) == 3.0
    assert left.exists()
    os.utime(left, (time.time() - 7200,) * 2)
    assert twice(build(OTHER)) == 666.0
    assert_clean(cache)


@needs_compiler
@pytest.mark.parametrize("error", [OSError("out of order"), KeyboardInterrupt()])
def test_an_error_while_the_library_is_moved_leaves_no_part_of_it(error, cache, monkeypatch):
    def fail(source, target):
        raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises((CompilationFailed, KeyboardInterrupt)):
        build(SOURCE)
    assert not list(cache.iterdir())


@needs_compiler
def test_a_flag_that_the_compiler_rejects_is_left_out_and_found_out_once(wrap):
    calls = wrap('case "$*" in *-fopenmp-simd*|*-march=*) echo "error: unknown flag" >&2; exit 1;; esac')
    assert twice(build(SOURCE)) == 3.0
    assert "-fopenmp-simd" not in calls()[-1]
    assert "-march=native" not in calls()[-1]
    assert "-fno-math-errno" in calls()[-1]
    before = len(calls())
    assert twice(build(OTHER)) == 666.0
    assert len(calls()) == before + 1


@needs_compiler
def test_no_flag_is_blamed_for_an_error_in_the_source(wrap):
    calls = wrap()
    for name in ("nothing", "nil"):
        with pytest.raises(CompilationFailed, match=name):
            build(f"int g(void) {{ return {name}; }}\n")
    assert len(calls()) == 3  # two sources and a probe
    assert "-march=native" in calls()[-1]


# Finding a compiler


def no_compiler(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir(exist_ok=True)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def fake(tmp_path, name, body='echo "$0 1.0"'):
    path = tmp_path / "bin" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return str(path)


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch, tmp_path):
    no_compiler(monkeypatch, tmp_path)
    assert not available()
    with pytest.raises(
        CompilerNotFound, match=r"no gcc on \$PATH.*ziglang.*install gcc or clang.*\$CC.*pip install"
    ) as e:
        build(SOURCE)
    assert pip_install("compile") in str(e.value)


@pytest.mark.parametrize(
    ("cc", "reason"),
    [
        ("nonsense", r"\$CC is 'nonsense', but no nonsense on \$PATH; correct it, or unset it"),
        ("/nowhere/gcc -m64", "no /nowhere/gcc"),
        ("'", "no command"),
        ("bad", "bad --version fails with status 3"),
        ("silent", "silent --version fails with status 0"),
        ("garbage", "can't be run"),
    ],
)
def test_a_useless_cc_is_an_error_and_nothing_else_is_taken(cc, reason, monkeypatch, tmp_path):
    no_compiler(monkeypatch, tmp_path)
    fake(tmp_path, "cc")
    fake(tmp_path, "bad", "echo bad 1.0; exit 3")
    fake(tmp_path, "silent", "exit 0")
    Path(fake(tmp_path, "garbage")).write_bytes(b"\x7fELF nothing")
    monkeypatch.setenv("CC", cc)
    assert not available()
    with pytest.raises(CompilerNotFound, match=reason):
        find_compiler()


def test_cc_gcc_and_clang_are_tried_in_this_order(monkeypatch, tmp_path):
    no_compiler(monkeypatch, tmp_path)
    paths = [fake(tmp_path, name) for name in ("cc", "gcc", "clang")]
    monkeypatch.setenv("CC", " ")
    for i, path in enumerate(paths):
        assert find_compiler() == compilers.Compiler((path,), f"{path} 1.0")
        assert find_compiler() is find_compiler()
        Path(path).write_text("#!/bin/sh\nexit 1\n")  # as macOS' cc does before its tools are installed
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{':' * (i + 1)}")


def test_a_compiler_that_hangs_is_given_up(monkeypatch, tmp_path):
    no_compiler(monkeypatch, tmp_path)
    fake(tmp_path, "cc", "exec /bin/sleep 20")
    path = fake(tmp_path, "gcc")
    monkeypatch.setattr(compilers, "PATIENCE", 0.2)
    assert find_compiler().command == (path,)


@needs_compiler
def test_cc_may_hold_arguments(monkeypatch):
    real = find_compiler().command
    monkeypatch.setenv("CC", shlex.join(["env", "A=b c", *real]))
    assert find_compiler().command[1:] == ("A=b c", *real)
    assert twice(build(SOURCE)) == 3.0


def test_ziglang_is_the_last_resort(monkeypatch, tmp_path):
    package = tmp_path / "site" / "ziglang"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sys\nprint('zig of', sys.argv[1:])\n")
    spec = importlib.util.spec_from_file_location("ziglang", package / "__init__.py")
    no_compiler(monkeypatch, tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    assert find_compiler().command == (sys.executable, "-m", "ziglang", "cc")
    assert find_compiler().version == "zig of ['cc', '--version']"


def test_on_windows_there_is_none(monkeypatch):
    compilers._find.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        found = compilers._find("", "")
    compilers._find.cache_clear()
    assert "Linux and macOS" in found
