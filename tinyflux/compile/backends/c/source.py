"""The whole C source of a program: its headers, its parts, and the functions that are called from Python."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from ...codegen.expressions import SourceContext
from ...codegen.loops import indent
from ...ir.functions import c_type
from ...ir.node import Node
from ...ir.program import format_node, format_program
from ...schedule.fuse import AFTER, BEFORE, ROWS, UPDATE, Kernel, Schedule
from . import loops, pipelined, products
from .sharing import emit_total, parts, pieces, shared_loop


@cache
def header() -> str:
    """What every source begins with: the functions that loops call."""
    folder = Path(__file__).parent
    texts = [(folder / name).read_text("utf-8") for name in ("elementary.h", "scalar_math.h", "special.h", "linalg.h")]
    products = (folder / "matmul.h").read_text("utf-8")
    for name in ("machine.h", "vectors.h", "contract.h", "winograd.h"):
        products = products.replace(f'#include "{name}"', (folder / name).read_text("utf-8"))
    texts.append(products.replace('#include "matmul.h"', products))  # once for each dtype
    return "#include <math.h>\n#include <stdint.h>\n#include <string.h>\n\n" + "\n".join(texts)


_PRODUCTS = re.compile(r"\b(?:axpy|dot|lanes|shared_[a-z]+|total)_(f32|f64)\b")  # functions of matmul.h


def with_header(text: str) -> str:
    """A whole source: products of matrices of a dtype that it doesn't call take long to read, and are left out."""
    unused = {"f32", "f64"} - set(_PRODUCTS.findall(text))
    return "".join(
        ["#define TF_LINKED\n", *(f"#define TF_WITHOUT_{kind}\n" for kind in sorted(unused)), header(), text]
    )


KERNELS_PER_FUNCTION = 40  # kernels in one function: compilers take more than twice the time for one twice as long
_APART = "__attribute__((noinline)) "


Demands = Mapping[Node, tuple[type[Exception], str]]  # see Recording


class Source:
    """A source text, and what there is to know about calling it.

    Attributes:
        text: the source without its headers.
        arena: how many bytes the program calculates in.
        checks: the errors that a function returns by their numbers, from 1: type and message of each.
    """

    def __init__(
        self,
        schedule: Schedule,
        loss: Node | None = None,
        order: Node | None = None,
        demands: Demands | None = None,
        around: Source | None = None,
    ) -> None:
        self.context = SourceContext(schedule, order)
        self.context.inner = self._inner
        self.schedule = schedule
        self._bodies: list[str] = []  # the functions of loops over sequences
        self._counter = itertools.count()
        self._prefix = ""
        if around is not None:
            self._bodies, self._counter = around._bodies, around._counter
            self._prefix = f"loop{next(self._counter)}_"
            self.context.functions, self.context.checks = around.context.functions, around.context.checks
            self.context.shared = around.context.shared
        self._names = {node: f"%{i}" for node, i in self.context.names.items()}
        parts = [self._part(f"{self._prefix}after", AFTER), self._part(f"{self._prefix}update", UPDATE)]
        if schedule.rows is not None:
            parts += [self._part("before", BEFORE), self._part("block", ROWS, ", int64_t row0, int64_t rows")]
        parts.append(
            ("static " * bool(around) + _CALL.format(self._prefix))
            if loss is None
            else self._training(loss, order, demands or {})
        )
        self.arena = max(self.context.arena, 64)
        self.checks = self.context.checks
        if around is not None:
            around.context.blas |= self.context.blas
            around.context.threads |= self.context.threads
            self._bodies.append("\n".join(parts))
            return
        listing = "\n".join(format_program(schedule.nodes))
        self.text = "\n".join([f"/* The program:\n\n{listing}\n*/\n", *self._functions(), *self._bodies, *parts])

    def _functions(self) -> list[str]:
        """The functions that the parts call, and BLAS where one of them does."""
        functions = [_BLAS] * self.context.blas + [_POOL] * self.context.threads
        functions += map(_SHARED.format, self.context.shared)
        for (parameters, statement), name in self.context.functions.items():
            body = "\n".join("    " + line for line in indent(statement.split("\n")))
            functions.append(f"static __attribute__((noinline)) void {name}({parameters}) {{\n{body}\n}}\n")
        return functions

    def _part(self, name: str, phase: int, more: str = "") -> str:
        """A function that runs the kernels of a phase; if they are many, by functions for some of them each."""
        kernels = [kernel for kernel in self.schedule.kernels if kernel.phase == phase]
        if len(kernels) <= KERNELS_PER_FUNCTION:
            return self._function(name, kernels, more)
        pieces = [kernels[i : i + KERNELS_PER_FUNCTION] for i in range(0, len(kernels), KERNELS_PER_FUNCTION)]
        functions = [self._function(f"{name}_{i}", piece, more, _APART) for i, piece in enumerate(pieces)]
        arguments = "p, arena" + more.replace("int64_t ", "")
        calls = [f"    if ((failed = {name}_{i}({arguments}))) return failed;" for i in range(len(pieces))]
        head = f"static int {name}(char *const *p, char *arena{more}) {{"
        return "\n".join([*functions, head, "    int failed;", *calls, "    return 0;", "}\n"])

    def _function(self, name: str, kernels: Sequence[Kernel], more: str, attribute: str = "") -> str:
        """A function that runs kernels, each with the lines of the program that it calculates."""
        lines: list[str] = []
        apart: list[str] = []
        for kernel in kernels:
            lines += [f"/* {format_node(node, self._names)} */" for node in kernel.nodes]
            lines += indent(products.emit_tables(self.context, kernel))
            count = shared_loop(self.context, kernel)
            if count:
                share = f"{name}_share{len(apart)}"
                apart.append(self._share(share, kernel))
                lines.append(f"if ((failed = parallel({share}, p, arena, {count}, {pieces(kernel)}))) return failed;")
            rest = []
            if not count:
                rest = loops.emit_kernel(self.context, kernel)
            elif parts(kernel) > 1:
                rest = emit_total(self.context, kernel)
            # Arrays may lie in one place, one after another: that they are apart is promised for one kernel alone.
            if rest:
                lines += ["{", *self.context.declarations(), *["    " + line for line in indent(rest)], "}"]
        lines = ["int failed;", *lines] if apart else lines
        return "\n".join([*apart, self._lines(name, lines, more, attribute)])

    def _share(self, name: str, kernel: Kernel) -> str:
        """A function that runs a stretch of a kernel's outermost loop, in one of several threads."""
        self.context.threads = True
        used, self.context.used = self.context.used, {}
        lines = indent(loops.emit_kernel(self.context, kernel, "from..to"))
        text = self._lines(name, lines, ", int64_t from, int64_t to", _APART)
        self.context.used = used
        return text

    def _inner(self, schedule: Schedule) -> tuple[str, int]:
        """Write a program as a function that this one calls; returns its name, and the size of its arena."""
        inner = Source(schedule, around=self)
        return f"{inner._prefix}call", inner.arena

    def _lines(self, name: str, lines: Sequence[str], more: str = "", attribute: str = "") -> str:
        """A function of lines, after the declarations of the arrays that they name."""
        head = f"static {attribute}int {name}(char *const *p, char *arena{more}) {{"
        body = ["    " + line for line in [*lines, "return 0;"]]
        return "\n".join([head, *self.context.declarations(), *body, "}\n"])

    def _training(self, loss: Node, order: Node | None, demands: Demands) -> str:
        """The loop over iterations, each with its own stretch of the order; it returns how many were completed."""
        assert order is not None
        context = self.context
        name = context.name(loss)
        looks = [f"if (!{context.name(node)}[0]) return {context.error_code(*e)};" for node, e in demands.items()]
        declared, demanded = "\n".join(context.declarations()), "\n".join(f"    {line}" for line in looks)
        text = _FINISH.format(declared=declared, loss=f"{name}[0]", demanded=demanded)
        rows = self.schedule.rows
        if rows is not None:
            zero, merge = ("\n    ".join(self._sums(template)) for template in (_ZERO, _MERGE))
            text += _BLOCKS.format(block=rows.block, length=rows.length, zero=zero, merge=merge)
        call = f"blocks(p, arena, 0, {rows.count})" if rows else "0"
        numbers = {"next": context.next, "order": order.params, "stretch": order.size * 8}
        begin = look = ""
        if self.schedule.pipelined is not None:
            text += "\n" + self._lines("begin", indent(pipelined.emit_prologue(context, self.schedule.pipelined)))
            begin, look = (template.format(**numbers) for template in (_BEGIN, _LOOK))
        return text + _RUN.format(rows=call, begin=begin, look=look, pointers=context.next + bool(begin), **numbers)

    def _sums(self, template: str) -> list[str]:
        """A statement for every sum over rows: its place, how many elements it has, their type."""
        rows = self.schedule.rows
        sums = {n: None for k in self.schedule.kernels for n in k.nodes if rows and n in rows.sums}
        return [template.format(self.context.offsets[n], n.size, c_type(n.dtype)) for n in sums]


_CALL = """\
int64_t {0}call(char *const *p, char *arena) {{
    const int failed = {0}after(p, arena);
    return failed ? failed : {0}update(p, arena);
}}
"""

_BLAS = """\
/* BLAS as SciPy has it, by Fortran's conventions: c = op(a) op(b), plus c where add is 1; columns lie in one piece. */
#define GEMM(T, s)                                                                                                    \\
    static void (*blas_##s)(char *, char *, int *, int *, int *, T *, T *, int *, T *, int *, T *, T *, int *);       \\
    static void gemm_##s(char op_a, char op_b, int64_t m, int64_t n, int64_t k, const T *a, int64_t lda, const T *b,  \\
                         int64_t ldb, int add, T *c, int64_t ldc) {                                                   \\
        T one = 1, beta = add;                                                                                        \\
        int sizes[] = {m, n, k, lda, ldb, ldc};                                                                       \\
        blas_##s(&op_a, &op_b, sizes, sizes + 1, sizes + 2, &one, (T *)a, sizes + 3, (T *)b, sizes + 4, &beta, c,     \\
                 sizes + 5);                                                                                          \\
    }
GEMM(float, s)
GEMM(double, d)

void link_blas(void *sgemm, void *dgemm) {
    blas_s = sgemm;
    blas_d = dgemm;
}
"""

_POOL = """\
typedef int work(char *const *p, char *arena, int64_t from, int64_t to);
static int (*parallel)(work *, char *const *p, char *arena, int64_t count, int each);
static void *(*workspace)(int64_t bytes);

void link_pool(void *parallel_of_pool, void *workspace_of_pool) {
    parallel = (int (*)(work *, char *const *, char *, int64_t, int))parallel_of_pool;
    workspace = (void *(*)(int64_t))workspace_of_pool;
}
"""

_SHARED = """\
void link_{0}(const void *shared) {{
    shared_{0} = shared;
}}
"""

_ZERO = "memset(arena + {0}, 0, {1} * sizeof({2}));"
_MERGE = "for (int64_t i = 0; i < {1}; i++) (({2} *)(arena + {0}))[i] += (({2} *)(other + {0}))[i];"

_FINISH = """\
/* What follows the rows: the loss, and the update unless it is NaN or infinite, or something else is wrong. */
static int64_t finish(char *const *p, char *arena, double *losses) {{
    const int failed = after(p, arena);
    if (failed) return failed;
{declared}
    *losses = (double){loss};
    if (!(fabs(*losses) <= 1.7976931348623157e308)) return -1;
{demanded}
    return update(p, arena);
}}
"""

_BLOCKS = """
/* The blocks of rows from `first` on, up to `end`. */
static int64_t blocks(char *const *p, char *arena, int64_t first, int64_t end) {{
    {zero}
    int failed = before(p, arena);
    for (int64_t i = first; i < end && !failed; i++) {{
        const int64_t row0 = i * {block};
        failed = block(p, arena, row0, {length} - row0 < {block} ? {length} - row0 : {block});
    }}
    return failed;
}}

/* The same for a thread that calculates in an arena of its own, and what is left to do when all have done so. */
int64_t share(char *const *p, char *arena, int64_t first, int64_t end) {{
    const unsigned mode = flush_subnormals();
    const int64_t failed = blocks(p, arena, first, end);
    restore_subnormals(mode);
    return failed;
}}

void merge(char *restrict arena, const char *restrict other) {{
    {merge}
}}

int64_t conclude(char *const *p, char *arena, double *losses) {{
    const unsigned mode = flush_subnormals();
    const int64_t failed = finish(p, arena, losses);
    restore_subnormals(mode);
    return failed;
}}
"""

_BEGIN = """\
    p[{next}] = p[{order}];
    begin(p, arena);
"""
_LOOK = """\
        p[{next}] = p[{order}] + (i + 1 < iterations ? {stretch} : 0);
"""
_RUN = """
/* Returns how many iterations were completed, or -1 - what `finish` returns for an index out of bounds. */
int64_t run(char *const *inputs, char *arena, int64_t iterations, double *losses) {{
    char *p[{pointers}];
    memcpy(p, inputs, {next} * sizeof *p);
    const unsigned mode = flush_subnormals();
    int64_t i = 0, failed = 0;
{begin}    while (i < iterations && !failed) {{
{look}        failed = {rows};
        if (!failed) failed = finish(p, arena, losses + i);
        p[{order}] += {stretch};
        i += !failed;
    }}
    restore_subnormals(mode);
    return failed > 0 ? -1 - failed : i;
}}
"""
