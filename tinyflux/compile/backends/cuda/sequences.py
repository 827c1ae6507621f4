"""Loops over the steps of a sequence: the sections of their body, once for every step.

The sections of a body are written once. They are listed for every step, with arrays of its own, so nothing is
left to decide when they run. Memory is shared out among these arrays as among others: what a step calculates in serves
the next ones too, and the state that a step leaves lies elsewhere than the one it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ....types import DType
from ...codegen.expressions import SourceContext
from ...ir.loop import Steps
from ...schedule.fuse import Kernel, Result, Schedule, make_schedule
from .launches import FAULT, Place, Step, relocate

if TYPE_CHECKING:
    from .kernels import Translation


def unroll(
    context: SourceContext, kernel: Kernel, translate: Callable[[Schedule], Translation]
) -> Iterator[tuple[list[Step], dict[str, tuple[int, DType]]]]:
    """For each step of a loop what is to run, and the arrays that it calculates in.

    Arguments:
        translate: makes kernels of a program.
    """
    (node,) = kernel.nodes
    steps: Steps = node.params
    parts = {x.params: context.name(x) for x in context.schedule.nodes if x.op == "part" and x.args[0] is node}
    outputs = [k for k in range(len(steps.outputs)) if ("stack", k) in parts]
    body = steps.body(outputs)
    # The body's pointers: slices; states, from `first` on; shared arrays; next states, from `after` on; outputs.
    first, after, end = len(steps.slices), len(body.inputs), len(body.inputs) + len(steps.carries)
    changing = [k for k, x in enumerate(body.ends[: end - after]) if x is not body.inputs[first + k]]
    made = [*changing, *range(end - after, len(body.ends))]
    inner = translate(make_schedule([Result(body.ends[k], after + k) for k in made], body.recording.trusted))
    own = inner.arrays | {f"p{after + k}": (body.ends[k].size, body.ends[k].dtype) for k in changing}

    places = {f"p{i}": Place(context.name(x)) for i, x in enumerate(node.args)} | {FAULT: Place(FAULT)}
    stacks = {f"p{i}": (context.name(x), body.inputs[i].size) for i, x in enumerate(node.args[:first])}
    stacks |= {f"p{end + i}": (parts["stack", k], body.ends[end - after + i].size) for i, k in enumerate(outputs)}
    for step in range(steps.length):
        here = f"{context.name(node)}_{step}_"
        places |= {name: Place(here + name) for name in own}
        t = steps.length - 1 - step if steps.reverse else step
        places |= {name: Place(stack, t * size) for name, (stack, size) in stacks.items()}
        if step == steps.length - 1:
            places |= {f"p{after + k}": Place(parts["last", k]) for k in changing if ("last", k) in parts}
        yield [relocate(inside, places) for inside in inner.steps], {here + name: own[name] for name in own}
        places |= {f"p{first + k}": places[f"p{after + k}"] for k in changing}
