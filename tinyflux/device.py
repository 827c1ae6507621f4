"""gpu and cpu move models, their optimiser's state and data; gpu_status says whether the GPU can be used.

Arrays on the GPU are CuPy's, which is imported here when it is first needed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, overload

from . import tree
from .arrays import on_gpu, to_numpy
from .installed import pip_install
from .optimise.state import OptimiserState, belongs, copied_state, holds_state


class GPUNotAvailable(RuntimeError):
    """There is no GPU to be used here; the message says what is missing and what to do."""


A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


@overload
def gpu(a: A, /) -> A: ...
@overload
def gpu(a: A, b: B, /) -> tuple[A, B]: ...
@overload
def gpu(a: A, b: B, c: C, /) -> tuple[A, B, C]: ...
@overload
def gpu(*trees: Any) -> Any: ...
def gpu(*trees: Any) -> Any:
    """A copy of a model, or of data, with every array on the GPU.

    Arrays that are there already stay as they are; an array or a layer that stands in several places remains one. An
    optimiser's state is moved together with its model, `model, opt = flux.gpu(model, opt)`: it then belongs to the new
    model, with the same averages, step counts, rules and frozen parameters; the old model keeps the old state. Random
    numbers are drawn on the CPU as before.

    Arguments:
        trees: models, arrays, tuples, lists or dicts of them, and optimiser states.

    Returns: for one argument its copy, for several a tuple.

    Errors: GPUNotAvailable, with the sentence of `gpu_status`, where no GPU can be used; ValueError for a state without
    its model; TypeError for an array of something else than numbers.

    >>> import numpy as np, tinyflux as flux
    >>> try:
    ...     x = flux.gpu(np.ones(3))
    ... except flux.GPUNotAvailable:
    ...     x = np.ones(3)
    >>> x.shape
    (3,)
    """
    fault = _fault()
    if fault:
        raise GPUNotAvailable(f"gpu: {fault}")
    for x in trees:
        for path, array in tree.walk(x) if not isinstance(x, OptimiserState) else ():
            if array.dtype.kind not in "biufc":
                raise TypeError(
                    f"gpu: expected arrays of numbers, got {array.dtype} at {path or 'the root'}. Encode labels with "
                    "flux.onehotbatch."
                )
    return _moved("gpu", trees, _to_gpu)


@overload
def cpu(a: A, /) -> A: ...
@overload
def cpu(a: A, b: B, /) -> tuple[A, B]: ...
@overload
def cpu(a: A, b: B, c: C, /) -> tuple[A, B, C]: ...
@overload
def cpu(*trees: Any) -> Any: ...
def cpu(*trees: Any) -> Any:
    """A copy of a model, or of data, with every array in NumPy: the way back from `gpu`. It works without a GPU.

    What is in NumPy already stays as it is, and is not copied.

    Arguments, returns: as for `gpu`.

    Errors: ValueError for an optimiser's state without its model.

    >>> import numpy as np, tinyflux as flux
    >>> x, model = flux.cpu(np.ones(3), flux.Dense(3, 2))
    >>> model(x).shape
    (2,)
    """
    return _moved("cpu", trees, to_numpy)


def gpu_status() -> str:
    """Whether the GPU can be used, in a sentence; and if not, what is missing and what to do.

    >>> import tinyflux as flux
    >>> flux.gpu_status().startswith(("The GPU can be used", "The GPU can't be used"))
    True
    """
    return _fault() or f"The GPU can be used: {_gpu_name()}."


def _moved(caller: str, trees: tuple[Any, ...], move: Callable[[Any], Any]) -> Any:
    models = [x for x in trees if not isinstance(x, OptimiserState)]
    if any(holds_state(x) for x in models):
        raise ValueError(
            f"{caller}: expected an optimiser's state as an argument of its own, got one inside another tree; write "
            f"model, opt = flux.{caller}(model, opt)."
        )
    owners = {id(x): _model_of(caller, x, models) for x in trees if isinstance(x, OptimiserState)}
    moved = tree.copying(move)
    new = {id(x): moved(x) for x in models}
    for x in trees:
        if isinstance(x, OptimiserState):
            model = new[id(owners[id(x)])]
            new[id(x)] = x if belongs(x, model) else copied_state(x, model, move)
    return tuple(new[id(x)] for x in trees) if len(trees) != 1 else new[id(trees[0])]


def _model_of(caller: str, opt: OptimiserState, models: list[Any]) -> Any:
    """The tree among `models` that `opt` was set up for."""
    for model in models:
        if belongs(opt, model):
            return model
    raise ValueError(
        f"{caller}: expected the model of the optimiser's state with it, for a state belongs to the arrays of its "
        f"model; write model, opt = flux.{caller}(model, opt)."
    )


def _to_gpu(x: Any) -> Any:
    import cupy

    return x if on_gpu(x) else cupy.asarray(x)


# Whether the GPU can be used. Each message says what to do.

_DOUBLE = """
extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2; }
"""
_CANNOT = "The GPU can't be used: "


@functools.cache
def _fault() -> str:
    """Why the GPU can't be used, and what to do; "" where it can. Tried once: import, driver, a kernel, a product."""
    try:
        import cupy
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            return f"{_CANNOT}CuPy is not installed; {pip_install(*_EXTRAS)}, by the CUDA version of the driver."
        return f"{_CANNOT}CuPy can't be imported ({_shown(error)}); install it anew, {pip_install(*_EXTRAS)}."
    try:
        return _without_device(cupy) or _miscalculated(cupy)
    except Exception as error:  # what CuPy and the libraries below it raise has no common type
        return _CANNOT + _explained(_shown(error), _extra(cupy))


def _without_device(cupy: Any) -> str:
    """What is wrong with the driver or the device, if anything is."""
    runtime = cupy.cuda.runtime
    driver = runtime.driverGetVersion()
    if driver == 0:
        return f"{_CANNOT}there is no NVIDIA driver on this machine; install one, or run where there is a GPU."
    try:
        count = runtime.getDeviceCount()
    except Exception as error:
        if "InsufficientDriver" in str(error):
            return (
                f"{_CANNOT}the NVIDIA driver is too old: it is for CUDA {_version(driver)}, CuPy for CUDA "
                f"{_version(runtime.runtimeGetVersion())}; update the driver, or {pip_install(_extra(cupy))}."
            )
        if "NoDevice" not in str(error):
            raise
        count = 0
    fix = "look at nvidia-smi and the variable CUDA_VISIBLE_DEVICES"
    return "" if count else f"{_CANNOT}the NVIDIA driver finds no device; {fix}."


def _miscalculated(cupy: Any) -> str:
    """Compile and run a kernel (NVRTC), multiply matrices (cuBLAS), and look at the results; shuffle (cuRAND)."""
    x = cupy.asarray([[1.0, 2.0], [3.0, 4.0]], dtype="float32")
    cupy.RawKernel(_DOUBLE, "twice")((1,), (4,), (x,))
    if (x @ x).tolist() != [[28.0, 40.0], [60.0, 88.0]]:
        return f"{_CANNOT}it calculates wrongly: a product of two small matrices differs; update driver and CuPy."
    cupy.random.RandomState(0).permutation(2)
    return ""


_EXTRAS = ["cuda13x", "cuda12x"]


def _explained(shown: str, extra: str) -> str:
    """A message that names the missing library, if the error does."""
    libraries = (("nvrtc", "compiler NVRTC"), ("cublas", "library cuBLAS"), ("curand", "library cuRAND"))
    for word, library in libraries:
        if word in shown.lower():
            return f"CUDA's {library} is missing ({shown}); {pip_install(extra)} brings it."
    return f"CuPy failed with {shown}; look at nvidia-smi, and {pip_install(extra)}."


def _extra(cupy: Any) -> str:
    """The extra with the CuPy that fits the driver."""
    return _EXTRAS[0] if cupy.cuda.runtime.driverGetVersion() >= 13000 else _EXTRAS[1]


def _version(number: int) -> str:
    """CUDA's way of writing 13.2 is 13020."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _gpu_name() -> str:
    """The device, and the versions of CuPy and CUDA."""
    import cupy

    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())["name"].decode()
    return f"{name}, CuPy {cupy.__version__} with CUDA {_version(cupy.cuda.runtime.runtimeGetVersion())}"
