"""Files and folders that are written in one move: under a name stands what was there before, or all of the new."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .command import Refused

STALE = 3600.0  # seconds after which something unfinished must be that of a dead process
UNFINISHED = ".unfinished-"  # begins the names of folders in which results are written


@contextlib.contextmanager
def replaced(path: Path, lasting: bool = True) -> Iterator[Path]:
    """A temporary file, to be written, that gets its name in one move: under that stands the old file or the new one.

    Arguments:
        path: the name.
        lasting: whether it is to be on the disk before, for the case of a power cut.
    """
    for left in path.parent.glob(f".{'?' * 16}.{path.name}"):
        if _is_stale(left):
            with contextlib.suppress(OSError):
                left.unlink()
    temporary = path.parent / f".{os.urandom(8).hex()}.{path.name}"
    try:
        yield temporary
        if lasting:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write(path: Path, text: str, lasting: bool = True) -> None:
    """Write a text file in one move, as `replaced` does."""
    with replaced(path, lasting) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def all_or_none(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files go into `folder` once all of them are written."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=UNFINISHED) as name:
        yield Path(name)
        for file in Path(name).iterdir():
            os.replace(file, folder / file.name)


def check_folder(folder: Path, option: str = "--output") -> None:
    """Check before training that the results can be written; remove what killed runs have left.

    Arguments:
        option: by which the folder is named.
    """
    for left in folder.glob(f"{UNFINISHED}*"):
        if _is_stale(left):
            shutil.rmtree(left, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise Refused(f"{option} {folder}: cannot be written to ({error.strerror}); name another folder") from error


def _is_stale(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime > STALE
    return False
