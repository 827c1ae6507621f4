"""How NumPy's functions become nodes of a program."""

from . import elementwise, linalg, reductions, shapes

__all__ = ["elementwise", "linalg", "reductions", "shapes"]
