"""Products of matrices in C: calls of `dot_` and `axpy_` of matmul.h, or of BLAS for large ones."""

from __future__ import annotations

from ...codegen.expressions import ZERO, Affine, Unit, added, text
from ...codegen.loops import nested
from ...ir import functions
from ...ir.functions import c_type
from ...ir.indexing import c_strides
from ...schedule.contraction import Operand
from ...schedule.fuse import ROWS, Kernel

# On one core OpenBLAS is up to a sixth faster from here on (1024 × 1024 × 1024: 177 GFLOP/s for 155), in float64 up to
# a half where a is transposed; below, matmul.h is faster (128 × 16 × 784: 146 for 82).
MULTIPLICATIONS, SHORTEST = 3e8, 512


def written(unit: Unit, kernel: Kernel) -> list[str]:
    """The lines of a product: a call of a function of its own, for each of a stack of matrices."""
    (node,) = kernel.nodes
    p = kernel.product
    assert p is not None
    rows = unit.schedule.rows
    row = rows.axis.get(node.args[0]) if rows is not None and kernel.phase == ROWS else None
    lengths = unit.lengths(p.shape, row)
    result = [i for i in range(len(p.shape)) if i != p.k]
    strides = dict(zip(result, c_strides(unit.memory(node))))
    looped = [i for i in result if i not in (p.i, p.j)]
    at = {i: (0, ((f"i{i}", 1),)) if p.shape[i] != 1 else ZERO for i in looped}
    place = text(added(0, [(at[i], strides[i]) for i in looped]))
    target = unit.name(node, write=True)
    arguments = [_pointer(unit, kernel, p.a, at), _pointer(unit, kernel, p.b, at)]
    arguments.append(target if place == "0" else f"{target} + {place}")
    tables = [unit.name(x.table[0]) for x in (p.a, p.b) if x.table is not None and x.table[1] is not None]
    arguments += [*tables, *(["rows"] if "rows" in lengths else [])]
    name = _function(unit, kernel, lengths, row == p.k, bool(tables))
    return nested([(f"i{i}", lengths[i]) for i in looped], [f"{name}({', '.join(arguments)});"])


def _function(unit: Unit, kernel: Kernel, lengths: list[str], add: bool, table: bool) -> str:
    """The name of the function for a product of certain lengths and strides: compiled once, called where needed."""
    (node,) = kernel.nodes
    p = kernel.product
    assert p is not None
    result = [i for i in range(len(p.shape)) if i != p.k]
    out = dict(zip(result, c_strides(unit.memory(node))))
    m, n, k = (lengths[i] if i is not None else "1" for i in (p.i, p.j, p.k))
    c_i, c_j = (out[i] if i is not None else 0 for i in (p.i, p.j))
    a, b = _strides(unit, p.a), _strides(unit, p.b)
    a_i, b_j = (x[i] if i is not None else 0 for x, i in ((a, p.i), (b, p.j)))
    kind, rows = functions.suffix(node.dtype), "rows_of" if table else "NULL"
    lda, ldb = (
        x.table[2] if x.table is not None and x.table[1] is not None else s for x, s in ((p.a, a_i), (p.b, b[p.k]))
    )
    if _large(p.shape, p.i, p.j, p.k) and not table and c_j == 1 and "rows" not in lengths:
        call = _blas(p.form, m, n, k, (a_i, a[p.k]), b_j if p.form == "dot" else ldb, c_i, add, kind)
        unit.blas = True
    elif p.form == "dot":
        call = f"dot_{kind}({m}, {n}, {k}, a, {lda}, {rows}, b, {b_j}, c, {c_i}, {c_j}, {int(add)});"
    else:
        call = f"axpy_{kind}({m}, {n}, {k}, a, {a_i}, {a[p.k]}, b, {ldb}, {rows}, c, {c_i}, {int(add)});"
    t = c_type(node.dtype)
    parameters = f"const {t} *restrict a, const {t} *restrict b, {t} *restrict c"
    parameters += ", const int64_t *restrict rows_of" * table + ", int64_t rows" * ("rows" in lengths)
    return unit.function("product", parameters, call)


def _large(shape: tuple[int, ...], i: int | None, j: int | None, k: int) -> bool:
    lengths = [shape[axis] if axis is not None else 1 for axis in (i, j, k)]
    return float(lengths[0]) * lengths[1] * lengths[2] > MULTIPLICATIONS and min(lengths) >= SHORTEST


def _blas(form: str, m: str, n: str, k: str, a: tuple[int, int], ldb: int, ldc: int, add: bool, kind: str) -> str:
    """A call of gemm, which takes a matrix for its transposed: cᵀ = bᵀ aᵀ."""
    a_i, a_k = a
    turn_a, lda = ("N", a_i) if a_k == 1 else ("T", a_k)
    turn_b = "T" if form == "dot" else "N"
    letter = "s" if kind == "f32" else "d"
    return f"gemm_{letter}('{turn_b}', '{turn_a}', {n}, {m}, {k}, b, {ldb}, a, {lda}, {int(add)}, c, {ldc});"


def _strides(unit: Unit, operand: Operand) -> tuple[int, ...]:
    """Strides along the product's axes, of what lies in memory: of nodes with rows, one block of them."""
    memory = unit.memory(operand.node)
    if memory == operand.node.shape:
        return operand.strides
    before, after = c_strides(operand.node.shape), c_strides(memory)
    changed = dict(zip(before, after))
    return tuple(changed.get(s, s) for s in operand.strides)


def _pointer(unit: Unit, kernel: Kernel, operand: Operand, at: dict[int, Affine]) -> str:
    """Where an operand begins, for each of a stack."""
    node = kernel.copies.get(operand.node, operand.node)
    strides = _strides(unit, operand)
    terms = [(index, strides[i]) for i, index in at.items()]
    if operand.table is not None and operand.table[1] is None:
        table, _, stride = operand.table
        terms.append(((0, ((f"{unit.name(table)}[0]", 1),)), stride))
    place = text(added(0, terms))
    return unit.name(node) if place == "0" else f"{unit.name(node)} + {place}"
