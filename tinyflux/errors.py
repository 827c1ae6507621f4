"""The errors that several parts of tinyflux raise."""

from typing import Any


class NonFiniteLoss(ArithmeticError):
    """The loss became NaN or infinite; the update it would have led to was not applied.

    Attributes:
        history: where `train` raises it, the `History` of the epochs that were whole; else None.
    """

    history: Any = None


class NotCompilable(TypeError):
    """What a function does can't be recorded and compiled: it has to run as plain NumPy.

    Attributes:
        where: the line of your code that it comes from, "LAMB.apply, lamb.py line 26"; "" where it comes from none. The
            message ends in it.

    >>> import tinyflux as flux
    >>> issubclass(flux.NotCompilable, TypeError)
    True
    """

    where = ""

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} (In {self.where}.)" if self.where else message


class CompilerNotFound(RuntimeError):
    """There is no C compiler here, or $CC names none that can be used."""


class CompilationFailed(RuntimeError):
    """The compiler rejected a source, was stopped, or left a library that can't be loaded."""
