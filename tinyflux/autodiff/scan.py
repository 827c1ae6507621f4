"""A loop over the steps of a sequence: in Python, or compiled."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import tree
from ..arrays import is_array
from ..checks import type_of
from ..types import Tree

Step = Callable[[Any, Any], tuple[Any, Any]]

Recorder = Callable[[Step, Tree, Tree, int, bool], Any]
_recorders: list[Recorder] = []


def use_recorder(recorder: Recorder) -> None:
    """Let a compiler record scans as one operation; its recorder returns None where it records nothing."""
    _recorders.append(recorder)


class _Steps(threading.local):
    recorded = 0  # how many steps, one within another, this thread is recording


_steps = _Steps()


class DiffersByStep(Exception):
    """A step differs from one time to the next, so one recording can't stand for all steps."""


@contextlib.contextmanager
def one_for_all() -> Iterator[None]:
    """Inside, a step is being recorded once for all steps."""
    _steps.recorded += 1
    try:
        yield
    finally:
        _steps.recorded -= 1


def differs_by_step() -> None:
    """A layer calls this before it draws random numbers: DiffersByStep where a step is being recorded once for all."""
    if _steps.recorded:
        raise DiffersByStep


def scan(step: Step, state: Tree, xs: Tree, length: int | None = None, reverse: bool = False) -> tuple[Any, Any]:
    """Run a function over the steps of a sequence, each with the state that the step before has left.

    stateₜ₊₁, yₜ = step(stateₜ, xₜ) for t = 0, 1 … T − 1

    Arguments:
        step: takes the state and the elements of xs for one step, and returns the next state and an output. What else
            it reads, such as a model's weights, gradients reach too.
        state: the first state: an array, a number, or a tree of these. Shapes, dtypes and structure stay as they are.
            `np.zeros(shape, dtype, like=x)` lies where the array x lies, on the GPU or not.
        xs: an array, or a tree of arrays, with the steps along the first axis; None if there is nothing to read.
        length: the number of steps T. It must be given where xs is None.
        reverse: whether to begin with the last step. The outputs are in the order of xs all the same.

    Returns: (state, ys): the last state, and the outputs stacked along a new first axis. An output may be an array, a
    number, a tree of these, or None.

    A compiled function, and `train`, run a scan as a loop in C. Its code, and the time it takes to build, don't grow
    with the number of steps, as those of a loop in Python do. On the GPU `train` writes the kernels of one step, too,
    and launches them for each. A step with an active Dropout, which draws another mask each time, is the exception: its
    scan is a loop in Python there, too.

    Errors: TypeError where step returns no pair, or xs holds no array; ValueError where arrays in xs differ in length,
    there are no steps, or the state or the output changes its structure, its shapes or its dtypes from step to step.

    >>> import numpy as np, tinyflux as flux
    >>> flux.scan(lambda total, x: (total + x, total + x), 0.0, np.array([1.0, 2.0, 3.0]))
    (np.float64(6.0), array([1., 3., 6.]))
    >>> flux.seed(0)
    >>> inputs, hidden = flux.Dense(3, 4), flux.Dense(4, 4, bias=False)
    >>> def step(h, x):  # a recurrent network, for a batch of 2 sequences
    ...     h = np.tanh(inputs(x) + hidden(h))
    ...     return h, h
    >>> h, hs = flux.scan(step, np.zeros((2, 4), np.float32), np.ones((5, 2, 3), np.float32))
    >>> h.shape, hs.shape
    ((2, 4), (5, 2, 4))
    """
    count = _length(xs, length)
    state = Flattened(state).map(lambda x: x if is_array(x) else np.asarray(x)[()])
    for recorder in _recorders:
        recorded: tuple[Any, Any] | None = recorder(step, state, xs, count, reverse)
        if recorded is not None:
            return recorded
    first = Flattened(state)
    outputs: list[Any] = []
    for t in reversed(range(count)) if reverse else range(count):
        state, y = one_step(step, state, tree.map(lambda x: x[t], xs), first)  # noqa: B023
        outputs.append(Flattened(y))
        if outputs[-1].form != outputs[0].form:
            raise ValueError(f"scan: step returned an output of {outputs[0].text}, then of {outputs[-1].text}.")
    ordered = outputs[::-1] if reverse else outputs
    stacked = [np.stack(leaves) for leaves in zip(*[y.leaves for y in ordered])]
    return state, outputs[0].rebuilt(stacked)


def one_step(step: Step, state: Tree, x: Tree, first: Flattened) -> tuple[Any, Any]:
    """The next state and the output; the state is checked against the first one."""
    result = step(state, x)
    if type(result) is not tuple or len(result) != 2:
        got = f"a tuple of {len(result)}" if type(result) is tuple else type_of(result)
        raise TypeError(f"scan: expected step to return a pair (state, y), got {got}. Return (state, None) for no y.")
    after = Flattened(result[0])
    if after.form != first.form:
        raise ValueError(
            f"scan: expected step to return a state like the first one, {first.text}, got {after.text}. Give a first "
            "state of this form, or convert the new one, h.astype(…)."
        )
    return result


class Flattened:
    """A tree taken apart: its arrays and numbers in order.

    Attributes:
        form: what two trees share if one can stand for the other: the places, shapes and dtypes of leaves.
        text: the same for an error.
    """

    def __init__(self, node: Tree) -> None:
        self.leaves: list[Any] = []
        self._node = node
        places = self.map(lambda x: self.leaves.append(x) or _PLACE)  # type: ignore[func-returns-value]
        paths = [path for path, _ in tree.walk(places)]
        kinds = [(np.shape(x), x.dtype if hasattr(x, "dtype") else np.dtype(type(x))) for x in self.leaves]
        self.form = (type(node) if not paths else None, *zip(paths, kinds))
        described = [f"{dtype}{list(shape)}{path and f' at {path}'}" for path, (shape, dtype) in zip(paths, kinds)]
        self.text = ", ".join(described) or f"{node!r}"

    def map(self, f: Callable[[Any], Any]) -> Any:
        """The tree with f(x) in the place of every leaf."""
        return tree.map_numbers(f, self._node)

    def rebuilt(self, leaves: Any) -> Any:
        """The tree with other leaves."""
        rest = iter(leaves)
        return self.map(lambda _: next(rest))


_PLACE = np.zeros(0)


def _length(xs: Tree, length: int | None) -> int:
    """How many steps there are."""
    found: list[tuple[str, int]] = []
    for path, x in tree.walk(xs):
        if not x.ndim:
            raise ValueError(f"scan: expected the steps along the first axis of xs{path}, got a number without axes.")
        found.append((path, len(x)))
    if not found and (xs is not None or length is None):
        raise TypeError(f"scan: expected an array or a tree of arrays as xs, got {xs!r}. Without any, give length=….")
    if length is not None:
        found.append(("length", length))
    (where, steps), *others = found
    for path, n in others:
        if n != steps:
            named = path if path == "length" else f"xs{path}"
            raise ValueError(f"scan: expected as many steps everywhere, got {steps} in xs{where} and {n} in {named}.")
    if not steps or steps < 0:
        raise ValueError(
            f"scan: expected at least one step, got {steps}. Where a sequence may be empty, return the first state "
            "without a scan."
        )
    return int(steps)
