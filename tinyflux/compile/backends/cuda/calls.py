"""Functions of whole rows and matrices, which calls.cuh has, of sizes at which they are worth a kernel."""

from __future__ import annotations

import math

import numpy as np

from ...codegen.calls import CORES, FAILURES
from ...codegen.expressions import SourceContext
from ...ir.node import Node
from ...schedule.fuse import Kernel
from .grid import block_count
from .indices import note_faults

COMPARISONS = 1 << 33  # that a sort takes at most: some 10 ms on a large GPU
LARGEST = 256  # rows of a matrix
NAMES = {
    "argsort": "sorting so many numbers (np.argsort, np.sort)",
    "factors": "np.linalg.solve, inv or det of so large matrices",
    "solve": "np.linalg.solve or inv of so large matrices",
    "cholesky": "np.linalg.cholesky of so large matrices",
    "singular": "np.linalg.svd",
}


def refused_call(node: Node) -> str:
    """What a call that has no kernel is, by the name that users know; empty if it has one."""
    function, x = node.params[0], node.args[0]
    n = x.shape[-1]
    fits = x.size * n <= COMPARISONS if function == "argsort" else function != "singular" and n <= LARGEST
    return "" if fits else NAMES[function]


def emit_call(context: SourceContext, kernel: Kernel) -> tuple[list[str], int, str]:
    """The lines of its section, how many blocks run it, and the size of their shared memory."""
    (node,) = kernel.nodes
    function, *options = node.params
    arrays = [*node.args, node]
    stack = node.args[0].shape[: node.args[0].ndim - CORES[function][0]]
    count = math.prod(stack)
    names = [context.name(x, write=x is node) for x in arrays]
    if function == "argsort":
        arguments = ", ".join(["block", "blocks", *names, str(count), str(options[0])])
        return [f"argsort({arguments});"], block_count(node.args[0].size), ""
    places = [f"{name} + (long long)block * {math.prod(x.shape[len(stack) :])}" for name, x in zip(names, arrays)]
    shared = "sizeof(int)" if function == "factors" else ""
    faults = []
    if function in FAILURES:
        code = context.error_code(np.linalg.LinAlgError, FAILURES[function])
        faults = [str(code), note_faults(context)]
    arguments = ", ".join([*(["shared"] if shared else []), *places, *map(str, options), *faults])
    return [f"if (block < {count}) {function}({arguments});"], max(1, count), shared
