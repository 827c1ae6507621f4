"""Reverse-mode automatic differentiation of plain NumPy code."""

from . import rules as _table  # noqa: F401  (fills the table)
from .gradient import gradient, hessian, jacobian, pullback, withgradient
from .rule import rule

__all__ = ["gradient", "hessian", "jacobian", "pullback", "rule", "withgradient"]
