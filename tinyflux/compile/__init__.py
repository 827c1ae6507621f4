"""Functions written in NumPy as native code.

    trace -> ir -> schedule -> codegen -> backends

`trace` records what NumPy is asked (`trace/lower` says what that means), `ir` holds it as one list of operations,
`schedule` decides what is stored and what is fused, `codegen` writes what C and CUDA have in common, and a backend the
rest. `guards` watches what a function reads from its surroundings, `signature.py` says what else a program depends on;
`traced.py` is flux.compile.
"""

import sys
import types
from typing import Any

from .traced import compile  # noqa: A004

__all__ = ["compile"]


class _Package(types.ModuleType):
    """This package is called like the function that it has its name from: flux.compile(f)."""

    def __call__(self, f: Any) -> Any:
        return compile(f)


sys.modules[__name__].__class__ = _Package
