"""The folder of a run: its settings, what was measured, its state, and who is at work on it.

    settings.json   what the run depends on, and what it was begun with
    metrics.jsonl   a line for each checkpoint, and one for each time that the training was begun or gone on with
    state.npz       the model, the optimiser's state and the loss curve: written by `flux.save`
    progress.json   how far it is, while it is trained
    lock            held by the process that trains it

All can be read at any time: they are written in one move, or a line at a time.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from examples.mnist import Refused

from .grid import Run


class Folder:
    """The folder of one run, under the folder of all results."""

    def __init__(self, results: Path, run: Run) -> None:
        self.path = results / run.name
        self.run = run
        self.state = self.path / "state.npz"
        self._settings = self.path / "settings.json"
        self._metrics = self.path / "metrics.jsonl"
        self._progress = self.path / "progress.json"

    def lock(self) -> Any:
        """A lock that one process can hold; it is free again when that process ends, in whatever way."""
        from filelock import FileLock

        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / "lock")

    def settings(self) -> dict[str, Any] | None:
        """What the run was begun with, or None."""
        return _read(self._settings)

    def check(self, dataset: dict[str, str]) -> dict[str, Any] | None:
        """The settings, after seeing that the run was begun as it is asked for now; else Refused."""
        settings = self.settings()
        for name, wanted in {**self.run._asdict(), **dataset}.items():
            if settings is not None and settings.get(name) != wanted:
                raise Refused(
                    f"{self.path} was begun with the {name} {settings.get(name)!r}, not {wanted!r}; name another "
                    "folder by --output, or remove that one"
                )
        return settings

    def begin(self, settings: dict[str, Any]) -> None:
        write(self._settings, json.dumps(settings, indent=1) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All entries so far; a line that was not written to its end doesn't count."""
        return [json.loads(line) for line in _whole_lines(self._metrics)]

    def checkpoints(self) -> list[dict[str, Any]]:
        """The entries of checkpoints alone: iteration, accuracy, loss, mean_loss, seconds."""
        return [entry for entry in self.metrics() if "accuracy" in entry]

    def ended(self, goal: int) -> bool:
        """Whether there is nothing left to do: the goal was reached, or the training came to a loss that is NaN."""
        return any(entry.get("iteration", 0) >= goal or "diverged" in entry for entry in self.metrics())

    def append(self, entry: dict[str, Any]) -> None:
        """Add an entry, and see that it is on the disk."""
        size = sum(len(line.encode()) + 1 for line in _whole_lines(self._metrics))
        with open(self._metrics, "ab") as file:
            file.truncate(size)  # what was left of a line when its writer was killed
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
            return _read(self._progress)
        return None

    def clear(self) -> None:
        """Remove what a process that was killed has left behind; only for whoever holds the lock."""
        for path in [self._progress, *self.path.glob(".*.*")]:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced(path: Path, lasting: bool = True) -> Iterator[Path]:
    """A temporary file, to be written, that gets its name in one move: under that stands the old file or the new one.

    Arguments:
        path: the name.
        lasting: whether it is to be on the disk before, for the case of a power cut.
    """
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


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Refused(f"{path} is damaged ({error}); remove {path.parent}, and the run begins anew") from error


def _whole_lines(path: Path) -> list[str]:
    text = path.read_bytes() if path.exists() else b""
    return text[: text.rfind(b"\n") + 1].decode().splitlines()
