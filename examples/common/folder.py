"""The folder of a run: its settings, what was measured, its state, and who is at work on it.

    settings.json   what the run depends on, and what it was begun with
    metrics.jsonl   a line for each checkpoint, and one for each time that the training was begun or gone on with
    state.npz       what the rest of a training depends on, where it is saved between checkpoints
    progress.json   how far it is, while it is trained
    lock            held by the process that trains it

All can be read at any time: they are written in one move, or a line at a time.
"""

import contextlib
import json
import math
import os
from pathlib import Path
from typing import Any

from .command import Refused
from .files import write

TEXT, COUNT, NUMBER = "a text", "a number from 0 on", "a number"
ENTRIES: list[dict[str, str | None]] = [  # of metrics: all that one of each kind has, and of what kind that is
    {"event": TEXT, "time": TEXT},
    {"iteration": COUNT, "accuracy": NUMBER, "loss": NUMBER, "mean_loss": NUMBER, "seconds": NUMBER},
    {"diverged": TEXT, "at": COUNT},
    {"value": NUMBER, "rule": TEXT, "seed": COUNT, "seconds": NUMBER, "diverged": None, "curve": None},
]


class Folder:
    """The folder of one run, under the folder of all results.

    Arguments:
        results: the folder of all results.
        run: has a `name`, that of its folder, and `settings()`, what has to be the same where the run is gone on with.
    """

    def __init__(self, results: Path, run: Any) -> None:
        self.path = results / run.name
        self.run = run
        self.state = self.path / "state.npz"
        self._settings = self.path / "settings.json"
        self._metrics = self.path / "metrics.jsonl"
        self._progress = self.path / "progress.json"

    @property
    def remedy(self) -> str:
        """What helps where something in the folder is damaged."""
        return f"Remove {self.path}, and the run begins anew"

    def settings(self) -> dict[str, Any] | None:
        """What the run was begun with, or None."""
        return _read(self._settings)

    def check(self, dataset: dict[str, str]) -> dict[str, Any] | None:
        """The settings, after seeing that the run was begun as it is asked for now; else Refused."""
        settings = self.settings()
        if settings is None:
            if self.state.exists() or self.metrics():
                raise Refused(f"{self._settings} is missing. {self.remedy}")
            return None
        for name, wanted in {**self.run.settings(), **dataset}.items():
            if settings.get(name) != wanted:
                raise Refused(
                    f"{self.path} was begun with the {name} {settings.get(name)!r}, not {wanted!r}; name another "
                    "folder by --output, or remove that one"
                )
        if not _is(COUNT, settings.get("threads")) or settings["threads"] < 1:
            threads = f"{settings.get('threads')!r} threads"
            raise Refused(f"{self._settings} is damaged: it tells of {threads}. {self.remedy}")
        return settings

    def begin(self, settings: dict[str, Any]) -> None:
        write(self._settings, json.dumps(settings, indent=1) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All entries so far; a last line that was not written to its end doesn't count. Refused if another is bad."""
        return [self._entry(i, line) for i, line in enumerate(_whole_lines(self._metrics).split(b"\n")[:-1], 1)]

    def _entry(self, i: int, line: bytes) -> dict[str, Any]:
        try:
            if b"\r" in line:
                raise ValueError("a carriage return is in it")
            entry = json.loads(line.decode(), parse_constant=_no_number)
            if not isinstance(entry, dict) or not any(_fits(entry, kind) for kind in ENTRIES):
                raise ValueError("it is no entry")
        except (ValueError, RecursionError) as error:
            where = f"{self._metrics}, line {i}"
            raise Refused(f"{where}, is damaged ({error}): {line[:60]!r}. {self.remedy}") from error
        return dict(entry)

    def checkpoints(self) -> list[dict[str, Any]]:
        """The entries of checkpoints alone: iteration, accuracy, loss, mean_loss, seconds."""
        return [entry for entry in self.metrics() if "accuracy" in entry]

    def ended(self, goal: int) -> bool:
        """Whether there is nothing left to do: the goal was reached, or the training came to a loss that is NaN."""
        return any(entry.get("iteration", 0) >= goal or "diverged" in entry for entry in self.metrics())

    def append(self, entry: dict[str, Any]) -> None:
        """Add an entry, and see that it is on the disk."""
        self.metrics()  # where one is bad, nothing is written
        with open(self._metrics, "ab") as file:
            file.truncate(len(_whole_lines(self._metrics)))  # what was left of a line when its writer was killed
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def tell(self, iteration: int, loss: float) -> None:
        """Let others know how far the training is."""
        with contextlib.suppress(OSError):  # it is a hint: where it can't be given, the training goes on
            write(self._progress, json.dumps({"iteration": iteration, "loss": loss}), lasting=False)

    def told(self) -> dict[str, Any] | None:
        """How far the training was when it told last; None where it hasn't, or came to its end."""
        with contextlib.suppress(Refused, OSError):
            told = _read(self._progress) or {}
            if _is(COUNT, told.get("iteration")) and _is(NUMBER, told.get("loss")):
                return told
        return None

    def clear(self) -> None:
        """Remove what a process that was killed has left behind; only for whoever holds the lock."""
        for path in [self._progress, *self.path.glob(".*.*")]:
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(f"{path} is damaged ({error}); remove {path.parent}, and the run begins anew") from error


def _whole_lines(path: Path) -> bytes:
    text = path.read_bytes() if path.exists() else b""
    return text[: text.rfind(b"\n") + 1]


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _fits(entry: dict[str, Any], kind: dict[str, str | None]) -> bool:
    return entry.keys() >= kind.keys() and all(_is(wanted, entry[name]) for name, wanted in kind.items() if wanted)


def _is(wanted: str, x: Any) -> bool:
    if wanted == TEXT:
        return isinstance(x, str)
    return (
        type(x) in ((int,) if wanted == COUNT else (int, float)) and math.isfinite(x) and (x >= 0 or wanted == NUMBER)
    )
