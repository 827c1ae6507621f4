"""The kinds of operations, each declared once.

To add one: declare it here as a subclass of `Node`, write a lowering that makes such nodes (in `trace/lower`), and for
each backend a writer. An operation that is calculated element by element needs one writer for all backends whose
language is like C, in `codegen/expressions`; one with a kernel of its own needs one in each backend's table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .functions import FUNCTIONS
from .indexing import Axis, compose, own_axis
from .indexing import Map as IndexMap
from .node import SUMMED, Node

# How many axes of each argument belong to one `Call`; those before them are a stack, the same for all arguments.
CORES = {"argsort": (1,), "factors": (2,), "solve": (2, 2), "cholesky": (2,), "singular": (2,)}
FAILURES = {  # what numpy.linalg's LinAlgError says
    "solve": "Singular matrix",
    "cholesky": "Matrix is not positive definite",
    "singular": "SVD did not converge",
}


class Input(Node):
    """An array that is given when the program runs. Parameter: its number among the inputs."""

    in_memory = True

    def formula(self, args: Sequence[str]) -> str:
        return f"input {self.params}"

    def rows_from(self, axis: int) -> list[tuple[Node, int | None]]:
        return []


class Literal(Node):
    """A number. Parameters: its text, and its value (None for NaN)."""

    def formula(self, args: Sequence[str]) -> str:
        return str(self.params[0])


class Iota(Node):
    """0, 1, 2 … along one axis."""

    indexed_axes = (0,)

    def rows_from(self, axis: int) -> list[tuple[Node, int | None]]:
        return []


class Map(Node):
    """A function of numbers, element by element, of arguments of one shape. Parameter: its name in `functions`."""

    may_store = True

    @property
    def cost(self) -> int:
        return FUNCTIONS[self.params].cost

    def formula(self, args: Sequence[str]) -> str:
        return f"{self.params}({', '.join(args)})"

    def reads(self, at: IndexMap | None) -> Iterator[tuple[Node, IndexMap | None]]:
        return ((x, at) for x in self.args)

    def rows_of(self, axes: Sequence[int | None], length: int) -> int | None:
        found = set(axes) - {None}
        return found.pop() if len(found) == 1 else None


class View(Node):
    """Elements of its argument, found by an affine map of indices: transposing, slicing, broadcasting …

    Parameter: the map, with an entry for each axis of the argument.
    """

    def formula(self, args: Sequence[str]) -> str:
        return f"{args[0]}[{', '.join(map(_axis, self.params))}]"

    def reads(self, at: IndexMap | None) -> Iterator[tuple[Node, IndexMap | None]]:
        yield self.args[0], None if at is None else compose(self.params, at)

    def rows_of(self, axes: Sequence[int | None], length: int) -> int | None:
        (own,) = axes
        found = (i for i, n in enumerate(self.shape) if n == length and own_axis(self.params, i) == own)
        return next(found, None)

    def rows_from(self, axis: int) -> list[tuple[Node, int | None]] | None:
        own = own_axis(self.params, axis)
        varies = any(a == axis for _, terms in self.params for a, _ in terms)
        return None if varies and own is None else [(self.args[0], own)]


def _axis(axis: Axis) -> str:
    """An index of a view, in terms of the result's axes i, j, k …"""
    offset, terms = axis
    letters = [("" if stride == 1 else f"{stride}") + "ijklmnopq"[a % 9] for a, stride in terms]
    return " + ".join([*letters, *([str(offset)] if offset or not letters else [])])


class Reshape(Node):
    """The same elements in the same order, in another shape."""

    in_memory = True
    takes_arrays = True

    def rows_of(self, axes: Sequence[int | None], length: int) -> int | None:
        return 0 if axes[0] == 0 and self.shape[:1] == (length,) else None


class Gather(Node):
    """Elements of the first argument, found by the arrays of indices that are the others.

    Parameters: for each axis of the first argument ("axis", an axis of the result) or ("index", which array holds the
    index); and from which axis of the result on those arrays' axes lie.
    """

    cost = 1

    @property
    def whole_args(self) -> tuple[Node, ...]:
        return self.args[:1]

    def rows_of(self, axes: Sequence[int | None], length: int) -> int | None:
        """Rows are picked by the one array of their numbers, from what has no rows itself."""
        (first, *_), position = self.params
        return 0 if axes == [None, 0] and position == 0 and first == ("index", 0) else None


class Scatter(Node):
    """Zeros with the elements of the first argument added at the indices that are the others.

    Parameters: those of a Gather from the result.
    """

    own_kernel = True


class Join(Node):
    """Arguments one after another along an axis, which is the parameter."""

    cost = 2
    may_store = True

    @property
    def indexed_axes(self) -> tuple[int, ...]:
        return (self.params,)

    def reads(self, at: IndexMap | None) -> Iterator[tuple[Node, IndexMap | None]]:
        start = 0
        for x in self.args:
            inner = tuple((-start if i == self.params else 0, ((i, 1),)) for i in range(x.ndim))
            yield x, None if at is None else compose(inner, at)
            start += x.shape[self.params]

    def read_share(self, x: Node) -> float:
        return x.size / max(self.size, 1)


class Pad(Node):
    """The argument among zeros. Parameters: for each axis, where its first element stands, and the step to the next."""

    cost = 2
    may_store = True

    @property
    def indexed_axes(self) -> tuple[int, ...]:
        return tuple(i for i in range(self.ndim) if not self._keeps(i))

    def reads(self, at: IndexMap | None) -> Iterator[tuple[Node, IndexMap | None]]:
        """Where there are steps, what is read lies elsewhere along that axis; but it is never at the same place."""
        inner = tuple((-low, ((i, 1),)) for i, (low, _) in enumerate(self.params))
        yield self.args[0], None if at is None else compose(inner, at)

    def read_share(self, x: Node) -> float:
        return x.size / max(self.size, 1)

    def rows_of(self, axes: Sequence[int | None], length: int) -> int | None:
        (axis,) = axes
        return axis if axis is not None and self._keeps(axis) else None

    def rows_from(self, axis: int) -> list[tuple[Node, int | None]] | None:
        return [(self.args[0], axis)] if self._keeps(axis) else None

    def _keeps(self, axis: int) -> bool:
        """Whether there are no zeros along an axis."""
        return self.shape[axis] == self.args[0].shape[axis]


class Reduce(Node):
    """A sum, product, maximum … over axes. Parameters: the function's name, and the axes."""

    own_kernel = True

    def formula(self, args: Sequence[str]) -> str:
        return f"{self.params[0]}({args[0]}, axes={list(self.params[1])})"

    def rows_of(self, axes: Sequence[int | None], length: int) -> int | None:
        function, reduced = self.params
        (axis,) = axes
        if axis in reduced:
            return SUMMED if function == "sum" else None
        return None if axis is None else axis - sum(i < axis for i in reduced)


class Scan(Node):
    """A running sum, product, maximum … or a recurrence. Parameters: the function's name, and the axis."""

    own_kernel = True


class Call(Node):
    """A function of whole matrices or rows, written in C: sorting, solving … Parameters: its name, and options."""

    own_kernel = True
    takes_arrays = True


class Winograd(Node):
    """A part of a convolution with filters of 3 × 3, calculated by fewer products.

    Parameters: which one, and for those that go through images how far outside them the results begin: top, left.
        filters (filters): what filters are multiplied as, turned by half a turn, 16 of 3 × 3 weights;
        convolve (images, such filters): the results;
        correlate (images, what the results are multiplied by): what comes to such filters;
        gradient (such filters): what comes to the filters themselves.
    """

    own_kernel = True
    takes_arrays = True

    def formula(self, args: Sequence[str]) -> str:
        part, *begin = self.params
        return f"winograd {part}({', '.join([*args, *map(str, begin)])})"

    def rows_of(self, axes: Sequence[int | None], length: int) -> int | None:
        found = {("convolve", 0, None): 0, ("correlate", 0, 0): SUMMED}
        return found.get((self.params[0], *axes))


class Loop(Node):
    """A program of its own, run for each step of a sequence. Parameter: the `loop.Steps`."""

    own_kernel = True
    takes_arrays = True


class Part(Node):
    """One of the arrays that a loop makes. Parameters: "last" or "stack", and the number of the array."""

    own_kernel = True


class Parameter(Node):
    """In the body of a loop, an array that differs from step to step."""
