"""A user's rule, tried out on three numbers: whether it needs to see them together."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..arrays import default_rng
from ..checks import shown
from ..types import Array
from .rule import applied, initial, is_ours, kind_of


def try_out(rule: Any) -> None:
    """Refuse a user's rule that brings elements together, as a norm does, and doesn't say so, or not rightly.

    `update` would call it on parameters side by side, and on pieces of a large one: the norms would be wrong.

    Errors: ValueError. A rule that fails here, or whose steps are random, is left for the update to judge.
    """
    if is_ours(rule):
        return
    whole = getattr(rule, "whole", None)
    if whole not in (None, "array", "model"):
        raise ValueError(f'setup: {kind_of(rule)}: expected whole to be None, "array" or "model", got {shown(whole)}.')
    if whole is not None:
        return
    x, g = np.array([1.0, -2.0, 0.5]), np.array([0.3, -1.0, 2.0])
    generator = default_rng().bit_generator
    before = generator.state
    try:
        copied = copy.deepcopy(rule)  # it may hold a generator
        with np.errstate(all="ignore"):
            together, again = _after_two_steps(copied, x, g), _after_two_steps(copied, x, g)
            alone = np.concatenate([_after_two_steps(copied, x[i : i + 1], g[i : i + 1]) for i in range(3)])
    except Exception:
        return
    finally:
        generator.state = before
    if np.array_equal(together, again) and not np.allclose(together, alone, rtol=1e-9, atol=0, equal_nan=True):
        raise ValueError(
            f"setup: {kind_of(rule)} brings the elements of an array together, which a rule must say: "
            'class … : whole = "array". Otherwise update steps neighbouring parameters together, and large '
            "ones piece by piece."
        )


def _after_two_steps(rule: Any, x: Array, g: Array) -> Array:
    x = x.copy()
    state = initial(rule, x)
    for _ in range(2):
        state, delta = applied(rule, state, x, g.copy())
        x = x - delta
    return x
