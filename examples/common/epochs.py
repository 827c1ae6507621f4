"""A training in a folder, epoch by epoch: one that was stopped, in whatever way, goes on after its last whole epoch.

    run.json      what the run depends on, what was measured after each epoch, and the state of the loader's generator
    epoch-N.npz   the model and the optimiser after N epochs

run.json is written last and tells N, so that the two belong together whenever the process ends.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinyflux as flux
from tinyflux.compile.backends.c.build import available

from .command import Refused
from .files import write
from .machine import surroundings


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
        settings = saved["settings"]
        if settings != self.settings:
            names = [name for name, x in self.settings.items() if settings.get(name) != x]
            was, wanted = (", ".join(f"{name} {of.get(name)}" for name in names) for of in (settings, self.settings))
            raise Refused(f"{path} is of a run with {was}, not {wanted}; {REMEDY}")
        self.history, self.events, self.diverged = saved["history"], saved["events"], saved["diverged"]
        try:
            self._rng.state = saved["generator"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"{path} is damaged; {REMEDY}") from error
        if self.epoch:
            flux.load(self.folder / f"epoch-{self.epoch}.npz", self.model, self.opt)

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
        self._start = time.perf_counter()
        with np.errstate(all="ignore"):  # an overflow ends in a loss that train refuses
            flux.train(self.loss, self.model, self.loader, self.opt, epochs - self.epoch, [self], compiled)

    def diverge(self) -> None:
        """Note that the run has diverged: the loss after the updates that were made isn't finite."""
        self.diverged = self.epoch * len(self.loader) + len(self._losses)
        self._write()

    def close(self) -> None:
        self._bar.close()

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


REMEDY = "name another folder by --output, or remove that file to begin anew"
KINDS = {"settings": dict, "history": list, "events": list, "diverged": (int, type(None)), "generator": dict}


def read(path: Path) -> dict[str, Any] | None:
    """What run.json holds, or None where there is none; Refused if it is damaged."""
    if not path.exists():
        return None
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved.keys() != KINDS.keys() or not all(isinstance(saved[name], kind) for name, kind in KINDS.items()):
            raise ValueError("something is missing")
    except (ValueError, AttributeError) as error:
        raise Refused(f"{path} is damaged; {REMEDY}") from error
    return saved
