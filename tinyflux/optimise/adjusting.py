"""freeze, thaw, adjust: changing what a state does, or a part of it, while a model is trained."""

from __future__ import annotations

import dataclasses
import numbers
from typing import Any

from .. import tree
from ..checks import shown
from ..elsewhere import unknown
from ..nodes import branches, rebuild
from .modifiers import shapes_of_state
from .plan import Leaf
from .rule import fields, inner_rules, is_rule, kind_of, plain, with_fields
from .scheduled import Scheduled, at
from .state import OptimiserState, prepared

__all__ = ["adjust", "freeze", "thaw"]


def freeze(opt: Any) -> None:
    """Leave the parameters of `opt`, a state or any part of one, as they are from now on.

    Arguments:
        opt: what `setup` returned, or a part of it, such as opt[0] or opt[0].bias.

    A frozen BatchNorm still takes the mean of each batch, and moves its running numbers, unless `testmode` puts it into
    inference. `train` leaves frozen layers there.

    >>> import tinyflux as flux
    >>> model = flux.Chain(flux.Dense(3, 2), flux.Dense(2, 1))
    >>> opt = flux.setup(flux.Descent(), model)
    >>> flux.freeze(opt[0])
    >>> opt[0].bias, opt[1].bias
    (Leaf(Descent(eta=0.1), frozen), Leaf(Descent(eta=0.1)))
    """
    for leaf in _leaves(opt, "freeze"):
        leaf.invalidate_plan()
        leaf.frozen = True


def thaw(opt: Any) -> None:
    """Step the parameters of `opt`, a state or any part of one, again after `freeze`.

    Arguments:
        opt: what `setup` returned, or a part of it.

    >>> import tinyflux as flux
    >>> model = flux.Dense(3, 2)
    >>> opt = flux.setup(flux.Descent(), model)
    >>> flux.freeze(opt); flux.thaw(opt.bias)
    >>> opt.weight, opt.bias
    (Leaf(Descent(eta=0.1), frozen), Leaf(Descent(eta=0.1)))
    """
    for leaf in _leaves(opt, "thaw"):
        leaf.invalidate_plan()
        leaf.frozen = False


def adjust(opt: Any, *values: Any, **hyperparameters: Any) -> None:
    """Change hyperparameters of the rule in a state or any part of one; what it has averaged so far stays.

    Arguments:
        opt: what `setup` returned, or a part of it.
        values: not allowed; give hyperparameters by name.
        hyperparameters: by the names that the rule has, such as eta; in a chain, and where parameters have several
            rules, every one that has the name gets the value. A schedule counts its steps from here on; in the place
            of another it goes on with that one's count.

    Errors: TypeError for a name that the rule doesn't have, ValueError for a value that it can't have, or that asks
    for another state, as a form does.

    After an error nothing is changed.

    >>> import tinyflux as flux
    >>> model = flux.Dense(3, 2)
    >>> opt = flux.setup(flux.Adam(0.01), model)
    >>> flux.adjust(opt.bias, eta=0.001)
    >>> opt.weight.rule.eta, opt.bias.rule.eta
    (0.01, 0.001)
    """
    if values:
        given = ", ".join(map(shown, values))
        raise TypeError(f"adjust: expected hyperparameters by name, got {given}. Write flux.adjust(opt, eta={given}).")
    leaves = _leaves(opt, "adjust")
    names = {name for leaf in leaves for name in _names(leaf.rule)}
    changed = [(leaf, _changed(leaf, hyperparameters, names)) for leaf in leaves]
    for leaf, rule in changed:
        leaf.invalidate_plan()
        before, after = isinstance(leaf.rule, Scheduled), isinstance(rule, Scheduled)
        if before != after:  # a schedule counts from the adjustment that brings it
            leaf.numbers = (*leaf.numbers, 0) if after else leaf.numbers[:-1]
        leaf.rule = rule


def _changed(leaf: Leaf, hyperparameters: dict[str, Any], names: set[str]) -> Any:
    """A leaf's rule with other hyperparameters, or an error where no leaf's has one of the name."""
    rule = leaf.rule.rule if isinstance(leaf.rule, Scheduled) else leaf.rule
    known = _names(rule)
    for name in hyperparameters:
        if name not in names:
            raise TypeError(f"adjust: {unknown(kind_of(rule), name, known)}")
    new = plain(_adjusted(rule, hyperparameters))
    if kind_of(new) != kind_of(rule):  # another rule for others, which have theirs
        raise ValueError(f"adjust: expected hyperparameters, got a rule in {kind_of(rule)}; call setup with it.")
    if shapes_of_state(at(new, 0), leaf.view) != shapes_of_state(at(rule, 0), leaf.view):
        raise ValueError(f"adjust: {new!r} has another state than {rule!r}; call setup with the new rule.")
    return prepared(new)


def _names(rule: Any) -> list[str]:
    """The names of a rule's hyperparameters, and of those of the rules in it."""
    inside = inner_rules(rule)
    own = [name for name, value in fields(rule).items() if not (is_rule(value) or (inside and value == tuple(inside)))]
    return list(dict.fromkeys([*own, *[name for part in inside for name in _names(part)]]))


def _adjusted(rule: Any, changes: dict[str, Any]) -> Any:
    """A rule with other hyperparameters; in a chain, every rule that has one of this name."""
    if isinstance(rule, tuple):
        return rebuild(rule, [_adjusted(part, changes) for part in rule])
    if not is_rule(rule):
        return rule
    rule = with_fields(rule, {name: _adjusted(value, changes) for name, value in fields(rule).items()})
    own = {name: value for name, value in changes.items() if name in fields(rule)}
    return dataclasses.replace(rule, **own) if own else rule


def _leaves(opt: Any, caller: str) -> list[Leaf]:
    """The leaves of a state or of a part of one; a part without parameters has none, but a model is a mistake."""
    if isinstance(opt, OptimiserState):
        return opt._leaves
    if tree.parameters(opt) or is_rule(opt) or isinstance(opt, (str, bytes, type, numbers.Number)):
        got = f"{shown(opt)}{', which holds parameters' * bool(tree.parameters(opt))}"
        raise TypeError(f"{caller}: expected what setup returned or a part of it, such as opt.layers[0], got {got}.")
    return [node for _, node in branches(opt) if isinstance(node, Leaf)]
