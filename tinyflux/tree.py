"""A model is a tree: its leaves are arrays, its nodes are tuples, lists, dicts and plain objects.

Everything that concerns a whole model walks this tree: taking a gradient, stepping, counting, converting, saving.
An object is a node by its attributes, in slots or not, so a layer needs no base class and no registration. Functions,
strings, numbers and whatever holds no array are carried along as they are. Arrays in a set, a deque or the like are an
error: nothing could put others in their places. Arrays that a class names in `buffers` (running means, say) belong to
the tree but are no parameters: nothing differentiates or steps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .arrays import is_array as is_array
from .nodes import (  # fmt: skip
    CLOSED,
    FLOATS,
    LEAF,
    MAPPING,
    NUMBERS,
    OBJECT,
    OPAQUE,
    SEQUENCE,
    Closed,
    Slopes,
    arrays_in,
    attributes,
    is_subclassed,
    kinds,
    look_into,
    node_kind,
    rebuild,
    refuse,
    slots_of,
)
from .nodes import (
    children as children,
)
from .nodes import (
    entries as entries,
)
from .nodes import (
    is_parameter as is_parameter,
)
from .types import Array, T, Tree

__all__ = ["destructure", "f32", "f64", "leaves", "map", "parameter_count", "parameters", "walk"]


def walk(tree: Tree, buffers: bool = True) -> Iterator[tuple[str, Array]]:
    """All arrays of a tree in order, each with its path.

    Arguments:
        tree: any tree.
        buffers: whether to yield arrays that are no parameters, too (buffers and integer arrays).

    >>> from tinyflux import tree
    >>> [(path, a.shape) for path, a in tree.walk({"w": np.zeros((2, 3)), "rest": [np.zeros(4)]})]
    [("['w']", (2, 3)), ("['rest'][0]", (4,))]
    """
    try:
        yield from arrays_in(tree, buffers)
    except (RecursionError, Closed):
        refuse(tree)
        raise


def leaves(tree: Tree) -> list[Array]:
    """All arrays of a tree, in order.

    Arguments:
        tree: an array, a model, or a list, tuple or dict of them.

    >>> import tinyflux as flux
    >>> [a.shape for a in flux.leaves(flux.Dense(3, 2))]
    [(2, 3), (2,)]
    """
    return [array for _, array in walk(tree)]


def parameters(tree: Tree) -> list[Array]:
    """The arrays of a tree that training changes: floating point, and not named in their class's `buffers`.

    >>> import numpy as np, tinyflux as flux
    >>> flux.parameters([np.ones(2), np.arange(2)])
    [array([1., 1.])]
    """
    return [array for _, array in walk(tree, buffers=False)]


def parameter_count(tree: Tree) -> int:
    """How many numbers training changes in `tree`; an array that stands in several places counts once.

    >>> import tinyflux as flux
    >>> flux.parameter_count(flux.Chain(flux.Dense(784, 32, flux.relu), flux.Dense(32, 10)))
    25450
    """
    return sum(array.size for array in {id(a): a for a in parameters(tree)}.values())


def map(f: Callable[..., Any], tree: T, *rest: Any, buffers: bool = True) -> T:  # noqa: A001
    """A tree of the same shape with `f(array, *others)` in the place of every array.

    Arguments:
        f: takes an array of `tree` and whatever stands at the same place in each of `rest`.
        tree: any tree. It is left as it is; nodes in which nothing changes are shared with the result.
        rest: trees of the same shape; where one of them is None, so is all below it.
        buffers: whether `f` is called for arrays that a class names in its `buffers`, too.

    Errors: ValueError where a tree of `rest` has another shape than `tree`, or a node stands below itself.

    >>> import numpy as np, tinyflux as flux
    >>> flux.tree.map(lambda a, b: a + b, {"w": np.ones(2)}, {"w": np.ones(2)})
    {'w': array([2., 2.])}
    """
    if rest:
        mapped: T = _refusing(tree, _map_each, f, tree, rest, buffers)
    else:
        mapped = _refusing(tree, _map_one, f, tree, None if buffers else [])
    return mapped


def _refusing(tree: Tree, walk: Callable[..., Any], *args: Any) -> Any:
    """`walk(*args)`, or the error for what can't be walked in a tree."""
    try:
        return walk(*args)
    except (RecursionError, Closed):
        refuse(tree)
        raise


Stateful = list[tuple[Any, Any, Any, Any]]


def map_differentiated(f: Callable[[Any], Any], tree: Tree) -> tuple[Any, Stateful]:
    """A tree with `f(x)` in the place of all that is differentiated, and what may change in it.

    What is differentiated are the arrays except buffers, and floats in lists, tuples and dicts. An object's floats, and
    those in what it holds, are its configuration.

    Returns: the tree; and for each object, dict and list (node, inside, own, before): the node, its attributes or
    itself, those of its copy (the same ones if nothing in it is differentiated), and all that is in them.
    """
    stateful: Stateful = []
    return _refusing(tree, _map_one, f, tree, stateful, FLOATS), stateful


def filler(inside: Any) -> Callable[[Any], None]:
    """What puts all that was in a list, a dict or attributes into them again."""
    return inside.extend if isinstance(inside, list) else inside.update


def same(x: Any, y: Any) -> bool:
    """Whether two things are one, or equal words, numbers or tuples without arrays: shapes, say."""
    constant = type(x) is type(y) and type(x) in (str, int, bool, float, tuple)
    return x is y or (constant and not leaves(x) and bool(x == y))


def map_numbers(f: Callable[[Any], Any], tree: Tree) -> Any:
    """A tree with `f(x)` in the place of arrays except buffers, and of numbers in lists, tuples and dicts."""
    return _refusing(tree, _map_one, f, tree, [], NUMBERS)


def map_derivatives(f: Callable[[Any], Any], tree: Tree) -> Any:
    """A tree with `f(x)` in the place of arrays and of numbers, for which f gives None: what a gradient looks like.

    Below an object only floats become None. Its other numbers (sizes, strides, switches) can't be taken for a
    derivative; they stay, as functions and strings do.
    """
    return _map_one(f, tree, None, NUMBERS, FLOATS)


def _map_one(
    f: Callable[[Any], Any],
    node: Tree,
    stateful: Stateful | None,
    numbers: tuple[type, ...] = (),
    inner: tuple[type, ...] = (),
) -> Any:
    """`map` over one tree; given a list, it skips buffers, and appends what may change: see `map_differentiated`.

    Every gradient walks its model here, so the loops avoid calls.

    Arguments:
        numbers: what else than arrays is a leaf.
        inner: the same, below an object.
    """
    cls = type(node)
    kind = kinds.get(cls)
    if kind is None:
        kind = node_kind(cls)
    if kind in (OBJECT, MAPPING):
        skip = () if stateful is None else getattr(cls, "buffers", ())
        changed = None
        if kind == OBJECT:
            numbers = inner
            inside = node.__dict__ if cls not in slots_of else attributes(node)
        else:
            inside = node
            if cls is not dict:
                look_into(node)
        for name, child in inside.items():
            below = kinds.get(type(child))
            if name in skip or (below == OPAQUE and not (numbers and isinstance(child, numbers))):
                continue
            if below == LEAF:
                new = f(child)
            else:
                new = _map_one(f, child, stateful, numbers, inner)
            if new is not child:
                if changed is None:
                    changed = Slopes(inside) if inner and kind == OBJECT else dict(inside)
                changed[name] = new
        whole = node if changed is None else rebuild(node, changed)
        if stateful is not None:
            if changed is None:
                stateful.append((node, inside, inside, dict(inside)))
            elif kind == OBJECT:
                stateful.append((node, inside, whole.__dict__ if cls not in slots_of else attributes(whole), changed))
            else:
                stateful.append((node, inside, whole, dict(whole)))
                _note_attributes(stateful, node, whole)
        return whole
    if kind == SEQUENCE:
        if cls is not tuple and cls is not list:
            look_into(node)
        items = [_map_one(f, child, stateful, numbers, inner) for child in node]
        for new, old in zip(items, node):
            if new is not old:
                whole = rebuild(node, items)
                break
        else:
            whole = node
        if stateful is not None and cls is not tuple and isinstance(node, list):
            stateful.append((node, node, whole, list(whole)))
        _note_attributes(stateful, node, whole)
        return whole
    if kind == CLOSED:
        look_into(node)
    return f(node) if kind == LEAF or isinstance(node, numbers) else node


def _note_attributes(stateful: Stateful | None, node: Tree, whole: Tree) -> None:
    """Append the attributes of a list, a tuple or a dict of a class of one's own."""
    if stateful is not None and is_subclassed(node):
        stateful.append((node, attributes(node), attributes(whole), dict(attributes(whole))))


def numbers(tree: Tree, path: str = "") -> Iterator[tuple[str, Any]]:
    """The floats of a tree that a gradient is taken for, each with its path."""
    if isinstance(tree, FLOATS):
        yield path, tree
    elif node_kind(type(tree)) in (SEQUENCE, MAPPING):
        for step, child in children(tree):
            yield from numbers(child, path + step)


def _map_each(f: Callable[..., Any], node: Tree, rest: tuple[Any, ...], buffers: bool) -> Any:
    """`map` over several trees at once."""
    if is_array(node):
        return f(node, *rest)
    look_into(node)
    pairs = children(node)
    if not pairs:
        return node
    others = []
    for other in rest:
        found = dict(children(other)) if other is not None else dict.fromkeys(step for step, _ in pairs)
        if found.keys() != {step for step, _ in pairs}:
            raise ValueError(
                f"trees of different shape: {type(node).__name__} has {', '.join(step for step, _ in pairs)}; the "
                f"other, {type(other).__name__}, has {', '.join(found) or 'no children'}. Give trees made from the "
                "same model."
            )
        others.append(found)
    skip = () if buffers else [f".{name}" for name in getattr(type(node), "buffers", ())]
    items = [c if s in skip else _map_each(f, c, tuple(o[s] for o in others), buffers) for s, c in pairs]
    if isinstance(node, (tuple, list)):
        return rebuild(node, items)
    return rebuild(node, dict(zip(entries(node)[1], items, strict=True)))


def destructure(tree: Tree) -> tuple[Array, Callable[[Array], Tree]]:
    """All parameters of a tree as one vector, and the way back.

    Arguments:
        tree: any tree; its parameters must share one dtype.

    Returns: (flat, rebuild): `flat` holds the parameters one after another, each in C order, and once if it stands in
    several places; `rebuild(vector)` is a tree like `tree` with its parameters taken from `vector`. Both can be
    differentiated.

    Errors: ValueError for a vector of another length, for parameters of several dtypes, or for a tree without any.

    >>> import tinyflux as flux
    >>> flat, rebuild = flux.destructure(flux.Dense(3, 2))
    >>> flat.shape, rebuild(flat * 0).weight.shape
    ((8,), (2, 3))
    """
    arrays = list({id(a): a for a in parameters(tree)}.values())
    dtypes = sorted({str(a.dtype) for a in arrays})
    if len(dtypes) != 1:
        held = f"parameters of dtypes {', '.join(dtypes)}" if dtypes else "no parameters"
        raise ValueError(
            f"destructure: expected parameters of one dtype, got {held}. Convert with f32(tree) or f64(tree)."
        )
    total = sum(a.size for a in arrays)

    def rebuild(vector: Any) -> Any:
        if vector.shape != (total,):
            raise ValueError(f"rebuild: expected a vector of shape ({total},), got shape {vector.shape}.")
        position = 0

        def piece(array: Array) -> Any:
            nonlocal position
            if not is_parameter(array):
                return array
            start, position = position, position + array.size
            return vector[start:position].reshape(array.shape)

        return copying(piece, buffers=False)(tree)

    return np.concatenate([a.reshape(-1) for a in arrays]), rebuild


def f32(tree: T) -> T:
    """A copy of a tree whose floating-point arrays are float32.

    >>> import numpy as np, tinyflux as flux
    >>> flux.f32([np.ones(2), np.arange(2)])
    [array([1., 1.], dtype=float32), array([0, 1])]
    """
    return copying(lambda a: a.astype(np.float32) if is_parameter(a) else a)(tree)


def f64(tree: T) -> T:
    """A copy of a tree whose floating-point arrays are float64: for gradient checks and reference runs.

    >>> import tinyflux as flux
    >>> flux.f64(flux.Dense(3, 2)).weight.dtype
    dtype('float64')
    """
    return copying(lambda a: a.astype(np.float64) if is_parameter(a) else a)(tree)


def copying(f: Callable[[Array], Any], buffers: bool = True) -> Callable[[T], T]:
    """`map` by f as a copy of a model asks for it: what stands in several places, be it an array or a node, stays one.

    Arguments:
        f, buffers: as for `map`; f is called once for each array of all the trees that are copied.
    """
    found: dict[int, tuple[Any, Any]] = {}  # by the id of an array or a node, which is held for as long
    return lambda tree: _refusing(tree, _copy, f, tree, found, buffers)


def _copy(f: Callable[[Array], Any], node: Any, found: dict[int, tuple[Any, Any]], buffers: bool) -> Any:
    kind = node_kind(type(node))
    if kind == OPAQUE:
        return node
    if id(node) not in found:
        found[id(node)] = node, f(node) if kind == LEAF else _copy_node(f, node, found, buffers)
    return found[id(node)][1]


def _copy_node(f: Callable[[Array], Any], node: Any, found: dict[int, tuple[Any, Any]], buffers: bool) -> Any:
    look_into(node)
    if isinstance(node, (tuple, list)):
        items = [_copy(f, child, found, buffers) for child in node]
        return node if all(new is old for new, old in zip(items, node)) else rebuild(node, items)
    inside = entries(node)[0] or {}
    skip = () if buffers else getattr(type(node), "buffers", ())
    changed = {key: child if key in skip else _copy(f, child, found, buffers) for key, child in inside.items()}
    return node if all(changed[key] is child for key, child in inside.items()) else rebuild(node, changed)
