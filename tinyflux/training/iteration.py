"""An iteration of training: recorded, scheduled and compiled for one kind of data, and run many times."""

from __future__ import annotations

import ctypes
import itertools
import operator
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import cores, tree
from ..arrays import on_gpu
from ..autodiff import withgradient
from ..autodiff.tape import plain
from ..checks import check_loss
from ..compile.backends.c.library import Library, address, contiguous
from ..compile.backends.c.source import Source
from ..compile.guards.contents import Contents
from ..compile.guards.guards import Snapshot
from ..compile.ir import program
from ..compile.ir.program import Node, Recording, needed, written
from ..compile.schedule import pipelining as ahead
from ..compile.schedule.fuse import Result, planned
from ..compile.schedule.tiling import BLOCK, analysed
from ..compile.trace.draws import no_draws
from ..compile.trace.symbolic import ON_GPU, Symbolic, node_of, supported
from ..compile.traced import refuse_change, refuse_effects, signature
from ..errors import NotCompilable
from ..nodes import MAPPING, OBJECT, SEQUENCE, node_kind, rebuild
from ..optimise.checks import check_known, gradients_of, refuse_nothing
from ..optimise.flat import Head, Leaf, heads_of
from ..optimise.modifiers import AccumGrad, split
from ..optimise.numbers import alike, grouped, numbers_of, numbers_of_head, with_numbers
from ..optimise.rule import applied, inner_rules, kind_of, number_like
from ..optimise.schedules import at
from ..optimise.state import OptimiserState

ELEMENTWISE = ("map", "view", "literal", "input", "reshape")  # what a rule may consist of
SHARED = 8  # blocks of rows; from so many on, several cores share an iteration
STRETCH = 0.05  # seconds that the C code runs without a look at whether Ctrl-C was pressed


class Moving(NamedTuple):
    """The numbers of the state of some leaves, where a program moves them on: see `Layout.hand_over`."""

    leaves: list[Leaf]
    before: tuple[Any, ...]
    now: Any

    @property
    def numbers(self) -> tuple[Any, ...]:
        return tuple([number_like(old, x) for old, x in zip(self.before, self.now.tolist())])


class Iteration:
    """The program for one kind of data."""

    def __init__(
        self, loss: Any, look: Callable[[], Snapshot], model: Any, opt: OptimiserState, data: Any, size: int | None
    ) -> None:
        self._opt = opt
        self.model: list[Any] = []
        check_known("compile_training", opt, model)
        leaves = tree.leaves(model)
        for x in (*leaves, *tree.leaves(data)):
            if on_gpu(x):
                raise NotCompilable(ON_GPU)
            if type(x) is not np.ndarray:
                raise NotCompilable(f"a {type(x).__name__} can't be compiled; NumPy's arrays can.")
        with no_draws(look().generators):
            with Recording() as again:  # first, for it is the other whose inputs `run` is to know
                again_ends = _ends(again, *self._record(again, loss, model, data, size)[:2])
            surroundings = look()
            self.key, self.contents = surroundings.key, Contents(surroundings.arrays)
            with Recording() as recording:
                total, results, order = self._record(recording, loss, model, data, size)
                ends = _ends(recording, total, results)
                refuse_change(again, again_ends, recording, ends)
                refuse_effects(surroundings, self.contents, look())
                self._captured = [array for _, array in recording.captured]
                self._captured_slots = [node.params for node, _ in recording.captured]
                parameters = [leaf.buffer.x for leaf in opt._leaves]
                shared = any(np.may_share_memory(array, x) for array in self._captured for x in parameters)
                if shared or surroundings.has(parts(model)):
                    raise NotCompilable(
                        "the loss reads the model from its surroundings, whose parameters would stay as they are now. "
                        "Take them from the model that it is called with."
                    )
                nodes = needed(ends)
                plan = analysed(nodes, order) if size is not None and size > BLOCK else None
                if plan is not None and any(r.node in plan.axis for r in results):
                    plan = None
                self.program = "\n".join(written(nodes, [total]))
                if total.op == "input" or total.op == "view":
                    total = program.elementwise("positive", [total], total.dtype)
                schedule = planned(results, total, plan, recording.demands)
                schedule.ahead = ahead.found(schedule, order)
                self.source = Source(schedule, recording.trusted, total, order, recording.demands)
        self._library = Library(self.source)
        self._inputs = len(recording.inputs)
        self._known: tuple[list[Any], list[int], list[Any]] = ([], [], [])
        self._order_slot = order.params
        slots = {r.pointer for r in results}
        own = {id(leaf.view) for leaf in opt._leaves}
        self._renewed = [i for i, slot in enumerate(self._model_slots) if slot in slots and id(leaves[i]) not in own]

    def _record(
        self, recording: Recording, loss: Any, model: Any, data: Any, size: int | None
    ) -> tuple[Node, list[Result], Node]:
        """Record an iteration: its loss, what becomes of the arrays that it changes, and the input of the order."""
        leaves = tree.leaves(model)
        symbols: dict[int, Symbolic] = {}
        for a in leaves:
            if id(a) not in symbols:
                symbols[id(a)] = Symbolic(recording.input(a.shape, supported(a.dtype)))
        self._model_slots = [symbols[id(a)].node.params for a in leaves]
        network = copied(model, symbols, {})
        constants: list[Any] = []
        before = signature(network, [], constants, True)
        order = recording.input((size or 1,), np.int64)
        recording.trusted.add(order)

        def rows(x: Any) -> Symbolic:
            if size is None:
                return Symbolic(recording.input(x.shape, supported(x.dtype)))
            return Symbolic(recording.input((size, *x.shape[1:]), supported(x.dtype)))[Symbolic(order)]

        batch = tree.map(rows, data)
        items = batch if type(batch) is tuple else (batch,)
        value, grads = withgradient(lambda m: loss(m, *items), network)
        check_loss(value)
        total = node_of(value)
        if total.dtype.kind != "f":
            raise TypeError(f"compile_training: expected the loss to be a floating-point number, got {total.dtype}.")
        after: list[Any] = []
        now: list[Any] = []
        if signature(network, after, now, True) != before or list(map(id, now)) != list(map(id, constants)):
            raise NotCompilable(
                "the model changes an attribute of its own that is no array, or an array's shape or dtype, which can't "
                "be compiled. Hold what changes in an array."
            )
        results = self._changed(after, [symbols[id(a)] for a in leaves])
        results += self._stepped(recording, grads, symbols)
        return total, results, order

    def _changed(self, after: list[Any], before: list[Symbolic]) -> list[Result]:
        """Results for arrays that the model itself changed: the state of layers."""
        results: dict[Node, Result] = {}
        for now, old in zip(after, before):
            result = overwriting(old.node, node_of(plain(now)))
            if results.setdefault(old.node, result).node is not result.node:
                raise NotCompilable("an array of the model stands in several places, and would become several arrays.")
        return [r for r in results.values() if r.node is not r.overwrites]

    def _stepped(self, recording: Recording, grads: Any, symbols: dict[int, Symbolic]) -> list[Result]:
        """Results for parameters and the optimiser's state."""
        results: list[Result] = []
        self._states: list[tuple[Leaf, int, int]] = []
        self._scalar_slots: list[int] = []
        refuse_nothing("compile_training", self._opt, grads)
        totals = gradients_of(self._opt, grads)
        self._active = [leaf for leaf in self._opt._leaves if not leaf.frozen and totals[leaf] is not None]
        self._heads = [head.leaves for head in self._heads_now()]
        results += self._through_heads(recording, totals, symbols)
        self._groups = grouped(self._active)
        for leaves in self._groups:
            _refuse_waiting(leaves[0].rule)
            group = [Symbolic(recording.input((), np.float64, weak=True)) for _ in numbers_of(leaves[0])]
            self._scalar_slots += [x.node.params for x in group]
            rule = with_numbers(split(leaves[0].rule)[1], iter(group))
            own = group[len(group) - len(leaves[0].numbers) :]
            after: Any = ()
            whole = getattr(rule, "whole", None)
            for together in [leaves] if whole == "model" else [[leaf] for leaf in leaves]:
                known = len(recording.nodes)
                inputs, after = self._applied(recording, rule, own, together, symbols, totals)
                if whole is None and any(
                    n.op not in ELEMENTWISE for n in itertools.islice(recording.nodes.values(), known, None)
                ):
                    raise NotCompilable(
                        f"{kind_of(leaves[0].rule)} brings the elements of an array together, which a rule must say: "
                        'class … : whole = "array". Otherwise update steps neighbouring parameters together, and large '
                        "ones piece by piece."
                    )
                results += [overwriting(old.node, program.broadcast(node_of(new), old.shape)) for old, new in inputs]
            for old, now in zip(own, after):
                if node_of(now) is not old.node:
                    results.append(overwriting(old.node, node_of(now)))
        return results

    def _heads_now(self) -> list[Head]:
        """The heads of the rules, with their numbers as they are; whether there are any is a matter of the program."""
        return heads_of([*enumerate(self._active)])

    def _through_heads(
        self, recording: Recording, totals: dict[Leaf, Any], symbols: dict[int, Symbolic]
    ) -> list[Result]:
        """Record what the heads of rules make of the gradients, which they bring together; their steps count on."""
        results = []
        for head in self._heads_now():
            numbers = [Symbolic(recording.input((), np.float64, weak=True)) for _ in numbers_of_head(head)]
            self._scalar_slots += [x.node.params for x in numbers]
            rule = with_numbers(head.rule, iter(numbers))
            if head.t is not None:
                rule = at(rule, numbers[-1])
                results.append(overwriting(numbers[-1].node, node_of(numbers[-1] + 1)))
            xs = [symbols[id(leaf.view)] for leaf in head.leaves]
            _, g = rule.apply((), _joined(xs), _joined([totals[leaf] for leaf in head.leaves]))
            for leaf, x, piece in zip(head.leaves, xs, _pieces(g, xs)):
                totals[leaf] = piece.astype(x.dtype)
        return results

    def _applied(
        self, recording: Recording, rule: Any, own: Any, leaves: list[Leaf], symbols: Any, totals: Any
    ) -> tuple[list[tuple[Symbolic, Any]], Any]:
        """Record a rule's step of parameters, joined if several: the inputs that change, each with what it becomes.

        The numbers of the rule's state, as they are afterwards, come second.
        """
        xs = [symbols[id(leaf.view)] for leaf in leaves]
        states: list[list[Symbolic]] = []
        for leaf in leaves:
            arrays = leaf.state[: len(leaf.state) - len(leaf.numbers)]
            states.append([Symbolic(recording.input(a.shape, supported(a.dtype))) for a in arrays])
            self._states += [(leaf, i, a.node.params) for i, a in enumerate(states[-1])]
        gradients = [totals[leaf].reshape(x.shape) for leaf, x in zip(leaves, xs)]
        if getattr(rule, "whole", None) is None:
            (x,), (state,), (g,) = xs, states, gradients
            new, delta = applied(rule, (*state, *own), x, g)
            return [(x, x - delta), *zip(state, new)], new[len(state) :]
        new, delta = applied(rule, (*map(_joined, zip(*states)), *own), _joined(xs), _joined(gradients))
        changed = [(x, x - piece) for x, piece in zip(xs, _pieces(delta, xs))]
        for olds, now in zip(zip(*states), new):
            changed += zip(olds, _pieces(now, olds))
        return changed, new[len(states[0]) :]

    def fits(self) -> bool:
        """Whether parameters that the program steps alike are still to be stepped alike."""
        if self._heads and [head.leaves for head in self._heads_now()] != self._heads:
            return False
        return all(alike(leaves[0], leaf) for leaves in self._groups for leaf in leaves)

    def renewed(self, model: Any, leaves: list[Any]) -> list[Any]:
        """The model's arrays, those that it changes itself (the state of layers) replaced, where they stand, by copies.

        Layers don't write into such arrays but put new ones in their places: the old ones may stand in other models.
        """
        if not self._renewed:
            return leaves
        _replace(model, {id(leaves[i]): leaves[i].copy() for i in self._renewed})
        return tree.leaves(model)

    def run(self, arrays: Sequence[Any], order: Any, losses: Any) -> int:
        """Make the iterations of an order, and write their losses; returns how many were completed."""
        order = np.zeros((1, 1), np.int64) if order is None else order
        addresses, held = self._addresses(arrays)
        table = (ctypes.c_void_p * len(addresses))(*addresses)
        numbers = [x for head in (self._heads_now() if self._heads else ()) for x in numbers_of_head(head)]
        first = len(numbers)  # of the groups' numbers
        numbers += [x for leaves in self._groups for x in numbers_of(leaves[0])]
        scalars = np.array(numbers, np.float64)
        for i, slot in enumerate(self._scalar_slots):
            table[slot] = address(scalars) + i * scalars.itemsize
        self._opt._layout.hand_over(self._keepers(scalars[first:]))
        memory = self._library.arena()
        try:
            return self._iterate(table, address(memory), order, losses)
        finally:
            self._library.done(memory)
            del held

    def _keepers(self, scalars: Any) -> list[Moving]:
        """What holds the numbers of the optimiser's state from now on: the program moves them on, in these scalars."""
        keepers = []
        position = 0
        for leaves in self._groups:
            position += len(numbers_of(leaves[0]))
            own = leaves[0].numbers
            if own:
                keepers.append(Moving(leaves, own, scalars[position - len(own) : position]))
        return keepers

    def _addresses(self, data: Sequence[Any]) -> tuple[list[int], list[Any]]:
        """The addresses of all inputs but the scalars, found anew only for other arrays; and what has to stay alive."""
        given = [*self.model, *data, *self._captured]
        known, addresses, arrays = self._known
        if len(known) != len(given) or not all(map(operator.is_, given, known)):
            arrays = [contiguous(x) for x in given]
            first = self._order_slot + 1
            slots = [*self._model_slots, *range(first, first + len(data)), *self._captured_slots]
            addresses = [0] * self._inputs
            for slot, x in zip(slots, arrays):
                addresses[slot] = address(x)
            for leaf, i, slot in self._states:
                addresses[slot] = address(leaf.state[i])
            copied = any(x is not y for x, y in zip(arrays, given))
            self._known = ([] if copied else given), addresses, arrays
        return addresses, arrays

    def _iterate(self, table: Any, arena: int, order: Any, losses: Any) -> int:
        """Run stretches of iterations, each short enough for Ctrl-C, or one large iteration at a time on all cores."""
        rows = self.source.schedule.rows
        run = self._library.run if rows is None or rows.count < SHARED else self._shared
        start = time.perf_counter()
        at, count = 0, 1
        while at < len(order):
            count = min(count, len(order) - at)
            table[self._order_slot] = address(order) + at * order.shape[1] * 8
            made = run(table, arena, count, address(losses) + at * 8)
            if made < -1:
                kind, message = self.source.checks[-made - 2]
                raise kind(message)
            at += made
            if made < count:
                break
            spent = time.perf_counter() - start
            count = 2 * at if spent < STRETCH else max(1, int(at * STRETCH / spent))
            count = 1 if run == self._shared else count
        return at

    def _shared(self, table: Any, arena: int, count: int, losses: int) -> int:
        """One iteration, its blocks of rows shared out between cores."""
        library, rows = self._library, self.source.schedule.rows
        assert rows is not None

        def work(blocks: Sequence[int]) -> tuple[int, Any]:
            own = None if blocks[0] == 0 else library.arena()
            return library.share(table, arena if own is None else address(own), blocks[0], blocks[-1] + 1), own

        (failed, _), *others = cores.share(work, range(rows.count))
        for code, other in others:
            library.merge(arena, address(other))
            library.done(other)
            failed = failed or code
        failed = failed or library.conclude(table, arena, losses)
        return -1 - failed if failed > 0 else 1 + failed


def _refuse_waiting(rule: Any) -> None:
    if isinstance(rule, AccumGrad):
        raise NotCompilable("AccumGrad can't be compiled: it makes no step while it gathers gradients.")
    for part in inner_rules(rule):
        _refuse_waiting(part)


def _joined(arrays: Sequence[Any]) -> Any:
    """Arrays in one line, one after another, as `update` gives them to a rule that brings elements together."""
    return arrays[0].reshape(-1) if len(arrays) == 1 else np.concatenate([a.reshape(-1) for a in arrays])


def _pieces(joined: Any, arrays: Sequence[Any]) -> list[Any]:
    """`_joined` undone, for arrays of these shapes."""
    bounds = itertools.pairwise(itertools.accumulate([a.size for a in arrays], initial=0))
    return [joined[start:stop].reshape(a.shape) for (start, stop), a in zip(bounds, arrays)]


def _ends(recording: Recording, total: Node, results: Sequence[Result]) -> list[Node]:
    return [total, *[r.node for r in results], *recording.demands]


def copied(node: Any, arrays: dict[int, Any], copies: dict[int, Any]) -> Any:
    """A model with others in the place of its arrays, by their ids.

    All its nodes are copies, in which a recording may change what it likes; one in several places is one copy.
    """
    if tree.is_array(node):
        return arrays[id(node)]
    kind = node_kind(type(node))
    if kind not in (SEQUENCE, MAPPING, OBJECT):
        return node
    if id(node) not in copies:
        items = [copied(child, arrays, copies) for _, child in tree.children(node)]
        keys = tree.entries(node)[1]
        copies[id(node)] = rebuild(node, items if kind == SEQUENCE else dict(zip(keys, items)))
    return copies[id(node)]


def _replace(node: Any, new: dict[int, Any]) -> None:
    """Put arrays in the places of others, which are known by their ids, all through a model."""
    inside, keys = tree.entries(node)
    for key, (_, child) in zip(keys, tree.children(node)):
        if id(child) in new and inside is not None:
            inside[key] = new[id(child)]
        else:
            _replace(child, new)


def overwriting(old: Node, new: Node) -> Result:
    """The result that an input's memory is to hold from now on."""
    if new.shape != old.shape:
        raise ValueError(f"compile_training: a state of shape {old.shape} would become one of shape {new.shape}.")
    return Result(program.elementwise("cast", [new], old.dtype), old.params, old)


def parts(model: Any) -> set[int]:
    """The ids of a model's parameters, of the arrays that these are views of, and of all that holds some."""
    own = tree.parameters(model)
    ids = {id(x.base) for x in own if x.base is not None} | ({id(model)} if own else set())
    return ids.union(*[parts(child) for _, child in tree.children(model)]) if own else ids
