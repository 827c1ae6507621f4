"""A rule at work on the GPU: its kernel compiled, its numbers on the device, one launch a step."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays import MOVE, device_of, on_gpu
from ...types import Array
from ..rule import number_like
from ..scheduled import Scheduled, at
from .source import TYPES, parts, rates_of, source_of

THREADS = 256  # of a block, as in step.cuh
ALIGNMENT = 16  # bytes that a kernel reads and writes at once
MAX_ARRAYS = 400  # of the state: before CUDA 12.1, the parameters of a kernel are 4 KB at most
UNWATCHED = (np.uint64(0), np.uint64(0), np.int32(0), np.uint64(0))  # no loss to look at: addresses of nothing
TABLES = 64  # tables of gradients that are kept: CuPy hands out the same few pieces of memory in turn


def kernel_step(
    rule: Any, x: Array, arrays: Sequence[Array], starts: Sequence[int], numbers: Sequence[Any]
) -> KernelStep | None:
    """A rule ready to step parameters that lie side by side, by one launch; None where there is no kernel for that.

    There is none for rules that look at several elements together (ClipNorm, YellowFin), that skip steps (AccumGrad),
    or that are a user's own; for more arrays than a kernel can be given; for arrays of other types than float32 and
    float64; and for a parameter that its user has laid at an address that is no multiple of 16.

    Arguments:
        rule: the rule, a chain of rules, or one with schedules.
        x: the flat buffer in which the parameters lie, on the GPU.
        arrays: the arrays of the rule's state, laid out as x is.
        starts: where in the buffer each parameter begins, and last where the last one ends.
        numbers: the numbers of the rule's state.

    Errors: ValueError for arrays that don't fit together.
    """
    fixed = at(rule.rule, 0) if isinstance(rule, Scheduled) else rule
    if not parts(fixed) or x.dtype.name not in TYPES or x.data.ptr % ALIGNMENT or len(arrays) > MAX_ARRAYS:
        return None
    return KernelStep(rule, x, arrays, starts, numbers)


class KernelStep:
    """What `kernel_step` returns: the kernel, and what it needs on the device."""

    def __init__(
        self, rule: Any, x: Array, arrays: Sequence[Array], starts: Sequence[int], numbers: Sequence[Any]
    ) -> None:
        _check_buffers(x, arrays, starts)
        self._buffers = (x, *arrays)
        self._sizes = [stop - start for start, stop in itertools.pairwise(starts)]
        self._known = tuple(numbers)  # the state's numbers as they were given, or last read
        self._stale = False  # whether the device has moved them on since
        self._rule, self._t = rule, None  # the steps launched, where a schedule asks for them
        if isinstance(rule, Scheduled):
            self._rule, self._t = rule.rule, numbers[-1]
        rules = parts(at(self._rule, self._t))
        with x.device:
            scheduled = self._t is not None
            source = source_of(rules, x.dtype.name, len(arrays), len(numbers), scheduled)
            self._kernel, most = _compiled(source, "step", x.data.device_id)
            self._blocks = min(most, _blocks(starts[0], starts[-1], ALIGNMENT // x.itemsize))
            self._starts = on_device(starts, np.int64)
            self._rates = _rates_there(rates_of(rules))
            self._device_numbers = on_device(numbers, np.float64)
            self._ticket = on_device([0], np.uint32)
        self._count = np.int32(len(self._sizes))
        self._tables: dict[tuple[int, ...], Any] = {}

    def calls_for(self, gradients: Sequence[Any], watch: tuple[Any, ...] = UNWATCHED) -> list[tuple[Any, ...]]:
        """The calls that make up a step, in the current stream, for `commit`; nothing is waited for.

        Arguments:
            gradients: an array for each parameter; one that is not contiguous, or of another dtype, is copied.
            watch: the loss, the array that it is written into, its place there, and the flag that is set when a loss
                is not finite: then, and if the flag was set before, the kernel leaves everything as it is.

        Errors: ValueError for a gradient of another size than its parameter, or on another GPU; TypeError for one in
        NumPy.
        """
        device = self._buffers[0].device
        fitting = [self._fitting(g, size) for g, size in zip(gradients, self._sizes, strict=True)]
        rates = self._rates[0] if self._t is None else rates_of(parts(at(self._rule, self._t)))
        if rates != self._rates[0]:
            with device:
                self._rates = _rates_there(rates)
        numbers = (self._rates[1], self._device_numbers, self._ticket)
        inputs = (*self._buffers, self._table(fitting), self._starts, self._count, *numbers, *watch)
        self._stale = True  # as far as anybody knows
        counted = [] if self._t is None else [(setattr, self, "_t", self._t + 1)]
        launched = (self._kernel, (self._blocks,), (THREADS,), inputs)
        held = (len, fitting)  # copies among them are kept until the launch: a table holds their addresses alone
        return [(device.__enter__,), launched, (device.__exit__, None, None, None), held, *counted]

    @property
    def numbers(self) -> tuple[Any, ...]:
        """The numbers of the rule's state; reading them waits for the device if a step was made since the last time."""
        if self._stale:
            values = self._device_numbers.tolist() if self._device_numbers.size else []
            self._known = tuple([number_like(old, new) for old, new in zip(self._known, values, strict=True)])
            self._t = None if self._t is None else self._known[-1]  # a watched step may not have been made
            self._stale = False
        return self._known

    def can_watch(self, loss: Any) -> bool:
        """Whether the kernel can look at a loss: it reads numbers of the parameters' type, on their GPU."""
        x = self._buffers[0]
        return bool(loss.dtype == x.dtype and loss.data.device_id == x.data.device_id)

    def _fitting(self, g: Array, size: int) -> Any:
        """A gradient as the kernel reads it."""
        x = self._buffers[0]
        if not on_gpu(g):
            raise TypeError(f"update: expected a gradient on the GPU, got one {device_of(g)}. {MOVE}")
        if g.size != size or g.data.device_id != x.data.device_id:
            raise ValueError(
                f"update: expected a gradient of {size} elements on GPU {x.data.device_id}, where its parameter lies; "
                f"got {g.size} on GPU {g.data.device_id}."
            )
        return g.astype(x.dtype, order="C", copy=False)

    def _table(self, gradients: Sequence[Any]) -> Any:
        """Pointers to the gradients, on the device; a table is never overwritten, as a launch may still be using it."""
        pointers = tuple([g.data.ptr for g in gradients])
        if pointers not in self._tables:
            if len(self._tables) == TABLES:
                del self._tables[next(iter(self._tables))]
            with self._buffers[0].device:
                self._tables[pointers] = on_device(pointers, np.uint64)
        return self._tables[pointers]


@functools.cache
def _compiled(source: str, name: str, device: int) -> tuple[Any, int]:
    """The kernel, and how many of its blocks a device, which is the current one, runs at once."""
    import cupy

    kernel = cupy.RawModule(code=source, options=("-std=c++17",)).get_function(name)
    resident = cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(kernel.kernel.ptr, THREADS, 0)
    return kernel, resident * cupy.cuda.Device(device).attributes["MultiProcessorCount"]


def _blocks(start: int, stop: int, lanes: int) -> int:
    """How many blocks give every vector from the one that `start` is in a thread of its own; at least one."""
    vectors = -(-stop // lanes) - start // lanes
    return max(1, -(-vectors // THREADS))


def _rates_there(rates: Sequence[float]) -> tuple[Sequence[float], Any]:
    """Hyperparameters, and the same on the current device."""
    return rates, on_device(rates, np.float64)


def on_device(numbers: Sequence[Any], dtype: Any) -> Any:
    """Numbers as an array on the current device, where they arrive in the order of the current stream."""
    import cupy

    return cupy.asarray(np.array(numbers, dtype))


def _check_buffers(x: Array, arrays: Sequence[Array], starts: Sequence[int]) -> None:
    """Refuse what the kernel would read wrongly: it takes addresses on trust."""
    for name, a in [("the parameters", x), *((f"array {i} of the state", a) for i, a in enumerate(arrays))]:
        alike = a.dtype == x.dtype and a.shape == (x.size,) and a.data.device_id == x.data.device_id
        if not (alike and a.flags.c_contiguous and a.data.ptr % ALIGNMENT == 0):
            raise ValueError(
                f"kernel_step: expected {name} to be {x.dtype} of shape ({x.size},) on GPU {x.data.device_id}, "
                f"contiguous, at an address that is a multiple of {ALIGNMENT}; got {a.dtype} of shape {a.shape} on GPU "
                f"{a.data.device_id}, with strides {a.strides}, at {a.data.ptr:#x}. Lay it in an array of its own."
            )
    if len(starts) < 2 or starts[0] < 0 or starts[-1] > x.size or list(starts) != sorted(starts):
        raise ValueError(
            f"kernel_step: expected starts to ascend from 0 or above to at most {x.size}, the size of the buffer; got "
            f"{list(starts)}."
        )
