"""A training in a folder, epoch by epoch: one that was stopped, in whatever way, goes on after its last whole epoch.

    run.json      what the run depends on, what was measured after each epoch, and the state of the loader's generator
    epoch-N.npz   the model and the optimiser after N epochs

run.json is written last and tells N, so that the two belong together whenever the process ends.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

import tinyflux as flux
from tinyflux.compile.backends.c.build import available

from .command import Refused
from .files import write
from .machine import surroundings

FRAME = 0.1  # seconds between two looks at the bar


class Training:
    """A training in a folder, and the callback of `flux.train` that notes its epochs there.

    Arguments:
        folder: what is in it is gone on with.
        settings: what the results depend on, by name; Refused where the folder's run has others.
        model, opt, loader, loss: as `flux.train` takes them; the loader draws from a generator of its own.
        measure: called after every epoch with the losses of its updates; returns what is to be noted.
        words: a line on what was measured, for whoever watches.

    Attributes:
        history: what was measured after each epoch, and "seconds", of training alone.
        diverged: how many updates were made when a loss wasn't finite, or None.
        events: when and where the training was begun and gone on with.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        model: Any,
        opt: Any,
        loader: flux.DataLoader[Any],
        loss: Callable[..., Any],
        measure: Callable[[list[float]], dict[str, Any]],
        words: Callable[[dict[str, Any]], str],
    ) -> None:
        self.folder, self.settings = folder, settings
        self.model, self.opt, self.loader, self.loss = model, opt, loader, loss
        self.measure, self.words = measure, words
        self.history: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.diverged: int | None = None
        self._losses: list[float] = []
        self._resume()
        self._generator = self._rng.state

    @property
    def epoch(self) -> int:
        """How many epochs are made."""
        return len(self.history)

    @property
    def _rng(self) -> Any:
        """The generator of the loader's order and augmentation."""
        return self.loader.rng.bit_generator  # type: ignore[union-attr]

    def _resume(self) -> None:
        """Go on after the last epoch that the folder holds, if any."""
        path = self.folder / "run.json"
        saved = read(path)
        if saved is None:
            return
        check_settings(path, saved["settings"], self.settings)
        self.history, self.events, self.diverged = saved["history"], saved["events"], saved["diverged"]
        try:
            self._rng.state = saved["generator"]
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise Refused(f"{path} is damaged; {REMEDY}: its generator has no such state ({error})") from error
        if self.epoch:
            kept = self.folder / f"epoch-{self.epoch}.npz"
            try:
                flux.load(kept, self.model, self.opt)
            except FileNotFoundError as error:
                raise Refused(f"{path} tells of {self.epoch} epochs, but {kept} is missing; {REMEDY}") from error
            except flux.CheckpointError as error:
                raise Refused(f"{path} can't be gone on with; {REMEDY}: {error}") from error

    def _save(self) -> None:
        """Keep all that the rest of the training depends on."""
        kept = self.folder / f"epoch-{self.epoch}.npz"
        flux.save(kept, self.model, self.opt)
        self._generator = self._rng.state
        self._write()
        for path in self.folder.glob("epoch-*.npz"):
            if path != kept:
                path.unlink()

    def _write(self) -> None:
        saved = {
            "settings": self.settings,
            "history": self.history,
            "events": self.events,
            "diverged": self.diverged,
            "generator": self._generator,
        }
        write(self.folder / "run.json", json.dumps(saved) + "\n")

    def fit(self, epochs: int, stop: Callable[[], bool] = lambda: False) -> None:
        """Train to so many epochs, or to the end of that after which `stop` returns True."""
        if self.epoch >= epochs:
            return
        from tqdm import tqdm

        # Not "auto", which leaves a training to NumPy that is short: the rest of one that was stopped, say.
        compiled = available() if self.settings["device"] == "cpu" else "auto"
        total, made = (n * len(self.loader) for n in (epochs, self.epoch))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.events.append({"at": self.epoch, **surroundings()})
        self._bar = tqdm(total=total, initial=made, unit="it", disable=None)  # None: not where stderr is no terminal
        self._stop, self._losses = stop, []
        self._begun = self._start = time.perf_counter()
        with np.errstate(all="ignore"):  # an overflow ends in a loss that train refuses
            flux.train(self.loss, self.model, self.loader, self.opt, epochs - self.epoch, [self], compiled)

    def diverge(self) -> None:
        """Note that the run has diverged: the loss after the updates that were made isn't finite."""
        self.diverged = self.epoch * len(self.loader) + len(self._losses)
        self._write()

    def close(self) -> None:
        self._bar.close()

    def due(self, iteration: int) -> int:
        """So many iterations later as are made between two looks at the bar: on a GPU, a call waits for the device."""
        return iteration + int(iteration * FRAME / (time.perf_counter() - self._begun + FRAME))

    def __call__(self, progress: flux.Progress) -> bool:
        self._losses += progress.losses
        if self._bar.update(len(progress.losses)):
            self._bar.set_postfix(loss=f"{np.mean(self._losses[-50:]):.4f}", refresh=False)
        if not progress.epoch_ended:
            return False
        seconds = time.perf_counter() - self._start
        self.history.append({**self.measure(self._losses), "seconds": seconds})
        self._losses = []
        self._save()
        self._bar.write(f"epoch {self.epoch:>3}: {self.words(self.history[-1])}; {seconds:.0f} s")
        sys.stdout.flush()
        self._start = time.perf_counter()
        return self._stop()


REMEDY = "name another folder by --output, or remove run.json to begin anew"
Kinds = dict[str, tuple[type, ...]]
NUMBER = (int, float)
KINDS: Kinds = {"settings": (dict,), "history": (list,), "events": (list,), "generator": (dict,)}
KINDS["diverged"] = (int, type(None))
EVENT: Kinds = {"at": (int,), "time": (str,), "versions": (dict,), "machine": (dict,)}


def read(path: Path, settings: Kinds | None = None, noted: Iterable[str] = ()) -> dict[str, Any] | None:
    """What run.json holds, or None where there is none; Refused if it is damaged.

    Arguments:
        settings: those that it has to tell, each with its types.
        noted: the numbers that it has to tell of every epoch.
    """
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        _check("the file", saved, KINDS)
        _check("settings", saved["settings"], settings or {})
        for entry in saved["history"]:
            _check("an epoch", entry, dict.fromkeys([*noted, "seconds"], NUMBER))
        for event in saved["events"]:
            _check("an event", event, EVENT)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path} is damaged; {REMEDY}: {error}") from error
    return dict(saved)


def _check(what: str, x: Any, kinds: Kinds) -> None:
    """Refuse, by ValueError, what is no dict, or has something of another type."""
    if not isinstance(x, dict):
        raise ValueError(f"{what} is {x!r:.40}")
    for name, kind in kinds.items():
        if name not in x:
            raise ValueError(f"{what}: there is no {name}")
        if not isinstance(x[name], kind) or isinstance(x[name], bool):
            raise ValueError(f"{what}: {name} is {x[name]!r:.40}")


def check_settings(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse a run that was made with other settings than those that are wanted."""
    names = [name for name, x in wanted.items() if name not in found or found[name] != x]
    if names:
        was, now = (", ".join(f"{name} {of.get(name)}" for name in names) for of in (found, wanted))
        raise Refused(f"{path} is of a run with {was}, not {now}; {REMEDY}")
