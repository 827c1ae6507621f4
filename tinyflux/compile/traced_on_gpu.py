"""Functions of arrays on the GPU, compiled: kernels made for them, whose results are new arrays in each call."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from .. import tree
from ..types import Array
from .backends.cuda.executable import Executable
from .backends.cuda.kernels import Translation
from .ir.node import Node
from .schedule.fuse import Result, make_schedule
from .trace.record import Trace
from .traced import Function


class DeviceFunction(Function):
    """A function compiled for arguments of one kind that lie on one GPU, and surroundings of one kind."""

    gpu = True
    source: Translation

    def _make(self, trace: Trace, ends: list[Node], leaves: list[Array], before: Function | None) -> None:
        recording = trace.recording
        results = [Result(node, len(recording.inputs) + i) for i, node in enumerate(ends)]
        if isinstance(before, DeviceFunction) and before.program == self.program:
            self.source = before.source
        else:
            self.source = Translation(make_schedule(results, recording.trusted))
        fixed = {f"p{node.params}": x for node, x in recording.captured}
        given = [*(f"p{i}" for i in range(len(leaves))), *(f"p{r.pointer}" for r in results)]
        self._device = next(x.device for x in leaves if tree.is_array(x))
        with self._device:
            self._executable = Executable(self.source, [], fixed, given)
        # All calls calculate in the same memory, one after another, whatever threads and streams they are made in.
        self._lock = threading.Lock()
        self._stream: Any = None  # of the latest call

    def _calculate(self, leaves: list[Array]) -> list[Array]:
        import cupy

        with self._lock, self._device:
            before, self._stream = self._stream, cupy.cuda.get_current_stream()
            if before is not None and before != self._stream:
                self._stream.wait_event(before.record())
            arrays = [x if tree.is_array(x) else cupy.asarray(np.asarray(x)) for x in leaves]
            outputs = [cupy.empty(shape, dtype) for shape, dtype, _ in self._outputs]
            try:
                self._executable([*arrays, *outputs])
                self._executable.raise_fault()
            finally:
                self._executable.release()
        return outputs

    def _unwrap(self, x: Array, weak: bool) -> Any:
        """An array, or a number where the function calculates with numbers alone; that waits for the GPU."""
        return x.item() if weak else x
