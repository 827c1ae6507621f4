"""CUDA's kernels on the CPU: `RawModule` stands in for CuPy's, with g++ and shim.h in the place of NVRTC and a GPU.

It is stricter than CuPy, which passes every argument on as the bytes it has: a number of another type than the kernel's
parameter is refused, and so is an array of another.
"""

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import types
from pathlib import Path

import numpy as np

from tests.support import cublas_standin, device_standin, graphs
from tests.support.device_standin import DeviceArray
from tinyflux.optimise.kernels import launch

GXX = shutil.which("g++")
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-ffp-contract=off", "-fno-strict-aliasing", "-Wno-unknown-pragmas"]
FLAGS += ["-U_FORTIFY_SOURCE"]  # which takes a change of fibers for a mistake
MEMORY = np.empty(1024 * (1 << 17), np.uint8)  # for the fibers of as many threads as a block can have
LINKED = ["-shared", "-Wl,-Bsymbolic"]  # names such as `step` are the kernel's own, not the C library's
SHIM = Path(__file__).parent / "shim.h"
DTYPES = {
    "float": np.float32,
    "double": np.float64,
    "int": np.int32,
    "long long": np.int64,
    "unsigned": np.uint32,
    **{f"{np.dtype(kind)}_t": kind for kind in (np.int8, np.int16, np.int32, np.int64)},
    **{f"{np.dtype(kind)}_t": kind for kind in (np.uint16, np.uint32, np.uint64)},
}
POISON = {"f": np.nan, "b": True}  # what new memory holds
BOOLEAN = "uint8_t"  # NumPy's bool, too
MULTIPROCESSORS, RESIDENT = 2, 3  # of the device: few, so that a thread has several vectors to do
SHARED = 227 << 10  # bytes that a block can have, if it asks for them
UNASKED = 48 << 10  # and without
ORDERS = {  # of the blocks, and of the threads of a block
    "forward": np.arange,
    "backward": lambda count: np.arange(count)[::-1],
    "shuffled": lambda count: np.random.default_rng(count).permutation(count),
}

order = "forward"
one_at_a_time = threading.Lock()
extra_flags = []  # of the compiler
launches = []  # of all kernels: grid, block and arguments


class ShimError(Exception):
    """What a GPU would not report: it would calculate with wrong numbers, or hang."""


class RawModule:
    """`cupy.RawModule`, as far as it is used."""

    def __init__(self, code, options=()):
        assert code.isascii()  # CuPy writes it to a file in the encoding of the locale
        self.kernels = {name: parameter_types(code, name) for name in re.findall(KERNEL, code)}
        code = re.sub(r"extern __shared__ (.*)\[\];", rf"static \1[{SHARED}];", code)
        self.source = "".join([code, *[wrapper(name, kinds) for name, kinds in self.kernels.items()]])
        self.library = None

    def get_function(self, name):
        self.library = self.library or ctypes.CDLL(str(built(self.source)))
        return RawKernel(getattr(self.library, f"launch_{name}"), self.kernels[name])


class RawKernel:
    """A kernel: `kernel(grid, block, args)`."""

    def __init__(self, launch, kinds):
        self.launch, self.types = launch, kinds
        self.launch.restype = ctypes.c_char_p
        self.kernel = types.SimpleNamespace(ptr=0)
        self.max_dynamic_shared_size_bytes = UNASKED

    def __call__(self, grid, block, args, *, shared_mem=0):
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise ShimError(f"{shared_mem} bytes of shared memory, {self.max_dynamic_shared_size_bytes} are allowed")
        values = [checked(*pair) for pair in zip(args, self.types, strict=True)]
        graphs.now_or_later(lambda: self.run(grid, block, args, values))

    def run(self, grid, block, args, values):
        launches.append((grid, block, args))
        addresses = (ctypes.c_void_p * len(values))(*[value.ctypes.data for value in values])
        orders = [np.ascontiguousarray(ORDERS[order](count), np.uint32) for count in (*grid, *block)]
        with one_at_a_time:  # ctypes lets other threads run meanwhile
            places = [ctypes.c_void_p(x.ctypes.data) for x in (*orders, MEMORY)]
            fault = self.launch(*grid, *block, *places, addresses)
        if fault:
            raise ShimError(fault.decode())


KERNEL = r'extern "C" __global__[^{;]*?\b(\w+)\([^()]*\) *\{'


def parameter_types(code, name):
    """The types of a kernel's parameters, with float or double for T."""
    parameters = re.search(rf'extern "C" __global__[^{{;]*?\b{name}\(([^()]*)\)', code)[1]
    parameters = re.sub("__restrict__|RESTRICT", "", parameters)
    (real,) = re.findall(r"using T = (\w+);", code) or ["float"]
    types = [re.sub(r"\s*\b\w+$", "", parameter.strip()) for parameter in parameters.split(",")]
    return [re.sub(r"\bT\b", real, kind) for kind in types]


def wrapper(name, types):
    arguments = ", ".join(f"*static_cast<{kind}*>(arguments[{i}])" for i, kind in enumerate(types))
    return f"""
extern "C" const char* launch_{name}(unsigned grid, unsigned block, const unsigned* blocks, const unsigned* threads,
                              void* memory, void** arguments) {{
    shim::kernel = [](void** arguments) {{ {name}({arguments}); }};
    shim::arguments = arguments;
    return shim::run(grid, block, blocks, threads, memory);
}}
"""


def checked(value, kind):
    """The bytes of an argument for a parameter of this type; an error where CUDA would misread them."""
    plain = kind.replace("const ", "").strip()
    if plain.endswith("*") and type(value) is np.uint64 and not value:  # a null pointer
        return np.array(value)
    if plain.endswith("*"):
        if plain.rstrip("* ") == BOOLEAN:
            expected = np.dtype(np.bool_ if value.dtype == np.bool_ else np.uint8)
        else:
            expected = np.dtype(np.uint64 if plain.endswith("* const*") else DTYPES[plain.rstrip("* ")])
        if value.dtype != expected or not value.flags.c_contiguous:
            raise ShimError(f"{kind} takes a contiguous array of {expected}; got one of {value.dtype}")
        return np.array(value.data.ptr, np.uint64)
    if type(value) is not DTYPES[plain]:
        raise ShimError(f"{kind} takes a {DTYPES[plain].__name__}; got a {type(value).__name__}")
    return np.array(value)


def built(code):
    """The library of this source, after shim.h; from where earlier runs have left it."""
    included = kept("shim.h.gch", SHIM.read_text(encoding="utf-8"), ["-x", "c++-header", *FLAGS, *extra_flags])
    # Reading it as it is would take the compiler longer than all else.
    command = ["-x", "c++", *FLAGS, *LINKED, *extra_flags, "-include", str(included.with_suffix(""))]
    return kept("kernel.so", code, command)


def kept(name, code, command):
    """A file that g++ makes of this text, in a folder of the user's own where earlier runs have left it."""
    folder = Path(tempfile.gettempdir()) / f"tinyflux-shim-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    assert folder.stat().st_uid == os.getuid()
    target = folder / f"{hashlib.sha256(repr((GXX, command, code)).encode()).hexdigest()}-{name}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            source, result = Path(work) / "source", Path(work) / name
            source.write_text(code, encoding="utf-8")
            subprocess.run([GXX, *command, str(source), "-o", str(result)], check=True)
            result.replace(target)
    return target


class Device(contextlib.nullcontext):
    """`cupy.cuda.Device`, as far as it is used."""

    def __init__(self, number=0):
        super().__init__()
        self.id = number
        self.attributes = {"MultiProcessorCount": MULTIPROCESSORS, "MaxSharedMemoryPerBlockOptin": SHARED}


def plant(monkeypatch, change):
    """Have all sources changed before they are compiled; returns a list of whether each of them became another one."""
    changed = []

    def planted(code, options=()):
        text = change(code)
        changed.append(text != code)
        return RawModule(text, options)

    monkeypatch.setattr(sys.modules["cupy"], "RawModule", planted)
    return changed


def install(monkeypatch):
    """Have the stand-in for CuPy run kernels, and its arrays tell their addresses."""
    module = device_standin.cupy_module()
    module.RawModule = RawModule
    module.cuda.Device = Device
    module.cuda.Stream, module.cuda.get_current_stream = graphs.Stream, graphs.current_stream
    graphs.forget()
    module.empty = lambda shape, dtype: DeviceArray(np.full(shape, POISON.get(np.dtype(dtype).kind, 77), dtype))
    module.cuda.driver = types.SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=lambda *args: RESIDENT)
    memory = property(lambda self: types.SimpleNamespace(ptr=self._host.ctypes.data, device_id=0))
    monkeypatch.setattr(DeviceArray, "data", memory, raising=False)
    monkeypatch.setattr(DeviceArray, "device", property(lambda self: Device()), raising=False)
    cublas_standin.install(monkeypatch, module)
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(sys.modules[__name__], "order", "forward")
    launches.clear()
    launch._compiled.cache_clear()
    return module
