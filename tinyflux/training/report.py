"""What training reports on stderr: which path is used, and why, said once; and lines beside bars."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import Any

from ..errors import CompilationFailed, CompilerNotFound, NotCompilable
from ..stderr import write_line


@functools.cache
def report_once(message: str) -> None:
    """Report something on stderr, if that can be written to: nothing depends on it."""
    if sys.stderr is not None:  # or print would write it to stdout
        with contextlib.suppress(Exception):
            print_line(message)


def print_line(text: str) -> None:
    """Print a line on stderr; a bar that is drawn there makes room for it.

    Without tqdm's lock: Ctrl-C within its `acquire` would leave it taken, and every later bar would wait for ever.
    """
    bars: Any = sys.modules.get("tqdm.std")
    with bars.tqdm.external_write_mode(file=sys.stderr, nolock=True) if bars else contextlib.nullcontext():
        write_line(text)


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """For what draws a bar: where that fails nobody can see it, which is no reason not to train.

    tqdm leaves its lock taken when a write fails; every later bar would wait for ever.
    """
    try:
        yield
    except (OSError, ValueError):
        bars: Any = sys.modules.get("tqdm.std")
        with contextlib.suppress(Exception):  # it was not taken
            bars.tqdm.get_lock().release()


def reason(error: Exception) -> str:
    """What kept a training from being compiled."""
    expected = isinstance(error, (NotCompilable, CompilerNotFound, CompilationFailed))
    return str(error) if expected else f"{type(error).__name__}: {error}"
