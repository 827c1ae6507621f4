"""C is compiled and loaded once; what was kept is loaded only if it is whole and nobody else could have changed it."""

import ctypes
import hashlib
import importlib.util
import math
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tinyflux
from tinyflux.compile import build as module
from tinyflux.compile import compiler as compilers
from tinyflux.compile.build import CompilationFailed, CompilerNotFound, available, build, find_compiler

REPOSITORY = Path(tinyflux.__file__).parents[1]
SOURCE = "double twice(double x) { return 2 * x; }\n"
OTHER = "double twice(double x) { return 666; }\n"
SCRIPT = """
import ctypes, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job lacks
from tinyflux.compile.build import build
twice = build(sys.argv[1]).twice
twice.argtypes, twice.restype = [ctypes.c_double], ctypes.c_double
print(twice(1.5))
"""
ROOT = os.geteuid() == 0 if hasattr(os, "geteuid") else False
STRANGER = 65534

needs_compiler = pytest.mark.skipif(not available(), reason="there is no C compiler here")
needs_root = pytest.mark.skipif(not ROOT, reason="only root can give files to others")


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    """A process that has built nothing yet, with folders of its own."""
    monkeypatch.setenv("TINYFLUX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(module, "_loaded", {})
    monkeypatch.setattr(module, "_warned", False)
    monkeypatch.setattr(compilers, "_accepted", {})


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def wrap(tmp_path, monkeypatch):
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


# Building


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
from tinyflux.compile.build import build
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


# Kept files that must not be loaded


def content_of(source, tmp_path):
    """A good library with another source."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return compilers.compile_library(find_compiler(), source, folder).read_bytes()


def replaced(path, content):
    """Other bytes under the same name, and with the same mode."""
    path.write_bytes(content)


def linked(path, tmp_path):
    path.rename(tmp_path / "target")
    path.symlink_to(tmp_path / "target")


def as_fifo(path):
    path.unlink()
    os.mkfifo(path, 0o600)


DAMAGES = {
    "truncated": lambda path, tmp_path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path, tmp_path: os.truncate(path, 0),
    "another library": lambda path, tmp_path: replaced(path, content_of(OTHER, tmp_path)),
    "one byte more": lambda path, tmp_path: replaced(path, path.read_bytes() + b"\0"),
    "writable by the group": lambda path, tmp_path: path.chmod(0o720),
    "writable by all": lambda path, tmp_path: path.chmod(0o702),
    "a link": linked,
    "a pipe": lambda path, tmp_path: as_fifo(path),
    "somebody else's": lambda path, tmp_path: os.chown(path, STRANGER, STRANGER),
}


@needs_compiler
@pytest.mark.parametrize("damage", [pytest.param(d, marks=needs_root if "else" in d else ()) for d in DAMAGES])
def test_a_file_that_cannot_be_trusted_is_built_again_in_its_place(damage, cache, wrap, tmp_path):
    calls = wrap()
    assert answer(start()) == "3.0"
    (path,) = libraries(cache)
    DAMAGES[damage](path, tmp_path)
    before = len(calls())
    assert answer(start()) == "3.0"
    assert len(calls()) == before + 1
    (path,) = libraries(cache)
    about = path.lstat()
    assert stat.S_ISREG(about.st_mode)
    assert stat.S_IMODE(about.st_mode) == 0o700
    assert about.st_uid == os.geteuid()
    assert_clean(cache)
    assert answer(start()) == "3.0"
    assert len(calls()) == before + 1


@needs_compiler
def test_a_damaged_file_under_another_name_does_not_stay(cache):
    cache.mkdir(mode=0o700)
    damaged = cache / f"{module._key(SOURCE, find_compiler())}.{'0' * 64}.so"
    damaged.write_bytes(b"damaged")
    assert twice(build(SOURCE)) == 3.0
    assert not damaged.exists()
    assert_clean(cache)


# Folders that must not be used


def world_writable(cache):
    cache.mkdir()
    cache.chmod(0o707)


def group_writable(cache):
    cache.mkdir()
    cache.chmod(0o770)


def sticky(cache):
    cache.mkdir()
    cache.chmod(0o1777)


def link_to_world_writable(cache):
    target = cache.with_name("target")
    world_writable(target)
    cache.symlink_to(target)


def in_world_writable(cache):
    cache.with_name("open").mkdir()
    cache.with_name("open").chmod(0o777)
    (cache.with_name("open") / "cache").mkdir(mode=0o700)
    cache.symlink_to(cache.with_name("open") / "cache")


def of_a_stranger(cache):
    cache.mkdir(mode=0o755)
    os.chown(cache, STRANGER, STRANGER)


def in_a_strangers(cache):
    in_world_writable(cache)
    cache.with_name("open").chmod(0o755)
    os.chown(cache.with_name("open"), STRANGER, STRANGER)


def a_file(cache):
    cache.write_text("")


UNSAFE = [
    (world_writable, "cache can be written to by others; chmod go-w"),
    (group_writable, "cache can be written to by others; chmod go-w"),
    (sticky, "cache can be written to by others"),
    (link_to_world_writable, "target can be written to by others"),
    (in_world_writable, "open can be written to by others"),
    pytest.param(of_a_stranger, f"cache belongs to another user, number {STRANGER}", marks=needs_root),
    pytest.param(in_a_strangers, f"open belongs to another user, number {STRANGER}", marks=needs_root),
    (a_file, "cache is no folder"),
]


@needs_compiler
@pytest.mark.parametrize(("spoil", "reason"), UNSAFE)
def test_an_unsafe_folder_is_not_used_and_nothing_is_left_of_the_temporary_one(spoil, reason, cache, tmp_path):
    spoil(cache)
    with pytest.warns(UserWarning, match=rf"\$TINYFLUX_CACHE[^$]*{reason}") as caught:
        library = build(SOURCE)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert twice(library) == 3.0
    assert build(SOURCE) is library
    assert twice(build(OTHER)) == 666.0  # without a second warning, which would be an error
    assert not cache.is_dir() or not list(cache.iterdir())
    assert not list((tmp_path / "tmp").iterdir())


@needs_compiler
def test_a_library_planted_in_an_unsafe_folder_is_not_loaded(cache, tmp_path):
    assert answer(start()) == "3.0"
    (path,) = libraries(cache)
    key = path.name.split(".")[0]
    path.unlink()
    content = content_of(OTHER, tmp_path)
    planted = cache / f"{key}.{hashlib.sha256(content).hexdigest()}.so"
    planted.write_bytes(content)
    assert answer(start()) == "666.0"  # such a file would do
    cache.chmod(0o777)
    with pytest.warns(UserWarning, match="written to by others"):
        assert twice(build(SOURCE)) == 3.0


@needs_compiler
def test_folders_are_made_private_whatever_the_umask(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYFLUX_CACHE", str(tmp_path / "a" / "b" / "c"))
    before = os.umask(0)
    try:
        assert twice(build(SOURCE)) == 3.0
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/c")] == [0o700] * 3
    assert stat.S_IMODE(libraries(tmp_path / "a" / "b" / "c")[0].stat().st_mode) == 0o700


@needs_compiler
def test_a_link_to_a_private_folder_may_be_used(cache, tmp_path):
    (tmp_path / "private").mkdir(mode=0o700)
    cache.symlink_to(tmp_path / "private")
    assert twice(build(SOURCE)) == 3.0
    assert len(libraries(tmp_path / "private")) == 1


def test_by_default_libraries_lie_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("TINYFLUX_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    usual = tmp_path / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    assert module._cache_folder() == usual / "tinyflux" / "compiled"
    if sys.platform != "darwin":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert module._cache_folder() == tmp_path / "xdg" / "tinyflux" / "compiled"
    pooch = pytest.importorskip("pooch")
    assert module._cache_folder().parent == Path(pooch.os_cache("tinyflux"))


@needs_compiler
def test_a_user_without_a_home_is_served_too(monkeypatch):
    monkeypatch.setenv("TINYFLUX_CACHE", "~nobody-of-this-name/cache")
    with pytest.warns(UserWarning, match="home directory"):
        assert twice(build(SOURCE)) == 3.0


@needs_compiler
@pytest.mark.skipif(not (ROOT and sys.platform == "linux"), reason="only root on Linux can mount a file system")
@pytest.mark.parametrize(
    ("options", "reason"), [("ro", "Read-only"), ("size=64k", "No space left"), ("noexec", "cannot|failed to map")]
)
def test_a_cache_on_a_disk_that_is_full_read_only_or_without_execution(options, reason, cache):
    cache.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "none", cache], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting fails here: {mounted.stderr.decode()}")
    try:
        source = f"{SOURCE}char large[200000] = {{1}};\n"
        with pytest.warns(UserWarning, match=reason):
            assert twice(build(source)) == 3.0
        assert "size" not in options or not libraries(cache)
        assert not list(cache.glob("building-*"))
    finally:
        subprocess.run(["umount", "-l", cache], check=True)


@needs_compiler
def test_without_any_folder_it_is_a_failure_that_says_so(cache, tmp_path, monkeypatch):
    a_file(cache)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(
        CompilationFailed, match=r"stored or loaded .*nowhere.*set \$TINYFLUX_CACHE.*cache is no folder"
    ):
        build(SOURCE)


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
    assert '"tinyflux[compile]"' in str(e.value)


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
