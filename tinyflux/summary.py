"""Tables of what a model holds, and of what its layers make of an input."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import tree
from .arrays import is_array
from .autodiff.gradient import is_gradient
from .checks import is_integer, shown
from .display import Line, careful_html, html_table, shares
from .nn.layers import Chain, Conv, ConvTranspose, Dense, Parallel, SkipConnection, testmode
from .nn.layers.show import as_code, norm
from .nodes import OBJECT, node_kind
from .types import Array, Tree


class Summary(str):
    """A table as text, which is shown as it is at the prompt, and as a table in a notebook.

    Attributes:
        titles, lines: the heads of its columns, and its rows.
    """

    titles: Sequence[str]
    lines: Sequence[Line]
    sides: str

    __repr__ = str.__str__

    @careful_html
    def _repr_html_(self) -> str:
        return html_table(self.titles, self.sides, self.lines)


def _summary(titles: Sequence[str], sides: str, rows: Sequence[Line], total: Line) -> Summary:
    """The table of these rows; a total of two cells has its text spread over all columns but the first."""
    cells = [titles, *[row.cells for row in rows]]
    label, *rest = total.cells
    if len(rest) > 1:
        text = Summary("\n".join(_aligned([*cells, total.cells], sides)))
    else:
        place = max(len(row[0]) for row in cells)
        text = Summary("\n".join([*_aligned(cells, sides), f"{label:{place}}  {rest[0]}"]))
    text.titles, text.sides, text.lines = titles, sides, [*rows, total]
    return text


def summary(model: Tree, input_shape: Sequence[int] | None = None) -> Summary:
    """All arrays of a model: path, shape, dtype, number of elements, and what is wrong with their values.

    With `input_shape`, a table of its layers instead, in the order in which they are called: the shape that comes out
    for N samples, the parameters, and how many multiplications the matrix product or convolution of a sample takes. A
    row counts the layer's own parameters; layers inside it have rows of their own. A layer that is called again and
    again, as in the steps of a sequence, has one row: "(N, 32) × 200".

    Arguments:
        model: any tree; a model that can be called, where `input_shape` is given.
        input_shape: the shape of a sample, without the axis of the samples. A copy of the model, switched to inference,
            is called with one sample of zeros, in the dtype of the first parameter.

    Returns: a string that prints as a table, and that a notebook shows as one. Arrays are marked "(all zero)", "(some
    NaN)" or "(some Inf)", "(buffer)" if training doesn't step them, and "(tied)" if they stand further up already, as
    do the parameters of a layer in two places. The last line counts each array once. Of a gradient, an object of your
    own class for instance, the norms are shown.

    Errors: TypeError for an `input_shape` that is no tuple of integers, or a model that can't be called.

    >>> import tinyflux as flux
    >>> flux.summary(flux.Chain(flux.Dense(784, 32, flux.relu), flux.Dense(32, 10)))
    layer              shape      dtype     count
    .layers[0].weight  (32, 784)  float32  25,088
    .layers[0].bias    (32,)      float32      32  (all zero)
    .layers[1].weight  (10, 32)   float32     320
    .layers[1].bias    (10,)      float32      10  (all zero)
    total              25,450 parameters in 4 arrays, 101,800 bytes
    >>> flux.summary(flux.Chain(flux.Conv((3, 3), 1, 8, flux.relu), flux.flatten, flux.Dense(288, 10)), (8, 8, 1))
    layer                                 output        parameters  multiplications
    .layers[0]  Conv((3, 3), 1, 8, relu)  (N, 6, 6, 8)          80            2,592
    .layers[1]  flatten                   (N, 288)               0                0
    .layers[2]  Dense(288, 10)            (N, 10)            2,890            2,880
    total                                                    2,970            5,472
    """
    return _table_of_arrays(model) if input_shape is None else _table_of_calls(model, input_shape)


def _table_of_arrays(model: Tree) -> Summary:
    gradient = is_gradient(model)
    trained = {id(x) for x in tree.parameters(model)}
    amounts = [norm(x) or 0 if gradient else x.size for x in tree.leaves(model)]
    seen: dict[int, Any] = {}
    rows: list[Line] = []
    for (path, x), amount, share in zip(tree.walk(model), amounts, shares(amounts)):
        notes = _notes(x) + ["(buffer)"] * (id(x) not in trained) + ["(tied)"] * (id(x) in seen)
        seen[id(x)] = x
        shown = f"{amount:.4g}" if gradient else f"{amount:,}"
        rows.append(Line([path or "(array)", str(x.shape), str(x.dtype), shown, " ".join(notes)], share))
    arrays = f"{len(seen)} array{'s' * (len(seen) != 1)}"
    count = f"{tree.parameter_count(model):,} parameters in {arrays}"
    total = f"{count}, {sum(x.size * x.dtype.itemsize for x in seen.values()):,} bytes"
    if gradient:
        total = f"gradient of norm {norm(model) or 0:.4g} in {arrays}"
    titles = ["layer", "shape", "dtype", "norm" if gradient else "count", ""]
    return _summary(titles, "<<<><", rows, Line(["total", total], strong=True))


def _aligned(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Lines whose columns stand to the left (<) or to the right (>)."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(f"{x:{side}{n}}" for x, side, n in zip(row, sides, widths)).rstrip() for row in rows]


def _notes(x: Any) -> list[str]:
    if not x.size:
        return []
    notes = {"(all zero)": not (x != 0).any()}
    if x.dtype.kind == "f":
        notes |= {"(some NaN)": np.isnan(x).any(), "(some Inf)": np.isinf(x).any()}
    return [note for note, found in notes.items() if found]


@dataclasses.dataclass
class Call:
    """A call of a layer: where it stands in the model, its first argument, and what came out."""

    path: str
    layer: Any
    x: Any
    y: Any


def _table_of_calls(model: Tree, input_shape: Sequence[int]) -> Summary:
    check_input_shape("summary", model, input_shape)
    try:
        calls = calls_of(model, samples_for(model, 1, input_shape))
    except Exception as error:
        error.add_note(
            f"summary: the model was called with one sample, of shape {(1, *input_shape)}. Give input_shape without "
            "the axis of the samples."
        )
        raise
    rows: list[list[str]] = []
    products: list[int] = []
    multiplications = 0
    counted: set[int] = set()
    groups = _in_one_row(calls)
    paths = {group[0].path for group in groups}
    for group in groups:
        call = group[0]
        arrays = {id(x): x.size for x in tree.parameters(call.layer)}
        count = sum(size for x, size in arrays.items() if x not in counted)
        product = sum(map(_multiplications, group))
        multiplications += product
        tied = arrays and counted >= arrays.keys()
        counted |= arrays.keys()
        holds_others = any(path.startswith((f"{call.path}.", f"{call.path}[")) for path in paths)
        numbers = "(tied)" if tied and not holds_others else f"{count:,}", f"{product:,}"
        if count or not holds_others or isinstance(call.layer, (SkipConnection, Parallel)):
            code = type(call.layer).__name__ if holds_others else as_code(call.layer)
            output = _output(call.y) + (f" × {len(group):,}" if len(group) > 1 else "")
            rows.append([call.path or "(model)", code, output, *numbers])
            products.append(product)
    total = ["total", "", "", f"{tree.parameter_count(model):,}", f"{multiplications:,}"]
    lines = [Line(row, share) for row, share in zip(rows, shares(products))]
    return _summary(("layer", "", "output", "parameters", "multiplications"), "<<<>>", lines, Line(total, strong=True))


def _in_one_row(calls: list[Call]) -> list[list[Call]]:
    """Calls that differ in nothing that a row tells, as those that the steps of a sequence make of one layer."""
    groups: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        groups.setdefault((call.path, _output(call.y)), []).append(call)
    return list(groups.values())


def samples_for(model: Tree, n: int, input_shape: Sequence[int]) -> Array:
    """n samples of zeros, of the model's dtype, where it lies."""
    return np.zeros_like(next(iter(tree.parameters(model)), np.zeros(0, np.float32)), shape=(n, *input_shape))


def calls_of(model: Tree, x: Array) -> list[Call]:
    """The calls of a model's layers, switched to inference, in the order in which they end.

    What is called is a copy, with the model's own arrays. Each of its layers gets a class of its own, derived from the
    one it had, for as long as that takes.
    """
    calls: list[Call] = []
    copied = testmode(copy.deepcopy(model, {id(x): x for x in tree.leaves(model)}))
    classes: dict[int, tuple[Any, type]] = {}

    def noting(f: Callable[..., Any], path: str, layer: Any) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            y = f(*args, **options)
            calls.append(Call(path, layer, args[0] if args else None, y))
            return y

        return call

    def note(node: Any, path: str) -> None:
        """Have the calls of a node noted, of those below it, and of the functions in a Chain or a Parallel."""
        cls = type(node)
        if id(node) in classes or is_array(node):
            return
        classes[id(node)] = node, cls
        for name in {Chain: ["layers"], Parallel: ["branches"]}.get(cls, []):
            parts = [(f, f"{path}.{name}[{i}]") for i, f in enumerate(getattr(node, name))]
            setattr(node, name, tuple(f if node_kind(type(f)) == OBJECT else noting(f, at, f) for f, at in parts))
        for step, child in tree.children(node):
            note(child, path + step)
        if node_kind(cls) == OBJECT and callable(node):
            call = noting(functools.partial(cls.__call__, node), path, node)
            noted = {"__slots__": (), "__call__": lambda self, *args, **options: call(*args, **options)}
            object.__setattr__(node, "__class__", type(cls.__name__, (cls,), noted))

    note(copied, "")
    try:
        copied(x)
    finally:
        for node, cls in classes.values():
            if type(node) is not cls:
                object.__setattr__(node, "__class__", cls)
    return calls


def check_input_shape(owner: str, model: Tree, input_shape: Any) -> None:
    """Refuse what is no shape of a sample, and a model that can't be called."""
    if not isinstance(input_shape, (tuple, list)) or not all(is_integer(n) and n >= 1 for n in input_shape):
        raise TypeError(f"{owner}: expected input_shape to be a tuple such as (28, 28, 1), got {shown(input_shape)}.")
    if not callable(model):
        raise TypeError(f"{owner}: expected a model that can be called with an input, got {shown(model)}.")


def _output(y: Any) -> str:
    """The shape of what came out, with N for the one sample."""
    if not is_array(y):
        return shown(y)
    shape = str(y.shape)
    return "(N" + shape.removeprefix("(1") if y.shape[:1] == (1,) else shape


def _multiplications(call: Call) -> int:
    """How many numbers a layer multiplies in its matrix product or convolution."""
    layer = call.layer
    if not isinstance(layer, (Conv, Dense)) or not is_array(call.y):
        return 0
    places = call.x if isinstance(layer, ConvTranspose) else call.y
    return int(places.size) * math.prod(layer.weight.shape[1:])
