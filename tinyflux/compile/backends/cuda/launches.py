"""What runs on the GPU, one after another: kernels, and products by cuBLAS and cuDNN, each with its arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from ....nn.convolution import Geometry
from ....types import DType

FAULT, RECORD = "fault", "record"  # arrays for errors and losses: see `Translation`


class Place(NamedTuple):
    """Where an array lies: in the array of this name, from an element on."""

    array: str
    start: int = 0


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a kernel, in blocks of its own: a function that the kernel calls for each of them.

    Attributes:
        name: of the function.
        blocks: how many blocks of threads share its work.
        arrays: its arguments.
        types: of its parameters.
        shared: the C expression for how many bytes of shared memory it calculates in, or nothing.
    """

    name: str
    blocks: int
    arrays: tuple[Place, ...]
    types: tuple[str, ...]
    shared: str = ""

    @property
    def writes(self) -> tuple[bool, ...]:
        """Which arrays it writes."""
        return tuple(not kind.startswith("const ") for kind in self.types)


@dataclasses.dataclass(frozen=True)
class Launch:
    """A launch of a kernel.

    Attributes:
        kernel: its name.
        blocks: how many blocks of threads there are.
        arrays, writes: what it reads and writes, and which of them it writes.
        tables: how many of the arrays, the last ones, hold the addresses of the others. If any do, these alone are its
            arguments.
    """

    kernel: str
    blocks: int
    arrays: tuple[Place, ...]
    writes: tuple[bool, ...]
    tables: int = 0

    @property
    def given(self) -> tuple[Place, ...]:
        """Its arguments."""
        return self.arrays[-self.tables :]


@dataclasses.dataclass(frozen=True)
class Multiply:
    """A product of two matrices.

    Attributes:
        arrays: the left matrix, the right one, and the result.
        size: how many rows and columns the result has, and of how many products each element is the sum.
        transposed: whether the left matrix lies in memory transposed, and whether the right one does.
        dtype: float32 or float64.
    """

    arrays: tuple[Place, ...]
    size: tuple[int, int, int]
    transposed: tuple[bool, bool]
    dtype: DType

    writes = False, False, True


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One of the products of a convolution.

    Attributes:
        arrays: the two that are multiplied, and the result.
        function: "convolve", "spread" or "correlate".
        shapes: of the arrays.
        how: how windows lie.
        dtype: float32 or float64.
    """

    arrays: tuple[Place, ...]
    function: str
    shapes: tuple[tuple[int, ...], ...]
    how: Geometry
    dtype: DType

    writes = False, False, True


@dataclasses.dataclass(frozen=True)
class Barrier:
    """Between steps: those behind it run after all that are before it."""

    arrays: tuple[Place, ...] = ()
    writes = ()


Step = Section | Multiply | Convolution | Barrier


def relocate(step: Step, places: Mapping[str, Place]) -> Step:
    """The same step with other arrays in the place of those of these names."""
    arrays = [Place(places[name].array, places[name].start + start) for name, start in step.arrays]
    return dataclasses.replace(step, arrays=tuple(arrays))
