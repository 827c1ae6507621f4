"""The product that software pipelining moves into the update before it (see `schedule.pipelining`), in C.

The sum over a row is spelt out in vectors. So it has the same roundings in each of its two loops, whatever the compiler
makes of them: in that of the update, and in the one for the first iteration.
"""

from __future__ import annotations

import math

from ...codegen.expressions import ExpressionEmitter, SourceContext
from ...ir.functions import c_type, suffix
from ...schedule.pipelining import LANES, PipelinedProduct


def emit_copy(context: SourceContext, pipelined: PipelinedProduct) -> list[str]:
    """The lines in the place of the product: it has been calculated. The next sample is fetched meanwhile."""
    (node,) = pipelined.product.nodes
    line = 64 // node.dtype.itemsize  # numbers in a line of the cache
    return [
        f"memcpy({context.name(node, write=True)}, arena + {context.pipelined}, {node.size * node.dtype.itemsize});",
        _next_sample(context, pipelined),
        f"for (int64_t i = 0; i < {pipelined.weight.shape[1]}; i += {line}) __builtin_prefetch(sample + i);",
    ]


def _next_sample(context: SourceContext, pipelined: PipelinedProduct) -> str:
    """The declaration of a pointer to it."""
    assert pipelined.sample.table is not None
    first = f"{context.name(pipelined.sample.node)} + {pipelined.sample.offset}"
    pointer = f"{first} + {pipelined.sample.table[2]} * *(int64_t *)p[{context.next}]"
    return f"const {c_type(pipelined.weight.dtype)} *sample = {pointer};"


def emit_prologue(context: SourceContext, pipelined: PipelinedProduct) -> list[str]:
    """The lines that calculate the product before the first iteration."""
    return _multiply(context, pipelined, ExpressionEmitter(context, pipelined.product), [])


def emit_update(context: SourceContext, pipelined: PipelinedProduct) -> list[str]:
    """The lines of the update, which calculate the product for the next iteration."""
    emitter = ExpressionEmitter(context, pipelined.update)
    rows = range(_row_count(pipelined))
    stores = [line for r in rows for line in emitter.stores(((r, (("i0", 1),)), (0, (("i1", 1),))))]
    return _multiply(context, pipelined, emitter, [*emitter.lines, *stores])


def _row_count(pipelined: PipelinedProduct) -> int:
    """How many rows of the weight are multiplied at a time, and share what is read of the sample."""
    return math.gcd(pipelined.weight.shape[0], 4)


def _multiply(
    context: SourceContext, pipelined: PipelinedProduct, emitter: ExpressionEmitter, statements: list[str]
) -> list[str]:
    """The loops over a weight: statements for each element of some rows, then their products with the next sample."""
    outputs, features = pipelined.weight.shape
    t, kind = c_type(pipelined.weight.dtype), suffix(pipelined.weight.dtype)
    rows, lanes = range(_row_count(pipelined)), f"lanes_{kind}"
    weight = context.name(pipelined.weight)

    def columns(count: str) -> list[str]:
        pragma = [] if emitter.may_fail else ["#pragma omp simd"]
        loop = f"for (int64_t i1 = first; i1 < first + {count}; i1++) {{"
        return [
            *([*pragma, loop, *statements, "}"] if statements else []),
            f"const tf_vec_{kind} x = tf_load_{kind}(sample + first, {count});",
            *[f"total{r} += tf_load_{kind}({weight} + {features} * (i0 + {r}) + first, {count}) * x;" for r in rows],
        ]

    return [
        f"{t} *restrict ahead = ({t} *)(arena + {context.pipelined});",
        _next_sample(context, pipelined),
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
