"""The first product of the next iteration, calculated where its weight is updated.

With one sample a step, reading and writing the weights sets the pace: the first layer's are read to be multiplied by
the sample, then read again and written to be updated. But the next iteration's product needs no more than the new
weight and the next sample, which the order tells. So the loop that updates the weight goes on to multiply it while it
is at hand, and the next iteration finds its product done: one pass over the memory for two, if many iterations are made
in a call. On 784-60-60-10 with Descent that took 7.2 µs to 4.3.

The sum over a row is spelt out in vectors. So it has the same roundings in each of its two loops, whatever the compiler
makes of them: in that of the update, and in the one for the first iteration.
"""

from __future__ import annotations

import dataclasses
import math

from ..codegen.expressions import ExpressionEmitter, SourceContext
from ..ir.functions import c_type, suffix
from ..ir.program import Node
from .contraction import Operand, Product
from .fuse import Kernel, Schedule

LANES = {"f32": 16, "f64": 8}  # of the longest vectors
WIDE = 4  # vectors: shorter rows aren't worth it


@dataclasses.dataclass(frozen=True, eq=False)
class Ahead:
    """A product x·Wᵀ of one sample that is calculated ahead.

    Attributes:
        product: its kernel.
        update: the kernel that writes the new weight.
        weight: the input W, (outputs, features).
        sample: how the sample x is read.
    """

    product: Kernel
    update: Kernel
    weight: Node
    sample: Operand


def found(schedule: Schedule, order: Node) -> Ahead | None:
    """The product that can be calculated ahead: of a weight that is overwritten and the one sample of an iteration."""
    if schedule.rows is not None:  # a large batch
        return None
    overwritten = {r.overwrites: r.node for r in schedule.results if r.overwrites is not None}
    for kernel in schedule.kernels:
        p = kernel.product
        if p is None:
            continue
        for sample, weight in ((p.a, p.b), (p.b, p.a)):
            new = overwritten.get(weight.node)
            if new is None or not _picked(sample, p, order) or not _whole(weight, p):
                continue
            update = next(k for k in schedule.kernels if new in k.nodes)
            if update.shape == weight.node.shape:
                return Ahead(kernel, update, weight.node, sample)
    return None


def _picked(x: Operand, p: Product, order: Node) -> bool:
    """Whether an operand is one row, which the order picks."""
    along = [stride for stride in x.strides if stride]
    return x.table is not None and x.table[:2] == (order, None) and along == [1] and x.strides[p.k] == 1


def _whole(x: Operand, p: Product) -> bool:
    """Whether an operand is a whole matrix, each of whose long rows is multiplied."""
    features = p.shape[p.k]
    if x.table is not None or features < WIDE * LANES[suffix(x.node.dtype)]:
        return False
    other = [stride for axis, stride in enumerate(x.strides) if axis != p.k and p.shape[axis] != 1]
    whole = x.node.shape == (math.prod(p.shape) // features, features)
    return whole and x.strides[p.k] == 1 and other == [features]


def taken(context: SourceContext, ahead: Ahead) -> list[str]:
    """The lines in the place of the product: it has been calculated. The next sample is fetched meanwhile."""
    (node,) = ahead.product.nodes
    line = 64 // node.dtype.itemsize  # numbers in a line of the cache
    return [
        f"memcpy({context.name(node, write=True)}, arena + {context.ahead}, {node.size * node.dtype.itemsize});",
        _next_sample(context, ahead),
        f"for (int64_t i = 0; i < {ahead.weight.shape[1]}; i += {line}) __builtin_prefetch(sample + i);",
    ]


def _next_sample(context: SourceContext, ahead: Ahead) -> str:
    """The declaration of a pointer to it."""
    assert ahead.sample.table is not None
    pointer = f"{context.name(ahead.sample.node)} + {ahead.sample.table[2]} * *(int64_t *)p[{context.next}]"
    return f"const {c_type(ahead.weight.dtype)} *sample = {pointer};"


def begun(context: SourceContext, ahead: Ahead) -> list[str]:
    """The lines that calculate it before the first iteration."""
    return _multiplied(context, ahead, ExpressionEmitter(context, ahead.product), [])


def updated(context: SourceContext, ahead: Ahead) -> list[str]:
    """The lines of the update, which calculate it for the next iteration."""
    emitter = ExpressionEmitter(context, ahead.update)
    stores = [line for r in range(_rows(ahead)) for line in emitter.stores(((r, (("i0", 1),)), (0, (("i1", 1),))))]
    return _multiplied(context, ahead, emitter, [*emitter.lines, *stores])


def _rows(ahead: Ahead) -> int:
    """How many rows of the weight are multiplied at a time, and share what is read of the sample."""
    return math.gcd(ahead.weight.shape[0], 4)


def _multiplied(context: SourceContext, ahead: Ahead, emitter: ExpressionEmitter, statements: list[str]) -> list[str]:
    """The loops over a weight: statements for each element of some rows, then their products with the next sample."""
    outputs, features = ahead.weight.shape
    t, kind = c_type(ahead.weight.dtype), suffix(ahead.weight.dtype)
    rows, lanes = range(_rows(ahead)), f"lanes_{kind}"
    weight = context.name(ahead.weight)

    def columns(count: str) -> list[str]:
        pragma = [] if emitter.checked else ["#pragma omp simd"]
        loop = f"for (int64_t i1 = first; i1 < first + {count}; i1++) {{"
        return [
            *([*pragma, loop, *statements, "}"] if statements else []),
            f"const tf_vec_{kind} x = tf_load_{kind}(sample + first, {count});",
            *[f"total{r} += tf_load_{kind}({weight} + {features} * (i0 + {r}) + first, {count}) * x;" for r in rows],
        ]

    return [
        f"{t} *restrict ahead = ({t} *)(arena + {context.ahead});",
        _next_sample(context, ahead),
        *emitter.outside,
        f"for (int64_t i0 = 0; i0 < {outputs}; i0 += {len(rows)}) {{",
        f"tf_vec_{kind} {', '.join(f'total{r} = {{0}}' for r in rows)};",
        "int64_t first = 0;",
        f"for (; first + {lanes} <= {features}; first += {lanes}) {{",
        *columns(lanes),
        "}",
        *([f"if (first < {features}) {{", *columns(f"{features} % {lanes}"), "}"] if features % LANES[kind] else []),
        *[f"ahead[i0 + {r}] = total_{kind}(total{r});" for r in rows],
        "}",
    ]
