"""cuDNN, where it is installed: the three products of a convolution, for arrays on the GPU.

cuDNN plans a product of one kind (what is multiplied, shapes, dtype, …), which takes milliseconds; plans are kept. A
plan runs in CuPy's current stream, and calculates in memory of CuPy's.

cuDNN orders axes (N, C, *space), whatever lies in memory. Strides tell it that channels lie last.
"""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import on_gpu
from ..checks import check_flag
from ..installed import pip_install
from ..types import Array, DType

if TYPE_CHECKING:
    from .convolution import Geometry

__all__ = ["allow_tf32"]

FUNCTIONS = {  # cuDNN's own, and what it calls their two arguments
    "convolve": ("conv_fprop", "image", "weight"),
    "spread": ("conv_dgrad", "loss", "filter"),
    "correlate": ("conv_wgrad", "image", "loss"),
}
DTYPES = {np.dtype("float16"): "HALF", np.dtype("float32"): "FLOAT", np.dtype("float64"): "DOUBLE"}
ALIGNMENT = 16  # bytes: at a multiple of them cuDNN expects arrays to begin
MAX_PLANS = 1024  # that are kept
OLDEST = 90000  # cuDNN's version, 9.0.0, that this was written for

_tf32 = True


def allow_tf32(allowed: bool) -> bool:
    """Allow cuDNN to convolve float32 in TF32, or forbid it; it is allowed unless you forbid it, as in PyTorch.

    In TF32 a GPU's tensor cores multiply numbers rounded to 11 binary digits, and add up in float32. Results are off by
    about 1e-3 of their size, those of plain float32 by less than 1e-4; large convolutions take a fifth of the time.
    Products of matrices are plain float32 in any case.

    Arguments:
        allowed: whether it may from now on.

    Returns: whether it might before.

    Errors: TypeError for anything but True and False.

    >>> import tinyflux as flux
    >>> before = flux.allow_tf32(False)
    >>> flux.allow_tf32(before)
    False
    """
    global _tf32
    check_flag("allow_tf32", "allowed", allowed)
    before, _tf32 = _tf32, bool(allowed)
    return before


def is_tf32_allowed() -> bool:
    return _tf32


def product(function: str, a: Array, b: Array, shape: tuple[int, ...], how: Geometry) -> Array | None:
    """A product of two arrays on the GPU; None where it has to be calculated in another way.

    Arguments:
        function: "convolve", "spread" or "correlate".
        a, b: its arguments, channels last.
        shape: of the result.
    """
    if not (on_gpu(a) and on_gpu(b)):
        return None
    dtype = np.result_type(a.dtype, b.dtype)
    plan = find_plan(function, (a.shape, b.shape, shape), how, dtype)
    if plan is None:
        return None
    import cupy

    out = cupy.empty(shape, dtype)
    plan(a.astype(dtype, copy=False), b.astype(dtype, copy=False), out)
    return out


def find_plan(function: str, shapes: tuple[tuple[int, ...], ...], how: Geometry, dtype: DType) -> Plan | None:
    """The plan for a product on the current device; None if cuDNN isn't there, or has no way to calculate it.

    Arguments:
        shapes: of the two arguments and of the result.
    """
    if dtype not in DTYPES:
        return None
    if fault():
        if fault().startswith(_CANNOT):  # somebody has installed it
            warnings.warn(fault(), RuntimeWarning, stacklevel=2)
        return None
    import cupy

    return _make_plan(function, shapes, how, dtype, _tf32 or dtype != np.float32, cupy.cuda.Device().id)


@functools.lru_cache(MAX_PLANS)
def _make_plan(
    function: str, shapes: tuple[tuple[int, ...], ...], how: Geometry, dtype: DType, tensor_cores: bool, device: int
) -> Plan | None:
    import cudnn

    if 0 in map(math.prod, shapes):
        return None
    try:
        return Plan(function, shapes, how, dtype, tensor_cores)
    except cudnn.cudnnGraphNotSupportedError:
        return None


class Plan:
    """How cuDNN calculates one kind of product.

    Arguments: those of `find_plan`, and
        tensor_cores: whether it may take tensor cores for it.

    Attributes:
        workspace: how many bytes of memory it calculates in.

    Errors: RuntimeError where cuDNN fails; its own error where it has no way to calculate this.
    """

    def __init__(
        self, function: str, shapes: Sequence[tuple[int, ...]], how: Geometry, dtype: DType, tensor_cores: bool
    ) -> None:
        import cudnn

        self._sizes = [math.prod(shape) for shape in shapes]
        self._asked = f"{function} arrays of {dtype} of shapes {shapes[0]} and {shapes[1]} to {shapes[2]}, by {how}"
        kind = getattr(cudnn.data_type, DTYPES[dtype])
        sums = cudnn.data_type.DOUBLE if dtype == np.float64 else cudnn.data_type.FLOAT
        name, *operands = FUNCTIONS[function]
        try:
            with _own_handle() as handle:
                graph = cudnn.pygraph(
                    io_data_type=kind, intermediate_data_type=sums, compute_data_type=sums, handle=handle
                )
                layouts = list(map(_layout, shapes))
                tensors = [
                    graph.tensor(name=operand, dim=dim, stride=stride, data_type=kind, uid=uid)
                    for uid, operand, (dim, stride) in zip((1, 2), operands, layouts)
                ]
                out = getattr(graph, name)(**dict(zip(operands, tensors)), **_options(how))
                dim, stride = layouts[2]  # without them, cuDNN takes a layout of its own
                out.set_output(True).set_uid(3).set_dim(dim).set_stride(stride).set_data_type(kind)
                graph.validate()
                graph.build_operation_graph()
                graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
                notes = ["DOWN_CONVERT_INPUTS"]  # to float16, on GPUs without TF32
                notes += [] if tensor_cores else ["TENSOR_CORE"]
                graph.deselect_numeric_notes([getattr(cudnn.numerical_note, note) for note in notes])
                graph.check_support()
                graph.build_plans(cudnn.build_plan_policy.HEURISTICS_CHOICE)
        except RuntimeError as error:
            raise self._failure(error) from error
        self.workspace = int(graph.get_workspace_size())
        self._graph = graph

    def __call__(self, a: Array, b: Array, out: Array, workspace: Array | None = None) -> None:
        """Calculate, in CuPy's current stream; nothing is waited for.

        Arguments:
            a, b, out: the arguments and the result; they may be parts of the arrays that begin where these do.
            workspace: bytes to calculate in, as many as the plan takes; by default new ones.
        """
        import cupy

        if workspace is None:  # CuPy gives it to somebody else only for what comes later in the same stream
            workspace = cupy.empty(self.workspace, np.uint8)
        a, b = (_readable(x, size) for x, size in zip((a, b), self._sizes))
        aligned = out.data.ptr % ALIGNMENT == 0
        target = out if aligned else cupy.empty(self._sizes[2], out.dtype)
        pointers = {1: a.data.ptr, 2: b.data.ptr, 3: target.data.ptr}
        try:
            with _own_handle() as handle:
                self._graph.execute(pointers, workspace.data.ptr, handle)
        except RuntimeError as error:
            raise self._failure(error) from error
        if not aligned:
            out.reshape(-1)[: self._sizes[2]] = target

    def _failure(self, error: Exception) -> RuntimeError:
        import cudnn

        return RuntimeError(
            f"cuDNN {cudnn.backend_version_string()} failed to {self._asked}: {error}. Install it anew, {_install()}, "
            "or do without it: pip uninstall nvidia-cudnn-frontend."
        )


def _readable(x: Array, size: int) -> Array:
    """The first elements of an array, contiguous, from where cuDNN can read them."""
    x = x if x.flags.c_contiguous else x.copy()
    return x if x.data.ptr % ALIGNMENT == 0 else x.reshape(-1)[:size].copy()


def _layout(shape: Sequence[int]) -> tuple[list[int], list[int]]:
    """The lengths of (n, *space, channels) as cuDNN orders axes, and their strides; one axis of space is the second."""
    n, *space, channels = shape
    space = [1] * (2 - len(space)) + space
    strides = [channels * math.prod(space[i + 1 :]) for i in range(len(space))]
    return [n, channels, *space], [channels * math.prod(space), 1, *strides]


def _options(how: Geometry) -> dict[str, list[int]]:
    """A geometry as cuDNN has it."""
    more = [(0, 0)] * (2 - len(how.pad))
    before, after = zip(*more, *how.pad)
    ones = [1] * len(more)
    return {
        "pre_padding": list(before),
        "post_padding": list(after),
        "stride": [*ones, *how.stride],
        "dilation": [*ones, *how.dilation],
    }


# Handles that nobody is using, by device, each with the stream that it was told. One that is missing is made: so there
# are as many as were ever in use at once, whatever threads begin and end.
_handles: dict[int, list[tuple[Any, int | None]]] = {}


@contextlib.contextmanager
def _own_handle() -> Iterator[Any]:
    """A handle for the current device, told CuPy's current stream, that nobody else uses meanwhile."""
    import cudnn
    import cupy

    free, stream = _handles.setdefault(cupy.cuda.Device().id, []), cupy.cuda.get_current_stream().ptr
    try:
        handle, told = free.pop()
    except IndexError:
        handle, told = cudnn.create_handle(), None
    try:
        if told != stream:
            cudnn.set_stream(handle=handle, stream=stream)
            told = stream
        yield handle
    finally:
        free.append((handle, told))


# Whether cuDNN is there.

_CANNOT = "cuDNN can't be used: "


def status() -> str:
    """Whether cuDNN is there, in a sentence; and if not, what is missing and what to do."""
    if fault():
        return fault()
    import cudnn

    return f"cuDNN {cudnn.backend_version_string()}, by nvidia-cudnn-frontend {cudnn.__version__}"


@functools.cache
def fault() -> str:
    """Why cuDNN can't be used, and what to do; "" where it can."""
    try:
        import cudnn
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cudnn":
            return f"cuDNN is not installed, with which convolutions on a GPU are faster; {_install()}."
        return f"{_CANNOT}{type(error).__name__}: {error}; {_install()}."
    try:
        version = cudnn.backend_version()
    except Exception as error:
        return f"{_CANNOT}nvidia-cudnn-frontend finds no library ({error}); {_install()}."
    if version < OLDEST:
        return f"{_CANNOT}it is version {cudnn.backend_version_string()}, older than 9; {_install()}."
    return ""


def _install() -> str:
    return f"{pip_install('cudnn13x', 'cudnn12x')}, by the CUDA version of the driver"
