"""Iterations of training on the GPU: recorded, scheduled, made kernels of, and many of them launched at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import tree
from ..arrays import on_gpu
from ..compile.backends.cuda.executable import Executable
from ..compile.backends.cuda.kernels import Translation
from ..compile.backends.cuda.launches import RECORD
from ..compile.backends.cuda.persistent import PersistentKernel, translate_persistent
from ..compile.guards.guards import Snapshot
from ..compile.ir import program
from ..compile.ir.node import Node
from ..compile.ir.program import Recording, format_program, reachable
from ..compile.schedule.fuse import Result, make_schedule
from ..compile.trace.programs import Program
from ..compile.trace.record import Trace
from ..compile.trace.symbolic import Symbolic
from ..errors import NotCompilable
from ..interrupts import commit
from ..optimise.checks import check_known
from ..optimise.state import OptimiserState
from ..types import Array, Loss, Tree
from .launching import Graphs, Launcher, OneKernel
from .layer_state import DeviceState, replace_arrays, unique_leaves
from .recorded_iteration import RecordedIteration, record_iteration
from .traced_loss import refuse_model, refuse_state

ROOM = 1024  # losses that the device keeps until they are read


class LossRecord:
    """The losses on the current device, as kernels enter them: see `Translation`.

    Attributes:
        unread: how many iterations were launched since the losses were read.
    """

    def __init__(self) -> None:
        import cupy

        self.losses = cupy.asarray(np.zeros(3 + ROOM))
        self.unread = 0

    def read(self) -> list[float]:
        """The losses that were not read yet, up to the first that is not finite; this waits for the device."""
        values = self.losses[3 : 3 + self.unread].tolist() if self.unread else []
        with self.losses.device:
            commit([(self.losses.__setitem__, 0, 0.0), (setattr, self, "unread", 0)])
        failed = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
        return values if failed is None else values[: failed + 1]


class CudaIteration(Program):
    """The program for one kind of data, and for the parameters that a model holds."""

    def __init__(
        self, loss: Loss, look: Callable[[], Snapshot], model: Tree, opt: OptimiserState, data: Tree, size: int | None,
        record: LossRecord,
    ) -> None:  # fmt: skip
        check_known("train", opt, model)
        own, given = unique_leaves(model), tree.leaves(data)
        if not all(map(on_gpu, [*own, *given])):
            raise NotCompilable("a batch in NumPy, or a part of the model: move all of it by flux.gpu.")
        rows: list[Node] = []  # of the data, which are copied once, wherever they are read

        def copy_rows(x: Symbolic) -> Symbolic:
            rows.append(program.elementwise("positive", [x.node], x.dtype))
            return Symbolic(rows[-1])

        def record_it() -> tuple[RecordedIteration, list[Node]]:
            rows.clear()
            return record_iteration(loss, model, opt, data, size, copy_rows)

        trace = Trace(record_it, look, gpu=True)
        super().__init__(trace.surroundings, trace.contents)
        recorded: RecordedIteration = trace.value
        refuse_model(trace.surroundings, trace.captured, model, opt, recorded.changed(model))
        refuse_state(trace.surroundings, trace.captured, opt)
        recording = trace.recording
        copies = [Result(node, len(recording.inputs) + i) for i, node in enumerate(rows)]
        results = [*recorded.results, *copies]
        with recording:
            self.program = "\n".join(format_program(reachable(trace.ends), [recorded.loss]))
            total = program.elementwise("positive", [recorded.loss], recorded.loss.dtype)
            schedule = make_schedule(results, recording.trusted, total, None, recording.demands)
        moving = {f"p{recorded.order.params}": size or 0}
        room = own[0].device.attributes["MaxSharedMemoryPerBlockOptin"]
        alone = None if size is None else translate_persistent(schedule, recording.demands, moving, room)
        self.source: Translation | PersistentKernel = alone or Translation(schedule, demands=recording.demands)
        self._opt, self._update, self._record = opt, recorded.update, record
        self._find_memory(recorded, recording, results, own, len(given))
        self._read: list[Array] = []
        self._owners: Any = None

    def _find_memory(
        self, recorded: RecordedIteration, recording: Recording, results: Sequence[Result], own: Sequence[Array],
        count: int,
    ) -> None:  # fmt: skip
        """Lay down which arrays the program's inputs and results are; the last `count` of them are the data's."""
        slots = dict.fromkeys(recorded.model_slots)  # of the model's arrays, each once
        leaves = [leaf.view for leaf in self._opt._leaves]
        parameters = set(map(id, leaves))
        written = {r.pointer for r in results}
        self._own = [i for i, slot in enumerate(slots) if slot in written and id(own[i]) not in parameters]
        self._others = [i for i, x in enumerate(own) if id(x) not in parameters and i not in self._own]
        self._device = own[0].device
        with self._device:
            import cupy

            self._state = DeviceState([own[i] for i in self._own])
            self._numbers = cupy.empty(len(self._update.slots), np.float64)
            names = [f"p{slot}" for slot in slots]
            fixed = {name: x for name, x in zip(names, own) if id(x) in parameters}
            fixed |= {names[i]: x for i, x in zip(self._own, self._state.results)}
            fixed |= {f"p{node.params}": x for node, x in recording.captured}
            fixed |= {f"p{slot}": leaf.arrays[i] for leaf, i, slot in self._update.states}
            fixed |= {f"p{slot}": self._numbers[i : i + 1] for i, slot in enumerate(self._update.slots)}
            fixed[RECORD] = self._record.losses
            order = recorded.order.params
            given = [names[i] for i in self._others] + [f"p{order + 1 + i}" for i in range(count)] + [f"p{order}"]
            if isinstance(self.source, PersistentKernel):
                self._launcher: Launcher = OneKernel(self.source, fixed, given, self._record)
            else:
                executable = Executable(self.source, results, fixed, given)
                self._launcher = Graphs(self.source, executable, recorded.order.size, self._record)

    def fits(self) -> bool:
        """Whether parameters that the program steps alike are still to be stepped alike."""
        return self._update.fits()

    def bind(self, model: Tree) -> None:
        """Take the model's arrays that are no parameters, and the optimiser's numbers, as they are now.

        Those arrays that the program changes are replaced, where they stand, by its own: see `unbind`.
        """
        import cupy

        own = unique_leaves(model)
        with self._device:
            if self._own:
                old = [own[i] for i in self._own]
                replace_arrays(model, dict(zip(map(id, old), self._state.attach(old))))
                own = unique_leaves(model)
            if self._owners is None or self._opt._layout._owners is not self._owners:
                values = self._update.numbers(self._numbers)
                self._numbers[...] = cupy.asarray(values)
                self._owners = self._opt._layout._owners
        self._read = [own[i] for i in self._others]

    def unbind(self, model: Tree) -> None:
        """Put copies of the layers' state into the model: the program will change its own arrays again."""
        if self._own:
            own = unique_leaves(model)
            with self._device:
                copies = self._state.detach()
            replace_arrays(model, {id(own[i]): x for i, x in zip(self._own, copies)})

    def run(self, data: Sequence[Array], order: Array | None, count: int) -> None:
        """Launch iterations, and count them as unread. Nothing is waited for.

        Arguments:
            order: the numbers of samples on the device, int64 of shape (iterations, batchsize); None for one iteration
                of all data.
            count: how many of them to make.
        """
        self._opt._layout.mark_stale()
        with self._device:
            self._launcher.launch([*self._read, *data], order, count)

    def raise_fault(self) -> None:
        """Raise the error that a kernel has found, if one has: the last loss that was read was not finite."""
        self._launcher.raise_fault()

    def release(self) -> None:
        """Let go of the arrays of the last item, and of the state of layers."""
        self._read, self._owners = [], None
        self._state.release()
        self._launcher.release()
