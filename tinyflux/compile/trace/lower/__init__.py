"""How NumPy's functions become nodes of a program."""

from . import elementwise, indexing, linalg, reductions, scan, shapes

__all__ = ["elementwise", "indexing", "linalg", "reductions", "scan", "shapes"]
