"""The C compiler of this machine, and what it is called with."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ....errors import CompilationFailed, CompilerNotFound
from ....installed import pip_install
from ....stderr import write_line

# NaN, infinity, -0.0 and subnormal numbers have to survive, and sums are reordered only where `#pragma omp simd
# reduction` says so: what $CC may ask for of -ffast-math is undone, the parts by name, as the whole doesn't cover them.
# A library linked with -ffast-math would moreover take subnormal numbers for zero in the whole process.
EXACT = (
    "-fno-fast-math",
    "-fno-unsafe-math-optimizations",
    "-fno-finite-math-only",
    "-fno-associative-math",
    "-fno-reciprocal-math",
    "-fsigned-zeros",
)
REQUIRED = ("-std=gnu11", "-O3", "-fPIC", "-shared", *EXACT)
OPTIONAL = (
    "-march=native",
    "-mprefer-vector-width=512",  # of the processors that have such vectors; GCC takes half of them otherwise
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
)
REFUSED = ("-mdaz-ftz", "-fsingle-precision-constant", "-fdenormal-fp-math")  # of $CC: not all compilers can undo them
GUARD = """/* What a script in $CC may add to the flags. */
#if defined __FAST_MATH__ || (defined __FINITE_MATH_ONLY__ && __FINITE_MATH_ONLY__) \\
    || defined __NO_SIGNED_ZEROS__ || defined __ASSOCIATIVE_MATH__ || defined __RECIPROCAL_MATH__
#error "the C compiler is called with -ffast-math, or a part of it, which changes results; set $CC to one that is not"
#endif
"""
INSTEAD = {"-march=native": "-mcpu=native"}  # in compilers that know the one alone
PATIENCE = 30.0  # seconds for a compiler to tell its version
UNNOTICED = 1.0  # seconds of compiling after which it is reported

_accepted: dict[Compiler, tuple[str, ...]] = {}  # the flags of compilers that turned out to reject some


@dataclass(frozen=True)
class Compiler:
    """A C compiler.

    Attributes:
        command: the program and its first arguments, such as ("/usr/bin/ccache", "gcc").
        version: the first line of what it says for --version.
        flags: what it is to be called with; those of OPTIONAL are left out where it rejects them.
    """

    command: tuple[str, ...]
    version: str
    flags: tuple[str, ...] = REQUIRED + OPTIONAL


def find_compiler() -> Compiler:
    """The C compiler to use: $CC if it is set, or else cc, gcc or clang from $PATH, or else the ziglang package.

    $CC may hold arguments, as in "ccache gcc". The answer is kept for as long as $CC and $PATH stay the same.

    Raises:
        CompilerNotFound: there is none, $CC names one that does not work, or this is Windows.

    >>> find_compiler().flags[:2]  # doctest: +SKIP
    ('-std=gnu11', '-O3')
    """
    found = _find(os.environ.get("CC", ""), os.environ.get("PATH", os.defpath))
    if isinstance(found, str):
        raise CompilerNotFound(found)
    return found


def available() -> bool:
    """Whether there is a C compiler, as `find_compiler` looks for it.

    >>> available()  # doctest: +SKIP
    True
    """
    with contextlib.suppress(CompilerNotFound):
        return bool(find_compiler())
    return False


@functools.cache
def _find(cc: str, search_path: str) -> Compiler | str:
    """The compiler for these values of $CC and $PATH, or why there is none."""
    if os.name != "posix":
        return f"compiling to C works on Linux and macOS; this system is {sys.platform}."
    if cc.strip():
        try:
            candidates = [tuple(shlex.split(cc))]
        except ValueError as error:
            return f"$CC is {cc!r}, which is no command ({error}); correct it or unset it."
    else:
        candidates = [("cc",), ("gcc",), ("clang",)]
        if importlib.util.find_spec("ziglang") is not None:
            candidates.append((sys.executable, "-m", "ziglang", "cc"))
    missed = []
    for name, *arguments in candidates:
        refused = [flag for flag in arguments if flag.startswith(REFUSED)]
        if refused:
            return f"$CC is {cc!r}, and {refused[0]} changes results; leave it out."
        program = shutil.which(name, path=search_path)
        if program is None:
            missed.append(f"no {name} on $PATH")
            continue
        compiler = _asked((os.path.abspath(program), *arguments))
        if isinstance(compiler, Compiler):
            return compiler
        missed.append(compiler)
    if cc.strip():
        return f"$CC is {cc!r}, but {missed[0]}; correct it, or unset it to have a compiler looked for."
    if len(candidates) == 3:
        missed.append("no package ziglang")
    return (
        f"there is no C compiler here ({'; '.join(missed)}): install gcc or clang, set $CC to one, "
        f"or {pip_install('compile')}, which brings one along."
    )


def _asked(command: tuple[str, ...]) -> Compiler | str:
    """The compiler that `command` calls, once it has told its version, or what is wrong with it."""
    called = shlex.join([*command, "--version"])
    try:
        done = subprocess.run(
            [*command, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{called} gave no answer within {PATIENCE:g} s"
    except OSError as error:
        return f"{called} can't be run ({error.strerror})"
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    if done.returncode or not lines:
        return f"{called} fails with status {done.returncode}"
    return Compiler(command, lines[0])


def compile_library(compiler: Compiler, source: str, folder: Path) -> Path:
    """Compile C to a shared library; both, and whatever the compiler leaves meanwhile, lie in `folder`.

    Arguments:
        compiler: what `find_compiler` found.
        source: the text.
        folder: an empty folder.

    Raises:
        CompilationFailed: with the command and the first errors; the text is in `folder` as source.c.
        OSError: the folder can't be written to.
    """
    (folder / "source.c").write_text(source, encoding="utf-8")
    status, output, command = _run(compiler, _accepted.get(compiler, compiler.flags), folder)
    if status:
        (folder / "room").write_bytes(os.urandom(1 << 24))  # on a full disk, the compiler is not to blame
    if status and compiler not in _accepted:
        _accepted[compiler] = _probed(compiler, folder / "probe")
        if _accepted[compiler] != compiler.flags:
            status, output, command = _run(compiler, _accepted[compiler], folder)
    library = folder / "library.so"
    if status == 0 and library.exists():
        return library
    if status:
        how = f"was stopped by signal {-status} (is there enough memory?)" if status < 0 else f"failed ({status})"
    else:
        how = "left no library"
    lines = output.splitlines()
    errors = ([line for line in lines if "error" in line.lower()] or lines)[:5]
    raise CompilationFailed("\n  ".join([f"the C compiler {how}:", *errors, f"command: {command}"]))


def _probed(compiler: Compiler, folder: Path) -> tuple[str, ...]:
    """Those flags that `compiler` accepts with a source that has nothing wrong."""
    folder.mkdir()
    (folder / "source.c").write_text("double f(double x) { return x; }\n")

    def accepts(*optional: str) -> bool:
        return _run(compiler, REQUIRED + optional, folder)[0] == 0

    if accepts(*OPTIONAL) or not accepts():  # then no flag is to blame
        return compiler.flags
    tried = (next(filter(accepts, (flag, INSTEAD.get(flag, flag))), None) for flag in OPTIONAL)
    return REQUIRED + tuple(flag for flag in tried if flag is not None)


@functools.cache
def _report_compiling(command: str) -> None:
    """Say once on stderr, if that can be written to, what there is to wait for."""
    if sys.stderr is not None:
        with contextlib.suppress(Exception):
            write_line(f"tinyflux: {command} is compiling; a large program can take a while.")


def _run(compiler: Compiler, flags: tuple[str, ...], folder: Path) -> tuple[int, str, str]:
    """Compile source.c to library.so in `folder`: the status, what the compiler said, and the command.

    The compiler's own processes are a group: an interrupt of ours stops them all. It is given the same paths every
    time, so that most compilers make the same library from the same source.
    """
    (folder / "exact.h").write_text(GUARD)
    command = [*compiler.command, *flags, "-include", "exact.h", "source.c", "-o", "library.so", "-lm"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    with process:
        try:
            try:
                output, _ = process.communicate(timeout=UNNOTICED)
            except subprocess.TimeoutExpired:
                _report_compiling(compiler.command[0])
                output, _ = process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, output.decode(errors="replace"), shlex.join(command)
