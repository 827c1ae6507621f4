"""What tinyflux finds on this machine: `python -m tinyflux.doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys

import tinyflux

from . import installed  # all else only when it is asked for: where another project is called tinyflux, it can't be had
from .errors import CompilerNotFound


def report() -> str:
    """Versions, what is missing with the line that installs it, the C compiler, the cores, and whether there is a GPU.

    Where another project has the import name, too, a sentence says so, and what to do.

    >>> from tinyflux import doctor
    >>> print(doctor.report())  # doctest: +ELLIPSIS
    tinyflux ...
    Python ...
    NumPy ...
    SciPy ...
    ...
    CuPy ...
    cuDNN ...
    C compiler: ...
    Cores: ...
    The GPU can...
    """
    import numpy as np
    import scipy

    from .device import gpu_status

    conflict = installed.conflict()
    lines = [
        *([conflict] if conflict else []),
        f"tinyflux {tinyflux.__version__}, in {installed.FOLDER}",
        f"Python {platform.python_version()} on {platform.platform()}",
        f"NumPy {np.__version__}",
        f"SciPy {scipy.__version__}",
        *_optional(),
        _cupy(),
        _cudnn(),
        f"C compiler: {_compiler()}",
        f"Cores: {_cores()}",
        gpu_status(),
    ]
    return "\n".join(lines)


_OPTIONAL = {  # the extra that brings a package, and what for
    "matplotlib": ("plot", "flux.plot"),
    "tqdm": ("examples", "flux.progress_bar"),
    "pooch": ("examples", "downloading MNIST and CIFAR-10"),
    "scikit-learn": ("examples", "flux.data.digits"),
    "safetensors": ("interop", "PyTorch's files"),
    "distributed": ("cluster", "the examples on a cluster"),
}


def _optional() -> list[str]:
    """The optional packages that are there, in a line, and a line for each that is missing."""
    found, missing = [], []
    for name, (extra, purpose) in _OPTIONAL.items():
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"{name} not installed, for {purpose}: {installed.pip_install(extra)}")
    return [*([", ".join(found)] if found else []), *missing]


def _cores() -> str:
    """How many threads are used, why so many, and whether others use the cores, too."""
    from .cores import available_cores

    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    limits = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    used, total = available_cores(), os.cpu_count() or 1
    text = f"{used} of {total} are used" + (f" ({', '.join(limits)})" if limits else "")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > total / 2 and used > 1:
        text += f"; the machine is busy (load {load:.1f}): set OMP_NUM_THREADS=1 before Python starts"
    return text


def _cupy() -> str:
    """The packages that bring CuPy have its CUDA version in their names."""
    found = {
        f"{package.name} {package.version}"
        for package in importlib.metadata.distributions()
        if re.fullmatch(r"cupy(-cuda\d+x)?", package.name or "")
    }
    return f"CuPy {', '.join(sorted(found)) or 'not installed, for a GPU'}"


def _cudnn() -> str:
    """Whether cuDNN is there; and where there is a GPU, whether it works."""
    import numpy as np

    from .device import gpu, gpu_status
    from .nn import conv, cudnn

    if cudnn.fault() or "can't" in gpu_status():
        return cudnn.status()
    x, w = gpu(np.ones((1, 4, 4, 8), np.float32), np.ones((8, 3, 3, 8), np.float32))
    try:
        right = bool((conv(x, w) == 72).all())
    except Exception as error:  # what cuDNN and CuPy raise has no common type
        return str(error)
    return cudnn.status() if right else f"{cudnn.status()}, which calculates wrongly: install it anew"


def _compiler() -> str:
    from .compile.backends.c.build import find_compiler

    try:
        compiler = find_compiler()
    except CompilerNotFound as error:
        return str(error)
    return " ".join(compiler.command)


def main() -> int:
    """Print the report, or what is wrong where `import tinyflux` finds another project; 1 for a conflict, else 0."""
    if not hasattr(tinyflux, "Dense"):
        found = getattr(tinyflux, "__file__", None) or "a folder without an __init__.py"
        print(f"`import tinyflux` finds another package than this one: {found}.")
        print(installed.conflict() or _REPAIR)
        return 1
    print(report())
    return int(bool(installed.conflict()))


_REPAIR = "Install this one anew: pip install --force-reinstall --no-deps . in a clone."


if __name__ == "__main__":
    sys.exit(main())
