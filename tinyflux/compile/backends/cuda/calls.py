"""Functions of whole rows and matrices of sizes at which they are worth a kernel, by calls.cuh and linalg.h."""

from __future__ import annotations

import math

import numpy as np

from ...codegen.expressions import SourceContext
from ...ir.calls import CORES, FAILURES
from ...ir.functions import suffix
from ...ir.node import Node
from ...schedule.fuse import Kernel
from .grid import block_count, grid_loop
from .indices import note_faults

COMPARISONS = 1 << 33  # that a sort takes at most: some 10 ms on a large GPU
LARGEST = 256  # rows of a matrix that a block calculates
SMALL = 4096  # m · n² of a matrix that a thread decomposes
NAMES = {
    "argsort": "sorting so many numbers (np.argsort, np.sort)",
    "factors": "np.linalg.solve, inv or det of so large matrices",
    "solve": "np.linalg.solve or inv of so large matrices",
    "cholesky": "np.linalg.cholesky of so large matrices",
    "singular": "np.linalg.svd of so large matrices",
}


def refused_call(node: Node) -> str:
    """What a call that has no kernel is, by the name that users know; empty if it has one."""
    function, x = node.params[0], node.args[0]
    n = x.shape[-1]
    if function == "argsort":
        fits = x.size * n <= COMPARISONS
    elif function == "singular":
        fits = x.shape[-2] * n * n <= SMALL
    else:
        fits = n <= LARGEST
    return "" if fits else NAMES[function]


def emit_call(context: SourceContext, kernel: Kernel) -> tuple[list[str], int, str]:
    """The lines of its section, how many blocks run it, and the size of their shared memory."""
    (node,) = kernel.nodes
    function, *options = node.params
    arrays = [*node.args, node]
    depth = node.args[0].ndim - CORES[function][0]
    count = math.prod(node.args[0].shape[:depth])
    names = [context.name(x, write=x is node) for x in arrays]
    if function == "argsort":
        return [_call(function, "block", "blocks", *names, count, *options)], block_count(node.args[0].size), ""
    faults: list[str] = []
    if function in FAILURES:
        code = context.error_code(np.linalg.LinAlgError, FAILURES[function])
        faults = [str(code), note_faults(context)]
    which = "e" if function == "singular" else "(long long)block"
    places = [f"{name} + {which} * {math.prod(x.shape[depth:])}" for name, x in zip(names, arrays)]
    if function == "singular":
        failed = _call(f"singular_{suffix(node.dtype)}", *places, *options)
        lines = [*grid_loop("e", count), f"if ({failed[:-1]}) {_call('note_fault', *faults)}", "}"]
        return lines, block_count(count), ""
    shared = ["shared"] if function == "factors" else []
    line = f"if (block < {count}) {_call(function, *shared, *places, *options, *faults)}"
    return [line], max(1, count), "sizeof(int)" if shared else ""


def _call(function: str, *arguments: object) -> str:
    return f"{function}({', '.join(map(str, arguments))});"
