"""flux.scan: a loop in the program, differentiated as one.

The step is recorded once. Where a gradient is being taken, what it puts on the tape becomes a tape of its own, whose
sweep is the body of a second loop, which goes back. What that reads of the first one is stacked there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .... import tree
from ....arrays import to_numpy
from ....autodiff.scan import DiffersByStep, Flattened, Step, one_for_all, one_step, use_recorder
from ....autodiff.tape import Tape, Tracked, plain, sweep
from ....errors import NotCompilable
from ....types import Array, Tree
from ...ir import loop, program
from ...ir.node import Node
from ..symbolic import Symbolic, node_of


def record_scan(step: Step, state: Tree, xs: Tree, length: int, reverse: bool) -> Tree:
    """`flux.scan` in a program that is being recorded; None where it is to be a Python loop.

    That is where nothing is recorded, where gradients nest, and where the steps differ, as those with a Dropout do.
    """
    if not program.is_recording():
        return None
    first = Flattened(state)
    count = len(first.leaves)
    inputs = [*[x if hasattr(x, "dtype") else np.asarray(x) for x in first.leaves], *tree.leaves(xs)]
    shapes = [x.shape[i >= count :] for i, x in enumerate(inputs)]
    parameters = [loop.parameter(shape, x.dtype) for shape, x in zip(shapes, inputs)]

    def run(values: Sequence[Array]) -> tuple[Flattened, Flattened]:
        rest = iter(values[count:])
        x = tree.map(lambda _: next(rest), xs)
        return tuple(map(Flattened, one_step(step, first.rebuilt(values[:count]), x, first)))  # type: ignore[return-value]

    symbols = [Symbolic(node) for node in parameters]
    known = len(program.recording().captured)
    try:
        with one_for_all():
            (after, ys), again = run(symbols), run(symbols)
    except DiffersByStep:
        return None
    made = program.recording().captured[known:]  # also by the step, which then makes others in each run
    contents = {node: (x.dtype, x.shape, to_numpy(x).tobytes()) for node, x in made}
    one, other = ([*after.leaves, *ys.leaves] for after, ys in ((after, ys), again))
    if _operations(one, contents) != _operations(other, contents):
        raise NotCompilable(
            "a step of flux.scan is not the same twice: it draws random numbers, or a layer in it keeps a state, which "
            "can't be compiled. Draw the numbers beforehand, as part of xs, and carry the state from step to step."
        )
    tapes = {id(x.tape): x.tape for x in (*inputs, *after.leaves, *ys.leaves) if type(x) is Tracked}
    if len(tapes) > 1:
        return None
    for tape in tapes.values():
        start = len(tape)
        boxes = [_box(tape, x) for x in symbols]
        after, ys = run(boxes)
        records = tape[start:]
        del tape[start:]
    ends = [*after.leaves, *ys.leaves]
    if any(type(x.value) is Tracked for x in (*ends, *inputs) if type(x) is Tracked):
        return None
    values = [*map(plain, ends)]
    forward = _RecordedLoop(parameters, count, [*map(plain, inputs)], values[:count], values[count:], length, reverse)
    results = iter(forward.results())
    if tapes:
        results = _TapedLoop(forward, tape, start, records, boxes, ends, inputs).results()
    return after.rebuilt(results), ys.rebuilt(results)


def _operations(ends: Sequence[Array], contents: Mapping[Node, Any]) -> list[Any]:
    """All that a step's results are calculated by, in a form that can be compared with that of another run."""
    return program.operations([x.node for x in map(plain, ends) if isinstance(x, Symbolic)], contents)


def _box(tape: Tape, x: Symbolic) -> Array:
    if x.dtype.kind != "f":
        return x
    tape.append(None)
    return Tracked(x, tape, len(tape) - 1)


class _RecordedLoop:
    """A loop as it is recorded: its parameters, the values that it begins with, what its steps make."""

    def __init__(
        self, parameters: list[Node], count: int, firsts: Sequence[Array], after: Sequence[Array], ys: Sequence[Array],
        length: int, reverse: bool,
    ) -> None:  # fmt: skip
        self.parameters, self.count, self.length, self.reverse = parameters, count, length, reverse
        self.firsts = [node_of(x) for x in firsts]
        self.after, self.ys = [node_of(x) for x in after], [node_of(x) for x in ys]
        slices = list(zip(parameters[count:], self.firsts[count:]))
        carries = list(zip(parameters[:count], self.firsts[:count], self.after))
        self.node = loop.loop(length, slices, carries, self.ys, reverse)
        self.inside = loop.dependent([*self.after, *self.ys], parameters)

    def results(self) -> list[Symbolic]:
        """The states after the loop, then the stacks."""
        nodes = [*(loop.last(self.node, k) for k in range(self.count)), *(loop.stacked(self.node, y) for y in self.ys)]
        return [*map(Symbolic, nodes)]

    def reads(self, ends: Sequence[Node], stop: Sequence[Node]) -> Iterator[tuple[Node, Node]]:
        """The nodes of this body that `ends` are calculated from, each with its stack, except those in `stop`."""
        seen = set(stop)
        todo = [*ends]
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in self.parameters[self.count :]:
                yield node, self.firsts[self.parameters.index(node)]
            elif self._is_inside(node) and not self._is_cheap(node):
                yield node, loop.stacked(self.node, node)
            else:
                todo += node.args

    def _is_inside(self, node: Node) -> bool:
        """Whether the steps calculate a node; loops inside them may have gained parts since."""
        return node in self.inside or (node.op == "part" and node.args[0] in self.inside)

    def _is_cheap(self, node: Node) -> bool:
        """Whether to calculate a node again rather than stack it: a view, or a map larger than all its arguments."""
        inside = [x.size for x in node.args if x in self.inside]
        return node.op == "view" or (node.op == "map" and bool(inside) and node.size > max(inside))


class _TapedLoop:
    """A loop on a tape: one record for the loop, and one for each result, which passes its cotangent to the loop."""

    name = "flux.scan"
    rows = ()
    pullbacks = ()

    def __init__(
        self, forward: _RecordedLoop, tape: Tape, start: int, records: list[Any], boxes: list[Array], ends: list[Array],
        inputs: list[Array],
    ) -> None:  # fmt: skip
        self.forward, self.tape, self.ends = forward, tape, ends
        self.cotangents: dict[int, Array] = {}  # by the number of the result, until the sweep is at the loop
        own = [record for record in records if record is not None]
        outside = {parent: values[k] for _, links, _, values, _ in own for k, parent in links if parent < start}
        outside |= {x.index: x.value for x in ends if type(x) is Tracked and x.index < start}
        self.outside = sorted(outside)
        self.boxes = [i for i, x in enumerate(boxes) if type(x) is Tracked]
        places = {parent: len(self.boxes) + i for i, parent in enumerate(self.outside)}
        leaves = len(self.boxes) + len(self.outside)
        shift = leaves - len(self.boxes) - start
        self.place: Callable[[int], int] = lambda i: (
            places[i] if i < start else i + (shift if i >= start + len(self.boxes) else -start)
        )
        self.body = Tape()
        self.body.leaf_count = leaves
        self.body += [None] * leaves
        for rule, links, y, values, kwargs in own:
            self.body.append((rule, [(k, self.place(parent)) for k, parent in links], y, values, kwargs))
        self.values = [*map(plain, inputs), *[outside[i] for i in self.outside]]
        used = {parent for _, links, _, _, _ in own for _, parent in links} | {
            x.index for x in ends if type(x) is Tracked
        }
        read = [i for i in range(len(inputs)) if i < forward.count or getattr(boxes[i], "index", None) in used]
        links = [(k, inputs[k].index) for k in read if type(inputs[k]) is Tracked]
        self.links = [*links, *[(len(inputs) + i, parent) for i, parent in enumerate(self.outside)]]

    def results(self) -> Iterator[Array]:
        """The states and stacks, in boxes."""
        self.tape.append((self, self.links, _PLACEHOLDER, self.values, {}))
        place = len(self.tape) - 1
        for k, (end, value) in enumerate(zip(self.ends, self.forward.results())):
            if type(end) is not Tracked and value.dtype.kind != "f":
                yield value
                continue
            self.tape.append((_Result(self.cotangents, k), [(0, place)], value, [_PLACEHOLDER], {}))
            yield Tracked(value, self.tape, len(self.tape) - 1)

    def together(self, positions: Sequence[int], *_: Any) -> Iterator[Array]:
        """The cotangents of what the loop begins with and reads; those of its results have arrived by now."""
        arrived, forward = dict(self.cotangents), self.forward
        self.cotangents.clear()
        count, form = forward.count, forward.parameters
        float_states = [i for i in self.boxes if i < count]  # of the states, those that are floating-point numbers
        states = {i: loop.parameter(form[i].shape, form[i].dtype) for i in float_states}
        ys = {k: forward.ys[k - count] for k in arrived if k >= count}
        outputs = {k: loop.parameter(y.shape, y.dtype) for k, y in ys.items()}
        grads = self._grads(states | outputs)
        sums = [i for i in range(len(self.outside)) if grads[len(self.boxes) + i] is not None]
        totals = {i: loop.parameter(self._outer(i).shape, self._outer(i).dtype) for i in sums}
        stacks = {i: g for i, g in zip(self.boxes, grads) if i >= count and i in positions and g is not None}
        own = [*states.values(), *outputs.values(), *totals.values()]
        after = {i: _node(g, states[i]) for i, g in zip(self.boxes, grads) if i in states}
        added = {i: _node(Symbolic(totals[i]) + grads[len(self.boxes) + i], totals[i]) for i in sums}
        ends = [*after.values(), *added.values(), *[node_of(g) for g in stacks.values()]]
        slices = [(outputs[k], node_of(arrived[k])) for k in outputs]
        slices += forward.reads(ends, own)
        carries = [
            (states[i], _node(arrived.get(i), states[i]), after[i]) for i in float_states
        ] + [(totals[i], _node(None, totals[i]), added[i]) for i in sums]  # fmt: skip
        back = loop.loop(forward.length, slices, carries, [node_of(g) for g in stacks.values()], not forward.reverse)
        found: dict[int, Array] = {i: loop.last(back, k) for k, i in enumerate(float_states)}
        found |= {len(form) + i: loop.last(back, len(float_states) + k) for k, i in enumerate(sums)}
        found |= {i: loop.stacked(back, node_of(g)) for i, g in stacks.items()}
        for k in positions:
            yield Symbolic(found[k]) if k in found else np.zeros_like(self.values[k])

    def _outer(self, i: int) -> Node:
        return node_of(self.values[len(self.forward.parameters) + i])

    def _grads(self, cotangents: dict[int, Node]) -> list[Array]:
        """The cotangents of the body's leaves for those of its results."""
        inside = {k: x for k, x in enumerate(self.ends) if type(x) is Tracked and k in cotangents}
        start = len(self.body)
        boxes = [Tracked(x.value, self.body, self.place(x.index)) for x in inside.values()]
        terms = [np.sum(box * Symbolic(cotangents[k])) for k, box in zip(inside, boxes)]
        if not terms:
            return [None] * self.body.leaf_count
        total = sum(terms[1:], terms[0])
        grads = sweep(self.body, total.index, Symbolic(program.literal(1.0, total.dtype)), keep=True)
        del self.body[start:]
        return grads


class _Result:
    """A result of a loop on the tape: its pullback keeps the cotangent until the sweep is at the loop."""

    name = "flux.scan"
    rows = ()
    together = None

    def __init__(self, cotangents: dict[int, Array], k: int) -> None:
        def keep(g: Array, y: Array, x: Array) -> Array:
            cotangents[k] = g
            return _PLACEHOLDER

        self.pullbacks = (keep,)


_PLACEHOLDER = np.zeros(())  # on the tape, for the array that a loop's results pass on by themselves


def _node(g: Array, like: Node) -> Node:
    """A cotangent as a node, zeros where there is none."""
    if g is None:
        return program.broadcast(program.literal(0.0, like.dtype), like.shape)
    return node_of(g)


use_recorder(record_scan)
