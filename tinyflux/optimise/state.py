"""setup, update, averaged: a rule at work on all the parameters of a model.

The parameters lie in flat arrays (see flat.py), so a step is a few NumPy calls, whatever the number of layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from .. import cores, tree
from ..checks import shown
from ..display import careful, careful_html
from ..elsewhere import no_attribute
from ..nodes import branches
from ..types import Array, Rule, T, Tree
from . import checks
from .flat import Place, buckets, flatten, places, refuse_overlaps, refuse_two_devices
from .plan import Layout, Leaf, Plan
from .rule import average_of, check_rule, is_rule, kind_of, plain, rule_for
from .scheduled import Scheduled, scheduled
from .state_text import state_html, state_text
from .step import step_all
from .trial import try_out

__all__ = ["averaged", "setup", "update"]


class OptimiserState:
    """What `setup` returns: a tree of the model's shape with a `Leaf` in the place of every parameter.

    Parts of it are reached as parts of the model are: `opt.layers[0].weight`, `opt[0]`.

    Attributes:
        native: whether `update` may step parameters of some million elements by native code, which is several times as
            fast, where there is a C compiler; False for NumPy's numbers to the last bit.
    """

    def __init__(self, mirror: Any, leaves: list[Leaf], paths: list[tuple[str, int]]) -> None:
        self.native = True
        self._stepped = False  # by `update`
        self._mirror = mirror
        self._leaves = leaves
        self._layout = Layout(leaves)
        self._programs: dict[str, Any] = {}  # made for this state: the next training finds them here
        self._paths = paths  # of every place in the model, with the number of the leaf that stands there
        self._get = checks.getter([f"tree{path}" for path, _ in paths])
        self._form: Callable[[Any], tuple[Any, ...]] = lambda model: ()
        self._known_form: tuple[Any, ...] = ()
        self._views = [leaves[i].view for _, i in paths]
        self._shapes = [view.shape for view in self._views]
        self._kinds = [type(view) for view in self._views]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return getattr(self._mirror, name)
        except AttributeError:
            raise no_attribute("an optimiser's state", name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "native" and not name.startswith("_"):
            raise AttributeError(f"an optimiser's state has no {name} to set. Write flux.adjust(opt, eta=0.01).")
        super().__setattr__(name, value)

    def __getitem__(self, index: Any) -> Any:
        return self._mirror[index]

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "an optimiser state belongs to the arrays of its model and can't be copied or pickled. Copy the model, "
            "call setup for the copy, and carry the state over with save and load."
        )

    @careful
    def __repr__(self) -> str:
        return state_text(self._leaves)

    @careful_html
    def _repr_html_(self) -> str:
        return state_html(self._leaves)


def setup(rule: Rule | Callable[[Array], Rule], model: Tree) -> OptimiserState:
    """Prepare a model for training with a rule.

    The model's parameters move into flat arrays: every parameter is replaced, where it stands, by a view of equal
    values. Arrays that were taken out of the model before, `w = model[0].weight`, are no longer part of it.

    Arguments:
        rule: Descent(…), Adam(…) …; or a function of a parameter of the model that returns its rule.
        model: any tree with parameters, arrays of floating-point numbers; those of integers stay as they are. An array
            that stands in several places is stepped once, by the sum of its gradients.

    Returns: the state: a tree of the model's shape, to be given to `update`, `freeze`, `thaw`, `adjust`, `save`.

    Errors: ValueError for a model without parameters, with a float in a list or dict that no object holds (`gradient`
    takes it for a leaf), or with a non-contiguous or read-only array in a tuple, and for a rule of yours that needs
    `whole`, or that changes itself; MixedDevices for a model with parameters in NumPy and on the GPU. A RuntimeWarning
    for a rule of yours whose first step is the new parameter, or is the same for every gradient; for layers that are
    attributes of a class; and for layer.trainable = False, which changes nothing: write `freeze`.

    >>> import tinyflux as flux
    >>> model = flux.Chain(flux.Dense(3, 2, flux.relu), flux.Dense(2, 1))
    >>> opt = flux.setup(flux.Adam(0.01), model)
    >>> opt.layers[0].weight
    Leaf(Adam(eta=0.01, beta=(0.9, 0.999), epsilon=1e-08))

    The last layer by another rule:

    >>> last = model[-1].weight
    >>> opt = flux.setup(lambda x: flux.AdamW(3e-4) if x is last else flux.Muon(0.02), model)
    """
    if is_rule(model) and not is_rule(rule):
        raise TypeError(f"setup: expected the rule first, got {shown(rule)}. Write flux.setup(rule, model).")
    choose: Any = None
    if not is_rule(rule) and callable(rule) and not isinstance(rule, type) and not dataclasses.is_dataclass(rule):
        choose = rule
    else:
        check_rule("setup", rule)
    checks.check_trainable("setup", model)
    return _set_up(model, lambda place: _rule_of(place, choose(place.array) if choose else rule))


def _rule_of(place: Place, rule: Any) -> Any:
    """The rule that steps a parameter for which this one was given."""
    try:
        check_rule("setup", rule)
        return rule_for(rule, place.array)
    except TypeError as error:
        raise TypeError(f"{error} The function gave it for {place.path or 'the array'}.") from None
    except ValueError as error:
        raise ValueError(f"setup: {place.path or 'array'}: {error}") from error


def _set_up(model: Tree, rule_at: Callable[[Place], Any]) -> OptimiserState:
    """A state for a model, by the rule that a function gives for each place of a parameter."""
    found = list(places(model))
    refuse_two_devices(found)
    refuse_overlaps(found)
    distinct = list({id(place.array): place for place in reversed(found)}.values())[::-1]
    rules: list[tuple[Any, Any]] = []  # those given, each once, and as they stand in a leaf
    for place in distinct:
        given = rule_at(place)
        place.rule = next((rule for old, rule in rules if old is given or old == given), None)
        if place.rule is None:
            place.rule = prepared(given)
            rules.append((given, place.rule))
    for _, rule in rules:
        try_out(rule, {place.array.ndim for place in distinct if place.rule is rule} - {0, 1})
    fixed = {id(place.array) for place in found if place.container is None}
    views: dict[int, Any] = {}
    leaf_of: dict[int, Leaf] = {}
    for bucket in buckets(distinct, fixed):
        for place, view, leaf in flatten(bucket, id(bucket[0].array) in fixed):
            views[id(place.array)] = view
            leaf_of[id(place.array)] = leaf
    leaves = [leaf_of[id(place.array)] for place in distinct]
    paths = [(place.path, leaves.index(leaf_of[id(place.array)])) for place in found]
    mirror = tree.copying(lambda x: leaf_of.get(id(x), x), buffers=False)(model)
    for place in found:
        if place.container is not None:
            place.container[place.key] = views[id(place.array)]
    cores.keep_memory()  # every step to come makes arrays of the same sizes
    opt = OptimiserState(mirror, leaves, paths)
    opt._form = checks.form_of(model)
    opt._known_form = opt._form(model)
    return opt


def holds_state(node: Any) -> bool:
    """Whether an optimiser's state stands anywhere in a tree."""
    return any(isinstance(part, OptimiserState) for _, part in branches(node))


def copied_state(opt: OptimiserState, model: Tree, move: Callable[[Any], Any]) -> OptimiserState:
    """A state like `opt` for `model`, a copy of `opt`'s model: with the same rules, averages, numbers and flags.

    Arguments:
        opt: the state, which is left as it is.
        model: the copy, whose parameters `setup` moves into flat arrays.
        move: brings an array of the state to the device of the copy.
    """
    rules = {leaf.path: leaf.rule for leaf in opt._leaves}
    new = _set_up(model, lambda place: rules[place.path])
    for leaf, old in zip(new._leaves, opt._leaves, strict=True):
        leaf.fill(old.rule, old.numbers, old.frozen, [move(s) for s in old.arrays])
    return new


def belongs(opt: OptimiserState, model: Tree) -> bool:
    """Whether `opt` was set up for the arrays that `model` holds."""
    try:
        checks.check_model("belongs", opt, model)
    except ValueError:
        return False
    return True


def update(opt: OptimiserState, model: Tree, grads: Tree) -> None:
    """Step the parameters of a model in place: x ← x − Δ.

    Arguments:
        opt: what `setup` returned for this model.
        model: the model.
        grads: its gradient, a tree of the same shape; where it is None the parameter and its state stay as they are.

    Errors: ValueError where `opt` was set up for other arrays than the model holds, where a gradient has another shape
    than its parameter, and in the first update if the gradient is None for every parameter that isn't frozen; TypeError
    where `opt` is no such state, or a gradient no array; MixedDevices where a gradient lies on another device than its
    parameter. Nothing is changed then.

    >>> import numpy as np, tinyflux as flux
    >>> model = {"w": np.array([1.0, 2.0])}
    >>> opt = flux.setup(flux.Descent(0.1), model)
    >>> flux.update(opt, model, flux.gradient(lambda m: np.sum(m["w"] ** 2), model))
    >>> model["w"]
    array([0.8, 1.6])
    """
    plan, gradients = planned(opt, model, grads)
    if not opt._stepped:
        if not plan.groups:  # a later batch may have none
            checks.refuse_nothing("update", opt, grads)
        opt._stepped = bool(plan.groups)
    step_all(plan, gradients, opt.native)


def planned(opt: OptimiserState, model: Tree, grads: Tree) -> tuple[Plan, Sequence[Any]]:
    """The work of an update, and the gradient of every leaf; arguments and errors as for `update`."""
    try:
        arrays, gradients = opt._get(model), opt._get(grads)
    except (AttributeError, IndexError, KeyError, NameError, TypeError):
        checks.check_state("update", opt)
        checks.refuse_tuple(model, grads)
        arrays, gradients = checks.look_up(opt, model), checks.look_up(opt, grads, absent=None)
    checks.check_arrays("update", opt, arrays)
    checks.check_form(opt, model)
    missing: tuple[int, ...] = ()
    for i, (g, shape, kind) in enumerate(zip(gradients, opt._shapes, opt._kinds)):
        if g is None:
            missing = (*missing, i)
        elif type(g) is not kind or g.shape != shape:
            checks.check_gradient(opt, i, g)
    if len(opt._leaves) < len(gradients):
        gradients = tuple(checks.summed(opt, gradients))
        missing = tuple(i for i, g in enumerate(gradients) if g is None)
    return opt._layout.plan(missing), gradients


def averaged(model: T, opt: OptimiserState) -> T:
    """A copy of a model with averages in the place of its parameters: those that EMA, Lookahead or ASGD keep in `opt`.

    Parameters without an average are copied as they are, and so are buffers. The means and variances of BatchNorm are
    those of the model then; for those of the copy, let it see data in training mode, as below.

    Arguments:
        model: the model, which training goes on with.
        opt: what `setup` returned for it.

    Returns: a model of its own, to be evaluated or saved.

    Errors: ValueError where no rule in `opt` keeps an average, or `opt` was set up for another model.

    >>> import numpy as np, tinyflux as flux
    >>> model = flux.Chain(flux.Dense(3, 2), flux.BatchNorm(2))
    >>> opt = flux.setup(flux.OptimiserChain(flux.Adam(), flux.EMA(0.99)), model)
    >>> average = flux.averaged(model, opt)
    >>> _ = flux.trainmode(average)
    >>> for x in np.random.default_rng(0).normal(size=(20, 16, 3)).astype(np.float32):
    ...     _ = average(x)
    >>> _ = flux.testmode(average)
    """
    checks.check_state("averaged", opt)
    checks.check_model("averaged", opt, model)
    found = {id(leaf.view): average_of(leaf.rule, leaf.state, leaf.view) for leaf in opt._leaves}
    if all(average is None for average in found.values()):
        kinds = ", ".join(dict.fromkeys(kind_of(leaf.rule) for leaf in opt._leaves))
        raise ValueError(
            f"averaged: {kinds} keeps no average of the parameters. Set up flux.OptimiserChain(rule, flux.EMA(0.999))."
        )

    def copy(x: Array) -> Array:
        average = found.get(id(x))
        copy: Array = (x if average is None else average).copy()
        return copy

    return tree.copying(copy)(model)


def prepared(rule: Any) -> Any:
    """A rule as it stands in a leaf: with Python's numbers, and counting its steps where a schedule needs that."""
    rule = plain(rule)
    return Scheduled(rule) if scheduled(rule) and not isinstance(rule, Scheduled) else rule
