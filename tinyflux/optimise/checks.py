"""Looking through a model for what an optimiser's state belongs to, and refusing what doesn't fit."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .. import tree
from ..arrays import MOVE, MixedDevices, device_of, on_gpu
from ..checks import as_array, is_foreign, shown, type_of
from ..elsewhere import NamedArguments
from ..nodes import branches, misplaced_buffer
from ..types import Array, Tree
from .plan import Leaf
from .rule import is_rule

if TYPE_CHECKING:
    from .state import OptimiserState


def check_state(caller: str, opt: Any) -> None:
    """Refuse anything but a state: a rule, say, that was never set up for a model."""
    from .state import OptimiserState

    if not isinstance(opt, OptimiserState):
        order = {"train": "loss, model, data, opt", "update": "opt, model, gradient"}.get(caller)
        fix = f" Write flux.{caller}({order})." if order and not is_rule(opt) else ""
        raise TypeError(f"{caller}: expected the state opt = flux.setup(rule, model), got {shown(opt)}.{fix}")


def check_trainable(caller: str, model: Tree) -> None:
    """Refuse what can't be trained."""
    from .state import OptimiserState

    if isinstance(model, (OptimiserState, type)) or is_foreign(model):
        fix = f" Make one: {model.__name__}(…)." if isinstance(model, type) else as_array(model)
        raise TypeError(f"{caller}: expected a model, got {shown(model)}.{fix}")
    if caller == "setup":
        _warn_of_untrained(model)
    if not tree.parameters(model):
        fix = next(_untrained(model), "")
        raise ValueError(f"{caller}: {shown(model)} holds no floating-point array; there is nothing to train.{fix}")
    misplaced = misplaced_buffer(model)
    if misplaced:
        raise ValueError(f"{caller}: {misplaced}")
    for path, number in tree.numbers(model):
        raise ValueError(
            f"{caller}: the number {number} at {path} can't be changed in place. Make it an array to train it, "
            f"np.array({number}); what is configuration belongs in an object, or outside of the model."
        )


def _untrained(model: Tree) -> Iterator[str]:
    """What was perhaps to be trained, with the remedy, and a space before it."""
    for path, x in branches(model):
        if tree.is_array(x) and x.dtype.kind in "iu":
            yield f" {path or 'It'} is {x.dtype}: give .astype(np.float32)."
        elif isinstance(x, float):
            yield f" {path or 'It'} is a float: make it np.array({x}, np.float32)."


def _warn_of_untrained(model: Tree) -> None:
    """Warn of an attribute that freezes layers elsewhere, and of layers of a class, which belong to no object."""
    for path, x in branches(model):
        if isinstance(x, NamedArguments) and vars(x).get("trainable") is False:
            fix = f"It changes nothing: write flux.freeze(opt{path})."
            warnings.warn(f"setup: got {path or 'model'}.trainable = False. {fix}", RuntimeWarning, stacklevel=4)
        for name, layer in () if tree.is_array(x) else vars(type(x)).items():
            if isinstance(layer, NamedArguments) and getattr(x, name, None) is layer and tree.parameters(layer):
                fix = f"Make it in __init__, as self.{name}: what belongs to a class is not trained."
                warnings.warn(
                    f"setup: {path or 'model'}.{name} is an attribute of the class. {fix}", RuntimeWarning, stacklevel=4
                )


def check_gradient(opt: OptimiserState, i: int, g: Array) -> None:
    """Refuse a gradient that doesn't fit the parameter in place i."""
    name, view = opt._paths[i][0] or "the array", opt._views[i]
    if not hasattr(g, "shape"):
        raise TypeError(f"update: expected an array as the gradient of {name}, got {type_of(g)}.")
    if g.shape != view.shape:
        raise ValueError(f"update: the gradient of {name} has shape {g.shape}, the parameter {view.shape}.")
    if on_gpu(g) != on_gpu(view):
        where, there = device_of(g), device_of(view)
        raise MixedDevices(f"update: the gradient of {name} is {where}, the parameter {there}. {MOVE}")


def refuse_tuple(model: Tree, grads: Tree) -> None:
    """Refuse what `withgradient` returned, and a gradient by several arguments."""
    if type(grads) is tuple and not isinstance(model, tuple):
        raise TypeError(
            "update: expected the model's gradient, got a tuple. flux.withgradient gives (value, gradient), and "
            "flux.gradient a tuple for several arguments: give the model's part."
        )


def check_model(caller: str, opt: OptimiserState, model: Tree) -> None:
    """Refuse a model that holds other arrays than those that `opt` was set up for."""
    try:
        arrays = opt._get(model)
    except (AttributeError, IndexError, KeyError, NameError, TypeError):
        arrays = look_up(opt, model)
    check_arrays(caller, opt, arrays)


def check_known(caller: str, opt: OptimiserState, model: Tree) -> None:
    """Refuse a model with parameters that `opt` doesn't know: a layer that was appended after `setup`, say."""
    known = {id(view) for view in opt._views}
    for path, x in tree.walk(model, buffers=False):
        if id(x) not in known:
            check_model(caller, opt, model)  # if it stands in the place of another, this says so
            raise ValueError(
                f"{caller}: the optimiser's state doesn't know the parameter {path or 'array'}, which was not there "
                "when setup was called. Call setup again, for the model as it is now."
            )


def check_form(opt: OptimiserState, model: Tree) -> None:
    """Look for parameters that `opt` doesn't know, if nodes of the model have other children than the last time."""
    form = opt._form(model)
    if form != opt._known_form:
        check_known("update", opt, model)
        opt._known_form = form


def refuse_nothing(caller: str, opt: OptimiserState, grads: Tree) -> None:
    """Refuse a gradient that is None for all parameters that are to be stepped, if any are."""
    found = [(leaf.frozen, g is None) for leaf, g in gradients_of(opt, grads).items()]
    stepped = [missing for frozen, missing in found if not frozen]
    if stepped and all(stepped):
        others = ", only by frozen ones" if (True, False) in found else ""
        raise ValueError(
            f"{caller}: the loss has no gradient by any of the parameters that are to be trained{others}. Either it "
            "doesn't depend on them (does it take them from the model that it is called with?), or only in steps, as "
            "an accuracy does: comparisons, argmax, rounding and casts to integers pass no gradient."
        )


def check_arrays(caller: str, opt: OptimiserState, arrays: Sequence[Array]) -> None:
    if not all(map(operator.is_, arrays, opt._views)):
        stale = next(path for (path, _), a, view in zip(opt._paths, arrays, opt._views) if a is not view)
        raise ValueError(f"{caller}: {_STALE.format(stale or 'array')}")


_STALE = (
    "the parameter {} is not the array that setup prepared. If it was replaced, write into the old one "
    "instead, model.weight[...] = new, or call setup again; if this is a copy of the model, call setup for the copy. "
    "If setup was called again, take the state that it returned then."
)


def getter(expressions: Iterable[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function of `tree` that gives what all `expressions` are: generated, for it runs in every step."""
    found: Callable[[Any], tuple[Any, ...]]
    try:
        found = eval(
            f"lambda tree: ({' '.join(f'{expression},' for expression in expressions)})", {"__name__": __name__}
        )
    except SyntaxError:  # a key whose repr is no Python: nothing is found, and `update` looks up step by step
        found = operator.itemgetter(object())
    return found


def look_up(opt: OptimiserState, node: Any, absent: Any = ...) -> tuple[Any, ...]:
    """`getter` step by step, for trees in which a whole branch may be None, and for the error message."""
    found = dict(branches(node))
    results = []
    for path, _ in opt._paths:
        if path in found:
            results.append(found[path])
        elif absent is None and any(found.get(path[:i], ...) is None for i in range(len(path))):
            results.append(None)
        else:
            raise ValueError(
                f"update: expected a tree of the shape that setup was given; nothing stands at {path!r} in "
                f"the {'model' if absent is ... else 'gradient'}, {shown(node)}."
            )
    return tuple(results)


def gradients_of(opt: OptimiserState, grads: Tree) -> dict[Leaf, Any]:
    """For every leaf its gradient in the tree `grads`, None where there is none."""
    return dict(zip(opt._leaves, summed(opt, look_up(opt, grads, absent=None)), strict=True))


def summed(opt: OptimiserState, gradients: Sequence[Any]) -> list[Any]:
    """For every leaf the sum of the gradients from all its places."""
    totals: list[Any] = [None] * len(opt._leaves)
    for (_, i), g in zip(opt._paths, gradients, strict=True):
        if g is not None:
            totals[i] = g if totals[i] is None else totals[i] + g
    return totals


def form_of(model: Tree) -> Callable[[Any], tuple[Any, ...]]:
    """A function of a tree like the model that gives another result if a node has got children: for every step."""
    expressions = []
    for path, node in branches(model):
        if node is None:
            expressions.append(f"tree{path} is None")
        elif isinstance(node, (tuple, list, dict)):
            expressions.append(f"len(tree{path})")
        elif not tree.is_array(node) and hasattr(node, "__dict__") and tree.children(node):
            expressions.append(f"len(tree{path}.__dict__)")
    get = getter(expressions)

    def form(model: Tree) -> tuple[Any, ...]:
        try:
            return get(model)
        except (AttributeError, IndexError, KeyError, NameError, TypeError):
            return ()

    return form
