"""A table of what a model holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import tree
from .types import Tree


class Summary(str):
    """Text that is shown as it is, at the prompt too."""

    __repr__ = str.__str__


def summary(model: Tree) -> Summary:
    """All arrays of a model: path, shape, dtype, number of elements, and what is wrong with their values.

    Arguments:
        model: any tree.

    Returns: a string that prints as a table. An array is marked "(all zero)", "(some NaN)" or "(some Inf)" where it is
    so, "(buffer)" where training leaves it alone, and "(tied)" where it stood further up already. The last line counts
    each array once.

    >>> import tinyflux as flux
    >>> flux.summary(flux.Chain(flux.Dense(784, 32, flux.relu), flux.Dense(32, 10)))
    layer              shape      dtype     count
    .layers[0].weight  (32, 784)  float32  25,088
    .layers[0].bias    (32,)      float32      32  (all zero)
    .layers[1].weight  (10, 32)   float32     320
    .layers[1].bias    (10,)      float32      10  (all zero)
    total              25,450 parameters in 4 arrays, 101,800 bytes
    """
    trained = {id(x) for x in tree.parameters(model)}
    seen: dict[int, Any] = {}
    rows = [("layer", "shape", "dtype", "count", "")]
    for path, x in tree.walk(model):
        notes = _notes(x) + ["(buffer)"] * (id(x) not in trained) + ["(tied)"] * (id(x) in seen)
        seen[id(x)] = x
        rows.append((path or "(array)", str(x.shape), str(x.dtype), f"{x.size:,}", " ".join(notes)))
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    form = "{:%d}  {:%d}  {:%d}  {:>%d}  {}" % tuple(widths)  # noqa: UP031 (braces within braces)
    lines = [form.format(*row) for row in rows]
    arrays = f"{len(seen)} array{'s' * (len(seen) != 1)}, {sum(x.nbytes for x in seen.values()):,} bytes"
    lines.append(f"{'total':{widths[0]}}  {tree.parameter_count(model):,} parameters in {arrays}")
    return Summary("\n".join(line.rstrip() for line in lines))


def _notes(x: Any) -> list[str]:
    if not x.size:
        return []
    notes = {"(all zero)": not (x != 0).any()}
    if x.dtype.kind == "f":
        notes |= {"(some NaN)": np.isnan(x).any(), "(some Inf)": np.isinf(x).any()}
    return [note for note, found in notes.items() if found]
