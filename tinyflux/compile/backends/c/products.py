"""Products of matrices in C: calls of matmul.h's and contract.h's functions, or of BLAS for large ones."""

from __future__ import annotations

import math

from ...codegen.expressions import ZERO, Index, SourceContext, c_index
from ...codegen.loops import nest
from ...ir import functions
from ...ir.functions import c_type
from ...ir.indexing import affine_sum, c_strides
from ...ir.node import Node
from ...schedule.contraction import Operand, Product
from ...schedule.fuse import Kernel
from .sharing import LINE, shares_rows, sums

# On one core OpenBLAS is up to a sixth faster from here on (1024 × 1024 × 1024: 177 GFLOP/s for 155), in float64 up to
# a half where a is transposed; below, matmul.h is faster (128 × 16 × 784: 146 for 82).
MULTIPLICATIONS, SHORTEST = 3e8, 512


def emit_product(context: SourceContext, kernel: Kernel, stretch: str = "") -> list[str]:
    """The lines of a product: a call for each of a stack of matrices."""
    (node,), p = kernel.nodes, kernel.product
    assert p is not None
    lengths = context.lengths(p.shape, p.row)
    out = _strides(context, node, p.out)
    at = {i: (0, ((f"i{i}", 1),)) if p.shape[i] != 1 else ZERO for i in p.outer}
    target = _moved(context.name(node, write=True), at, out)
    a, b = (_pointer(context, kernel, x, at) for x in (p.a, p.b))
    if p.form == "contract":
        return _contract(context, kernel, a, b, target, stretch)
    tables = [context.name(x.table[0]) for x in (p.a, p.b) if x.table is not None and x.table[1] is not None]
    arguments = [a, b, target, *tables, *(["rows"] if "rows" in lengths else [])]
    name = _function(context, p, out, lengths, bool(tables))
    return nest([(f"i{i}", lengths[i]) for i in p.outer], [f"{name}({', '.join(arguments)});"])


def emit_tables(context: SourceContext, kernel: Kernel) -> list[str]:
    """The lines before a contraction: the first time, they write down where all its numbers lie."""
    (node, *_), p = kernel.nodes, kernel.product
    if p is None or p.form != "contract":
        return []
    rows = context.schedule.rows
    lengths = [min(n, rows.block) if rows and i == p.row else n for i, n in enumerate(p.shape)]
    a, b = (_strides(context, x.node, x.strides) for x in (p.a, p.b))
    out = _strides(context, node, p.out)
    in_line = p.has_columns_in_line
    if p.parts > 1:  # each calculates a matrix
        kept, in_line = [*p.rows, *p.columns], True
        strides_of = dict(zip(kept, c_strides([p.shape[i] for i in kept])))
        out = tuple(strides_of.get(i, 0) for i in range(len(p.shape)))
    lines, places, size = [], {}, 1  # the first number says whether the tables are written
    for name, axes, strides in (
        ("a_i", p.rows, a), ("c_i", p.rows, out), ("a_k", p.terms, a), ("b_k", p.terms, b), ("b_j", p.columns, b),
        *[("c_j", p.columns, out)] * (not in_line),
    ):  # fmt: skip
        places[name] = size
        long = [i for i in axes if p.shape[i] != 1]
        sizes, steps = (", ".join(map(str, x)) for x in ([lengths[i] for i in long], [strides[i] for i in long]))
        count = math.prod(lengths[i] for i in axes)
        if count:
            arrays = [f"(const int64_t[]){{{x}}}" if long else "NULL" for x in (sizes, steps)]
            lines.append(f"write_places(table + {size}, {len(long)}, {', '.join(arrays)});")
        size += count
    table = f"(int64_t *)(arena + {context.scratch(8 * size)})"
    context.tables[kernel] = {name: f"{table} + {place}" for name, place in places.items()}
    return [
        "{", f"int64_t *const table = {table};", "if (!*table) {", "*table = 1;", *lines, "}", "}",
    ]  # fmt: skip


def _contract(context: SourceContext, kernel: Kernel, a: str, b: str, target: str, stretch: str) -> list[str]:
    """The lines of a contraction: a call of `contract`, or one for each of a stack."""
    (node,), p = kernel.nodes, kernel.product
    assert p is not None
    lengths = context.lengths(p.shape, p.row)
    loops = [(f"i{i}", lengths[i]) for i in p.outer]
    m, n, k = (" * ".join(lengths[i] for i in axes) for axes in (p.rows, p.columns, p.terms))
    row, column, last, term = "0", "0", n, "0"
    if stretch and p.outer:
        loops[0] = (loops[0][0], stretch)
    elif stretch and p.parts > 1:
        first, rest = p.shape[p.terms[0]], math.prod(p.shape[i] for i in p.terms[1:])
        term, end = (f"{first} * {part} / {p.parts} * {rest}" for part in ("part", "(part + 1)"))
        target, k, loops = f"{sums(context, kernel)} + {node.size} * part", f"{end} - {term}", [("part", stretch)]
    elif stretch and shares_rows(p):
        row, m = f"{LINE} * from", f"TF_MIN({LINE} * to, {m}) - {LINE} * from"
    elif stretch:
        column, last = f"{LINE} * from", f"TF_MIN({LINE} * to, {n})"
    tables = context.tables[kernel]
    arguments = [
        m, column, last, n, k, a, f"{tables['a_i']} + {row}", f"{tables['a_k']} + {term}",
        b, f"{tables['b_k']} + {term}", tables["b_j"],
        target, f"{tables['c_i']} + {row}", tables.get("c_j", "NULL"),
        int(p.row in p.terms),
        p.run(p.columns, p.b.strides), p.run(p.terms, p.b.strides), p.run(p.terms, p.a.strides),
    ]  # fmt: skip
    kind = functions.suffix(node.dtype)
    context.shared[f"contract_{kind}"] = None
    call = f"shared_contract_{kind}({', '.join(map(str, arguments))});"
    return nest(loops, [call])


def _function(context: SourceContext, p: Product, out: tuple[int, ...], lengths: list[str], table: bool) -> str:
    """The name of the function for a product of certain lengths and strides: compiled once, called where needed."""
    *around, last = p.terms
    m, n, k = ("".join(lengths[i] for i in axes) or "1" for axes in (p.rows, p.columns, [last]))
    a, b = (_strides(context, x.node, x.strides) for x in (p.a, p.b))
    c_i, a_i = (sum(x[i] for i in p.rows) for x in (out, a))
    c_j, b_j = (sum(x[i] for i in p.columns) for x in (out, b))
    kind, rows = functions.suffix(p.a.node.dtype), "rows_of" if table else "NULL"
    lda, ldb = (
        x.table[2] if x.table is not None and x.table[1] is not None else s for x, s in ((p.a, a_i), (p.b, b[last]))
    )
    at: dict[int, Index] = {i: (0, ((f"i{i}", 1),)) for i in around}
    first, second = (_moved(name, at, strides) for name, strides in (("a", a), ("b", b)))
    add = " + ".join(f"i{i}" for i in around) + " > 0" if around else "0"
    if p.row in p.terms:
        add = "1"
    if _large(p, (a_i, a[last]), b_j if p.form == "dot" else ldb) and not table and c_j == 1 and "rows" not in lengths:
        call = _blas(p.form, m, n, k, (first, a_i, a[last]), (second, b_j if p.form == "dot" else ldb), c_i, add, kind)
        context.blas = True
    elif p.form == "dot":
        call = f"dot_{kind}({m}, {n}, {k}, {first}, {lda}, {rows}, {second}, {b_j}, c, {c_i}, {c_j}, {add});"
    else:
        call = f"axpy_{kind}({m}, {n}, {k}, {first}, {a_i}, {a[last]}, {second}, {ldb}, {rows}, c, {c_i}, {add});"
    t = c_type(p.a.node.dtype)
    parameters = f"const {t} *restrict a, const {t} *restrict b, {t} *restrict c"
    parameters += ", const int64_t *restrict rows_of" * table + ", int64_t rows" * ("rows" in lengths)
    return context.function("product", parameters, "\n".join(nest([(f"i{i}", lengths[i]) for i in around], [call])))


def _large(p: Product, a: tuple[int, int], ldb: int) -> bool:
    """Whether a product is one for BLAS, whose matrices have rows or columns in one piece, one after another."""
    m, n, k = p.size
    if float(m) * n * k <= MULTIPLICATIONS or min(m, n, k) < SHORTEST:
        return False
    a_i, a_k = a
    whole = a_i >= k if a_k == 1 else a_i == 1 and a_k >= m
    return whole and ldb >= (k if p.form == "dot" else n)


def _blas(
    form: str, m: str, n: str, k: str, a: tuple[str, int, int], b: tuple[str, int], ldc: int, add: str, kind: str
) -> str:
    """A call of gemm, which takes a matrix for its transposed: cᵀ = bᵀ aᵀ."""
    first, a_i, a_k = a
    second, ldb = b
    turn_a, lda = ("N", a_i) if a_k == 1 else ("T", a_k)
    turn_b = "T" if form == "dot" else "N"
    letter = "s" if kind == "f32" else "d"
    return f"gemm_{letter}('{turn_b}', '{turn_a}', {n}, {m}, {k}, {second}, {ldb}, {first}, {lda}, {add}, c, {ldc});"


def _strides(context: SourceContext, node: Node, strides: tuple[int, ...]) -> tuple[int, ...]:
    """Strides along the product's axes, of what lies in memory: of nodes with rows, one block of them."""
    memory = context.memory(node)
    if memory == node.shape:
        return strides
    changed = dict(zip(c_strides(node.shape), c_strides(memory)))
    return tuple(changed.get(s, s) for s in strides)


def _pointer(context: SourceContext, kernel: Kernel, operand: Operand, at: dict[int, Index]) -> str:
    """Where an operand begins, for each of a stack."""
    node = kernel.copies.get(operand.node, operand.node)
    strides = _strides(context, operand.node, operand.strides)
    terms = [(index, strides[i]) for i, index in at.items()]
    if operand.table is not None and operand.table[1] is None:
        table, _, stride = operand.table
        terms.append(((0, ((f"{context.name(table)}[0]", 1),)), stride))
    place = c_index(affine_sum(operand.offset, terms))
    return context.name(node) if place == "0" else f"{context.name(node)} + {place}"


def _moved(name: str, at: dict[int, Index], strides: tuple[int, ...]) -> str:
    """A pointer to what a call reads, for each index of the other axes that are summed over."""
    place = c_index(affine_sum(0, [(index, strides[i]) for i, index in at.items()]))
    return name if place == "0" else f"{name} + {place}"
