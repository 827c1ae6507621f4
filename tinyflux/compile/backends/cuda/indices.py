"""Indices in arrays: a kernel can't stop at one that is out of bounds. It says so, and reads the first element."""

from __future__ import annotations

import numpy as np

from ...codegen.expressions import ExpressionEmitter, SourceContext
from ...ir.node import Node
from .launches import FAULT

_FAULT = Node((), FAULT, (1,), np.dtype(np.int32), False, -1)


def note_faults(context: SourceContext) -> str:
    """The name of the array for faults, which a section then is given."""
    context.used[FAULT] = (_FAULT, True)
    return FAULT


class KernelEmitter(ExpressionEmitter):
    """The statements inside a loop of a kernel."""

    def found_index(self, indices: Node, raw: str, length: int) -> str:
        code = self.out_of_bounds(length)
        if not length and indices.size:
            kind, message = self.context.checks[code - 1]
            raise kind(message)
        lines = self.place(raw)
        name = self.declare(lines)
        lines.append(f"const int64_t {name} = find_index({raw}, {length}, {code}, {note_faults(self.context)});")
        return name
