"""What a run saves of itself, and whether what is loaded belongs to it."""

import hashlib
import json
from typing import Any

import numpy as np

import tinyflux as flux
from examples.common.command import Refused
from examples.common.folder import Folder

from .curve import Curve
from .grid import LONGEST, checkpoints

_FREE = ("begun",)  # settings that tell of the first process, and that no number depends on


class State:
    """The model, the losses and the training time of a run, in one file with a mark of the run.

    Attributes:
        model: the network.
        curve: the losses so far.
        seconds: () the training time so far.
    """

    def __init__(self, folder: Folder, model: Any) -> None:
        self.folder, self.model = folder, model
        self.curve = Curve()
        self.seconds = np.zeros(())

    def save(self, opt: Any) -> None:
        flux.save(self.folder.state, self._tree(self._mark()), opt)

    def load(self, opt: Any = None) -> None:
        """Fill the model, and the optimiser's state, from the file; Refused where it is damaged or another run's."""
        path, mark = self.folder.state, np.zeros_like(self._mark())
        try:
            flux.load(path, self._tree(mark), opt)
        except flux.CheckpointError as error:
            raise Refused(f"{error} {self.folder.remedy}") from error
        if (mark != self._mark()).any():
            raise Refused(f"{path} is not the state of the run that settings.json tells of. {self.folder.remedy}")
        if not (0 <= self.curve.count <= LONGEST and 0 <= self.seconds < np.inf):
            what = f"{self.curve.count:,} iterations in {self.seconds:.6g} s"
            raise Refused(f"{path} is damaged: it tells of {what}. {self.folder.remedy}")

    def check_metrics(self) -> None:
        """See that the metrics tell of this state and all before it, for whoever holds the lock; else Refused."""
        metrics, noted = self.folder.path / "metrics.jsonl", self.folder.checkpoints()
        count, tested = int(self.curve.count), {entry["iteration"] for entry in noted}
        missing = sorted({i for i in checkpoints(count) if i < count} - tested)
        if missing or not self.folder.metrics():
            what = f"the checkpoint of {missing[0]:,} iterations" if missing else "anything"
            raise Refused(f"{metrics} lacks {what}; state.npz is that of {count:,}. {self.folder.remedy}")
        for entry in noted:
            i = entry["iteration"]
            if not 1 <= i <= count:
                raise Refused(f"{metrics} tells of {i:,} iterations, state.npz of {count:,}. {self.folder.remedy}")
            known = self.curve.loss_of(i)
            if known is not None and known != np.float32(entry["loss"]):
                what = f"the loss {entry['loss']:.6g} after {i:,} iterations, state.npz of {known:.6g}"
                raise Refused(f"{metrics} tells of {what}. {self.folder.remedy}")

    def _tree(self, mark: np.ndarray) -> Any:
        return {"model": self.model, "curve": self.curve, "seconds": self.seconds, "run": mark}

    def _mark(self) -> np.ndarray:
        """SHA-256 of all that the run's numbers depend on."""
        settings = {name: x for name, x in (self.folder.settings() or {}).items() if name not in _FREE}
        return np.frombuffer(hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).digest(), np.uint8).copy()
