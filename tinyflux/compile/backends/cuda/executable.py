"""A translated program on the GPU: compiled, with its memory, and all of its launches ready."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ....errors import NotCompilable
from ....nn import cudnn
from ....types import Array
from ...schedule.buffers import assign_offsets, live_ranges
from ...schedule.fuse import Result
from . import cublas
from .grid import THREADS
from .kernels import Translation
from .launches import FAULT, Convolution, Launch, Multiply, Place

ALIGNED = 256  # bytes: arrays begin at multiples of this, as CuPy's own do
Call = tuple[Any, ...]  # a function and its arguments


class Faults:
    """The errors that kernels have found, on the current device.

    Attributes:
        numbers: the array `fault` of a `Translation`.
    """

    def __init__(self, checks: Sequence[tuple[type[Exception], str]]) -> None:
        import cupy

        self._checks = checks
        self.numbers = cupy.asarray(np.zeros(2, np.int32))

    def raise_them(self) -> None:
        """Raise the one that was found; where kernels look for any, this waits for them."""
        found = max(self.numbers.tolist()) if self._checks else 0
        if found:
            with self.numbers.device:
                self.numbers[:] = 0
            kind, message = self._checks[found - 1]
            raise kind(message)


class Executable:
    """What calculates a program on the current device.

    Arguments:
        results: of the program.
        fixed: the arrays that some of its inputs and results always are, by name; of those in NumPy copies are made.
        given: the names of its other inputs, whose arrays are given in each call.

    Attributes:
        results: arrays that every call overwrites.
    """

    def __init__(
        self, translation: Translation, results: Sequence[Result], fixed: Mapping[str, Array], given: Sequence[str]
    ) -> None:
        import cupy

        fixed = {name: cupy.asarray(x) for name, x in fixed.items()}
        in_place = {name: x for name, x in fixed.items() if x.flags.c_contiguous}
        copied = {name: x for name, x in fixed.items() if name not in in_place}  # anew in each call
        self._copied = list(copied.values())
        self._inputs = {name: i for i, name in enumerate([*given, *copied])}
        self._arrays = _allocate(translation, [r for r in results if f"p{r.pointer}" not in in_place])
        self._arrays |= in_place  # products know no more of them than addresses
        self._faults = Faults(translation.checks)
        self._arrays[FAULT] = self._faults.numbers
        self.results = [self._arrays[f"p{r.pointer}"] for r in results]
        module = cupy.RawModule(code=translation.text, options=("-std=c++17",))
        find_kernel = functools.cache(module.get_function)
        find_array = functools.cache(self._find)
        self._calls: list[tuple[Any, list[Any]]] = []  # functions, each with its arguments
        self._products: list[list[Any]] = []  # the arguments of cuBLAS, whose handle comes first
        self._workspace: Array | None = None  # of cuBLAS
        self._patches: dict[Place, list[tuple[list[Any], int, bool]]] = {}  # arguments that differ from call to call
        for launch in translation.launches:
            places = launch.given if isinstance(launch, Launch) else launch.arrays
            arrays = list(map(find_array, places))
            if isinstance(launch, Launch):
                self._calls.append((find_kernel(launch.kernel), [(launch.blocks,), (THREADS,), arrays]))
                patches = [(arrays, i, False) for i in range(len(arrays))]
            elif isinstance(launch, Convolution):
                self._calls.append((_find_plan(launch), arrays))
                patches = [(arrays, i, False) for i in range(len(arrays))]
            else:
                arguments = _product(launch, arrays)
                self._calls.append((cublas.gemm(launch.dtype.name), arguments))
                self._products.append(arguments)
                patches = [(arguments, i, True) for i in POINTERS]
            for place, patch in zip(places, patches):
                if place.array in self._inputs:
                    self._patches.setdefault(place, []).append(patch)
        plans = [call for call in self._calls if isinstance(call[0], cudnn.Plan)]
        workspace = cupy.empty(max([plan.workspace for plan, _ in plans], default=0), np.uint8)
        for _, arrays in plans:  # one runs after another, so that all calculate in the same memory
            arrays.append(workspace)

    def calls(self, given: Sequence[Array]) -> list[Call]:
        """The calls that calculate, in the current stream; nothing is waited for. They are good until the next ones."""
        arrays = [x if x.flags.c_contiguous else x.copy() for x in (*given, *self._copied)]
        for place, patches in self._patches.items():
            x = _from(arrays[self._inputs[place.array]], place.start)
            for arguments, i, is_address in patches:
                arguments[i] = x.data.ptr if is_address else x
        if self._products:
            if self._workspace is None:
                self._workspace = cublas.make_workspace()
            handle = cublas.handle(self._workspace)
            for arguments in self._products:
                arguments[0] = handle
        return [(function, *arguments) for function, arguments in self._calls]

    def __call__(self, given: Sequence[Array]) -> None:
        """Calculate, in the current stream; nothing is waited for."""
        for function, *arguments in self.calls(given):
            function(*arguments)

    def is_capturable(self, given: Sequence[Array]) -> bool:
        """Whether a graph can hold the calls: nothing is copied for them, as cuDNN does what is not aligned."""
        arrays = [x for function, arguments in self._calls if isinstance(function, cudnn.Plan) for x in arguments]
        contiguous = not self._copied and all(x.flags.c_contiguous for x in given)
        return contiguous and all(x is not None and x.data.ptr % cudnn.ALIGNMENT == 0 for x in arrays)

    def raise_fault(self) -> None:
        """Raise the error that a kernel has found; where they look for any, this waits for them."""
        self._faults.raise_them()

    def release(self) -> None:
        """Let go of the arrays that were given, and of cuBLAS' workspace."""
        self._workspace = None
        for arguments, i, _ in itertools.chain(*self._patches.values()):
            arguments[i] = None

    def _find(self, place: Place) -> Array | None:
        return _from(self._arrays[place.array], place.start) if place.array in self._arrays else None


def _from(x: Array, start: int) -> Array:
    """The elements of an array from one on."""
    return x.reshape(-1)[start:] if start else x


def _allocate(translation: Translation, results: Sequence[Result]) -> dict[str, Array]:
    """Arrays for what is calculated, by their names."""
    import cupy

    ranges = live_ranges([place.array for launch in level for place in launch.arrays] for level in translation.levels)
    between = {name: (n * dtype.itemsize, dtype) for name, (n, dtype) in translation.arrays.items() if name in ranges}
    offsets, total = assign_offsets(
        ranges, {name: -(-size // ALIGNED) * ALIGNED for name, (size, _) in between.items()}
    )
    arena = cupy.empty(total, np.uint8)
    arrays = {name: arena[offsets[name] :][:size].view(dtype) for name, (size, dtype) in between.items()}
    return arrays | {f"p{r.pointer}": cupy.empty(r.node.shape, r.node.dtype) for r in results}


def _find_plan(launch: Convolution) -> cudnn.Plan:
    plan = cudnn.find_plan(launch.function, launch.shapes, launch.how, launch.dtype)
    if plan is None:
        raise NotCompilable(f"cuDNN has no way to {launch.function} arrays of shapes {launch.shapes} on this device.")
    return plan


POINTERS = (9, 7, 12)  # where the arguments of cuBLAS have the left matrix, the right one, and the result


def _product(launch: Multiply, arrays: Sequence[Array | None]) -> list[Any]:
    """The arguments of cuBLAS; the handle is missing. It takes a matrix for its transposed: outᵀ = rightᵀ leftᵀ."""
    m, n, k = launch.size
    left, right = launch.transposed
    one, zero = (x.ctypes.data for x in _ones_and_zeros(launch.dtype.name))
    a, b, c = (None if x is None else x.data.ptr for x in arrays)
    return [None, int(right), int(left), n, m, k, one, b, k if right else n, a, m if left else k, zero, c, n]


@functools.cache
def _ones_and_zeros(dtype: str) -> tuple[Array, Array]:
    """Numbers for cuBLAS, which takes addresses."""
    return np.ones(1, dtype), np.zeros(1, dtype)
