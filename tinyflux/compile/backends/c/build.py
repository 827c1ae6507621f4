"""From C to a loaded shared library, which is kept on disk for the next process.

A library runs with all rights of its user, so one is loaded only from a folder that nobody else can write to, and only
with the content that it was written with: a file's name holds what it was built from and the SHA-256 of its content.
"""

from __future__ import annotations

import _ctypes
import ctypes
import functools
import hashlib
import json
import os
import platform
import shutil
import stat
import sys
import tempfile
import threading
import time
import warnings
import weakref
from pathlib import Path

from ....errors import CompilationFailed
from .compiler import Compiler, available, compile_library, find_compiler

__all__ = ["Compiler", "available", "build", "find_compiler"]

FORMAT = 1  # of the cache: another number, and all is built anew
WORK = "building-"  # begins the names of folders in which a compiler is at work
STALE = 3600.0  # seconds after which such a folder must be that of a dead process

_lock = threading.RLock()
_loaded: weakref.WeakValueDictionary[str, ctypes.CDLL] = weakref.WeakValueDictionary()  # by key
_warned = False


def build(source: str) -> ctypes.CDLL:
    """The functions in a C source, compiled and loaded.

    The library is kept in the folder $TINYFLUX_CACHE, or else in `compiled` in tinyflux' part of the user's cache, and
    found there by any later process with the same compiler and CPU. Where that folder can't be used, or others could
    write to it, there is a warning, and the library serves this process alone.

    Arguments:
        source: all of it: what it includes by `#include`, other than the system's headers, could change unnoticed.

    Returns:
        The library; for the same text the same object, on whose functions `argtypes` and `restype` are to be set. It is
        unloaded once neither it nor any of its functions is referred to: the address of one doesn't keep it.

    Raises:
        CompilerNotFound: there is no C compiler; the message says what to do.
        CompilationFailed: the compiler's first errors, its command, and where the source is.

    >>> import ctypes
    >>> twice = build("double twice(double x) { return 2 * x; }").twice  # doctest: +SKIP
    >>> twice.argtypes, twice.restype = [ctypes.c_double], ctypes.c_double  # doctest: +SKIP
    >>> twice(1.5)  # doctest: +SKIP
    3.0
    """
    compiler = find_compiler()
    key = _key(source, compiler)
    with _lock:
        library = _loaded.get(key)
        if library is None:
            library = _loaded[key] = _load(source, key, compiler)
            # A call in progress refers to its function, and so to the library. At exit threads may still be in one.
            weakref.finalize(library, _ctypes.dlclose, library._handle).atexit = False
        return library


def _after_fork() -> None:
    """A child gets a new lock: a thread of its parent, which it doesn't have, may hold the old one."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _key(source: str, compiler: Compiler) -> str:
    """What a library is known by: all that its content depends on."""
    parts = [FORMAT, source, compiler.command, compiler.version, compiler.flags, _cpu()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@functools.cache
def _cpu() -> list[str]:
    """What tells this CPU from others, as -march=native means another one on each."""
    names = {"vendor_id", "cpu family", "model", "model name", "flags", "cpu", "isa", "Features"}
    names |= {"CPU implementer", "CPU architecture", "CPU variant", "CPU part"}
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return [platform.machine(), platform.processor()]
    return [platform.machine(), *sorted({line for line in lines if line.split(":")[0].strip() in names})]


def _load(source: str, key: str, compiler: Compiler) -> ctypes.CDLL:
    """The library from the cache or, where that can't be used, from a folder that lasts until it is loaded."""
    try:
        return _load_from(_cache_folder(), source, key, compiler)
    except OSError as error:
        reason = error
    mend = f"set $TINYFLUX_CACHE to a folder that you alone can write to ({reason})"
    try:
        # A loaded library needs its file no longer: nothing is left to remove at exit, or to share after a fork.
        with tempfile.TemporaryDirectory(prefix="tinyflux-", ignore_cleanup_errors=True) as folder:
            library = _load_from(Path(folder), source, key, compiler)
    except CompilationFailed as error:
        raise CompilationFailed(f"{error}\n  which was temporary and is gone; to keep it, {mend}") from None
    except OSError as error:
        raise CompilationFailed(f"the compiled library can't be stored or loaded ({error}); {mend}") from error
    _warn(f"compiled code can't be kept, and is compiled again in each process; {mend}")
    return library


def _warn(message: str) -> None:
    """Say it once in a process."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(message, stacklevel=4)


def _cache_folder() -> Path:
    """The folder for compiled libraries, with all links followed; an OSError where there can be none."""
    named = os.environ.get("TINYFLUX_CACHE")
    try:
        folder = Path(named).expanduser() if named else _user_cache() / "tinyflux" / "compiled"
    except RuntimeError as error:
        raise OSError(str(error)) from error
    folder = Path(os.path.realpath(folder))
    for path in (*reversed(folder.parents), folder):  # not Path.mkdir(parents=True): its parents obey the umask alone
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")
    _check_private(folder)
    return folder


def _user_cache() -> Path:
    """Where programs keep what they can make again: the folder that pooch takes for tinyflux.data.mnist."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    named = os.environ.get("XDG_CACHE_HOME", "")
    return Path(named) if os.path.isabs(named) else Path.home() / ".cache"


def _check_private(folder: Path) -> None:
    """A PermissionError if another user could put a file into `folder`, or another folder into its place."""
    me = os.geteuid()
    trusted = {me, 0, os.stat("/").st_uid}  # who may replace all of the system may replace this, too
    for path in (folder, *folder.parents):
        about = os.lstat(path)
        if about.st_uid not in ({me} if path == folder else trusted):
            raise PermissionError(f"{path} belongs to another user, number {about.st_uid}")
        keeps_owners = about.st_mode & stat.S_ISVTX and path != folder  # as /tmp does
        if about.st_mode & 0o022 and not keeps_owners:
            raise PermissionError(f"{path} can be written to by others; chmod go-w {path}")


def _load_from(folder: Path, source: str, key: str, compiler: Compiler) -> ctypes.CDLL:
    path = _find(folder, key)
    if path is None:
        _make(folder, source, key, compiler)
        path = _find(folder, key)
    if path is None:
        raise OSError(f"{folder} does not keep what is written to it")
    # By its path: only this user can have changed the file since. Not by /proc/self/fd: the loader takes two libraries
    # of one name for the same, and the number of a file that was closed is the name of the next one.
    return ctypes.CDLL(str(path))


def _find(folder: Path, key: str) -> Path | None:
    """The library in `folder` with this key whose content is what its name says."""
    return next(filter(_is_whole, folder.glob(f"{key}.*.so")), None)


def _is_whole(path: Path) -> bool:
    """Whether a library is a plain file that this user alone can write to, with the content that its name tells."""
    try:
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o022:
                return False
            return path.suffixes[0] == f".{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError:
        return False


def _make(folder: Path, source: str, key: str, compiler: Compiler) -> None:
    """Compile in a folder of its own, and move what has come out into `folder`, as a whole or not at all."""
    _clean(folder)
    work = Path(tempfile.mkdtemp(prefix=WORK, dir=folder))
    text = folder / f"{key}.c"
    try:
        library = compile_library(compiler, source, work)
        library.chmod(0o700)
        with open(library, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.replace(library, folder / f"{key}.{digest}.so")
        os.replace(work / "source.c", text)
        for path in folder.glob(f"{key}.*.so"):  # some compilers never make the same library twice
            if not _is_whole(path):
                path.unlink(missing_ok=True)
    except CompilationFailed as error:
        os.replace(work / "source.c", text)
        raise CompilationFailed(f"{error}\n  source: {text}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _clean(folder: Path) -> None:
    """Remove what processes left that died while they compiled."""
    for path in folder.glob(f"{WORK}*"):
        try:
            stale = time.time() - path.lstat().st_mtime > STALE
        except OSError:  # its owner was quicker
            continue
        if stale:
            shutil.rmtree(path, ignore_errors=True)
