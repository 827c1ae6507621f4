"""Functions of whole rows and matrices of sizes at which they are worth a kernel, by calls.cuh and linalg.h."""

from __future__ import annotations

import math

import numpy as np

from ....nn import cudnn
from ...codegen.expressions import SourceContext
from ...ir.functions import suffix
from ...ir.node import Node
from ...ir.ops import CORES, FAILURES
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
    if function in cudnn.FUNCTIONS:
        fits = True
    elif function == "argsort":
        fits = x.size * n <= COMPARISONS
    elif function == "singular":
        fits = x.shape[-2] * n * n <= SMALL
    else:
        fits = n <= LARGEST
    return "" if fits else NAMES[function]


def emit_call(context: SourceContext, kernel: Kernel) -> tuple[list[str], int]:
    """The lines of its section, and how many blocks run it."""
    (node,) = kernel.nodes
    function, *options = node.params
    arrays = [*node.args, node]
    depth = node.args[0].ndim - CORES[function][0]
    count = math.prod(node.args[0].shape[:depth])
    names = [context.name(x, write=x is node) for x in arrays]
    if function == "argsort":
        line = f"argsort(block, blocks, {', '.join(names)}, {count}, {options[0]});"
        return [line], block_count(node.args[0].size)
    which = "e" if function == "singular" else "(long long)block"
    places = [f"{name} + {which} * {math.prod(x.shape[depth:])}" for name, x in zip(names, arrays)]
    line = f"{function}_{suffix(node.dtype)}({', '.join([*places, *map(str, options)])})"
    if function in FAILURES:
        code = context.error_code(np.linalg.LinAlgError, FAILURES[function])
        line = f"if ({line}) note_fault({code}, {note_faults(context)})"
    if function == "singular":
        return [grid_loop(count), f"{line};", "}"], block_count(count)
    return [f"if (block < {count}) {line};"], max(1, count)
