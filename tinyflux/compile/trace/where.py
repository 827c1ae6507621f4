"""Where in the user's code something can't be compiled: the line that NotCompilable names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from types import CodeType, TracebackType

from ...checks import was_setting_an_element
from ...errors import NotCompilable
from ..guards.trust import trusted


@contextlib.contextmanager
def naming_the_line() -> Iterator[None]:
    """Have a NotCompilable name the innermost line of the user's code that it comes from, if there is one.

    NumPy makes a ValueError of one that is raised while an element of an array is set: it is raised in its place.
    """
    try:
        yield
    except NotCompilable as error:
        step: BaseException | None = error
        error.where = ""
        while step is not None and not error.where:
            error.where, step = _innermost(step), step.__cause__
        raise
    except ValueError as error:
        cause = error.__cause__
        if not (was_setting_an_element(error) and isinstance(cause, NotCompilable)):
            raise
        cause.where = _innermost(error)
        raise cause from error


def _innermost(error: BaseException) -> str:
    """The user's innermost line on the way to an error, "" if there is none."""
    found = ""
    step: TracebackType | None = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if not trusted(step.tb_frame.f_globals.get("__name__")) and not _is_generated(code):
            found = describe(code, step.tb_lineno)
        step = step.tb_next
    return found


def _is_generated(code: CodeType) -> bool:
    """Whether nobody has written it: the __init__ of a dataclass, say."""
    return code.co_filename == "<string>" and code.co_name.startswith("__")


def describe(code: CodeType, line: int) -> str:
    """A line as a message names it: "LAMB.apply, lamb.py line 26".

    Arguments:
        code: of the function that it stands in.
    """
    names = code.co_qualname.split(".<locals>.")
    while names and names[-1] in _INSIDE:
        names.pop()
    name = "" if not names else "a lambda" if names[-1].endswith("<lambda>") else names[-1]
    folder, file = os.path.split(code.co_filename)
    if file.startswith("<"):
        place = f"line {line} at the prompt"
    elif os.path.basename(folder).startswith("ipykernel_"):
        place = f"line {line} of a notebook's cell"
    else:
        place = f"{file} line {line}"
    return f"{name}, {place}" if name else place


_INSIDE = ("<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>", "<module>")  # which belong to the function around them
