"""How NumPy's functions become nodes of a program."""

from . import convolution, elementwise, indexing, linalg, reductions, scan, shapes

__all__ = ["convolution", "elementwise", "indexing", "linalg", "reductions", "scan", "shapes"]
