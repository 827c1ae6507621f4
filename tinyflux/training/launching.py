"""How iterations are launched on the GPU: many of them as a CUDA graph, or by one kernel that makes all of them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..compile.backends.cuda.executable import Call, Executable, Faults
from ..compile.backends.cuda.kernels import Translation
from ..compile.backends.cuda.launches import FAULT, Launch
from ..compile.backends.cuda.persistent import PersistentKernel
from ..interrupts import commit, uninterrupted
from ..types import Array
from .report import report_once

STRETCHES = (16, 4, 1)  # iterations in a graph


class Unread(Protocol):
    """What counts the iterations that were launched since the losses were read."""

    unread: int


class Launcher(Protocol):
    """Launches iterations in the current stream of the current device, and counts them. Nothing is waited for.

    After an interrupt a launch was made and counted, or neither.
    """

    def launch(self, given: Sequence[Array], order: Array | None, count: int) -> None:
        """Launch iterations.

        Arguments:
            given: the arrays of the program's other inputs.
            order: the numbers of samples on the device, int64 of shape (iterations, batchsize); None for one iteration
                of all data.
            count: how many of them to make.
        """

    def raise_fault(self) -> None:
        """Raise the error that a kernel has found, if one has; this may wait for the device."""

    def release(self) -> None:
        """Let go of the arrays that were given."""


class Graphs:
    """The kernels of an iteration: launched one by one at first, and then in graphs of several iterations.

    Arguments:
        source: the program of an iteration.
        executable: what calculates it, its order of samples given last.
        size: how many samples a batch has.
    """

    def __init__(self, source: Translation, executable: Executable, size: int, counter: Unread) -> None:
        import cupy

        self._first_lasting = source.first_lasting
        # Whether an interrupt can come in between: the calls of cuBLAS and cuDNN are partly written in Python.
        self._in_python = not all(isinstance(launch, Launch) for launch in source.launches[self._first_lasting :])
        self._executable, self._size, self._counter = executable, size, counter
        self._device = cupy.cuda.Device()
        self._order = cupy.empty(STRETCHES[0] * size, np.int64)  # of a graph's batches
        self._given: list[Array] = []
        self._graphs: dict[int, Any] = {}  # by how many iterations they make

    def launch(self, given: Sequence[Array], order: Array | None, count: int) -> None:
        warm = len(given) == len(self._given) and all(map(operator.is_, given, self._given))
        if not warm:
            self._given, self._graphs = [*given], {}
        at = 0
        while at < count:
            some = next(n for n in STRETCHES if n <= count - at)
            graph = self._graph(some) if warm else None
            if graph is None:
                self._launch_kernels(self._order if order is None else order[at])
                at, warm = at + 1, True
                continue
            if order is not None:
                self._order[: some * self._size] = order[at : at + some].reshape(-1)
            commit([(graph.launch,), _counted(self._counter, some)])
            at += some

    def _launch_kernels(self, order: Array) -> None:
        """Launch the kernels of an iteration one by one: what changes nothing that stays, then all that does."""
        calls = self._executable.calls([*self._given, order])
        for function, *arguments in calls[: self._first_lasting]:
            function(*arguments)
        last = [*calls[self._first_lasting :], _counted(self._counter, 1)]
        if self._in_python:
            import cupy

            stream = cupy.cuda.get_current_stream()

            def make() -> None:
                with self._device, stream:  # those of this thread
                    commit(last)

            uninterrupted(make)
        else:
            commit(last)

    def _graph(self, count: int) -> Any:
        """The graph of so many iterations; None where there can't be one."""
        if count not in self._graphs:
            self._graphs[count] = None
            if self._executable.is_capturable([*self._given, self._order]):
                try:
                    self._graphs[count] = _capture(self._calls(count))
                except Exception as error:
                    report_once(f"tinyflux: kernels are launched one by one, as a CUDA graph can't hold them: {error}")
        return self._graphs[count]

    def _calls(self, count: int) -> Iterator[Call]:
        """The calls of so many iterations, whose orders lie behind each other."""
        for i in range(count):
            yield from self._executable.calls([*self._given, self._order[i * self._size :][: self._size]])

    def raise_fault(self) -> None:
        self._executable.raise_fault()

    def release(self) -> None:
        self._given, self._graphs = [], {}
        self._executable.release()


class OneKernel:
    """A kernel that makes all iterations of a launch by itself.

    Arguments:
        fixed: the arrays that some of its inputs and results always are, by name; of those in NumPy copies are made.
        given: the names of its other inputs, the order of samples last.
    """

    def __init__(
        self, kernel: PersistentKernel, fixed: Mapping[str, Array], given: Sequence[str], counter: Unread
    ) -> None:
        import cupy

        self._names, self._given, self._counter = kernel.arrays, given, counter
        self._grid, self._block = (1,), (kernel.threads,)
        arrays = {name: cupy.empty(n, dtype) for name, (n, dtype) in kernel.between.items()}
        arrays |= {name: cupy.asarray(x) for name, x in fixed.items()}
        self._faults = Faults(kernel.checks)
        self._arrays = arrays | {FAULT: self._faults.numbers}
        # Without `restrict`: an iteration reads what the one before has written.
        module = cupy.RawModule(code=kernel.text, options=("-std=c++17", "-DRESTRICT="))
        function = module.get_function("iterations")
        function.max_dynamic_shared_size_bytes = kernel.shared
        self._kernel = functools.partial(function, shared_mem=kernel.shared)

    def launch(self, given: Sequence[Array], order: Array | None, count: int) -> None:
        arrays = self._arrays | dict(zip(self._given, [*given, order]))
        arguments = [_contiguous(arrays[name]) for name in self._names]
        call = (self._kernel, self._grid, self._block, [*arguments, np.int64(count)])
        commit([call, _counted(self._counter, count)])

    def raise_fault(self) -> None:
        self._faults.raise_them()

    def release(self) -> None:
        """Nothing was kept."""


def _contiguous(x: Array) -> Array:
    return x if x.flags.c_contiguous else x.copy()


def _counted(counter: Unread, count: int) -> Call:
    """The call that counts iterations."""
    return setattr, counter, "unread", counter.unread + count


def _capture(calls: Iterable[Call]) -> Any:
    """A CUDA graph of calls."""
    import cupy

    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        try:
            stream.begin_capture()
            for function, *arguments in calls:
                function(*arguments)
        finally:
            graph = stream.end_capture() if stream.is_capturing() else None
    return graph
