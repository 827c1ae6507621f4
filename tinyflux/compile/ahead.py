"""The first product of the next iteration, calculated where its weight is updated.

With one sample a step, reading and writing the weights sets the pace: the first layer's are read to be multiplied by
the sample, then read again and written to be updated. But the next iteration's product needs no more than the new
weight and the next sample, which the order tells. So the loop that updates the weight goes on to multiply it while it
is at hand, and the next iteration finds its product done: one pass over the memory for two. On 784-60-60-10 with
Descent that took 7.2 µs to 4.3.

A sum over a row is kept in lanes that the source spells out. So it has the same roundings in each of its two loops,
whatever the compiler makes of them: in that of the update, and in the one for the first iteration.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from .emit import Affine, Body, Unit
from .functions import c_type, suffix
from .matmul import Operand, Product
from .program import Node
from .schedule import Kernel, Schedule

LANES = 64  # bytes
WIDE = 4  # times LANES: shorter rows than this aren't worth it
ROWS = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Ahead:
    """A product x·Wᵀ of one sample that is calculated ahead.

    Attributes:
        product: its kernel.
        update: the kernel that writes the new weight.
        new: the node of the new weight.
        weight: the input W, (outputs, features).
        sample: how the sample x is read.
    """

    product: Kernel
    update: Kernel
    new: Node
    weight: Node
    sample: Operand


def found(schedule: Schedule, order: Node) -> Ahead | None:
    """The product that can be calculated ahead: of a weight that is overwritten and the one sample of an iteration."""
    overwritten = {r.overwrites: r.node for r in schedule.results if r.overwrites is not None}
    for kernel in schedule.kernels:
        p = kernel.product
        if p is None or schedule.rows is not None:
            continue
        for sample, weight in ((p.a, p.b), (p.b, p.a)):
            new = overwritten.get(weight.node)
            if new is None or sample.node in overwritten or not _picked(sample, p, order) or not _whole(weight, p):
                continue
            update = next(k for k in schedule.kernels if new in k.nodes)
            if update.shape == weight.node.shape:
                return Ahead(kernel, update, new, weight.node, sample)
    return None


def _picked(x: Operand, p: Product, order: Node) -> bool:
    """Whether an operand is one row, which the order picks."""
    along = [stride for stride in x.strides if stride]
    return x.table is not None and x.table[:2] == (order, None) and along == [1] and x.strides[p.k] == 1


def _whole(x: Operand, p: Product) -> bool:
    """Whether an operand is a whole matrix, each of whose long rows is multiplied."""
    wide = WIDE * LANES // x.node.dtype.itemsize
    other = [stride for axis, stride in enumerate(x.strides) if axis != p.k and p.shape[axis] != 1]
    whole = x.node.ndim == 2 and x.node.shape[1] == p.shape[p.k] >= wide and x.node.size == math.prod(p.shape)
    return whole and x.table is None and x.strides[p.k] == 1 and other == [p.shape[p.k]]


def taken(unit: Unit, ahead: Ahead) -> list[str]:
    """The lines in the place of the product: it has been calculated."""
    (node,) = ahead.product.nodes
    return [f"memcpy({unit.name(node, write=True)}, arena + {unit.ahead}, {node.size * node.dtype.itemsize});"]


def begun(unit: Unit, ahead: Ahead) -> list[str]:
    """The lines that calculate it before the first iteration."""
    body = Body(unit, ahead.product)

    def row(at: tuple[Affine, ...]) -> tuple[str, list[str]]:
        return body.value(ahead.weight, at), []

    return _multiplied(unit, ahead, body, row)


def updated(unit: Unit, ahead: Ahead) -> list[str]:
    """The lines of the update, which calculate it for the next iteration."""
    body = Body(unit, ahead.update)

    def row(at: tuple[Affine, ...]) -> tuple[str, list[str]]:
        stores = body.stores(at)
        return body.known[ahead.new, at], stores

    return _multiplied(unit, ahead, body, row)


def _multiplied(
    unit: Unit, ahead: Ahead, body: Body, row: Callable[[tuple[Affine, ...]], tuple[str, list[str]]]
) -> list[str]:
    """The loops over a weight: what is done for an element, and the sums of the rows' products with the next sample.

    Arguments:
        row: gives the name of an element of the weight, and statements that go with it.
    """
    outputs, features = ahead.weight.shape
    dtype = ahead.weight.dtype
    lanes, rows = LANES // dtype.itemsize, ROWS if outputs % ROWS == 0 else 1
    whole = features - features % lanes
    names, stores = [], []
    for r in range(rows):
        name, statements = row(((r, (("i0", 1),)), (0, (("i1", 1),))))
        names.append(name)
        stores += statements
    inner = [*body.lines, *stores]
    pragma = [] if body.checked else ["#pragma omp simd"]

    def columns(first: str, count: int) -> list[str]:
        sums = [f"total{r}[lane] += {name} * sample[i1];" for r, name in enumerate(names)]
        head = f"for (int64_t lane = 0; lane < {count}; lane++) {{"
        return [*pragma, head, f"const int64_t i1 = {first} + lane;", *inner, *sums, "}"] if count else []

    assert ahead.sample.table is not None
    t, step = c_type(dtype), ahead.sample.table[2]
    return [
        f"{t} *restrict ahead = ({t} *)(arena + {unit.ahead});",
        f"const {t} *sample = {unit.name(ahead.sample.node)} + {step} * *(const int64_t *)p[{unit.next}];",
        *body.outside,
        f"for (int64_t i0 = 0; i0 < {outputs}; i0 += {rows}) {{",
        *[f"{t} total{r}[{lanes}] = {{0}};" for r in range(rows)],
        f"for (int64_t first = 0; first < {whole}; first += {lanes}) {{",
        *columns("first", lanes),
        "}",
        *columns(str(whole), features - whole),
        *[f"ahead[i0 + {r}] = halves_{suffix(dtype)}(total{r}, {lanes});" for r in range(rows)],
        "}",
    ]
