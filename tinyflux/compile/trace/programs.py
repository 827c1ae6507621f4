"""The programs made of a function so far, one for each form of arguments and of what it reads from its surroundings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from ...errors import NotCompilable
from ..guards.contents import Contents
from ..guards.guards import Guards, Snapshot

MAX_FORMS = 100  # of what a function reads, that are told apart
MAX_PROGRAMS = 8  # that one training may need; what changes more often is better left to plain NumPy


class Program:
    """A function traced and compiled for one form of arguments.

    Attributes:
        program: what was recorded, as text.
        source: the source that was made of it.
    """

    program: str
    source: Any

    def __init__(self, surroundings: Snapshot, contents: Contents) -> None:
        self.key = surroundings.key
        self.contents = contents

    def fits(self) -> bool:
        """Whether it suits what the form of arguments doesn't tell."""
        return True

    def release(self) -> None:
        """Let go of the data of the last run."""


class Programs:
    """A cache of programs.

    A program is found again as long as the function reads the same from its surroundings, arrays by what they hold.

    Attributes:
        guards: look at what the function reads.
        latest: the program that was made last, or None.
        made: how many were made, but for those that took the place of another.
    """

    def __init__(self, guards: Guards | None = None) -> None:
        self.guards = guards or Guards()
        self.latest: Any = None
        self.made = 0
        self._kept: dict[Hashable, list[Any]] = {}

    def find(
        self, form: Hashable, surroundings: Snapshot, make: Callable[..., Any], *args: Any, since: int | None = None
    ) -> Any:
        """The program for a form of arguments, and surroundings as they are now; made if there is none.

        Arguments:
            make: called with `args` and the program for other contents of the arrays in the surroundings, or None.
            since: `made` when the training began, which may add MAX_PROGRAMS; None for any number.
        """
        before = None
        kept = self._kept.get((surroundings.key, form), ())
        for program in kept:
            if program.fits():
                if program.contents.same(surroundings.arrays):
                    return program
                before = program
                break
        program = make(*args, before)
        if before is not None:
            self._kept[surroundings.key, form].remove(before)
            self.made -= 1
        self._kept.setdefault((program.key, form), []).append(program)
        self.latest = program
        self.made += 1
        if since is not None and self.made - since > MAX_PROGRAMS:
            changing = "shapes, settings or constants of the loss change again and again"
            raise NotCompilable(f"{changing}; {self.made - since} programs were compiled.")
        return program

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self._kept.values())

    def release(self) -> None:
        """Let go of data, and of all but the latest programs; of all, if the function has read too many things."""
        while sum(map(len, self._kept.values())) > MAX_PROGRAMS:
            del self._kept[next(iter(self._kept))]
        if len(self.guards.keys) > MAX_FORMS:
            self.clear()
        for program in self:
            program.release()

    def clear(self) -> None:
        """Let go of all programs."""
        self._kept.clear()
        self.latest = None
        self.guards = Guards()


class Inspectable:
    """Something compiled, of which the latest program can be looked at."""

    _programs: Programs

    @property
    def program(self) -> str:
        """What was recorded in the last new kind of call, as text: print it."""
        return str(self._latest().program)

    @property
    def source(self) -> str:
        """The C source that was made of it, as text: print it."""
        return str(self._latest().source.text)

    def _latest(self) -> Any:
        if self._programs.latest is None:
            raise ValueError(f"{self!r} was not called yet; what is compiled depends on what it is called with.")
        return self._programs.latest
