"""Training on the GPU without waiting for it: the kernels look at the losses, the host reads many of them at once."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from ...interrupts import commit
from ...types import Tree
from ..plan import Plan
from ..state import OptimiserState, planned
from ..step import Change, step_all
from .launch import on_device

ROOM = 1024  # losses that the device keeps until they are read
SECONDS = 1.0  # after which they are read in any case: a training that has come to nothing is not to go on for long


class FiniteLossGuard:
    """Updates of a model on the GPU, each of them made only if its loss and all losses before it are finite.

    Arguments:
        opt, model: an optimiser's state, and the model that it was set up for.
    """

    def __init__(self, opt: OptimiserState, model: Tree) -> None:
        self._opt, self._model = opt, model
        self._losses: Any = None  # on the device, as is the flag that one of them was not finite
        self._stopped: Any = None
        self._unread = 0
        self._since = 0.0  # when the first of the unread losses came
        self._undo: list[list[Change]] = []  # for each unread loss, what puts back what was changed with it

    def step(self, loss: Any, grads: Tree, most: int, undo: list[Change]) -> list[float]:
        """Make the update that belongs to a loss and its gradient.

        Nothing is waited for if kernels do all of the update; otherwise the loss is read first.

        Arguments:
            loss: a scalar on the GPU.
            grads: as for `update`.
            most: how many losses may be left unread, this one with them.
            undo: what puts the state of layers back as it was before the loss was calculated, to be called if the
                update isn't made. It is taken out of this list if the update is made, or is to be made on the device.

        Returns: the losses that have become known, in their order; none, often. If the last one is NaN or infinite, its
        update was not made.

        Errors: as for `update`.
        """
        plan, gradients = planned(self._opt, self._model, grads)
        if not self._watchable(plan, loss):
            return self._step_after_reading(plan, gradients, loss, undo)
        self._opt._layout.mark_stale()
        if not self._unread:
            self._since = time.monotonic()
        watch = (loss, self._losses, np.int32(self._unread), self._stopped)
        changes = [x for g in plan.groups for x in g.kernel.calls_for([gradients[i] for i in g.indices], watch)]
        taken = (self._undo.append, [*undo]), (undo.clear,)
        commit([*changes, (setattr, self, "_unread", self._unread + 1), *taken])
        overdue = time.monotonic() - self._since > SECONDS
        return self.read() if overdue or self._unread >= min(most, ROOM) else []

    def _step_after_reading(self, plan: Plan, gradients: Any, loss: Any, undo: list[Change]) -> list[float]:
        self._undo.append(undo)  # what is put back last was changed first
        known = self.read()
        if not known or math.isfinite(known[-1]):
            known.append(float(loss))
            if math.isfinite(known[-1]):
                step_all(plan, gradients, self._opt.native, [(undo.clear,)])
        return known

    def read(self) -> list[float]:
        """The losses that were not read yet, up to the first that is not finite; this waits for the device."""
        values = self._losses[: self._unread].tolist() if self._unread else []
        failed = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
        undone = [] if failed is None else self._undo[failed:][::-1]
        back = [change for undo in undone for change in [*undo, (undo.clear,)]]
        commit([*back, (self._undo.clear,), (setattr, self, "_unread", 0)])
        if failed is not None:
            self._opt._layout.fetch_numbers()  # the host has counted steps that were not made
        return values if failed is None else values[: failed + 1]

    def _watchable(self, plan: Plan, loss: Any) -> bool:
        """Whether kernels do all of an update, and can look at the loss."""
        kernels = [group.kernel for group in plan.groups]
        if not kernels or plan.heads or not all(kernel and kernel.can_watch(loss) for kernel in kernels):
            return False
        if self._losses is None:
            with loss.device:
                self._losses, self._stopped = on_device([0.0] * ROOM, loss.dtype), on_device([0], np.uint32)
        return bool(self._losses.dtype == loss.dtype)
