"""A stand-in for `nvidia-cudnn-frontend` and the cuDNN below it: graphs of one convolution, calculated by NumPy.

It looks at what cuDNN is told as cuDNN would, and more strictly: the order of calls, layouts, sizes, pads, types; that
pointers are aligned, that the workspace is live memory and large enough, and that the handle has CuPy's stream. It
reads and writes memory by the strides it was told. TF32 is imitated: operands lose their last 13 bits.
"""

import ctypes
import enum
import itertools
import math
import sys
import types
import weakref

import numpy as np

from tests.support import graphs
from tests.support.device_standin import DeviceArray
from tinyflux.nn import cudnn

Kind = enum.Enum("Kind", "HALF FLOAT DOUBLE INT32")
Heuristic = enum.Enum("Heuristic", "A B FALLBACK")
Note = enum.Enum("Note", "TENSOR_CORE DOWN_CONVERT_INPUTS WINOGRAD")
Policy = enum.Enum("Policy", "HEURISTICS_CHOICE ALL")
DTYPES = {Kind.HALF: np.float16, Kind.FLOAT: np.float32, Kind.DOUBLE: np.float64}
SUMS = {Kind.HALF: Kind.FLOAT, Kind.FLOAT: Kind.FLOAT, Kind.DOUBLE: Kind.DOUBLE}
OPERANDS = {"fprop": ("image", "weight"), "dgrad": ("loss", "filter"), "wgrad": ("image", "loss")}
STEPS = ["validate", "build_operation_graph", "create_execution_plans", "check_support", "build_plans", "execute"]

plans = []  # the graphs of which plans were built
runs = []  # the graphs that were executed
handles = {}  # each with its stream, and its device
told = []  # the streams that handles were given
stream = 7  # CuPy's current one
unsupported = lambda graph: False  # noqa: E731
failure = ""  # what an execution fails with
_allocated = []


class CudnnError(Exception):
    """What cuDNN would not report: it would calculate with wrong numbers, or the GPU would fault."""


class cudnnGraphNotSupportedError(Exception):
    pass


def expect(condition, message):
    if not condition:
        raise CudnnError(message)


class Tensor:
    def __init__(self, dim, stride, data_type, uid):
        self.dim, self.stride, self.data_type, self.uid, self.is_output = dim, stride, data_type, uid, False

    def set_output(self, flag):
        self.is_output = flag
        return self

    def set_uid(self, uid):
        self.uid = uid
        return self

    def set_dim(self, dim):
        self.dim = dim
        return self

    def set_stride(self, stride):
        self.stride = stride
        return self

    def set_data_type(self, kind):
        self.data_type = kind
        return self

    def check(self, kind):
        for numbers in (self.dim, self.stride):
            expect(type(numbers) is list and {*map(type, numbers)} == {int}, f"{numbers} is no list of int")
        expect(len(self.dim) == len(self.stride) in (4, 5), f"{len(self.dim)} axes")
        expect(self.data_type is kind, f"a tensor of {self.data_type} in a graph of {kind}")
        _, channels, *space = self.dim
        line = [channels * math.prod(space[i + 1 :]) for i in range(len(space))]
        expect(self.stride == [channels * math.prod(space), 1, *line], f"{self.stride} is not channels last")

    def memory(self, pointer):
        """The array at an address, its axes in cuDNN's order."""
        expect(type(pointer) is int, f"a pointer of {type(pointer)}")
        expect(pointer % 16 == 0, f"tensor {self.uid} lies at {pointer}, no multiple of 16")
        dtype = np.dtype(DTYPES[self.data_type])
        size = 1 + sum((n - 1) * step for n, step in zip(self.dim, self.stride))
        flat = np.frombuffer((ctypes.c_char * (size * dtype.itemsize)).from_address(pointer), dtype)
        return np.lib.stride_tricks.as_strided(flat, self.dim, [step * dtype.itemsize for step in self.stride])


class Graph:
    """`cudnn.pygraph`, with one convolution in it."""

    def __init__(self, io_data_type, intermediate_data_type, compute_data_type, handle):
        expect(handle in handles, f"no handle {handle}")
        expect(intermediate_data_type is compute_data_type is SUMS[io_data_type], f"{compute_data_type}")
        self.kind, self.device = io_data_type, handles[handle][1]
        self.deselected, self.done = [], 0

    def tensor(self, dim, stride, data_type, name="", uid=-1):
        return Tensor(dim, stride, data_type, uid)

    def _convolution(self, function, operands, pre_padding, post_padding, stride, dilation):
        expect(set(operands) == set(OPERANDS[function]), f"{function} takes no {list(operands)}")
        expect(min(*pre_padding, *post_padding) >= 0 < min(*stride, *dilation), "a negative pad")
        self.function, self.pre, self.post, self.step, self.dilation = (
            function, pre_padding, post_padding, stride, dilation,
        )  # fmt: skip
        self.operands = [operands[name] for name in OPERANDS[function]]
        self.out = Tensor(None, None, None, -1)
        return self.out

    def conv_fprop(self, image, weight, **options):
        return self._convolution("fprop", {"image": image, "weight": weight}, **options)

    def conv_dgrad(self, loss, filter, **options):  # noqa: A002
        return self._convolution("dgrad", {"loss": loss, "filter": filter}, **options)

    def conv_wgrad(self, image, loss, **options):
        return self._convolution("wgrad", {"image": image, "loss": loss}, **options)

    def _next(self, step):
        expect(STEPS[self.done] == step, f"{step} after {STEPS[: self.done]}")
        self.done += 1

    def validate(self):
        self._next("validate")
        tensors = [*self.operands, self.out]
        for tensor in tensors:
            tensor.check(self.kind)
        expect(self.out.is_output, "the result is not marked as an output")
        expect(len({t.uid for t in tensors}) == 3, "tensors of the same uid")
        order = {"fprop": (0, 1, 2), "dgrad": (2, 1, 0), "wgrad": (0, 2, 1)}[self.function]
        (n, channels, *space), (nout, inner, *window), (rows, features, *places) = (tensors[i].dim for i in order)
        expect(len(window) == len(self.pre) == len(self.post) == len(self.step) == len(self.dilation), "axes differ")
        self.groups = channels // inner
        expect((rows, features) == (n, nout) and channels % inner == nout % self.groups == 0, "channels don't fit")
        options = zip(space, window, self.pre, self.post, self.step, self.dilation)
        reached = [(m + a + b - t * (k - 1) - 1) // s + 1 for m, k, a, b, s, t in options]
        expect(places == reached, f"{places} windows, where there are {reached}")

    def build_operation_graph(self):
        self._next("build_operation_graph")

    def create_execution_plans(self, heuristics):
        self._next("create_execution_plans")
        expect(heuristics == [Heuristic.A, Heuristic.FALLBACK], f"{heuristics}")

    def deselect_numeric_notes(self, notes):
        expect(self.done == 3, "notes are deselected among plans, before they are checked")
        self.deselected += notes

    def check_support(self):
        self._next("check_support")
        expect(Note.DOWN_CONVERT_INPUTS in self.deselected, "float32 may become float16")
        self.tensor_cores = Note.TENSOR_CORE not in self.deselected
        if unsupported(self):
            raise cudnnGraphNotSupportedError("No valid engine configs")

    def build_plans(self, policy):
        self._next("build_plans")
        expect(policy is Policy.HEURISTICS_CHOICE, f"{policy}")
        plans.append(self)

    def get_workspace_size(self):
        return 131 + math.prod(self.out.dim) % 1000

    def execute(self, pointers, workspace, handle):
        expect(self.done == 5, "a plan that was not built")
        told, device = handles[handle]
        expect((told, device) == (current_stream().ptr, self.device), f"stream and device are {told} and {device}")
        expect(sorted(pointers) == sorted(t.uid for t in [*self.operands, self.out]), f"{pointers}")
        if failure:
            raise RuntimeError(failure)
        graphs.now_or_later(lambda: self._run(pointers, workspace))

    def _run(self, pointers, workspace):
        runs.append(self)
        live = [x for x in (reference() for reference in _allocated) if x is not None]
        own = [x for x in live if x.ctypes.data == workspace and x.nbytes >= self.get_workspace_size()]
        expect(own, "the workspace is no live memory of this size")
        own[0].view(np.uint8)[...] = 0xA5
        a, b = (self._read(t, pointers[t.uid]) for t in self.operands)
        self.out.memory(pointers[self.out.uid])[...] = getattr(self, f"_{self.function}")(a, b)

    def _read(self, tensor, pointer):
        x = tensor.memory(pointer)
        if self.kind is Kind.FLOAT and self.tensor_cores:
            bits = (np.ascontiguousarray(x).view(np.uint32) + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)
            x = bits.view(np.float32)
        return x.astype(np.float64)

    def _padded(self, x):
        return np.pad(x, [(0, 0), (0, 0), *zip(self.pre, self.post)])

    def _offsets(self, window, places):
        """Each place in a window, with the pixels that all windows have there."""
        for k in itertools.product(*map(range, window)):
            lines = zip(k, places, self.step, self.dilation)
            yield (..., *k), (..., *[slice(t * i, t * i + s * (n - 1) + 1, s) for i, n, s, t in lines])

    def _split(self, x, axis):
        return np.stack(np.split(x, self.groups, axis))

    def _fprop(self, x, w):
        x, w = self._split(self._padded(x), 1), self._split(w, 0)
        places = self.out.dim[2:]
        y = sum(np.einsum("gnc...,goc->ngo...", x[at], w[k]) for k, at in self._offsets(w.shape[3:], places))
        return y.reshape(self.out.dim)

    def _dgrad(self, g, w):
        padded = self._padded(np.zeros(self.out.dim))
        x = self._split(padded, 1)
        parts, w = self._split(g, 1), self._split(w, 0)
        for k, at in self._offsets(w.shape[3:], g.shape[2:]):
            x[at] += np.einsum("gno...,goc->gnc...", parts, w[k])
        whole = np.moveaxis(x, 0, 1).reshape(padded.shape)
        return whole[(..., *[slice(a, a + n) for a, n in zip(self.pre, self.out.dim[2:])])]

    def _wgrad(self, x, g):
        x, g = self._split(self._padded(x), 1), self._split(g, 1)
        w = np.zeros((self.groups, self.out.dim[0] // self.groups, *self.out.dim[1:]))
        lines = g.reshape(*g.shape[:3], -1)
        for k, at in self._offsets(self.out.dim[2:], g.shape[3:]):
            w[k] = np.einsum("gncp,gnop->goc", x[at].reshape(*x.shape[:3], -1), lines)
        return w.reshape(self.out.dim)


def create_handle():
    import cupy

    handle = 100 + len(handles)
    handles[handle] = 0, cupy.cuda.Device().id
    return handle


def set_stream(handle, stream):
    handles[handle] = stream, handles[handle][1]
    told.append(stream)


def forget():
    """Have the library know nothing of plans, handles and whether cuDNN is there."""
    cudnn._make_plan.cache_clear()
    cudnn.fault.cache_clear()
    cudnn._handles.clear()
    cudnn.allow_tf32(True)


def current_stream():
    found = graphs.current_stream()
    if found is graphs.DEFAULT:
        found = graphs.Stream()
        found.ptr = stream
    return found


def install(monkeypatch, cupy):
    """Have `import cudnn` find this, beside a CuPy whose arrays tell their addresses (see cuda_shim)."""
    here = sys.modules[__name__]
    for name in ("plans", "runs", "told", "_allocated"):
        getattr(here, name).clear()
    handles.clear()
    module = types.ModuleType("cudnn")
    module.data_type, module.heur_mode, module.numerical_note, module.build_plan_policy = Kind, Heuristic, Note, Policy
    module.pygraph, module.create_handle, module.set_stream = Graph, create_handle, set_stream
    module.cudnnGraphNotSupportedError = cudnnGraphNotSupportedError
    module.backend_version, module.backend_version_string = (lambda: 92801), (lambda: "9.28.1")
    module.__version__ = "1.26.0"
    monkeypatch.setitem(sys.modules, "cudnn", module)
    empty = cupy.empty

    def allocated(shape, dtype):
        x = empty(shape, dtype)
        _allocated.append(weakref.ref(x._host))
        return x

    monkeypatch.setattr(cupy, "empty", allocated)
    cupy.cuda.get_current_stream = current_stream
    for name, value in (("stream", 7), ("unsupported", lambda graph: False), ("failure", "")):
        monkeypatch.setattr(here, name, value)
    forget()
    return module


def there(x):
    return DeviceArray(x.copy())
