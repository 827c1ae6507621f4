"""Write down what CuPy can do; needs no GPU: `python -m tests.record.record_cupy` writes cupy_functions.json.

For every function of NumPy's that arrays can take over, the parameters of CuPy's function of that name; for ufuncs,
the names. The stand-in for CuPy in the tests refuses what is not listed.
"""

import functools
import inspect
import json
from pathlib import Path

import numpy as np

FILE = Path(__file__).parents[1] / "support" / "cupy_functions.json"
LIKE = [
    "arange", "array", "asanyarray", "asarray", "ascontiguousarray", "asfortranarray", "empty", "eye", "full",
    "identity", "ones", "tri", "zeros",
]  # fmt: skip
MODULES = {"": np, "linalg.": np.linalg, "lib.stride_tricks.": np.lib.stride_tricks}


def parameters(function):
    """As Python writes them; an option has the default None here, whatever it is in CuPy."""
    signs = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    try:
        signature = inspect.signature(function)
    except ValueError:  # a ufunc of CuPy's
        return "*arrays, **options"
    words, bare = [], False
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY and not bare:
            words.append("*")
        bare = bare or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        words.append(signs.get(p.kind, "") + p.name + ("" if p.default is p.empty else "=None"))
    return ", ".join(words)


def found(cupy, path):
    """What CuPy has under a name, or None; some of NumPy's functions are there as they are, and of no use to it."""
    try:
        own = functools.reduce(getattr, path.split("."), cupy)
        numpys = functools.reduce(getattr, path.split("."), np)
    except AttributeError:
        return None
    return None if own is numpys else own


def recorded(cupy, special):
    names = [
        f"{prefix}{name}"
        for prefix, module in MODULES.items()
        for name in dir(module)
        if hasattr(getattr(module, name), "_implementation") or (module is np and name in LIKE)
    ]
    functions = {name: parameters(found(cupy, name)) for name in sorted(names) if found(cupy, name) is not None}
    ufuncs = [name for name in dir(np) if isinstance(getattr(np, name), np.ufunc) and hasattr(cupy, name)]
    ufuncs += [name for name in dir(special) if not name.startswith("_")]
    return {"version": cupy.__version__, "functions": functions, "ufuncs": sorted(set(ufuncs))}


if __name__ == "__main__":
    import cupy
    import cupyx.scipy.special

    FILE.write_text(json.dumps(recorded(cupy, cupyx.scipy.special), indent=0) + "\n")
