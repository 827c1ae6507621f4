"""A training step, or any function written in NumPy, as native code.

    symbolic -> program -> schedule -> emit -> build -> run

`symbolic.py` records what NumPy is asked (`lower/` says what that means), `program.py` holds it as one list of
operations, `schedule.py` decides what is stored and what is fused, `emit.py`, `loops.py` and `source.py` write C,
`build.py` has it compiled and keeps it, `run.py` and `training.py` call it. For the GPU `cuda/` writes CUDA instead.
"""

import sys
import types
from typing import Any

from .build import CompilationFailed, CompilerNotFound
from .run import compile  # noqa: A004
from .symbolic import NotCompilable
from .training import compile_training

__all__ = ["CompilationFailed", "CompilerNotFound", "NotCompilable", "compile", "compile_training"]


class _Package(types.ModuleType):
    """This package is called like the function that it has its name from: flux.compile(f)."""

    def __call__(self, f: Any) -> Any:
        return compile(f)


sys.modules[__name__].__class__ = _Package
