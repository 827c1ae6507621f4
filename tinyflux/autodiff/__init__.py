"""Reverse-mode automatic differentiation of plain NumPy code."""

from . import rules as _table  # noqa: F401  (fills the table)
from .check import GradientError, gradcheck
from .gradient import gradient, pullback, withgradient
from .jacobian import hessian, jacobian
from .rule import rule
from .scan import scan
from .stop import stop_gradient

__all__ = [
    "GradientError",
    "gradcheck",
    "gradient",
    "hessian",
    "jacobian",
    "pullback",
    "rule",
    "scan",
    "stop_gradient",
    "withgradient",
]
