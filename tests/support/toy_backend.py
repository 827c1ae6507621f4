"""A backend that prints what it would do: the least that one needs.

It says what it can't do, and has a writer for each kind of kernel. The expressions and loops inside are written by
`codegen`, for languages like C.
"""

from tinyflux.compile.codegen.expressions import ExpressionEmitter, SourceContext, c_index, loop_indices
from tinyflux.compile.codegen.loops import indent, nest
from tinyflux.compile.ir import ops
from tinyflux.compile.ir.program import Recording
from tinyflux.compile.schedule.fuse import Result, make_schedule
from tinyflux.compile.trace.symbolic import node_of, symbolic_input
from tinyflux.errors import NotCompilable

MISSING = [
    "nextafter",
]


def unsupported(node):
    """What the backend can't do in a node, by the name that its user knows; nothing if it can do it."""
    return node.params if isinstance(node, ops.Map) and node.params in MISSING else ""


def printed(schedule):
    """A scheduled program as text, a paragraph for each kernel."""
    for node in schedule.nodes:
        what = unsupported(node)
        if what:
            raise NotCompilable(f"{what} can't be printed.")
    context = SourceContext(schedule, None)
    return "\n\n".join("\n".join(indent(WRITERS[kernel.kind](context, kernel))) for kernel in schedule.kernels)


def printed_function(f, *arrays):
    """What a function of arrays would do for such ones; it returns one array."""
    with Recording() as recording:
        node = node_of(f(*map(symbolic_input, arrays)))
    return printed(make_schedule([Result(node, len(recording.inputs))], recording.trusted))


def _map(context, kernel):
    """A calculation for each element; several results may share a loop."""
    emitter = ExpressionEmitter(context, kernel)
    stores = emitter.stores(loop_indices(kernel.shape))
    return [*emitter.outside, *_loops(kernel.shape, [*emitter.lines, *stores])]


def _elements(context, kernel):
    """What goes through the elements of its argument: a reduction, a running sum, additions at indices."""
    (node,) = kernel.nodes
    at = loop_indices(node.domain)
    first = node.params[1] if isinstance(node, ops.Scatter) else 0  # where the axes of arrays of indices stand
    emitter = ExpressionEmitter(context, kernel)
    values = [emitter.value(x, at if x.shape == node.domain else at[first : first + x.ndim]) for x in node.args]
    line = f"{context.name(node, write=True)} takes {node.formula(values)}"
    return [*emitter.outside, *_loops(node.domain, [*emitter.lines, line])]


def _product(context, kernel):
    (node,) = kernel.nodes
    a, b = (context.name(x.node) for x in (kernel.product.a, kernel.product.b))
    return [f"{context.name(node, write=True)} = the matrix product of {a} and {b}"]


def _whole(context, kernel):
    """What is given whole arrays: a call of a function, say, or a loop over a sequence; the formula shows its body."""
    (node,) = kernel.nodes
    return [f"{context.name(node, write=True)} = {node.formula([context.name(x) for x in node.args])}"]


def _loops(shape, lines):
    return nest([(c_index(index), str(n)) for index, n in zip(loop_indices(shape), shape)], lines)


WRITERS = {
    "map": _map,
    "reduce": _elements,
    "scan": _elements,
    "scatter": _elements,
    "product": _product,
    "call": _whole,
    "winograd": _whole,
    "loop": _whole,
    "part": _whole,
}
