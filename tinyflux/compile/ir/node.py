"""A node: one operation of a program, and what a kind of operation declares about itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from ...types import DType
from .indexing import Map

SUMMED = -1  # in the place of the axis along which rows lie: they are added up


@dataclasses.dataclass(eq=False, repr=False)
class Node:
    """One operation: its arguments, its parameters, and the shape and dtype of its result.

    A kind of operation is a subclass (see `ops`). What it says here is all that scheduling asks. By default a node is
    calculated element by element, inside the loop of whoever reads it, at the cost of nothing.

    Attributes:
        weak: whether the result is a number of Python's, which takes on the dtype of arrays it meets.
        number: its place in the order of recording: arguments have smaller ones.
        op: the name of the kind, that of its class.
        own_kernel: whether its elements can't be calculated one by one: it is stored, by a kernel of this kind. Others
            are calculated in kernels of the kind `map`.
        in_memory: whether its elements lie in memory without being stored: they are given, or its argument's.
        may_store: whether its elements may be calculated once and stored, where calculating them anew costs more.
        takes_arrays: whether its arguments have to lie in memory.
    """

    args: tuple[Node, ...]
    params: Any
    shape: tuple[int, ...]
    dtype: DType
    weak: bool
    number: int

    op = ""
    own_kernel = False
    in_memory = False
    may_store = False
    takes_arrays = False

    def __init_subclass__(cls) -> None:
        cls.op = cls.__name__.lower()

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        return f"%{self.number}"

    @property
    def kernel(self) -> str:
        """The kind of kernel that stores it."""
        return self.op if self.own_kernel else "map"

    @property
    def domain(self) -> tuple[int, ...]:
        """The lengths of the loops that calculate it."""
        return self.args[0].shape if self.own_kernel else self.shape

    @property
    def cost(self) -> int:
        """What the calculation of an element costs beside that of its arguments, in multiplications."""
        return 0

    @property
    def indexed_axes(self) -> tuple[int, ...]:
        """The axes along which an element depends on its index itself: their loops can't be merged with others."""
        return ()

    @property
    def whole_args(self) -> tuple[Node, ...]:
        """The arguments that have to lie in memory."""
        return self.args if self.takes_arrays else ()

    def formula(self, args: Sequence[str]) -> str:
        """The operation as text, of arguments of these names."""
        return f"{self.op}({', '.join([*args, str(self.params)])})"

    def reads(self, at: Map | None) -> Iterator[tuple[Node, Map | None]]:
        """What the element at the indices `at` is calculated from.

        Yields: an argument, and the indices of the element that is read; None where these aren't affine, or where
        several are read.
        """
        return ((x, None) for x in self.args)

    def read_share(self, x: Node) -> float:
        """How many elements of an argument are read in each round of the loops."""
        return 1

    def rows_of(self, axes: Sequence[int | None], length: int) -> int | None:
        """Along which axis of the result the rows of a batch lie.

        Arguments:
            axes: for each argument the axis along which its rows lie, or None if it has none; not all are None.
            length: how many rows there are.

        Returns: the axis, SUMMED, or None where rows can't be told apart any more.
        """
        return None

    def rows_from(self, axis: int) -> list[tuple[Node, int | None]] | None:
        """How a node that doesn't depend on the batch is read in blocks of rows along an axis.

        Returns: the arguments that are then read in blocks, too, each with its axis, or None where it is read as a
        whole; an empty list where the node itself can be read from any row on; None where it can't be read so.
        """
        return None
