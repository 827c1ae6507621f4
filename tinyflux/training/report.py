"""What training reports on stderr, once: which path is used, and why."""

from __future__ import annotations

import contextlib
import functools
import sys

from ..errors import CompilationFailed, CompilerNotFound, NotCompilable


@functools.cache
def report_once(message: str) -> None:
    """Report something on stderr, if that can be written to: nothing depends on it."""
    if sys.stderr is not None:  # or print would write it to stdout
        with contextlib.suppress(Exception):
            print(message, file=sys.stderr)


def reason(error: Exception) -> str:
    """What kept a training from being compiled."""
    expected = isinstance(error, (NotCompilable, CompilerNotFound, CompilationFailed))
    return str(error) if expected else f"{type(error).__name__}: {error}"
