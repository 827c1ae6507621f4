"""Convolutions by Winograd's algorithm in C: calls of winograd.h's functions."""

from __future__ import annotations

from ...codegen.expressions import SourceContext
from ...ir import functions
from ...ir.functions import c_type
from ...ir.node import Node
from ...schedule.fuse import ROWS, Kernel

FILTERS = 16  # that are transformed together
CHANNELS = 64  # of images, whose products with all filters are added up together
SUMMED = 192  # tiles whose products are added up together
LINE = 16  # numbers of a cache line, or more


def _tiles(node: Node) -> int:
    """How many tiles are calculated at once: what lies between their products stays in the second cache."""
    return 96 if node.shape[-1] + node.args[0].shape[-1] <= 64 else 24


def rounds(node: Node) -> int:
    """The rounds of a loop that threads can share."""
    part, x = node.params[0], node.args[0]
    if part == "convolve":
        n, p, q, _ = node.shape
        return -(-n * _halves(p) * _halves(q) // _tiles(node))
    if part == "correlate":
        return 4 * -(-x.shape[-1] // CHANNELS)
    return -(-(node if part == "gradient" else x).shape[0] // FILTERS)


def _halves(n: int) -> int:
    return -(-n // 2)


def emit(context: SourceContext, kernel: Kernel, stretch: str = "") -> list[str]:
    """The lines of a call, for all rounds or a stretch of them."""
    (node,) = kernel.nodes
    part, *begin = node.params
    first, last = ("from", "to") if stretch else ("0", str(rounds(node)))
    kind, t = functions.suffix(node.dtype), c_type(node.dtype)
    context.shared[f"winograd_{kind}"] = None
    call = f"shared_winograd_{kind}->{part}"
    arrays = [context.name(x) for x in node.args] + [context.name(node, write=True)]
    if part not in ("convolve", "correlate"):
        filters = node if part == "gradient" else node.args[0]
        arguments = [f"{FILTERS} * {first}", f"{FILTERS} * {last}", filters.shape[0], filters.shape[-1], *arrays]
        return [f"{call}({', '.join(map(str, arguments))});"]
    images, other = node.args
    results = node if part == "convolve" else other
    in_rows = kernel.phase == ROWS
    n = context.lengths(images.shape, 0 if in_rows else None)[0]
    sizes = f"(tf_images_{kind}){{{n}, {', '.join(map(str, [*images.shape[1:], *results.shape[1:], *begin]))}}}"
    c, o = images.shape[-1], results.shape[-1]
    if part == "convolve":
        tiles = _tiles(node)
        space = 16 * (tiles * (c + other.shape[-1]) + 2 * LINE)
        arguments = [first, last, tiles, sizes, *arrays]
    else:
        space = 4 * (SUMMED * (CHANNELS + o) + 2 * LINE)
        arguments = [first, last, SUMMED, CHANNELS, sizes, *arrays, int(in_rows)]
    context.threads = True
    failed = context.error_code(MemoryError, "there is no memory for what a convolution calculates with.")
    return [
        f"{t} *const space = workspace({space * node.dtype.itemsize});",
        f"if (!space) return {failed};",
        f"{call}({', '.join(map(str, arguments))}, space);",
    ]
