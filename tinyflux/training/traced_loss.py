"""The loss of a batch and its gradient, traced: what compiled training begins with, in C and in CUDA."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import tree
from ..arrays import on_gpu
from ..autodiff import withgradient
from ..checks import check_loss
from ..compile.guards.guards import Snapshot
from ..compile.ir.node import Node
from ..compile.signature import constants, first_change
from ..compile.trace.symbolic import Symbolic, node_of
from ..errors import NotCompilable
from ..nodes import MAPPING, OBJECT, SEQUENCE, node_kind, rebuild
from ..optimise.state import OptimiserState
from ..types import Array, Loss, Tree


class TracedLoss(NamedTuple):
    """The loss of a batch and its gradient, in the recording that is open.

    Attributes:
        value, grads: the loss, and the gradient as a tree of the model's shape.
        after: the model's arrays as the loss has left them, leaf by leaf.
    """

    value: Node
    grads: Tree
    after: list[Array]


def trace_loss(caller: str, loss: Loss, model: Tree, symbols: dict[int, Symbolic], batch: Tree) -> TracedLoss:
    """Trace the loss of a batch and its gradient, in the recording that is open.

    Arguments:
        symbols: the inputs that stand for the model's arrays, by the ids of these.
        batch: the batch, of symbolic arrays.

    Errors: NotCompilable where the loss changes something in the model that is no array.
    """
    network = with_arrays(model, symbols, {})
    before = dict(constants(network, "model"))
    value, grads = withgradient(lambda m: check_loss(loss(m, *arguments(batch))), network)
    total = node_of(value)
    if total.dtype.kind != "f":
        raise TypeError(f"{caller}: expected the loss to be a floating-point number, got {total.dtype}.")
    after = dict(constants(network, "model"))
    change = first_change(before, after)
    if change:
        path = change.partition(" changes ")[0]
        arrays = [found.get(path, (None, None))[1] for found in (before, after)]
        fix = f"Keep it so, as by .astype(np.{arrays[0].dtype})." if all(map(tree.is_array, arrays)) else _AS_ARRAY
        raise NotCompilable(
            "the model changes an attribute of its own that is no array, or an array's shape or dtype, which can't be "
            f"compiled: {change}. {fix}"
        )
    return TracedLoss(total, grads, [after[path][1] for path, (_, x) in before.items() if tree.is_array(x)])


_AS_ARRAY = (
    "Hold what changes in an array of one shape and dtype that the layer's class names in buffers, as in buffers = "
    '("n",) and self.n = np.zeros(1).'
)


def arguments(batch: Tree) -> tuple[Tree, ...]:
    """What the loss is called with after the model."""
    return batch if type(batch) is tuple else (batch,)


def with_arrays(node: Tree, arrays: dict[int, Array], copies: dict[int, Any]) -> Tree:
    """A model with others in the place of its arrays, by their ids.

    All its nodes are copies, in which a recording may change what it likes; one in several places is one copy.
    """
    if tree.is_array(node):
        return arrays[id(node)]
    kind = node_kind(type(node))
    if kind not in (SEQUENCE, MAPPING, OBJECT):
        return node
    if id(node) not in copies:
        items = [with_arrays(child, arrays, copies) for _, child in tree.children(node)]
        keys = tree.entries(node)[1]
        copies[id(node)] = rebuild(node, items if kind == SEQUENCE else dict(zip(keys, items)))
    return copies[id(node)]


def refuse_model(
    surroundings: Snapshot, captured: Sequence[Array], model: Tree, opt: OptimiserState, state: Sequence[Array]
) -> None:
    """NotCompilable where the loss reads from its surroundings what changes in the model: it would stay as it is now.

    Arguments:
        surroundings, captured: what the loss reads, and the arrays that it calculates with.
        state: the arrays that the loss changes in the model, the state of layers.
    """
    changing = [*state, *[leaf.buffer.x for leaf in opt._leaves]]
    if share_memory(captured, changing) or surroundings.has(_parts(model).union(map(id, state))):
        raise NotCompilable(
            "the loss reads the model from its surroundings, whose parameters and state would stay as they are now. "
            "Take them from the model that it is called with."
        )


def refuse_state(surroundings: Snapshot, captured: Sequence[Array], opt: OptimiserState) -> None:
    """NotCompilable where the loss reads the optimiser's state from its surroundings: see `refuse_model`."""
    arrays = [x for leaf in opt._leaves for x in leaf.arrays]
    if share_memory(captured, arrays) or surroundings.has({id(y) for x in arrays for y in (x, x.base)} - {id(None)}):
        raise NotCompilable(
            "the loss reads the optimiser's state from its surroundings, whose arrays would stay as they are now. Give "
            "it copies, such as those of flux.averaged(model, opt)."
        )


def share_memory(arrays: Iterable[Array], others: Collection[Array]) -> bool:
    """Whether some of the arrays may lie in the memory of others."""
    pairs = ((x, y) for x in arrays for y in others if on_gpu(x) == on_gpu(y))
    return any(np.may_share_memory(x, y) for x, y in pairs)


def _parts(model: Tree) -> set[int]:
    """The ids of a model's parameters, of the arrays that these are views of, and of all that holds some."""
    own = tree.parameters(model)
    ids = {id(x.base) for x in own if x.base is not None} | ({id(model)} if own else set())
    return ids.union(*[_parts(child) for _, child in tree.children(model)]) if own else ids
