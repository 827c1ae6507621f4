"""What tinyflux finds on this machine: `python -m tinyflux.doctor`."""

from __future__ import annotations

import importlib.metadata
import platform
import re

import numpy as np
import scipy

from . import __version__
from .compile.build import CompilerNotFound, find_compiler
from .device import gpu_status


def report() -> str:
    """Versions, the C compiler of the compiled step, and whether the GPU can be used: a line for each.

    >>> from tinyflux import doctor
    >>> print(doctor.report())  # doctest: +ELLIPSIS
    tinyflux ...
    Python ...
    NumPy ...
    SciPy ...
    CuPy ...
    C compiler: ...
    The GPU can...
    """
    lines = [
        f"tinyflux {__version__}",
        f"Python {platform.python_version()} on {platform.platform()}",
        f"NumPy {np.__version__}",
        f"SciPy {scipy.__version__}",
        _cupy(),
        f"C compiler: {_compiler()}",
        gpu_status(),
    ]
    return "\n".join(lines)


def _cupy() -> str:
    """The packages that bring CuPy have its CUDA version in their names."""
    found = {
        f"{package.name} {package.version}"
        for package in importlib.metadata.distributions()
        if re.fullmatch(r"cupy(-cuda\d+x)?", package.name or "")
    }
    return f"CuPy {', '.join(sorted(found)) or 'not installed'}"


def _compiler() -> str:
    try:
        compiler = find_compiler()
    except CompilerNotFound as error:
        return str(error)
    return " ".join(compiler.command)


if __name__ == "__main__":
    print(report())
