"""What compiles the steps of rules: optimisers don't know the compiler, they are told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_found: Callable[[], Any]


def use_compiler(find: Callable[[], Any]) -> None:
    """Have steps compiled by what a function gives when the first is: it has `native_step` and `cuda_step`."""
    global _found
    _found = find


def compiler() -> Any:
    """What compiles the steps of rules."""
    return _found()
