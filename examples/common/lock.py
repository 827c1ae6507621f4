"""One process at a time works in a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .command import Refused
from .signals import Stopped

LOOK = 0.2  # seconds after which one that waits looks whether it is to stop


class Busy(Refused):
    """Another process is at work in the folder."""


def lock(folder: Path) -> Any:
    """A lock that one process can hold; it is free again when that process ends, in whatever way."""
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "lock")


def hold(folder: Path, work: str, stop: Callable[[], bool], wait: bool = False) -> Any:
    """Get hold of a folder's lock, for as long as the context that is returned lasts.

    Arguments:
        folder: it is made where it isn't there.
        work: what is done in it, for the messages: the name of a run.
        stop: asked while it waits; Stopped is raised when it returns True.
        wait: wait for another process that holds it, instead of raising Busy.
    """
    import filelock

    while True:
        try:
            return lock(folder).acquire(timeout=LOOK if wait else 0)
        except filelock.Timeout:
            if not wait:
                raise Busy(f"another process trains {work}") from None
            if stop():
                raise Stopped(f"{work} was stopped while another process trains it") from None
