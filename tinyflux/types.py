"""What functions take and return, in words that a reader needs more than mypy does.

Arrays of NumPy, of CuPy, and those that record what is done to them share no class, and NumPy declares its functions
for the first alone. `Array` is therefore Any to mypy, as a tree is; `Rule` is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

Array: TypeAlias = Any
"""What `arrays.is_array` accepts: a numpy.ndarray, a cupy.ndarray, or one that is recorded. Often a number will do."""

Tree: TypeAlias = Any
"""An array, or what holds arrays: a model, a tuple, a list, a dict (see tree.py)."""

T = TypeVar("T")  # of a tree, in a function that gives back one like it

DType: TypeAlias = np.dtype[Any]
"""A dtype itself; what np.dtype makes one of is NumPy\'s DTypeLike."""

Number: TypeAlias = Any
"""A hyperparameter of a rule: a number, or a schedule, which is a function of the step that gives one."""

Loss: TypeAlias = Callable[..., Any]
"""Called as loss(model, *batch); returns a scalar."""


class Rule(Protocol):
    """An optimiser's rule for one array (see optimise/rule.py)."""

    def init(self, x: Array, /) -> tuple[Any, ...]:
        """The state for the parameter x: arrays like x first, then plain numbers."""

    def apply(self, state: tuple[Any, ...], x: Array, g: Array, /) -> tuple[tuple[Any, ...], Array]:
        """The next state, and the step Δ for the gradient g: x becomes x − Δ."""
