"""Loops over the steps of a sequence in C."""

from __future__ import annotations

from ...codegen.expressions import SourceContext
from ...ir.loop import Steps
from ...schedule.fuse import Kernel, Result, make_schedule


def emit_loop(context: SourceContext, kernel: Kernel) -> list[str]:
    """A loop over a sequence: its body is a function, called with pointers that move on from step to step."""
    (node,) = kernel.nodes
    steps: Steps = node.params
    parts = {x.params: x for x in context.schedule.nodes if x.op == "part" and x.args[0] is node}
    outputs = [k for k in range(len(steps.outputs)) if ("stack", k) in parts]
    body = steps.body(outputs)
    after, stacks = body.ends[: len(steps.carries)], body.ends[len(steps.carries) :]
    states = body.inputs[len(steps.slices) :]
    results = [Result(x, len(body.inputs) + k) for k, x in enumerate(stacks)]
    results += [Result(x, state.params, state) for state, x in zip(states, after) if x is not state]
    function, scratch = context.inner(make_schedule(results, body.recording.trusted))
    setup = [f"char *q[{len(body.inputs) + len(outputs)}];"]
    each = []
    names = [context.name(kernel.copies.get(x, x)) for x in node.args]
    for i, (name, x) in enumerate(zip(names, body.inputs)):
        k = i - len(steps.slices)
        if k < 0:
            each.append(f"q[{i}] = (char *)({name} + t * {x.size});")
        elif k < len(steps.carries):
            last = parts.get(("last", k))
            size = x.size * x.dtype.itemsize
            place = context.name(last, write=True) if last else f"(arena + {context.scratch(size)})"
            setup += [f"memcpy({place}, {name}, {size});", f"q[{i}] = (char *){place};"]
        else:
            setup.append(f"q[{i}] = (char *){name};")
    for i, (k, x) in enumerate(zip(outputs, stacks)):
        name = context.name(parts["stack", k], write=True)
        each.append(f"q[{len(body.inputs) + i}] = (char *)({name} + t * {x.size});")
    arena = context.scratch(scratch)
    return [
        *setup,
        f"for (int64_t s = 0; s < {steps.length}; s++) {{",
        f"const int64_t t = {f'{steps.length - 1} - s' if steps.reverse else 's'};",
        *each,
        f"const int64_t failed = {function}(q, arena + {arena});",
        "if (failed) return failed;",
        "}",
    ]
