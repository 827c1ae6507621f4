"""scipy.special's functions by name; it is imported when the first is asked for, as that takes longer than NumPy."""

from typing import Any


def __getattr__(name: str) -> Any:
    from scipy import special

    return globals().setdefault(name, getattr(special, name))
