"""Files that are written as a whole or not at all, and opened for reading only if they are regular files."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # on Windows, where a file that is open can't be removed anyway
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write to: it is stored under another name beside `path`, and renamed once it is whole and on the disk.

    Under `path` stands the old file or the new one, whatever happens in between. A symbolic link stays, and what it
    leads to is replaced; the new file has the mode of the old one, and its owner and group where that is allowed.
    Files that killed processes have left beside it are removed; one that is still being written is locked.

    Errors: OSError where the file can't be written, or where something other than a file stands at `path`.
    """
    target = Path(os.path.realpath(path))
    old = _existing(target)
    _remove_abandoned(target)
    file = _create(target, 0o666 if old is None else 0o600)
    try:
        with file:
            if old is not None:
                _copy_access(old, file)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows renames no open file
            os.replace(file.name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(file.name)
        raise


def open_file(path: str | os.PathLike[str]) -> IO[bytes]:
    """A file opened for reading; OSError for pipes and devices, where opening or reading might never end."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    try:
        _check_is_file(os.fstat(file.fileno()))
    except OSError:
        file.close()
        raise
    return file


def _existing(target: Path) -> os.stat_result | None:
    try:
        about = os.stat(target)
    except FileNotFoundError:
        return None
    _check_is_file(about)
    return about


_OTHERS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def _check_is_file(about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        kind = _OTHERS.get(stat.S_IFMT(about.st_mode), "a device")
        raise OSError(errno.EISDIR if kind == "a folder" else errno.EINVAL, f"it is {kind}, not a file")


def _create(target: Path, mode: int) -> IO[bytes]:
    """A new file beside `target`, locked for as long as it is open."""
    while True:
        name = target.parent / f".{target.name}.{os.urandom(8).hex()}"
        file = open(name, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        if _lock(file) is not False and name.exists():
            return file
        file.close()  # another process took it for abandoned, in the instant before it was locked


def _lock(file: IO[bytes]) -> bool | None:
    """Lock a file, until it is closed or the process ends: whether that was possible; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have none
        return None
    return True


def _copy_access(old: os.stat_result, file: IO[bytes]) -> None:
    """Give a file the group, owner and mode of another; the first two can be refused to those who aren't root."""
    if hasattr(os, "fchown"):
        for owner, group in ((-1, old.st_gid), (old.st_uid, -1)):
            with contextlib.suppress(OSError):
                os.fchown(file.fileno(), owner, group)
    os.chmod(file.name, stat.S_IMODE(old.st_mode))


def _remove_abandoned(target: Path) -> None:
    """Remove the temporary files of writers that were killed: nobody locks them."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{16}}")
    with contextlib.suppress(OSError):
        for name in filter(pattern.fullmatch, os.listdir(target.parent)):
            with contextlib.suppress(OSError):
                _remove_if_abandoned(target.parent / name)


def _remove_if_abandoned(path: Path) -> None:
    if fcntl is None:
        path.unlink()
        return
    flags = os.O_NONBLOCK | os.O_NOFOLLOW
    with open(path, "r+b", opener=lambda name, mode: os.open(name, mode | flags)) as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and _lock(file):
            path.unlink()
